"""Which figures of a sweep are those of a merged model and its checkpoints, at which temperature, and how chosen."""

import dataclasses
import math
import random
from itertools import combinations

import numpy as np
import pytest
import yaml
from support.points import EARLY, LATE, TASK, grid, leave, merged_of, of_verdicts, outcome

from wise_merge.errors import WiseMergeError
from wise_merge.points import PointCheckpoint, on_line
from wise_merge.publish.evidence import SHOWN
from wise_merge.publish.of_sweep import evidence_of_sweep
from wise_merge.results.metrics import metrics
from wise_merge.results.summary import summarize
from wise_merge.search.best.pipeline import BestSettings, choose_best

SECOND = PointCheckpoint("sft/checkpoint-400", 400, "b" * 32)


def changed(point, **change):
    """The point with other checkpoints, or another alpha or dtype."""
    early, late, alpha = (change.pop(name, getattr(point, name)) for name in ("early", "late", "alpha"))
    moved = on_line(early, late, point.method, alpha, point.temperature, point.dtype, point.out_dtype)
    return dataclasses.replace(moved, **change)


def seen(evidence):
    """What the rows are of: task, role, temperature, late checkpoint and alpha."""
    return [
        (task.task, row.role, row.temperature, row.point.late.name, row.point.alpha)
        for task in evidence.tasks
        for row in task.rows
    ]


# --- which points ---------------------------------------------------------------------------------


def test_a_model_stands_beside_its_own_two_checkpoints(tmp_path):
    """Of several lates and alphas, its own; by temperature, and early, this model, late within one."""
    points = grid(LATE, SECOND, alphas=(0.0, 0.25, 0.5, 1.0), temperatures=(1.3, 0.7))
    leave(tmp_path, points)
    mine = on_line(EARLY, SECOND, "wise_ft", 0.25, 1.0)
    assert seen(evidence_of_sweep(merged_of(mine), tmp_path)) == [
        (TASK, role, temperature, SECOND.name, alpha)
        for temperature in (0.7, 1.3)
        for role, alpha in (("early", 0.0), ("this model", 0.25), ("late", 1.0))
    ]


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"alpha": 0.4}, "with alpha 0.4 and dtype None; .* with alpha 0, 0.5, 1 and dtype None"),
        ({"dtype": "bfloat16"}, "dtype bfloat16; .* dtype None"),
        ({"late": dataclasses.replace(LATE, name="sft/checkpoint-700")}, "checkpoint-700 .* and sft/checkpoint-800 "),
        ({"early": LATE, "late": EARLY}, "it is wise_ft of sft/checkpoint-800 and sft/checkpoint-25 with"),
        ({"method": "bang"}, "it is bang of .* the sweep was wise_ft of"),
    ],
)
def test_figures_of_another_model_are_refused(change, named, tmp_path):
    """Another alpha, dtype, pair, direction or method; one line says what the model is and what was swept."""
    leave(tmp_path, grid())
    other = changed(grid()[1], **change)
    with pytest.raises(WiseMergeError, match=f"{tmp_path} holds no figures of this model: .*{named}") as refused:
        evidence_of_sweep(merged_of(other), tmp_path)
    assert "\n" not in str(refused.value)


def test_alphas_by_layer_are_not_the_alpha_of_a_point(tmp_path):
    """A gradient from 0 to 1 is no point of a sweep, whatever its mean."""
    leave(tmp_path, grid())
    with pytest.raises(WiseMergeError, match=r"with alpha \[0\.0, 1\.0\]"):
        evidence_of_sweep(merged_of(grid()[1], parameters={"alpha": [0, 1]}), tmp_path)


