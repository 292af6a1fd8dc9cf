"""What the figures of a report share: how points look, what they are called, and what a legend says of n."""

from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import Any

from wise_merge.figures.drawing import COLOURS
from wise_merge.report.numbers import Figure, PointNumbers, TaskNumbers

#: From early to late: the dark four fifths of `plasma`, told apart by colour-blind readers and in grey, too.
ALPHA_COLOURS = ("#0d0887", "#6a00a8", "#b12a90", "#e16462", "#f89540")
LINE = 1.6  # points
OVER_PROBLEMS = "95 % interval over problems"
#: The ring around what was chosen.
CHOSEN: Mapping[str, Any] = {
    "label": "chosen",
    "marker": "o",
    "markersize": 13,
    "markerfacecolor": "none",
    "markeredgecolor": "#000000",
    "markeredgewidth": 1.4,
    "linestyle": "none",
    "zorder": 5,
}


def paths_of(points: Sequence[PointNumbers]) -> list[list[PointNumbers]]:
    """Return the points of each group and temperature, in order."""
    return [list(some) for _, some in groupby(points, key=lambda point: (point.group, point.temperature))]


def lines_of(points: Sequence[PointNumbers]) -> list[list[PointNumbers]]:
    """Return the points that a line joins, along the first axis of their group; one that lies on no axis is alone."""

    def line(point: PointNumbers) -> tuple[Any, ...]:
        return point.group, point.temperature, point.variant if point.place is None else point.place[1:]

    return [list(some) for _, some in groupby(points, key=line)]


def is_model(line: Sequence[PointNumbers]) -> bool:
    """Return whether a line is none but a model by itself, such as a checkpoint as it is."""
    point = line[0]
    return point.place is None or (point.alpha is None and len(line) == 1 and point.unmerged is not None)


def labelled(lines: Sequence[Sequence[PointNumbers]]) -> list[tuple[PointNumbers, bool]]:
    """Return the points of lines that bear a label and whether they are ends, which need it; each model once.

    Between the ends there are labels along a single line only. A model that several temperatures show is labelled at
    the one nearest to 1, its own distribution.
    """
    joined = [line for line in lines if not is_model(line)]
    alone = len({(line[0].group, (line[0].place or ())[1:]) for line in joined}) == 1
    ends = [point for line in joined for point in line if point in (line[0], line[-1])]
    between = [point for line in joined for point in line if point not in ends] if alone else []
    by_model: dict[tuple[int, int], PointNumbers] = {}
    for point in sorted([*ends, *between], key=lambda point: (abs(point.temperature - 1), point.temperature)):
        by_model.setdefault((point.group, point.variant), point)
    # A checkpoint that several groups have is one model.
    by_run = {point.run: point for point in reversed(by_model.values())}
    named = sorted(by_run.values(), key=lambda point: (point not in ends, point.group, point.variant))
    return [(point, point in ends) for point in named]


def is_hollow(point: PointNumbers) -> bool:
    """Return whether the plane shows a point without filling: early along alpha, every checkpoint elsewhere."""
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


def path_label(task: TaskNumbers, line: Sequence[PointNumbers]) -> str:
    """Return the label of a line among those of several temperatures."""
    name, temperature = line_name(task, line), f"T {line[0].temperature:g}"
    return f"{name}, {temperature}" if name else temperature


def line_name(task: TaskNumbers, line: Sequence[PointNumbers]) -> str:
    """Return what tells a line from others of its temperature: group or second coordinate; empty for the only one."""
    point = line[0]
    group = task.groups[point.group]
    parts = [group.label] if task.on_line or len(task.groups) > 1 else []
    parts += [f"{group.axes[1]} {point.place[1]:g}"] if point.place is not None and len(group.axes) > 1 else []
    return ", ".join(parts)


def label_in_group(task: TaskNumbers, point: PointNumbers) -> str:
    """Return the label of a point, with that of its group where there are several."""
    return point.label if len(task.groups) == 1 else f"{task.groups[point.group].label}: {point.label}"


def colour_of(point: PointNumbers) -> Any:
    """Return the colour of a point by its place on its line or plane, else among the models of its group."""
    from matplotlib.colors import LinearSegmentedColormap

    if point.shade is None:
        return COLOURS[point.variant % len(COLOURS)]
    return LinearSegmentedColormap.from_list("alpha", ALPHA_COLOURS)(point.shade)


def halfway(points: Sequence[PointNumbers]) -> list[float]:
    """Return the alpha next to 0.5, if there is one between the ends."""
    alphas = {point.alpha for point in points if point.alpha is not None}
    return sorted(alphas - {0, 1}, key=lambda alpha: (abs(alpha - 0.5), alpha))[:1]
