"""Whether all numbers of a tensor are finite, in a fraction of the time that torch takes to write it down of each."""

import math

import torch
from torch import Tensor


def first_non_finite(tensor: Tensor) -> float | None:
    """Return the first NaN or infinity of `tensor`, or None where there is none, as in every tensor of integers."""
    if not tensor.is_floating_point() or tensor.numel() == 0:
        return None
    if tensor.dtype.itemsize == 1:
        tensor = tensor.to(torch.float32)  # float8 has neither minimum nor isfinite
    # Passes NaN on and cannot overflow as a sum can; a tenth of the time of isfinite, which makes a tensor of answers.
    if all(math.isfinite(value) for value in torch.stack(torch.aminmax(tensor)).tolist()):
        return None
    return float(tensor[~torch.isfinite(tensor)][0])
