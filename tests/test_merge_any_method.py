"""`wise-merge merge` with mergekit's own methods: the same weights as mergekit-yaml, and checks that it has not."""

import json

import pytest
import torch
import yaml
from click.testing import CliRunner
from mergekit.merge_methods import registry
from safetensors.torch import load_file, save_file
from support.checkpoints import make_checkpoint, tiny_llama
from support.merges import merge as by_mergekit
from transformers import AutoModelForCausalLM

from wise_merge.cli import main
from wise_merge.methods import METHODS

NAMES = ("one", "two", "three")


def models(*names, **parameters):
    return [{"model": name, **({"parameters": parameters} if parameters else {})} for name in names]


DROPPING = {"weight": 0.5, "density": 0.5}
#: A recipe of every method that mergekit registers, with the parameters that it needs.
RECIPES = {
    "linear": {"models": models(*NAMES, weight=1.0)},
    "slerp": {"base_model": "one", "models": models("one", "two"), "parameters": {"t": 0.5}},
    "nuslerp": {"models": models("one", "two", weight=0.5)},
    "task_arithmetic": {"base_model": "one", "models": models("two", "three", weight=0.5)},
    "ties": {
        "base_model": "one",
        "models": models("two", "three", **DROPPING),
        "parameters": {"normalize": True},
    },
    "dare_ties": {"base_model": "one", "models": models("two", "three", **DROPPING)},
    "dare_linear": {"base_model": "one", "models": models("two", "three", **DROPPING)},
    "della": {"base_model": "one", "models": models("two", "three", **DROPPING, epsilon=0.1)},
    "della_linear": {"base_model": "one", "models": models("two", "three", **DROPPING, epsilon=0.1)},
    "breadcrumbs": {"base_model": "one", "models": models("two", "three", **DROPPING, gamma=0.01)},
    "breadcrumbs_ties": {"base_model": "one", "models": models("two", "three", **DROPPING, gamma=0.01)},
    "model_stock": {"base_model": "one", "models": models("two", "three")},
    "sce": {"base_model": "one", "models": models("two", "three"), "parameters": {"select_topk": 0.5}},
    "karcher": {"models": models(*NAMES)},
    "multislerp": {"models": models(*NAMES, weight=1.0)},
    "nearswap": {"base_model": "one", "models": models("two"), "parameters": {"t": 0.001}},
    "arcee_fusion": {"base_model": "one", "models": models("two")},
    "ram": {"base_model": "one", "models": models("two", "three")},
    "ramplus_tl": {"base_model": "one", "models": models("two", "three")},
    "passthrough": {
        "slices": [
            {"sources": [{"model": "one", "layer_range": [0, 2]}]},
            {"sources": [{"model": "two", "layer_range": [1, 2]}]},
        ]
    },
}
LINEAR = {"merge_method": "linear", **RECIPES["linear"]}


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """Three models in float32."""
    folder = tmp_path_factory.mktemp("any")
    for seed, name in enumerate(NAMES):
        make_checkpoint(folder / name, seed=seed)
    return folder


@pytest.fixture(autouse=True)
def there(run, monkeypatch):
    monkeypatch.chdir(run)


def ours(recipe, folder, *options):
    """Run `wise-merge merge` on a recipe; return click's result."""
    (folder / "recipe.yml").write_text(yaml.safe_dump(recipe))
    return CliRunner().invoke(main, ["merge", str(folder / "recipe.yml"), str(folder / "out"), *options])


def test_every_method_of_mergekit_is_tried():
    """One that a new version brings shows here."""
    assert {method.spec.name for method in registry.registered_methods()} == RECIPES.keys() | METHODS.keys()


@pytest.mark.parametrize("method", RECIPES)
def test_the_weights_are_those_of_mergekit_yaml(method, tmp_path):
    """Bit for bit; those that drop weights by chance do it by the seed that the record names."""
    recipe = {"merge_method": method, **RECIPES[method]}
    done = ours(recipe, tmp_path)
    assert done.exit_code == 0, done.output
    record = json.loads((tmp_path / "out/wise_merge.json").read_text())
    theirs = by_mergekit(
        recipe, tmp_path / "theirs", "--random-seed", str(record["random_seed"]), "--no-write-model-card"
    )
    assert theirs.exit_code == 0, theirs.output
    found, expected = (load_file(tmp_path / name / "model.safetensors") for name in ("out", "theirs"))
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[name], expected[name]) for name in found)
    assert (record["engine"], record["merge_method"]) == ("mergekit", method)
    assert {one["model"] for one in record["models"]} <= set(NAMES)
    AutoModelForCausalLM.from_pretrained(tmp_path / "out")
    # Of the table, the distance from the base.
    assert "unchanged" in done.output
    assert record["measured"]["all"]["parameters"] == sum(tensor.numel() for tensor in found.values())


