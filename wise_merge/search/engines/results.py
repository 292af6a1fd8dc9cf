"""What a folder of results holds from before, and whether further points and samples may go there."""

from collections.abc import Mapping, Sequence
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
    changed = [
        f"{key} ({before.settings.get(key)!r} there, {value!r} now)"
        for key, value in fixed.items()
        if value != before.settings.get(key)
    ]
    if changed:
        raise WiseMergeError(
            f"{out} holds a {what} with other settings: {', '.join(changed)}; go on with those, or name another folder"
        )
    return before


def _kind(settings: Mapping[str, Any]) -> str:
    return str(settings.get(KIND, "sweep"))


def together(
    before: Results | None, fixed: Mapping[str, Any], settings: EngineSettings, points: Sequence[Point], out: Path
) -> Results:
    """Return all points that were ever asked for in the folder, these first."""
    if before is None:
        return Results(out, fixed, settings.samples, settings.tasks, tuple(points))
    asked = set(points)
    further = [point for point in before.points if point not in asked]
    tasks = tuple(dict.fromkeys([*before.tasks, *settings.tasks]))
    return Results(out, fixed, max(before.samples, settings.samples), tasks, (*points, *further))
