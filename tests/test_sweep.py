"""`wise-merge sweep` end to end: what it finds is what mergekit-yaml and lm_eval find, whatever happens on the way."""

import contextlib
import os
import random
import re
import shutil
import signal
import subprocess
import time

import pytest
from click.testing import CliRunner
from lm_eval import simple_evaluate
from lm_eval.tasks import TaskManager
from support import forked
from support.merges import merge
from support.sweeps import SAMPLING, TASK, drawn, figures, sweep, write

from wise_merge.cli import main
from wise_merge.journal import read_runs
from wise_merge.points import read_results
from wise_merge.sampling.merged import MergedHF


def test_every_point_of_the_grid_is_there(swept):
    """Two late checkpoints, four alphas with the ends, two temperatures; alpha 0 is one model and sampled once."""
    out, printed = swept
    results = read_results(out)
    assert len(results.points) == len(results.outcomes) == 2 * 4 * 2
    assert {len(one.problems) for one in results.outcomes} == {12}
    assert {problem.n for one in results.outcomes for problem in one.problems} == {6}
    assert "16 points of 7 models" in printed
    assert len(list((out / "journal").glob("*.jsonl"))) == 7 * 2
    assert set(drawn(out).values()) == {1}
    assert len(drawn(out)) == 7 * 2 * 12 * 6
    # A table of a line per point, and no model anywhere.
    assert len(re.findall(r"^checkpoint-[23] ", printed, re.MULTILINE)) == 16
    assert not list(out.rglob("*.safetensors"))
    assert sum(sum(problem.correct) for one in results.outcomes for problem in one.problems) > 20


@pytest.mark.parametrize(("alpha", "temperature"), [(0.3, 0.8), (1.0, 1.2)])
def test_a_point_is_what_lm_eval_finds_of_the_merged_model(place, swept, tmp_path, alpha, temperature):
    """The same prompts, seeds, texts and figures as of `lm_eval --model hf-passk` on the output of `mergekit-yaml`."""
    (point,) = (
        one
        for one in read_results(swept[0]).points
        if one.late.step == 3 and (one.alpha, one.temperature) == (alpha, temperature)
    )
    assert merge(point.recipe(), tmp_path / "merged").exit_code == 0
    evaluated = simple_evaluate(
        model="hf-passk",
        model_args={
            **{"pretrained": str(tmp_path / "merged"), "journal": str(tmp_path / "journal"), "seed": 1234},
            "dtype": "float32",
        },
        device="cpu",
        tasks=[TASK],
        batch_size=256,
        # Without an index of lm-eval's own 14,000 tasks.
        task_manager=TaskManager(
            include_defaults=False, metadata={"data_file": str(place / "digits.jsonl"), "repeats": 6}
        ),
        gen_kwargs={"max_gen_toks": 10, "temperature": temperature},
        **SAMPLING,
    )
    outcome = read_results(swept[0]).outcome(point, TASK)
    (theirs,) = read_runs(tmp_path / "journal").runs
    (ours,) = (run for run in read_runs(swept[0] / "journal").runs if run.fingerprint == outcome.run)

    def texts(run):
        return {problem: [sample.text for _, sample in sorted(found.items())] for problem, found in run.samples.items()}

    assert texts(ours) == texts(theirs)
    reported = evaluated["results"][TASK]
    assert reported["pass@1,samples"] == pytest.approx(
        sum(sum(problem.correct) / problem.n for problem in outcome.problems) / 12
    )
    assert reported["pass@6,samples"] == pytest.approx(sum(any(one.correct) for one in outcome.problems) / 12)


def test_the_same_command_again_draws_nothing(place, swept):
    """Nothing is written to the journal, and the same is printed."""
    out, printed = swept
    before = {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}
    again = sweep(place, out)
    assert {path: path.read_bytes() for path in out.rglob("*") if path.is_file()} == before
    assert printed.rpartition("Results:")[0] == again.rpartition("Results:")[0]


def test_results_that_are_lost_come_back_from_the_journal(place, swept, tmp_path):
    """The journal is what cannot be made again for nothing."""
    out = tmp_path / "results"
    shutil.copytree(swept[0], out)
    shutil.rmtree(out / "points")
    sweep(place, out)
    assert figures(out) == figures(swept[0])
    assert drawn(out) == drawn(swept[0])


def test_a_sweep_grows_without_drawing_anything_twice(place, swept, tmp_path):
    """More alphas and more samples: what is there stays, the new samples are those of a sweep that had both at once."""
    out = tmp_path / "results"
    shutil.copytree(swept[0], out)
    sweep(place, out, samples=8, alphas=[0.3, 0.5, 0.7])
    count = drawn(out)
    assert set(count.values()) == {1}
    assert count.keys() > drawn(swept[0]).keys()
    assert len(count) == 9 * 2 * 12 * 8
    at_once = tmp_path / "at-once"
    sweep(place, at_once, samples=8, alphas=[0.3, 0.5, 0.7])
    assert figures(out) == figures(at_once)
    # Another, smaller grid in the same folder takes nothing away.
    sweep(place, out, samples=2, alphas=[0.9])
    found = {name: problems[0].n for (name, _), problems in figures(out).items()}
    assert sorted(found.values()) == [2] * 4 + [8] * 20


