"""`wise-merge merge`: the weights of mergekit-yaml, checked first, published whole."""

import errno
import hashlib
import json
import os
import random
import re
import resource
import shutil
import signal
import stat
import subprocess
import sys
import threading
import time

import pytest
import torch
import yaml
from safetensors.torch import load_file, save_file
from support.checkpoints import change, make_checkpoint, replace_late, tiny_llama, truncate, with_value, without_tensor
from support.merges import assert_same_weights, merge, run, weights
from support.recipes import bang, wise_ft

from wise_merge.checkpoints.groups import group_of
from wise_merge.errors import WiseMergeError
from wise_merge.merge import stream as streaming
from wise_merge.merge.pipeline import parse_alphas


def both(recipe, folder, *options):
    """Merge by wise-merge and by mergekit-yaml, and compare every bit of the weights."""
    result = run(recipe, folder / "ours", *options)
    assert result.exit_code == 0, result.output
    reference = merge(yaml.safe_load((folder / "ours" / "mergekit_config.yml").read_text()), folder / "theirs")
    assert reference.exit_code == 0, reference.output
    assert_same_weights(folder / "ours", folder / "theirs")
    return result


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Pairs of checkpoints by the dtypes of early and late."""
    folder = tmp_path_factory.mktemp("runs")
    for early, late in (
        ("float32", "float32"),
        ("bfloat16", "bfloat16"),
        ("float16", "float16"),
        ("bfloat16", "float32"),
        ("float16", "bfloat16"),
    ):
        make_checkpoint(folder / f"{early}-{late}" / "checkpoint-1", seed=1, dtype=early)
        # In files of another number, which makes no difference.
        make_checkpoint(folder / f"{early}-{late}" / "checkpoint-2", seed=2, dtype=late, max_shard_size="20kB")
    return folder


@pytest.mark.parametrize("dtypes", ["float32-float32", "bfloat16-bfloat16", "float16-float16", "bfloat16-float32"])
@pytest.mark.parametrize(
    "changes", [{}, {"dtype": "bfloat16"}, {"dtype": "float32", "out_dtype": "float16"}, {"out_dtype": "float32"}]
)
def test_the_weights_are_those_of_mergekit_bit_for_bit(dtypes, changes, runs, tmp_path):
    """For every combination of stored, computed and written dtype."""
    both(wise_ft(runs / dtypes, alpha=0.3, **changes), tmp_path)


@pytest.mark.parametrize(
    "alpha",
    [
        0,
        1,
        [0.1, 0.9],
        [0.0, 0.3, 1.0],
        [{"filter": "mlp", "value": [0.2, 0.8]}, {"filter": "norm", "value": 1}, {"value": 0.5}],
        {"value": 0.7, "filter": "*"},
        "2.5e-1",
    ],
    ids=str,
)
def test_alpha_means_what_mergekit_makes_of_it(alpha, runs, tmp_path):
    """Ends, gradients over the layers and filters by name."""
    both(wise_ft(runs / "bfloat16-bfloat16", alpha=alpha), tmp_path)


@pytest.mark.parametrize("dtypes", ["float32-float32", "bfloat16-bfloat16"])
def test_bang_is_that_of_mergekit_bit_for_bit(dtypes, runs, tmp_path):
    """The folded gains, too; and the table says which temperatures."""
    both(bang(runs / dtypes, alpha=0.4, early=1.3, late=2.1), tmp_path)
    record = json.loads((tmp_path / "ours" / "wise_merge.json").read_text())
    assert record["temperatures"] == {"early": 1.3, "late": 2.1}


def small(name):
    """Configurations of other architectures: tied, with biases, with one layer, with experts."""
    import transformers

    sizes = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 3, "vocab_size": 99}
    heads = {"num_attention_heads": 2, "num_key_value_heads": 2}
    return {
        "tied": lambda: tiny_llama(tie_word_embeddings=True),
        "one layer": lambda: tiny_llama(num_hidden_layers=1),
        "gpt2": lambda: transformers.GPT2Config(n_embd=32, n_layer=3, n_head=2, vocab_size=99),
        "neox": lambda: transformers.GPTNeoXConfig(**sizes, num_attention_heads=2),
        "qwen3": lambda: transformers.Qwen3Config(**sizes, **heads, head_dim=16),
        "gemma3": lambda: transformers.Gemma3TextConfig(**sizes, **heads, head_dim=16),
    }[name]()


@pytest.mark.parametrize("architecture", ["tied", "one layer", "gpt2", "neox", "qwen3", "gemma3"])
def test_other_architectures_are_averaged_as_by_mergekit(architecture, tmp_path):
    """With a gradient over the layers, which takes counting them; transformers loads the result."""
    from transformers import AutoModelForCausalLM

    for seed in (1, 2):
        make_checkpoint(tmp_path / f"checkpoint-{seed}", seed=seed, config=small(architecture), dtype="bfloat16")
    recipe = wise_ft(tmp_path, alpha=[0.1, 0.4, 0.9])
    if architecture == "neox":
        # mergekit 0.1.5 asks for buffers that transformers no longer saves.
        assert run(recipe, tmp_path / "ours").exit_code == 0
        name = "gpt_neox.layers.1.mlp.dense_h_to_4h.weight"
        early, late, merged = (weights(tmp_path / part)[name] for part in ("checkpoint-1", "checkpoint-2", "ours"))
        assert torch.equal(merged, torch.lerp(early, late, 0.4))
    else:
        both(recipe, tmp_path)
    model, report = AutoModelForCausalLM.from_pretrained(tmp_path / "ours", output_loading_info=True)
    assert not report["missing_keys"]
    assert not report["unexpected_keys"]
    assert model.dtype == torch.bfloat16


def test_several_alphas_in_one_pass_are_the_single_merges(runs, tmp_path):
    """Nine models, each as if it had been merged alone, with its own recipe and record."""
    recipe = wise_ft(runs / "bfloat16-bfloat16")
    result = run(recipe, tmp_path / "many", "--alphas", "0.1:0.9:0.1")
    assert result.exit_code == 0, result.output
    names = [f"alpha-0.{tenth}" for tenth in range(1, 10)]
    assert sorted(path.name for path in (tmp_path / "many").iterdir()) == names
    for name in (names[0], names[6]):
        alpha = float(name.removeprefix("alpha-"))
        assert run({**recipe, "parameters": {"alpha": alpha}}, tmp_path / name).exit_code == 0
        assert_same_weights(tmp_path / "many" / name, tmp_path / name)
        assert json.loads((tmp_path / "many" / name / "wise_merge.json").read_text())["alpha"] == alpha
        assert f"\n{name} " in result.output


@pytest.mark.parametrize(
    ("text", "alphas"),
    [
        ("0.1:0.9:0.1", [f"0.{tenth}" for tenth in range(1, 10)]),
        ("0:1:0.25", ["0", "0.25", "0.5", "0.75", "1"]),
        ("0.3,0.50, .5,1", ["0.3", "0.5", "1"]),
        ("-0,0,100e-2", ["0", "1"]),
    ],
)
def test_alphas_are_exact_decimals(text, alphas):
    """No 0.30000000000000004, no end that is lost, none twice."""
    assert [f"{alpha:f}" for alpha in parse_alphas(text)] == alphas


@pytest.mark.parametrize("text", ["", "0.1:0.9", "0.1:0.9:0", "0.9:0.1:0.1", "a,b", "0:1:0.00001", "0.5,1.5", "nan"])
def test_alphas_that_mean_nothing_are_an_error(text):
    """With the two forms, or with the range."""
    with pytest.raises(WiseMergeError, match=r"--alphas must be FIRST:LAST:STEP|alpha must lie in"):
        parse_alphas(text)


def test_the_folder_holds_all_that_a_loader_needs_and_all_that_was_done(runs, tmp_path):
    """Config and tokenizer of early, the recipe, hashes as `sha256sum` shows them, steps, versions, figures."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    source = runs / "bfloat16-float32"
    (source / "checkpoint-1" / "trainer_state.json").write_text('{"global_step": 25}')
    out = tmp_path / "out"
    assert run(wise_ft(source, dtype="bfloat16"), out).exit_code == 0
    (source / "checkpoint-1" / "trainer_state.json").unlink()
    assert AutoModelForCausalLM.from_pretrained(out).dtype == torch.bfloat16
    assert AutoTokenizer.from_pretrained(out).decode([6]) == '"'
    record = json.loads((out / "wise_merge.json").read_text())
    file = source / "checkpoint-1" / "model.safetensors"
    assert record["early"]["files"] == {
        "model.safetensors": {
            "sha256": hashlib.sha256(file.read_bytes()).hexdigest(),
            "bytes": file.stat().st_size,
        }
    }
    assert len(record["late"]["files"]) > 1
    assert (record["early"]["step"], record["alpha"], record["engine"]) == (25, 0.5, "wise-merge")
    assert {"python", "wise-merge", "torch", "mergekit", "transformers"} <= record["versions"].keys()
    assert record["measured"]["all"]["parameters"] == sum(tensor.numel() for tensor in weights(out).values())
    assert record["measured"]["all"]["effective_alpha"] == pytest.approx(0.5, abs=0.01)


