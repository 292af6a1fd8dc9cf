"""What a sweep prints: what it will do, and what came of it."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from wise_merge.estimators.pass_at_k import pass_at_k_curves
from wise_merge.estimators.uncertainty import standard_error
from wise_merge.methods import METHODS
from wise_merge.points.outcome import Outcome
from wise_merge.points.point import Point, PointCheckpoint
from wise_merge.results.cells import with_error
from wise_merge.search.sweep.grid import axes_of
from wise_merge.search.sweep.plan import Plan
from wise_merge.text import size, table


def of_plan(plan: Plan) -> str:
    """Return in two lines which points are sampled."""
    settings, early = plan.settings, plan.points[0].early
    lates = list(dict.fromkeys(one for point in plan.points for one in point.checkpoints[1:]))
    models = {point.model for point in plan.points}
    steps = ["" if one.step is None else f" (step {one.step})" for one in (early, *lates)]
    named = ", ".join(f"{one.name}{step}" for one, step in zip(lates, steps[1:], strict=True))
    temperatures = ", ".join(f"{temperature:g}" for temperature in settings.temperatures)
    axes = _axes(plan)
    if METHODS[settings.method].line:
        whom = f"early {early.name}{steps[0]} and late {named}"
        grid = axes or f"alpha {', '.join(f'{alpha:g}' for alpha in (0.0, *settings.alphas, 1.0))}"
    else:
        whom = f"{early.name}{steps[0]}{', ' if lates else ''}{named}"
        grid = f"{axes or settings.method} and {'each' if lates else 'the'} checkpoint itself"
    return (
        f"{settings.method} of {whom}; {size(plan.model_bytes)} a model\n"
        f"{grid} x temperature {temperatures}: {len(plan.points)} points of {len(models)} models, "
        f"{settings.samples} samples per problem of {', '.join(settings.tasks)}"
    )


def _axes(plan: Plan) -> str:
    """Return which values a grid gives which numbers of the recipe; empty without a grid."""
    settings, point = plan.settings, plan.points[0]
    if settings.recipe is None:
        return ""
    ends = {0.0, 1.0}
    parts = []
    for one, axis in zip(point.varied, axes_of(settings.recipe, settings.grid), strict=True):
        values = {*axis.values, *(ends if axis.parameter == METHODS[settings.method].line else ())}
        parts.append(f"{point.label(one)} {', '.join(f'{value:g}' for value in sorted(values))}")
    return " x ".join(parts)


def of_outcomes(outcomes: Sequence[Outcome]) -> str:
    """Return a line per point and task: Pass@1 and Pass@n with standard errors over problems."""
    blocks = []
    for task in dict.fromkeys(outcome.task for outcome in outcomes):
        some = [outcome for outcome in outcomes if outcome.task == task]
        n = min(outcome.n for outcome in some)
        shown = sorted({1, n})
        head = [*_head(some[0].point), "T", *(f"pass@{k}" for k in shown), "n"]
        rows = [head, *(_row(outcome, shown) for outcome in some)]
        judged = "".join(f", right by {by}" for by in {one.judged_by: None for one in some} if by)
        blocks.append("\n".join([f"\n{task}, {len(some[0].problems)} problems{judged}", *table(rows)]))
    return "\n".join(blocks)


def _row(outcome: Outcome, shown: Sequence[int]) -> list[str]:
    point = outcome.point
    correct = np.array([sum(problem.correct[: outcome.n]) for problem in outcome.problems])
    curves = pass_at_k_curves(outcome.n, correct)
    errors = standard_error(curves)
    cells = [with_error(curves[:, k - 1].mean(), errors[k - 1]) for k in shown]
    return [*_where(point), f"{point.temperature:g}", *cells, str(outcome.n)]


def _head(point: Point) -> list[str]:
    """Return the columns that say which model of its sweep a point is."""
    line = METHODS[point.method].line
    beside = [point.label(one) for one in point.varied if one.parameter != line]
    return [*(["model", "step"] if line is None else ["late", "step", line]), *beside]


def _where(point: Point) -> list[str]:
    if point.alpha is not None:
        beside = [f"{one.value:g}" for one in point.varied if one.parameter != METHODS[point.method].line]
        return [Path(point.late.name).name, _step(point.late), f"{point.alpha:g}", *beside]
    if point.unmerged is not None:
        return [point.called[point.unmerged], _step(point.checkpoints[point.unmerged]), *("-" for _ in point.varied)]
    of = point.called[0] if len(point.checkpoints) == 1 else str(len(point.checkpoints))
    return [f"{point.method} of {of}", "-", *(f"{one.value:g}" for one in point.varied)]


def _step(checkpoint: PointCheckpoint) -> str:
    return "-" if checkpoint.step is None else str(checkpoint.step)


def of_stopped(stopped: Mapping[Point, str], outcomes_of: Mapping[Point, Sequence[Outcome]], samples: int) -> str:
    """Return how many points were stopped and why, and what that saved."""
    saved = {
        (point.model, point.temperature): sum((samples - one.n) * len(one.problems) for one in outcomes_of[point])
        for point in stopped
    }
    whole = {
        (point.model, point.temperature): sum(samples * len(one.problems) for one in outcomes)
        for point, outcomes in outcomes_of.items()
    }
    reasons = {"dominated": "dominated by another point", "interval": "with an interval narrow enough"}
    counts = [
        f"{sum(why == reason for why in stopped.values())} {text}"
        for reason, text in reasons.items()
        if reason in stopped.values()
    ]
    return (
        f"\nStopped early: {' and '.join(counts)}; saved {sum(saved.values()):,} of {sum(whole.values()):,} samples "
        f"({sum(saved.values()) / sum(whole.values()):.0%})."
    )