def written(out):
    """How many bytes of samples there are."""
    return sum(path.stat().st_size for path in out.glob("journal/*.jsonl"))


def test_a_sweep_survives_being_killed_at_any_moment(place, swept, tmp_path):
    """Killed as soon as more samples are there, and again: the last command finds what an undisturbed one does."""
    out = tmp_path / "results"
    command = [forked.SCRIPTS / "wise-merge", "sweep", write(place), "--out", out]
    moments = random.Random(0)
    kills = 0
    for _ in range(20):
        goal = sum(drawn(out).values()) + moments.randrange(1, 300)
        process = forked.start(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd=place)
        while process.poll() is None and written(out) < 220 * goal:
            time.sleep(0.002)
        was_running = process.poll() is None
        process.kill()
        process.wait()
        # The sweep takes a second: on a busy machine it may be over before anybody looks. Then it begins anew.
        kills = kills + 1 if was_running and len(drawn(out)) < len(drawn(swept[0])) else 0
        if kills == 3:
            break
        if not kills:
            shutil.rmtree(out)
    assert kills == 3
    assert 0 < len(drawn(out)) < len(drawn(swept[0]))
    forked.run(command, cwd=place).check_returncode()
    assert figures(out) == figures(swept[0])
    assert drawn(out) == drawn(swept[0])


def test_a_point_is_stopped_when_its_interval_is_narrow_enough(place, tmp_path):
    """After the first round of 4; what that saved is said, and a later command without the option goes on."""
    printed = sweep(place, tmp_path / "results", "--until-ci", "0.4", samples=16, temperatures=[1.0])
    assert "8 with an interval narrow enough; saved 1,008 of 1,344 samples (75%)" in printed
    results = read_results(tmp_path / "results")
    assert {(one.n, one.stopped) for one in results.outcomes} == {(4, "interval")}
    sweep(place, tmp_path / "results", samples=16, temperatures=[1.0])
    results = read_results(tmp_path / "results")
    assert {(one.n, one.stopped) for one in results.outcomes} == {(16, None)}
    sweep(place, tmp_path / "at-once", samples=16, temperatures=[1.0])
    assert figures(tmp_path / "results") == figures(tmp_path / "at-once")
    assert set(drawn(tmp_path / "results").values()) == {1}


def test_dominated_points_get_no_further_samples(place, tmp_path):
    """Those that stay are not dominated in what everybody had; the ends stay; a second run decides the same."""
    settings = {"samples": 16, "alphas": "0.1:0.9:0.1", "temperatures": [1.0], "limit": 40}
    printed = sweep(place, tmp_path / "results", "--successive-halving", **settings)
    results = read_results(tmp_path / "results")
    stopped = [one for one in results.outcomes if one.stopped]
    assert {one.stopped for one in stopped} == {"dominated"}
    assert 4 < len(stopped) < len(results.outcomes)
    assert all(0 < one.point.alpha < 1 for one in stopped)
    models = {one.point.model: sum(16 - problem.n for problem in one.problems) for one in stopped}
    saved = re.search(r"(\d+) dominated by another point; saved ([\d,]+) of ([\d,]+) samples", printed)
    assert (int(saved[1]), int(saved[2].replace(",", ""))) == (len(stopped), sum(models.values()))
    assert int(saved[3].replace(",", "")) == 21 * 40 * 16
    assert len(drawn(tmp_path / "results")) == 21 * 40 * 16 - sum(models.values())
    first = [one for one in stopped if one.n == 4]
    everybody = {
        one.point: (
            sum(sum(problem.correct[:4]) for problem in one.problems),
            sum(any(problem.correct[:4]) for problem in one.problems),
        )
        for one in results.outcomes
    }
    for one in first:
        mine = everybody[one.point]
        assert any(other[0] > mine[0] and other[1] > mine[1] for other in everybody.values())
    again = sweep(place, tmp_path / "results", "--successive-halving", **settings)
    assert again.rpartition("Results:")[0] == printed.rpartition("Results:")[0]


def test_bang_and_several_tasks_can_be_swept(place, tmp_path):
    """Temperatures of the checkpoints from the file; each task has its outcomes, from one batch of prompts."""
    names = [str(place / "run" / f"checkpoint-{seed}") for seed in (1, 3)]
    sweep(
        place,
        tmp_path / "results",
        run=None,
        early=names[0],
        late=names[1],
        method="bang",
        calibration={names[0]: 0.9, names[1]: 1.8},
        alphas=[0.5],
        tasks=[TASK, "countdown_passk"],
        samples=2,
        metadata={"data_file": {TASK: str(place / "digits.jsonl")}, "problems": 20},
    )
    results = read_results(tmp_path / "results")
    assert {one.task for one in results.outcomes} == {TASK, "countdown_passk"}
    assert len(results.outcomes) == 2 * 3 * 2
    (middle, *_) = (one.point for one in results.outcomes if one.point.alpha == 0.5)
    assert merge(middle.recipe(), tmp_path / "merged").exit_code == 0


