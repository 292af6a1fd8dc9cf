"""What a folder of results holds from before, and whether a sweep may go on there with further points and samples."""

import dataclasses
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from wise_merge.errors import WiseMergeError
from wise_merge.journal.contents import holds_samples
from wise_merge.points.folder import Results, holds_outcomes, read_plan
from wise_merge.points.point import Point, PointCheckpoint
from wise_merge.search.sweep.grid import in_common
from wise_merge.search.sweep.settings import SweepSettings

#: Settings that may change between two commands on one folder of results: which points, how many samples, and where.
_MAY_CHANGE = {
    *("early", "late", "run", "alphas", "temperatures", "tasks", "samples", "limit", "calibration", "grid"),
    *("batch_size", "device", "until_ci", "successive_halving", "processes", "ray", "cores", "gpus"),
}


def read_earlier(settings: SweepSettings, out: Path) -> Results | None:
    """Return what was asked for in a folder of results so far, without outcomes; None if nothing came of it.

    A sweep that ended before its first sample, such as for lack of data, leaves nothing that another one must match.
    Raises a `WiseMergeError` where this sweep cannot go on there: `out` is a file, holds something else, or results
    of other settings. Reads no checkpoint.
    """
    there = next(path for path in (out, *out.parents) if path.exists())
    if not there.is_dir():
        raise WiseMergeError(f"--out {out}: {there} is a file; name a folder for the results")
    before = read_plan(out)
    if before is None and out.is_dir():
        names = {path.name for path in out.iterdir() if not path.name.startswith(".")}
        # The journal describes its samples by itself; outcomes are described by sweep.json alone.
        if {"points", "journal"} <= names:
            raise WiseMergeError(
                f"--out {out} has lost its sweep.json, which says what its points are of; remove {out / 'points'} and "
                "run the sweep again: what its journal holds is not drawn twice"
            )
        if names - {"journal"}:
            raise WiseMergeError(f"--out {out} holds something else than a sweep; name a new folder for the results")
    if before is None or not (holds_outcomes(out) or holds_samples(before.journal)):
        return None
    _check_settings(before, settings, out)
    return before


def fixed(settings: SweepSettings) -> dict[str, Any]:
    """Return the settings that are the same for all points of a folder of results."""
    kept = {key: value for key, value in dataclasses.asdict(settings).items() if key not in {*_MAY_CHANGE, "recipe"}}
    return kept if settings.recipe is None else {**kept, "recipe": in_common(settings.recipe, settings.grid)}


def _check_settings(before: Results, settings: SweepSettings, out: Path) -> None:
    """Raise a `WiseMergeError` for results of a sweep with other settings, or over another recipe."""
    then, now = dict(before.settings), fixed(settings)
    recipes = then.pop("recipe", None), now.pop("recipe", None)
    if None in recipes and recipes != (None, None):
        there, here = ("early and late checkpoints" if one is None else "a recipe" for one in recipes)
        raise WiseMergeError(f"{out} holds a sweep over {there}, and this one is over {here}; name another folder")
    changed = [*_changes(then, now, keys=now), *_changes(*(one or {} for one in recipes))]
    if changed:
        raise WiseMergeError(
            f"{out} holds a sweep with other settings: {', '.join(changed)}; go on with those, or name another folder"
        )


def _changes(then: Mapping[str, Any], now: Mapping[str, Any], *, keys: Iterable[str] | None = None) -> list[str]:
    return [
        f"{key} ({then.get(key)!r} there, {now.get(key)!r} now)"
        for key in ({**then, **now} if keys is None else keys)
        if then.get(key) != now.get(key)
    ]


def as_earlier(before: Results | None, checkpoints: Sequence[PointCheckpoint]) -> list[PointCheckpoint]:
    """Return the early checkpoint (the first) and the late ones, each as the results know it.

    Raises a `WiseMergeError` if one that the results know is another now: its files, its name or its temperature.
    """
    if before is None or not before.points:
        return list(checkpoints)
    others = {one.name: one for point in before.points for one in point.checkpoints[1:]}
    known = []
    for number, now in enumerate(checkpoints):
        role = "late" if number else "early"
        then = others.get(now.name, now) if number else before.points[0].early
        if then.digest != now.digest:
            raise WiseMergeError(
                f"{before.folder} holds results of another model: {role} is {then.name} there (digest "
                f"{then.digest[:8]}) and {now.name} now (digest {now.digest[:8]}); name another folder for the results"
            )
        if then.name != now.name:
            raise WiseMergeError(
                f"{before.folder} holds results in which the {role} checkpoint {now.name} is called {then.name}; call "
                "it so again"
            )
        if then.temperature != now.temperature:
            raise WiseMergeError(
                f"{before.folder} holds results of another calibration: {role} {now.name} has temperature "
                f"{then.temperature:g} there and {now.temperature:g} now; go on with that, or name another folder "
                "for the results"
            )
        # Keeps the step known earlier: the same files may since have lost or gained the log that tells it.
        known.append(then)
    return known


def check_same_files(before: Results | None, digests: Mapping[str, str]) -> None:
    """Raise a `WiseMergeError` if a file that a recipe names is another now than in the results.

    Args:
        before: see `read_earlier`.
        digests: of the content of each file, by its path in the recipe.
    """
    if before is None:
        return
    for one in dict.fromkeys(one for point in before.points for one in point.fixed):
        path = json.loads(one.setting)
        if one.digest is not None and digests[path] != one.digest:
            raise WiseMergeError(
                f"{before.folder} holds results of another {one.parameter}: {path} has digest {one.digest[:8]} there "
                f"and {digests[path][:8]} now; name another folder for the results"
            )


def together(before: Results | None, settings: SweepSettings, points: tuple[Point, ...], out: Path) -> Results:
    """Return all points that were ever asked for in the folder, these first."""
    if before is None:
        return Results(out, fixed(settings), settings.samples, settings.tasks, points)
    # By name, as files are: a checkpoint by itself is one point, whatever a grid gives the parameters beside it.
    asked = {point.name for point in points}
    further = [point for point in before.points if point.name not in asked]
    tasks = tuple(dict.fromkeys([*before.tasks, *settings.tasks]))
    return Results(out, fixed(settings), max(before.samples, settings.samples), tasks, (*points, *further))
