"""`wise-merge soup`: the rule beside the paper's own code, and the command end to end, whatever happens on the way."""

import itertools
import json
import math
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
import yaml
from click.testing import CliRunner
from safetensors.torch import load_file, save_file
from support.checkpoints import make_checkpoint, tiny_llama
from support.soups import TASK, invoke, options, soup
from support.sweeps import drawn, figures

from wise_merge.cli import main
from wise_merge.points import read_results
from wise_merge.points.soup import read_soup
from wise_merge.search.best.choice import halves
from wise_merge.search.soup.greedy import Score, greedy, order_of

# --- the rule ---------------------------------------------------------------------------------------------------------


def as_published(models, value, meets=lambda model: True):
    """The numbers of the models in the soup, in the order in which they were kept, and each value that was looked at.

    After main.py of github.com/mlfoundations/model-soups: the soup is a vector, and each model is added to it.
    """
    order = sorted(range(len(models)), key=lambda number: value(models[number]), reverse=True)
    first = next(number for number in order if meets(models[number]))
    kept, mean, best, seen = [first], models[first], value(models[first]), [value(models[first])]
    for number in order:
        if number == first:
            continue
        count = len(kept)
        candidate = mean * (count / (count + 1)) + models[number] / (count + 1)
        seen.append(value(candidate))
        if seen[-1] > best and meets(candidate):
            kept, mean, best = [*kept, number], candidate, seen[-1]
    return kept, seen


def test_the_rule_is_that_of_the_published_code():
    """Vectors whose value is how near they are to a hidden one, with and without a constraint on another value."""
    sizes = []
    for seed, bounded in itertools.product(range(30), (False, True)):
        drawn_from = torch.Generator().manual_seed(seed)
        target, other = torch.randn(2, 6, generator=drawn_from, dtype=torch.float64)
        models = target + torch.randn(8, 6, generator=drawn_from, dtype=torch.float64)

        def value(model, target=target):
            return -float((model - target).norm())

        def margin(model, target=target, other=other):
            return float((model - target) @ other)

        def score(numbers, models=models, bounded=bounded, value=value, margin=margin):
            mean = models[list(numbers)].mean(dim=0)
            return Score(value(mean), (margin(mean),) if bounded else ())

        singles = [score([number]) for number in range(len(models))]
        steps = list(greedy(singles, score))
        if not any(single.meets for single in singles):
            assert not steps
            continue
        meets = (lambda model, margin=margin: margin(model) >= 0) if bounded else lambda model: True
        kept, seen = as_published(models, value, meets)
        assert list(steps[-1].soup) == kept
        assert [step.score.value for step in steps] == pytest.approx(seen, abs=1e-12)
        # One pass: each model once, whatever became of it.
        assert sorted(step.number for step in steps) == list(range(len(models)))
        assert [step.number for step in steps if step.kept] == kept
        sizes.append(len(kept))
    # Rules that keep all, or one, would be found out.
    assert {1, 2, 3, 4, 5} <= set(sizes)
    assert len(sizes) > 50


def test_what_is_only_as_good_is_refused():
    """Strictly better means by more than rounding; the negative control is kept."""
    for gain, kept in ((0.0, False), (1e-13, False), (1e-9, True)):
        *_, last = greedy([Score(0.5), Score(0.25)], lambda numbers, gain=gain: Score(0.5 + gain))
        assert last.kept is kept
        assert last.soup == ((0, 1) if kept else (0,))


def test_of_equal_checkpoints_the_one_that_is_listed_first_comes_first():
    """Equal but for rounding, too, in either direction."""
    assert order_of([Score(value) for value in (0.1, 0.3, 0.2, 0.3 + 1e-14, 0.3 - 1e-14, 0.2)]) == [1, 3, 4, 2, 5, 0]


def test_the_best_checkpoint_may_only_be_added_where_it_must_not_begin():
    """It does not meet the constraint by itself; its mean with the one that does is tried like any other."""
    singles = [Score(0.9, (-0.1,)), Score(0.5, (0.1,)), Score(0.4, (0.0,))]
    asked = []

    def score(numbers):
        asked.append(numbers)
        return Score({(0, 1): 0.8, (0, 1, 2): 0.95}[numbers], (0.0,))

    steps = list(greedy(singles, score))
    assert [step.number for step in steps] == [1, 0, 2]
    # In the order of the list, whatever was kept first.
    assert asked == [(0, 1), (0, 1, 2)]
    assert steps[-1].soup == (1, 0, 2)
    assert [step.before for step in steps] == [None, 0.5, 0.8]


