"""Fisher average: sum(weight * F * model) / sum(weight * F), where F = max(Fisher information, floor) of each element.

Merging Models with Fisher-Weighted Averaging (arXiv 2111.09832), equation 3. `wise-merge fit fisher` estimates the
diagonal of a model's Fisher information. As in the authors' code, each model's is divided by its norm over all tensors
unless `normalize` is false, and is at least `floor` (after which the norm divides).
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from wise_merge.errors import WiseMergeError
from wise_merge.kernels.ranges import FLOOR, WEIGHT, check_weights
from wise_merge.methods.contract import Base, Method, Parameter, Scope, Switch, TensorFile

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
    """Return the Fisher average of base, if there is one, and tensors; see `Kernel`."""
    from wise_merge.kernels.fisher import fisher_mean

    coefficients = parameters["weight"]
    if parameters["normalize"]:
        norms = statistics["fisher_norm"]
        coefficients = [weight / norm for weight, norm in zip(coefficients, norms, strict=True)]
    models = [*([] if base is None else [base]), *tensors]
    return fisher_mean(models, statistics["fisher"], coefficients, parameters["floor"], out=out)


def check(parameters: Mapping[str, Any]) -> None:
    """Raise `WiseMergeError` for weights that make no mean, and for floors that leave elements without any weight."""
    check_weights(parameters["weight"])
    if not any(weight and floor for weight, floor in zip(parameters["weight"], parameters["floor"], strict=True)):
        raise WiseMergeError(
            "every model with a weight has floor 0, so an element whose Fisher information is 0 everywhere would have "
            "no value; leave a floor (1e-6 by default) to the model that is to decide there"
        )


METHOD = Method(
    name="fisher",
    title="Fisher average",
    paper="https://arxiv.org/abs/2111.09832",
    merge=merge,
    base=Base.OPTIONAL,
    fewest=2,
    most=None,
    parameters=(
        Parameter("fisher", TensorFile("fisher"), per_model=True, by_tensor=False),
        Parameter("weight", WEIGHT, default=1.0, per_model=True),
        Parameter("floor", FLOOR, default=1e-6, per_model=True),
        Parameter("normalize", Switch(), default=True, by_tensor=False),
    ),
    scope=Scope.ELEMENTWISE,
    check=check,
    weight="weight",
)
