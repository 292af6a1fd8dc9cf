"""The order of work of `wise-merge fit fisher`: check, tokenize, load, add up sequence by sequence, write, print."""

import hashlib
import json
import math
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from wise_merge import __version__
from wise_merge.calibrate.checkpoints import ModelFolders, find_checkpoint, load_config, load_model
from wise_merge.calibrate.data import Encoded
from wise_merge.calibrate.fisher import unfinished
from wise_merge.calibrate.fisher.estimate import Sums, adding, new_sums, trainable
from wise_merge.calibrate.fisher.result import FittedFisher, groups_of, norm_of, table
from wise_merge.calibrate.fisher.stored import as_stored, floating
from wise_merge.calibrate.outputs import check_device, check_outputs
from wise_merge.calibrate.sequences import Data, Source, read_sequences
from wise_merge.checkpoints import fingerprint
from wise_merge.checkpoints.files import is_adapter, read_config
from wise_merge.checkpoints.headers import TensorHeader, read_headers
from wise_merge.errors import WiseMergeError
from wise_merge.kernels.threads import fitting
from wise_merge.results.whole_file import write_document
from wise_merge.tensor_files.contents import write
from wise_merge.text import bar, counted, printable_lines, size
from wise_merge.verifiers.models import ModelOptions, well_formed

if TYPE_CHECKING:
    from torch import Tensor

#: Sums are written after so many seconds, and so seldom that it takes at most this share of the time.
_SECONDS, _SHARE = 30.0, 0.05


@dataclass(frozen=True)
class FisherSettings:
    """What the command line says: see `wise-merge fit fisher --help`."""

    source: Source
    draws: int = 1
    seed: int = 0
    device: str | None = None
    dtype: str = "auto"
    trust_remote_code: bool = False


def fit_fisher(
    name: str,
    settings: FisherSettings,
    *,
    out: Path,
    json_file: Path | None = None,
    say: Callable[[str], object] = print,
    warn: Callable[[str], object] = print,
) -> FittedFisher:
    """Return what was fitted, after writing the Fisher file and printing the table.

    Args:
        name: of the checkpoint, a folder or a model of the Hub.
        settings: see there.
        out: the Fisher file; on the way there, `unfinished.place_of` it holds the sums so far.
        json_file: file for all figures.
        say: prints a part of the output.
        warn: is given what is odd about the checkpoint.
    """
    _check_settings(settings, out, json_file)
    checkpoint = find_checkpoint("given", name, warn)
    headers = _check_checkpoint(checkpoint)
    config = load_config(checkpoint, trust_remote_code=settings.trust_remote_code)
    options = ModelOptions(settings.device, _dtype(settings.dtype, config, headers), 1, settings.trust_remote_code)
    data, sequences = read_sequences(
        settings.source, [checkpoint], [config], trust_remote_code=settings.trust_remote_code
    )
    _check_sequences(sequences)
    shapes = floating(headers)
    _check_space(out, 4 * sum(map(math.prod, shapes.values())))
    digest = fingerprint.of_weights(checkpoint.base)
    model = _load(checkpoint, options)
    begun_with = _begun_with(digest, sequences, settings, model)
    place = unfinished.place_of(out)
    goes_on = unfinished.check(place, begun_with)
    _check_names(model, shapes, out, name, warn)
    sums = new_sums(model)
    if goes_on:
        unfinished.load_into(sums, place)
    _add_all(model, sums, sequences, settings, lambda: unfinished.save(place, sums, begun_with))
    fitted = _write(model, sums, shapes, out, name, digest, data, settings)
    place.unlink(missing_ok=True)
    say(printable_lines(table(fitted)))
    say(printable_lines(f"\n{out}: {size(out.stat().st_size)}, {_duration(fitted.seconds)}"))
    if json_file is not None:
        write_document(json_file, {"wise_merge": __version__, "fisher": fitted})
    return fitted


