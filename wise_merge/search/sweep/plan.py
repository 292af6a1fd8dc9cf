"""From what the user wants to the points of a sweep: which checkpoints, whether they fit, what is there already."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from wise_merge.checkpoints import fingerprint
from wise_merge.checkpoints.folder import step_of
from wise_merge.checkpoints.pairs import pair_warnings
from wise_merge.checkpoints.vocabulary import REMEDY
from wise_merge.errors import WiseMergeError
from wise_merge.methods import METHODS
from wise_merge.points.folder import Results
from wise_merge.points.point import Point, PointCheckpoint
from wise_merge.recipes.parameters import files_of, temperature_of
from wise_merge.search.engines.checkpoints import (
    bytes_and_dtype,
    bytes_of,
    check_engine_takes,
    check_whole,
    compare,
    digests,
    layout,
    locate,
    memory_warnings,
    of_run,
)
from wise_merge.search.engines.results import read_earlier, together
from wise_merge.search.sweep.combinations import points_of
from wise_merge.search.sweep.earlier import as_earlier, check_same_files, fixed
from wise_merge.search.sweep.grid import axes_of, names_of
from wise_merge.search.sweep.settings import SweepSettings
from wise_merge.tensors.statistics import check_files

#: End of the message about a checkpoint that is an adapter.
_ADAPTER = (
    "is a LoRA adapter, and a sweep needs whole checkpoints; `wise-merge merge RECIPE OUT --alphas 0,1` writes the "
    "early and the late one as such"
)
#: Replaces `REMEDY` in messages: that is a key of a recipe, which a sweep does not have.
_REMEDY = (
    "write both with one tokenizer first, by `wise-merge merge RECIPE OUT --alphas 0,1` and a recipe with "
    "`tokenizer: {source: union}`, and sweep between those"
)


@dataclass(frozen=True)
class Plan:
    """A sweep whose checkpoints have been looked at.

    Attributes:
        settings: of the user.
        folders: name of a checkpoint -> where it lies.
        points: by late checkpoint, alpha and temperature, or by model and temperature; those of one model in a row.
        model_bytes: of one model as it is merged.
        dtype: of the merge, which the engine loads unless `model_args` names another; None = several.
        warnings: what is odd, a sentence each.
        results: the folder to write to, with all points that were ever asked for there.
    """

    settings: SweepSettings
    folders: dict[str, Path]
    points: tuple[Point, ...]
    model_bytes: int
    dtype: str | None
    warnings: tuple[str, ...]
    results: Results


def make_plan(settings: SweepSettings, out: Path) -> Plan:
    """Return the plan of a sweep after everything that can be checked without loading a model.

    Raises a `WiseMergeError` for checkpoints that do not fit each other, and for results of another sweep in `out`.
    """
    # Imported here because it imports lm-eval.
    from wise_merge.sampling.merged import model_arguments

    model_arguments(settings.model_args)
    early_name, late_names = _named(settings)
    names = [early_name, *late_names]
    temperatures = {name: _temperature(settings, name) for name in names}
    warnings: list[str] = []
    line = settings.recipe is None or METHODS[settings.method].line
    called = {name: "model" if not line else "late" if place else "early" for place, name in enumerate(names)}
    folders = {name: locate(called[name], name, warnings.append, adapter=_ADAPTER) for name in names}
    before = read_earlier(fixed(settings), out)
    for name in names:
        check_whole(name, folders[name], adapter=_ADAPTER)
    early = folders[early_name]
    for name in late_names:
        late = folders[name]
        if late.samefile(early):
            raise WiseMergeError(f"early {early_name} and late {name} are one folder; a sweep needs two checkpoints")
        odd = compare(early, late, called=("early", "late"), instead={REMEDY: _REMEDY})
        warnings += [*pair_warnings(early, late), *odd]
    check_engine_takes(settings, folders)
    # Names tell them apart until the digests are known.
    planned = points_of(settings, [PointCheckpoint(name, None, name, temperatures[name]) for name in names])
    _check_by_tensor(planned, folders)
    model_bytes, dtype = bytes_and_dtype(_first_of_each_set(planned), folders)
    files = _files(settings, names)
    together_at_once = 2 if METHODS[settings.method].line else len(names)
    mapped = _mapped_bytes(folders, files)
    warnings += memory_warnings(settings, model_bytes, dtype, mapped, together=together_at_once)
    # Last, as these read all weights.
    if settings.recipe is not None:
        check_files(settings.recipe, folders)
    digest_of = digests(folders)
    of_files = {path: fingerprint.of_file(Path(path)) for path in dict.fromkeys(path for _, path in files)}
    check_same_files(before, of_files)
    warnings += _equal(late_names, digest_of)
    checkpoints = [PointCheckpoint(name, step_of(folders[name]), digest_of[name], temperatures[name]) for name in names]
    points = points_of(settings, as_earlier(before, checkpoints), of_files)
    return Plan(
        settings,
        folders,
        points,
        model_bytes,
        dtype,
        tuple(dict.fromkeys(warnings)),
        together(before, fixed(settings), settings, points, out),
    )


def _named(settings: SweepSettings) -> tuple[str, tuple[str, ...]]:
    """Return the names of the early checkpoint and of the late ones, ascending by step where a run tells them."""
    if settings.recipe is not None:
        first, *others = names_of(settings.recipe)
        return first, tuple(others)
    if settings.run is None:
        assert settings.early is not None
        if settings.early in settings.late:
            raise WiseMergeError(f"early and late are both {settings.early}; a sweep needs two checkpoints")
        return settings.early, settings.late
    if settings.late:
        raise WiseMergeError("late and run are both there; run takes every late checkpoint of a folder: leave one out")
    whole = of_run(settings.run)
    if settings.early is None:
        if len(whole) < 2:
            there = "1 whole checkpoint" if len(whole) == 1 else "no whole checkpoint"
            raise WiseMergeError(
                f"run {settings.run} has {there}; a sweep needs an early and a late one: "
                f"`wise-merge checkpoints {settings.run}` shows what is there"
            )
        return str(whole[0].path), tuple(str(one.path) for one in whole[1:])
    early = Path(settings.early).resolve()
    step = step_of(early) if early.is_dir() else None
    later = [
        one for one in whole if one.path.resolve() != early and (step is None or one.step is None or one.step > step)
    ]
    if not later:
        raise WiseMergeError(f"run {settings.run} has no whole checkpoint after {settings.early}")
    return settings.early, tuple(str(one.path) for one in later)


def _first_of_each_set(points: Sequence[Point]) -> list[Point]:
    """Return a point of each set of checkpoints that are merged with each other."""
    return list({point.checkpoints: point for point in reversed(points)}.values())


def _check_by_tensor(points: Sequence[Point], folders: Mapping[str, Path]) -> None:
    """Raise for a model whose numbers vary by layer or tensor, and do not go together at one of these."""
    for point in {point.model: point for point in points if any(one.by_tensor for one in point.fixed)}.values():
        try:
            layout(point, folders)
        except WiseMergeError as error:
            raise WiseMergeError(f"grid: at {point.place(short=False)}: {error}") from error


def _files(settings: SweepSettings, names: Sequence[str]) -> list[tuple[str, str]]:
    """Return the files that a recipe names: the model whose they are, and the path."""
    found = [] if settings.recipe is None else files_of(settings.recipe, names)
    return [(model or names[0], path) for _, model, path in found]


def _mapped_bytes(folders: Mapping[str, Path], files: Sequence[tuple[str, str]]) -> list[int]:
    """Return the bytes that are mapped of each checkpoint, and of the files that a recipe names beside it."""
    sizes = {name: bytes_of(folder) for name, folder in folders.items()}
    for name, path in files:
        sizes[name] += Path(path).stat().st_size
    return list(sizes.values())


def _equal(names: Sequence[str], digests: Mapping[str, str]) -> list[str]:
    first: dict[str, str] = {}
    for name in names:
        first.setdefault(digests[name], name)
    return [
        f"late checkpoints {first[digests[name]]} and {name} are one and the same"
        for name in names
        if first[digests[name]] != name
    ]


def _temperature(settings: SweepSettings, name: str) -> float:
    if settings.recipe is not None:
        swept = {axis.model for axis in axes_of(settings.recipe, settings.grid) if axis.parameter == "temperature"}
        return 1.0 if name in swept else temperature_of(settings.recipe, name)
    if METHODS[settings.method].parameter("temperature") is None:
        return 1.0
    if name not in settings.calibration:
        raise WiseMergeError(
            f"calibration has no temperature for {name}; it names {', '.join(settings.calibration)}: write each "
            "checkpoint as in early and late"
        )
    return float(settings.calibration[name])
