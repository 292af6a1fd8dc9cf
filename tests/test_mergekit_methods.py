"""`wise_ft` and `bang` through the real `mergekit-yaml`, on tiny checkpoints."""

import json
import os
import shutil
import subprocess
import sys

import pytest
import torch
import yaml
from support.checkpoints import change, make_checkpoint, replace_late, tiny_llama, truncate, with_value, without_tensor
from support.merges import merge, weights
from support.recipes import bang, slices, wise_ft
from support.tensors import one_rounding

from wise_merge.errors import WiseMergeError


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
@pytest.mark.parametrize("shard", ["1GB", "20kB"])
def test_merged_tensors_equal_float64_arithmetic(dtype, shard, tmp_path):
    """Every tensor lies within one spacing of the output dtype of float64 arithmetic, for one and for several files."""
    for seed in (1, 2):
        make_checkpoint(tmp_path / f"checkpoint-{seed}", seed=seed, dtype=dtype, max_shard_size=shard)
    result = merge(
        wise_ft(tmp_path, alpha=0.3),
        tmp_path / "out",
        "--out-shard-size",
        {"1GB": "1B", "20kB": "20k"}[shard],
    )
    assert result.exit_code == 0, result.output
    assert (len(list((tmp_path / "out").glob("*.safetensors"))) > 1) == (shard == "20kB")
    early, late, merged = (weights(tmp_path / name) for name in ("checkpoint-1", "checkpoint-2", "out"))
    assert merged.keys() == early.keys()
    for name, tensor in merged.items():
        exact = 0.7 * early[name].double() + 0.3 * late[name].double()
        assert tensor.dtype == getattr(torch, dtype)
        assert ((tensor.double() - exact).abs() <= one_rounding(early[name], late[name], tensor.dtype)).all(), name


@pytest.mark.parametrize(("alpha", "end"), [(0, "checkpoint-1"), (1, "checkpoint-2")])
@pytest.mark.parametrize("method", ["wise_ft", "bang"])
def test_the_ends_are_the_checkpoints_bit_for_bit(method, alpha, end, tiny_run, tmp_path):
    """alpha 0 returns the early checkpoint and alpha 1 the late one."""
    assert merge(wise_ft(tiny_run, alpha=alpha, merge_method=method), tmp_path / "out").exit_code == 0
    merged = weights(tmp_path / "out")
    for name, tensor in weights(tiny_run / end).items():
        assert torch.equal(merged[name], tensor), name


def test_the_merged_model_loads_and_says_how_it_was_made(tiny_run, tmp_path):
    """transformers loads model and tokenizer; the card links the paper and holds the recipe."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    assert merge(wise_ft(tiny_run, dtype="bfloat16"), tmp_path / "out").exit_code == 0
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "out")
    assert model.dtype == torch.bfloat16
    assert AutoTokenizer.from_pretrained(tmp_path / "out").decode([5 + 1]) == '"'
    card = (tmp_path / "out" / "README.md").read_text()
    assert "[WiSE-FT](https://arxiv.org/abs/2504.10478)" in card
    assert "alpha: 0.5" in card


def test_alpha_takes_gradients_and_filters(tiny_run, tmp_path):
    """A list runs over the layers, a filter picks tensors; the first match wins."""
    alpha = [{"filter": "mlp", "value": [0.0, 1.0]}, {"value": 0.5}]
    assert merge(wise_ft(tiny_run, alpha=alpha), tmp_path / "out").exit_code == 0
    early, late, merged = (weights(d) for d in (tiny_run / "checkpoint-1", tiny_run / "checkpoint-2", tmp_path / "out"))
    first, last = "model.layers.0.mlp.up_proj.weight", "model.layers.1.mlp.up_proj.weight"
    assert torch.equal(merged[first], early[first])
    assert torch.equal(merged[last], late[last])
    other = "model.layers.0.self_attn.q_proj.weight"
    assert torch.allclose(merged[other], (early[other] + late[other]) / 2)


def test_a_filter_that_matches_nothing_is_a_warning(tiny_run, tmp_path, caplog):
    """A misspelt name would otherwise leave its value unused in silence; one that matches says nothing."""
    alpha = [{"filter": "mpl", "value": 1}, {"filter": "mlp", "value": 1}, {"value": 0.5}]
    assert merge(wise_ft(tiny_run, alpha=alpha), tmp_path / "out").exit_code == 0
    messages = {record.getMessage() for record in caplog.records if record.name.startswith("wise_merge")}
    assert messages == {"alpha in parameters: no tensor's name contains 'mpl', so its value is not used"}


def test_paths_relative_to_the_current_folder_need_no_network(tiny_run, tmp_path, console_script):
    """`runs/checkpoint-1` is a folder here, not a name to look up on the Hub: the merge ends whole."""
    (tmp_path / "runs").symlink_to(tiny_run)
    recipe = wise_ft(tiny_run) | {
        "base_model": "runs/checkpoint-1",
        "models": [{"model": "runs/checkpoint-2"}],
    }
    (tmp_path / "wise.yml").write_text(yaml.safe_dump(recipe))
    result = console_script("mergekit-yaml", "wise.yml", "out/", cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    for file in ("config.json", "model.safetensors", "tokenizer.json", "README.md", "mergekit_config.yml"):
        assert (tmp_path / "out" / file).is_file()


def test_slices_pick_layers(tiny_run, tmp_path):
    """mergekit's slices work: one layer of the two, averaged."""
    sources = [{"model": str(tiny_run / f"checkpoint-{i}"), "layer_range": [1, 2]} for i in (1, 2)]
    recipe = wise_ft(tiny_run) | {"slices": [{"sources": sources}]}
    del recipe["models"]
    result = merge(recipe, tmp_path / "out")
    assert result.exit_code == 0, result.output
    early, late, merged = (weights(d) for d in (tiny_run / "checkpoint-1", tiny_run / "checkpoint-2", tmp_path / "out"))
    taken = "model.layers.1.mlp.up_proj.weight"
    assert torch.allclose(merged["model.layers.0.mlp.up_proj.weight"], (early[taken] + late[taken]) / 2)
    assert taken not in merged


