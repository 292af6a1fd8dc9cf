"""All numbers that a report shows, computed once: the page and the figures for papers only draw them.

What is not known, such as the interval from a single problem, is None and never NaN.
"""

import math
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from wise_merge.errors import WiseMergeError
from wise_merge.estimators.bias_variance import variance_interval
from wise_merge.methods import METHODS
from wise_merge.points.folder import Results
from wise_merge.points.outcome import Outcome
from wise_merge.points.point import Coordinate, Point, PointCheckpoint
from wise_merge.results.metrics import check_k, metrics
from wise_merge.results.names import cut
from wise_merge.results.summary import Curve, Summary, summarize

#: What the points of a group share: checkpoints, method and dtypes.
_Key = tuple[tuple[PointCheckpoint, ...], str, str | None, str | None]
#: Longest name in legends, in characters.
_LONGEST = 36
#: A curve has every k up to the first number and, beyond it, the second number of values per doubling.
_EVERY_K, _PER_DOUBLING = 16, 4


@dataclass(frozen=True)
class Figure:
    """A mean over problems and the ends of its 95 % interval, None where they are unknown."""

    value: float
    low: float | None
    high: float | None


@dataclass(frozen=True)
class Line:
    """A figure against k: parallel sequences. `name` is `pass@k`, `maj@k`, `best@k`, `pass^k` or a diversity."""

    name: str
    k: tuple[int, ...]
    value: tuple[float, ...]
    low: tuple[float | None, ...]
    high: tuple[float | None, ...]

    def at(self, k: int) -> Figure | None:
        """Return the figure at k, None if the line does not have it."""
        if k not in self.k:
            return None
        i = self.k.index(k)
        return Figure(self.value[i], self.low[i], self.high[i])


@dataclass(frozen=True)
class Ingredient:
    """A checkpoint that is merged.

    Attributes:
        name: as the user wrote it.
        step: of training, None = unknown.
        temperature: that is folded into it before merging; None where the method has none.
    """

    name: str
    step: int | None
    temperature: float | None


@dataclass(frozen=True)
class Group:
    """The points that merge one set of checkpoints: the line from early to late, or a few models without an order.

    Attributes:
        label: short, and no two alike.
        method: what people call it.
        checkpoints: early and late, or those of the soup.
    """

    label: str
    method: str
    checkpoints: tuple[Ingredient, ...]


@dataclass(frozen=True)
class Audit:
    """What may be wrong with the samples of a point.

    Attributes:
        unanswered: share of samples without an answer, None = unknown.
        cut_off: share that was cut at the longest completion allowed, likewise.
        identical: problems with several samples that are all one text, likewise.
        distinct: different completions per sample.
        tokens: per sample.
    """

    unanswered: float | None
    cut_off: float | None
    identical: int | None
    distinct: float
    tokens: float


@dataclass(frozen=True)
class PointNumbers:
    """The numbers of a point on a task.

    Attributes:
        group: its place among `TaskNumbers.groups`.
        alpha: in [0, 1]; None for methods without one.
        unmerged: the place of the checkpoint that the point is as it stands, None for a true merge.
        variant: its place among the models of its group, in the order in which they are shown.
        label: of the model among others of its group, such as alpha 0.5 or the name of a checkpoint.
        mark: the same, where there is little room.
        temperature: of sampling.
        title: for people.
        run: of its samples in the journal.
        problems: how many.
        n: the fewest samples of a problem.
        n_high: the most.
        max_tokens: of the longest completion allowed, None = unknown.
        stopped: why there are fewer samples than asked for, None = all are there.
        lines: figures against k.
        bias: E[1 - rho].
        variance: Var(rho), None where a problem or its sample is the only one.
        histogram: problems by share of correct samples, in equal bins from 0 to 1.
        drawn: samples of each problem, in the order of `TaskNumbers.problems`; 0 = not in this point.
        correct: how many of them are.
        audit: see there.
    """

    group: int
    alpha: float | None
    unmerged: int | None
    variant: int
    label: str
    mark: str
    temperature: float
    title: str
    run: str
    problems: int
    n: int
    n_high: int
    max_tokens: int | None
    stopped: str | None
    lines: tuple[Line, ...]
    bias: Figure
    variance: Figure | None
    histogram: tuple[int, ...]
    drawn: tuple[int, ...]
    correct: tuple[int, ...]
    audit: Audit

    def line(self, name: str) -> Line | None:
        """Return the line of a figure, None if there is none."""
        return next((line for line in self.lines if line.name == name), None)


@dataclass(frozen=True)
class Problem:
    """A problem: its id, what answers are compared with, and the id of its prompt in the journal."""

    id: str
    gold: str
    prompt: str


@dataclass(frozen=True)
class TaskNumbers:
    """The numbers of a task.

    Attributes:
        name: of the task.
        k: K of the plane.
        problems: in the order of the task.
        on_line: whether the points of each group lie on a line, from early to late by alpha.
        groups: in the order of training.
        points: that have been sampled, by group, temperature and variant.
        missing: titles of those that have not.
    """

    name: str
    k: int
    problems: tuple[Problem, ...]
    on_line: bool
    groups: tuple[Group, ...]
    points: tuple[PointNumbers, ...]
    missing: tuple[str, ...]


@dataclass(frozen=True)
class Numbers:
    """The numbers of a sweep.

    Attributes:
        folder: its name.
        samples: K, how many samples of each problem are asked for.
        tasks: those with any outcome.
        unsampled: tasks without.
    """

    folder: str
    samples: int
    tasks: tuple[TaskNumbers, ...]
    unsampled: tuple[str, ...]


#: Passes items on, and may show progress.
Watch = Callable[[Collection[Any]], Iterable[Any]]