def test_the_first_model_gives_config_and_tokenizer_where_there_is_no_base(tmp_path, monkeypatch):
    """mergekit itself takes those of any of them, by the hash of their names."""
    for seed, name in enumerate(("a", "b", "c", "d")):
        make_checkpoint(tmp_path / name, seed=seed)
        config = json.loads((tmp_path / name / "config.json").read_text())
        (tmp_path / name / "config.json").write_text(json.dumps({**config, "max_position_embeddings": 100 + seed}))
    monkeypatch.chdir(tmp_path)
    for first in "abcd":
        names = [first, *(name for name in "abcd" if name != first)]
        done = ours({"merge_method": "linear", "models": models(*names, weight=1.0)}, tmp_path, "--force")
        assert done.exit_code == 0, done.output
        config = json.loads((tmp_path / "out/config.json").read_text())
        assert config["max_position_embeddings"] == 100 + "abcd".index(first)
        assert "config.json" in done.output  # that they differ is said


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"merge_method": "liner"}, ["mergekit has no merge_method liner", "did you mean linear?"]),
        ({"merge_method": "wise_tf"}, ["did you mean wise_ft?"]),
        ({"merge_method": "frobnicate"}, ["frobnicate", "linear", "uniform_soup"]),
        ({"parameters": {"nromalize": False}}, ["unknown parameter nromalize", "did you mean normalize?"]),
        ({"models": models(*NAMES, wieght=1.0)}, ["unknown parameter wieght", "did you mean weight?"]),
        ({"models": [{"model": "one", "weight": 1.0}]}, ["unknown key weight", "stands under parameters"]),
        ({"paramters": {}}, ["paramters", "did you mean parameters?"]),
        (
            {"models": models("one", "nowhere", weight=1.0)},
            ["the model checkpoint nowhere", "neither a directory here nor"],
        ),
        ({"models": models("one", "one", weight=1.0)}, ["one"]),
    ],
)
def test_a_recipe_that_mergekit_would_misread_is_one_line(change, words, tmp_path):
    """Before a weight is read; mergekit ignores keys and parameters that it does not know."""
    done = ours({**LINEAR, **change}, tmp_path)
    assert done.exit_code == 1, done.output
    assert all(word in done.output for word in words), done.output
    assert "Traceback" not in done.output
    assert not (tmp_path / "out").exists()


def test_alphas_are_for_methods_that_have_one(tmp_path):
    """No folder of equal models."""
    done = ours(LINEAR, tmp_path, "--alphas", "0.1,0.2")
    assert "linear has none" in done.output
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_what_is_not_finite_ends_the_merge(value, tmp_path):
    """mergekit passes it on; here the tensor, the model and the value are named, and nothing is left."""
    broken = make_checkpoint(tmp_path / "broken", seed=8)
    tensors = load_file(broken / "model.safetensors")
    tensors["model.layers.1.mlp.up_proj.weight"][2, 3] = value
    save_file(tensors, broken / "model.safetensors", metadata={"format": "pt"})
    done = ours({"merge_method": "linear", "models": models("one", str(broken), weight=1.0)}, tmp_path)
    assert done.exit_code == 1
    assert f"tensor model.layers.1.mlp.up_proj.weight of {broken} contains {value}" in done.output
    assert not (tmp_path / "out").exists()


def test_shapes_and_left_out_tensors_are_seen_before_a_weight_is_read(tmp_path):
    """A tensor that mergekit does not know of would be missing in the merge without a word."""
    other = make_checkpoint(tmp_path / "other", seed=9, config=tiny_llama(intermediate_size=96))
    done = ours({"merge_method": "linear", "models": models("one", str(other), weight=1.0)}, tmp_path)
    assert done.exit_code == 1
    assert "has shape" in done.output
    more = make_checkpoint(tmp_path / "more", seed=9)
    tensors = load_file(more / "model.safetensors")
    save_file({**tensors, "model.extra.weight": torch.ones(3)}, more / "model.safetensors", metadata={"format": "pt"})
    done = ours({"merge_method": "linear", "models": models(str(more), "one", weight=1.0)}, tmp_path)
    assert done.exit_code == 1
    assert "model.extra.weight" in done.output
    assert not (tmp_path / "out").exists()


def test_checks_alone_write_nothing(tmp_path):
    """And say so."""
    done = ours(LINEAR, tmp_path, "--check")
    assert done.exit_code == 0, done.output
    assert "All checks have passed; nothing was written." in done.output
    assert not (tmp_path / "out").exists()