def test_the_temperatures_of_balancing_belong_to_the_model(tmp_path):
    """Of two models of BANG the one with the same temperatures has the figures."""
    early, late = dataclasses.replace(EARLY, temperature=1.1), dataclasses.replace(LATE, temperature=1.6)
    points = grid(late, method="bang", early=early)
    leave(tmp_path, points)
    assert {row[1] for row in seen(evidence_of_sweep(merged_of(points[1]), tmp_path))} == set(SHOWN)
    other = changed(points[1], late=dataclasses.replace(LATE, temperature=1.5))
    with pytest.raises(WiseMergeError, match="holds no figures of this model"):
        evidence_of_sweep(merged_of(other), tmp_path)


def test_dtypes_belong_to_the_model(tmp_path):
    """Averaged and written in the same ones."""
    points = grid(dtype="float32", out_dtype="bfloat16")
    leave(tmp_path, points)
    assert len(seen(evidence_of_sweep(merged_of(points[1]), tmp_path))) == 3
    with pytest.raises(WiseMergeError, match="holds no figures"):
        evidence_of_sweep(merged_of(grid()[1], dtype="float32"), tmp_path)


def test_checkpoints_are_found_however_they_are_written(tmp_path, monkeypatch):
    """The sweep by a relative path, the merge by an absolute one."""
    for one in (EARLY, LATE):
        (tmp_path / one.name).mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    leave(tmp_path / "grid", grid())
    absolute = changed(
        grid()[1],
        early=dataclasses.replace(EARLY, name=str(tmp_path / EARLY.name)),
        late=dataclasses.replace(LATE, name=f"./{LATE.name}/"),
    )
    assert len(seen(evidence_of_sweep(merged_of(absolute), tmp_path / "grid"))) == 3


# --- what is there --------------------------------------------------------------------------------


def test_a_folder_that_is_no_sweep_is_refused(tmp_path):
    """Neither an empty folder nor one that is not there."""
    for folder in (tmp_path, tmp_path / "nothing"):
        with pytest.raises(WiseMergeError, match="give the folder that `wise-merge sweep` wrote its results to"):
            evidence_of_sweep(merged_of(grid()[1]), folder)


def test_a_model_that_was_planned_and_not_sampled_yet_is_refused(tmp_path):
    """Early and late alone say nothing of it."""
    points = grid()
    leave(tmp_path, points, [outcome(point) for point in points if point.alpha != 0.5])
    with pytest.raises(WiseMergeError, match=r"has not sampled checkpoint-800, alpha 0\.5, T 1 yet; run it again"):
        evidence_of_sweep(merged_of(points[1]), tmp_path)


def test_an_unfinished_sweep_shows_what_it_has(tmp_path):
    """A temperature without this model says nothing of it, and a checkpoint that was not sampled has no row."""
    points = grid(temperatures=(0.7, 1.0))
    there = [point for point in points if (point.alpha, point.temperature) not in {(0.5, 1.0), (1.0, 0.7)}]
    leave(tmp_path, points, list(map(outcome, there)))
    evidence = evidence_of_sweep(merged_of(points[2]), tmp_path)
    assert evidence.temperature == 0.7
    assert [row[1:3] for row in seen(evidence)] == [("early", 0.7), ("this model", 0.7)]


def test_tasks_without_this_model_are_named(tmp_path):
    """They have no figures, and nobody leaves a task out without saying so."""
    points = grid()
    leave(
        tmp_path,
        points,
        [outcome(point, task=task) for point in points for task in "ab" if (point.alpha, task) != (0.5, "b")],
        tasks=("a", "b"),
    )
    evidence = evidence_of_sweep(merged_of(points[1]), tmp_path)
    assert [task.task for task in evidence.tasks] == ["a"]
    assert evidence.unsampled == ("b",)


def test_runs_are_those_of_this_model_at_the_first_temperature(tmp_path):
    """By them the samples are found in the journal, which nobody else's may leave with."""
    points = grid(temperatures=(0.7, 1.0))
    leave(tmp_path, points, tasks=("a", "b"))
    evidence = evidence_of_sweep(merged_of(points[2]), tmp_path, temperature=0.7)
    assert evidence.runs == {task: f"{points[2].model}-{task}-0.7" for task in "ab"}
    assert evidence.journal == tmp_path / "journal"