# --- the command ------------------------------------------------------------------------------------------------------


def pass_at(k, point, results, ids):
    """Pass@k by its definition as a share of draws, over some problems."""
    problems = [problem for problem in results.outcome(point, TASK).problems if problem.id in ids]
    assert len(problems) == len(ids)
    wrong = [(problem.n - sum(problem.correct), problem.n) for problem in problems]
    return sum(1 - math.comb(bad, k) / math.comb(n, k) for bad, n in wrong) / len(problems)


def named(results):
    """Names of the ingredients -> the point that is their mean."""
    return {tuple(sorted(one.name for one in point.checkpoints)): point for point in results.points}


def test_every_step_follows_from_what_was_sampled(runs, souped):
    """From the verdicts in the folder, by hand: order, values, decisions, and the constraint."""
    out, printed = souped
    results, document = read_results(out), read_soup(out)
    points = named(results)
    ids = [problem.id for problem in results.outcomes[0].problems]
    selects = halves([(TASK, id_) for id_ in ids], 0)
    mine = {id_ for id_, half in zip(ids, selects, strict=True) if half}
    assert (document.selection_problems, document.confirmation_problems) == (len(mine), 20) == (20, len(ids) - 20)
    value = {names: pass_at(1, point, results, mine) for names, point in points.items()}
    singles = sorted((names for names in value if len(names) == 1), key=lambda names: -value[names])
    assert len(singles) == 5
    kept, before = [*singles[0]], None
    for step, (name,) in zip(document.steps, singles, strict=True):
        tried = tuple(sorted({*kept, name}))
        assert step.value == pytest.approx(value[tried])
        assert step.before == (None if before is None else pytest.approx(before))
        better = before is None or value[tried] > before
        assert step.kept is better
        assert step.meets is (value[tried] >= value[singles[0]])
        if better:
            kept, before = list(dict.fromkeys([*kept, name])), value[tried]
        assert list(step.ingredients) == kept
        assert step.candidate == "/".join(Path(name).parts[-2:])
    assert 1 < len(kept) < 5
    assert list(document.chosen.ingredients) == kept
    assert document.chosen.selection == pytest.approx(before)
    other = set(ids) - mine
    confirmed = {names: pass_at(1, point, results, other) for names, point in points.items()}
    assert document.chosen.confirmation == pytest.approx(confirmed[tuple(sorted(kept))])
    run = singles[0][0].rpartition("/")[0]
    compared = {
        "best single checkpoint": singles[0],
        "uniform soup": max(points, key=len),
        # The first and the last checkpoint of the run of the best one.
        "WiSE-FT": (f"{run}/checkpoint-10", f"{run}/checkpoint-{30 if run.endswith('a') else 20}"),
    }
    assert {rival.name: rival.confirmation for rival in document.against} == {
        name: pytest.approx(confirmed[names]) for name, names in compared.items()
    }
    for rival in document.against:
        assert rival.difference == pytest.approx(document.chosen.confirmation - rival.confirmation)
        assert rival.low <= rival.difference <= rival.high
        assert 0 < rival.p <= 1
    assert sum(f"{step.value:.3f}" in printed for step in document.steps) == 5
    assert printed.count("  kept\n") == len(kept) - 1
    assert "pass@1 >= best" in printed
    short = ", ".join("/".join(Path(name).parts[-2:]) for name in kept)
    assert f"The greedy soup: {short} ({len(kept)} of 5 checkpoints)" in printed


