"""The numbers of a report, computed once from the outcomes of a sweep by the estimators; `numbers` is their shape."""

import math
from collections.abc import Callable, Collection, Iterable, Sequence
from typing import Any

import numpy as np

from wise_merge.errors import WiseMergeError
from wise_merge.estimators.bias_variance import variance_interval
from wise_merge.methods import METHODS
from wise_merge.points.best import BestChoice
from wise_merge.points.folder import Results
from wise_merge.points.outcome import Outcome
from wise_merge.points.point import Point
from wise_merge.points.soup import Soup
from wise_merge.points.summary import summary_of
from wise_merge.report.groups import (
    Layout,
    Model,
    axis_title,
    group_labels,
    grouped,
    ingredients_of,
    label_and_mark,
    model_of,
    place_of,
    title_of,
    variants,
)
from wise_merge.report.numbers import (
    Audit,
    Figure,
    Group,
    Ingredient,
    Line,
    Numbers,
    PointNumbers,
    Problem,
    TaskNumbers,
)
from wise_merge.report.opening import opening_of
from wise_merge.report.opening.chosen import is_of
from wise_merge.results.summary import Curve, Summary

#: A curve has every k up to the first number and, beyond it, the second number of values per doubling.
_EVERY_K, _PER_DOUBLING = 16, 4

#: Passes items on, and may show progress.
Watch = Callable[[Collection[Any]], Iterable[Any]]


def numbers_of(
    results: Results,
    *,
    best: BestChoice | None = None,
    soup: Soup | None = None,
    k: int | None = None,
    tasks: Sequence[str] = (),
    seed: int = 0,
    watch: Watch = lambda items: items,
) -> Numbers:
    """Return all numbers of a sweep, finished or not.

    Args:
        results: with at least one outcome.
        best: what was last chosen there, None = nothing yet.
        soup: how the greedy soup of the results was made, None = there is none.
        k: K of the plane; None = the most that all points have which have more than one sample of each problem.
        tasks: those to report; none = all.
        seed: of whatever is drawn.
        watch: sees the outcomes pass.
    """
    unknown = [task for task in tasks if task not in results.tasks]
    if unknown:
        raise WiseMergeError(f"{results.folder} has no task {unknown[0]!r}; it has {', '.join(results.tasks)}")
    asked = [task for task in results.tasks if task in tasks or not tasks]
    sampled = [outcome for outcome in results.outcomes if outcome.task in asked and outcome.n > 0]
    if not sampled:
        raise WiseMergeError(
            f"no point in {results.folder} has been sampled yet; `wise-merge sweep` does it, and a report can be made "
            "as soon as the first point is there"
        )
    most = max(outcome.n for outcome in sampled)
    if k is not None and not 1 <= k <= most:
        raise WiseMergeError(f"-k must lie in [1, {most}], the most samples that a point has; got {k}")
    by_task: dict[str, list[tuple[Outcome, Summary]]] = {}
    for outcome in watch(sampled):
        by_task.setdefault(outcome.task, []).append((outcome, summary_of(outcome, seed=seed)))
    chosen = _chosen(results, best, soup)
    return Numbers(
        results.folder.resolve().name,
        opening_of(results, best, soup),
        results.samples,
        tuple(_of_task(results, task, by_task[task], k, chosen) for task in asked if task in by_task),
        tuple(task for task in asked if task not in by_task),
        soup,
    )


def _chosen(results: Results, best: BestChoice | None, soup: Soup | None) -> frozenset[tuple[str, float]]:
    """Return model and temperature of what was chosen: by `wise-merge best`, else by `wise-merge soup`."""
    if best is not None and best.chosen is not None and is_of(results, best):
        return frozenset({(best.chosen.model, best.chosen.temperature)})
    if soup is None:
        return frozenset()
    return frozenset(
        (point.model, point.temperature)
        for point in results.points
        if set(_mean_of(point)) == set(soup.chosen.ingredients)
    )


def _mean_of(point: Point) -> list[str]:
    """Return the names of the checkpoints whose plain mean a point is; none if it is no such mean."""
    counting = [one for one in point.coordinates if one.value]
    if len({one.value for one in counting}) != 1:
        return []
    return [point.checkpoints[one.checkpoint].name for one in counting if one.checkpoint is not None]


