"""From what the user wants to the checkpoints of a soup: which they are, whether they fit, what is there already."""

import dataclasses
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations, pairwise
from pathlib import Path
from typing import Any

from wise_merge.checkpoints.equality import same_weights
from wise_merge.checkpoints.folder import step_of
from wise_merge.checkpoints.vocabulary import REMEDY
from wise_merge.errors import WiseMergeError
from wise_merge.points.folder import Results
from wise_merge.points.point import Coordinate, Point, PointCheckpoint
from wise_merge.search.engines.checkpoints import (
    bytes_and_dtype,
    bytes_of,
    check_engine_takes,
    check_whole,
    compare,
    digests,
    locate,
    memory_warnings,
    of_run,
)
from wise_merge.search.engines.results import KIND, read_earlier
from wise_merge.search.soup.settings import CHANGING, SoupSettings

METHOD = "uniform_soup"
#: End of the message about a checkpoint that is an adapter.
_ADAPTER = (
    "is a LoRA adapter, and a soup needs whole checkpoints; `wise-merge merge RECIPE OUT --alphas 0,1` writes two "
    "adapters as such"
)
#: Parts of messages about two checkpoints -> what is said of a soup instead.
_INSTEAD = {
    REMEDY: (
        "write both with one tokenizer first, by `wise-merge merge RECIPE OUT --alphas 0,1` and a recipe with "
        "`tokenizer: {source: union}`, and take those"
    ),
    "both must be checkpoints of one run": "all checkpoints of a soup must be of one architecture",
}


@dataclass(frozen=True)
class Plan:
    """A soup whose checkpoints have been looked at.

    Attributes:
        settings: of the user.
        folders: name of a checkpoint -> where it lies.
        checkpoints: that are tried, in the order of the runs and of their steps, or as they were listed.
        groups: the numbers of the checkpoints of each run; of all together where they were listed.
        model_bytes: of one model as it is merged.
        dtype: of the merge, which the engine loads unless `model_args` names another; None = several.
        warnings: what is odd, a sentence each.
        before: what was asked for in the folder of results so far, None = nothing.
    """

    settings: SoupSettings
    folders: dict[str, Path]
    checkpoints: tuple[PointCheckpoint, ...]
    groups: tuple[tuple[int, ...], ...]
    model_bytes: int
    dtype: str | None
    warnings: tuple[str, ...]
    before: Results | None

    def point(self, numbers: Sequence[int]) -> Point:
        """Return the mean of some of the checkpoints with equal weight, or one of them as it is."""
        return _mean([self.checkpoints[number] for number in sorted(numbers)], self.settings)

    def group_of(self, number: int) -> tuple[int, ...]:
        """Return the numbers of all checkpoints of the run of one."""
        return next(group for group in self.groups if number in group)

    def with_step(self, number: int) -> str:
        """Return what people read of a checkpoint, with its step where the name does not tell it."""
        label, step = self.labels[number], self.checkpoints[number].step
        return label if step is None or str(step) in re.findall(r"\d+", label) else f"{label} (step {step})"

    @property
    def labels(self) -> tuple[str, ...]:
        """What people read of each checkpoint: as many of the last parts of its name as tell it from the others."""
        names = [one.name for one in self.checkpoints]
        longest = max(len(Path(name).parts) for name in names)
        for count in range(1, longest + 1):
            short = tuple("/".join(Path(name).parts[-count:]) for name in names)
            if len(set(short)) == len(short):
                return short
        return tuple(names)


def fixed(settings: SoupSettings) -> dict[str, Any]:
    """Return what is the same for all points of a folder of results."""
    own = {key: value for key, value in dataclasses.asdict(settings).items() if key not in CHANGING}
    return {**own, "method": METHOD, KIND: "soup"}


