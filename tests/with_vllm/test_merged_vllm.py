"""The engine of `wise-merge sweep --backend vllm`, which becomes one average after the other: `make test-vllm`.

What it says is compared with engines that are started on the checkpoints that `wise-merge merge` writes.
"""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

# Before vLLM is imported: the engine in this process, nothing compiled, nothing asked of the network.
os.environ.setdefault("VLLM_ENABLE_V1_MULTIPROCESSING", "0")
os.environ.setdefault("VLLM_LOGGING_LEVEL", "ERROR")
os.environ.setdefault("VLLM_NO_USAGE_STATS", "1")
os.environ.setdefault("TORCH_COMPILE_DISABLE", "1")

pytest.importorskip("vllm", reason="needs vLLM: `make test-vllm` runs this file in an environment that has it")

import torch
import yaml
from lm_eval.api.instance import Instance
from safetensors.torch import load_file, save_file
from support.checkpoints import make_checkpoint, tiny_llama
from transformers import MixtralConfig
from vllm import SamplingParams, TokensPrompt

from wise_merge.errors import WiseMergeError
from wise_merge.hosts.lm_eval.messages import TaskInputError
from wise_merge.merge.pipeline import merge_recipe
from wise_merge.recipes.models import Ingredients
from wise_merge.sampling import vllm_worker
from wise_merge.sampling.merged_vllm import MergedVLLM
from wise_merge.sampling.vllm import VLLMPassK
from wise_merge.tensor_files.contents import write

ENGINE = {"dtype": "float32", "enforce_eager": True, "kv_cache_memory_bytes": 64 << 20, "max_model_len": 1024}
NAMES = ("sft/checkpoint-1", "sft/checkpoint-2")
TWO = Ingredients(NAMES[0], NAMES[1:])
SIZES = {"hidden_size": 64, "intermediate_size": 128}
#: Kept, since the first engine of a process that is given up takes what all of them share with it.
ENGINES = []
#: The second is longer than a block of the prefix cache (128 tokens on a processor), twice.
PROMPTS = ["Target: 7", "".join(chr(33 + (31 * i + 7 * i * i) % 90) for i in range(300))]


def wise_ft(alpha, **settings):
    models = [{"model": NAMES[1]}]
    return {
        "merge_method": "wise_ft",
        "base_model": NAMES[0],
        "models": models,
        "parameters": {"alpha": alpha},
    } | settings


def bang(alpha, early, late):
    models = [
        {"model": name, "parameters": {"temperature": temperature}}
        for name, temperature in zip(NAMES, (early, late), strict=True)
    ]
    return {"merge_method": "bang", "base_model": NAMES[0], "models": models, "parameters": {"alpha": alpha}}


class Run:
    """An early and a late checkpoint, and an engine that was started on the early one."""

    def __init__(self, folder, config, dtype="float32"):
        self.folder = folder
        self.folders = tuple(
            make_checkpoint(folder / name, seed=seed, dtype=dtype, config=config)
            for seed, name in enumerate(NAMES, start=1)
        )
        self.settings = {**ENGINE, "dtype": dtype}
        self.model = MergedVLLM(self.folders[0], **self.settings)
        ENGINES.append(self.model)

    def become(self, recipe, late=None):
        folders = [self.folders[0], late or self.folders[1]]
        self.model.replace_weights(folders, TWO, recipe, f"alpha {recipe['parameters']['alpha']}", json.dumps(recipe))

    def answers(self, recipe):
        self.become(recipe)
        return answers(self.model)

    def fresh(self, recipe):
        """The answers of an engine that is started on the merged checkpoint."""
        number = len(list(self.folder.glob("*.yml")))
        text = yaml.safe_dump(recipe)
        for name, place in zip(NAMES, self.folders, strict=True):
            text = text.replace(name, str(place))
        path, out = self.folder / f"{number}.yml", self.folder / f"merged-{number}"
        path.write_text(text)
        merge_recipe(path, out, alphas=None, out_dtype=None, force=False, check=False, say=str, warn=str)
        ENGINES.append(VLLMPassK(pretrained=str(out), **self.settings))
        return answers(ENGINES[-1])