def test_the_inputs_are_left_as_they_were(runs, tmp_path):
    """The files are mapped, and nothing writes to the map: merging twice gives the same, and no byte changes."""
    source = runs / "float32-float32"
    before = {path: path.read_bytes() for path in source.rglob("*") if path.is_file()}
    for name in ("one", "two"):
        assert run(wise_ft(source, alpha=0.3), tmp_path / name, "--out-dtype", "float32").exit_code == 0
    assert_same_weights(tmp_path / "one", tmp_path / "two")
    assert before == {path: path.read_bytes() for path in source.rglob("*") if path.is_file()}


def test_the_files_have_the_permissions_of_the_umask(runs, tmp_path):
    """Who shares the folder can read the model, as after any other program."""
    before = os.umask(0o022)
    try:
        assert run(wise_ft(runs / "float32-float32"), tmp_path / "out").exit_code == 0
    finally:
        os.umask(before)
    assert {stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / "out").iterdir()} == {0o644}


def test_a_folder_that_is_there_is_replaced_whole_or_not_at_all(runs, tmp_path):
    """Shards of an older merge would be read before the new file by some loaders."""
    out = tmp_path / "out"
    make_checkpoint(out, seed=7, max_shard_size="20kB")
    before = sorted(path.name for path in out.iterdir())
    recipe = wise_ft(runs / "float32-float32")
    result = run(recipe, out)
    assert (result.exit_code, sorted(path.name for path in out.iterdir())) == (1, before)
    assert "is there already; name another folder, or replace it whole with --force" in result.output
    assert run(recipe, out, "--force").exit_code == 0
    assert [path.name for path in out.glob("*.safetensors*")] == ["model.safetensors"]