def _of_task(
    results: Results,
    task: str,
    summarized: Sequence[tuple[Outcome, Summary]],
    k: int | None,
    chosen: Collection[tuple[str, float]],
) -> TaskNumbers:
    if k is None:
        k = min((outcome.n for outcome, _ in summarized if outcome.n > 1), default=1)
    problems: dict[str, Problem] = {}
    for outcome, _ in summarized:
        for one in outcome.problems:
            problems.setdefault(one.id, Problem(one.id, one.gold, one.prompt))
    groups = grouped(results.points)
    group_of = {point: number for number, group in enumerate(groups) for point in group.points}
    models = [variants(group) for group in groups]
    points = [
        _of_point(
            outcome, summary, number, groups[number], models[number], list(problems), _shown_k(outcome.n, k), chosen
        )
        for outcome, summary in summarized
        for number in [group_of[outcome.point]]
    ]
    sampled = {outcome.point for outcome, _ in summarized}
    return TaskNumbers(
        task,
        k,
        tuple(problems.values()),
        all(group.on_line for group in groups),
        tuple(_group(group, label) for group, label in zip(groups, group_labels(groups), strict=True)),
        tuple(sorted(points, key=lambda point: (point.group, point.temperature, point.variant))),
        tuple(title_of(point, groups[group_of[point]]) for point in results.points if point not in sampled),
        next((outcome.judged_by for outcome, _ in summarized if outcome.judged_by), None),
    )


def _group(group: Layout, label: str) -> Group:
    method = METHODS[group.points[0].method]
    balanced = method.parameter("temperature") is not None
    return Group(
        label,
        method.title,
        tuple(Ingredient(one.name, one.step, one.temperature if balanced else None) for one in group.checkpoints),
        tuple(axis_title(axis, group) for axis in group.axes),
    )


def _of_point(
    outcome: Outcome,
    summary: Summary,
    number: int,
    group: Layout,
    models: Sequence[Model],
    problems: Sequence[str],
    shown: Sequence[int],
    chosen: Collection[tuple[str, float]],
) -> PointNumbers:
    point = outcome.point
    label, mark = label_and_mark(point, group)
    place, variant = place_of(point, group), models.index(model_of(point))
    ingredients = ingredients_of(point, group)
    by_id = {problem.id: problem for problem in outcome.problems}
    drawn = [by_id[id_].n if id_ in by_id else 0 for id_ in problems]
    correct = [sum(by_id[id_].correct) if id_ in by_id else 0 for id_ in problems]
    passed = summary.curve("pass@k")
    assert passed is not None
    low, high = _known(passed.low[0]), _known(passed.high[0])
    bias = Figure(summary.bias, None if high is None else 1 - high, None if low is None else 1 - low)
    variance = None
    if not math.isnan(summary.variance):
        ends = variance_interval(
            np.array([one.n for one in outcome.problems]), np.array([sum(one.correct) for one in outcome.problems])
        )
        variance = Figure(summary.variance, *map(_known, ends))
    samples = sum(one.n for one in outcome.problems)
    return PointNumbers(
        group=number,
        alpha=point.alpha if group.on_line else None,
        place=place,
        ingredients=ingredients,
        unmerged=None if point.unmerged is None else ingredients[0],
        variant=variant,
        shade=None if place is None else place[0] if group.on_line else variant / max(1, len(models) - 1),
        label=label,
        mark=mark,
        temperature=point.temperature,
        title=title_of(point, group),
        chosen=(point.model, point.temperature) in chosen,
        run=outcome.run,
        problems=summary.problems,
        n=summary.n_low,
        n_high=summary.n_high,
        max_tokens=outcome.max_tokens,
        stopped=outcome.stopped,
        lines=tuple(_line(curve, shown) for curve in summary.curves),
        bias=bias,
        variance=variance,
        histogram=summary.histogram,
        drawn=tuple(drawn),
        correct=tuple(correct),
        audit=Audit(
            summary.unanswered,
            summary.cut_off,
            summary.identical,
            sum(one.distinct for one in outcome.problems) / samples,
            sum(one.tokens for one in outcome.problems) / samples,
        ),
    )


def _line(curve: Curve, shown: Sequence[int]) -> Line:
    at = [(k, curve.at(k)) for k in shown if k in curve.k]
    return Line(
        curve.name,
        tuple(k for k, _ in at),
        tuple(estimate.value for _, estimate in at),
        tuple(_known(estimate.low) for _, estimate in at),
        tuple(_known(estimate.high) for _, estimate in at),
    )


def _known(number: float) -> float | None:
    return None if math.isnan(number) else number


def _shown_k(n: int, k: int) -> list[int]:
    """Return at which k curves up to n have a place, K of the plane and n among them."""
    steps = range(math.ceil(math.log2(max(n, 1)) * _PER_DOUBLING) + 1)
    spread = {round(2 ** (step / _PER_DOUBLING)) for step in steps}
    return sorted(one for one in {*range(1, _EVERY_K + 1), *spread, k, n} if one <= n)
