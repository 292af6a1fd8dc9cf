"""Averages of tensors, computed wide, block by block, and rounded once. Knows torch and nothing else.

`interpolate` lies between two tensors, `interpolate_balanced` between two whose temperatures are divided out first,
`weighted_mean` among any number. The merge methods that are made of them are in `wise_merge.methods`.
"""

from collections.abc import Sequence
from functools import partial

import torch
from torch import Tensor

from wise_merge.errors import WiseMergeError
from wise_merge.kernels.blocks import block_size, empty, float64_of, in_parts, long_block_size
from wise_merge.kernels.ranges import WEIGHT, check_alpha, check_temperature, check_weights


def interpolate(
    early: Tensor, late: Tensor, alpha: float, *, dtype: torch.dtype | None = None, out: Tensor | None = None
) -> Tensor:
    """Return (1 - alpha) * early + alpha * late (arXiv 2504.10478, section 3).

    alpha = 0 gives `early` and alpha = 1 gives `late`, bit for bit if their
    dtypes agree. The result has `dtype`, or else `late`'s. bfloat16 and float16
    are computed in float32, float32 in float64, and rounded once: an element
    is off by at most half the spacing of `dtype` at its exact value plus 2^-22
    (2^-51 for float32) of the larger of |early| and |late|, which shows only
    where the two nearly cancel. Shapes must agree. Integers and float8, whose scales
    are stored apart, are refused. With `out`, a contiguous tensor of that
    shape, the result is written there and has its dtype.
    """
    check_alpha(alpha)
    _check_pair(early, late)
    dtype = dtype or (late.dtype if out is None else out.dtype)
    early, late = early.detach(), late.detach()
    if out is not None and (out.shape != late.shape or out.dtype != dtype or not out.is_contiguous()):
        raise WiseMergeError(
            f"out must be contiguous, of shape {tuple(late.shape)} and in {dtype}; got shape {tuple(out.shape)} in "
            f"{out.dtype}"
        )
    merged = empty(late, dtype) if out is None else out.detach()
    if alpha in (0.0, 1.0):
        # Not left to lerp, which turns -0 into +0 and overflows where late - early does.
        return merged.copy_(late if alpha else early)
    if early.dtype == late.dtype == dtype and dtype != torch.float32:
        # lerp computes bfloat16 and float16 in float32 and rounds once: the same bits as the explicit
        # upcast below, without its copies.
        return torch.lerp(early, late, alpha, out=merged)
    # float32 arithmetic for float32 weights would be up to 1.5 roundings off, because alpha and
    # the difference are rounded too.
    narrow = max(early.dtype.itemsize, late.dtype.itemsize) <= 4 and dtype.itemsize == 2
    wide = torch.float32 if narrow else float64_of(late.device)
    flat = early.reshape(-1), late.reshape(-1), merged.view(-1)
    in_parts(partial(_interpolate_in_blocks, alpha=alpha, wide=wide), flat)
    return merged


def interpolate_balanced(
    early: Tensor,
    late: Tensor,
    alpha: float,
    *,
    temperatures: tuple[float, float],
    offset: float,
    dtype: torch.dtype | None = None,
) -> Tensor:
    """Return the average of a last gain (or bias) of early and of late, each divided by its temperature first.

    That is (1 - alpha) * fold(early) + alpha * fold(late), where fold(w) =
    (w + offset) / T - offset divides what the model multiplies with, and
    so the logits; see `wise_merge.checkpoints.final_norms` for the tensors and their
    offsets. Ours, after BANG (arXiv 2309.17230). Computed in float64 and
    rounded once, to `dtype` or else `late`'s; with both temperatures at 1 it
    is `interpolate`, bit for bit. A gain that `dtype` cannot hold becomes
    infinite: see `kernels.finite`.
    """
    check_alpha(alpha)
    _check_pair(early, late)
    for temperature in temperatures:
        check_temperature(temperature)
    if temperatures == (1.0, 1.0):
        return interpolate(early, late, alpha, dtype=dtype)
    dtype = dtype or late.dtype
    wide = float64_of(late.device)
    # No end is multiplied by 0: 0 * infinity would be NaN.
    parts = [
        _fold(tensor.detach().to(wide), temperature, offset) * share
        for tensor, temperature, share in zip((early, late), temperatures, (1.0 - alpha, alpha), strict=True)
        if share
    ]
    return (parts[0] if len(parts) == 1 else parts[0] + parts[1]).to(dtype)


