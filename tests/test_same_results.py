"""Merges, samples, verdicts and figures of a fixed set are those of earlier versions, bit for bit.

The digests were taken before the code was laid out anew. One that changes is a change for users: it belongs into
CHANGELOG.md, and only then into this file.
"""

import hashlib
import json
import random

import pytest
import torch
import yaml
from click.testing import CliRunner
from safetensors.torch import load_file, save_file
from support.checkpoints import character_tokenizer

from wise_merge.cli import main

DIGESTS = {
    "wise_ft, bfloat16": ["9be1fbb72dea57d1", "6af49281bf2c8dfa"],
    "wise_ft, float32": ["9e7d5b8becfadddd", "5c75aeed0ced763b"],
    "wise_ft by layer, bfloat16": ["179db29b09a28553", "65af2b55109960e8"],
    "wise_ft by layer, float32": ["2fcc53bba185158b", "59216f7941edf941"],
    "wise_ft at early, bfloat16": ["451c6cbfd3d86011", "e4debff08e484ce2"],
    "wise_ft at early, float32": ["eb0b1436aa9ac2fe", "e4debff08e484ce2"],
    "bang, bfloat16": ["ea124c16e30f3347", "3db139d1c9adb47a"],
    "bang, float32": ["9e3d3acba77f9e98", "683cc8686fba0d1c"],
    "bang in float32, bfloat16": ["02613a17f6f1d2e8", "fea19af684e91126"],
    "bang in float32, float32": ["330255b3f4a20ac2", "3fee3ad8e92fa6c5"],
    "wise_ft to float16, bfloat16": ["4e242127bfbb8f40", "87d1943b5425d5ec"],
    "wise_ft to float16, float32": ["4490eae846f7348e", "5e77ed428fc5c097"],
    "samples": ["8847ed3e1f1bb41f", "15dbe931fb184efe"],
    "score, math": "21eeb74a107ab18b",
    "score, gsm8k": "02cc426a85a87d7a",
}

#: Of a Llama with two layers; the numbers in it are made below, by integer arithmetic that no library changes.
CONFIG = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 2,
    "vocab_size": 99,
    "max_position_embeddings": 8192,
    "rms_norm_eps": 1e-6,
    "tie_word_embeddings": False,
    "pad_token_id": 0,
    "eos_token_id": 1,
    "bos_token_id": None,
    "hidden_act": "silu",
    "dtype": "float32",
}


def shapes():
    found = {"model.embed_tokens.weight": (99, 32), "lm_head.weight": (99, 32), "model.norm.weight": (32,)}
    for layer in range(2):
        at = f"model.layers.{layer}"
        found |= {f"{at}.self_attn.{name}_proj.weight": (32, 32) for name in "qkvo"}
        found |= {f"{at}.mlp.{name}_proj.weight": (64, 32) for name in ("gate", "up")}
        found |= {f"{at}.mlp.down_proj.weight": (32, 64)}
        found |= {f"{at}.{name}_layernorm.weight": (32,) for name in ("input", "post_attention")}
    return found


def checkpoint(folder, seed, dtype):
    """Write a checkpoint whose weights are multiples of 2^-12 drawn by Python's own generator."""
    folder.mkdir(parents=True)
    drawn = random.Random(seed)
    tensors = {}
    for name, shape in shapes().items():
        count = torch.Size(shape).numel()
        numbers = torch.tensor([drawn.randrange(-2048, 2049) for _ in range(count)], dtype=torch.float64)
        tensors[name] = (numbers / 4096 + ("norm" in name)).view(shape).to(dtype)
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    (folder / "config.json").write_text(json.dumps({**CONFIG, "dtype": str(dtype).removeprefix("torch.")}))
    character_tokenizer().save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """Two checkpoints in bfloat16 and two in float32."""
    folder = tmp_path_factory.mktemp("fixed")
    for dtype in ("bfloat16", "float32"):
        for seed, name in enumerate(("early", "late")):
            checkpoint(folder / dtype / name, seed, getattr(torch, dtype))
    return folder