def test_check_writes_nothing(runs, tmp_path):
    """It says what would be merged, and what speaks against it."""
    result = run(wise_ft(runs / "float32-float32"), tmp_path / "out", "--check")
    assert result.exit_code == 0
    assert "All checks have passed; nothing was written." in result.output
    assert not (tmp_path / "out").exists()
    bad = run(wise_ft(runs / "float32-float32", alpha=2), tmp_path / "out", "--check")
    assert (bad.exit_code, bad.output) == (1, "Error: alpha must lie in [0, 1] (0 = early, 1 = late); got 2.0\n")


def test_check_needs_no_torch(runs, tmp_path):
    """The checks of two full checkpoints are done before anything heavy is loaded."""
    (tmp_path / "wise.yml").write_text(yaml.safe_dump(wise_ft(runs / "float32-float32")))
    code = (
        "import sys; from click.testing import CliRunner; from wise_merge.cli import main\n"
        "result = CliRunner().invoke(main, ['merge', 'wise.yml', 'out', '--check']); print(result.output)\n"
        "assert result.exit_code == 0\n"
        "assert not {'torch', 'transformers', 'mergekit'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=tmp_path)


def test_rounding_that_eats_the_merge_is_a_warning_with_its_remedy(tmp_path):
    """A step of 1 % at alpha 0.1 in bfloat16; in float32 there is nothing to warn of."""
    make_checkpoint(tmp_path / "checkpoint-1", seed=1, dtype="bfloat16")
    shutil.copytree(tmp_path / "checkpoint-1", tmp_path / "checkpoint-2")
    file = tmp_path / "checkpoint-2" / "model.safetensors"
    torch.manual_seed(0)
    moved = {name: t * (1 + 0.01 * torch.randn(t.shape)).to(t.dtype) for name, t in load_file(file).items()}
    save_file(moved, file, metadata={"format": "pt"})
    result = run(wise_ft(tmp_path, alpha=0.1), tmp_path / "narrow")
    assert "Warning: " in result.output
    assert "--out-dtype float32" in result.output
    wide = run(wise_ft(tmp_path, alpha=0.1), tmp_path / "wide", "--out-dtype", "float32")
    assert "Warning" not in wide.output
    errors = [
        json.loads((tmp_path / name / "wise_merge.json").read_text())["measured"]["all"]["rounding_error"]
        for name in ("narrow", "wide")
    ]
    assert errors[0] > 0.7
    assert errors[1] < 1e-3


def test_equal_checkpoints_and_swapped_ones_are_a_warning_that_names_both_steps(runs, tmp_path):
    """The merge is made all the same."""
    source = tmp_path / "run"
    shutil.copytree(runs / "float32-float32", source)
    for number, step in ((1, 600), (2, 25)):
        (source / f"checkpoint-{number}" / "trainer_state.json").write_text(json.dumps({"global_step": step}))
    result = run(wise_ft(source), tmp_path / "swapped")
    assert result.exit_code == 0
    assert "swapped" in result.output
    assert "(step 600)" in result.output
    assert "(step 25)" in result.output
    shutil.rmtree(source / "checkpoint-2")
    shutil.copytree(source / "checkpoint-1", source / "checkpoint-2")
    assert "early and late hold the same weights" in run(wise_ft(source), tmp_path / "equal").output


def test_links_of_a_hub_snapshot_are_followed_and_not_copied(runs, tmp_path):
    """snapshots/REV/model.safetensors -> ../../blobs/HASH, as in the Hub's cache."""
    for number in (1, 2):
        snapshot = tmp_path / f"models--org--run{number}" / "snapshots" / "rev"
        blobs = snapshot.parent.parent / "blobs"
        snapshot.mkdir(parents=True)
        blobs.mkdir()
        for file in (runs / "float32-float32" / f"checkpoint-{number}").iterdir():
            shutil.copyfile(file, blobs / file.name)
            (snapshot / file.name).symlink_to(f"../../blobs/{file.name}")
        (tmp_path / f"checkpoint-{number}").symlink_to(snapshot)
    both(wise_ft(tmp_path), tmp_path)
    assert not any(path.is_symlink() for path in (tmp_path / "ours").rglob("*"))


def test_models_of_the_hub_are_found_in_its_cache(runs, tmp_path, monkeypatch):
    """ORG/NAME and ORG/NAME@REVISION, without a network."""
    cache = tmp_path / "hub"
    for number in (1, 2):
        repository = cache / f"models--org--run{number}"
        shutil.copytree(runs / "float32-float32" / f"checkpoint-{number}", repository / "snapshots" / ("0" * 40))
        (repository / "refs").mkdir()
        (repository / "refs" / "main").write_text("0" * 40)
    environment = {**os.environ, "HF_HUB_CACHE": str(cache), "HF_HUB_OFFLINE": "1"}
    recipe = wise_ft(tmp_path) | {"base_model": "org/run1", "models": [{"model": "org/run2@main"}]}
    (tmp_path / "wise.yml").write_text(yaml.safe_dump(recipe))
    command = [sys.executable, "-c", "from wise_merge.cli import main; main()", "merge", "wise.yml", "out"]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert run(wise_ft(runs / "float32-float32"), tmp_path / "local").exit_code == 0
    assert_same_weights(tmp_path / "out", tmp_path / "local")


def test_checkpoints_in_bin_files_are_averaged_without_running_their_code(runs, tmp_path):
    """Tensors are; a pickle that would run something is an error of one line."""
    for number in (1, 2):
        folder = tmp_path / f"checkpoint-{number}"
        shutil.copytree(runs / "float32-float32" / f"checkpoint-{number}", folder)
        tensors = weights(folder)
        for file in folder.glob("*.safetensors*"):
            file.unlink()
        torch.save(tensors, folder / "pytorch_model.bin")
    assert run(wise_ft(tmp_path), tmp_path / "ours").exit_code == 0
    assert run(wise_ft(runs / "float32-float32"), tmp_path / "same").exit_code == 0
    assert_same_weights(tmp_path / "ours", tmp_path / "same")

    class Code:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "owned"),)

    torch.save({"w": Code()}, tmp_path / "checkpoint-2" / "pytorch_model.bin")
    result = run(wise_ft(tmp_path), tmp_path / "bad")
    assert result.exit_code == 1
    assert result.output.startswith("Error: ")
    assert "pytorch_model.bin" in result.output
    assert not (tmp_path / "owned").exists()
    assert not (tmp_path / "bad").exists()