def _check_settings(settings: FisherSettings, out: Path, json_file: Path | None) -> None:
    """Refuse, before the long work, what would fail or destroy something after it."""
    settings.source.check()
    check_outputs({"--out": out, "--json": json_file})
    if out.suffix != ".safetensors":
        raise WiseMergeError(f"--out must end in .safetensors, as early.fisher.safetensors does; got {out.name}")
    if settings.dtype == "float16":
        raise WiseMergeError("gradients do not fit into float16: take --dtype float32 or bfloat16")
    check_device(settings.device)


def _check_checkpoint(checkpoint: ModelFolders) -> dict[str, TensorHeader]:
    """Return the headers of a checkpoint that has gradients, and a tensor for each."""
    if checkpoint.adapter is not None or is_adapter(checkpoint.base):
        raise WiseMergeError(
            f"{checkpoint.name} is a LoRA adapter, and a Fisher file is of a whole model: write that first, by "
            "`wise-merge merge`, and fit what it has written"
        )
    headers = read_headers(checkpoint.base)
    narrow = next((name for name, header in headers.items() if header.dtype.startswith("F8_")), None)
    if read_config(checkpoint.base).get("quantization_config") or narrow:
        why = f"{narrow} has 8 bits" if narrow else "quantization_config in its config.json"
        raise WiseMergeError(
            f"{checkpoint.name} is quantised ({why}), and such weights have no gradients; take the checkpoint that it "
            "was made from"
        )
    return headers


def _dtype(asked: str, config: Any, headers: Mapping[str, TensorHeader]) -> str:
    stored = str(getattr(config, "dtype", None)).removeprefix("torch.")
    half = stored == "float16" or any(header.dtype == "F16" for header in headers.values())
    return "float32" if asked == "auto" and half else asked


def _check_sequences(sequences: Sequence[Encoded]) -> None:
    for sequence in sequences:
        if len(sequence.ids) <= sequence.first:
            raise WiseMergeError(
                f"{sequence.place}: there is no completion token that follows another one; take the row out"
            )


def _check_space(out: Path, needed: int) -> None:
    """Refuse a place where the sums, and beside them those of a moment later or the file itself, find no room."""
    parent = out.resolve().parent
    while not parent.exists():
        parent = parent.parent
    if not parent.is_dir():
        raise WiseMergeError(f"--out {out} cannot be made: {parent} is a file, not a folder")
    free = shutil.disk_usage(parent).free
    if free < 2 * needed:
        raise WiseMergeError(
            f"--out {out} needs {size(2 * needed)} on the way, which is {size(2 * needed - free)} more than {parent} "
            "has free; make room or name a folder on another disk"
        )


def _load(checkpoint: ModelFolders, options: ModelOptions) -> Any:
    import torch

    try:
        return load_model(checkpoint, options)
    except torch.OutOfMemoryError as error:
        raise WiseMergeError(_no_room(checkpoint.name, options.device)) from error


def _no_room(called: str, device: str | None) -> str:
    return (
        f"{called} and 4 bytes more for each of its weights do not fit into the memory of {device or 'the GPU'}; take "
        "--dtype bfloat16, shorter sequences or --device cpu"
    )


def _begun_with(digest: str, sequences: Sequence[Encoded], settings: FisherSettings, model: Any) -> dict[str, str]:
    """Return on what the sums depend, in words for a message about other ones."""
    tokens = json.dumps([[sequence.first, *sequence.ids] for sequence in sequences]).encode()
    return {
        "weights": digest,
        "data": hashlib.sha256(tokens).hexdigest()[:32],
        "--seed": str(settings.seed),
        "--draws": str(settings.draws),
        "--dtype": str(model.dtype).removeprefix("torch."),
        "--device": model.device.type,
    }


