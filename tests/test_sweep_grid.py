"""`wise-merge sweep` over a recipe, end to end: two coordinates on a tiny model, from the file to the chosen recipe."""

import itertools
import json
import re
import shutil

import pytest
import torch
import yaml
from click.testing import CliRunner
from safetensors.torch import load_file
from support.checkpoints import make_checkpoint
from support.merges import merge
from support.sweeps import drawn, figures

from wise_merge.checkpoints import fingerprint
from wise_merge.cli import main
from wise_merge.points import read_results
from wise_merge.tensor_files.contents import write as write_file

NAMES = ("a", "b", "c")
TASK = "countdown_passk"


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """A checkpoint of each of three runs."""
    folder = tmp_path_factory.mktemp("runs")
    for seed, name in enumerate(NAMES):
        make_checkpoint(folder / name / "checkpoint-8", seed=seed)
    return folder


def of(runs, name):
    return str(runs / name / "checkpoint-8")


def settings(runs, *, b=(0.0, 0.5), c=(1, 2), **changes):
    """A sweep over a soup in which the weights of two models are varied, and that of the first is 2."""
    models = [{"model": of(runs, name)} for name in NAMES]
    models[0]["parameters"] = {"weight": 2}
    return {
        "recipe": {"merge_method": "uniform_soup", "models": models, "dtype": "float32"},
        "grid": {"weight": {of(runs, "b"): list(b), of(runs, "c"): list(c)}},
        "tasks": TASK,
        "samples": 2,
        "limit": 8,
        "metadata": {"problems": 8},
        "gen_kwargs": {"max_gen_toks": 6},
        "device": "cpu",
        **changes,
    }


