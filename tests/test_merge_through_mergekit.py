"""`wise-merge merge` for recipes that mergekit carries out: adapters, slices, tokenizers laid over both."""

import hashlib
import json
import os
import stat

import pytest
import torch
import yaml
from safetensors.torch import load_file
from support.adapters import make_adapter
from support.checkpoints import character_tokenizer, make_checkpoint, tiny_llama
from support.merges import assert_same_weights, merge, run, weights
from support.recipes import slices, wise_ft


@pytest.fixture(scope="module")
def lora_run(tmp_path_factory):
    """A base and two adapters of one run."""
    folder = tmp_path_factory.mktemp("lora")
    base = make_checkpoint(folder / "base", seed=3)
    for number in (1, 2):
        make_adapter(folder / f"checkpoint-{number}", base, seed=number)
    return folder


def lora(folder, *, alpha=0.3, **changes):
    """The recipe for two adapters of one base."""
    early, late = (f"{folder / 'base'}+{folder / f'checkpoint-{number}'}" for number in (1, 2))
    return wise_ft(folder, alpha=alpha) | {"base_model": early, "models": [{"model": late}]} | changes


def test_adapters_are_averaged_as_dense_products(lora_run, tmp_path):
    """Bit for bit as by mergekit-yaml, and by float64 arithmetic on base + scale * B A; nothing else is left."""
    result = run(lora(lora_run), tmp_path / "ours")
    assert result.exit_code == 0, result.output
    reference = merge(lora(lora_run), tmp_path / "theirs", "--lora-merge-cache", tmp_path / "cache")
    assert reference.exit_code == 0, reference.output
    assert_same_weights(tmp_path / "ours", tmp_path / "theirs")
    base, merged = weights(lora_run / "base"), weights(tmp_path / "ours")
    name = "model.layers.0.self_attn.q_proj"
    exact = base[f"{name}.weight"].double()
    for number, share in ((1, 0.7), (2, 0.3)):
        factors = load_file(lora_run / f"checkpoint-{number}" / "adapter_model.safetensors")
        settings = json.loads((lora_run / f"checkpoint-{number}" / "adapter_config.json").read_text())
        up, down = (factors[f"base_model.model.{name}.lora_{which}.weight"].double() for which in "BA")
        exact = exact + share * settings["lora_alpha"] / settings["r"] * up @ down
    assert torch.allclose(merged[f"{name}.weight"].double(), exact, atol=1e-6)
    assert not list((tmp_path / "ours").glob(".*"))
    assert not list(tmp_path.glob(".ours*"))


def test_the_record_names_base_and_adapter_with_their_hashes(lora_run, tmp_path):
    """Both files of each checkpoint, what did the arithmetic, and the figures."""
    result = run(lora(lora_run), tmp_path / "out", "--alphas", "0.25,0.5")
    assert result.exit_code == 0, result.output
    records = [json.loads((tmp_path / "out" / f"alpha-{a}" / "wise_merge.json").read_text()) for a in ("0.25", "0.5")]
    for record, alpha in zip(records, (0.25, 0.5), strict=True):
        assert (record["alpha"], record["engine"], record["early"]["step"]) == (alpha, "mergekit", 1)
        assert set(record["late"]["files"]) == {"model.safetensors", "adapter_model.safetensors"}
        assert record["measured"]["all"]["effective_alpha"] == pytest.approx(alpha, abs=1e-4)
    assert run(lora(lora_run, alpha=0.25), tmp_path / "single").exit_code == 0
    assert_same_weights(tmp_path / "out" / "alpha-0.25", tmp_path / "single")


