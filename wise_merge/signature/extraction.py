"""The signature of one checkpoint beside another, from mapped files to a file, in blocks of whole rows.

Each tensor is read twice: for its sums, which say how much lies along the other task vector, and to write what is left.
Memory holds a few blocks, whatever the size of the model.
"""

import itertools
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TypeVar

import torch

from wise_merge.checkpoints.headers import TensorHeader
from wise_merge.errors import WiseMergeError
from wise_merge.geometry.projection import Projection, projection
from wise_merge.kernels.signatures import dequantised, quantised, signature
from wise_merge.tensor_files.parts import Parts
from wise_merge.tensor_files.signature import DTYPES, SCALE
from wise_merge.tensors.apply import check_finite

#: Elements of a block, unless one row has more.
_BLOCK = 1 << 18

#: The tensors of a checkpoint by name.
State = Mapping[str, torch.Tensor]

_T = TypeVar("_T")


@dataclass(frozen=True)
class Stored:
    """Sums over the elements of a signature as it is written.

    Attributes:
        squared: sum of the squares of the exact signature.
        error: sum of the squares of what rounding to the file's dtype adds.
        lost: elements that are not 0 and are 0 in the file.
    """

    squared: float = 0.0
    error: float = 0.0
    lost: int = 0

    def __add__(self, other: "Stored") -> "Stored":
        return Stored(self.squared + other.squared, self.error + other.error, self.lost + other.lost)


@dataclass(frozen=True)
class _Block:
    """Some rows of one tensor, in each of the three checkpoints: robust, clean and base."""

    name: str
    first_row: int
    robust: torch.Tensor
    clean: torch.Tensor
    base: torch.Tensor


def measured(
    names: Sequence[str], states: Sequence[State], models: Sequence[str], advance: Callable[[int], object]
) -> dict[str, Projection]:
    """Return the projection of each tensor; raises a `WiseMergeError` for a NaN or infinity.

    Args:
        names: of the tensors.
        states: of robust, clean and base.
        models: their names, for errors.
        advance: is called with the number of elements that were read.
    """

    def of_block(block: _Block) -> Projection:
        sums = projection(block.robust, block.clean, block.base)
        if not abs(sums.along) + sums.robust + sums.clean < float("inf"):
            check_finite(block.name, (block.robust, block.clean, block.base), models)
        return sums

    found = dict.fromkeys(names, Projection())
    for block, sums in _in_threads(of_block, _blocks(names, states)):
        found[block.name] += sums
        advance(sums.elements)
    return found


def headers_of(names: Sequence[str], state: State, dtype: str) -> dict[str, TensorHeader]:
    """Return what a file in this dtype holds for these tensors: them, and the scales of their rows with int8."""
    headers: dict[str, TensorHeader] = {}
    for name in names:
        shape = tuple(state[name].shape)
        headers[name] = TensorHeader(shape, DTYPES[dtype])
        if dtype == "int8":
            if name + SCALE in state:
                raise WiseMergeError(
                    f"the model has a tensor {name + SCALE}, as the scales would be called; write float16"
                )
            headers[name + SCALE] = TensorHeader((*shape[:-1], 1), "F32")
    return headers


def write(
    projections: Mapping[str, Projection],
    states: Sequence[State],
    parts: Parts,
    dtype: str,
    advance: Callable[[int], object],
) -> dict[str, Stored]:
    """Write the signature of each tensor, and return what was measured of it.

    Args:
        projections: of the tensors that are written.
        states: of robust, clean and base.
        parts: the file, laid out for `headers_of` these tensors.
        dtype: float16, float32 or int8.
        advance: is called with the number of elements that were written.
    """

    def of_block(block: _Block) -> Stored:
        exact = signature(block.robust, block.clean, block.base, projections[block.name].coefficient)
        start = block.first_row * exact.shape[1]
        if dtype == "int8":
            stored, scale = quantised(exact)
            parts.write(block.name + SCALE, block.first_row, scale)
            back = dequantised(stored, scale).to(torch.float64)
        else:
            stored = exact.to(getattr(torch, dtype))
            back = stored.to(torch.float64)
        parts.write(block.name, start, stored)
        lost = int(torch.count_nonzero(exact)) - int(torch.count_nonzero(back))
        error = back.sub_(exact).reshape(-1)
        exact = exact.reshape(-1)
        sums = Stored(float(exact.dot(exact)), float(error.dot(error)), lost)
        if not sums.error < float("inf"):
            raise WiseMergeError(
                f"the signature of tensor {block.name} reaches {float(exact.abs().max()):.4g}, which {dtype} cannot "
                "hold; write --dtype float32"
            )
        return sums

    found = dict.fromkeys(projections, Stored())
    for block, sums in _in_threads(of_block, _blocks(list(projections), states)):
        found[block.name] += sums
        advance(block.robust.numel())
    return found


def _blocks(names: Sequence[str], states: Sequence[State]) -> Iterator[_Block]:
    for name in names:
        tensors = [state[name] for state in states]
        if not tensors[0].numel():
            continue
        # A row is what lies along the last dimension: the weights of one output of a matrix, the whole of a vector.
        width = tensors[0].shape[-1] if tensors[0].dim() else 1
        rows = [tensor.reshape(-1, width) for tensor in tensors]
        first = 0
        for parts in zip(*(torch.split(one, max(1, _BLOCK // width)) for one in rows), strict=True):
            yield _Block(name, first, *parts)
            first += parts[0].shape[0]


def _in_threads(compute: Callable[[_Block], _T], blocks: Iterator[_Block]) -> Iterator[tuple[_Block, _T]]:
    """Yield each block with what is computed of it, in their order, so that sums do not depend on the threads."""
    workers = min(8, os.cpu_count() or 1)
    before = torch.get_num_threads()
    # The blocks are spread over threads here; threads of torch's own within each block would slow them down.
    torch.set_num_threads(1)
    try:
        with ThreadPoolExecutor(workers) as pool:
            # Some at a time: a model has a million blocks.
            while some := list(itertools.islice(blocks, 32 * workers)):
                yield from zip(some, pool.map(compute, some), strict=True)
    finally:
        torch.set_num_threads(before)
