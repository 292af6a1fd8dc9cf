"""All numbers that a report shows, as `computing` makes them; the page and the figures for papers only draw them.

What is not known, such as the interval from a single problem, is None and never NaN.
"""

from dataclasses import dataclass

from wise_merge.points.soup import Soup


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
        axes: titles of the coordinates along which the points lie: alpha, or one or two others; none where the models
            have no order.
    """

    label: str
    method: str
    checkpoints: tuple[Ingredient, ...]
    axes: tuple[str, ...]


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
        alpha: in [0, 1]; None where it is not what leads from early to late.
        place: the values on the axes of the group; None for a point that lies on none.
        ingredients: which checkpoints of the group the model has a part of, by their places.
        unmerged: the place of the checkpoint that the point is as it stands, None for a true merge.
        variant: its place among the models of its group, in the order in which they are shown.
        shade: where in [0, 1] its colour lies between those of the first and the last of its line or plane; None for
            the colour of `variant`.
        label: of the model among others of its group, such as alpha 0.5 or the name of a checkpoint.
        mark: the same, where there is little room.
        temperature: of sampling.
        title: for people.
        chosen: whether it is what `wise-merge best` chose, or else `wise-merge soup`.
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
    place: tuple[float, ...] | None
    ingredients: tuple[int, ...]
    unmerged: int | None
    variant: int
    shade: float | None
    label: str
    mark: str
    temperature: float
    title: str
    chosen: bool
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

    def at(self, name: str, k: int) -> Figure | None:
        """Return a figure at k, None if its line does not have it or there is none."""
        line = self.line(name)
        return None if line is None else line.at(k)


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
        judged_by: the metric and task of lm-eval that say which samples are right, None = one of our benchmarks.
    """

    name: str
    k: int
    problems: tuple[Problem, ...]
    on_line: bool
    groups: tuple[Group, ...]
    points: tuple[PointNumbers, ...]
    missing: tuple[str, ...]
    judged_by: str | None = None


@dataclass(frozen=True)
class Statement:
    """A paragraph of what the results say, and the command that it leads to, if any; code stands between backticks."""

    text: str
    command: str | None = None


@dataclass(frozen=True)
class Numbers:
    """The numbers of a sweep.

    Attributes:
        folder: its name.
        opening: what was done, what was chosen, what it is worth and what to do.
        samples: K, how many samples of each problem are asked for.
        tasks: those with any outcome.
        unsampled: tasks without.
        soup: how the greedy soup was made, None where there is none.
    """

    folder: str
    opening: tuple[Statement, ...]
    samples: int
    tasks: tuple[TaskNumbers, ...]
    unsampled: tuple[str, ...]
    soup: Soup | None
