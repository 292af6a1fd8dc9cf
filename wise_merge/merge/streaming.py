"""Average two mapped checkpoints and write the result as it comes: each pair of tensors is read once.

The files of the output are laid out first; blocks of elements are then averaged, measured and written to their
places by a few threads, so that memory holds some blocks only, however many models come of it.
"""

import contextlib
import json
import os
import threading
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from wise_merge.averaging import first_non_finite, interpolate, interpolate_balanced
from wise_merge.errors import WiseMergeError
from wise_merge.geometry import Distance, Measured, Step, differing, distance, step
from wise_merge.interpolation.layout import Tensor

#: Elements that are averaged at once: few enough for their temporaries to stay in the cache, and enough for Python,
#: which one thread at a time runs, to be no part of the cost.
BLOCK = 1 << 19
#: Elements that a thread takes at once.
_PORTION = 1 << 22
#: Bytes of a file of the output, as `transformers` has it, unless one tensor alone is larger.
_LARGEST_FILE = 5_000_000_000
#: Seconds in which output gathers that the disk then writes.
_BETWEEN_FLUSHES = 0.05

_SAFETENSORS_DTYPES = {
    torch.float64: "F64",
    torch.float32: "F32",
    torch.bfloat16: "BF16",
    torch.float16: "F16",
    torch.int64: "I64",
    torch.int32: "I32",
    torch.int16: "I16",
    torch.int8: "I8",
    torch.uint8: "U8",
    torch.bool: "BOOL",
    torch.uint16: "U16",
    torch.uint32: "U32",
    torch.uint64: "U64",
}


@dataclass(frozen=True)
class _Place:
    descriptor: int
    offset: int


def check_buffers(
    tensors: Sequence[Tensor],
    early: Mapping[str, torch.Tensor],
    late: Mapping[str, torch.Tensor],
    names: tuple[str, str],
) -> None:
    """Raise `WiseMergeError` for a tensor that cannot be averaged (integers, booleans) and differs between the two."""
    for tensor in tensors:
        if tensor.dtype is None and not torch.equal(early[tensor.name], late[tensor.name]):
            raise WiseMergeError(
                f"buffer {tensor.name} ({str(early[tensor.name].dtype).removeprefix('torch.')}) differs between "
                f"{names[0]} and {names[1]}; only floating-point tensors can be averaged, and a choice between the two "
                "would be a guess"
            )


def write_merges(
    tensors: Sequence[Tensor],
    early: Mapping[str, torch.Tensor],
    late: Mapping[str, torch.Tensor],
    names: tuple[str, str],
    folders: Sequence[Path],
    *,
    advance: Callable[[int], object],
) -> Measured:
    """Write one model per folder, for each of the tensors' alphas, and return what was measured on the way.

    Args:
        tensors: what to do to each; `layout.lay_out`.
        early: mapped tensors by name; `checkpoints.weights.open_tensors`.
        late: likewise.
        names: of the two checkpoints, for errors.
        folders: that exist and are empty, one for each alpha.
        advance: is called with the number of elements that were done.

    Raises a `WiseMergeError` for a NaN or infinity in an input, OSError if the disk is full; no file is whole then.
    """
    places = [_lay_files(folder, tensors, early) for folder in folders]
    measured = Measured(steps=[{} for _ in folders])
    threads = torch.get_num_threads()
    # The blocks are spread over threads here; torch's own would only wait for each other.
    torch.set_num_threads(1)
    workers = ThreadPoolExecutor(min(8, os.cpu_count() or 1))
    descriptors = {place.descriptor for by_name in places for place in by_name.values()}
    try:
        portions = list(_portions(tensors, early, late, places))
        with _written_back(descriptors):
            for portion, (seen, steps) in zip(
                portions, workers.map(lambda portion: _average(portion, names), portions), strict=True
            ):
                name = portion.tensor.name
                measured.distances[name] = measured.distances.get(name, Distance()) + seen
                for sums, one in zip(measured.steps, steps, strict=True):
                    sums[name] = sums.get(name, Step()) + one
                advance(portion.early.numel())
    finally:
        workers.shutdown(cancel_futures=True)
        torch.set_num_threads(threads)
        for descriptor in descriptors:
            os.close(descriptor)
    return measured


