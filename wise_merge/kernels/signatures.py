"""Robust Weight Signatures (arXiv 2302.12480): what a task vector has beside another one, and adding it to a model.

RWS = d_c - (<d_c, d_0> / <d_0, d_0>) d_0 with d_c = robust - base and d_0 = clean - base (equation 2); the sums are
those of `wise_merge.geometry.projection`. The paper takes a layer at a time; here that is a weight tensor. Knows torch
and nothing else.
"""

import torch
from torch import Tensor

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


def dequantised(rows: Tensor, scale: Tensor, dtype: torch.dtype) -> Tensor:
    """Return rows * scale, what `quantised` has made of numbers, in a floating dtype."""
    return rows.to(dtype).mul_(scale.to(dtype))
