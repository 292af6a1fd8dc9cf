"""Tensors in blocks whose temporaries stay in the cache, spread over threads; memory for results in huge pages."""

import contextlib
import mmap
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

import torch
from torch import Tensor

#: Elements per block: torch computes this many without threads of its own, and temporaries stay in the cache.
BLOCK = 1 << 15
#: Elements per block in a thread that has no others of torch's beside it: fewer and longer operations, between which
#: threads wait for Python's lock; temporaries stay in the cache of all cores.
LONG_BLOCK = 1 << 18


def block_size(device: torch.device) -> int:
    """Return how many elements are computed at once: on a GPU, as many as keep it busy."""
    return BLOCK if device.type == "cpu" else 1 << 24


def long_block_size(device: torch.device) -> int:
    """Return `block_size`, or more where torch computes in this thread alone, as within `in_parts`."""
    return LONG_BLOCK if device.type == "cpu" and torch.get_num_threads() == 1 else block_size(device)


def in_parts(compute: Callable[..., None], flat: Sequence[Tensor]) -> None:
    """Call `compute` with tensors of shape [n], or with equal parts of them in as many threads as torch has.

    One thread each for a few large parts: torch's own threads would wait for each other after every operation on every
    block, which takes a hundred times as long when something else runs on one of the cores.
    """
    count = flat[0].numel()
    threads = torch.get_num_threads() if flat[0].device.type == "cpu" and count > 16 * BLOCK else 1
    if threads == 1:
        compute(*flat)
        return
    parts = [torch.split(tensor, -(-count // threads)) for tensor in flat]
    # New threads take over that torch has no others for them; this one has its own again afterwards.
    torch.set_num_threads(1)
    try:
        with ThreadPoolExecutor(threads) as pool:
            # As a list: an error within is raised when its result is taken.
            list(pool.map(compute, *parts))
    finally:
        torch.set_num_threads(threads)


def empty(like: Tensor, dtype: torch.dtype) -> Tensor:
    """Return an uninitialised contiguous tensor of the shape of `like`, in huge pages where the system has them.

    Half the time of an average goes into fetching the result's memory from the
    system, 4 kB at a time; in pages of 2 MB that is a quarter of it.
    """
    size = like.numel() * dtype.itemsize
    if like.device.type != "cpu" or size < 1 << 22 or not hasattr(mmap, "MADV_HUGEPAGE"):
        return torch.empty(like.shape, dtype=dtype, device=like.device)
    memory = mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    with contextlib.suppress(OSError):  # a kernel without them
        memory.madvise(mmap.MADV_HUGEPAGE)
    return torch.frombuffer(memory, dtype=dtype).view(like.shape)


def float64_of(device: torch.device) -> torch.dtype:
    """Return the widest floating dtype of a device."""
    return torch.float32 if device.type == "mps" else torch.float64  # Apple's GPUs have no float64
