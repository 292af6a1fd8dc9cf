"""The mean of any number of models: exact, in every place where a method can be used."""

import json
from fractions import Fraction

import pytest
import torch
import yaml
from click.testing import CliRunner
from safetensors.torch import load_file, save_file
from support.checkpoints import make_checkpoint, tiny_llama
from support.merges import merge as by_mergekit

from wise_merge.cli import main
from wise_merge.errors import WiseMergeError
from wise_merge.kernels.averaging import weighted_mean
from wise_merge.methods import METHODS

NAMES = ("one", "two", "three")


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """Three models in bfloat16."""
    folder = tmp_path_factory.mktemp("soup")
    for seed, name in enumerate(NAMES):
        make_checkpoint(folder / name, seed=seed, dtype="bfloat16")
    return folder


def recipe(run, *weights, names=NAMES, **more):
    """Of these models, with weights if there are any."""
    models = [{"model": str(run / name)} for name in names]
    for model, weight in zip(models, weights, strict=False):
        model["parameters"] = {"weight": weight}
    return {"merge_method": "uniform_soup", "models": models, **more}


def merged(recipe, folder):
    """The weights that `wise-merge merge` writes, and what it said."""
    folder.mkdir(exist_ok=True)
    (folder / "soup.yml").write_text(yaml.safe_dump(recipe))
    done = CliRunner().invoke(main, ["merge", str(folder / "soup.yml"), str(folder / "out"), "--force"])
    assert done.exit_code == 0, done.output
    return load_file(folder / "out/model.safetensors"), done.output


def refusal(recipe, folder):
    """The one line with which `wise-merge merge` refuses a recipe; nothing is written."""
    (folder / "soup.yml").write_text(yaml.safe_dump(recipe))
    done = CliRunner().invoke(main, ["merge", str(folder / "soup.yml"), str(folder / "out")])
    assert done.exit_code == 1, done.output
    assert not (folder / "out").exists()
    (line,) = done.output.strip().splitlines()
    return line


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32])
@pytest.mark.parametrize("weights", [(1, 1, 1), (2, 1, 0), (0.1, 0.7, 0.4), (1, 1, 1, 1, 1)])
def test_the_mean_is_off_by_one_rounding_at_most(dtype, weights):
    """Against fractions, which round nothing."""
    drawn = torch.Generator().manual_seed(3)
    tensors = [torch.randn(400, generator=drawn).to(dtype) for _ in weights]
    found = weighted_mean(tensors, weights)
    assert found.dtype == dtype
    bound = Fraction(len(weights), 2**22 if dtype.itemsize == 2 else 2**51)
    for out, *numbers in zip(found.tolist(), *(tensor.tolist() for tensor in tensors), strict=True):
        parts = [Fraction(number) for number in numbers]
        exact = sum(Fraction(weight) * part for weight, part in zip(weights, parts, strict=True))
        exact /= sum(map(Fraction, weights))
        one = torch.tensor(out, dtype=dtype)
        up = torch.nextafter(one, torch.tensor(torch.inf, dtype=dtype)).item()
        down = torch.nextafter(one, torch.tensor(-torch.inf, dtype=dtype)).item()
        half = max(Fraction(up) - Fraction(out), Fraction(out) - Fraction(down)) / 2
        assert abs(Fraction(out) - exact) <= half + bound * max(map(abs, parts))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
def test_equal_models_and_a_single_one_stay_as_they_are(dtype):
    """Bit for bit, whatever the weights; the negative control is another tensor of weight 0, full of NaN."""
    tensor = torch.randn(1000, generator=torch.Generator().manual_seed(4)).to(dtype)
    assert torch.equal(weighted_mean([tensor] * 3, [1, 1, 1]), tensor)
    assert torch.equal(weighted_mean([tensor] * 3, [0.3, 0.2, 0.1]), tensor)
    assert torch.equal(weighted_mean([torch.full_like(tensor, torch.nan), tensor], [0, 0.7]), tensor)
    place = torch.empty_like(tensor)
    assert weighted_mean([tensor, tensor + 1], [1, 1], out=place).data_ptr() == place.data_ptr()


def test_threads_and_blocks_leave_no_trace(monkeypatch):
    """A large tensor in parts is the same as in one piece."""
    drawn = torch.Generator().manual_seed(5)
    tensors = [torch.randn(1_200_001, generator=drawn).bfloat16() for _ in range(3)]
    monkeypatch.setattr(torch, "get_num_threads", lambda: 3)
    found = weighted_mean(tensors, [1, 2, 3])
    whole = sum(weight * tensor.float() for tensor, weight in zip(tensors, (1, 2, 3), strict=True)) / 6
    assert torch.equal(found, whole.bfloat16())


@pytest.mark.parametrize(
    ("weights", "message"),
    [((1.0,), "2 tensors have 1 weights"), ((0, 0), "sum to 0"), ((1, -1), "not negative"), ((1, torch.nan), "nan")],
)
def test_weights_that_make_no_mean_are_refused(weights, message):
    """One clear line."""
    with pytest.raises(WiseMergeError, match=message):
        weighted_mean([torch.ones(2), torch.ones(2)], weights)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"base_model": 1},
        {"dtype": "float32"},
        {"out_dtype": "float32"},
        {"parameters": {"weight": [{"filter": "mlp", "value": [0.1, 0.9]}, {"value": 1}]}},
    ],
    ids=str,
)
def test_mergekit_writes_the_same_bits(changes, run, tmp_path):
    """Streamed by us and tensor by tensor by mergekit; with a base, the order of the models is another one."""
    changes = dict(changes)
    if "base_model" in changes:
        changes["base_model"] = str(run / NAMES[changes["base_model"]])
    ours, said = merged(recipe(run, 1, 0.5, 0.25, **changes), tmp_path / "ours")
    done = by_mergekit(recipe(run, 1, 0.5, 0.25, **changes), tmp_path / "theirs")
    assert done.exit_code == 0, done.output
    theirs = load_file(tmp_path / "theirs/model.safetensors")
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)
    assert "unchanged" in said