def answers(model):
    """Tokens and log-probabilities of greedy completions."""
    params = SamplingParams(temperature=0, max_tokens=32, logprobs=0, ignore_eos=True)
    asked = [TokensPrompt(prompt_token_ids=tokens) for tokens in model.tok_encode(PROMPTS)]
    found = []
    # One by one, so that the second meets what is left of its last time in the prefix cache.
    for prompt in asked:
        (output,) = model.model.generate([prompt], params, use_tqdm=False)[0].outputs
        tokens = list(output.token_ids)
        found.append([(one, part[one].logprob) for one, part in zip(tokens, output.logprobs, strict=True)])
    return found


def requests(k=4):
    settings = {"do_sample": True, "temperature": 1.0, "top_p": 1.0, "top_k": 0, "until": ["zz"], "max_gen_toks": 16}
    sent = []
    for prompt in PROMPTS:
        request = Instance("generate_until", {}, (prompt, settings), 0)
        request.task_name, request.repeats = "task", k
        sent += [request] * k
    return sent


@pytest.fixture(scope="module")
def experts(tmp_path_factory):
    """A mixture of experts, started before all others: vLLM groups the processes of such a model once."""
    config = MixtralConfig(
        **tiny_llama(**SIZES).to_diff_dict() | {"model_type": "mixtral"}, num_local_experts=4, sliding_window=None
    )
    return Run(tmp_path_factory.mktemp("experts"), config, dtype="bfloat16")


@pytest.fixture(scope="module")
def untied(experts, tmp_path_factory):
    return Run(tmp_path_factory.mktemp("untied"), tiny_llama(**SIZES, tie_word_embeddings=False))


@pytest.fixture(scope="module")
def tied(experts, tmp_path_factory):
    return Run(tmp_path_factory.mktemp("tied"), tiny_llama(**SIZES, tie_word_embeddings=True))


@pytest.fixture(params=["experts", "untied", "tied"])
def each(request):
    return request.getfixturevalue(request.param)


def test_nothing_is_sampled_before_the_first_average(untied):
    """Samples of the checkpoint that the engine was started with would belong to no point."""
    untied.model._merged = None
    with pytest.raises(TaskInputError, match="no merge yet"):
        untied.model.generate_until(requests(), disable_tqdm=True)
    with pytest.raises(WiseMergeError, match="no merge yet"):
        untied.model.loglikelihood([Instance("loglikelihood", {}, ("a", "b"), 0)])


def test_an_average_is_that_of_an_engine_started_on_the_merged_checkpoint(each):
    """Greedy tokens and log-probabilities to the last bit, up and down the alphas, whatever the model."""
    alphas = [0.3, 1.0, 0.0, 0.6, 0.3]
    found = [each.answers(wise_ft(alpha)) for alpha in alphas]
    assert found[0] == found[4]
    assert all(one != other for number, one in enumerate(found[:4]) for other in found[:number])
    assert found[0] == each.fresh(wise_ft(0.3))


def test_balanced_temperatures_are_folded_in(each):
    """`bang` as `wise-merge merge` writes it, which is not `wise_ft`."""
    recipe = bang(0.4, 1.3, 0.8)
    found = each.answers(recipe)
    assert found == each.fresh(recipe)
    assert found != each.answers(wise_ft(0.4))


def test_casts_are_those_of_the_recipe(untied):
    """Averaged in float32, rounded to bfloat16 as the file would be, and loaded in float32."""
    recipe = wise_ft(0.4, dtype="float32", out_dtype="bfloat16")
    found = untied.answers(recipe)
    assert found == untied.fresh(recipe)
    assert found != untied.answers(wise_ft(0.4))