@contextlib.contextmanager
def _written_back(descriptors: Collection[int]) -> Iterator[None]:
    """Have the disk write meanwhile what has come so far, so that little of it is left for the end."""
    done = threading.Event()

    def write_back() -> None:
        while not done.wait(_BETWEEN_FLUSHES):
            for descriptor in descriptors:
                os.fsync(descriptor)

    with ThreadPoolExecutor(1) as thread:
        written = thread.submit(write_back)
        try:
            yield
        finally:
            done.set()
    # The system tells of a failed write once: whoever asks again afterwards hears of none.
    written.result()


@dataclass(frozen=True)
class _Portion:
    tensor: Tensor
    early: torch.Tensor
    late: torch.Tensor
    places: tuple[_Place, ...]


def _portions(
    tensors: Sequence[Tensor],
    early: Mapping[str, torch.Tensor],
    late: Mapping[str, torch.Tensor],
    places: Sequence[Mapping[str, _Place]],
) -> Iterator[_Portion]:
    for tensor in tensors:
        one, other = early[tensor.name].reshape(-1), late[tensor.name].reshape(-1)
        width = (getattr(torch, tensor.out_dtype) if tensor.out_dtype else one.dtype).itemsize
        start = 0
        for part, other_part in zip(torch.split(one, _PORTION), torch.split(other, _PORTION), strict=True):
            moved = tuple(
                _Place(by_name[tensor.name].descriptor, by_name[tensor.name].offset + start * width)
                for by_name in places
            )
            yield _Portion(tensor, part, other_part, moved)
            start += part.numel()


def _average(portion: _Portion, names: tuple[str, str]) -> tuple[Distance, list[Step]]:
    tensor = portion.tensor
    offsets = [place.offset for place in portion.places]
    if tensor.dtype is None or tensor.out_dtype is None:
        for place in portion.places:
            _write(place.descriptor, portion.early, place.offset)
        return Distance(), [Step() for _ in portion.places]
    dtype, out_dtype = getattr(torch, tensor.dtype), getattr(torch, tensor.out_dtype)
    scratch = _scratch_of(torch.float64 if dtype == torch.float64 else torch.float32, out_dtype)
    far, steps = Distance(), [Step() for _ in portion.places]
    for early, late in zip(torch.split(portion.early, BLOCK), torch.split(portion.late, BLOCK), strict=True):
        early, late = early.to(dtype), late.to(dtype)
        early_wide, task_vector, way, merged_out = (buffer[: early.numel()] for buffer in scratch)
        early_wide.copy_(early)
        task_vector.copy_(late).sub_(early_wide)
        seen = distance(early_wide, task_vector, changed=differing(early, late))
        # Where an input is not finite, neither are these sums; they may overflow without that, too.
        if not np.isfinite(seen.early + seen.task_vector):
            _check_finite(tensor.name, (early, late), names)
        far += seen
        early_out = early.to(out_dtype)
        for number, alpha in enumerate(tensor.alphas):
            if tensor.offset is not None:
                merged = interpolate_balanced(
                    early, late, alpha, temperatures=tensor.temperatures, offset=tensor.offset
                ).to(out_dtype)
            elif dtype != out_dtype:
                merged = interpolate(early, late, alpha).to(out_dtype)
            else:
                merged = interpolate(early, late, alpha, out=merged_out)
            _write(portion.places[number].descriptor, merged, offsets[number])
            offsets[number] += merged.numel() * merged.itemsize
            moved = differing(early_out, merged)
            one = step(early_wide, task_vector, merged, alpha, seen.task_vector, moved=moved, way=way)
            if not np.isfinite(one.squared):
                _check_average(tensor, merged)
            steps[number] += one
    return far, steps


_own = threading.local()


def _scratch_of(wide: torch.dtype, out_dtype: torch.dtype) -> tuple[torch.Tensor, ...]:
    """Return this thread's buffers of a block: early, the task vector and a step in `wide`, and a block of the output.

    Made once: the allocator would return them to the system after each block, and half of the time of an average
    would go into fetching them again.
    """
    found: dict[tuple[torch.dtype, torch.dtype], tuple[torch.Tensor, ...]] = _own.__dict__.setdefault("scratch", {})
    if (wide, out_dtype) not in found:
        found[wide, out_dtype] = tuple(torch.empty(BLOCK, dtype=dtype) for dtype in (wide, wide, wide, out_dtype))
    return found[wide, out_dtype]


