"""Uniform soup: the mean of any number of models, sum(weight * model) / sum(weight), all weights 1 unless given.

Model soups (arXiv 2203.05482), section 2. A `base_model`, if there is one, is among the models.
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from wise_merge.kernels.ranges import WEIGHT, check_weights
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
    """Return the weighted mean of base, if there is one, and tensors; see `Kernel`."""
    from wise_merge.kernels.averaging import weighted_mean

    return weighted_mean([*([] if base is None else [base]), *tensors], parameters["weight"], out=out)


def check(parameters: Mapping[str, Any]) -> None:
    """Raise `WiseMergeError` for weights that make no mean."""
    check_weights(parameters["weight"])


METHOD = Method(
    name="uniform_soup",
    title="Uniform soup",
    paper="https://arxiv.org/abs/2203.05482",
    merge=merge,
    base=Base.OPTIONAL,
    fewest=2,
    most=None,
    parameters=(Parameter("weight", WEIGHT, default=1.0, per_model=True),),
    scope=Scope.ELEMENTWISE,
    check=check,
    weight="weight",
)
