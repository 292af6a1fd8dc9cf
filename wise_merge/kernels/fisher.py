"""The average of tensors in which each element counts as much as its Fisher information says. Knows torch alone."""

from collections.abc import Sequence
from functools import partial

import torch
from torch import Tensor

from wise_merge.errors import WiseMergeError
from wise_merge.kernels.blocks import block_size, empty, float64_of, in_parts


def fisher_mean(
    tensors: Sequence[Tensor],
    fishers: Sequence[Tensor],
    coefficients: Sequence[float],
    floors: Sequence[float],
    *,
    out: Tensor | None = None,
) -> Tensor:
    """Return sum_i c_i max(F_i, floor_i) * tensor_i / sum_i c_i max(F_i, floor_i), element by element.

    Merging Models with Fisher-Weighted Averaging (arXiv 2111.09832), equation 3. The result has the dtype of the
    tensors. bfloat16 and float16 are computed in float32, float32 and float64 in float64, and rounded once. A tensor of
    coefficient 0 has no part in it; one that is the only one with a positive coefficient is returned bit for bit.

    Args:
        tensors: at least one; of one shape and one floating dtype.
        fishers: F_i, the diagonal of each one's Fisher information, >= 0; float32 of that shape, on any device.
        coefficients: c_i >= 0, of which one is positive.
        floors: the least that each entry of F_i counts, >= 0; one with a positive coefficient is positive, so that
            nothing is divided by 0.
        out: a contiguous tensor of that shape and dtype to write to.
    """
    if not any(c > 0 and floor > 0 for c, floor in zip(coefficients, floors, strict=True)):
        raise WiseMergeError("a model with a positive weight needs a positive floor; otherwise 0 would be divided by 0")
    merged = empty(tensors[0], tensors[0].dtype) if out is None else out.detach()
    counting = [number for number, coefficient in enumerate(coefficients) if coefficient]
    if len(counting) == 1:
        return merged.copy_(tensors[counting[0]])
    wide = torch.float32 if merged.dtype.itemsize == 2 else float64_of(merged.device)
    fishers = [fisher.detach().to(merged.device) for fisher in fishers]
    flat = merged.view(-1), *(group[number].detach().reshape(-1) for number in counting for group in (tensors, fishers))
    weights = [(coefficients[number], floors[number]) for number in counting]
    in_parts(partial(_in_blocks, weights=weights, wide=wide), flat)
    return merged


def _in_blocks(
    merged: Tensor, *tensors_and_fishers: Tensor, weights: Sequence[tuple[float, float]], wide: torch.dtype
) -> None:
    size = block_size(merged.device)
    buffers = [torch.empty(min(size, merged.numel()), dtype=wide, device=merged.device) for _ in range(4)]
    for out, *blocks in zip(*(torch.split(one, size) for one in (merged, *tensors_and_fishers)), strict=True):
        total, weighted, share, term = (buffer[: out.numel()] for buffer in buffers)
        for number, (coefficient, floor) in enumerate(weights):
            tensor, fisher = blocks[2 * number], blocks[2 * number + 1]
            torch.clamp(fisher, min=floor, out=share) if fisher.dtype == wide else share.copy_(fisher).clamp_(min=floor)
            if number == 0:
                torch.mul(share, coefficient, out=total)
                weighted.copy_(tensor).mul_(total)
            else:
                total.add_(share, alpha=coefficient)
                weighted.addcmul_(term.copy_(tensor), share, value=coefficient)
        out.copy_(weighted.div_(total))
