"""LoRA checkpoints, added tokens, pickles and links through the real `mergekit-yaml`."""

import json
import os
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from support.adapters import make_adapter
from support.checkpoints import Trap, character_tokenizer, make_checkpoint, pickled, tiny_llama
from support.merges import merge, weights
from support.tensors import one_rounding


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A base and two adapters of one run, for reading."""
    root = tmp_path_factory.mktemp("lora")
    make_checkpoint(root / "base", seed=0)
    for step in (25, 600):
        make_adapter(root / f"checkpoint-{step}", root / "base", seed=step)
    return root


def recipe(run, early="base+checkpoint-25", late="base+checkpoint-600", *, alpha=0.3, **changes):
    """A recipe whose names are folders of the run."""
    early, late = ("+".join(f"{run}/{part}" for part in name.split("+")) for name in (early, late))
    return {
        "merge_method": "wise_ft",
        "base_model": early,
        "models": [{"model": late}],
        "parameters": {"alpha": alpha},
        **changes,
    }


def dense(run, step, scale=16 / 4):
    """base + scale * B A in float64, tensor by tensor."""
    product = {name: tensor.double() for name, tensor in weights(run / "base").items()}
    factors = load_file(run / f"checkpoint-{step}" / "adapter_model.safetensors")
    for name, a in factors.items():
        if "lora_A" in name:
            b = factors[name.replace("lora_A", "lora_B")]
            target = name.removeprefix("base_model.model.").replace("lora_A.", "")
            product[target] += scale * b.double() @ a.double()
    return product


def far(one, other):
    """The largest difference of two sets of tensors."""
    return max(float((one[name].double() - other[name].double()).abs().max()) for name in one)


def test_the_average_is_of_the_dense_products(run, tmp_path):
    """As float64 arithmetic has it; averaging A and B instead would give another model."""
    result = merge(recipe(run), tmp_path / "out", "--lora-merge-cache", str(tmp_path / "cache"))
    assert result.exit_code == 0, result.output
    early, late, merged = dense(run, 25), dense(run, 600), weights(tmp_path / "out")
    expected = {name: 0.7 * early[name] + 0.3 * late[name] for name in early}
    assert merged.keys() == expected.keys()
    assert far(merged, expected) < 1e-6  # PEFT's product and ours are in float32; the weights are near 1

    shutil.copytree(run, tmp_path / "wrong")
    first, second = (load_file(run / f"checkpoint-{step}" / "adapter_model.safetensors") for step in (25, 600))
    factors = {name: 0.7 * first[name] + 0.3 * second[name] for name in first}
    save_file(factors, tmp_path / "wrong" / "checkpoint-25" / "adapter_model.safetensors")
    assert far(dense(tmp_path / "wrong", 25), expected) > 0.1


def test_the_early_checkpoint_may_be_the_base_itself(run, tmp_path):
    """Then the average scales the adapter's product."""
    result = merge(recipe(run, "base"), tmp_path / "out", "--lora-merge-cache", str(tmp_path / "cache"))
    assert result.exit_code == 0, result.output
    base, late = weights(run / "base"), dense(run, 600)
    assert far(weights(tmp_path / "out"), {name: 0.7 * base[name].double() + 0.3 * late[name] for name in late}) < 1e-6


