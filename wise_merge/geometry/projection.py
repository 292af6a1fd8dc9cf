"""How much of one task vector lies along another, and what is left of it beside: sums over blocks of elements.

Of three checkpoints A, B and C of one architecture: d_c = A - C and d_0 = B - C, tensor by tensor. What is left of d_c
without its part along d_0 is the signature of Robust Weight Signatures (arXiv 2302.12480), which
`wise_merge.kernels.signatures` computes. Knows torch alone, and loads it only where there is a tensor to measure.
"""

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Projection:
    """Sums over the elements of three checkpoints.

    Attributes:
        elements: how many.
        along: sum of d_c * d_0.
        robust: sum of d_c^2.
        clean: sum of d_0^2.
        apart: sum of (d_c - d_0)^2; 0 where A and B are equal.
    """

    elements: int = 0
    along: float = 0.0
    robust: float = 0.0
    clean: float = 0.0
    apart: float = 0.0

    def __add__(self, other: "Projection") -> "Projection":
        return Projection(
            self.elements + other.elements,
            self.along + other.along,
            self.robust + other.robust,
            self.clean + other.clean,
            self.apart + other.apart,
        )

    @property
    def coefficient(self) -> float:
        """<d_c, d_0> / <d_0, d_0>: the multiple of d_0 that is nearest to d_c; 0 where d_0 is zero, and so its part."""
        return self.along / self.clean if self.clean else 0.0

    @property
    def cosine(self) -> float | None:
        """The cosine of the angle between d_c and d_0; None where one of them is zero."""
        lengths = math.sqrt(self.robust) * math.sqrt(self.clean)
        return self.along / lengths if lengths else None

    @property
    def is_empty(self) -> bool:
        """Whether nothing is left of d_c: it is zero, or the very same as d_0."""
        return self.robust == 0.0 or self.apart == 0.0


def projection(robust: "Tensor", clean: "Tensor", base: "Tensor") -> Projection:
    """Return the sums of three blocks of one shape, of any floating dtypes, in float64."""
    import torch

    wide = [block.reshape(-1).to(torch.float64) for block in (robust, clean, base)]
    d_c, d_0, apart = wide[0] - wide[2], wide[1] - wide[2], wide[0] - wide[1]
    return Projection(
        d_c.numel(), float(d_c.dot(d_0)), float(d_c.dot(d_c)), float(d_0.dot(d_0)), float(apart.dot(apart))
    )
