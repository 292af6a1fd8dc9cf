"""The folder of a sweep's results: sweep.json (what is asked for), points/ (what came of it), journal/ (every sample).

Only the journal is expensive to make again; the rest is derived from it. Every file is written under a temporary name
and renamed, so that no reader finds a part of one.
"""

import dataclasses
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from wise_merge.errors import WiseMergeError
from wise_merge.points.outcome import Outcome, from_json, to_json
from wise_merge.points.point import Coordinate, Fixed, Point, PointCheckpoint, on_line

#: Version of the files' format; files of another version are refused.
FORMAT = 1


@dataclass(frozen=True)
class Results:
    """What a folder of results holds.

    Attributes:
        folder: of the results.
        settings: in JSON's types: what is the same for all points (see `wise_merge.search.engines.results`).
        samples: K, how many samples of each problem are asked for.
        tasks: their names.
        points: all that were ever asked for.
        outcomes: of the points that have been sampled, in the order of the points and within them of the tasks.
    """

    folder: Path
    settings: Mapping[str, Any]
    samples: int
    tasks: tuple[str, ...]
    points: tuple[Point, ...]
    outcomes: tuple[Outcome, ...] = ()

    @property
    def journal(self) -> Path:
        """The folder of the journals, in which `Outcome.run` says what belongs to a point."""
        return self.folder / "journal"

    def of_task(self, task: str) -> tuple[Outcome, ...]:
        """Return the outcomes of one task."""
        return tuple(outcome for outcome in self.outcomes if outcome.task == task)

    def outcome(self, point: Point, task: str) -> Outcome | None:
        """Return what came of a point on a task, None = not sampled yet."""
        return next((one for one in self.of_task(task) if one.point == point), None)


def read_results(folder: Path) -> Results:
    """Return what a folder of results holds."""
    results = read_plan(folder)
    if results is None:
        what = "is no folder" if not folder.is_dir() else "holds no sweep.json"
        raise WiseMergeError(f"{folder} {what}; give the folder that `wise-merge sweep` wrote its results to")
    outcomes = [
        outcome
        for point in results.points
        for task in results.tasks
        if (outcome := read_outcome(folder, point, task)) is not None
    ]
    return dataclasses.replace(results, outcomes=tuple(outcomes))


def read_plan(folder: Path) -> Results | None:
    """Return what is asked for in a folder of results, without outcomes; None if there is nothing of a sweep."""
    path = folder / "sweep.json"
    if not path.exists():
        return None
    # Only sweep.json says which settings the outcomes belong to, so without it they cannot be used.
    with _explained(path, f"{path} and {folder / 'points'}"):
        content = _read(path)
        checkpoints = {key: _checkpoint(one) for key, one in content["checkpoints"].items()}
        points = [_point(one, checkpoints) for one in content["points"]]
        return Results(folder, dict(content["settings"]), content["samples"], tuple(content["tasks"]), tuple(points))


def write_plan(results: Results) -> None:
    """Write down what is asked for."""
    used = dict.fromkeys(checkpoint for point in results.points for checkpoint in point.checkpoints)
    keys = {checkpoint: str(number) for number, checkpoint in enumerate(used)}
    _write(
        results.folder / "sweep.json",
        {
            "format": FORMAT,
            "settings": results.settings,
            "samples": results.samples,
            "tasks": results.tasks,
            "checkpoints": {key: checkpoint_as_json(checkpoint) for checkpoint, key in keys.items()},
            "points": [point_as_json(point, keys) for point in results.points],
        },
    )


def checkpoint_as_json(checkpoint: PointCheckpoint) -> dict[str, Any]:
    """Return a checkpoint in JSON's types; its temperature is called balance there, as from the first version on."""
    return {
        "name": checkpoint.name,
        "step": checkpoint.step,
        "digest": checkpoint.digest,
        "balance": checkpoint.temperature,
    }