def run(*arguments):
    done = CliRunner().invoke(main, [*map(str, arguments)], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.stdout


def sweep(out, content):
    path = out.parent / f"{out.name}.yml"
    path.write_text(yaml.safe_dump(content))
    return run("sweep", path, "--out", out)


def texts(out, point):
    """The samples of a point, by problem and index, from the journal."""
    outcome = read_results(out).outcome(point, TASK)
    found = {}
    for path in (out / "journal").glob("*.jsonl"):
        for line in path.read_text().splitlines():
            record = json.loads(line)
            if record["kind"] == "sample" and record["run"] == outcome.run:
                found[record["problem"], record["index"]] = record["text"]
    return found


def texts_of_late(runs, folder, tmp_path):
    """The samples of a model that lies in files, as a sweep from another one to it finds them."""
    content = settings(runs, early=of(runs, "a"), late=str(folder), alphas=[1], dtype="float32")
    del content["recipe"], content["grid"]
    sweep(tmp_path / "line", content)
    (late,) = (one for one in read_results(tmp_path / "line").points if one.alpha == 1)
    return texts(tmp_path / "line", late)


@pytest.fixture(scope="module")
def swept(runs, tmp_path_factory):
    """The folder of results and what was printed."""
    out = tmp_path_factory.mktemp("swept") / "results"
    return out, sweep(out, settings(runs))


def test_every_combination_and_each_checkpoint_is_sampled(runs, swept):
    """The table has a column for each coordinate, and a line for each model."""
    out, printed = swept
    results = read_results(out)
    assert len(results.points) == len(results.outcomes) == 4 + 3
    assert "weight of b 0, 0.5 x weight of c 1, 2 and each checkpoint itself x temperature 1: 7 points" in printed
    (head,) = re.findall(r"^model .*$", printed, re.MULTILINE)
    assert re.split(r"\s{2,}", head)[:5] == ["model", "step", "weight of b", "weight of c", "T"]
    rows = [re.split(r"\s{2,}", line)[:4] for line in re.findall(r"^uniform_soup of 3 .*$", printed, re.MULTILINE)]
    assert rows == [["uniform_soup of 3", "-", b, c] for b, c in itertools.product(("0", "0.5"), ("1", "2"))]
    assert re.findall(r"^([abc])  +8 +-  +-", printed, re.MULTILINE) == list(NAMES)
    assert set(drawn(out).values()) == {1}
    assert len(drawn(out)) == 7 * 8 * 2


def test_a_point_is_what_a_sweep_of_its_merged_model_finds(runs, swept, tmp_path):
    """Its recipe, merged by mergekit into files and sampled as a checkpoint, gives the same texts."""
    out, _ = swept
    point = next(one for one in read_results(out).points if [w.value for w in one.coordinates] == [2, 0.5, 1])
    assert merge(point.recipe(), tmp_path / "merged").exit_code == 0
    inputs = [load_file(runs / name / "checkpoint-8" / "model.safetensors") for name in NAMES]
    for name, tensor in load_file(tmp_path / "merged/model.safetensors").items():
        exact = sum(w * one[name].double() for w, one in zip((2, 0.5, 1), inputs, strict=True)) / 3.5
        assert torch.allclose(tensor.double(), exact, rtol=2**-22, atol=1e-9)
    found = texts_of_late(runs, tmp_path / "merged", tmp_path)
    assert found == texts(out, point)
    assert len(found) == 16
    first = next(one for one in read_results(out).points if one.unmerged == 0)
    assert found != texts(out, first)


def test_a_grid_grows_without_drawing_anything_twice(runs, swept, tmp_path):
    """More values of both: what is there stays, and what is found is what a sweep that had all at once finds."""
    out = tmp_path / "results"
    shutil.copytree(swept[0], out)
    before = drawn(out)
    assert sweep(out, settings(runs)).rpartition("Results:")[0] == swept[1].rpartition("Results:")[0]
    assert drawn(out) == before
    grown = settings(runs, b=(0, 0.5, 2), c=(0, 1, 2))
    sweep(out, grown)
    after = drawn(out)
    assert set(after.values()) == {1}
    # Nine combinations, of which one is the first checkpoint, and the other two.
    assert len(after) == 11 * 8 * 2
    sweep(tmp_path / "at-once", grown)
    assert figures(out) == figures(tmp_path / "at-once")


def test_the_chosen_point_is_the_recipe_with_its_values(runs, swept, tmp_path):
    """`best` writes it, `wise-merge merge` makes it, and the report shows the sweep."""
    out = tmp_path / "results"
    shutil.copytree(swept[0], out)
    # As a sweep in which this point solves everything.
    point = next(one for one in read_results(out).points if [w.value for w in one.coordinates] == [2, 0.5, 2])
    path = out / "points" / TASK / f"{point.name}.json"
    content = json.loads(path.read_text())
    for problem in content["problems"]:
        problem["correct"] = "11"
    path.write_text(json.dumps(content))
    said = run("best", out, "--objective", "pass@1")
    assert "best pass@1: weight of b 0.5, weight of c 2, T 1" in said
    recipe = yaml.safe_load((out / "best.yml").read_text())
    assert {one["model"]: one["parameters"]["weight"] for one in recipe["models"]} == {
        of(runs, name): weight for name, weight in zip(NAMES, (2, 0.5, 2), strict=True)
    }
    assert (recipe["merge_method"], recipe["dtype"]) == ("uniform_soup", "float32")
    run("merge", out / "best.yml", tmp_path / "merged")
    inputs = [load_file(runs / name / "checkpoint-8" / "model.safetensors") for name in NAMES]
    for name, tensor in load_file(tmp_path / "merged/model.safetensors").items():
        exact = sum(w * one[name].double() for w, one in zip((2, 0.5, 2), inputs, strict=True)) / 4.5
        assert torch.allclose(tensor.double(), exact, rtol=2**-22, atol=1e-9)
    run("report", out)
    assert re.search(r"weight of b\S* 0.5, weight of c\S* 2", (out / "report.html").read_text())


@pytest.mark.slow
def test_weights_of_a_fisher_average_are_swept(runs, tmp_path):
    """Its files stay those of the recipe; the recipe of `best` names them, and merges."""
    models = []
    for name in NAMES[:2]:
        folder, file = runs / name / "checkpoint-8", tmp_path / f"{name}.fisher.safetensors"
        tensors = {key: tensor.square() for key, tensor in load_file(folder / "model.safetensors").items()}
        norm = sum(float(tensor.double().square().sum()) for tensor in tensors.values()) ** 0.5
        write_file(file, "fisher", tensors, {"digest": fingerprint.of_weights(folder), "norm": repr(norm)})
        models.append({"model": of(runs, name), "parameters": {"fisher": str(file)}})
    recipe = {"merge_method": "fisher", "models": models}
    grid = {"weight": {of(runs, "b"): [0.5, 2]}, "floor": {of(runs, "a"): [1e-6, 1e-2]}}
    out = tmp_path / "results"
    printed = sweep(out, settings(runs, recipe=recipe, grid=grid))
    assert "weight of b 0.5, 2 x floor of a 1e-06, 0.01 and each checkpoint itself" in printed
    assert len({point.model for point in read_results(out).points}) == 6
    assert len({frozenset(texts(out, point).items()) for point in read_results(out).points}) > 3
    run("best", out, "--objective", "pass@1")
    written = yaml.safe_load((out / "best.yml").read_text())
    assert [one["parameters"]["fisher"] for one in written["models"]] == [one["parameters"]["fisher"] for one in models]
    # What was sampled is what its recipe merges into files.
    merges = [one for one in read_results(out).points if one.unmerged is None]
    (tmp_path / "point.yml").write_text(yaml.safe_dump(merges[1].recipe()))
    run("merge", tmp_path / "point.yml", tmp_path / "merged")
    assert texts_of_late(runs, tmp_path / "merged", tmp_path) == texts(out, merges[1]) != texts(out, merges[0])


def test_the_strength_of_a_signature_is_swept(runs, tmp_path):
    """Also where it takes the signature off; without any of it, the point is the model itself."""
    signature = tmp_path / "b.safetensors"
    parts = [f"--{role}={of(runs, name)}" for role, name in (("robust", "b"), ("clean", "c"), ("base", "a"))]
    run("signature", "extract", *parts, "--out", signature)
    recipe = {
        "merge_method": "weight_signature",
        "models": [{"model": of(runs, "a")}],
        "parameters": {"signature": str(signature), "strength": 7},
    }
    out = tmp_path / "results"
    printed = sweep(out, settings(runs, recipe=recipe, grid={"strength": "-1:1:0.5"}))
    assert "strength -1, -0.5, 0, 0.5, 1 and the checkpoint itself x temperature 1: 5 points of 5 models" in printed
    points = read_results(out).points
    assert [(point.title, point.unmerged) for point in points] == [
        ("strength -1, T 1", None),
        ("strength -0.5, T 1", None),
        ("a/checkpoint-8, T 1", 0),
        ("strength 0.5, T 1", None),
        ("strength 1, T 1", None),
    ]
    (tmp_path / "point.yml").write_text(yaml.safe_dump(points[0].recipe()))
    run("merge", tmp_path / "point.yml", tmp_path / "merged")
    assert texts_of_late(runs, tmp_path / "merged", tmp_path) == texts(out, points[0]) != texts(out, points[2])
    said = run("best", out, "--objective", "pass@1", "--subject-to", "pass@1 >= late")
    assert "a/checkpoint-8 itself, T 1" in said
    assert yaml.safe_load((out / "best.yml").read_text())["parameters"]["signature"] == str(signature)
    run("report", out)
