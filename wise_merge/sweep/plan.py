"""From what the user wants to the points of a sweep: which checkpoints, whether they fit, what the results hold already."""

import dataclasses
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from wise_merge import fingerprint
from wise_merge.checkpoints.headers import check_same_model, read_config, read_headers
from wise_merge.checkpoints.pairs import pair_warnings, read_state, step_of
from wise_merge.checkpoints.places import folder_of
from wise_merge.checkpoints.runs import find_checkpoints
from wise_merge.checkpoints.vocabulary import compare_tokens
from wise_merge.errors import WiseMergeError
from wise_merge.interpolation.layout import lay_out, size
from wise_merge.points.folder import Results, read_plan
from wise_merge.points.point import Checkpoint, Point
from wise_merge.recipe import Pair
from wise_merge.sweep.settings import Settings

#: Settings that may change between two commands on one folder of results: which points, how many samples, and where.
_MAY_CHANGE = {
    *("early", "late", "run", "alphas", "temperatures", "tasks", "samples", "limit", "calibration"),
    *("batch_size", "device", "until_ci", "successive_halving", "ray", "cores", "gpus"),
}


@dataclass(frozen=True)
class Plan:
    """A sweep whose checkpoints have been looked at.

    Attributes:
        settings: of the user.
        folders: name of a checkpoint -> where it lies.
        points: by late checkpoint, alpha and temperature; those of one model follow each other.
        model_bytes: of one model as it is averaged.
        dtype: of the average, which the engine loads unless it is told otherwise; None = several.
        warnings: what is odd, a sentence each.
        results: the folder to write to, with all points that were ever asked for there.
    """

    settings: Settings
    folders: dict[str, Path]
    points: tuple[Point, ...]
    model_bytes: int
    dtype: str | None
    warnings: tuple[str, ...]
    results: Results


def make_plan(settings: Settings, out: Path) -> Plan:
    """Return the plan of a sweep after everything that can be checked without loading a model.

    Raises a `WiseMergeError` for checkpoints that do not fit each other, and for results of another sweep in `out`.
    """
    early_name, late_names = _named(settings)
    names = [early_name, *late_names]
    folders = {early_name: folder_of("early", early_name)}
    folders |= {name: folder_of("late", name) for name in late_names}
    warnings: list[str] = []
    for name in names:
        _check_full(name, folders[name])
    for name in late_names:
        check_same_model(folders[early_name], folders[name])
        warnings += [*pair_warnings(folders[early_name], folders[name])]
        warnings += compare_tokens(folders[early_name], folders[name])
    # Before the weights are read for their digests, which takes longest.
    before = _before(out)
    with ThreadPoolExecutor(2) as threads:
        digests = dict(zip(names, threads.map(lambda name: fingerprint.of_folder(folders[name]), names), strict=True))
    checkpoints = {
        name: Checkpoint(
            name, step_of(folders[name], read_state(folders[name])), digests[name], _balance(settings, name)
        )
        for name in names
    }
    points = _points(settings, checkpoints[early_name], [checkpoints[name] for name in late_names])
    tensors = lay_out(
        [points[0].recipe()],
        Pair(early_name, late_names[0]),
        (read_config(folders[early_name]), read_config(folders[late_names[0]])),
        (read_headers(folders[early_name]), read_headers(folders[late_names[0]])),
    )
    dtypes = {tensor.out_dtype for tensor in tensors if tensor.out_dtype}
    return Plan(
        settings,
        folders,
        points,
        size(tensors),
        dtypes.pop() if len(dtypes) == 1 else None,
        tuple(dict.fromkeys(warnings)),
        _together(before, settings, points, out),
    )


