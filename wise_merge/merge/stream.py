"""Merge mapped checkpoints and write the result as it comes: each tensor of each is read once.

The files of the output are laid out first (`output_files`); blocks of elements are then merged, measured and written
to their places by a few threads, so that memory holds some blocks only, however many models come of it.
"""

import contextlib
import os
import threading
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from wise_merge.geometry.distances import Distance, Measured, Step, differing, distance, step
from wise_merge.merge.output_files import Place, lay_files, write
from wise_merge.tensors.apply import apply_planned, check_equal, check_finite, check_result
from wise_merge.tensors.layout import PlannedTensor

#: Elements that are merged at once: few enough for their temporaries to stay in the cache, and enough for Python,
#: which one thread at a time runs, to be no part of the cost.
BLOCK = 1 << 19
#: The same, of any number of models: fewer, as a block of each is in the cache beside the temporaries.
_BLOCK_OF_MANY = 1 << 17
#: Elements that a thread takes at once.
_PORTION = 1 << 22
#: Seconds in which output gathers that the disk then writes.
_BETWEEN_FLUSHES = 0.05

#: The tensors of a checkpoint by name.
State = Mapping[str, torch.Tensor]


def check_buffers(tensors: Sequence[PlannedTensor], states: Sequence[State], models: Sequence[str]) -> None:
    """Raise `WiseMergeError` for a tensor that cannot be averaged (integers, booleans) and is not equal in all."""
    for tensor in tensors:
        if tensor.dtype is None:
            check_equal(tensor.name, [state[tensor.name] for state in states], models)


def write_merges(
    tensors: Sequence[PlannedTensor],
    states: Sequence[State],
    models: Sequence[str],
    folders: Sequence[Path],
    *,
    advance: Callable[[int], object],
) -> Measured:
    """Write one model per folder, for each of the tensors' sets of parameters, and return what was measured.

    Args:
        tensors: what to do to each; `layout.lay_out`.
        states: of each checkpoint, the base first: mapped tensors by name; `checkpoints.weights.open_tensors`.
        models: the names of the checkpoints, for errors.
        folders: that exist and are empty, one for each set of parameters.
        advance: is called with the number of elements that were done.

    Raises a `WiseMergeError` for a NaN or infinity in an input, OSError if the disk is full; no file is whole then.
    """
    places = [lay_files(folder, tensors, states[0]) for folder in folders]
    measured = Measured(steps=[{} for _ in folders])
    threads = torch.get_num_threads()
    # The blocks are spread over threads here; threads of torch's own within each block would slow them down.
    torch.set_num_threads(1)
    workers = ThreadPoolExecutor(min(8, os.cpu_count() or 1))
    descriptors = {place.descriptor for by_name in places for place in by_name.values()}
    try:
        portions = list(_portions(tensors, states, places))
        with _written_back(descriptors):
            for portion, (distances, steps) in zip(
                portions, workers.map(lambda portion: _merge(portion, models), portions), strict=True
            ):
                name = portion.tensor.name
                measured.distances[name] = measured.distances.get(name, Distance()) + distances
                for sums, one in zip(measured.steps, steps, strict=True):
                    sums[name] = sums.get(name, Step()) + one
                advance(portion.inputs[0].numel())
    finally:
        workers.shutdown(cancel_futures=True)
        torch.set_num_threads(threads)
        for descriptor in descriptors:
            os.close(descriptor)
    return measured


@contextlib.contextmanager
def _written_back(descriptors: Collection[int]) -> Iterator[None]:
    """Flush what has been written to the disk again and again within, so that little of it is left for the end."""
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
    # The system reports a failed write once; a later fsync of the same file would succeed.
    written.result()


@dataclass(frozen=True)
class _Portion:
    tensor: PlannedTensor
    #: Parts of the flattened tensor of each checkpoint, and where in it they begin.
    inputs: tuple[torch.Tensor, ...]
    start: int
    places: tuple[Place, ...]


def _portions(
    tensors: Sequence[PlannedTensor], states: Sequence[State], places: Sequence[Mapping[str, Place]]
) -> Iterator[_Portion]:
    for tensor in tensors:
        whole = [state[tensor.name].reshape(-1) for state in states]
        width = (getattr(torch, tensor.out_dtype) if tensor.out_dtype else whole[0].dtype).itemsize
        start = 0
        for parts in zip(*(torch.split(one, _PORTION) for one in whole), strict=True):
            moved = tuple(
                Place(by_name[tensor.name].descriptor, by_name[tensor.name].offset + start * width)
                for by_name in places
            )
            yield _Portion(tensor, parts, start, moved)
            start += parts[0].numel()


def _merge(portion: _Portion, models: Sequence[str]) -> tuple[Distance, list[Step]]:
    tensor = portion.tensor
    if tensor.dtype is None or tensor.out_dtype is None:
        for place in portion.places:
            write(place.descriptor, portion.inputs[0], place.offset)
        return Distance(), [Step() for _ in portion.places]
    return _merge_on_line(portion, models) if tensor.method.line else _merge_off_line(portion, models)