def test_a_signature_is_added_in_the_engine(untied):
    """The part of a file that belongs to a tensor reaches it, though vLLM stacks and cuts tensors in its own way."""
    (name,), folder = NAMES[:1], untied.folders[0]
    drawn = torch.Generator().manual_seed(0)
    tensors = {}
    for one, tensor in load_file(folder / "model.safetensors").items():
        tensors[one] = torch.randint(-127, 128, tensor.shape, generator=drawn).to(torch.int8)
        tensors[f"{one}.scale"] = torch.full((*tensor.shape[:-1], 1), 1e-3)
    path = untied.folder / "signature.safetensors"
    write(path, "signature", tensors, {"architecture": "LlamaForCausalLM", "tied": "false", "dtype": "int8"})
    recipe = {
        "merge_method": "weight_signature",
        "models": [{"model": name}],
        "parameters": {"signature": str(path), "strength": 0.5},
    }
    untied.model.replace_weights([folder], Ingredients(None, (name,)), recipe, "signature", json.dumps(recipe))
    found = answers(untied.model)
    assert found == untied.fresh(recipe)
    assert found != untied.answers(wise_ft(0.0))


def test_the_prefix_cache_is_emptied(untied, monkeypatch):
    """Without that, a prompt seen before is answered from keys and values of other weights."""
    right = untied.answers(wise_ft(0.7))
    untied.answers(wise_ft(0.2))
    with monkeypatch.context() as changed:
        changed.setattr(untied.model.model, "reset_prefix_cache", lambda **_: True)
        wrong = untied.answers(wise_ft(0.7))
    assert wrong[0] == right[0]
    assert wrong[1] != right[1]
    assert untied.answers(wise_ft(0.7)) == right


@pytest.mark.parametrize(("which", "step"), [("tied", "repack_tied"), ("experts", "unpack_experts")])
def test_what_vllm_does_not_pack_anew_is_packed(request, monkeypatch, which, step):
    """Without the step, the LM head stays that of the average before, and experts are read in a wrong layout."""
    run = request.getfixturevalue(which)
    right = run.answers(wise_ft(0.7))
    run.answers(wise_ft(0.2))
    with monkeypatch.context() as changed:
        changed.setattr(vllm_worker, step, lambda model: None)
        assert run.answers(wise_ft(0.7)) != right
    assert run.answers(wise_ft(0.7)) == right


def changed_late(run, folder, name, value):
    """The late checkpoint with one number replaced."""
    late = shutil.copytree(run.folders[1], folder / "changed")
    tensors = load_file(late / "model.safetensors")
    tensors[name][5, 7] = value
    save_file(tensors, late / "model.safetensors", metadata={"format": "pt"})
    return late


@pytest.mark.parametrize(
    ("value", "out_dtype", "message"), [(float("nan"), None, "contains nan"), (3e38, "float16", "does not fit")]
)
def test_what_is_not_finite_leaves_an_engine_that_can_go_on(untied, tmp_path, value, out_dtype, message):
    """One line; no sample until the next average, and that one is as if nothing had happened.

    The tensor is the second of three in one layer of vLLM's: what was read of it must not be left over.
    """
    right = untied.answers(wise_ft(0.7))
    late = changed_late(untied, tmp_path, "model.layers.1.self_attn.k_proj.weight", value)
    recipe = wise_ft(0.5, **({"out_dtype": out_dtype} if out_dtype else {}))
    with pytest.raises(WiseMergeError, match=rf"k_proj.weight.*{message}"):
        untied.become(recipe, late=late)
    with pytest.raises(TaskInputError, match="no merge yet"):
        untied.model.generate_until(requests(), disable_tqdm=True)
    assert untied.answers(wise_ft(0.7)) == right


def test_the_journal_tells_averages_apart_and_finds_them_again(untied, tmp_path, monkeypatch):
    """Each is known by its digest: of another one nothing is found, of the same one everything."""
    model = untied.model
    monkeypatch.setattr(model, "_journal", tmp_path)
    monkeypatch.setattr(model, "_run_seed", 5)
    drawn = []
    original = model._draw

    def draw(pending, deliver):
        drawn.append(sum(len(one.missing) for one in pending))
        original(pending, deliver)

    monkeypatch.setattr(model, "_draw", draw)
    texts, runs = [], []
    for alpha in (0.2, 0.8, 0.2):
        untied.become(wise_ft(alpha))
        texts.append(model.generate_until(requests(), disable_tqdm=True))
        runs.append(model.runs["task"])
    assert drawn == [8, 8, 0]
    assert texts[0] == texts[2] != texts[1]
    assert runs[0] == runs[2] != runs[1]
    identity = model._identity()
    assert identity["name"] == "alpha 0.2"
    assert identity["weights"] == json.dumps(wise_ft(0.2))