def _named(settings: Settings) -> tuple[str, tuple[str, ...]]:
    """Return the names of the early checkpoint and of the late ones, ascending by step where a run tells them."""
    if settings.run is None:
        assert settings.early is not None
        if settings.early in settings.late:
            raise WiseMergeError(f"early and late are both {settings.early}; a sweep needs two checkpoints")
        return settings.early, settings.late
    if settings.late:
        raise WiseMergeError("late and run are both there; run takes every late checkpoint of a folder: leave one out")
    found = [one for one in find_checkpoints(Path(settings.run)) if one.problem is None]
    whole = [one for one in found if not one.final] if len(found) > 2 else found
    if settings.early is None:
        if len(whole) < 2:
            raise WiseMergeError(
                f"run {settings.run} has {len(whole)} whole checkpoints; a sweep needs an early and a late one: "
                f"`wise-merge checkpoints {settings.run}` shows what is there"
            )
        return str(whole[0].path), tuple(str(one.path) for one in whole[1:])
    early = Path(settings.early).resolve()
    step = step_of(early, read_state(early)) if early.is_dir() else None
    later = [
        one for one in whole if one.path.resolve() != early and (step is None or one.step is None or one.step > step)
    ]
    if not later:
        raise WiseMergeError(f"run {settings.run} has no whole checkpoint after {settings.early}")
    return settings.early, tuple(str(one.path) for one in later)


def _check_full(name: str, folder: Path) -> None:
    if (folder / "adapter_config.json").is_file() and not (folder / "config.json").is_file():
        raise WiseMergeError(
            f"{name} is a LoRA adapter, and a sweep needs whole checkpoints; make a whole one of each first with "
            "`wise-merge merge` (docs/merging.md)"
        )
    if read_config(folder).get("quantization_config"):
        raise WiseMergeError(
            f"{name} is quantised (quantization_config in its config.json), and such weights cannot be averaged; take "
            "the checkpoints that it was made from"
        )


def _balance(settings: Settings, name: str) -> float:
    if settings.method != "bang":
        return 1.0
    if name not in settings.calibration:
        raise WiseMergeError(
            f"calibration has no temperature for {name}; it names {', '.join(settings.calibration)}: write each "
            "checkpoint as in early and late"
        )
    return float(settings.calibration[name])


def _points(settings: Settings, early: Checkpoint, lates: Sequence[Checkpoint]) -> tuple[Point, ...]:
    return tuple(
        Point(early, late, settings.method, alpha, temperature, settings.dtype, settings.out_dtype)
        for late in lates
        for alpha in (0.0, *settings.alphas, 1.0)
        for temperature in settings.temperatures
    )


def _before(out: Path) -> Results | None:
    """Return what is asked for in the folder of results so far."""
    if out.exists() and not out.is_dir():
        raise WiseMergeError(f"--out {out} is a file; name a folder for the results")
    found = read_plan(out)
    if found is None and out.is_dir() and any(out.iterdir()):
        raise WiseMergeError(f"--out {out} holds something else than a sweep; name a new folder for the results")
    return found


def fixed(settings: Settings) -> dict[str, Any]:
    """Return the settings that are the same for all points of a folder of results."""
    return {key: value for key, value in dataclasses.asdict(settings).items() if key not in _MAY_CHANGE}


def _together(before: Results | None, settings: Settings, points: tuple[Point, ...], out: Path) -> Results:
    """Return all points that were ever asked for in the folder, these among them, if they are of one sweep."""
    kept = fixed(settings)
    if before is None:
        return Results(out, kept, settings.samples, settings.tasks, points)
    changed = [
        f"{key} ({before.settings.get(key)!r} there, {kept[key]!r} now)"
        for key in kept
        if kept[key] != before.settings.get(key)
    ]
    if changed:
        raise WiseMergeError(
            f"{out} holds a sweep with other settings: {', '.join(changed)}; go on with those, or name another folder"
        )
    known = {point.late.name: point for point in before.points}
    for point in points:
        for role in ("early", "late"):
            now: Checkpoint = getattr(point, role)
            then: Checkpoint = getattr(known.get(point.late.name, before.points[0]), role)
            if role == "late" and point.late.name not in known:
                continue
            if now != then:
                what = (
                    "of another model" if now.name != then.name or now.digest != then.digest else "otherwise balanced"
                )
                raise WiseMergeError(
                    f"{out} holds results {what}: {role} is {then.name} there (digest {then.digest[:8]}) and {now.name} "
                    f"now (digest {now.digest[:8]}); name another folder for the results"
                )
    further = [point for point in before.points if point not in points]
    tasks = tuple(dict.fromkeys([*before.tasks, *settings.tasks]))
    return Results(out, kept, max(before.samples, settings.samples), tasks, (*points, *further))
