"""Whether checkpoints can be merged in a running engine: where they lie, what they are, how they fit each other."""

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from wise_merge.checkpoints import fingerprint
from wise_merge.checkpoints.architecture import check_same_model
from wise_merge.checkpoints.files import is_adapter, read_config, weight_files
from wise_merge.checkpoints.folder import Checkpoint
from wise_merge.checkpoints.headers import read_headers
from wise_merge.checkpoints.heads import completed, separate_head, stand_ins
from wise_merge.checkpoints.places import folder_of
from wise_merge.checkpoints.runs import find_checkpoints
from wise_merge.checkpoints.ties import tied
from wise_merge.checkpoints.vocabulary import compare_tokens, has_tokenizer
from wise_merge.errors import WiseMergeError
from wise_merge.points.point import Point
from wise_merge.search.engines.memory import available, check_memory, default_device, running_bytes
from wise_merge.search.engines.settings import EngineSettings
from wise_merge.tensors.layout import PlannedTensor, lay_out, size


def of_run(run: str) -> list[Checkpoint]:
    """Return the whole checkpoints of a run, ascending by step; its final model only as one of two."""
    unbroken = [one for one in find_checkpoints(Path(run)) if one.problem is None]
    return [one for one in unbroken if not one.final] if len(unbroken) > 2 else unbroken


def locate(role: str, name: str, warn: Callable[[str], object], *, adapter: str) -> Path:
    """Return where a checkpoint lies; see `folder_of`, and `check_whole` for `adapter`."""
    if "+" in name and not Path(name).is_dir():
        raise WiseMergeError(f"the {role} checkpoint {name} {adapter}")
    return folder_of(role, name, warn)


def check_whole(name: str, folder: Path, *, adapter: str) -> None:
    """Raise a `WiseMergeError` for a checkpoint that is no whole model in floating point.

    Args:
        name: of the checkpoint.
        folder: where it lies.
        adapter: end of the message about one that is an adapter.
    """
    if is_adapter(folder):
        raise WiseMergeError(f"{name} {adapter}")
    if read_config(folder).get("quantization_config"):
        raise WiseMergeError(
            f"{name} is quantised (quantization_config in its config.json), and such weights cannot be averaged; take "
            "the checkpoints that it was made from"
        )


def compare(first: Path, other: Path, *, called: tuple[str, str], instead: Mapping[str, str]) -> list[str]:
    """Return what is odd about averaging two checkpoints; raise a `WiseMergeError` where it cannot be done.

    Args:
        first: where one of them lies.
        other: where the other does.
        called: what messages call them.
        instead: parts of messages that do not fit here -> what takes their place.
    """

    def fitting(text: str) -> str:
        for part, better in instead.items():
            text = text.replace(part, better)
        return text

    try:
        check_same_model(first, other, called)
        return [fitting(warning) for warning in compare_tokens(first, other)]
    except WiseMergeError as error:
        raise WiseMergeError(fitting(str(error))) from error


def check_engine_takes(settings: EngineSettings, folders: Mapping[str, Path]) -> None:
    """Raise unless the engine can load the first checkpoint, and the weights of the others into it."""
    first, *others = folders
    if not settings.model_args.get("tokenizer") and not has_tokenizer(folders[first]):
        other = next((name for name in others if has_tokenizer(folders[name])), "a folder with one")
        raise WiseMergeError(f"{first} has no tokenizer; name another by --model-args tokenizer={other}")
    for name, folder in folders.items() if settings.backend == "vllm" else ():
        head = None if tied(read_config(folder)) is False else separate_head(folder)
        if head is not None:
            raise WiseMergeError(
                f"{name} stores a {head} other than its embeddings, though its config ties the two "
                "(tie_word_embeddings): transformers loads that head, vLLM does not. Take `backend: hf`, or what "
                "`wise-merge merge RECIPE OUT --alphas 0,1` writes of two such checkpoints, whose configs tie nothing"
            )


def layout(point: Point, folders: Mapping[str, Path]) -> list[PlannedTensor]:
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


def bytes_and_dtype(points: Sequence[Point], folders: Mapping[str, Path]) -> tuple[int, str | None]:
    """Return the bytes of the largest model among points, and the dtype of all, None = several."""
    layouts = [layout(point, folders) for point in points]
    dtypes = {tensor.out_dtype for tensors in layouts for tensor in tensors if tensor.out_dtype}
    return max(map(size, layouts)), dtypes.pop() if len(dtypes) == 1 else None


def bytes_of(folder: Path) -> int:
    """Return the bytes of the files of a checkpoint's weights."""
    return sum(file.stat().st_size for file in weight_files(folder))


def memory_warnings(
    settings: EngineSettings, model_bytes: int, dtype: str | None, mapped: Sequence[int], *, together: int
) -> list[str]:
    """Return a warning where checkpoints are read from disk again and again; raise where the model does not fit.

    Args:
        settings: of the engine.
        model_bytes: of one model as it is merged.
        dtype: of the merge, None = several.
        mapped: bytes of the files of each checkpoint (`bytes_of`), and of those that go with it.
        together: how many of them one merge is made of, the most.
    """
    # vLLM checks memory itself, and the engines of a cluster run on other machines.
    if settings.backend != "hf" or settings.ray is not None:
        return []
    device = settings.device or settings.model_args.get("device") or default_device()
    loaded = str(settings.model_args.get("dtype") or "auto").removeprefix("torch.")
    warning = check_memory(
        settings.processes * running_bytes(model_bytes, dtype, loaded),
        sorted(mapped)[-together:],
        dtype if loaded == "auto" else loaded,
        free=available(),
        in_memory=str(device).startswith(("cpu", "mps")),
    )
    return [] if warning is None else [warning]


def digests(folders: Mapping[str, Path]) -> dict[str, str]:
    """Return what tells each checkpoint from others, by name; reads all their weights."""
    with ThreadPoolExecutor(2) as threads:
        found = threads.map(fingerprint.of_folder, folders.values())
        return dict(zip(folders, found, strict=True))