def _check_finite(name: str, pair: tuple[torch.Tensor, torch.Tensor], names: tuple[str, str]) -> None:
    for tensor, checkpoint in zip(pair, names, strict=True):
        value = first_non_finite(tensor)
        if value is not None:
            raise WiseMergeError(
                f"tensor {name} of {checkpoint} contains {value} in {tensor.dtype}; every weight must be finite. "
                "Choose a checkpoint from before the training diverged, or a wider dtype"
            )


def _check_average(tensor: Tensor, merged: torch.Tensor) -> None:
    if first_non_finite(merged) is None:
        return
    if tensor.offset is None:
        raise WiseMergeError(
            f"the average of tensor {tensor.name} does not fit into {merged.dtype}; write a wider dtype"
        )
    raise WiseMergeError(
        f"temperature {min(tensor.temperatures)} makes tensor {tensor.name} overflow {merged.dtype}; raise it"
    )


def _write(descriptor: int, tensor: torch.Tensor, offset: int) -> None:
    # A view of the bytes would need two dimensions for a scalar; reshape makes one of it.
    data = tensor.reshape(-1).contiguous().view(torch.uint8).numpy().data
    while data:
        written = os.pwrite(descriptor, data, offset)
        data, offset = data[written:], offset + written


def _lay_files(folder: Path, tensors: Sequence[Tensor], early: Mapping[str, torch.Tensor]) -> dict[str, _Place]:
    """Make the safetensors files of one model with their headers, and return where each tensor's bytes go."""
    sizes = {tensor.name: _bytes(tensor, early[tensor.name]) for tensor in tensors}
    files: list[list[Tensor]] = [[]]
    filled = 0
    for tensor in tensors:
        if files[-1] and filled + sizes[tensor.name] > _LARGEST_FILE:
            files.append([])
            filled = 0
        files[-1].append(tensor)
        filled += sizes[tensor.name]
    places: dict[str, _Place] = {}
    weight_map: dict[str, str] = {}
    for number, content in enumerate(files, start=1):
        name = "model.safetensors" if len(files) == 1 else f"model-{number:05d}-of-{len(files):05d}.safetensors"
        # The widest come first, so that each starts at a multiple of its width, as the format asks.
        content = sorted(content, key=lambda tensor: -_dtype(tensor, early[tensor.name]).itemsize)
        header: dict[str, object] = {"__metadata__": {"format": "pt"}}
        end = 0
        for tensor in content:
            dtype = _dtype(tensor, early[tensor.name])
            if dtype not in _SAFETENSORS_DTYPES:
                raise WiseMergeError(f"tensor {tensor.name} is {dtype}, which wise-merge cannot write")
            header[tensor.name] = {
                "dtype": _SAFETENSORS_DTYPES[dtype],
                "shape": list(tensor.shape),
                "data_offsets": [end, end + sizes[tensor.name]],
            }
            end += sizes[tensor.name]
        text = json.dumps(header, separators=(",", ":")).encode()
        text += b" " * (-len(text) % 8)
        descriptor = os.open(folder / name, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
        start = 8 + len(text)
        os.pwrite(descriptor, len(text).to_bytes(8, "little") + text, 0)
        os.ftruncate(descriptor, start + end)
        for tensor in content:
            entry = header[tensor.name]
            places[tensor.name] = _Place(descriptor, start + entry["data_offsets"][0])  # type: ignore[index]
            weight_map[tensor.name] = name
    if len(files) > 1:
        index = {"metadata": {"total_size": sum(sizes.values())}, "weight_map": dict(sorted(weight_map.items()))}
        (folder / "model.safetensors.index.json").write_text(json.dumps(index, indent=2) + "\n")
    return places


def _dtype(tensor: Tensor, stored: torch.Tensor) -> torch.dtype:
    return getattr(torch, tensor.out_dtype) if tensor.out_dtype else stored.dtype


def _bytes(tensor: Tensor, stored: torch.Tensor) -> int:
    return stored.numel() * _dtype(tensor, stored).itemsize
