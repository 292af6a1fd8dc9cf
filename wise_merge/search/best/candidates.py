"""The points of a sweep that can be chosen, with their figures on the same problems in the same order."""

import dataclasses
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from wise_merge.errors import WiseMergeError
from wise_merge.points import Outcome, Point, Results
from wise_merge.points.outcome import OWN_LOGPROB
from wise_merge.results.verdicts import JudgedProblem
from wise_merge.search.best.figures import figure_of_problems
from wise_merge.search.best.objective import ENDS, Figure, Objective

#: Number of points that a message lists by name.
_SHOWN = 4
#: The model and the temperature of sampling, which identify a candidate.
_Key = tuple[str, float]


@dataclass(frozen=True)
class Candidates:
    """The points that can be chosen, each model once, in an order that depends on nothing but the points.

    Attributes:
        points: (C) late first: where all else is equal, the one with the larger alpha comes first, and where there is
            no alpha, a checkpoint comes before a merge; of a grid the one with the larger coordinates.
        problems: (P) task and id of each.
        tasks: (P,) the task of each problem.
        values: from figure to (C, P) float64.
        samples: (C) the fewest samples of a problem.
        left_out: from a reason to the points that cannot be chosen for it, in words.
    """

    points: tuple[Point, ...]
    problems: tuple[tuple[str, str], ...]
    tasks: np.ndarray
    values: Mapping[Figure, np.ndarray]
    samples: tuple[int, ...]
    left_out: Mapping[str, tuple[str, ...]]

    def value(self, objective: Objective) -> np.ndarray:
        """Return (C, P): a weighted sum of figures on each problem."""
        return np.asarray(sum(weight * self.values[figure] for weight, figure in objective.terms))

    def at(self, point: Point, temperature: float) -> int | None:
        """Return the number of the model of a point at a temperature, None if it is no candidate."""
        key = _key(dataclasses.replace(point, temperature=temperature))
        return next((number for number, one in enumerate(self.points) if _key(one) == key), None)

    def at_all(self, point: Point) -> list[int]:
        """Return the numbers of the model of a point at every temperature."""
        numbers = [self.at(point, temperature) for temperature in sorted({one.temperature for one in self.points})]
        return [number for number in numbers if number is not None]


def title(point: Point) -> str:
    """Return what people read: such as checkpoint-800, alpha 0.3, T 1; a checkpoint as it is goes by its name."""
    if point.unmerged is None:
        return point.title
    # Where a grid varies what is folded into a checkpoint, it is several models.
    own = [one for one in point.varied if (one.parameter, one.checkpoint) == ("temperature", point.unmerged)]
    folded = "".join(f" with temperature {one.value:g}" for one in own)
    return f"{point.called[point.unmerged]} itself{folded}, T {point.temperature:g}"


def roles(point: Point) -> tuple[str, ...]:
    """Return what the checkpoints of a point are to it: early and late where alpha leads between them, else names."""
    return point.called if point.alpha is None else ENDS


#: Passes items on and may show how far it is: from (items, what is done with them) to the items.
Watch = Callable[[Collection[Any], str], Iterable[Any]]


def find_candidates(
    results: Results, tasks: Sequence[str], figures: Sequence[Figure], *, watch: Watch = lambda items, _: items
) -> Candidates:
    """Return the points that have been sampled on all tasks, often enough for all figures, with these figures.

    Args:
        results: of the sweep, which may be unfinished.
        tasks: on which a point is judged.
        figures: that are needed.
        watch: sees the points pass.
    """
    outcomes = _best_sampled(results, tasks)
    if not outcomes:
        raise WiseMergeError(f"no point of {results.folder} has been sampled yet; run the sweep first")
    of_tasks = {task: _problems(outcomes, task) for task in tasks}
    left_out: dict[str, list[str]] = {}
    kept: dict[_Key, tuple[int, dict[Figure, np.ndarray]]] = {}
    points = _points(results)
    for point in watch([alike[0] for alike in points.values()], "points"):
        sampled = [outcomes.get((*_key(point), task)) for task in tasks]
        whole = [outcome for outcome in sampled if outcome is not None]
        reason = None
        if len(whole) < len(sampled):
            reason = "not sampled yet"
        elif any({problem.id for problem in one.problems} != set(of_tasks[one.task]) for one in whole):
            reason = "sampled on other problems"
        if reason is None:
            reason = _too_few(whole, figures)
        facts = [fact for one in whole for fact in _in_order(one)] if reason is None else []
        if any(figure.name == "best" for figure in figures) and any(OWN_LOGPROB not in fact.scores for fact in facts):
            reason = "without the log-probabilities that best@K ranks by"
        if reason is None:
            n = min(fact.n for fact in facts)
            kept[_key(point)] = n, {figure: figure_of_problems(facts, figure) for figure in figures}
        else:
            n = min((outcome.n for outcome in whole), default=0)
            left_out.setdefault(reason, []).append(title(point) + (f": {n}" if reason.startswith("fewer") else ""))
    if not kept:
        raise WiseMergeError(_nothing_left(left_out, list(outcomes.values()), figures))
    problems = [(task, id) for task, ids in of_tasks.items() for id in ids]
    return Candidates(
        tuple(_measured(points[key], kept) for key in kept),
        tuple(problems),
        np.array([task for task, _ in problems]),
        {figure: np.stack([values[figure] for _, values in kept.values()]) for figure in figures},
        tuple(n for n, _ in kept.values()),
        {reason: tuple(points) for reason, points in left_out.items()},
    )