def test_every_model_is_sampled_once_and_is_what_its_name_says(runs, souped):
    """Five checkpoints, the mean of all, WiSE-FT and the candidates; the merge is the mean, to one rounding."""
    out, _ = souped
    results, document = read_results(out), read_soup(out)
    candidates = {tuple(sorted({*step.ingredients, *one})) for step, one in steps_with_names(document, runs)}
    first, *_ = document.chosen.ingredients
    assert len(results.points) == len(results.outcomes) == len({point.model for point in results.points})
    assert {names for names in named(results) if len(names) > 1} == candidates | {
        tuple(sorted(name for (name,) in (names for names in named(results) if len(names) == 1))),
        tuple(sorted(one for one in (f"{Path(first).parent}/checkpoint-{step}" for step in (10, 30)))),
    }
    assert set(drawn(out).values()) == {1}
    assert len(drawn(out)) == len(results.points) * 40 * 6
    recipe = yaml.safe_load((out / "soup.yml").read_text())
    assert {one["model"] for one in recipe["models"]} == set(document.chosen.ingredients)
    inputs = [load_file(Path(name) / "model.safetensors") for name in document.chosen.ingredients]
    merged = load_file(out.parent / "merged" / "model.safetensors")
    for name, tensor in merged.items():
        exact = sum(one[name].double() for one in inputs) / len(inputs)
        # Half a spacing of float32, whose relative size is at most 2^-24.
        assert ((tensor.double() - exact).abs() <= exact.abs() * 2.0**-24 + 1e-45).all(), name
    assert not list(out.rglob("*.safetensors"))


def steps_with_names(document, runs):
    """Each step but the first, with the name of the checkpoint that was tried."""
    return [(step, [str(runs / step.candidate)]) for step in document.steps[1:]]


def test_the_soup_in_the_engine_is_the_model_that_is_written(runs, souped, tmp_path):
    """`lm_eval --model hf-passk` on the merged folder draws the very samples of the soup."""
    from lm_eval import simple_evaluate
    from lm_eval.tasks import TaskManager

    from wise_merge.journal import read_runs

    out, _ = souped
    results = read_results(out)
    point = named(results)[tuple(sorted(read_soup(out).chosen.ingredients))]
    simple_evaluate(
        model="hf-passk",
        model_args={"pretrained": str(out.parent / "merged"), "journal": str(tmp_path), "seed": 1234},
        device="cpu",
        tasks=[TASK],
        batch_size=256,
        task_manager=TaskManager(
            include_defaults=False, metadata={"data_file": str(runs / "digits.jsonl"), "repeats": 6}
        ),
        gen_kwargs={"max_gen_toks": 10, "temperature": 1.0},
        num_fewshot=0,
    )
    (theirs,) = read_runs(tmp_path).runs
    (ours,) = (run for run in read_runs(out / "journal").runs if run.fingerprint == results.outcome(point, TASK).run)
    assert {problem: [found[i].text for i in sorted(found)] for problem, found in ours.samples.items()} == {
        problem: [found[i].text for i in sorted(found)] for problem, found in theirs.samples.items()
    }


def test_the_same_command_again_draws_nothing(runs, souped, tmp_path):
    """Nothing is written but the two files of the choice, which are the same; nothing of the printed text differs."""
    out, printed = souped
    before = {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}
    again = soup(runs, out, subject_to="pass@1 >= best")
    assert {path: path.read_bytes() for path in out.rglob("*") if path.is_file()} == before
    assert again.rpartition("Results:")[0] == printed.partition("Results:")[0]


def test_another_run_objective_or_half_finds_what_is_there(runs, souped, tmp_path):
    """A soup of one run grows by the other, in either order of the runs; no checkpoint is sampled anew."""
    out = tmp_path / "results"
    soup(runs, out, run="a")
    of_one = drawn(out)
    assert len(read_results(out).points) < len(read_results(souped[0]).points) + 4
    soup(runs, out, run=("a", "b"), objective="pass@4", halves_seed=3)
    grown = drawn(out)
    assert set(grown.values()) == {1}
    assert of_one.keys() < grown.keys()
    assert read_soup(out).objective == "pass@4"
    alone = {name: found for name, found in figures(out).items() if name in figures(souped[0])}
    assert len(alone) > 5
    assert alone == {name: figures(souped[0])[name] for name in alone}