def test_buffers_are_copied_if_equal_and_named_if_not(runs, tmp_path):
    """Integers cannot be averaged, and choosing one of two would be a guess."""
    for number in (1, 2):
        folder = tmp_path / f"checkpoint-{number}"
        shutil.copytree(runs / "float32-float32" / "checkpoint-1", folder)
        tensors = weights(folder)
        tensors["model.steps"] = torch.tensor([1, 2, 3])
        save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    assert run(wise_ft(tmp_path), tmp_path / "equal").exit_code == 0
    assert torch.equal(weights(tmp_path / "equal")["model.steps"], torch.tensor([1, 2, 3]))
    tensors["model.steps"][0] = 9
    save_file(tensors, tmp_path / "checkpoint-2" / "model.safetensors", metadata={"format": "pt"})
    result = run(wise_ft(tmp_path), tmp_path / "other")
    assert result.exit_code == 1
    for word in ("buffer model.steps", "int64", "checkpoint-1", "checkpoint-2"):
        assert word in result.output
    assert not (tmp_path / "other").exists()


def test_an_average_that_the_output_cannot_hold_is_an_error(runs, tmp_path):
    """70,000 is no float16: infinities are not written in silence."""
    for number in (1, 2):
        folder = tmp_path / f"checkpoint-{number}"
        shutil.copytree(runs / "float32-float32" / "checkpoint-1", folder)
        tensors = weights(folder)
        tensors["model.norm.weight"][:] = 70_000.0 + number
        save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    result = run(wise_ft(tmp_path), tmp_path / "out", "--out-dtype", "float16")
    assert result.exit_code == 1
    assert "the average of tensor model.norm.weight does not fit into torch.float16" in result.output
    assert not (tmp_path / "out").exists()
    assert run(wise_ft(tmp_path), tmp_path / "out", "--out-dtype", "bfloat16").exit_code == 0


def test_checkpoints_of_before_torch_1_6_are_read(runs, tmp_path):
    """Their format cannot be mapped; their weights are the same."""
    for number in (1, 2):
        folder = tmp_path / f"checkpoint-{number}"
        shutil.copytree(runs / "float32-float32" / f"checkpoint-{number}", folder)
        tensors = weights(folder)
        for file in folder.glob("*.safetensors*"):
            file.unlink()
        torch.save(tensors, folder / "pytorch_model.bin", _use_new_zipfile_serialization=False)
    assert run(wise_ft(tmp_path), tmp_path / "ours").exit_code == 0
    assert run(wise_ft(runs / "float32-float32"), tmp_path / "same").exit_code == 0
    assert_same_weights(tmp_path / "ours", tmp_path / "same")


