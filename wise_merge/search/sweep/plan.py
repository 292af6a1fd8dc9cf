"""From what the user wants to the points of a sweep: which checkpoints, whether they fit, what is there already."""

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from wise_merge.checkpoints import fingerprint
from wise_merge.checkpoints.architecture import check_same_model
from wise_merge.checkpoints.files import is_adapter, read_config, weight_files
from wise_merge.checkpoints.folder import step_of
from wise_merge.checkpoints.headers import read_headers
from wise_merge.checkpoints.heads import completed, separate_head, stand_ins
from wise_merge.checkpoints.pairs import pair_warnings
from wise_merge.checkpoints.places import folder_of
from wise_merge.checkpoints.runs import find_checkpoints
from wise_merge.checkpoints.ties import tied
from wise_merge.checkpoints.vocabulary import REMEDY, compare_tokens, has_tokenizer
from wise_merge.errors import WiseMergeError
from wise_merge.methods import METHODS
from wise_merge.points.folder import Results
from wise_merge.points.point import Point, PointCheckpoint
from wise_merge.recipes.parameters import files_of, temperature_of
from wise_merge.search.sweep.combinations import points_of
from wise_merge.search.sweep.earlier import as_earlier, check_same_files, read_earlier, together
from wise_merge.search.sweep.grid import axes_of, names_of
from wise_merge.search.sweep.memory import available, check_memory, default_device, running_bytes
from wise_merge.search.sweep.settings import SweepSettings
from wise_merge.tensors.layout import PlannedTensor, lay_out, size
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
    folders = {name: _folder(called[name], name, warnings) for name in names}
    before = read_earlier(settings, out)
    for name in names:
        _check_full(name, folders[name])
    for name in late_names:
        if folders[name].samefile(folders[early_name]):
            raise WiseMergeError(f"early {early_name} and late {name} are one folder; a sweep needs two checkpoints")
        warnings += _compare(folders[early_name], folders[name])
    if settings.backend == "vllm":
        _check_heads(folders)
    _check_tokenizer(settings, folders)
    # Names tell them apart until the digests are known.
    planned = points_of(settings, [PointCheckpoint(name, None, name, temperatures[name]) for name in names])
    _check_by_tensor(planned, folders)
    layouts = [_lay_out(point, folders) for point in _first_of_each_set(planned)]
    model_bytes = max(map(size, layouts))
    dtypes = {tensor.out_dtype for tensors in layouts for tensor in tensors if tensor.out_dtype}
    dtype = dtypes.pop() if len(dtypes) == 1 else None
    files = _files(settings, names)
    warnings += _check_memory(settings, model_bytes, dtype, _mapped_bytes(folders, files))
    # Last, as these read all weights.
    if settings.recipe is not None:
        check_files(settings.recipe, folders)
    with ThreadPoolExecutor(2) as threads:
        digests = dict(zip(names, threads.map(lambda name: fingerprint.of_folder(folders[name]), names), strict=True))
        paths = dict.fromkeys(path for _, path in files)
        of_files = dict(zip(paths, threads.map(lambda path: fingerprint.of_file(Path(path)), paths), strict=True))
    check_same_files(before, of_files)
    warnings += _equal(late_names, digests)
    checkpoints = [PointCheckpoint(name, step_of(folders[name]), digests[name], temperatures[name]) for name in names]
    points = points_of(settings, as_earlier(before, checkpoints), of_files)
    return Plan(
        settings,
        folders,
        points,
        model_bytes,
        dtype,
        tuple(dict.fromkeys(warnings)),
        together(before, settings, points, out),
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
    unbroken = [one for one in find_checkpoints(Path(settings.run)) if one.problem is None]
    whole = [one for one in unbroken if not one.final] if len(unbroken) > 2 else unbroken
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


def _folder(role: str, name: str, warnings: list[str]) -> Path:
    if "+" in name and not Path(name).is_dir():
        raise WiseMergeError(f"the {role} checkpoint {name} {_ADAPTER}")
    return folder_of(role, name, warnings.append)


def _check_full(name: str, folder: Path) -> None:
    if is_adapter(folder):
        raise WiseMergeError(f"{name} {_ADAPTER}")
    if read_config(folder).get("quantization_config"):
        raise WiseMergeError(
            f"{name} is quantised (quantization_config in its config.json), and such weights cannot be averaged; take "
            "the checkpoints that it was made from"
        )


def _check_tokenizer(settings: SweepSettings, folders: Mapping[str, Path]) -> None:
    """Raise unless the early checkpoint, which is loaded, has a tokenizer, or another one is named."""
    early, *lates = folders
    if settings.model_args.get("tokenizer") or has_tokenizer(folders[early]):
        return
    other = next((name for name in lates if has_tokenizer(folders[name])), "a folder with one")
    raise WiseMergeError(f"{early} has no tokenizer; name another by --model-args tokenizer={other}")


def _check_heads(folders: Mapping[str, Path]) -> None:
    """Raise for a checkpoint with an LM head that vLLM would not load."""
    for name, folder in folders.items():
        head = None if tied(read_config(folder)) is False else separate_head(folder)
        if head is not None:
            raise WiseMergeError(
                f"{name} stores a {head} other than its embeddings, though its config ties the two "
                "(tie_word_embeddings): transformers loads that head, vLLM does not. Sweep with `backend: hf`, or "
                "between what `wise-merge merge RECIPE OUT --alphas 0,1` writes of the two, whose configs tie nothing"
            )


def _compare(early: Path, late: Path) -> list[str]:
    """Return what is odd about averaging two checkpoints; raise a `WiseMergeError` where it cannot be done."""
    try:
        check_same_model(early, late)
        warnings = [*pair_warnings(early, late), *compare_tokens(early, late)]
    except WiseMergeError as error:
        raise WiseMergeError(str(error).replace(REMEDY, _REMEDY)) from error
    return [warning.replace(REMEDY, _REMEDY) for warning in warnings]


def _first_of_each_set(points: Sequence[Point]) -> list[Point]:
    """Return a point of each set of checkpoints that are merged with each other."""
    return list({point.checkpoints: point for point in reversed(points)}.values())


def _lay_out(point: Point, folders: Mapping[str, Path]) -> list[PlannedTensor]:
    """Return what happens to each tensor at a point."""
    places = [folders[checkpoint.name] for checkpoint in point.checkpoints]
    headers = [read_headers(folder) for folder in places]
    lacking = stand_ins(places, headers)
    return lay_out(
        [point.recipe()],
        point.ingredients,
        [read_config(folder) for folder in places],
        [completed(own, one) for own, one in zip(headers, lacking, strict=True)],
    )


def _check_by_tensor(points: Sequence[Point], folders: Mapping[str, Path]) -> None:
    """Raise for a model whose numbers vary by layer or tensor, and do not go together at one of these."""
    for point in {point.model: point for point in points if any(one.by_tensor for one in point.fixed)}.values():
        try:
            _lay_out(point, folders)
        except WiseMergeError as error:
            raise WiseMergeError(f"grid: at {point.place(short=False)}: {error}") from error


def _files(settings: SweepSettings, names: Sequence[str]) -> list[tuple[str, str]]:
    """Return the files that a recipe names: the model whose they are, and the path."""
    found = [] if settings.recipe is None else files_of(settings.recipe, names)
    return [(model or names[0], path) for _, model, path in found]


def _mapped_bytes(folders: Mapping[str, Path], files: Sequence[tuple[str, str]]) -> list[int]:
    """Return the bytes that are mapped of each checkpoint, and of the files that a recipe names beside it."""
    sizes = {name: [file.stat().st_size for file in weight_files(folder)] for name, folder in folders.items()}
    for name, path in files:
        sizes[name].append(Path(path).stat().st_size)
    return [sum(some) for some in sizes.values()]


def _check_memory(settings: SweepSettings, model_bytes: int, dtype: str | None, mapped: Sequence[int]) -> list[str]:
    # vLLM checks memory itself, and the engines of a cluster run on other machines.
    if settings.backend != "hf" or settings.ray is not None:
        return []
    device = settings.device or settings.model_args.get("device") or default_device()
    files = sorted(mapped)
    loaded = str(settings.model_args.get("dtype") or "auto").removeprefix("torch.")
    warning = check_memory(
        settings.processes * running_bytes(model_bytes, dtype, loaded),
        files[-2:] if METHODS[settings.method].line else files,
        dtype if loaded == "auto" else loaded,
        free=available(),
        in_memory=str(device).startswith(("cpu", "mps")),
    )
    return [] if warning is None else [warning]


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