def _check_names(
    model: Any, shapes: Mapping[str, tuple[int, ...]], out: Path, called: str, warn: Callable[[str], object]
) -> None:
    """Refuse a model whose parameters do not come to stand in its files; warn of what is in the files alone."""
    import torch

    # As small as tensors can be, as they may be written.
    tiny = {name: torch.zeros(one.shape, dtype=torch.uint8) for name, one in trainable(model).items()}
    found = as_stored(model, tiny, shapes, out, called)
    unused = [name for name in shapes if name not in found and name not in dict(model.named_buffers())]
    if unused:
        what = (
            f"tensor {unused[0]} of {called} is"
            if len(unused) == 1
            else f"{unused[0]} and {len(unused) - 1} further tensors of {called} are"
        )
        warn(f"{what} not read by {type(model).__name__}, so the Fisher there is 0")


def _add_all(
    model: Any, sums: Sums, sequences: Sequence[Encoded], settings: FisherSettings, save: Callable[[], object]
) -> None:
    """Add the sequences that are not in the sums yet, longest first, as one that does not fit then fails at once."""
    import torch

    order = sorted(range(len(sequences)), key=lambda number: -len(sequences[number].ids))
    counts = [len(sequences[number].ids) - sequences[number].first for number in order]
    done = sums.sequences
    began, before = time.monotonic(), sums.seconds
    save_at = began + _SECONDS
    shown = bar(total=sum(counts), done=sum(counts[:done]), what="fisher", unit="token", scaled=True)
    try:
        with shown, fitting(model), adding(model, sums, draws=settings.draws, seed=settings.seed) as add:
            for number, count in zip(order[done:], counts[done:], strict=True):
                add(sequences[number], number)
                shown.update(count)
                now = time.monotonic()
                sums.seconds = before + now - began
                if now >= save_at and sums.sequences < len(order):
                    save()
                    took = time.monotonic() - now
                    save_at = now + took + max(_SECONDS, took / _SHARE)
    except torch.OutOfMemoryError as error:
        raise WiseMergeError(_no_room("the model", settings.device)) from error


def _write(
    model: Any,
    sums: Sums,
    shapes: Mapping[str, tuple[int, ...]],
    out: Path,
    name: str,
    digest: str,
    data: Data,
    settings: FisherSettings,
) -> FittedFisher:
    """Write the Fisher file; return what is in it."""
    for total in sums.squares.values():
        total /= sums.sequences
    moments = {parameter: moment / sums.sequences for parameter, moment in sums.second_moments.items()}
    groups = groups_of(sums.squares, moments, sums.sequences)
    if not groups[-1].squared_norm:
        raise WiseMergeError(
            f"every entry of the Fisher of {name} is 0: it gives one token all of the probability everywhere, or its "
            "gradients are too small for float32"
        )
    tensors = _completed(as_stored(model, sums.squares, shapes, out, name), shapes)
    dtype = str(model.dtype).removeprefix("torch.")
    norm = norm_of(tensors)
    facts = {"checkpoint": well_formed(name), "data": well_formed(data.source), "dtype": dtype, "digest": digest}
    counts = {
        "sequences": data.sequences,
        "tokens": data.tokens,
        "draws": settings.draws,
        "seed": settings.seed,
        "norm": norm,
    }
    write(out, "fisher", tensors, {**facts, **{what: repr(number) for what, number in counts.items()}})
    return FittedFisher(name, digest, data, settings.draws, settings.seed, dtype, norm, round(sums.seconds, 1), groups)


def _completed(found: "Mapping[str, Tensor]", shapes: Mapping[str, tuple[int, ...]]) -> "dict[str, Tensor]":
    """Return a tensor of each shape, in memory of its own: zeros where the model in memory has none."""
    import torch

    tensors: dict[str, Tensor] = {}
    taken: set[int] = set()
    for name, shape in shapes.items():
        tensor = found[name] if name in found else torch.zeros(shape)
        # An LM head that is tied may be stored beside the embeddings.
        tensors[name] = tensor.clone() if tensor.data_ptr() in taken else tensor
        taken.add(tensor.data_ptr())
    return tensors


def _duration(seconds: float) -> str:
    return counted(round(seconds), "second") if seconds < 120 else f"{seconds / 60:.0f} minutes"