def test_buffers_that_models_compute_may_be_stored_in_one_checkpoint_only(runs, tmp_path):
    """A Llama of 2023 from the Hub has rotary_emb.inv_freq, saved again it has not."""
    shutil.copytree(runs / "float32-float32", tmp_path / "run")
    file = tmp_path / "run" / "checkpoint-1" / "model.safetensors"
    tensors = load_file(file)
    tensors["model.layers.0.self_attn.rotary_emb.inv_freq"] = torch.ones(8)
    save_file(tensors, file, metadata={"format": "pt"})
    assert run(wise_ft(tmp_path / "run"), tmp_path / "out").exit_code == 0
    assert weights(tmp_path / "out").keys() == weights(tmp_path / "run" / "checkpoint-2").keys()


def test_a_distance_to_zeros_is_null_in_the_record(runs, tmp_path):
    """JSON has no infinity."""
    shutil.copytree(runs / "float32-float32", tmp_path / "run")
    file = tmp_path / "run" / "checkpoint-1" / "model.safetensors"
    tensors = {name: t * ("norm" not in name) for name, t in load_file(file).items()}
    save_file(tensors, file, metadata={"format": "pt"})
    assert run(wise_ft(tmp_path / "run"), tmp_path / "out").exit_code == 0

    def never(constant):
        raise AssertionError(constant)

    record = json.loads((tmp_path / "out" / "wise_merge.json").read_text(), parse_constant=never)
    assert record["measured"]["norms"]["relative_distance"] is None


def test_a_merge_that_is_asked_to_stop_cleans_up(tmp_path):
    """SIGTERM, as schedulers send it, leaves nothing behind."""
    config = tiny_llama(hidden_size=512, intermediate_size=2048, num_hidden_layers=4)
    for seed in (1, 2):
        make_checkpoint(tmp_path / f"checkpoint-{seed}", seed=seed, config=config)
    (tmp_path / "wise.yml").write_text(yaml.safe_dump(wise_ft(tmp_path)))
    command = [sys.executable, "-c", "from wise_merge.cli import main; main()", "merge", "wise.yml", "out"]
    process = subprocess.Popen([*command, "--alphas", "0:1:0.02"], cwd=tmp_path, stdout=subprocess.DEVNULL)
    while not list(tmp_path.glob(".out.*.partial")) and process.poll() is None:
        time.sleep(0.01)
    process.send_signal(signal.SIGTERM)
    assert process.wait() == 143
    assert not list(tmp_path.glob(".out*"))
    assert not (tmp_path / "out").exists()


def test_a_config_that_differs_is_a_warning_that_says_whose_is_taken(runs, tmp_path):
    """Early gives config and tokenizer, always."""
    shutil.copytree(runs / "float32-float32", tmp_path / "run")
    file = tmp_path / "run" / "checkpoint-2" / "config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "rope_theta": 5.0}))
    result = run(wise_ft(tmp_path / "run"), tmp_path / "out")
    assert "Warning: config.json (rope_theta) of early and late differ; the merge gets those of" in result.output
    assert "rope_theta" not in json.loads((tmp_path / "out" / "config.json").read_text())


# --- bad input ------------------------------------------------------------------------------------


def change_config(**values):
    def apply(directory):
        config = json.loads((directory / "config.json").read_text())
        (directory / "config.json").write_text(json.dumps({**config, **values}))

    return replace_late(apply)


def remove(name):
    return replace_late(lambda directory: (directory / name).unlink())


BAD_INPUT = {
    "a misspelt parameter": (change(parameters={"alhpa": 0.5}), ["alhpa", "did you mean alpha"]),
    "a misspelt key": (change(dtpye="bfloat16"), ["dtpye", "did you mean dtype"]),
    "an unknown dtype": (change(dtype="fp16"), ["dtype", "bfloat16", "fp16"]),
    "a missing folder": (
        change(models=[{"model": "/nowhere/checkpoint-9"}]),
        ["/nowhere/checkpoint-9", "late", "path"],
    ),
    "two late models": (change(models=[{"model": "a"}, {"model": "b"}]), ["exactly one late", "uniform_soup"]),
    "a truncated file": (replace_late(truncate), ["model.safetensors", "not a whole safetensors file"]),
    "a missing tensor": (replace_late(without_tensor), ["model.layers.1.mlp.up_proj.weight", "missing in"]),
    "another architecture": (change_config(architectures=["Other"]), ["different architectures", "Other"]),
    "tied and untied": (change_config(tie_word_embeddings=True), ["tie_word_embeddings", "does not"]),
    "a quantised model": (change_config(quantization_config={"bits": 4}), ["is quantised", "quantization_config"]),
    "no weights": (remove("model.safetensors"), ["no weights"]),
    "no config": (remove("config.json"), ["no config.json"]),
    "nan": (replace_late(with_value(float("nan"))), ["model.layers.1.mlp.up_proj.weight", "changed", "contains nan"]),
    "infinity": (replace_late(with_value(-float("inf"))), ["up_proj.weight", "contains -inf"]),
}