def test_a_soup_of_one_model_says_so(runs, souped, tmp_path):
    """No recipe, not even an earlier one; --merge copies nothing, and says what the model is."""
    out = tmp_path / "results"
    shutil.copytree(souped[0], out)
    done = invoke(runs, out, objective="best@4", merge=tmp_path / "merged")
    assert done.exit_code == 0, done.output
    document = read_soup(out)
    (name,) = document.chosen.ingredients
    assert document.recipe is None
    assert not (out / "soup.yml").exists()
    assert not (tmp_path / "merged").exists()
    said = " ".join(done.stdout.split())
    assert f"The greedy soup is one model, {'/'.join(Path(name).parts[-2:])}: no mean" in said
    assert "Merging does not help here." in said
    assert f"No recipe is needed: use {name} as it is, at temperature 1." in said
    assert f"merged was not written: the model is {name} itself" in said
    # It is no rival of its own.
    assert {rival.name for rival in document.against} == {"uniform soup", "WiSE-FT"}


def test_of_two_checkpoints_the_mean_is_sampled_once(runs, tmp_path):
    """It is the one candidate, the uniform soup and WiSE-FT, and is compared as both."""
    names = [str(runs / "b" / f"checkpoint-{step}") for step in (20, 10)]
    printed = soup(runs, tmp_path / "results", run=None, models=",".join(names), samples=2)
    results = read_results(tmp_path / "results")
    assert sorted(len(point.checkpoints) for point in results.points) == [1, 1, 2]
    # In the order in which they were listed.
    assert [point.checkpoints[0].name for point in results.points if len(point.checkpoints) == 2] == [names[0]]
    compared = {rival.name for rival in read_soup(tmp_path / "results").against}
    assert compared in ({"best single checkpoint"}, {"uniform soup", "WiSE-FT"})
    assert ("uniform soup, WiSE-FT" in printed) is (len(compared) == 2)


def test_where_no_checkpoint_meets_the_constraints_the_nearest_is_named(runs, souped, tmp_path):
    """After the first round, in one line; neither a recipe nor a choice is written."""
    shutil.copytree(souped[0], tmp_path / "results")
    for name in ("soup.yml", "soup.json"):
        (tmp_path / "results" / name).unlink()
    done = invoke(runs, tmp_path / "results", subject_to="pass@1 >= 0.9")
    assert done.exit_code == 1
    line = done.stderr.splitlines()[-1]
    best = max(read_soup(souped[0]).steps, key=lambda step: step.before is None)
    assert line == (
        "Error: none of the 5 checkpoints meets pass@1 >= 0.9 on the selection half, so there is nothing to begin "
        f"with; the nearest, {runs / best.candidate}, misses pass@1 >= 0.9 ({best.value:.3f} against 0.900): allow "
        "some slack"
    )
    assert not (tmp_path / "results" / "soup.json").exists()


def test_best_and_report_read_the_folder(runs, souped, tmp_path):
    """As that of a sweep."""
    out = tmp_path / "results"
    shutil.copytree(souped[0], out)
    best = CliRunner().invoke(main, ["best", str(out), "--objective", "pass@1"], catch_exceptions=False)
    assert best.exit_code == 0, best.output
    points = len(read_results(out).points)
    assert f"{points} of {points} points, 40 problems" in " ".join(best.stdout.split())
    report = CliRunner().invoke(main, ["report", str(out)], catch_exceptions=False)
    assert report.exit_code == 0, report.output
    assert "Greedy soup by" in (out / "report.html").read_text()


# --- what is refused --------------------------------------------------------------------------------------------------


@pytest.fixture
def spoilt(runs, tmp_path):
    """A copy of the runs, to be damaged."""
    shutil.copytree(runs, tmp_path / "spoilt")
    return tmp_path / "spoilt"


def alone(folder):
    """Leave a run one checkpoint."""
    shutil.rmtree(folder / "b" / "checkpoint-20")


def wide(folder):
    make_checkpoint(folder / "b" / "checkpoint-30", seed=1, config=tiny_llama(intermediate_size=96))


def renumbered(folder):
    """Give two tokens each other's numbers."""
    path = folder / "b" / "checkpoint-20" / "tokenizer.json"
    content = json.loads(path.read_text())
    vocabulary = content["model"]["vocab"]
    vocabulary["a"], vocabulary["b"] = vocabulary["b"], vocabulary["a"]
    path.write_text(json.dumps(content))