def test_bfloat16_products_lose_less_in_float32(tmp_path):
    """mergekit rounds each product to the base's dtype; --lora-merge-dtype and dtype leave one rounding at the end."""
    make_checkpoint(tmp_path / "base", seed=0, dtype="bfloat16")
    for step in (25, 600):
        make_adapter(tmp_path / f"checkpoint-{step}", tmp_path / "base", seed=step, dtype="float32")
    cache = ("--lora-merge-cache", str(tmp_path / "cache"))
    wide = {"dtype": "float32", "out_dtype": "bfloat16"}
    for name, changes, options in (("plain", {}, ()), ("wide", wide, ("--lora-merge-dtype", "float32"))):
        result = merge(recipe(tmp_path, **changes), tmp_path / name, *cache, *options)
        assert result.exit_code == 0, result.output
    early, late = dense(tmp_path, 25), dense(tmp_path, 600)
    misrounded = {"plain": 0, "wide": 0}
    for name in early:
        expected = 0.7 * early[name] + 0.3 * late[name]
        for out in misrounded:
            tensor = load_file(tmp_path / out / "model.safetensors")[name]
            assert tensor.dtype == torch.bfloat16
            misrounded[out] += int((tensor != expected.bfloat16()).sum())
        rounding = one_rounding(early[name].bfloat16(), late[name].bfloat16(), torch.bfloat16)
        assert ((tensor.double() - expected).abs() <= rounding).all(), name
    assert misrounded["wide"] * 20 < misrounded["plain"]


def test_a_retrained_adapter_gives_the_new_model(run, tmp_path):
    """At the same path and with the same cache; by mergekit's own way it gives the old one."""
    from mergekit.common import ModelReference

    shutil.copytree(run, tmp_path / "run")
    content, cache = recipe(tmp_path / "run"), str(tmp_path / "cache")
    reference = ModelReference.parse(content["base_model"])
    assert merge(content, tmp_path / "first", "--lora-merge-cache", cache).exit_code == 0
    theirs = getattr(ModelReference.merged, "__wrapped__", ModelReference.merged)
    theirs(reference, cache_dir=cache)
    old = weights(tmp_path / "first")
    make_adapter(tmp_path / "run" / "checkpoint-25", run / "base", seed=7)
    assert merge(content, tmp_path / "second", "--lora-merge-cache", cache).exit_code == 0
    new, late = dense(tmp_path / "run", 25), dense(run, 600)
    assert far(weights(tmp_path / "second"), {name: 0.7 * new[name] + 0.3 * late[name] for name in new}) < 1e-6
    stale = weights(Path(theirs(reference, cache_dir=cache).model.path))
    assert far(stale, dense(run, 25)) < 1e-6
    assert far(stale, new) > 0.1
    assert far(old, weights(tmp_path / "second")) > 0.1


def test_a_checkpoint_that_was_replaced_is_read_anew(tiny_run, tmp_path):
    """Within one process; mergekit keeps what it has read under a path."""
    shutil.copytree(tiny_run, tmp_path / "run")
    content = recipe(tmp_path / "run", "checkpoint-1", "checkpoint-2", alpha=1)
    assert merge(content, tmp_path / "first").exit_code == 0
    make_checkpoint(tmp_path / "run" / "checkpoint-2", seed=3)
    assert merge(content, tmp_path / "second").exit_code == 0
    assert far(weights(tmp_path / "second"), weights(tmp_path / "run" / "checkpoint-2")) == 0
    assert far(weights(tmp_path / "first"), weights(tmp_path / "second")) > 0.1


def test_a_cache_is_reused_and_never_half(run, tmp_path):
    """What a killed process left is passed over; what is there is not made again; what is damaged is named."""
    from mergekit.common import ModelReference

    cache = tmp_path / "cache"
    options = ("--lora-merge-cache", str(cache))
    reference = ModelReference.parse(recipe(run)["base_model"])
    left = cache / f"{reference.model._unique_id()}_{reference.lora._unique_id()}"
    left.mkdir(parents=True)
    (cache / "unfinished-x").mkdir()
    assert merge(recipe(run), tmp_path / "out", *options).exit_code == 0
    made = {path: path.stat().st_mtime_ns for path in cache.glob("checkpoint-*-*/model.safetensors")}
    assert len(made) == 2
    assert not list(left.iterdir())
    assert merge(recipe(run), tmp_path / "again", *options).exit_code == 0
    assert {path: path.stat().st_mtime_ns for path in cache.glob("checkpoint-*-*/model.safetensors")} == made
    next(iter(made)).write_bytes(b"")
    result = merge(recipe(run), tmp_path / "third", *options)
    assert result.exit_code == 1
    assert "the LoRA cache is damaged" in result.output
    assert "delete" in result.output