def numbers_of(
    results: Results,
    *,
    k: int | None = None,
    tasks: Sequence[str] = (),
    seed: int = 0,
    watch: Watch = lambda items: items,
) -> Numbers:
    """Return all numbers of a sweep, finished or not.

    Args:
        results: with at least one outcome.
        k: K of the plane; None = the most that all points have which have more than one sample of each problem.
        tasks: those wanted; none = all.
        seed: of whatever is drawn.
        watch: sees the outcomes pass.
    """
    unknown = [task for task in tasks if task not in results.tasks]
    if unknown:
        raise WiseMergeError(f"{results.folder} has no task {unknown[0]!r}; it has {', '.join(results.tasks)}")
    wanted = [task for task in results.tasks if task in tasks or not tasks]
    sampled = [outcome for outcome in results.outcomes if outcome.task in wanted and outcome.n > 0]
    if not sampled:
        raise WiseMergeError(
            f"no point in {results.folder} has been sampled yet; `wise-merge sweep` does it, and a report can be made "
            "as soon as the first point is there"
        )
    most = max(outcome.n for outcome in sampled)
    if k is not None and not 1 <= k <= most:
        raise WiseMergeError(f"-k must lie in [1, {most}], the most samples that a point has; got {k}")
    found: dict[str, list[tuple[Outcome, Summary]]] = {}
    for outcome in watch(sampled):
        facts = outcome.facts()
        reported = check_k(facts, None)
        summary = summarize(facts, metrics(facts, reported, seed=seed)[0], reported, seed=seed)
        found.setdefault(outcome.task, []).append((outcome, summary))
    return Numbers(
        results.folder.resolve().name,
        results.samples,
        tuple(_of_task(results, task, found[task], k) for task in wanted if task in found),
        tuple(task for task in wanted if task not in found),
    )


def _of_task(results: Results, task: str, found: Sequence[tuple[Outcome, Summary]], k: int | None) -> TaskNumbers:
    if k is None:
        k = min((outcome.n for outcome, _ in found if outcome.n > 1), default=1)
    problems: dict[str, Problem] = {}
    for outcome, _ in found:
        for one in outcome.problems:
            problems.setdefault(one.id, Problem(one.id, one.gold, one.prompt))
    groups: dict[_Key, list[Point]] = {}
    for point in sorted(results.points, key=_step):
        groups.setdefault(_key(point), []).append(point)
    keys = list(groups)
    points = [
        _of_point(outcome, summary, keys.index(key), groups[key], list(problems), _shown_k(outcome.n, k))
        for outcome, summary in found
        for key in [_key(outcome.point)]
    ]
    there = {outcome.point for outcome, _ in found}
    firsts = [some[0] for some in groups.values()]
    return TaskNumbers(
        task,
        k,
        tuple(problems.values()),
        all(point.alpha is not None for point in results.points),
        tuple(_group(point, label) for point, label in zip(firsts, _labels(firsts), strict=True)),
        tuple(sorted(points, key=lambda point: (point.group, point.temperature, point.variant))),
        tuple(point.title for point in results.points if point not in there),
    )


def _group(point: Point, label: str) -> Group:
    method = METHODS[point.method]
    balanced = method.parameter("temperature") is not None
    return Group(
        label,
        method.title,
        tuple(Ingredient(one.name, one.step, one.temperature if balanced else None) for one in point.checkpoints),
    )


def _of_point(
    outcome: Outcome,
    summary: Summary,
    group: int,
    members: Sequence[Point],
    problems: Sequence[str],
    shown: Sequence[int],
) -> PointNumbers:
    point = outcome.point
    label, mark = _called(point)
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
        group=group,
        alpha=point.alpha,
        unmerged=point.unmerged,
        variant=_variants(members).index(point.coordinates),
        label=label,
        mark=mark,
        temperature=point.temperature,
        title=point.title,
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


def _step(point: Point) -> tuple[bool, int]:
    """Return what puts points into the order of training; where there is no line, of one group."""
    return point.late.step is None, point.late.step or 0


def _key(point: Point) -> _Key:
    return point.checkpoints, point.method, point.dtype, point.out_dtype


def _variants(points: Sequence[Point]) -> list[tuple[Coordinate, ...]]:
    """Return the different models of a group: by alpha, or the checkpoints themselves and then their merges."""

    def place(point: Point) -> float:
        if point.alpha is not None:
            return point.alpha
        return len(point.checkpoints) if point.unmerged is None else point.unmerged

    return list(dict.fromkeys(point.coordinates for point in sorted(points, key=place)))


def _called(point: Point) -> tuple[str, str]:
    """Return the label and the mark of a point; see `PointNumbers`."""
    if point.alpha is None:
        names = cut(point.called, _LONGEST)
        name = point.merge_title(short=True) if point.unmerged is None else names[point.unmerged]
        return name, name
    alpha = f"alpha {point.alpha:g}"
    return (alpha, f"{point.alpha:g}") if point.reference is None else (f"{point.reference} ({alpha})", point.reference)


def _labels(points: Sequence[Point]) -> list[str]:
    """Return what groups are called: by the late checkpoint, or the merge, and by more where that is not enough.

    Args:
        points: one of each group.
    """
    candidates: list[list[str]] = [
        [Path(point.late.name).name or point.late.name for point in points],
        [point.late.name for point in points],
        [f"{point.late.name}, {point.method}" for point in points],
        [f"{point.early.name} to {point.late.name}" for point in points],
    ]
    if any(point.alpha is None for point in points):
        candidates = [
            [f"{point.method} of {len(point.checkpoints)}" for point in points],
            [f"{point.method} of {', '.join(point.called)}" for point in points],
        ]
    unlike = (labels for labels in candidates if len(set(labels)) == len(labels))
    return cut(next(unlike, candidates[-1]), _LONGEST)
