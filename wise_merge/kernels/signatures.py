"""Robust Weight Signatures (arXiv 2302.12480): what a task vector has beside another one, and adding it to a model.

RWS = d_c - (<d_c, d_0> / <d_0, d_0>) d_0 with d_c = robust - base and d_0 = clean - base; the sums are those of
`wise_merge.geometry.projection`. The paper takes a layer at a time; here, as in its authors' code, that is a weight
tensor. Knows torch and nothing else.
"""

from collections.abc import Sequence
from functools import partial

import torch
from torch import Tensor

from wise_merge.kernels.blocks import block_size, empty, float64_of, in_parts

#: The largest number of an int8 that has its negative.
_MOST = 127


def signature(robust: Tensor, clean: Tensor, base: Tensor, coefficient: float) -> Tensor:
    """Return d_c - coefficient * d_0 in float64, of three tensors of one shape and of any floating dtypes.

    `coefficient` is <d_c, d_0> / <d_0, d_0> over the whole tensor, of which these may be a block.
    """
    base = base.to(torch.float64)
    d_0 = clean.to(torch.float64) - base
    return (robust.to(torch.float64) - base).sub_(d_0, alpha=coefficient)


def quantised(rows: Tensor) -> tuple[Tensor, Tensor]:
    """Return int8 and the scale of each row (float32, shape [rows, 1]), whose product is nearest to `rows`.

    Symmetric: the largest number of a row becomes 127 or -127, and 0 stays 0, so an element is off by half its row's
    scale at most. A row without a number that float32 can hold has scale 0.
    """
    scale = (rows.abs().amax(dim=1, keepdim=True) / _MOST).to(torch.float32)
    divisor = torch.where(scale > 0, scale, torch.inf).to(rows.dtype)
    return (rows / divisor).round_().clamp_(-_MOST, _MOST).to(torch.int8), scale


def dequantised(numbers: Tensor, scale: Tensor) -> Tensor:
    """Return numbers * scale in float32, of what `quantised` has made; the scale of each row, or of each element."""
    return numbers.to(torch.float32).mul_(scale)


def added(tensor: Tensor, signatures: Sequence[tuple[Tensor, float]], *, out: Tensor | None = None) -> Tensor:
    """Return tensor + sum(strength * signature), in the dtype of `tensor` (arXiv 2302.12480).

    bfloat16 and float16 are computed in float32, float32 and float64 in float64, and rounded once. A signature of
    strength 0 has no part in it; without any other, the tensor is returned bit for bit.

    Args:
        tensor: floating.
        signatures: pairs of a tensor of that shape, of any floating dtype and on any device, and its strength.
        out: a contiguous tensor of that shape and dtype to write to.
    """
    merged = empty(tensor, tensor.dtype) if out is None else out.detach()
    counting = [(one, strength) for one, strength in signatures if strength]
    if not counting:
        return merged.copy_(tensor)
    wide = torch.float32 if merged.dtype.itemsize == 2 else float64_of(merged.device)
    flat = merged.view(-1), tensor.detach().reshape(-1), *(one.reshape(-1) for one, _ in counting)
    in_parts(partial(_in_blocks, strengths=[strength for _, strength in counting], wide=wide), flat)
    return merged


def _in_blocks(
    merged: Tensor, tensor: Tensor, *signatures: Tensor, strengths: Sequence[float], wide: torch.dtype
) -> None:
    size = block_size(merged.device)
    buffers = [torch.empty(min(size, merged.numel()), dtype=wide, device=merged.device) for _ in range(2)]
    for out, block, *others in zip(*(torch.split(one, size) for one in (merged, tensor, *signatures)), strict=True):
        total, term = (buffer[: out.numel()] for buffer in buffers)
        total.copy_(block)
        for other, strength in zip(others, strengths, strict=True):
            total.add_(term.copy_(other), alpha=strength)
        out.copy_(total)