def _checkpoint(written: Mapping[str, Any]) -> PointCheckpoint:
    """Return the checkpoint that `checkpoint_as_json` has written."""
    return PointCheckpoint(written["name"], written["step"], written["digest"], written.get("balance", 1.0))


def point_as_json(point: Point, keys: Mapping[PointCheckpoint, Any]) -> dict[str, Any]:
    """Return a point in JSON's types, with what `keys` has in the place of each checkpoint."""
    if point.alpha is not None and len(point.coordinates) == 1 and not point.fixed:
        place: dict[str, Any] = {"early": keys[point.early], "late": keys[point.late]}
        coordinates: dict[str, Any] = {"alpha": point.alpha}
    else:
        place = {"checkpoints": [keys[checkpoint] for checkpoint in point.checkpoints]}
        coordinates = {"coordinates": [_coordinate_as_json(one) for one in point.coordinates]}
        if point.fixed:
            coordinates["fixed"] = [
                {**dataclasses.asdict(one), "setting": json.loads(one.setting)} for one in point.fixed
            ]
    rest = {"temperature": point.temperature, "dtype": point.dtype, "out_dtype": point.out_dtype}
    return {**place, "method": point.method, **coordinates, **rest}


def _coordinate_as_json(one: Coordinate) -> dict[str, Any]:
    varies = {"varies": True} if one.varies else {}
    return {"parameter": one.parameter, "value": one.value, "checkpoint": one.checkpoint, **varies}


def _point(written: Mapping[str, Any], checkpoints: Mapping[str, PointCheckpoint]) -> Point:
    """Return the point that `point_as_json` has written."""
    rest = {key: written[key] for key in ("temperature", "dtype", "out_dtype")}
    if "alpha" in written:
        two = checkpoints[written["early"]], checkpoints[written["late"]]
        return on_line(*two, method=written["method"], alpha=written["alpha"], **rest)
    return Point(
        checkpoints=tuple(checkpoints[key] for key in written["checkpoints"]),
        method=written["method"],
        coordinates=tuple(Coordinate(**one) for one in written["coordinates"]),
        fixed=tuple(Fixed(**{**one, "setting": json.dumps(one["setting"])}) for one in written.get("fixed", ())),
        **rest,
    )


def read_outcome(folder: Path, point: Point, task: str) -> Outcome | None:
    """Return what came of a point on a task, None = not sampled yet."""
    path = _path(folder, point, task)
    if not path.exists():
        return None
    with _explained(path, str(path)):
        return from_json(point, _read(path))


def holds_outcomes(folder: Path) -> bool:
    """Return whether anything came of any point."""
    return any((folder / "points").glob("*/[!.]*.json"))


def write_outcome(folder: Path, outcome: Outcome) -> None:
    """Write down what came of a point on a task."""
    _write(_path(folder, outcome.point, outcome.task), {"format": FORMAT, **to_json(outcome)})


def _path(folder: Path, point: Point, task: str) -> Path:
    return folder / "points" / task / f"{point.name}.json"


def _read(path: Path) -> dict[str, Any]:
    content = json.loads(path.read_text(encoding="utf-8"))
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise ValueError(f"format {FORMAT} was expected")
    return content


@contextmanager
def _explained(path: Path, remove: str) -> Iterator[None]:
    """Say of a file that is not what was written there what to do about it."""
    try:
        yield
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        reason = f"{error} is missing" if isinstance(error, KeyError) else error
        raise WiseMergeError(
            f"{path} cannot be read ({reason}); remove {remove} and run the sweep again: what its journal holds is not "
            "drawn twice"
        ) from error


def _write(path: Path, content: Mapping[str, Any]) -> None:
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with partial.open("w", encoding="utf-8") as file:
                json.dump(content, file, separators=(",", ":"))
                file.flush()
                os.fsync(file.fileno())
            partial.replace(path)
        finally:
            with suppress(OSError):
                partial.unlink()
    except OSError as error:
        raise WiseMergeError(f"{path} cannot be written: {error.strerror or error}") from error