def of_weights(folder):
    """The digest of all tensors of a model: names, shapes, dtypes, bits."""
    digest = hashlib.sha256()
    for file in sorted(folder.glob("*.safetensors")):
        for name, tensor in sorted(load_file(file).items()):
            digest.update(f"{name} {tuple(tensor.shape)} {tensor.dtype}".encode())
            digest.update(tensor.contiguous().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()[:16]


def of_json(value, form=".9g"):
    """The digest of JSON with its numbers in a short form: the order of a sum may differ between processors."""

    def rounded(part):
        if isinstance(part, float):
            return format(part if abs(part) > 1e-9 else 0.0, form)
        if isinstance(part, dict):
            return {key: rounded(one) for key, one in part.items()}
        return [rounded(one) for one in part] if isinstance(part, (list, tuple)) else part

    return hashlib.sha256(json.dumps(rounded(value), sort_keys=True).encode()).hexdigest()[:16]


RECIPES = {
    "wise_ft": {"merge_method": "wise_ft", "parameters": {"alpha": 0.3}},
    "wise_ft by layer": {
        "merge_method": "wise_ft",
        "parameters": {"alpha": [{"filter": "mlp", "value": [0.1, 0.9]}, {"value": 0.625}]},
    },
    "wise_ft at early": {"merge_method": "wise_ft", "parameters": {"alpha": 0.0}},
    "bang": {"merge_method": "bang", "parameters": {"alpha": 0.3, "temperature": 1.25}},
    "bang in float32": {"merge_method": "bang", "parameters": {"alpha": 0.7, "temperature": 0.8}, "dtype": "float32"},
    "wise_ft to float16": {"merge_method": "wise_ft", "parameters": {"alpha": 0.5}, "out_dtype": "float16"},
}


@pytest.mark.skipif(
    torch.backends.cpu.get_cpu_capability() not in ("AVX2", "AVX512"),
    reason="the digests are of processors that multiply and add with one rounding, as torch does from AVX2 on",
)
@pytest.mark.parametrize("dtype", ["bfloat16", "float32"])
@pytest.mark.parametrize("name", RECIPES)
def test_merges(name, dtype, run, tmp_path):
    """Weights, and the record of what was measured."""
    early, late = run / dtype / "early", run / dtype / "late"
    recipe = {"base_model": str(early), "models": [{"model": str(late)}], **RECIPES[name]}
    (tmp_path / "recipe.yml").write_text(yaml.safe_dump(recipe))
    done = CliRunner().invoke(main, ["merge", str(tmp_path / "recipe.yml"), str(tmp_path / "out")])
    assert done.exit_code == 0, done.output
    record = json.loads((tmp_path / "out/wise_merge.json").read_text())
    known = {key: record[key] for key in ("merge_method", "alpha", "temperatures", "dtype", "out_dtype", "measured")}
    # Rounding errors are differences of sums that nearly cancel.
    assert [of_weights(tmp_path / "out"), of_json(known, ".4f")] == DIGESTS[f"{name}, {dtype}"]


def test_samples(run, tmp_path):
    """Texts of a sweep in float64, where no processor's rounding decides a token, with verdicts and votes."""
    rows = [{"problem": f"What is {number} + {number}?", "answer": str(2 * number)} for number in range(6)]
    (tmp_path / "digits.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    settings = {
        "early": str(run / "float32/early"),
        "late": str(run / "float32/late"),
        "alphas": [0.375],
        "temperatures": [0.5],
        "tasks": ["math500_passk"],
        "samples": 6,
        "num_fewshot": 0,
        "device": "cpu",
        "dtype": "float64",
        "model_args": {"dtype": "float64"},
        "gen_kwargs": {"max_gen_toks": 12},
        "metadata": {"data_file": str(tmp_path / "digits.jsonl")},
    }
    (tmp_path / "sweep.yml").write_text(yaml.safe_dump(settings))
    done = CliRunner().invoke(main, ["sweep", str(tmp_path / "sweep.yml"), "--out", str(tmp_path / "out")])
    assert done.exit_code == 0, done.output
    points = {}
    for path in sorted((tmp_path / "out/points").rglob("*.json")):
        found = json.loads(path.read_text())
        # With the folder's name in it, which is another one each time.
        points[path.name.partition("-alpha")[2]] = {key: found[key] for key in found if key != "run"}
    texts = sorted(
        line
        for path in (tmp_path / "out/journal").glob("*.jsonl")
        for line in path.read_text().splitlines()
        if '"text"' in line
    )
    assert [of_json(points), of_json([json.loads(line).get("text") for line in texts])] == DIGESTS["samples"]


def test_verdicts_and_figures(tmp_path):
    """Of `wise-merge score`, over answers of every kind, right and wrong."""
    drawn = random.Random(5)
    forms = [
        r"so the answer is \boxed{{{0}}}.",
        "#### {0}",
        "The answer is: {0}",
        r"$\frac{{{1}}}{{2}}$ is it: \boxed{{\frac{{{1}}}{{2}}}}",
        r"\boxed{{{0}.0}} and not {2}",
        "I do not know.",
        "",
    ]
    rows = []
    for number in range(40):
        gold = drawn.randrange(100)
        samples = [
            drawn.choice(forms).format(value := gold + drawn.choice([0, 0, 1, 7]), 2 * value, value + 1)
            for _ in range(16)
        ]
        rows.append({"id": number, "gold": str(gold), "completions": samples})
    (tmp_path / "samples.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    for benchmark in ("math", "gsm8k"):
        out = tmp_path / f"{benchmark}.json"
        options = ["--benchmark", benchmark, "--json", str(out)]
        done = CliRunner().invoke(main, ["score", str(tmp_path / "samples.jsonl"), *options])
        assert done.exit_code == 0, done.output
        written = json.loads(out.read_text())
        written.pop("version", None)
        for file in written["files"]:
            for added_since in ("judged_by", "verdicts", "notes"):
                file.pop(added_since)
        text = json.dumps(written).replace(str(tmp_path), "")
        assert of_json(json.loads(text)) == DIGESTS[f"score, {benchmark}"]