def _merge_on_line(portion: _Portion, models: Sequence[str]) -> tuple[Distance, list[Step]]:
    """Write merges on the line from early to late; how far they have come is read off the task vector."""
    tensor = portion.tensor
    assert tensor.dtype is not None
    assert tensor.out_dtype is not None
    offsets = [place.offset for place in portion.places]
    dtype, out_dtype = getattr(torch, tensor.dtype), getattr(torch, tensor.out_dtype)
    buffers = _buffers_of(torch.float64 if dtype == torch.float64 else torch.float32, out_dtype)
    total, steps = Distance(), [Step() for _ in portion.places]
    for early, late in zip(*(torch.split(part, BLOCK) for part in portion.inputs), strict=True):
        early, late = early.to(dtype), late.to(dtype)
        early_wide, task_vector, scratch, merged_out = (buffer[: early.numel()] for buffer in buffers)
        early_wide.copy_(early)
        task_vector.copy_(late).sub_(early_wide)
        of_block = distance(early_wide, task_vector, changed=differing(early, late))
        # Where an input is not finite, neither are these sums; they may overflow without that, too.
        if not np.isfinite(of_block.early + of_block.task_vector):
            check_finite(tensor.name, (early, late), models)
        total += of_block
        early_out = early.to(out_dtype)
        for number, parameters in enumerate(tensor.parameters):
            merged = apply_planned(tensor, (early, late), number=number, out=merged_out)
            write(portion.places[number].descriptor, merged, offsets[number])
            offsets[number] += merged.numel() * merged.itemsize
            moved = differing(early_out, merged)
            alpha = tensor.place_on_line(number)
            assert alpha is not None
            one = step(early_wide, task_vector, merged, alpha, of_block.task_vector, moved=moved, scratch=scratch)
            if not np.isfinite(one.squared):
                check_result(tensor.name, merged, parameters, tensor.statistics)
            steps[number] += one
    return total, steps


def _merge_off_line(portion: _Portion, models: Sequence[str]) -> tuple[Distance, list[Step]]:
    """Write a merge of any elementwise method, and measure how far it lies from its first input."""
    tensor = portion.tensor
    assert tensor.dtype is not None
    assert tensor.out_dtype is not None
    (place,) = portion.places
    start, offset = portion.start, place.offset
    dtype, out_dtype = getattr(torch, tensor.dtype), getattr(torch, tensor.out_dtype)
    buffers = _buffers_of(torch.float64 if dtype == torch.float64 else torch.float32, out_dtype)
    total, shows = Distance(), _shows_what_is_not_finite(tensor)
    for blocks in zip(*(torch.split(part, _BLOCK_OF_MANY) for part in portion.inputs), strict=True):
        inputs = [block.to(dtype) for block in blocks]
        if not shows:
            check_finite(tensor.name, inputs, models)
        first_wide, difference, _, merged_out = (buffer[: inputs[0].numel()] for buffer in buffers)
        merged = apply_planned(tensor, inputs, start=start, out=merged_out)
        write(place.descriptor, merged, offset)
        start += merged.numel()
        offset += merged.numel() * merged.itemsize
        first_wide.copy_(inputs[0])
        difference.copy_(merged).sub_(first_wide)
        of_block = distance(first_wide, difference, changed=differing(inputs[0].to(out_dtype), merged))
        if not np.isfinite(of_block.task_vector):
            check_finite(tensor.name, inputs, models)
            check_result(tensor.name, merged, tensor.parameters[0], tensor.statistics)
        total += of_block
    return total, [Step()]


def _shows_what_is_not_finite(tensor: PlannedTensor) -> bool:
    """Return whether a NaN or infinity in any input makes one in the merge: in a mean in which each has a weight."""
    weight = tensor.method.weight
    return weight is not None and all(one > 0 for one in tensor.parameters[0][weight])


#: By the dtype in which is measured, and that of the output.
_Buffers = dict[tuple[torch.dtype, torch.dtype], tuple[torch.Tensor, ...]]
_of_this_thread = threading.local()


def _buffers_of(wide: torch.dtype, out_dtype: torch.dtype) -> tuple[torch.Tensor, ...]:
    """Return this thread's buffers of a block: three in `wide`, for what is measured, and a block of the output.

    Made once: the allocator would return them to the system after each block, and half of the time of a merge
    would go into fetching them again.
    """
    buffers: _Buffers = _of_this_thread.__dict__.setdefault("buffers", {})
    if (wide, out_dtype) not in buffers:
        buffers[wide, out_dtype] = tuple(torch.empty(BLOCK, dtype=dtype) for dtype in (wide, wide, wide, out_dtype))
    return buffers[wide, out_dtype]