def test_greedy_is_a_temperature_of_one_sample(place, tmp_path):
    """T = 0 with K = 1, beside sampled points."""
    sweep(place, tmp_path / "results", samples=1, temperatures=[0, 1.0], alphas=[0.5])
    assert len(read_results(tmp_path / "results").outcomes) == 2 * 3 * 2


def refusal(place, out, **changes):
    """The line in which a sweep is refused."""
    done = CliRunner().invoke(main, ["sweep", str(write(place, **changes)), "--out", str(out)], catch_exceptions=False)
    assert done.exit_code == 1, done.output
    return done.stderr.splitlines()[-1]


#: What ends a sweep before its first sample -> settings with which it ends so, and words of its line.
BEFORE_THE_FIRST_SAMPLE = {
    "no data": ({"metadata": {"data_file": "/nowhere/digits.jsonl"}}, "/nowhere/digits.jsonl"),
    "prompts that are too long": ({"model_args": {"max_length": 11}}, "12 of 12 prompts are longer"),
}


@pytest.mark.parametrize("what", [*BEFORE_THE_FIRST_SAMPLE, "Ctrl-C", "a bug", "killed"])
def test_a_sweep_that_sampled_nothing_binds_nobody(what, place, tmp_path, monkeypatch):
    """Whatever ended it, the next one in that folder may have other data, seeds and dtypes, and is whole."""
    out = tmp_path / "results"
    small = {"alphas": [0.5], "temperatures": [1.0], "samples": 2, "run": None}
    small |= {"early": str(place / "run/checkpoint-1"), "late": str(place / "run/checkpoint-2")}
    if what in BEFORE_THE_FIRST_SAMPLE:
        changes, words = BEFORE_THE_FIRST_SAMPLE[what]
        assert words in refusal(place, out, **{**small, **changes})
    else:
        error = {"Ctrl-C": KeyboardInterrupt, "a bug": ZeroDivisionError, "killed": MemoryError}[what]

        def draw(*_):
            raise error

        with monkeypatch.context() as patch:
            # "killed": as it was when the journal had its first lines, and no sample.
            patch.setattr(MergedHF, "_draw" if what == "killed" else "replace_weights", draw)
            done = CliRunner().invoke(main, ["sweep", str(write(place, seed=7, **small)), "--out", str(out)])
        assert done.exit_code == (130 if what == "Ctrl-C" else 1)
    assert (out / "sweep.json").exists()
    assert not sum(drawn(out).values())
    sweep(place, out, dtype="float32", **small)
    sweep(place, tmp_path / "anew", dtype="float32", **small)
    assert figures(out) == figures(tmp_path / "anew")
    # From now on it does.
    assert "holds a sweep with other settings: seed (1234 there, 5 now)" in refusal(
        place, out, dtype="float32", seed=5, **small
    )


def test_a_sweep_that_sampled_anything_binds(place, swept, tmp_path):
    """A point that is written is enough, and so is a sample in the journal."""
    out = tmp_path / "results"
    shutil.copytree(swept[0], out)
    for name in ("journal", "points"):
        (out / name).rename(tmp_path / name)
        assert "holds a sweep with other settings: seed (1234 there, 5 now)" in refusal(place, out, seed=5)
        (tmp_path / name).rename(out / name)
    (out / "journal").rename(tmp_path / "journal")
    shutil.rmtree(out / "points")
    assert "7 models" in sweep(place, out, "--check", seed=5)


def interrupted(command, place, moment):
    """Start a command as from a terminal, press Ctrl-C at a moment, and return exit code and what it said."""
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    # It heeds SIGINT, also where a shell has what it starts in its background, and all that this starts, ignore it.
    process = forked.start(command, cwd=place, start_new_session=True, **pipes)
    while process.poll() is None and not moment():
        time.sleep(0.01)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGINT)
    _, said = process.communicate(timeout=120)
    return process.returncode, said


@pytest.mark.parametrize("moment", ["before the first sample", "while samples are drawn"])
def test_after_ctrl_c_the_same_command_goes_on_and_says_so(moment, place, swept, tmp_path):
    """One line, without a traceback, and the exit code of a program that SIGINT has ended."""
    out = tmp_path / "results"
    command = [forked.SCRIPTS / "wise-merge", "sweep", write(place), "--out", out]
    moments = {
        "before the first sample": lambda: (out / "sweep.json").exists(),
        "while samples are drawn": lambda: written(out) > 20_000,
    }
    for _ in range(10):
        code, said = interrupted(command, place, moments[moment])
        if code:
            break
        shutil.rmtree(out)  # the sweep was over before anybody looked, as on a busy machine
    assert code == 130, said
    assert said.splitlines()[-1] == (
        f"Interrupted: every sample that was drawn is in {out}/journal; type the same command again, and it goes on "
        "there."
    )
    assert "Traceback" not in said
    assert len([line for line in said.splitlines() if "goes on" in line]) == 1
    assert len(drawn(out)) < len(drawn(swept[0]))
    forked.run(command, cwd=place).check_returncode()
    assert figures(out) == figures(swept[0])
    assert set(drawn(out).values()) == {1}