def _key(point: Point) -> _Key:
    return point.model, point.temperature


def _points(results: Results) -> dict[_Key, list[Point]]:
    """Return the points, those of one model at one temperature together, in an order that does not depend on theirs."""

    def order(point: Point) -> tuple[Any, ...]:
        return (*_rank(point), -(point.late.step or 0), point.temperature, point.late.name, point.late.digest)

    alike: dict[_Key, list[Point]] = {}
    for point in sorted(results.points, key=order):
        alike.setdefault(_key(point), []).append(point)
    return alike


def _rank(point: Point) -> tuple[float, ...]:
    values = [-one.value for one in point.varied]
    if point.alpha is not None:
        return 0, -point.alpha, *values
    return (1, *values) if point.unmerged is None else (0, -point.unmerged)


def _measured(alike: Sequence[Point], kept: Collection[_Key]) -> Point:
    """Return as which of its points a model stands: early belongs to the last late checkpoint that has been sampled."""
    ends = [point.at_reference("late") for point in alike]
    temperatures = {temperature for _, temperature in kept}
    sampled = [
        point
        for point, end in zip(alike, ends, strict=True)
        if any((end.model, temperature) in kept for temperature in temperatures)
    ]
    return (sampled or alike)[0]


def _best_sampled(results: Results, tasks: Sequence[str]) -> dict[tuple[str, float, str], Outcome]:
    """Return the outcome of each model, temperature and task; of several the one with the most samples."""
    best: dict[tuple[str, float, str], Outcome] = {}
    for outcome in results.outcomes:
        key = (*_key(outcome.point), outcome.task)
        if outcome.task in tasks and (key not in best or best[key].n < outcome.n):
            best[key] = outcome
    return best


def _problems(outcomes: Mapping[tuple[str, float, str], Outcome], task: str) -> list[str]:
    """Return the ids of a task's problems, sorted: those that most points have, of equally many the larger set."""
    sets: Counter[frozenset[str]] = Counter()
    for outcome in outcomes.values():
        if outcome.task == task:
            ids = [problem.id for problem in outcome.problems]
            twice = [id for id, count in Counter(ids).items() if count > 1]
            if twice:
                raise WiseMergeError(
                    f"task {task} has several problems with the id {twice[0]}, so points cannot be compared problem by "
                    "problem; give every problem an id of its own"
                )
            sets[frozenset(ids)] += 1
    if not sets:
        raise WiseMergeError(f"no point has been sampled on task {task} yet; go on with the sweep, or leave it out")
    return max((count, len(ids), sorted(ids)) for ids, count in sets.items())[2]


def _too_few(outcomes: Sequence[Outcome], figures: Sequence[Figure]) -> str | None:
    needed = max(figure.k for figure in figures)
    return None if min(outcome.n for outcome in outcomes) >= needed else f"fewer than {needed} samples"


def _in_order(outcome: Outcome) -> list[JudgedProblem]:
    return sorted(outcome.facts(), key=lambda fact: fact.id)


def _nothing_left(left_out: Mapping[str, Sequence[str]], outcomes: Sequence[Outcome], figures: Sequence[Figure]) -> str:
    largest = max(figures, key=lambda figure: figure.k)
    most = max(outcome.n for outcome in outcomes)
    if most < largest.k:
        short = sorted({f"{title(one.point)}: {one.n}" for one in outcomes if one.n < most})
        fewer = f", and fewer at {listed(short)}" if short else ""
        return (
            f"{largest} needs {largest.k} samples of each problem, but the points have {most}{fewer}; lower K, or let "
            f"the sweep draw {largest.k}"
        )
    reasons = "; ".join(f"{reason}: {listed(points)}" for reason, points in left_out.items())
    return f"no point can be chosen; {reasons}"


def listed(points: Sequence[str]) -> str:
    """Return names for a line of text: all of a few, else the first ones and how many more there are."""
    more = f" and {len(points) - _SHOWN} more" if len(points) > _SHOWN else ""
    return "; ".join(points[:_SHOWN]) + more