@torch.no_grad()
def logits(directory):
    """The logits of a checkpoint for a fixed input."""
    from transformers import AutoModelForCausalLM

    return AutoModelForCausalLM.from_pretrained(directory).eval()(torch.arange(1, 13).view(1, -1)).logits


def test_bang_divides_the_logits_of_each_end_by_its_temperature(tiny_run, tmp_path):
    """alpha 0 is the early checkpoint at temperature 2, alpha 1 the late one at 0.5."""
    for alpha, end, temperature in ((0, "checkpoint-1", 2.0), (1, "checkpoint-2", 0.5)):
        out = tmp_path / end
        assert merge(bang(tiny_run, alpha=alpha, early=2.0, late=0.5), out).exit_code == 0
        assert torch.allclose(logits(out) * temperature, logits(tiny_run / end), rtol=1e-4, atol=1e-5)


def test_bang_folds_before_it_averages(tiny_run, tmp_path):
    """The last gain is the average of the divided gains; every other tensor is that of wise_ft."""
    assert merge(bang(tiny_run, alpha=0.25, early=2.0, late=0.5), tmp_path / "bang").exit_code == 0
    assert merge(wise_ft(tiny_run, alpha=0.25), tmp_path / "wise").exit_code == 0
    balanced, plain = weights(tmp_path / "bang"), weights(tmp_path / "wise")
    early, late = (weights(tiny_run / name)["model.norm.weight"] for name in ("checkpoint-1", "checkpoint-2"))
    assert torch.allclose(balanced["model.norm.weight"], 0.75 * early / 2.0 + 0.25 * late / 0.5)
    assert not torch.equal(balanced["model.norm.weight"], plain["model.norm.weight"])
    for name in plain.keys() - {"model.norm.weight"}:
        assert torch.equal(balanced[name], plain[name]), name


def test_bang_at_temperature_one_is_wise_ft(tiny_run, tmp_path):
    """The neutral temperature changes no bit."""
    assert merge(bang(tiny_run, alpha=0.4), tmp_path / "bang").exit_code == 0
    assert merge(wise_ft(tiny_run, alpha=0.4), tmp_path / "wise").exit_code == 0
    plain = weights(tmp_path / "wise")
    assert all(torch.equal(tensor, plain[name]) for name, tensor in weights(tmp_path / "bang").items())


def test_bang_refuses_what_it_cannot_fold_exactly(tmp_path):
    """A temperature for Gemma-2, which caps its logits, is one line and no model; without one the merge works."""
    from transformers import Gemma2Config

    sizes = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "vocab_size": 99, "head_dim": 16}
    config = Gemma2Config(**sizes, num_attention_heads=2, num_key_value_heads=2)
    for seed in (1, 2):
        make_checkpoint(tmp_path / f"checkpoint-{seed}", seed=seed, config=config)
    result = merge(bang(tmp_path, alpha=0.5, late=2.0), tmp_path / "out")
    assert (result.exit_code, list((tmp_path / "out").glob("*"))) == (1, [])
    assert "Error: a temperature cannot be folded into Gemma2ForCausalLM" in result.output
    assert merge(bang(tmp_path, alpha=0.5), tmp_path / "neutral").exit_code == 0


