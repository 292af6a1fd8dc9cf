"""Averages of two checkpoints, tensor by tensor.

The method of Weight Ensembling Improves Reasoning in Language Models
(arXiv 2504.10478) is one line of algebra, `interpolate`. `fold_temperature` is
our merge-time reading of BANG (arXiv 2309.17230): calibrate each checkpoint by
a temperature before averaging. Knows torch and nothing else.
"""

import math

import torch
from torch import Tensor

from wise_merge.errors import WiseMergeError


def check_alpha(alpha: float) -> None:
    """Raise `WiseMergeError` unless alpha lies in [0, 1]."""
    if not 0.0 <= alpha <= 1.0:
        raise WiseMergeError(f"alpha must lie in [0, 1] (0 = early, 1 = late); got {alpha}")


def check_temperature(temperature: float) -> None:
    """Raise `WiseMergeError` unless the temperature is a positive finite number."""
    if not (math.isfinite(temperature) and temperature > 0.0):
        raise WiseMergeError(f"temperature must be a positive number (1 = leave as is); got {temperature}")


def interpolate(early: Tensor, late: Tensor, alpha: float) -> Tensor:
    """Return (1 - alpha) * early + alpha * late (arXiv 2504.10478, section 3).

    alpha = 0 gives `early` and alpha = 1 gives `late`, bit for bit if their
    dtypes agree. The result has `late`'s dtype and lies within one rounding of
    the exact value: bfloat16 and float16 are computed in float32, float32 in
    float64. Shapes must agree.
    """
    check_alpha(alpha)
    if early.shape != late.shape:
        raise WiseMergeError(
            f"early has shape {tuple(early.shape)} but late has {tuple(late.shape)}; "
            "both checkpoints must come from the same architecture"
        )
    if alpha in (0.0, 1.0):
        # Not left to lerp, which turns -0 into +0 and overflows where late - early does.
        return (late if alpha else early).to(late.dtype, copy=True)
    if early.dtype == late.dtype and late.dtype != torch.float32:
        # lerp computes bfloat16 and float16 in float32 and rounds once: the same bits
        # as the explicit upcast below, without its temporary copies.
        return torch.lerp(early, late, alpha)
    return _interpolate_in_blocks(early, late, alpha)


#: Elements per block: temporaries of this size stay in the cache and are not mapped anew each time.
_BLOCK = 1 << 18


def _interpolate_in_blocks(early: Tensor, late: Tensor, alpha: float) -> Tensor:
    # float32 arithmetic for float32 weights would be up to 1.5 roundings off, because alpha and
    # the difference are rounded too. Apple's GPUs have no float64.
    exact = late.dtype == torch.float32 and late.device.type != "mps"
    wide = torch.float64 if exact else torch.promote_types(early.dtype, torch.float32)
    merged = torch.empty_like(late, memory_format=torch.contiguous_format)
    flat = (early.reshape(-1), late.reshape(-1), merged.view(-1))
    for early_block, late_block, out in zip(*(torch.split(tensor, _BLOCK) for tensor in flat), strict=True):
        out.copy_(torch.lerp(early_block.to(wide), late_block.to(wide), alpha))
    return merged


def fold_temperature(weight: Tensor, temperature: float, *, offset: float = 0.0) -> Tensor:
    """Return the last normalisation's gain (or bias) that divides the logits by `temperature`.

    The last normalisation feeds the LM head alone, so scaling its output by
    1 / temperature scales the logits by the same. `offset` is what the
    architecture adds to the stored weight before it multiplies: 0 for RMSNorm
    and LayerNorm, 1 for Gemma, whose gain is (1 + weight). Computed in at least
    float32, result in `weight`'s dtype; temperature 1 returns `weight` itself.
    """
    check_temperature(temperature)
    if temperature == 1.0:
        return weight
    wide = weight.to(torch.promote_types(weight.dtype, torch.float32))
    return ((wide + offset) / temperature - offset).to(weight.dtype)


def first_non_finite(tensor: Tensor) -> float | None:
    """Return the first NaN or infinity of `tensor`, or None where there is none."""
    finite = torch.isfinite(tensor)
    if bool(finite.all()):
        return None
    return float(tensor[~finite][0])