def test_another_dtype_of_the_sums_is_another_model(run, tmp_path):
    """Within one process and with one cache, as when the first result has shown the rounding."""
    for dtype in ("bfloat16", "float32"):
        options = ("--lora-merge-cache", str(tmp_path / "cache"), "--lora-merge-dtype", dtype)
        assert merge(recipe(run), tmp_path / dtype, *options).exit_code == 0
    assert {tensor.dtype for tensor in weights(tmp_path / "bfloat16").values()} == {torch.bfloat16}
    assert {tensor.dtype for tensor in weights(tmp_path / "float32").values()} == {torch.float32}
    assert len(list((tmp_path / "cache").iterdir())) == 4


def test_without_a_cache_folder_one_line_says_so(run, tmp_path):
    """mergekit needs a place for the dense products."""
    result = merge(recipe(run), tmp_path / "out")
    assert (result.exit_code, type(result.exception)) == (1, SystemExit)
    (line,) = result.output.splitlines()
    assert line.startswith("Error: ")
    assert "is a LoRA checkpoint" in line
    assert line.endswith("--lora-merge-cache DIR")
    assert not (tmp_path / "out").exists()


def test_relative_adapters_need_no_network_and_bring_their_tokenizer(run, tmp_path, console_script):
    """`sft/checkpoint-25` has the form of a name on the Hub; the chat template of the run lies beside the adapter."""
    shutil.copytree(run, tmp_path / "sft")
    tokenizer = character_tokenizer()
    tokenizer.chat_template = "{{ messages }} of this run"
    tokenizer.save_pretrained(tmp_path / "sft" / "checkpoint-25")
    content = recipe(run) | {
        "base_model": "sft/base+sft/checkpoint-25",
        "models": [{"model": "sft/base+sft/checkpoint-600"}],
    }
    (tmp_path / "wise.yml").write_text(json.dumps(content))
    result = console_script("mergekit-yaml", "wise.yml", "out", "--lora-merge-cache", "cache", cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    from transformers import AutoModelForCausalLM, AutoTokenizer

    assert AutoTokenizer.from_pretrained(tmp_path / "out").chat_template == tokenizer.chat_template
    AutoModelForCausalLM.from_pretrained(tmp_path / "out")


def test_a_base_in_the_hubs_cache_works_offline(run, tmp_path, console_script):
    """By its name there; snapshots link to blobs outside of the model's folder."""
    repository = tmp_path / "hub" / "models--lab--base"
    blobs, snapshot = repository / "blobs", repository / "snapshots" / ("0" * 40)
    shutil.copytree(run / "base", blobs)
    snapshot.mkdir(parents=True)
    for file in blobs.iterdir():
        (snapshot / file.name).symlink_to(os.path.relpath(file, snapshot))
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text("0" * 40)
    late = dense(run, 600)
    for early, first in (
        (f"lab/base+{run}/checkpoint-25", dense(run, 25)),
        (f"{snapshot}+{run}/checkpoint-25", dense(run, 25)),
        (str(snapshot), weights(run / "base")),
    ):
        content = recipe(run) | {
            "base_model": early,
            "models": [{"model": f"{early.split('+')[0]}+{run}/checkpoint-600"}],
        }
        out = tmp_path / f"out-{len(early)}"
        if early.startswith("lab"):
            (tmp_path / "wise.yml").write_text(json.dumps(content))
            command = ("mergekit-yaml", "wise.yml", out, "--lora-merge-cache", "cache")
            result = console_script(*command, cwd=tmp_path, HF_HUB_CACHE=str(tmp_path / "hub"))
            assert result.returncode == 0, result.stderr
        else:
            result = merge(content, out, "--lora-merge-cache", str(tmp_path / "cache"))
            assert result.exit_code == 0, result.output
        expected = {name: 0.7 * first[name].double() + 0.3 * tensor for name, tensor in late.items()}
        assert far(weights(out), expected) < 1e-6


def test_adapters_of_another_base_stop_the_merge(run, tmp_path):
    """Before a weight is read, with one line; of what proves nothing there is a warning."""
    make_checkpoint(tmp_path / "base", seed=5)
    shutil.copytree(run / "checkpoint-600", tmp_path / "checkpoint-600")
    content = recipe(run) | {"models": [{"model": f"{tmp_path}/base+{tmp_path}/checkpoint-600"}]}
    result = merge(content, tmp_path / "out", "--lora-merge-cache", str(tmp_path / "cache"))
    assert result.exit_code == 1
    assert result.output.count("Error") == 1
    assert "whose weights are not those of" in result.output
    assert not (tmp_path / "out").exists()
    assert not (tmp_path / "cache").exists()


def test_identical_and_swapped_checkpoints_are_warned_of(run, tmp_path, caplog):
    """By mergekit-yaml too, for adapters and for models."""
    for step in (25, 600):
        shutil.copytree(run / f"checkpoint-{step}", tmp_path / f"checkpoint-{step}")
        (tmp_path / f"checkpoint-{step}" / "trainer_state.json").write_text(json.dumps({"global_step": step}))
    shutil.copytree(run / "base", tmp_path / "base")
    options = ("--lora-merge-cache", str(tmp_path / "cache"))
    messages = []
    for number, (early, late) in enumerate(
        [
            ("base+checkpoint-600", "base+checkpoint-25"),
            ("base+checkpoint-25", "base+checkpoint-600"),
            ("base", "../copy"),
        ]
    ):
        if "copy" in late:
            shutil.copytree(tmp_path / "base", tmp_path.parent / "copy", dirs_exist_ok=True)
        caplog.clear()
        assert merge(recipe(tmp_path, early, late), tmp_path / f"out{number}", *options).exit_code == 0
        messages.append(
            sorted({record.getMessage() for record in caplog.records if record.name.startswith("wise_merge")})
        )
    shutil.rmtree(tmp_path.parent / "copy")
    assert len(messages[0]) == 1
    assert "swapped" in messages[0][0]
    assert "(step 600)" in messages[0][0]
    assert "(step 25)" in messages[0][0]
    assert messages[1] == []
    assert len(messages[2]) == 1
    assert "same weights" in messages[2][0]


def grown(directory, *added, seed):
    """A checkpoint whose tokenizer has further tokens, each with a row of its own."""
    make_checkpoint(directory, seed=seed, config=tiny_llama(vocab_size=99 + len(added)))
    tokenizer = character_tokenizer()
    tokenizer.add_tokens(list(added))
    tokenizer.save_pretrained(directory)
    return directory


@pytest.mark.parametrize("source", ["union", "base"])
def test_tokens_of_one_checkpoint_keep_its_rows(source, tmp_path):
    """With a tokenizer section: rows of tokens that both have are averaged by token, others come from their owner."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    early, late = grown(tmp_path / "early", "<a>", "<both>", seed=1), grown(tmp_path / "late", "<both>", "<b>", seed=2)
    plain = merge(recipe(tmp_path, "early", "late"), tmp_path / "none")
    assert plain.exit_code == 1
    assert "token '<both>' is number 100 in" in plain.output
    assert "source: union" in plain.output
    result = merge(recipe(tmp_path, "early", "late", tokenizer={"source": source}), tmp_path / "out")
    assert result.exit_code == 0, result.output
    ids = AutoTokenizer.from_pretrained(tmp_path / "out").get_vocab()
    assert ("<b>" in ids) == (source == "union")
    merged, first, second = (weights(tmp_path / name) for name in ("out", "early", "late"))
    for name in ("model.embed_tokens.weight", "lm_head.weight"):
        assert len(merged[name]) == len(ids)
        rows = {token: merged[name][number] for token, number in ids.items()}
        assert torch.equal(rows["<a>"], first[name][99])
        if source == "union":
            assert torch.equal(rows["<b>"], second[name][100])
        assert torch.allclose(rows["<both>"], 0.7 * first[name][100] + 0.3 * second[name][99])
        assert torch.allclose(rows["x"], 0.7 * first[name][ids["x"]] + 0.3 * second[name][ids["x"]])
    assert AutoModelForCausalLM.from_pretrained(tmp_path / "out").config.vocab_size == len(ids)
    assert early != late


def test_other_sizes_of_the_vocabulary_name_the_remedy(tmp_path):
    """And the remedy works."""
    grown(tmp_path / "early", seed=1)
    grown(tmp_path / "late", "<think>", seed=2)
    result = merge(recipe(tmp_path, "early", "late"), tmp_path / "none")
    assert result.exit_code == 1
    assert "tokenizer: {source: union}" in result.output
    result = merge(recipe(tmp_path, "early", "late", tokenizer={"source": "union"}), tmp_path / "out")
    assert result.exit_code == 0, result.output


def test_pickled_checkpoints_merge_like_others(tiny_run, tmp_path):
    """The same weights in .bin files give the same model, bit for bit; names and shapes are checked as well."""
    for name in ("checkpoint-1", "checkpoint-2"):
        pickled(tiny_run / name, tmp_path / name)
    for root, out in ((tiny_run, "expected"), (tmp_path, "out")):
        result = merge(recipe(root, "checkpoint-1", "checkpoint-2"), tmp_path / out)
        assert result.exit_code == 0, result.output
    assert far(weights(tmp_path / "out"), weights(tmp_path / "expected")) == 0
    file = tmp_path / "checkpoint-2" / "pytorch_model.bin"
    tensors = torch.load(file, weights_only=True)
    torch.save({**tensors, "model.extra": torch.zeros(1)}, file)
    result = merge(recipe(tmp_path, "checkpoint-1", "checkpoint-2"), tmp_path / "none")
    assert result.exit_code == 1
    assert "tensor model.extra of" in result.output


@pytest.mark.parametrize("options", [(), ("--lazy-unpickle",)])
def test_a_pickle_that_would_run_code_stops_the_merge(options, tiny_run, tmp_path):
    """One line, exit code 1, and nothing was run."""
    pickled(tiny_run / "checkpoint-1", tmp_path / "checkpoint-2")
    torch.save({"weight": Trap(tmp_path / "sprung")}, tmp_path / "checkpoint-2" / "pytorch_model.bin")
    content = recipe(tmp_path, "checkpoint-2", "checkpoint-2") | {"base_model": str(tiny_run / "checkpoint-1")}
    result = merge(content, tmp_path / "out", *options)
    assert result.exit_code == 1
    assert result.output.count("\n") == 1
    assert "could run code; it was not read" in result.output
    assert not (tmp_path / "sprung").exists()
    assert not (tmp_path / "out").exists()


def test_links_out_of_the_model_directory_work(tiny_run, tmp_path):
    """Every file of a snapshot links to a blob elsewhere."""
    for name in ("checkpoint-1", "checkpoint-2"):
        (tmp_path / name).mkdir()
        for file in (tiny_run / name).iterdir():
            (tmp_path / name / file.name).symlink_to(os.path.relpath(file, tmp_path / name))
    assert merge(recipe(tmp_path, "checkpoint-1", "checkpoint-2"), tmp_path / "out").exit_code == 0
    early, late = weights(tiny_run / "checkpoint-1"), weights(tiny_run / "checkpoint-2")
    assert far(weights(tmp_path / "out"), {name: 0.7 * early[name] + 0.3 * late[name] for name in early}) < 1e-6
    shutil.rmtree(tmp_path / "checkpoint-2")
    (tmp_path / "checkpoint-2").mkdir()
    shutil.copy(tiny_run / "checkpoint-2" / "config.json", tmp_path / "checkpoint-2")
    result = merge(recipe(tmp_path, "checkpoint-1", "checkpoint-2"), tmp_path / "none")
    assert result.exit_code == 1
    assert "has a config.json but no weights" in result.output
