"""BANG at merge time: (1 - alpha) * fold(early, T_early) + alpha * fold(late, T_late).

fold(w, T) = (w + offset) / T - offset on the last gain (or bias) of a model divides its logits by the temperature T;
all other tensors are averaged as by `wise_ft`. Two checkpoints that are equally confident are averaged, so that the
over-confident one does not dominate. Ours, after Spurious Feature Diversification Improves Out-of-distribution
Generalization (arXiv 2309.17230), which balances by how the models are trained.
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from wise_merge.kernels.ranges import ALPHA, TEMPERATURE
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
    """Return the average of base and tensors[0], folded where `logit_offset` says with which offset; see `Kernel`."""
    from wise_merge.kernels.averaging import interpolate, interpolate_balanced

    assert base is not None
    early, late, alpha = base, tensors[0], parameters["alpha"]
    if "logit_offset" not in statistics:
        return interpolate(early, late, alpha, out=out)
    return interpolate_balanced(
        early, late, alpha, temperatures=parameters["temperature"], offset=statistics["logit_offset"]
    )


METHOD = Method(
    name="bang",
    title="BANG",
    paper="https://arxiv.org/abs/2309.17230",
    merge=merge,
    base=Base.REQUIRED,
    fewest=1,
    most=1,
    parameters=(
        Parameter("alpha", ALPHA),
        Parameter("temperature", TEMPERATURE, default=1.0, per_model=True, by_tensor=False),
    ),
    scope=Scope.ELEMENTWISE,
    statistics=("logit_offset",),
    line="alpha",
)
