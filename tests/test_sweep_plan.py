"""Which points a sweep has, and the one line that a user gets for checkpoints and folders that do not do."""

import json
import shutil

import pytest
from click.testing import CliRunner
from conftest import make_checkpoint, tiny_llama

from wise_merge.cli import main
from wise_merge.points.folder import read_plan, write_plan
from wise_merge.sweep.plan import make_plan
from wise_merge.sweep.settings import Settings

GRID = {"alphas": (0.5,), "temperatures": (1.0,), "tasks": ("countdown_passk",)}


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """Three checkpoints of a run."""
    folder = tmp_path_factory.mktemp("run")
    for seed in (1, 2, 3):
        make_checkpoint(folder / f"checkpoint-{seed}", seed=seed)
    return folder


def check(out, *options, cwd=None):
    """Type `wise-merge sweep --check` with a grid; return the exit code and what stands on standard error."""
    given = ["--alphas", "0.5", "--tasks", "countdown_passk", *map(str, options), "--out", str(out), "--check"]
    done = CliRunner().invoke(main, ["sweep", *given], catch_exceptions=False)
    return done.exit_code, done.stderr


def refused(out, *options):
    """Return the one line that ends the command."""
    code, said = check(out, *options)
    assert code == 1
    errors = [line for line in said.splitlines() if not line.startswith("Warning: ")]
    assert len(errors) == 1, said
    return errors[0]


def pair(run, late="checkpoint-2"):
    return "--early", run / "checkpoint-1", "--late", run / late


def test_a_run_is_every_later_checkpoint_against_the_first(run, tmp_path):
    """Or against the one that is named; points of one model follow each other."""
    plan = make_plan(Settings(run=str(run), **GRID), tmp_path / "out")
    assert [(point.late.step, point.alpha) for point in plan.points] == [
        (step, alpha) for step in (2, 3) for alpha in (0.0, 0.5, 1.0)
    ]
    assert {point.early.step for point in plan.points} == {1}
    plan = make_plan(Settings(run=str(run), early=str(run / "checkpoint-2"), **GRID), tmp_path / "out")
    assert {(point.early.step, point.late.step) for point in plan.points} == {(2, 3)}
    assert plan.dtype == "float32"


def test_checkpoints_of_different_shapes_are_refused(run, tmp_path):
    """The tensor is named, before anything is read."""
    make_checkpoint(tmp_path / "wide", seed=1, config=tiny_llama(intermediate_size=96))
    line = refused(tmp_path / "out", "--early", run / "checkpoint-1", "--late", tmp_path / "wide")
    assert "mlp" in line
    assert "both must be checkpoints of one run" in line
    assert not (tmp_path / "out").exists()


def test_what_is_no_whole_checkpoint_is_refused(run, tmp_path):
    """Adapters, quantised weights, one folder twice, a run of one checkpoint, nothing at all."""
    adapter = tmp_path / "adapter"
    adapter.mkdir()
    (adapter / "adapter_config.json").write_text("{}")
    assert "is a LoRA adapter" in refused(tmp_path / "out", "--early", run / "checkpoint-1", "--late", adapter)
    quantised = shutil.copytree(run / "checkpoint-2", tmp_path / "quantised")
    config = json.loads((quantised / "config.json").read_text())
    (quantised / "config.json").write_text(json.dumps({**config, "quantization_config": {"bits": 4}}))
    assert "is quantised" in refused(tmp_path / "out", "--early", run / "checkpoint-1", "--late", quantised)
    assert "early and late" in refused(tmp_path / "out", *pair(run, "checkpoint-1"))
    lonely = tmp_path / "lonely"
    shutil.copytree(run / "checkpoint-1", lonely / "checkpoint-1")
    assert "a sweep needs an early and a late one" in refused(tmp_path / "out", "--run", lonely)
    assert "neither a directory here" in refused(tmp_path / "out", *pair(run, "checkpoint-9"))


def test_a_task_that_does_not_exist_is_named_with_near_ones(run, tmp_path):
    """So is one of lm-eval's own that has no K samples."""
    assert "near it are countdown_passk" in refused(tmp_path / "out", *pair(run), "--tasks", "countdwon_passk")
    assert "near it are gsm8k_passk" in refused(tmp_path / "out", *pair(run), "--tasks", "gsm8k")


def test_too_little_memory_is_said_before_loading(run, tmp_path, monkeypatch):
    """With what would fit; the machine is as small as the test says."""
    monkeypatch.setattr("wise_merge.sweep.plan.available", lambda: 1000)
    line = refused(tmp_path / "out", *pair(run), "--device", "cpu")
    assert "too little memory" in line
    assert "what would fit" in line


def test_results_of_another_sweep_are_left_alone(run, tmp_path):
    """Of another model, of other settings, of something else; what may grow grows."""
    out = tmp_path / "out"
    settings = Settings(early=str(run / "checkpoint-1"), late=(str(run / "checkpoint-2"),), **GRID)
    write_plan(make_plan(settings, out).results)
    assert check(out, *pair(run))[0] == 0
    assert check(out, *pair(run, "checkpoint-3"), "--samples", 64, "--temperatures", "0.5")[0] == 0
    line = refused(out, "--early", run / "checkpoint-2", "--late", run / "checkpoint-3")
    assert "holds results of another model" in line
    assert "other settings: seed (1234 there, 5 now)" in refused(out, *pair(run), "--seed", 5)
    file = tmp_path / "file"
    file.write_text("")
    assert "is a file" in refused(file, *pair(run))
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "thesis.tex").write_text("")
    assert "holds something else than a sweep" in refused(tmp_path / "thesis", *pair(run))
    (out / "sweep.json").write_text('{"format":')
    assert "sweep.json cannot be read" in refused(out, *pair(run))


def test_a_late_checkpoint_that_was_written_again_is_another_model(run, tmp_path):
    """Its name is the same, its weights are not."""
    out, again = tmp_path / "out", shutil.copytree(run, tmp_path / "run")
    settings = Settings(early=str(again / "checkpoint-1"), late=(str(again / "checkpoint-2"),), **GRID)
    write_plan(make_plan(settings, out).results)
    make_checkpoint(again / "checkpoint-2", seed=9)
    assert "holds results of another model: late is" in refused(out, *pair(again))


def test_a_larger_grid_keeps_what_was_asked_for_before(run, tmp_path):
    """The union of both, the new one first."""
    first = Settings(early=str(run / "checkpoint-1"), late=(str(run / "checkpoint-2"),), **GRID)
    before = make_plan(first, tmp_path / "out")
    write_plan(before.results)
    second = make_plan(Settings(early=first.early, late=first.late, **{**GRID, "alphas": (0.25,)}), tmp_path / "out")
    write_plan(second.results)
    found = read_plan(tmp_path / "out")
    assert [point.alpha for point in found.points] == [0.0, 0.25, 1.0, 0.5]
    assert set(found.points) == {*before.points, *second.points}
