"""The Fisher average: the formula, in every place where a method can be used, and files that it refuses."""

import math
import re

import pytest
import torch
import yaml
from click.testing import CliRunner
from safetensors.torch import load_file
from support.checkpoints import make_checkpoint
from support.merges import assert_same_weights
from support.merges import merge as by_mergekit

from wise_merge.checkpoints import fingerprint
from wise_merge.cli import main
from wise_merge.errors import WiseMergeError
from wise_merge.kernels.fisher import fisher_mean
from wise_merge.tensor_files.contents import write

NAMES = ("one", "two", "three")


def write_fisher(path, model, *, seed, change=None, **metadata):
    """A Fisher file of a model, with random entries over many orders of magnitude and some zeros."""
    drawn = torch.Generator().manual_seed(seed)
    tensors = {}
    for name, tensor in load_file(model / "model.safetensors").items():
        squares = torch.randn(tensor.shape, generator=drawn).square() * 10 ** (-6 * torch.rand(1, generator=drawn))
        tensors[name] = (squares * (torch.rand(tensor.shape, generator=drawn) > 0.2)).float().contiguous()
    if change:
        change(tensors)
    norm = math.sqrt(sum(tensor.double().square().sum().item() for tensor in tensors.values()))
    write(path, "fisher", tensors, {"digest": fingerprint.of_weights(model), "norm": repr(norm), **metadata})


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """Three models in bfloat16 with a Fisher file each."""
    folder = tmp_path_factory.mktemp("fisher")
    for seed, name in enumerate(NAMES):
        make_checkpoint(folder / name, seed=seed, dtype="bfloat16")
        write_fisher(folder / f"{name}.safetensors", folder / name, seed=seed)
    return folder


def recipe(run, *own, **more):
    """Of these models, each with its file and further parameters of its own."""
    own = own or ({},) * len(NAMES)
    models = [
        {"model": str(run / name), "parameters": {"fisher": str(run / f"{name}.safetensors"), **one}}
        for name, one in zip(NAMES, own, strict=False)
    ]
    return {"merge_method": "fisher", "models": models, **more}


def run_merge(recipe, folder):
    """What `wise-merge merge` of a recipe gave."""
    folder.mkdir(exist_ok=True)
    (folder / "fisher.yml").write_text(yaml.safe_dump(recipe))
    return CliRunner().invoke(main, ["merge", str(folder / "fisher.yml"), str(folder / "out"), "--force"])


def refusal(recipe, folder):
    """The one line with which `wise-merge merge` refuses a recipe; nothing is written."""
    done = run_merge(recipe, folder)
    assert done.exit_code == 1, done.output
    assert not (folder / "out").exists()
    (line,) = done.output.strip().splitlines()
    return line


def by_hand(run, weights, floors, *, normalize):
    """The formula in float64."""
    models = [load_file(run / name / "model.safetensors") for name in NAMES]
    fishers = [load_file(run / f"{name}.safetensors") for name in NAMES]
    merged = {}
    for name in models[0]:
        above, below = 0.0, 0.0
        for model, fisher, weight, floor in zip(models, fishers, weights, floors, strict=True):
            norm = math.sqrt(sum(one.double().square().sum().item() for one in fisher.values())) if normalize else 1
            share = weight / norm * torch.clamp(fisher[name].double(), min=floor)
            above, below = above + share * model[name].double(), below + share
        merged[name] = above / below
    return merged


def assert_rounded(found, exact):
    """Off by one rounding of bfloat16 at most, and by what float32 arithmetic adds where terms cancel."""
    for name, tensor in exact.items():
        error = (found[name].double() - tensor).abs()
        assert (error <= tensor.abs() * 2**-8 + 2**-18 * tensor.abs().max()).all(), name


@pytest.mark.parametrize(
    ("own", "shared", "weights", "floors"),
    [
        ((), {}, (1, 1, 1), (1e-6,) * 3),
        (({"weight": 2}, {"weight": 0.5}, {}), {"normalize": False}, (2, 0.5, 1), (1e-6,) * 3),
        (({"floor": 1e-3}, {"floor": 0}, {"floor": 0}), {}, (1, 1, 1), (1e-3, 0, 0)),
    ],
)
def test_the_merge_is_the_formula_in_both_hosts(own, shared, weights, floors, run, tmp_path):
    """`wise-merge merge` writes the formula of float64, rounded; `mergekit-yaml` writes the same bits."""
    asked = recipe(run, *own, parameters=shared)
    done = run_merge(asked, tmp_path)
    assert done.exit_code == 0, done.output
    found = load_file(tmp_path / "out/model.safetensors")
    assert_rounded(found, by_hand(run, weights, floors, normalize=shared.get("normalize", True)))
    done = by_mergekit(asked, tmp_path / "mergekit")
    assert done.exit_code == 0, done.output
    assert_same_weights(tmp_path / "out", tmp_path / "mergekit")