@pytest.mark.parametrize("spelling", ["float32", "torch.float32"])
def test_every_spelling_of_a_dtype_means_the_same_to_adapters(spelling, tmp_path):
    """In float32 the product of a bfloat16 base is not rounded before it is averaged."""
    base = make_checkpoint(tmp_path / "base", seed=3, dtype="bfloat16")
    for number in (1, 2):
        make_adapter(tmp_path / f"checkpoint-{number}", base, seed=number)
    result = run(lora(tmp_path, dtype=spelling), tmp_path / "out")
    assert result.exit_code == 0, result.output
    options = ("--lora-merge-cache", tmp_path / "cache", "--lora-merge-dtype", "float32")
    assert merge(lora(tmp_path, dtype="float32"), tmp_path / "theirs", *map(str, options)).exit_code == 0
    assert_same_weights(tmp_path / "out", tmp_path / "theirs")
    # The negative control: rounded first, it is another model.
    options = ("--lora-merge-cache", tmp_path / "rounded")
    assert merge(lora(tmp_path, dtype="float32"), tmp_path / "other", *map(str, options)).exit_code == 0
    name = "model.layers.0.self_attn.q_proj.weight"
    assert not torch.equal(weights(tmp_path / "out")[name], weights(tmp_path / "other")[name])
    assert yaml.safe_load((tmp_path / "out" / "mergekit_config.yml").read_text())["dtype"] == "float32"


def test_every_pair_of_a_merge_by_slices_is_recorded(tiny_run, tmp_path):
    """With the hashes of all files, not of the first pair alone."""
    others = [make_checkpoint(tmp_path / f"checkpoint-{number}", seed=number) for number in (3, 4)]
    runs = [[tiny_run / f"checkpoint-{number}" for number in (1, 2)], others]
    recipe = {
        "merge_method": "wise_ft",
        "base_model": str(runs[0][0]),
        "parameters": {"alpha": 0.5},
        "slices": [
            {
                "base_model": str(early),
                "sources": [{"model": str(model), "layer_range": [layer, layer + 1]} for model in (early, late)],
            }
            for layer, (early, late) in enumerate(runs)
        ],
    }
    result = run(recipe, tmp_path / "out")
    assert result.exit_code == 0, result.output
    record = json.loads((tmp_path / "out" / "wise_merge.json").read_text())
    assert [[pair[role]["model"] for role in ("early", "late")] for pair in record["pairs"]] == [
        list(map(str, pair)) for pair in runs
    ]
    for pair, folders in zip(record["pairs"], runs, strict=True):
        for role, folder in zip(("early", "late"), folders, strict=True):
            content = (folder / "model.safetensors").read_bytes()
            assert pair[role]["files"]["model.safetensors"]["sha256"] == hashlib.sha256(content).hexdigest()
    assert result.output.count(" and late ") == 2
    assert (record["early"], record["late"]) == tuple(record["pairs"][0].values())


def test_an_adapter_that_was_trained_again_at_its_place_is_taken_as_it_is_now(lora_run, tmp_path):
    """mergekit's own cache, which goes by the path, would give the old one."""
    make_adapter(tmp_path / "adapter", lora_run / "base", seed=5)
    recipe = lora(lora_run) | {"models": [{"model": f"{lora_run / 'base'}+{tmp_path / 'adapter'}"}]}
    assert run(recipe, tmp_path / "first").exit_code == 0
    make_adapter(tmp_path / "adapter", lora_run / "base", seed=6)
    assert run(recipe, tmp_path / "second").exit_code == 0
    name = "model.layers.0.self_attn.q_proj.weight"
    assert not torch.equal(weights(tmp_path / "first")[name], weights(tmp_path / "second")[name])


def test_slices_are_those_of_mergekit(tiny_run, tmp_path):
    """One layer of the two, averaged."""
    recipe = wise_ft(tiny_run, alpha=0.3)
    slices(ranges=((1, 2), (1, 2)))(recipe, tiny_run)
    assert run(recipe, tmp_path / "ours").exit_code == 0
    assert merge(recipe, tmp_path / "theirs").exit_code == 0
    assert_same_weights(tmp_path / "ours", tmp_path / "theirs")
    assert json.loads((tmp_path / "ours" / "config.json").read_text())["num_hidden_layers"] == 1


