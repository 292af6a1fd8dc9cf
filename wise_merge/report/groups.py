"""Which points of a sweep are shown together, in which order, and what points and groups are called."""

from collections.abc import Iterable, Sequence
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


def variants(points: Sequence[Point]) -> list[tuple[Coordinate, ...]]:
    """Return the different models of a group: by alpha, or the checkpoints themselves and then their merges."""

    def place(point: Point) -> float:
        if point.alpha is not None:
            return point.alpha
        return len(point.checkpoints) if point.unmerged is None else point.unmerged

    return list(dict.fromkeys(point.coordinates for point in sorted(points, key=place)))


def label_and_mark(point: Point) -> tuple[str, str]:
    """Return the label and the mark of a point; see `PointNumbers`."""
    if point.alpha is None:
        names = cut(point.called, _LONGEST)
        name = point.merge_title(short=True) if point.unmerged is None else names[point.unmerged]
        return name, name
    alpha = f"alpha {point.alpha:g}"
    return (alpha, f"{point.alpha:g}") if point.reference is None else (f"{point.reference} ({alpha})", point.reference)


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