def copied(folder):
    shutil.copytree(folder / "a" / "checkpoint-20", folder / "b" / "checkpoint-30")


def adapter(folder):
    (folder / "b" / "adapter").mkdir()
    (folder / "b" / "adapter" / "adapter_config.json").write_text(json.dumps({"peft_type": "LORA", "r": 4}))


def taken(folder):
    (folder / "merged").mkdir()


A, B = "{runs}/a/checkpoint-10", "{runs}/b/checkpoint-10"

#: What is wrong -> damage to the runs, options, and words of the line.
REFUSED = {
    "no checkpoints": (None, {"run": None}, "no checkpoints to make a soup of: name the folders of training runs"),
    "one checkpoint": (None, {"run": None, "models": A}, "models names {runs}/a/checkpoint-10 alone; a soup needs"),
    "both": (None, {"models": f"{A},{B}"}, "run and models are both there"),
    "one twice": (None, {"run": None, "models": f"{A},{B},{A}"}, "models names {runs}/a/checkpoint-10 twice"),
    "one run twice": (None, {"run": ("a", "b", "a/")}, "run names {runs}/a twice"),
    "a run of one": (alone, {}, "run {runs}/b has 1 whole checkpoint; a soup needs at least two of each run"),
    "no run": (None, {"run": "c"}, "{runs}/c does not exist or is not a directory"),
    "other shapes": (wide, {}, "in {runs}/b/checkpoint-30; all checkpoints of a soup must be of one architecture"),
    "other tokens": (
        renumbered,
        {},
        "token 'a' is number 69 in {runs}/a/checkpoint-10 but 70 in {runs}/b",
    ),
    "a copy": (copied, {}, "{runs}/a/checkpoint-20 and {runs}/b/checkpoint-30 are the same checkpoint"),
    "an adapter": (
        adapter,
        {"run": None, "models": f"{A},{{runs}}/b/adapter"},
        "{runs}/b/adapter is a LoRA adapter, and a soup needs whole checkpoints",
    ),
    "an adapter of a base": (
        adapter,
        {"run": None, "models": f"{A},{A}+{{runs}}/b/adapter"},
        "the single checkpoint {runs}/a/checkpoint-10+{runs}/b/adapter is a LoRA adapter",
    ),
    "no objective": (None, {"objective": None}, "objective is missing: what is to be maximised?"),
    "nonsense": (None, {"objective": "pss@1"}, "'pss@1': there is no figure pss@1; did you mean pass@1?"),
    "too few samples": (None, {"objective": "pass@64"}, "pass@64 needs 64 samples of each problem, and samples is 6"),
    "too few for a constraint": (None, {"subject_to": "maj@8 >= 0.1"}, "maj@8 needs 8 samples of each problem"),
    "another bar": (None, {"subject_to": "pass@1 >= late"}, "'late' cannot be a bar; it must be best or a number"),
    "no task": (None, {"tasks": None}, "tasks names none, so nothing says which checkpoint is good"),
    "an unknown task": (None, {"tasks": "gsm9k"}, "there is no task gsm9k with K samples per problem;"),
    "too few problems": (None, {"limit": 3}, "limit is 3, but two halves of the problems, one to choose and one to"),
    "greedy samples": (None, {"temperature": 0}, "temperature 0 is greedy: 6 completions of a problem would be one"),
    "a model that is there": (taken, {"merge": "{runs}/merged"}, "merged is there already; name another folder"),
    "something else in the folder": (None, {"out": "{runs}/a"}, "--out {runs}/a holds something else than a soup"),
    "a quantised engine": (None, {"model_args": "load_in_4bit=True"}, "model_args load_in_4bit cannot be used"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_what_makes_no_soup_is_refused_in_one_line(what, request, runs):
    """Before an engine is loaded, and nothing is written."""
    damage, changes, words = REFUSED[what]
    if damage is not None:
        runs = request.getfixturevalue("spoilt")
        damage(runs)

    def filled(value):
        return value.format(runs=runs) if isinstance(value, str) else value

    before = sorted(runs.rglob("*"))
    changes = {"out": runs / "results", **{key: filled(value) for key, value in changes.items()}}
    done = invoke(runs, changes.pop("out"), **changes)
    assert done.exit_code == 1, done.output
    (line,) = done.output.splitlines()
    assert words.format(runs=runs) in line
    assert sorted(runs.rglob("*")) == before


def test_a_task_of_too_few_problems_is_refused_before_anything_is_sampled(runs, tmp_path):
    """How many there are is known when the task has been built."""
    (tmp_path / "three.jsonl").write_text("".join((runs / "digits.jsonl").read_text().splitlines(keepends=True)[:3]))
    done = invoke(runs, tmp_path / "results", metadata=f"data_file={tmp_path / 'three.jsonl'}")
    assert done.exit_code == 1
    assert f"task {TASK} has 3 problems; two halves of the problems need at least 4" in done.stderr.splitlines()[-1]
    assert not drawn(tmp_path / "results")


def refusal(runs, out, **changes):
    done = invoke(runs, out, **changes)
    assert done.exit_code == 1, done.output
    return done.stderr.splitlines()[-1]


def test_a_folder_belongs_to_one_soup(runs, souped, tmp_path):
    """Other settings, other checkpoints, changed ones, and a sweep are refused, with what differs."""
    out = tmp_path / "results"
    shutil.copytree(souped[0], out)
    assert "holds a soup with other settings: seed (1234 there, 5 now)" in refusal(runs, out, seed=5)
    shutil.copytree(runs, tmp_path / "runs")
    for checkpoint in (tmp_path / "runs").glob("?/*"):
        tensors = load_file(checkpoint / "model.safetensors")

        changed = {name: tensor + 0.01 for name, tensor in tensors.items()}
        save_file(changed, checkpoint / "model.safetensors", metadata={"format": "pt"})
    line = refusal(tmp_path / "runs", out, metadata=f"data_file={runs / 'digits.jsonl'}")
    assert f"{out} holds a soup of other checkpoints, such as {runs}/a/checkpoint-10" in line
    plan = json.loads((out / "sweep.json").read_text())
    for one in plan["checkpoints"].values():
        one["digest"] = "0" * 32
    (out / "sweep.json").write_text(json.dumps(plan))
    line = refusal(runs, out)
    assert f"results of another model that is called {runs}/a/checkpoint-10 as well (digest 00000000 there" in line
    plan["settings"].pop("search")
    (out / "sweep.json").write_text(json.dumps(plan))
    assert f"--out {out} holds the results of a sweep; name another folder for those of a soup" in refusal(runs, out)
    plan["settings"]["search"] = "soup"
    (out / "sweep.json").write_text(json.dumps(plan))
    line = ["sweep", "--run", str(runs / "a"), "--alphas", "0.5", "--tasks", TASK, "--out", str(out)]
    done = CliRunner().invoke(main, line, catch_exceptions=False)
    assert f"--out {out} holds the results of a soup; name another folder for those of a sweep" in done.output


def test_a_recipe_of_somebody_else_is_not_overwritten(runs, souped, tmp_path):
    """Said before anything is sampled."""
    out = tmp_path / "results"
    shutil.copytree(souped[0], out)
    (out / "soup.yml").write_text("merge_method: linear\n")
    line = refusal(runs, out)
    assert line.startswith(f"Error: {out}/soup.yml exists and was not written by `wise-merge soup`")


def test_a_file_holds_what_the_options_do(runs, souped, tmp_path):
    """With _ for -; what is typed takes the place of what the file says."""
    out = tmp_path / "results"
    content = {
        "run": [str(runs / "a"), str(runs / "b")],
        "objective": "pass@4",
        "subject_to": ["pass@1 >= best"],
        "tasks": [TASK],
        "samples": 6,
        "temperature": 1.0,
        "metadata": {"data_file": str(runs / "digits.jsonl")},
        "num_fewshot": 0,
        "device": "cpu",
        "batch_size": 256,
        "gen_kwargs": {"max_gen_toks": 10},
    }
    (tmp_path / "soup.yml").write_text(yaml.safe_dump(content))
    shutil.copytree(souped[0], out)
    before = drawn(out)
    command = ["soup", str(tmp_path / "soup.yml"), "--out", str(out)]
    done = CliRunner().invoke(main, [*command, "--objective", "pass@1"], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    assert drawn(out) == before
    checked = CliRunner().invoke(main, [*command, "--models", f"{runs}/a/checkpoint-10", "--check"])
    assert "models names" in checked.output
    (tmp_path / "soup.yml").write_text(yaml.safe_dump({**content, "objectiv": "pass@1"}))
    assert "unknown key objectiv; did you mean objective?" in CliRunner().invoke(main, command).output


# --- interruptions ----------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_two_processes_make_the_same_soup(runs, souped, tmp_path):
    """Which of them has a point is no property of the results."""
    soup(runs, tmp_path / "results", "--processes", "2", subject_to="pass@1 >= best")
    assert (tmp_path / "results" / "soup.json").read_text() == (souped[0] / "soup.json").read_text()
    assert figures(tmp_path / "results") == figures(souped[0])
    assert drawn(tmp_path / "results") == drawn(souped[0])


def written(out):
    """How many bytes of samples there are."""
    return sum(path.stat().st_size for path in out.glob("journal/*.jsonl"))


def experiment(runs, folder):
    """Make a soup with twenty kills at random moments, each time in a forked process group that has all it needs."""
    import lm_eval.models.huggingface  # noqa: F401

    # A process of several threads cannot be forked, and on a tiny model they are slower.
    torch.set_num_threads(1)

    def start(out):
        child = os.fork()
        if child == 0:
            os.setsid()
            with Path(folder, "said").open("w") as said:
                for stream in (1, 2):
                    os.dup2(said.fileno(), stream)
            code = 1
            try:
                main(options(runs, out, subject_to="pass@1 >= best"), standalone_mode=False)
                code = 0
            finally:
                os._exit(code)
        return child

    def finish(out):
        started = time.monotonic()
        assert os.waitpid(start(out), 0)[1] == 0, Path(folder, "said").read_text()
        return time.monotonic() - started

    duration = finish(folder / "first")
    whole = len(drawn(folder / "first"))
    out, chance, kills, halfway = folder / "results0", random.Random(4), 0, 0
    while kills < 20:
        before = len(drawn(out))
        # At a moment of the run, which may be one of loading or of writing the choice; or at one of sampling.
        moment, goal = (duration * chance.uniform(0, 1), math.inf) if kills % 3 == 0 else (math.inf, 0)
        goal = goal or written(out) + chance.uniform(0, written(folder / "first") / 8)
        child, started = start(out), time.monotonic()
        while not (ended := os.waitpid(child, os.WNOHANG)[0]) and time.monotonic() - started < moment:
            if written(out) >= goal:
                break
            time.sleep(0.001)
        if not ended:
            os.killpg(child, signal.SIGKILL)
            if os.WIFSIGNALED(os.waitpid(child, 0)[1]):
                kills += 1
                halfway += before < len(drawn(out)) < whole
        if (out / "soup.json").exists():
            # From the beginning again, in another folder.
            out = folder / f"results{len(list(folder.glob('results*')))}"
    finish(out)
    for unfinished in folder.glob("results*"):
        if not (unfinished / "soup.json").exists():
            finish(unfinished)
    print(halfway)


@pytest.mark.slow
def test_killed_twenty_times_the_soup_is_that_of_an_undisturbed_run(runs, souped, tmp_path):
    """SIGKILL of the whole group at 20 random moments; at the end the same choice, and no sample drawn twice."""
    code = "import sys, pathlib, test_soup; test_soup.experiment(*map(pathlib.Path, sys.argv[1:]))"
    done = subprocess.run(
        [sys.executable, "-c", code, runs, tmp_path],
        cwd=os.path.dirname(__file__),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    # Most of them came between the first sample and the last one.
    assert int(done.stdout.split()[-1]) >= 10
    folders = [tmp_path / "first", *tmp_path.glob("results*")]
    assert len(folders) >= 2
    for out in folders:
        assert (out / "soup.json").read_text() == (souped[0] / "soup.json").read_text()
        assert (out / "soup.yml").read_text() == (souped[0] / "soup.yml").read_text()
        assert figures(out) == figures(souped[0])
        assert drawn(out) == drawn(souped[0])
        assert set(drawn(out).values()) == {1}
