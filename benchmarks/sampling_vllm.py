"""How long `--model vllm-passk` takes beside `vllm.LLM.generate(n=K)` alone and lm-eval's own `--model vllm`.

Run: .venv-vllm/bin/python benchmarks/sampling_vllm.py (after `make test-vllm`, which sets that environment up).
The three take turns on one engine with an empty prefix cache; figures are medians, and medians of the ratios
of neighbours. What is asked of all three: K = 32 samples of 64 tokens for each of 4 prompts of 256 tokens.
"""

import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

os.environ.update(VLLM_ENABLE_V1_MULTIPROCESSING="0", TORCH_COMPILE_DISABLE="1", VLLM_LOGGING_LEVEL="ERROR")
os.environ.update(VLLM_NO_USAGE_STATS="1", HF_HUB_OFFLINE="1")
os.environ.setdefault("OMP_NUM_THREADS", "1")

PROBLEMS, K, PROMPT, NEW, ROUNDS = 4, 32, 256, 64, 5


def save_model(folder: Path) -> None:
    """Save a random Llama with 5 M parameters and a tokenizer of single characters."""
    import torch
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    tokens = ["<pad>", "<eos>", "<unk>", "\n", *map(chr, range(32, 127))]
    backend = Tokenizer(models.WordLevel({token: i for i, token in enumerate(tokens)}, unk_token="<unk>"))
    backend.pre_tokenizer = pre_tokenizers.Split(Regex(r"[\s\S]"), "isolated")
    backend.decoder = decoders.Fuse()
    PreTrainedTokenizerFast(tokenizer_object=backend, eos_token="<eos>", unk_token="<unk>").save_pretrained(folder)
    torch.manual_seed(0)
    sizes = {"hidden_size": 256, "intermediate_size": 768, "num_hidden_layers": 6, "num_attention_heads": 4}
    config = LlamaConfig(**sizes, vocab_size=len(tokens), bos_token_id=None, eos_token_id=1, tie_word_embeddings=False)
    LlamaForCausalLM(config).save_pretrained(folder)


def main() -> None:
    """Print one line per way."""
    try:
        import vllm
        from lm_eval.models.vllm_causallms import VLLM

        from wise_merge.sampling.vllm import VLLMPassK
    except ImportError as error:
        print(f"vllm-passk is not timed: {error} (`make test-vllm` sets up an environment that has vLLM)")
        return
    from lm_eval.api.instance import Instance

    from wise_merge.sampling import seeds

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        save_model(folder)
        sizes = {"dtype": "float32", "kv_cache_memory_bytes": 512 << 20, "max_model_len": 1024}
        model = VLLMPassK(pretrained=name, enforce_eager=True, seed=0, batch_size=PROBLEMS * K, **sizes)
        prompts = ["".join(chr(33 + (31 * i + 7 * j * j) % 90) for j in range(PROMPT)) for i in range(PROBLEMS)]
        settings = {"do_sample": True, "temperature": 1.0, "until": ["\n\n\n"], "max_gen_toks": NEW}

        def requests() -> list[Instance]:
            sent = []
            for prompt in prompts:
                request = Instance("generate_until", {}, (prompt, dict(settings)), 0)
                request.task_name, request.repeats = "benchmark", K
                sent += [request] * K
            return sent

        def alone() -> list[str]:
            stop, plain = ["\n\n\n", "<eos>"], {"skip_special_tokens": False, "spaces_between_special_tokens": False}
            params = [
                vllm.SamplingParams(
                    n=K, seed=seeds.problem_seed(0, "benchmark", prompt), max_tokens=NEW, stop=stop, **plain
                )
                for prompt in prompts
            ]
            asked = [vllm.TokensPrompt(prompt_token_ids=tokens) for tokens in model.tok_encode(prompts)]
            outputs = model.model.generate(asked, params, use_tqdm=False)
            return [one.text for output in outputs for one in output.outputs]

        def ours(logprobs: bool = True) -> list[str]:
            model._logprobs = logprobs
            return model.generate_until(requests(), disable_tqdm=True)

        def parents() -> list[str]:
            return VLLM.generate_until(model, requests(), disable_tqdm=True)

        ways: dict[str, Callable[[], list[str]]] = {
            "LLM.generate(n=K)": alone,
            "vllm-passk": ours,
            "vllm-passk logprobs=false": lambda: ours(False),
            "lm-eval's vllm": parents,
        }
        times: dict[str, list[float]] = {way: [] for way in ways}
        for turn in range(ROUNDS + 1):
            texts = {}
            for way, sample in ways.items():
                model.model.reset_prefix_cache()
                start = time.perf_counter()
                texts[way] = sample()
                # The first turn warms up.
                if turn:
                    times[way].append(time.perf_counter() - start)
        same = texts["vllm-passk"] == texts["LLM.generate(n=K)"]
        print(f"vLLM {vllm.__version__}: {PROBLEMS} prompts of {PROMPT} tokens, K = {K}, {NEW} new tokens")
        print(f"  vllm-passk gives {'the same samples as' if same else 'OTHER SAMPLES THAN'} LLM.generate(n=K)")
        for way, taken in times.items():
            ratio = statistics.median(a / b for a, b in zip(taken, times["LLM.generate(n=K)"], strict=True))
            print(f"  {way:26} {statistics.median(taken):6.2f} s   {ratio:5.2f} x LLM.generate(n=K)")


if __name__ == "__main__":
    sys.exit(main())