@pytest.mark.parametrize("case", BAD_INPUT)
def test_bad_input_is_one_line_and_leaves_nothing(case, tmp_path):
    """Exit code 1, what was wrong in one line, no folder, nothing beside its place."""
    for seed in (1, 2):
        make_checkpoint(tmp_path / "run" / f"checkpoint-{seed}", seed=seed)
    apply, words = BAD_INPUT[case]
    recipe = wise_ft(tmp_path / "run")
    apply(recipe, tmp_path / "run")
    (tmp_path / "place").mkdir()
    result = run(recipe, tmp_path / "place" / "out")
    assert result.exit_code == 1
    (line,) = [line for line in result.output.splitlines() if line.startswith("Error: ")]
    assert all(word in line for word in words), line
    assert os.listdir(tmp_path / "place") == ["out.recipe.yml"]


def pickle_instead(content):
    """A case with a .bin file of this content, or of what this makes of the tensors."""

    def apply(directory):
        tensors = load_file(directory / "model.safetensors")
        (directory / "model.safetensors").unlink()
        file = directory / "pytorch_model.bin"
        file.write_bytes(content) if isinstance(content, bytes) else torch.save(content(tensors), file)

    return replace_late(apply)


def twice(directory):
    tensors = load_file(directory / "model.safetensors")
    (directory / "model.safetensors").unlink()
    save_file(tensors, directory / "model-00001-of-00002.safetensors")
    name = "model.layers.1.mlp.up_proj.weight"
    save_file({name: tensors[name] + 1}, directory / "model-00002-of-00002.safetensors")
    places = {**dict.fromkeys(tensors, "model-00001-of-00002.safetensors"), name: "model-00002-of-00002.safetensors"}
    (directory / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": places}))


def renamed(name):
    def apply(recipe, run):
        (run / "checkpoint-2").rename(run / name)
        recipe["models"] = [{"model": str(run / name)}]

    return apply


ODD_INPUT = {
    "garbage in .bin": (pickle_instead(b"abc"), ["pytorch_model.bin is not a whole file of tensors"]),
    "no contents": (
        pickle_instead(lambda tensors: {name: tensor.to("meta") for name, tensor in tensors.items()}),
        ["has a shape and no content (meta)"],
    ),
    "one name in two files": (
        replace_late(twice),
        ["tensor model.layers.1.mlp.up_proj.weight is in", "model-00002-of-00002.safetensors", "another file"],
    ),
    "a text of architectures": (change_config(architectures="LlamaForCausalLM"), ["no list of architectures"]),
    "a quantised late one": (
        change_config(architectures=["Other"], quantization_config={"bits": 4}),
        ["changed is quantised"],
    ),
    "a token without a name": (
        replace_late(
            lambda folder: (folder / "tokenizer.json").write_text(
                '{"model": {"vocab": {}}, "added_tokens": [{"id": 1}]}'
            )
        ),
        ["tokenizer.json is not a tokenizer's file"],
    ),
    "a number that is none": (
        replace_late(lambda folder: (folder / "tokenizer.json").write_text('{"model": {"vocab": {"a": "x"}}}')),
        ["gives token 'a' the number 'x'"],
    ),
    "a plus in a path": (renamed("checkpoint+2"), ["mergekit takes + and @", "checkpoint+2", "rename"]),
    "a path too long": (change(models=[{"model": "x" * 5000}]), ["File name too long"]),
    "an adapter without a name": (change(base_model="checkpoint-1+"), ["checkpoint-1+"]),
}


@pytest.mark.parametrize("command", [run, merge])
@pytest.mark.parametrize("case", ODD_INPUT)
def test_odd_input_is_one_line_in_both_commands(case, command, tiny_run, tmp_path):
    """Whoever is asked: no traceback, no model, and nothing that was chosen in silence."""
    shutil.copytree(tiny_run, tmp_path / "run")
    apply, words = ODD_INPUT[case]
    recipe = wise_ft(tmp_path / "run")
    apply(recipe, tmp_path / "run")
    result = command(recipe, tmp_path / "out")
    assert result.exit_code == 1
    assert isinstance(result.exception, SystemExit)
    line = result.output.splitlines()[-1]
    assert line.startswith("Error: ")
    if command is run or "without a name" not in case:
        assert all(word in line for word in words), line
    assert not (tmp_path / "out" / "config.json").exists()


@pytest.mark.parametrize("name", ["late one", "spät λ 模型", "quo\"te's", "c[1]*?", "new\nline"])
@pytest.mark.parametrize("command", [run, merge])
def test_any_name_of_a_folder_will_do(name, command, tiny_run, tmp_path):
    """mergekit itself cannot write down a path with a space in it."""
    shutil.copytree(tiny_run / "checkpoint-2", tmp_path / name)
    recipe = wise_ft(tiny_run) | {"models": [{"model": str(tmp_path / name)}]}
    result = command(recipe, tmp_path / "out")
    assert result.exit_code == 0, result.output
    assert run(wise_ft(tiny_run), tmp_path / "plain").exit_code == 0
    assert_same_weights(tmp_path / "out", tmp_path / "plain")


@pytest.mark.parametrize("command", [run, merge])
def test_a_config_that_differs_is_named_with_its_keys(command, tiny_run, tmp_path, caplog):
    """The number of heads changes the model and no shape."""
    shutil.copytree(tiny_run, tmp_path / "run")
    recipe = wise_ft(tmp_path / "run")
    change_config(num_attention_heads=4, dtype="bfloat16")(recipe, tmp_path / "run")
    result = command(recipe, tmp_path / "out")
    said = result.output + "".join(record.getMessage() for record in caplog.records)
    assert result.exit_code == 0
    assert "num_attention_heads" in said
    assert "dtype" not in said
    assert "differ" in said


@pytest.mark.parametrize("again", ["checkpoint-1", "checkpoint-1/", "./checkpoint-1", "link", "elsewhere"])
@pytest.mark.parametrize("command", [run, merge])
def test_one_folder_under_two_names_is_an_error(again, command, tiny_run, tmp_path, monkeypatch):
    """Every alpha would give it again; a copy in another folder is a warning only."""
    shutil.copytree(tiny_run, tmp_path / "run")
    monkeypatch.chdir(tmp_path / "run")
    os.symlink("checkpoint-1", "link")
    os.symlink(tmp_path / "run", tmp_path / "again")
    name = str(tmp_path / "again" / "checkpoint-1") if again == "elsewhere" else again
    recipe = wise_ft(tmp_path) | {"base_model": "checkpoint-1", "models": [{"model": name}]}
    result = command(recipe, tmp_path / "out")
    assert result.exit_code == 1
    line = result.output.splitlines()[-1]
    assert "early" in line
    assert "late" in line
    assert "one folder" in line or "one checkpoint" in line or "are both" in line
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("command", [run, merge])
def test_a_tilde_in_a_recipe_is_the_home_folder(command, tiny_run, tmp_path, monkeypatch):
    """YAML files have it from shells, which nobody asks there."""
    monkeypatch.setenv("HOME", str(tiny_run))
    recipe = wise_ft(tiny_run) | {"base_model": "~/checkpoint-1", "models": [{"model": "~/checkpoint-2"}]}
    result = command(recipe, tmp_path / "tilde")
    assert result.exit_code == 0, result.output
    assert run(wise_ft(tiny_run), tmp_path / "whole").exit_code == 0
    assert_same_weights(tmp_path / "tilde", tmp_path / "whole")


def test_a_disk_that_fills_up_leaves_nothing(runs, tmp_path):
    """A file that may not grow stands in for it: one line, and no file is left."""
    (tmp_path / "wise.yml").write_text(yaml.safe_dump(wise_ft(runs / "float32-float32")))
    command = [sys.executable, "-c", "from wise_merge.cli import main; main()", "merge", "wise.yml", "place/out"]
    (tmp_path / "place").mkdir()

    def limit():
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, 50_000))

    done = subprocess.run(command, cwd=tmp_path, preexec_fn=limit, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert re.fullmatch(
        rf"Error: {tmp_path}/place/out was not written: File too large \({tmp_path}/place/\.out\.\w+\.partial\); "
        r"nothing is left of it\n",
        done.stderr,
    ), done.stderr
    assert os.listdir(tmp_path / "place") == []


ZYGOTE = """
import os, pathlib, sys
import torch
import wise_merge.merge.plain, wise_merge.merge.stream, wise_merge.merge.table, wise_merge.checkpoints.weights
from wise_merge.merge import stream as streaming
from wise_merge.merge.pipeline import merge_recipe

def quiet(_): pass
for line in sys.stdin:
    pid = os.fork()
    if pid == 0:
        number = 0
        while True:
            recipe = pathlib.Path(f"recipe{number % 2}.yml")
            out = pathlib.Path("out")
            merge_recipe(recipe, out, alphas=None, out_dtype=None, force=True, check=False, say=quiet, warn=quiet)
            number += 1
    print(pid, flush=True)
    os.waitpid(pid, 0)
    print("dead", flush=True)
"""


@pytest.mark.slow
def test_killed_at_any_moment_the_model_is_whole_or_absent(tmp_path):
    """20 SIGKILLs of a process that merges two recipes by turns into one folder: never anything but one of the two."""
    from transformers import AutoModelForCausalLM

    config = tiny_llama(hidden_size=256, intermediate_size=1024, num_hidden_layers=4)
    for seed in (1, 2):
        make_checkpoint(tmp_path / f"checkpoint-{seed}", seed=seed, config=config)
    expected = []
    for number, alpha in enumerate((0.3, 0.7)):
        recipe = wise_ft(tmp_path, alpha=alpha)
        (tmp_path / f"recipe{number}.yml").write_text(yaml.safe_dump(recipe))
        assert run(recipe, tmp_path / f"whole{number}").exit_code == 0
        expected.append(weights(tmp_path / f"whole{number}"))
    zygote = subprocess.Popen(
        [sys.executable, "-c", ZYGOTE], cwd=tmp_path, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    seen = {"absent": 0, "whole": 0}
    moments = random.Random(0)
    out = tmp_path / "out"

    def killed(wait):
        zygote.stdin.write("merge\n")
        zygote.stdin.flush()
        pid = int(zygote.stdout.readline())
        wait()
        os.kill(pid, signal.SIGKILL)
        assert zygote.stdout.readline() == "dead\n"

    def until_written():
        while not out.exists():
            time.sleep(0.001)

    try:
        started = time.monotonic()
        killed(until_written)
        # How long a merge takes depends on what else runs here.
        longest = 2 * (time.monotonic() - started)
        shutil.rmtree(out)
        for _ in range(20):
            killed(lambda: time.sleep(moments.uniform(0, longest)))
            if not out.exists():
                seen["absent"] += 1
                continue
            seen["whole"] += 1
            found = weights(out)
            assert any(
                found.keys() == one.keys() and all(torch.equal(found[name], one[name]) for name in one)
                for one in expected
            )
            assert json.loads((out / "wise_merge.json").read_text())["alpha"] in (0.3, 0.7)
    finally:
        zygote.stdin.close()
        zygote.wait()
    assert seen["whole"] >= 2, seen
    assert AutoModelForCausalLM.from_pretrained(tmp_path / "whole0")
    # The next merge cleans up what the killed ones have left.
    assert run(wise_ft(tmp_path, alpha=0.3), out, "--force").exit_code == 0
    assert not list(tmp_path.glob(".out.*"))


def test_the_start_of_a_merge_wastes_nothing(runs, tmp_path):
    """Files are hashed while torch is loaded, which is not interrupted by a search for garbage, nor is the end."""
    (tmp_path / "wise.yml").write_text(yaml.safe_dump(wise_ft(runs / "float32-float32")))
    script = (
        "import gc, sys\n"
        "from wise_merge.cli import main\n"
        "from wise_merge.merge import record\n"
        "hashed, searched, hash_file = [], [], record.file_sha256\n"
        "def watched(path):\n"
        "    hashed.append('torch.nn' in sys.modules)\n"
        "    return hash_file(path)\n"
        "record.file_sha256 = watched\n"
        "gc.callbacks.append(lambda phase, _: searched.append('torch' in sys.modules and not gc.get_freeze_count()))\n"
        "main(['merge', 'wise.yml', 'out'], standalone_mode=False)\n"
        "assert hashed[0] is False, hashed\n"
        "assert searched and not any(searched)\n"
        "assert len(gc.get_objects()) < gc.get_freeze_count(), (len(gc.get_objects()), gc.get_freeze_count())\n"
        "assert gc.isenabled()\n"
    )
    ended = subprocess.run([sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr


def test_a_write_that_fails_in_the_background_is_not_lost(tmp_path, monkeypatch):
    """The system tells of it once: whoever hears it has to say so, or a model with holes would be published."""
    told = threading.Event()

    def fails_once(_):
        if not told.is_set():
            told.set()
            raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(os, "fsync", fails_once)
    with (tmp_path / "file").open("wb") as file:
        with pytest.raises(OSError, match="Input/output error"), streaming._written_back([file.fileno()]):
            assert told.wait(60)
        with streaming._written_back([file.fileno()]):
            pass


@pytest.mark.parametrize(
    ("tensor", "group"),
    [
        ("model.embed_tokens.weight", "embeddings"),
        ("transformer.wte.weight", "embeddings"),
        ("model.layers.0.input_layernorm.weight", "norms"),
        ("model.layers.0.self_attn.q_norm.weight", "norms"),
        ("transformer.h.0.ln_1.weight", "norms"),
        ("model.layers.0.self_attn.q_proj.weight", "attention"),
        ("transformer.h.0.attn.c_attn.weight", "attention"),
        ("model.layers.0.mlp.up_proj.weight", "mlp"),
        ("gpt_neox.layers.0.mlp.dense_h_to_4h.weight", "mlp"),
        ("model.layers.0.mlp.experts.3.w1.weight", "experts"),
        ("model.layers.0.block_sparse_moe.gate.weight", "experts"),
        ("model.layers.0.mlp.gate_proj.weight", "mlp"),
        ("lm_head.weight", "lm head"),
        ("gpt_neox.embed_out.weight", "lm head"),
        ("model.vision_tower.blocks.0.attn.weight", "vision"),
        ("something.else", "other"),
    ],
)
def test_tensors_are_shown_by_the_part_of_the_model_that_they_are_of(tensor, group):
    """Names of the usual architectures."""
    assert group_of(tensor) == group
