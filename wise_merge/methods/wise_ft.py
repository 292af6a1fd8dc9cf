"""WiSE-FT: (1 - alpha) * early + alpha * late.

Robust fine-tuning of zero-shot models (arXiv 2109.01903); for language models that learn to reason, with `early` from
the beginning of the same fine-tuning, Weight Ensembling Improves Reasoning in Language Models (arXiv 2504.10478,
section 3).
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from wise_merge.kernels.ranges import ALPHA
from wise_merge.methods.contract import Base, Method, Parameter, Scope

if TYPE_CHECKING:
    from torch import Tensor


def merge(
    tensors: "Sequence[Tensor]",
    base: "Tensor | None",
    parameters: Mapping[str, Any],
    statistics: Mapping[str, Any],
    *,
    out: "Tensor | None" = None,
) -> "Tensor":
    """Return (1 - alpha) * base + alpha * tensors[0]; see `Kernel`."""
    from wise_merge.kernels.averaging import interpolate

    assert base is not None
    return interpolate(base, tensors[0], parameters["alpha"], out=out)


METHOD = Method(
    name="wise_ft",
    title="WiSE-FT",
    paper="https://arxiv.org/abs/2504.10478",
    merge=merge,
    base=Base.REQUIRED,
    fewest=1,
    most=1,
    parameters=(Parameter("alpha", ALPHA),),
    scope=Scope.ELEMENTWISE,
    line="alpha",
)
