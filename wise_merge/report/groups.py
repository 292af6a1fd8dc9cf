"""Which points of a sweep are shown together, in which order, and what points and groups are called."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from wise_merge.methods import METHODS
from wise_merge.points.point import Coordinate, Point, PointCheckpoint, unlike_parts
from wise_merge.results.names import cut

#: What tells a model from the others of its group.
Model = tuple[tuple[PointCheckpoint, ...], tuple[Coordinate, ...]]
#: Longest name in legends, in characters.
_LONGEST = 36


@dataclass(frozen=True)
class Axis:
    """A number that a merge method is given and that differs between the merges of a group.

    Attributes:
        parameter: its name.
        checkpoint: for which it holds, None = the whole merge.
    """

    parameter: str
    checkpoint: PointCheckpoint | None


@dataclass(frozen=True)
class Layout:
    """How the points of a group lie to each other.

    Attributes:
        points: of the group.
        on_line: whether nothing but alpha tells them apart, along which they lie from early to late.
        checkpoints: early and late, or all that are merged in any point.
        called: what people read of each: the last part of its name, or what tells it from the others.
        varying: what differs between the merges.
        subsets: whether merges differ only in which checkpoints they have.
        merged: what such merges are called: by their checkpoints, no two alike.
        common: what the merges are given -> the values that occur.
    """

    points: tuple[Point, ...]
    on_line: bool
    checkpoints: tuple[PointCheckpoint, ...]
    called: tuple[str, ...]
    varying: tuple[Axis, ...]
    subsets: bool
    merged: Mapping[Model, str]
    common: Mapping[Axis, frozenset[float | None]]

    @property
    def axes(self) -> tuple[Axis, ...]:
        """The coordinates along which the points lie, one or two; none where they have no such order.

        Checkpoints as they are do not count, for each of which the weights of all others are 0, nor do weights that
        say no more than which checkpoints are merged.
        """
        if self.on_line:
            return tuple(_values(self.points[0]))
        return () if len(self.varying) > 2 or self.subsets else self.varying


def grouped(points: Iterable[Point]) -> list[Layout]:
    """Return the points that are shown together: those of the same checkpoints, in the order of training.

    Where no checkpoints have more than one merge, as in a greedy soup, all points are one group.
    """
    found: dict[tuple[object, ...], list[Point]] = {}
    for point in sorted(points, key=_step):
        found.setdefault((point.checkpoints, point.method, point.dtype, point.out_dtype), []).append(point)
    groups = list(found.values())
    everything = [point for some in groups for point in some]
    single = all(len({point.coordinates for point in some if point.unmerged is None}) <= 1 for some in groups)
    return [layout_of(some) for some in ([everything] if single and not _on_line(everything) else groups)]


def layout_of(points: Sequence[Point]) -> Layout:
    """Return how points that are shown together lie to each other."""
    longest = max(points, key=lambda point: len(point.checkpoints))
    checkpoints = dict.fromkeys([*longest.checkpoints, *(one for point in points for one in point.checkpoints)])
    merges = [_values(point) for point in points if point.unmerged is None]
    every = dict.fromkeys(axis for one in merges for axis in one)
    common = {axis: frozenset(one.get(axis) for one in merges) for axis in every}
    subsets = all(axis.checkpoint is not None and values <= {0, 1, None} for axis, values in common.items())
    called = unlike_parts([one.name for one in checkpoints])
    return Layout(
        points=tuple(points),
        on_line=_on_line(points),
        checkpoints=tuple(checkpoints),
        called=tuple(called),
        varying=tuple(axis for axis, values in common.items() if len(values) > 1),
        subsets=subsets,
        merged=_merged(points, dict(zip(checkpoints, called, strict=True))) if subsets else {},
        common=common,
    )


def _merged(points: Sequence[Point], called: Mapping[PointCheckpoint, str]) -> dict[Model, str]:
    """Return the names of merges by what their checkpoints are called."""
    merges = {
        model_of(point): " + ".join(
            called[point.checkpoints[one.checkpoint]]
            for one in point.coordinates
            if one.checkpoint is not None and one.value
        )
        for point in points
        if point.unmerged is None
    }
    return dict(zip(merges, cut(list(merges.values()), 2 * _LONGEST), strict=True))


def _step(point: Point) -> tuple[bool, int]:
    """Return what puts points into the order of training; where there is no line, of one group."""
    return point.late.step is None, point.late.step or 0


def _on_line(points: Iterable[Point]) -> bool:
    return all(point.alpha is not None and len(point.coordinates) == 1 for point in points)


def _values(point: Point) -> dict[Axis, float]:
    """Return the coordinates of a point by what they are of."""
    return {
        Axis(one.parameter, None if one.checkpoint is None else point.checkpoints[one.checkpoint]): one.value
        for one in point.coordinates
    }


def model_of(point: Point) -> Model:
    """Return what tells the model of a point from the others of its group."""
    return point.checkpoints, point.coordinates


def ingredients_of(point: Point, group: Layout) -> tuple[int, ...]:
    """Return which checkpoints of its group a point has a part of, by their places."""
    weighted = {one.checkpoint for one in point.coordinates if one.checkpoint is not None and one.value}
    own = range(len(point.checkpoints)) if point.unmerged is None else [point.unmerged]
    counting = [place for place in own if place in weighted or not weighted]
    return tuple(group.checkpoints.index(point.checkpoints[place]) for place in counting)


def place_of(point: Point, group: Layout) -> tuple[float, ...] | None:
    """Return the values of a point along the axes of its group; None for one that does not lie there."""
    axes, values = group.axes, _values(point)
    # A checkpoint as it is lies there if it has what the merges have in common.
    there = group.on_line or all(axis in axes or value in group.common.get(axis, ()) for axis, value in values.items())
    return tuple(values[axis] for axis in axes) if axes and there and all(axis in values for axis in axes) else None


def variants(group: Layout) -> list[Model]:
    """Return the models of a group: those that lie on no axis, checkpoints first, then the others along the axes."""

    def order(point: Point) -> tuple[bool, tuple[float, ...]]:
        place = place_of(point, group)
        if place is None:
            last = len(group.checkpoints)
            return False, (last if point.unmerged is None else ingredients_of(point, group)[0],)
        # Lines lead along the first axis.
        return True, place[::-1]

    return list(dict.fromkeys(model_of(point) for point in sorted(group.points, key=order)))


def label_and_mark(point: Point, group: Layout) -> tuple[str, str]:
    """Return the label and the mark of a point of a group; see `PointNumbers`."""
    if group.on_line:
        alpha, end = f"alpha {point.alpha:g}", point.reference
        return (alpha, f"{point.alpha:g}") if end is None else (f"{end} ({alpha})", end)
    values = _values(point)
    shown = [(axis_title(axis, group), f"{values.get(axis, 0.0):g}") for axis in group.varying]
    coordinates, numbers = ", ".join(map(" ".join, shown)), ", ".join(value for _, value in shown)
    ingredients = ingredients_of(point, group)
    if point.unmerged is not None:
        names = cut(group.called, _LONGEST)[ingredients[0]]
        # What is folded into a checkpoint makes several models of it.
        twins = {one.model for one in group.points if ingredients_of(one, group) == ingredients}
        return (names, names) if len(twins) == 1 else (f"{names} ({coordinates})", names)
    if not group.varying:
        return point.merge_title(short=True), point.merge_title(short=True)
    merged = group.merged.get(model_of(point))
    return (merged, merged) if merged is not None else (coordinates, numbers)


def title_of(point: Point, group: Layout) -> str:
    """Return what people read of a point of a group: its title, or one by what tells it from the others."""
    if group.on_line or point.unmerged is not None or not group.varying:
        return point.title
    return f"{label_and_mark(point, group)[0]}, T {point.temperature:g}"


def axis_title(axis: Axis, group: Layout) -> str:
    """Return what an axis of a group is called: alpha, or weight of checkpoint-400."""
    if axis.checkpoint is None:
        return axis.parameter
    return f"{axis.parameter} of {group.called[group.checkpoints.index(axis.checkpoint)]}"


def group_labels(groups: Sequence[Layout]) -> list[str]:
    """Return what groups are called: by the late checkpoint, or the merge, and by more where that is not enough."""
    points = [group.points[0] for group in groups]
    candidates: list[list[str]] = [
        [Path(point.late.name).name or point.late.name for point in points],
        [point.late.name for point in points],
        [f"{point.late.name}, {point.method}" for point in points],
        [f"{point.early.name} to {point.late.name}" for point in points],
    ]
    if any(point.alpha is None for point in points):
        methods = [METHODS[point.method].name for point in points]
        candidates = [
            [f"{method} of {len(group.checkpoints)}" for method, group in zip(methods, groups, strict=True)],
            [f"{method} of {', '.join(group.called)}" for method, group in zip(methods, groups, strict=True)],
        ]
    unlike = (labels for labels in candidates if len(set(labels)) == len(labels))
    return cut(next(unlike, candidates[-1]), _LONGEST)
