"""What the figures of a report share: how points look, what they are called, and what a legend says of n."""

from collections.abc import Sequence
from itertools import groupby
from typing import Any

from wise_merge.figures.drawing import COLOURS
from wise_merge.report.numbers import Figure, PointNumbers, TaskNumbers

#: From early to late: the dark four fifths of `plasma`, told apart by colour-blind readers and in grey, too.
ALPHA_COLOURS = ("#0d0887", "#6a00a8", "#b12a90", "#e16462", "#f89540")
LINE = 1.6  # points
OVER_PROBLEMS = "95 % interval over problems"


def paths_of(points: Sequence[PointNumbers]) -> list[list[PointNumbers]]:
    """Return the points of each group and temperature, in order."""
    return [list(some) for _, some in groupby(points, key=lambda point: (point.group, point.temperature))]


def is_hollow(point: PointNumbers) -> bool:
    """Return whether the plane shows a point without filling: early on a line, every checkpoint elsewhere."""
    return point.unmerged is not None if point.alpha is None else point.alpha == 0


def bars(figures: Sequence[Figure]) -> list[list[float]]:
    """Return how far the intervals reach below and above the values."""
    return [
        [0.0 if one.low is None else max(0.0, one.value - one.low) for one in figures],
        [0.0 if one.high is None else max(0.0, one.high - one.value) for one in figures],
    ]


def size_text(task: TaskNumbers, points: Sequence[PointNumbers] | None = None) -> str:
    """Return the task, how many problems it has, and n."""
    some = task.points if points is None else points
    problems = sorted({point.problems for point in some})
    n = sorted({n for point in some for n in (point.n, point.n_high)})
    low, high = problems[0], problems[-1]
    of = f"{low:,} problem{'' if high == 1 else 's'}" if low == high else f"{low:,} to {high:,} problems"
    return f"{task.name}, {of}, n = {n[0]:,}" + (f" to {n[-1]:,}" if len(n) > 1 else "")


def n_text(point: PointNumbers) -> str:
    """Return how many samples of each problem there are: "32", or "8 to 32" where they differ."""
    return f"{point.n:,}" if point.n == point.n_high else f"{point.n:,} to {point.n_high:,}"


def path_label(task: TaskNumbers, path: Sequence[PointNumbers]) -> str:
    """Return the label of the points of one group and temperature."""
    temperature = f"T {path[0].temperature:g}"
    if not task.on_line and len(task.groups) == 1:
        return temperature
    return f"{task.groups[path[0].group].label}, {temperature}"


def label_in_group(task: TaskNumbers, point: PointNumbers) -> str:
    """Return the label of a point, with that of its group where there are several."""
    return point.label if len(task.groups) == 1 else f"{task.groups[point.group].label}: {point.label}"


def colour_of(point: PointNumbers) -> Any:
    """Return the colour of a point by its alpha, else by its place among the models of its group."""
    from matplotlib.colors import LinearSegmentedColormap

    if point.alpha is None:
        return COLOURS[point.variant % len(COLOURS)]
    return LinearSegmentedColormap.from_list("alpha", ALPHA_COLOURS)(point.alpha)


def halfway(points: Sequence[PointNumbers]) -> list[float]:
    """Return the alpha next to 0.5, if there is one between the ends."""
    alphas = {point.alpha for point in points if point.alpha is not None}
    return sorted(alphas - {0, 1}, key=lambda alpha: (abs(alpha - 0.5), alpha))[:1]