def test_the_soup_is_the_mean_of_the_files(run, tmp_path):
    """By another road: float64 arithmetic on what safetensors reads."""
    ours, said = merged(recipe(run), tmp_path)
    inputs = [load_file(run / name / "model.safetensors") for name in NAMES]
    for name, tensor in ours.items():
        exact = sum(one[name].double() for one in inputs) / 3
        assert torch.allclose(tensor.double(), exact, rtol=2**-8, atol=1e-9)
    assert f"uniform_soup of {run / 'one'}, {run / 'two'} and {run / 'three'}" in said
    record = json.loads((tmp_path / "out/wise_merge.json").read_text())
    assert [one["model"] for one in record["models"]] == [str(run / name) for name in NAMES]
    assert all(one["files"]["model.safetensors"]["sha256"] for one in record["models"])


def test_a_sweep_samples_the_soup_and_each_model(run, tmp_path):
    """In a running engine, without a file of weights; `best` chooses among them and its recipe gives the soup."""
    rows = [{"problem": f"What is {number} + {number}?", "answer": str(2 * number)} for number in range(8)]
    (tmp_path / "digits.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    settings = {
        "early": str(run / "one"),
        "late": [str(run / "two"), str(run / "three")],
        "method": "uniform_soup",
        "tasks": ["math500_passk"],
        "samples": 2,
        "num_fewshot": 0,
        "device": "cpu",
        "gen_kwargs": {"max_gen_toks": 4},
        "metadata": {"data_file": str(tmp_path / "digits.jsonl")},
    }
    (tmp_path / "sweep.yml").write_text(yaml.safe_dump(settings))
    arguments = ["sweep", str(tmp_path / "sweep.yml"), "--out", str(tmp_path / "grid")]
    done = CliRunner().invoke(main, arguments)
    assert done.exit_code == 0, done.output
    for title in ("uniform_soup of 3", *NAMES):
        assert f"\n{title} " in done.output, done.output
    assert "4 points of 4 models" in done.output
    # Nothing is drawn twice.
    assert "uniform_soup of 3" in CliRunner().invoke(main, arguments).output
    chosen = CliRunner().invoke(main, ["best", str(tmp_path / "grid"), "--objective", "pass@1"])
    assert chosen.exit_code == 0, chosen.output
    assert CliRunner().invoke(main, ["report", str(tmp_path / "grid")]).exit_code == 0
    settings["alphas"] = [0.5]
    (tmp_path / "sweep.yml").write_text(yaml.safe_dump(settings))
    assert "alphas is for methods of an early and a late checkpoint" in CliRunner().invoke(main, arguments).output


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"models": [{"model": "one"}]}, ["at least 2", "names 1 (one)"]),
        ({"models": [{"model": "one"}, {"model": "one"}]}, ["one is named twice"]),
        ({"base_model": "four"}, ["base_model four is not among the models"]),
        ({"parameters": {"wieght": 1}}, ["unknown parameter wieght", "did you mean weight?"]),
        ({"parameters": {"weight": -1}}, ["weight must be a number that is not negative", "-1"]),
        ({"parameters": {"alpha": 0.5}}, ["unknown parameter alpha", "uniform_soup knows weight"]),
    ],
)
def test_bad_recipes_are_one_line(change, words, run, tmp_path, monkeypatch):
    """Before anything is read or written."""
    monkeypatch.chdir(run)
    line = refusal({"merge_method": "uniform_soup", "models": [{"model": name} for name in NAMES], **change}, tmp_path)
    assert all(word in line for word in words), line


def test_models_that_do_not_fit_are_named(run, tmp_path):
    """Other shapes, and weights that sum to 0."""
    other = make_checkpoint(tmp_path / "other", seed=9, config=tiny_llama(intermediate_size=96), dtype="bfloat16")
    models = [{"model": str(run / "one")}, {"model": str(other)}]
    line = refusal({"merge_method": "uniform_soup", "models": models}, tmp_path)
    assert "has shape" in line
    assert str(other) in line
    assert "sum to 0" in refusal(recipe(run, 0, 0, 0), tmp_path)
    nan = make_checkpoint(tmp_path / "nan", seed=9, dtype="bfloat16")
    tensors = load_file(nan / "model.safetensors")
    tensors["model.norm.weight"][3] = torch.nan
    save_file(tensors, nan / "model.safetensors", metadata={"format": "pt"})
    models = [{"model": str(run / "one")}, {"model": str(nan), "parameters": {"weight": 0}}]
    (tmp_path / "soup.yml").write_text(yaml.safe_dump({"merge_method": "uniform_soup", "models": models}))
    done = CliRunner().invoke(main, ["merge", str(tmp_path / "soup.yml"), str(tmp_path / "out")])
    assert done.exit_code == 1
    assert "contains nan" in done.output
    assert not (tmp_path / "out").exists()


def test_the_file_of_the_method_says_all():
    """About thirty lines of code; what others derive from the contract."""
    method = METHODS["uniform_soup"]
    assert (method.fewest, method.most, method.line, method.early_and_late) == (2, None, None, False)
