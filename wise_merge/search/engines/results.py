"""What a folder of results holds from before, and whether further points and samples may go there."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from wise_merge.errors import WiseMergeError
from wise_merge.journal.contents import holds_samples
from wise_merge.points.folder import Results, holds_outcomes, read_plan
from wise_merge.points.point import Point
from wise_merge.search.engines.settings import EngineSettings

#: Key of the settings in the results that says which command they are of; a sweep's have none.
KIND = "search"


def read_earlier(fixed: Mapping[str, Any], out: Path) -> Results | None:
    """Return what was asked for in a folder of results so far, without outcomes; None if nothing came of it.

    A command that ended before its first sample, such as for lack of data, leaves nothing that another one must
    match. Raises a `WiseMergeError` where this one cannot go on there: `out` is a file, holds something else, or
    results of other settings. Reads no checkpoint.

    Args:
        fixed: settings that are the same for all points of the folder, as `Results.settings` has them.
        out: the folder.
    """
    what = _kind(fixed)
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
                f"run the {what} again: what its journal holds is not drawn twice"
            )
        if names - {"journal"}:
            raise WiseMergeError(f"--out {out} holds something else than a {what}; name a new folder for the results")
    if before is None or not (holds_outcomes(out) or holds_samples(before.journal)):
        return None
    other = _kind(before.settings)
    if other != what:
        raise WiseMergeError(f"--out {out} holds the results of a {other}; name another folder for those of a {what}")
    _check_settings(before, fixed, out)
    return before


def _check_settings(before: Results, fixed: Mapping[str, Any], out: Path) -> None:
    """Raise a `WiseMergeError` for results of other settings, or of a sweep over another recipe."""
    then, now = dict(before.settings), dict(fixed)
    recipes = then.pop("recipe", None), now.pop("recipe", None)
    if None in recipes and recipes != (None, None):
        there, here = ("early and late checkpoints" if one is None else "a recipe" for one in recipes)
        raise WiseMergeError(f"{out} holds a sweep over {there}, and this one is over {here}; name another folder")
    changed = [*_changes(then, now, keys=now), *_changes(*(one or {} for one in recipes))]
    if changed:
        raise WiseMergeError(
            f"{out} holds a {_kind(fixed)} with other settings: {', '.join(changed)}; go on with those, or name "
            "another folder"
        )


def _changes(then: Mapping[str, Any], now: Mapping[str, Any], *, keys: Iterable[str] | None = None) -> list[str]:
    return [
        f"{key} ({then.get(key)!r} there, {now.get(key)!r} now)"
        for key in ({**then, **now} if keys is None else keys)
        if then.get(key) != now.get(key)
    ]


def _kind(settings: Mapping[str, Any]) -> str:
    return str(settings.get(KIND, "sweep"))


def together(
    before: Results | None, fixed: Mapping[str, Any], settings: EngineSettings, points: Sequence[Point], out: Path
) -> Results:
    """Return all points that were ever asked for in the folder, these first."""
    if before is None:
        return Results(out, fixed, settings.samples, settings.tasks, tuple(points))
    # By name, as files are: a checkpoint by itself is one point, whatever a grid gives the parameters beside it.
    asked = {point.name for point in points}
    further = [point for point in before.points if point.name not in asked]
    tasks = tuple(dict.fromkeys([*before.tasks, *settings.tasks]))
    return Results(out, fixed, max(before.samples, settings.samples), tasks, (*points, *further))