def test_the_methods_work_on_tensors_in_memory():
    """mergekit's own in-memory interface checks alpha and finds NaN as well."""
    from mergekit.merge_methods import merge_state_dicts

    models = {"early": {"w": torch.zeros(3)}, "late": {"w": torch.ones(3)}}
    merged = merge_state_dicts(models, "wise_ft", base="early", parameters={"alpha": 0.25})
    assert torch.equal(merged["w"], torch.full((3,), 0.25))
    with pytest.raises(ValueError, match="less than or equal to 1"):
        merge_state_dicts(models, "wise_ft", base="early", parameters={"alpha": 1.5})
    models["late"]["w"][1] = torch.nan
    with pytest.raises(WiseMergeError, match="tensor w of late contains nan"):
        merge_state_dicts(models, "wise_ft", base="early", parameters={"alpha": 0.5})


# --- what bad input gets --------------------------------------------------------------------------


def other_shapes(directory):
    shutil.rmtree(directory)
    make_checkpoint(directory, seed=2, config=tiny_llama(intermediate_size=80))


def other_architecture(directory):
    config = json.loads((directory / "config.json").read_text())
    config["architectures"] = ["MistralForCausalLM"]
    (directory / "config.json").write_text(json.dumps(config))


def without_shard(directory):
    shutil.rmtree(directory)
    make_checkpoint(directory, seed=2, max_shard_size="20kB")
    min(directory.glob("model-*-of-*.safetensors")).unlink()


BAD_INPUT = {
    "a missing folder": (
        change(models=[{"model": "/nowhere/checkpoint-9"}]),
        ["/nowhere/checkpoint-9", "late", "path"],
    ),
    "a missing relative folder": (
        change(base_model="runs/checkpoint-9"),
        ["runs/checkpoint-9", "early", "path"],
    ),
    "no alpha": (change(parameters=...), ["alpha is missing", "0 (early)", "1 (late)"]),
    "a misspelt alpha": (change(parameters={"alhpa": 0.5}), ["alhpa", "did you mean alpha"]),
    "alpha 1.7": (change(parameters={"alpha": 1.7}), ["alpha", "[0, 1]", "1.7"]),
    "alpha nan": (change(parameters={"alpha": float("nan")}), ["alpha", "[0, 1]", "nan"]),
    "alpha in words": (change(parameters={"alpha": "half"}), ["alpha", "number", "'half'"]),
    "alpha 2 in a gradient": (change(parameters={"alpha": [0, 2]}), ["alpha", "[0, 1]", "2"]),
    "alpha for some tensors": (
        change(parameters={"alpha": [{"filter": "mlp", "value": 1}]}),
        ["alpha", "without filter"],
    ),
    "alpha at a model": (
        change(
            parameters=...,
            models=lambda run: [{"model": str(run / "checkpoint-2"), "parameters": {"alpha": 0.5}}],
        ),
        ["alpha", "checkpoint-2", "top-level"],
    ),
    "two late models": (
        change(models=lambda run: [{"model": str(run / "checkpoint-2")}, {"model": str(run)}]),
        ["exactly one late", "checkpoint-2", "uniform_soup"],
    ),
    "no late model": (
        change(models=lambda run: [{"model": str(run / "checkpoint-1")}]),
        ["early and late are both", "models names base_model alone"],
    ),
    "no base model": (change(base_model=...), ["base_model is missing", "early"]),
    "a misspelt filter": (
        change(parameters={"alpha": [{"fitler": "mlp", "value": 0.1}, {"value": 0.5}]}),
        ["entry 1 of alpha", "no filter", "never used"],
    ),
    "a gradient of temperatures": (
        change(merge_method="bang", parameters={"alpha": 0.5, "temperature": [2, 4]}),
        ["temperature", "one number"],
    ),
    "slices of a missing folder": (slices(late="/nowhere/checkpoint-9"), ["/nowhere/checkpoint-9", "late"]),
    "slices of different layers": (slices(((0, 1), (1, 2))), ["slice 0", "different layers", "layer_range"]),
    "slices without the early one": (slices(early=None), ["slice 0", "early", "checkpoint-1", "sources"]),
    "the early one twice": (
        change(models=lambda run: [{"model": str(run / f"checkpoint-{i}")} for i in (1, 1, 2)]),
        ["checkpoint-1", "named twice"],
    ),
    "a temperature that overflows": (
        change(merge_method="bang", parameters={"alpha": 0.5, "temperature": 1e-45}),
        ["temperature 1e-45", "model.norm.weight", "overflow"],
    ),
    "no architecture": (
        replace_late(lambda d: (d / "config.json").write_text('{"model_type": "llama"}')),
        ["changed/config.json", "architectures"],
    ),
    "a dtype by its short name": (change(dtype="bf16"), ["dtype", "bfloat16", "got bf16"]),
    "a temperature of 0": (
        change(merge_method="bang", parameters={"alpha": 0.5, "temperature": 0}),
        ["temperature", "positive", "0"],
    ),
    "a temperature for wise_ft": (
        change(parameters={"alpha": 0.5, "temperature": 2}),
        ["unknown parameter temperature", "alpha"],
    ),
    "another architecture": (replace_late(other_architecture), ["LlamaForCausalLM", "MistralForCausalLM"]),
    "other shapes": (replace_late(other_shapes), ["mlp.down_proj", "(32, 64)", "(32, 80)", "changed"]),
    "a tensor less": (
        replace_late(without_tensor),
        ["model.layers.1.mlp.up_proj.weight", "missing in", "changed"],
    ),
    "a truncated file": (
        replace_late(truncate),
        ["changed/model.safetensors", "not a whole safetensors file"],
    ),
    "a missing shard": (replace_late(without_shard), ["model-00001-of-", "missing", "index"]),
    "no config": (replace_late(lambda d: (d / "config.json").unlink()), ["changed", "config.json"]),
    "a broken config": (replace_late(lambda d: (d / "config.json").write_text("{")), ["config.json", "JSON"]),
    "no weights": (replace_late(lambda d: (d / "model.safetensors").unlink()), ["changed", "no weights"]),
    "NaN": (
        replace_late(with_value(float("nan"))),
        ["model.layers.1.mlp.up_proj.weight", "changed", "nan", "finite"],
    ),
    "infinity": (
        replace_late(with_value(float("inf"))),
        ["model.layers.1.mlp.up_proj.weight", "changed", "inf"],
    ),
}