@pytest.mark.parametrize("name", ["lora_local_path", "quantization", "cpu_offload_gb"])
def test_arguments_under_which_weights_are_others_are_refused(untied, name):
    """Before the engine is started, by their name."""
    with pytest.raises(WiseMergeError, match=f"model_args {name} cannot be used"):
        MergedVLLM(untied.folders[0], **{name: "1"})


def test_a_quantised_checkpoint_is_refused(untied, tmp_path):
    """Its integers are no weights."""
    early = shutil.copytree(untied.folders[0], tmp_path / "early")
    config = json.loads((early / "config.json").read_text())
    (early / "config.json").write_text(json.dumps({**config, "quantization_config": {"quant_method": "awq"}}))
    with pytest.raises(WiseMergeError, match="quantised"):
        MergedVLLM(early)


PROCESSES = """
import json, sys
from pathlib import Path
from test_merged_vllm import ENGINE, TWO, WiseMergeError, requests, wise_ft
from wise_merge.sampling.merged_vllm import MergedVLLM

if __name__ == "__main__":
    early, late, broken = map(Path, sys.argv[1:4])
    model = MergedVLLM(early, seed=5, **ENGINE, **json.loads(sys.argv[4]))
    said = []
    for folder, alpha in ((late, 0.2), (broken, 0.5), (late, 0.8)):
        try:
            model.replace_weights([early, folder], TWO, wise_ft(alpha), "a merge", str(alpha))
            said.append([[str(one), one.logprob] for one in model.generate_until(requests(16), disable_tqdm=True)])
        except WiseMergeError as error:
            said.append(str(error))
    print("SAID", json.dumps(said))
"""


@pytest.mark.parametrize("engines", ["data_parallel_size", "tensor_parallel_size"])
def test_every_process_becomes_the_average(tied, tmp_path, monkeypatch, engines):
    """Two engines, or one over two workers: the samples of one in this process, before and after an error."""
    cores = sorted(os.sched_getaffinity(0))
    if len(cores) < 2:
        pytest.skip("vLLM's workers for processors want a core each, and there is one")
    broken = changed_late(tied, tmp_path, "model.layers.1.self_attn.k_proj.weight", float("nan"))
    (tmp_path / "processes.py").write_text(PROCESSES)
    paths = [str(Path(__file__).parent), str(Path(__file__).parent.parent)]
    settings = {"PYTHONPATH": os.pathsep.join(paths)}
    if engines == "tensor_parallel_size":
        # Left to itself, vLLM wants a processor of its own for each worker.
        settings["VLLM_CPU_OMP_THREADS_BIND"] = f"{cores[0]}|{cores[1]}"
    run = subprocess.run(
        [sys.executable, "processes.py", *map(str, (*tied.folders, broken)), json.dumps({engines: 2})],
        cwd=tmp_path,
        env={**os.environ, **settings},
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    (line,) = [line for line in run.stdout.splitlines() if line.startswith("SAID ")]
    first, error, second = json.loads(line.removeprefix("SAID "))
    assert "k_proj.weight" in error
    assert "contains nan" in error
    monkeypatch.setattr(tied.model, "_run_seed", 5)
    for alpha, theirs in ((0.2, first), (0.8, second)):
        tied.become(wise_ft(alpha))
        ours = tied.model.generate_until(requests(16), disable_tqdm=True)
        assert [text for text, _ in theirs] == ours
        # Other batches and the sum over two workers round differently.
        assert [logprob for _, logprob in theirs] == pytest.approx([one.logprob for one in ours], abs=1e-4)