def make_plan(settings: SoupSettings, out: Path) -> Plan:
    """Return the plan of a soup after everything that can be checked without loading a model.

    Raises a `WiseMergeError` for checkpoints that do not fit each other, and for other results in `out`.
    """
    # Imported here because it imports lm-eval.
    from wise_merge.sampling.merged import model_arguments

    model_arguments(settings.model_args)
    named = _named(settings)
    names = [name for group in named for name in group]
    warnings: list[str] = []
    folders = {name: locate("single", name, warnings.append, adapter=_ADAPTER) for name in names}
    before = read_earlier(fixed(settings), out)
    for name in names:
        check_whole(name, folders[name], adapter=_ADAPTER)
    first = folders[names[0]]
    for name in names[1:]:
        warnings += compare(first, folders[name], called=(names[0], name), instead=_INSTEAD)
    _check_different(folders)
    check_engine_takes(settings, folders)
    nameless = [PointCheckpoint(name, None, "") for name in names]
    planned = [*(_mean([one], settings) for one in nameless), _mean(nameless, settings)]
    model_bytes, dtype = bytes_and_dtype(planned, folders)
    warnings += memory_warnings(
        settings, model_bytes, dtype, list(map(bytes_of, folders.values())), together=len(names)
    )
    # Last, as it reads all weights.
    digest_of = digests(folders)
    checkpoints = [PointCheckpoint(name, step_of(folders[name]), digest_of[name]) for name in names]
    ends = [sum(len(group) for group in named[:count]) for count in range(len(named) + 1)]
    return Plan(
        settings,
        folders,
        _as_earlier(before, checkpoints),
        tuple(tuple(range(start, end)) for start, end in pairwise(ends)),
        model_bytes,
        dtype,
        tuple(dict.fromkeys(warnings)),
        before,
    )


def _named(settings: SoupSettings) -> list[list[str]]:
    """Return the names of the checkpoints of each run, ascending by step; or those that are listed, as one group."""
    if settings.models:
        return [list(settings.models)]
    named = []
    for run in settings.run:
        whole = [str(one.path) for one in of_run(run)]
        if len(whole) < 2:
            raise WiseMergeError(
                f"run {run} has {'1 whole checkpoint' if whole else 'no whole checkpoint'}; a soup needs at least two "
                f"of each run: `wise-merge checkpoints {run}` shows what is there, and --models takes single ones"
            )
        named.append(whole)
    return named


def _check_different(folders: Mapping[str, Path]) -> None:
    """Raise a `WiseMergeError` for two checkpoints that are one: it would count twice."""
    for (one, folder), (other, another) in combinations(folders.items(), 2):
        if folder.samefile(another) or same_weights(folder, another):
            raise WiseMergeError(
                f"{one} and {other} are the same checkpoint: their weights are equal bit for bit. A soup takes each "
                "once; leave one of them out, by --models if it is one of a run"
            )


def _mean(checkpoints: Sequence[PointCheckpoint], settings: SoupSettings) -> Point:
    weights = tuple(Coordinate("weight", 1.0, number) for number in range(len(checkpoints)))
    return Point(tuple(checkpoints), METHOD, weights, float(settings.temperature), settings.dtype, settings.out_dtype)


def _as_earlier(before: Results | None, checkpoints: Sequence[PointCheckpoint]) -> tuple[PointCheckpoint, ...]:
    """Return the checkpoints as the results know them.

    Raises a `WiseMergeError` if one that they know is another now, and if they know none of them.
    """
    known = {one.name: one for point in before.points for one in point.checkpoints} if before is not None else {}
    for now in checkpoints:
        then = known.get(now.name)
        if then is not None and then.digest != now.digest:
            assert before is not None
            raise WiseMergeError(
                f"{before.folder} holds results of another model that is called {now.name} as well (digest "
                f"{then.digest[:8]} there, {now.digest[:8]} now); name another folder for the results"
            )
    if known and not {one.digest for one in checkpoints} & {one.digest for one in known.values()}:
        assert before is not None
        raise WiseMergeError(
            f"{before.folder} holds a soup of other checkpoints, such as {min(known)}; name another folder for the "
            "results"
        )
    # Keeps the step known earlier: the same files may since have lost or gained the log that tells it.
    return tuple(known.get(now.name, now) for now in checkpoints)
