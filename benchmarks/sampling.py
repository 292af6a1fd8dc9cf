"""What drawing K samples costs with `--model hf-passk`, beside lm-eval's `--model hf`, in the same run.

Small random Llamas on the CPU, one thread. Both sides get the same requests from the same task settings,
take turns, and the median of each counts. lm-eval's class is given several batch sizes: its best one is
what we are compared with, and the one at which it has as many rows at once as we have is shown beside it.
"""

import logging
import os
import random
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

ROUNDS = 3
SAMPLES = 32
ROWS = 64


def checkpoint(directory: Path, vocabulary: int) -> Path:
    """Save a random Llama, 3 million weights without its vocabulary, with a tokenizer of one token per word."""
    import torch
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=vocabulary,
        hidden_size=256,
        intermediate_size=688,
        num_hidden_layers=4,
        num_attention_heads=4,
        num_key_value_heads=4,
        tie_word_embeddings=True,
        max_position_embeddings=4096,
        bos_token_id=None,
        pad_token_id=0,
        eos_token_id=1,
    )
    LlamaForCausalLM(config).save_pretrained(directory)
    tokens = {token: i for i, token in enumerate(["<pad>", "<eos>", *(f"w{i}" for i in range(2, vocabulary))])}
    backend = Tokenizer(models.WordLevel(tokens, unk_token="<pad>"))
    backend.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    PreTrainedTokenizerFast(tokenizer_object=backend, pad_token="<pad>", eos_token="<eos>").save_pretrained(directory)
    return directory


def requests(problems: int, prompt: int, new: int, vocabulary: int, until: list[str]) -> list[Any]:
    """Return lm-eval's requests: SAMPLES references to each of the problems."""
    from lm_eval.api.instance import Instance

    rng = random.Random(f"{prompt} {new}")
    made = []
    for doc in range(problems):
        words = " ".join(f"w{rng.randrange(2, vocabulary)}" for _ in range(prompt))
        settings = {"until": until, "max_gen_toks": new, "do_sample": True, "temperature": 1.0, "top_k": 0}
        made += [Instance("generate_until", {}, (words, settings), 0, ("bench", doc, SAMPLES))] * SAMPLES
    return made


def seconds(call: Callable[[], Any]) -> float:
    """Return the processor seconds that a call takes."""
    begin = time.process_time()
    call()
    return time.process_time() - begin


def compare(folder: Path, vocabulary: int, case: tuple[str, int, int, int, list[str], tuple[int, ...]]) -> None:
    """Print one line: lm-eval's times, ours, and the ratios."""
    from lm_eval.models.huggingface import HFLM

    from wise_merge.sampling.hf import HFPassK

    name, problems, prompt, new, until, sizes = case
    asked = requests(problems, prompt, new, vocabulary, until)
    common = {"pretrained": str(folder), "device": "cpu", "dtype": "float32"}
    ours = HFPassK(**common, batch_size=ROWS)
    theirs = HFLM(**common)
    times: dict[int, list[float]] = {size: [] for size in (0, *sizes)}
    for _ in range(ROUNDS):
        for size, taken in times.items():
            theirs.batch_size_per_gpu = size
            model = theirs if size else ours
            taken.append(seconds(lambda model=model: model.generate_until(asked, disable_tqdm=True)))
    medians = {size: statistics.median(taken) for size, taken in times.items()}
    best = min(sizes, key=medians.__getitem__)
    mine = medians[0]
    print(
        f"{name:42}{mine:8.2f} s{medians[ROWS]:10.2f} s{medians[ROWS] / mine:7.1f}x"
        f"{medians[best]:10.2f} s{medians[best] / mine:7.1f}x  at {best}",
        flush=True,
    )


def main() -> None:
    """Print the table."""
    import torch

    torch.set_num_threads(1)
    logging.disable(logging.WARNING)
    print(f"{'':42}{'hf-passk':>10}{f'hf, batch {ROWS}':>20}{'hf, its best batch':>20}")
    with tempfile.TemporaryDirectory() as name:
        for vocabulary in (4096, 50_000):
            folder = checkpoint(Path(name) / str(vocabulary), vocabulary)
            print(f"vocabulary {vocabulary}, {SAMPLES} samples of each problem, {ROWS} at once")
            for case in [
                ("prompt of 512 tokens, 16 new ones", 2, 512, 16, [], (8, 32, 64)),
                ("prompt of 512 tokens, 64 new ones", 2, 512, 64, [], (8, 32, 64)),
                ("prompt of 16 tokens, 64 new ones", 4, 16, 64, [], (64, 128)),
                # Words that begin so: one token in 20, so that completions end at different times.
                ("prompt of 16 tokens, 2 stop strings", 4, 16, 128, ["w8", "w9"], (8, 64, 128)),
            ]:
                compare(folder, vocabulary, case)


if __name__ == "__main__":
    main()