def test_equal_fishers_give_the_plain_mean():
    """The isometric merge of the paper; and where one has no Fisher, its floor alone counts."""
    drawn = torch.Generator().manual_seed(0)
    a, b = torch.randn(2, 50, generator=drawn)
    ones = torch.ones(50)
    assert torch.equal(fisher_mean([a, b], [ones, ones], [1, 1], [0, 1e-6]), ((a.double() + b.double()) / 2).float())
    nothing = fisher_mean([a, b], [torch.zeros(50), torch.zeros(50)], [1, 1], [1e-6, 0])
    assert torch.equal(nothing, a)
    with pytest.raises(WiseMergeError, match="needs a positive floor"):
        fisher_mean([a, b], [ones, ones], [1, 1], [0, 0])


def test_large_tensors_are_merged_in_blocks(monkeypatch):
    """The same bits in one block and in many; elements do not mix."""
    drawn = torch.Generator().manual_seed(0)
    tensors = list(torch.randn(3, 70_001, generator=drawn).bfloat16())
    fishers = list(torch.rand(3, 70_001, generator=drawn))
    whole = fisher_mean(tensors, fishers, [1, 2, 3], [0, 0, 1e-6])
    monkeypatch.setattr("wise_merge.kernels.blocks.BLOCK", 1 << 10)
    assert torch.equal(whole, fisher_mean(tensors, fishers, [1, 2, 3], [0, 0, 1e-6]))


def _drop(tensors):
    del tensors["model.norm.weight"]


def _negative(tensors):
    tensors["model.norm.weight"][0] = -1.0


def _nan(tensors):
    tensors["model.norm.weight"][0] = math.nan


@pytest.mark.parametrize(
    ("change", "metadata", "message"),
    [
        (_drop, {}, "is not of .*one has tensor model.norm.weight, and .* has not; fit it to this checkpoint"),
        (_negative, {}, "tensor model.norm.weight of the Fisher file .* contains -1.0"),
        (_nan, {"norm": "1.0"}, "tensor model.norm.weight of the Fisher file .* contains nan"),
        (None, {"digest": "0" * 32}, "is of other weights .digest 00000000. than .*one has"),
        (None, {"norm": "0.0"}, "has the norm 0.0, and a positive number was expected"),
        (None, {"kind": "signature"}, "is to be a fisher file, and is one of signature; `wise-merge fit fisher`"),
    ],
)
def test_files_of_something_else_are_refused(change, metadata, message, run, tmp_path):
    """In one line, before anything is written; also by `mergekit-yaml`."""
    path = tmp_path / "bad.safetensors"
    write_fisher(path, run / "one", seed=0, change=change, **metadata)
    asked = recipe(run, {"fisher": str(path)}, {}, {})
    line = refusal(asked, tmp_path / "ours")
    assert re.search(message, line), line
    done = by_mergekit(asked, tmp_path / "mergekit")
    assert done.exit_code == 1
    assert re.search(message, done.output)
    assert not list((tmp_path / "mergekit").glob("*.safetensors"))


@pytest.mark.parametrize(
    ("own", "more", "message"),
    [
        (({}, {"fisher": ""}, {}), {}, "must be the path of a file; got ''"),
        (({}, {"fisher": "nowhere.safetensors"}, {}), {}, "the fisher file nowhere.safetensors cannot be read"),
        (({"floor": 0},) * 3, {}, "every model with a weight has floor 0"),
        (({"weight": 0},) * 3, {}, "the weights sum to 0"),
        ((), {"parameters": {"normalize": 2}}, "normalize in parameters must be true or false; got 2"),
        (({},), {}, "fisher merges at least 2 models; models names 1"),
        ((), {"tokenizer": {"source": "union"}}, "belongs to whole models as they are; leave tokenizer out"),
    ],
)
def test_recipes_that_cannot_be_meant_are_refused(own, more, message, run, tmp_path):
    """In one line."""
    assert message in refusal(recipe(run, *own, **more), tmp_path)


def test_slices_are_refused(run, tmp_path):
    """Their layers have other numbers than those of the file."""
    asked = recipe(run)
    sources = [{**model, "layer_range": [0, 1]} for model in asked.pop("models")]
    assert "name them under models, not in slices" in refusal({**asked, "slices": [{"sources": sources}]}, tmp_path)


def test_a_model_without_a_file_is_named(run, tmp_path):
    """A Fisher average needs that of each model."""
    asked = recipe(run)
    del asked["models"][1]["parameters"]
    assert "fisher is missing for model" in refusal(asked, tmp_path)
