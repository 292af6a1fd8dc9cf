"""What was sampled: method, checkpoints, how many values of which coordinates, temperatures, problems, samples."""

from collections.abc import Sequence
from pathlib import Path

from wise_merge.methods import METHODS
from wise_merge.points.folder import Results
from wise_merge.points.point import Point, PointCheckpoint
from wise_merge.points.soup import Soup
from wise_merge.report.groups import axis_title, grouped, place_of
from wise_merge.text import counted, enumeration

#: More checkpoints than this are not listed, and more temperatures neither.
_LISTED = 5


def about_sweep(results: Results, soup: Soup | None) -> str:
    """Return in sentences what was sampled."""
    temperatures = _temperatures(sorted({point.temperature for point in results.points}))
    size = f"{_problems(results)}, {_samples(results)}"
    sampled = {point for point in results.points if all(results.outcome(point, task) for task in results.tasks)}
    some = "" if len(sampled) == len(results.points) else _so_far(len(sampled), len(results.points))
    return f"{_models(results.points, soup)} {temperatures}, on {size}.{some}"


def _models(points: Sequence[Point], soup: Soup | None) -> str:
    """Return which models were sampled."""
    groups = grouped(points)
    methods = enumeration(dict.fromkeys(METHODS[group.points[0].method].title for group in groups), "and")
    models = len({point.model for point in points})
    checkpoints = list(dict.fromkeys(one for group in groups for one in group.checkpoints))
    if soup is not None:
        were = "was" if models == 1 else "were"
        return f"For a greedy soup of {_listed(checkpoints)}, {counted(models, 'model')} {were} sampled"
    if all(group.on_line for group in groups):
        early = _listed(list(dict.fromkeys(point.early for point in points)))
        late = list(dict.fromkeys(group.points[0].late for group in groups))
        each = f" from {_range(late)}" if len(late) > _LISTED else f", {_listed(late)},"
        whom = f"late {_listed(late)}" if len(late) == 1 else f"each of {len(late)} late checkpoints{each}"
        alphas = len({point.alpha for point in points})
        return f"{methods} from early {early} to {whom} was swept: {counted(alphas, 'value')} of alpha"
    if len(groups) > 1:
        return f"{methods} of {len(groups)} sets of checkpoints was swept: {counted(models, 'model')}"
    (group,) = groups
    of = f"{methods} of {_listed(checkpoints)}"
    if not group.axes:
        return f"{of} was sampled, and each of them: {counted(models, 'model')}"
    merges = [place for point in points if point.unmerged is None and (place := place_of(point, group)) is not None]
    values = [
        f"{counted(len(set(column)), 'value')} of {axis_title(axis, group)}"
        for axis, column in zip(group.axes, zip(*merges, strict=True), strict=True)
    ]
    return f"{of} was swept: {enumeration(values, 'and')}"


def _listed(checkpoints: Sequence[PointCheckpoint]) -> str:
    if len(checkpoints) > _LISTED:
        return f"{len(checkpoints)} checkpoints from {_range(checkpoints)}"
    return enumeration(map(_named, checkpoints), "and")


def _range(checkpoints: Sequence[PointCheckpoint]) -> str:
    return f"{_named(checkpoints[0])} to {_named(checkpoints[-1])}"


def _named(checkpoint: PointCheckpoint) -> str:
    name = Path(checkpoint.name).name or checkpoint.name
    return name if checkpoint.step is None else f"{name} (step {checkpoint.step:,})"


def _temperatures(temperatures: Sequence[float]) -> str:
    texts = [f"{one:g}" for one in temperatures]
    if len(texts) == 1:
        return f"at temperature {texts[0]}"
    which = enumeration(texts, "and") if len(texts) <= _LISTED else f"{texts[0]} to {texts[-1]}"
    return f"at {len(texts)} temperatures ({which})"


def _problems(results: Results) -> str:
    parts = []
    for task in results.tasks:
        counts = sorted({len(outcome.problems) for outcome in results.of_task(task)})
        if counts:
            several = "" if len(counts) == 1 else f"{counts[0]:,} to "
            parts.append(f"{several}{counted(counts[-1], 'problem')} of {task}")
    return enumeration(parts, "and")


def _samples(results: Results) -> str:
    numbers = {problem.n for outcome in results.outcomes for problem in outcome.problems}
    most = max(numbers, default=0)
    return f"{'' if len(numbers) == 1 else 'up to '}{counted(most, 'sample')} of each"


def _so_far(sampled: int, points: int) -> str:
    return f" {sampled:,} of {counted(points, 'point')} {'is' if sampled == 1 else 'are'} sampled so far."