# --- the temperature ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("sampled", "asked", "first"),
    [
        ((0.7, 1.0, 1.3), None, 1.0),
        ((1.3, 0.7), None, 0.7),
        ((0.7, 1.0), 0.7, 0.7),
        ((0.0,), None, 0.0),
        ((0.0, 1.0), 0.0, 0.0),
    ],
)
def test_the_temperature_is_the_asked_one_else_1_else_the_lowest(sampled, asked, first, tmp_path):
    """Of those at which this model was sampled."""
    points = grid(temperatures=sampled)
    leave(tmp_path, points, samples=1)
    assert evidence_of_sweep(merged_of(points[len(sampled)]), tmp_path, temperature=asked).temperature == first


def test_a_temperature_that_was_not_sampled_is_refused_and_the_sampled_ones_are_named(tmp_path):
    """One at which only early and late were sampled is none either."""
    points = grid(temperatures=(0.7, 1.0, 1.3))
    leave(tmp_path, points, [outcome(point) for point in points if (point.alpha, point.temperature) != (0.5, 1.3)])
    for temperature in (0.8, 1.3):
        with pytest.raises(WiseMergeError, match=f"--temperature {temperature} is none .* which are 0.7, 1$"):
            evidence_of_sweep(merged_of(points[3]), tmp_path, temperature=temperature)


# --- figures --------------------------------------------------------------------------------------


def by_hand(rows, k):
    """Pass@k: the share of draws of k samples with a correct one, mean over problems."""
    draws = [[any(draw) for draw in combinations(row, k)] for row in rows]
    return sum(sum(draw) / len(draw) for draw in draws) / len(draws)


def test_figures_are_those_of_the_samples(tmp_path):
    """Pass@k by counting every draw, n and K of the outcome, and every curve that `wise-merge score` has of them."""
    points = grid()
    rows = {
        0.0: [[True, False, False, False], [False, True, False, True], [False] * 4],
        0.5: [[True] * 4, [False, True, False, True], [False, False, False, True]],
        1.0: [[True] * 4, [True] * 4, [False] * 4],
    }
    outcomes = [of_verdicts(point, rows[point.alpha]) for point in points]
    leave(tmp_path, points, outcomes)
    (task,) = evidence_of_sweep(merged_of(points[1]), tmp_path).tasks
    assert [row.role for row in task.rows] == list(SHOWN)
    for row, made in zip(task.rows, outcomes, strict=True):
        assert (row.summary.problems, row.summary.n_low, row.summary.n_high) == (3, 4, 4)
        assert row.summary.reported == (1, 2, 4)
        curve = row.summary.curve("pass@k")
        for k in (1, 2, 3, 4):
            assert curve.at(k).value == pytest.approx(by_hand(rows[made.point.alpha], k))
        found, notes = metrics(made.facts(), [1, 2, 4])
        expected = summarize(made.facts(), found, [1, 2, 4], notes=notes)
        assert {one.title for one in row.summary.curves} >= {"pass@k", "maj@k", "best@k by logprob"}
        for one, other in zip(row.summary.curves, expected.curves, strict=True):
            assert one == other
            widths = np.array(one.high) - np.array(one.low)
            assert np.isfinite(widths).all()


def test_what_judged_is_told_where_it_is_none_of_our_benchmarks(tmp_path):
    """The metric and task of lm-eval that stand in the outcomes; nothing where a benchmark of ours judged."""
    points = grid()
    judged = [dataclasses.replace(outcome(point), judged_by="acc,none of lm-eval's t") for point in points]
    leave(tmp_path, points, [*judged, *(outcome(point, task="other") for point in points)], tasks=(TASK, "other"))
    tasks = evidence_of_sweep(merged_of(points[1]), tmp_path).tasks
    assert [task.judge for task in tasks] == ["the metric acc,none of lm-eval's t", None]