@pytest.mark.parametrize("case", BAD_INPUT)
def test_bad_input_gets_one_line(case, tiny_run, tmp_path):
    """Exit code 1, one line that names what was wrong, no traceback, and nothing that could pass for a model."""
    apply, words = BAD_INPUT[case]
    run = tmp_path / "run"
    shutil.copytree(tiny_run, run)
    recipe = wise_ft(run)
    apply(recipe, run)
    result = merge(recipe, tmp_path / "out")
    assert result.exit_code == 1
    assert isinstance(result.exception, SystemExit), result.exception
    lines = [line for line in result.output.splitlines() if line.startswith("Error: ")]
    assert len(lines) == 1, result.output
    assert result.output.strip().endswith(lines[0])
    for word in words:
        assert word in lines[0]
    assert not (tmp_path / "out" / "config.json").exists()
    assert not list((tmp_path / "out").glob("*.safetensors*"))


def test_other_merge_methods_are_left_alone(tiny_run, tmp_path):
    """The checks are for our own methods: mergekit's linear still takes its own parameters."""
    models = [{"model": str(tiny_run / f"checkpoint-{i}"), "parameters": {"weight": 0.5}} for i in (1, 2)]
    result = merge({"merge_method": "linear", "models": models, "parameters": {"normalize": False}}, tmp_path / "out")
    assert result.exit_code == 0, result.output


def test_registering_twice_is_harmless():
    """mergekit refuses a second method of one name; we do not offer it one."""
    from mergekit.merge_methods import registered_methods

    from wise_merge.hosts.mergekit import methods as mergekit_methods

    mergekit_methods.register()
    mergekit_methods.register()
    assert [method.spec.name for method in registered_methods()].count("wise_ft") == 1


@pytest.mark.parametrize("autoload", ["1", "0"])
def test_importing_our_module_first_registers_too(autoload, tmp_path):
    """Whatever is imported first, and with the start-up file off as well, the methods are there without a word."""
    code = (
        "import wise_merge.hosts.mergekit.methods, mergekit.merge_methods as m\n"
        "print(*sorted({'wise_ft', 'bang'} & {method.spec.name for method in m.registered_methods()}))"
    )
    environment = {**os.environ, "WISE_MERGE_AUTOLOAD": autoload}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout == "bang wise_ft\n"
    assert "wise-merge" not in done.stderr
