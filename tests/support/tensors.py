"""What floating-point numbers can tell apart."""

import torch


def one_rounding(early, late, dtype):
    """The spacing of the dtype's numbers at the larger of the two inputs.

    Not at the result: where the two nearly cancel, correct results lie many of its spacings apart.
    """
    larger = torch.maximum(early.double().abs(), late.double().abs())
    # Below the smallest normal number the spacing no longer shrinks.
    larger = larger.clamp_min(torch.finfo(dtype).smallest_normal)
    return torch.finfo(dtype).eps * 2.0 ** torch.floor(torch.log2(larger))