def test_points_with_fewer_samples_say_so(tmp_path):
    """A point that the sweep has stopped early keeps its own K; a single problem has no interval."""
    points = grid()
    made = [outcome(point, problems=1, samples=2 if point.alpha == 0.5 else 8) for point in points]
    leave(tmp_path, points, made, samples=8)
    (task,) = evidence_of_sweep(merged_of(points[1]), tmp_path).tasks
    assert [row.summary.n_high for row in task.rows] == [8, 2, 8]
    assert [row.summary.reported for row in task.rows] == [(1, 2, 4, 8), (1, 2), (1, 2, 4, 8)]
    assert math.isnan(task.rows[1].summary.curve("pass@k").at(1).low)


def test_the_watcher_sees_each_outcome_once(tmp_path):
    """At alpha 0 the model is early itself, and its figures are made once."""
    points = grid()
    leave(tmp_path, points)
    passed = []
    evidence = evidence_of_sweep(merged_of(points[0]), tmp_path, watch=lambda some: passed.extend(some) or some)
    assert [row[1] for row in seen(evidence)] == list(SHOWN)
    assert [one.point.alpha for one in passed] == [0.0, 1.0]


# --- how it was chosen ----------------------------------------------------------------------------


@pytest.fixture
def chosen(tmp_path):
    """A sweep from which `wise-merge best` has chosen alpha 0.5 at temperature 0.7, which it says in best.yml."""
    points = grid(alphas=(0.0, 0.25, 0.5, 1.0), temperatures=(0.7, 1.0))
    better = {(0.5, 0.7): 0.9, (0.5, 1.0): 0.6}
    outcomes = []
    for point in points:
        drawn = random.Random(point.title)
        rate = better.get((point.alpha, point.temperature), 0.3)
        outcomes.append(of_verdicts(point, [[drawn.random() < rate for _ in range(4)] for _ in range(40)]))
    leave(tmp_path, points, outcomes)
    objective = "0.5*pass@1 + 0.5*pass@4"
    choose_best(tmp_path, BestSettings(objective, subject_to=("pass@4 >= late",)), say=lambda _: None)
    return tmp_path


def test_how_it_was_chosen_is_what_best_found(chosen):
    """Its sentences word for word, without the marks of comments and the lines they were broken into."""
    head = [line[2:] for line in (chosen / "best.yml").read_text().splitlines() if line.startswith("# ")]
    first, second = evidence_of_sweep(merged_of(grid()[1]), chosen).chosen
    assert f"{first} {second}" in " ".join(head)
    assert first.startswith("Chosen for the largest 0.5*pass@1 + 0.5*pass@4 with pass@4 >= late (late at T 1) of 8 ")
    assert first.endswith("on 20 of 40 problems of countdown_passk (seed 0).")
    assert second.startswith("On the other 20: 0.5*pass@1 + 0.5*pass@4 0.")
    assert second.endswith("pass@4 >= late holds.")
    assert "Sample it" not in first + second


def test_the_temperature_of_the_choice_comes_first(chosen):
    """Unless another one is asked for."""
    assert evidence_of_sweep(merged_of(grid()[1]), chosen).temperature == 0.7
    assert evidence_of_sweep(merged_of(grid()[1]), chosen, temperature=1.0).temperature == 1.0


def test_the_choice_of_another_model_is_not_told_of_this_one(chosen):
    """Alpha 0.25 was not chosen, and its temperature is that of no choice."""
    evidence = evidence_of_sweep(merged_of(grid(alphas=(0.25,))[0]), chosen)
    assert (evidence.chosen, evidence.temperature) == ((), 1.0)


def test_a_best_yml_that_best_has_not_written_tells_nothing(chosen):
    """A recipe alone, without the sentences."""
    (chosen / "best.yml").write_text(yaml.safe_dump(grid()[1].recipe()))
    evidence = evidence_of_sweep(merged_of(grid()[1]), chosen)
    assert (evidence.chosen, evidence.temperature) == ((), 1.0)
