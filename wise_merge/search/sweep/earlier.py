"""What is the same for all points of a sweep, and which of its checkpoints the folder of results knows already."""

import dataclasses
import json
from collections.abc import Mapping, Sequence
from typing import Any

from wise_merge.errors import WiseMergeError
from wise_merge.points.folder import Results
from wise_merge.points.point import PointCheckpoint
from wise_merge.search.engines.settings import MAY_CHANGE
from wise_merge.search.sweep.grid import in_common
from wise_merge.search.sweep.settings import SweepSettings

#: Settings that may change between two commands on one folder of results, beside those of the engines.
_MAY_CHANGE = MAY_CHANGE | {
    *("early", "late", "run", "alphas", "temperatures", "calibration", "grid"),
    *("until_ci", "successive_halving"),
}


def fixed(settings: SweepSettings) -> dict[str, Any]:
    """Return the settings that are the same for all points of a folder of results."""
    kept = {key: value for key, value in dataclasses.asdict(settings).items() if key not in {*_MAY_CHANGE, "recipe"}}
    return kept if settings.recipe is None else {**kept, "recipe": in_common(settings.recipe, settings.grid)}


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