def _fold(weight: Tensor, temperature: float, offset: float) -> Tensor:
    # (weight + offset) / temperature - offset without its cancellation, and exactly `weight` at temperature 1.
    return (weight + offset * (1.0 - temperature)) / temperature


def weighted_mean(tensors: Sequence[Tensor], weights: Sequence[float], *, out: Tensor | None = None) -> Tensor:
    """Return sum(weight * tensor) / sum(weights) of tensors of one shape and dtype, in that dtype.

    bfloat16 and float16 are summed in float32, float32 and float64 in float64, and rounded once: an element is off by
    at most half the spacing of the dtype at its exact value plus n * 2^-22 (2^-51 for float32 and float64) of the
    largest of the n numbers that it is the mean of. With whole weights, ties of bfloat16 and float16 are rounded as
    they are: to even. A tensor of weight 0 has no part in it; the mean of one tensor is that, bit for bit. With
    `out`, a contiguous tensor of that shape and dtype, the result is written there.

    Args:
        tensors: at least one; integers and float8, whose scales are stored apart, are refused.
        weights: as many, finite and not negative, of which one is positive.
        out: see above.
    """
    if len(tensors) != len(weights):
        raise WiseMergeError(f"{len(tensors)} tensors have {len(weights)} weights; give each one")
    for number, tensor in enumerate(tensors):
        _check_pair(tensors[0], tensor, ("tensor 0", f"tensor {number}"))
        if tensor.dtype != tensors[0].dtype:
            raise WiseMergeError(f"tensors of one dtype are averaged; got {tensors[0].dtype} and {tensor.dtype}")
    for weight in weights:
        WEIGHT.check("weight", weight)
    check_weights(weights)
    total = sum(weights)
    parts = [(tensor.detach().reshape(-1), weight) for tensor, weight in zip(tensors, weights, strict=True) if weight]
    merged = empty(tensors[0], tensors[0].dtype) if out is None else out.detach()
    if len(parts) == 1:
        return merged.copy_(parts[0][0].view(merged.shape))
    wide = torch.float32 if merged.dtype.itemsize == 2 else float64_of(merged.device)
    flat = merged.view(-1), *(tensor for tensor, _ in parts)
    in_parts(partial(_mean_in_blocks, weights=[weight for _, weight in parts], total=total, wide=wide), flat)
    return merged


def _mean_in_blocks(
    merged: Tensor, *tensors: Tensor, weights: Sequence[float], total: float, wide: torch.dtype
) -> None:
    size = long_block_size(merged.device)
    sums, term = (torch.empty(min(size, merged.numel()), dtype=wide, device=merged.device) for _ in range(2))
    for out, *blocks in zip(*(torch.split(tensor, size) for tensor in (merged, *tensors)), strict=True):
        a, b = sums[: out.numel()], term[: out.numel()]
        a.copy_(blocks[0])
        if weights[0] != 1:
            a.mul_(weights[0])
        for block, weight in zip(blocks[1:], weights[1:], strict=True):
            a.add_(b.copy_(block), alpha=weight)
        out.copy_(a.div_(total))


def _interpolate_in_blocks(early: Tensor, late: Tensor, merged: Tensor, *, alpha: float, wide: torch.dtype) -> None:
    size = block_size(late.device)
    buffers = [torch.empty(min(size, late.numel()), dtype=wide, device=late.device) for _ in range(2)]
    for early_block, late_block, out in zip(
        *(torch.split(tensor, size) for tensor in (early, late, merged)), strict=True
    ):
        a, b = (buffer[: out.numel()] for buffer in buffers)
        a.copy_(early_block)
        b.copy_(late_block)
        out.copy_(torch.lerp(a, b, alpha, out=a))


def _check_pair(one: Tensor, other: Tensor, called: tuple[str, str] = ("early", "late")) -> None:
    if one.shape != other.shape:
        raise WiseMergeError(
            f"{called[0]} has shape {tuple(one.shape)} but {called[1]} has {tuple(other.shape)}; "
            "both checkpoints must come from the same architecture"
        )
    for dtype in (one.dtype, other.dtype):
        if not dtype.is_floating_point or dtype.itemsize == 1:
            raise WiseMergeError(
                f"weights in {dtype} cannot be averaged number by number (quantised weights have their scales "
                "elsewhere); save the checkpoints in bfloat16"
            )