def test_an_alpha_of_the_command_line_holds_for_slices_that_have_their_own(tiny_run, tmp_path):
    """Two alphas give two models, each where its alpha says."""
    recipe = wise_ft(tiny_run)
    slices()(recipe, tiny_run)
    recipe["slices"][0]["parameters"] = {"alpha": 0.5}
    result = run(recipe, tmp_path / "out", "--alphas", "0.1,0.9")
    assert result.exit_code == 0, result.output
    for alpha in (0.1, 0.9):
        record = json.loads((tmp_path / "out" / f"alpha-{alpha}" / "wise_merge.json").read_text())
        assert record["measured"]["all"]["effective_alpha"] == pytest.approx(alpha, abs=1e-3)


def test_tokenizers_that_differ_by_a_token_are_laid_over_each_other(tmp_path):
    """`tokenizer: {source: union}` works as in mergekit-yaml; without it the sizes are an error that says so."""
    make_checkpoint(tmp_path / "checkpoint-1", seed=1)
    late = make_checkpoint(tmp_path / "checkpoint-2", seed=2, config=tiny_llama(vocab_size=100))
    tokenizer = character_tokenizer()
    tokenizer.add_tokens(["<think>"])
    tokenizer.save_pretrained(late)
    bad = run(wise_ft(tmp_path), tmp_path / "bad")
    assert bad.exit_code == 1
    assert "tokenizer: {source: union}" in bad.output
    recipe = wise_ft(tmp_path, tokenizer={"source": "union"})
    result = run(recipe, tmp_path / "ours")
    assert result.exit_code == 0, result.output
    assert merge(recipe, tmp_path / "theirs").exit_code == 0
    assert_same_weights(tmp_path / "ours", tmp_path / "theirs")
    assert weights(tmp_path / "ours")["model.embed_tokens.weight"].shape[0] == 100


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"models": [{"model": "base+/nowhere/adapter"}]}, ["base", "neither a directory here nor"]),
        ({"parameters": {"alpha": 1.5}}, ["alpha must lie in [0, 1]"]),
        ({"tokenizer": {"source": "union", "pad_to_multiple_of": "many"}}, ["mergekit does not take", "pad_to_mul"]),
        ({"tokenizer": {"source": "/nowhere/tokenizer"}}, ["mergekit cannot carry out", "/nowhere/tokenizer"]),
        ({"slices": [{"sources": [{"model": "a", "layer_range": [0, 1]}]}]}, ["exactly one of"]),
        ({"chat_template": "nosuch"}, ["could not write the tokenizer", "chat_template 'nosuch'"]),
    ],
)
def test_bad_input_is_one_line_and_leaves_nothing(changes, words, lora_run, tmp_path):
    """Exit code 1, and nothing beside the place of the output."""
    result = run(lora(lora_run, **changes), tmp_path / "out")
    assert result.exit_code == 1
    (line,) = [line for line in result.output.splitlines() if line.startswith("Error: ")]
    assert all(word in line for word in words), line
    assert os.listdir(tmp_path) == ["out.recipe.yml"]


def test_check_writes_nothing_and_files_follow_the_umask(lora_run, tmp_path):
    """The checks of mergekit's recipes stop before mergekit starts."""
    result = run(lora(lora_run), tmp_path / "out", "--check")
    assert result.exit_code == 0
    assert "All checks have passed; nothing was written." in result.output
    assert os.listdir(tmp_path) == ["out.recipe.yml"]
    before = os.umask(0o022)
    try:
        assert run(lora(lora_run), tmp_path / "out").exit_code == 0
    finally:
        os.umask(before)
    assert {stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / "out").iterdir()} == {0o644}


def test_the_recipe_beside_the_weights_is_the_one_that_was_carried_out(lora_run, tmp_path):
    """With the dtype of the command line in it."""
    assert run(lora(lora_run, dtype="bfloat16"), tmp_path / "out", "--out-dtype", "float32").exit_code == 0
    recipe = yaml.safe_load((tmp_path / "out" / "mergekit_config.yml").read_text())
    assert (recipe["dtype"], recipe["out_dtype"]) == ("float32", "float32")
    assert {tensor.dtype for tensor in weights(tmp_path / "out").values()} == {torch.float32}
