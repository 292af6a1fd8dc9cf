"""Which points of a sweep are shown together, in which order, and what points and groups are called."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from wise_merge.points.point import Coordinate, Point, PointCheckpoint
from wise_merge.results.names import cut

#: What the points of a group share: checkpoints, method and dtypes.
Key = tuple[tuple[PointCheckpoint, ...], str, str | None, str | None]
#: Longest name in legends, in characters.
_LONGEST = 36


def key_of(point: Point) -> Key:
    """Return what a point shares with the others of its group."""
    return point.checkpoints, point.method, point.dtype, point.out_dtype


def grouped(points: Iterable[Point]) -> dict[Key, list[Point]]:
    """Return the points by group, in the order of training."""
    groups: dict[Key, list[Point]] = {}
    for point in sorted(points, key=_step):
        groups.setdefault(key_of(point), []).append(point)
    return groups


def _step(point: Point) -> tuple[bool, int]:
    """Return what puts points into the order of training; where there is no line, of one group."""
    return point.late.step is None, point.late.step or 0


@dataclass(frozen=True)
class Axis:
    """A coordinate that differs between the merges of a group: its parameter, and the place of its checkpoint if any.

    `checkpoint` is None for a parameter of the whole merge.
    """

    parameter: str
    checkpoint: int | None


def on_line(points: Iterable[Point]) -> bool:
    """Return whether nothing but alpha tells the models of a sweep from each other, along lines from early to late."""
    return all(point.alpha is not None and len(point.coordinates) == 1 for point in points)


def axes_of(points: Sequence[Point]) -> list[Axis]:
    """Return along which coordinates the points of a group lie: one or two, or none where they have no such order.

    Checkpoints as they are do not count, for each of which the weights of all others are 0, nor do weights that say
    no more than which checkpoints are merged.
    """
    if on_line(points):
        return [Axis(one.parameter, one.checkpoint) for one in points[0].coordinates]
    varying = _varying(points)
    return [] if len(varying) > 2 or _are_subsets(points) else varying


def place_of(point: Point, axes: Sequence[Axis], points: Sequence[Point]) -> tuple[float, ...] | None:
    """Return the values of a point along the axes of its group, None where it differs from the others elsewhere, too.

    Args:
        point: one of them.
        axes: of the group.
        points: of the group.
    """
    of = _by_axis(point)
    others = {axis: {_by_axis(one).get(axis) for one in points if one.unmerged is None} for axis in of}
    # A checkpoint as it is lies there if it has what the merges have in common.
    there = all(axis in axes or of[axis] in values for axis, values in others.items())
    return tuple(of[axis] for axis in axes) if axes and there else None


def variants(points: Sequence[Point]) -> list[tuple[Coordinate, ...]]:
    """Return the different models of a group: checkpoints that lie on no axis, then the others along the axes."""
    axes = axes_of(points)

    def order(point: Point) -> tuple[bool, tuple[float, ...]]:
        place = place_of(point, axes, points)
        if place is None:
            return False, (len(point.checkpoints) if point.unmerged is None else point.unmerged,)
        # Lines lead along the first axis.
        return True, place[::-1]

    return list(dict.fromkeys(point.coordinates for point in sorted(points, key=order)))


def label_and_mark(point: Point, points: Sequence[Point]) -> tuple[str, str]:
    """Return the label and the mark of a point of a group; see `PointNumbers`."""
    if on_line(points):
        alpha = f"alpha {point.alpha:g}"
        named = point.reference
        return (alpha, f"{point.alpha:g}") if named is None else (f"{named} ({alpha})", named)
    names = cut(point.called, _LONGEST)
    if point.unmerged is not None:
        return names[point.unmerged], names[point.unmerged]
    varying = _varying(points)
    if not varying:
        name = point.merge_title(short=True)
        return name, name
    of = _by_axis(point)
    if _are_subsets(points):
        merged = " + ".join(names[axis.checkpoint] for axis in of if of[axis] and axis.checkpoint is not None)
        return merged, merged
    values = [f"{of[axis]:g}" for axis in varying]
    return (
        ", ".join(f"{axis_title(axis, point)} = {value}" for axis, value in zip(varying, values, strict=True)),
        ", ".join(values),
    )


def title_of(point: Point, points: Sequence[Point]) -> str:
    """Return what people read of a point of a group: its title, or one by what tells it from the others."""
    if on_line(points) or point.unmerged is not None or not _varying(points):
        return point.title
    return f"{point.method}, {label_and_mark(point, points)[0]}, T {point.temperature:g}"


def axis_title(axis: Axis, point: Point) -> str:
    """Return what an axis of the group of a point is called: alpha, or weight of checkpoint-400."""
    return axis.parameter if axis.checkpoint is None else f"{axis.parameter} of {point.called[axis.checkpoint]}"


def _by_axis(point: Point) -> dict[Axis, float]:
    return {Axis(one.parameter, one.checkpoint): one.value for one in point.coordinates}


def _varying(points: Sequence[Point]) -> list[Axis]:
    """Return the coordinates that differ between the merges of a group."""
    merges = [_by_axis(point) for point in points if point.unmerged is None]
    return [axis for axis in merges[0] if len({one.get(axis) for one in merges}) > 1] if merges else []


def _are_subsets(points: Sequence[Point]) -> bool:
    """Return whether the merges of a group differ only in which checkpoints they have."""
    merges = [point for point in points if point.unmerged is None]
    return all(one.checkpoint is not None and one.value in (0, 1) for point in merges for one in point.coordinates)


def group_labels(points: Sequence[Point]) -> list[str]:
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
