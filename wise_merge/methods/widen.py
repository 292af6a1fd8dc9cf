"""WIDEN: base + sum(w * (model - base)), with a weight w for each column of each model.

w is the mean of two scores, of how much the length and the direction of the column have changed: the softmax over the
models of its rank within its model, or `score` for ranks above `above_average` times their average. Extend Model
Merging from Fine-Tuned to Pre-Trained Large Language Models via Weight Disentanglement (arXiv 2408.03092), where
`above_average` is t (in its code `above_average_value_ratio`) and `score` is s (`score_calibration_value`).
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from wise_merge.kernels.ranges import ABOVE_AVERAGE, SCORE
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
    """Return the changes of the tensors added to the base; see `Kernel`."""
    from wise_merge.kernels.widen import widen

    assert base is not None
    return widen(
        base,
        tensors,
        above_average=parameters["above_average"],
        score=parameters["score"],
        looked_up=statistics.get("looked_up", False),
        out=out,
    )


METHOD = Method(
    name="widen",
    title="WIDEN",
    paper="https://arxiv.org/abs/2408.03092",
    merge=merge,
    base=Base.REQUIRED,
    # Of one model, each softmax is 1: by default it would be the merge.
    fewest=2,
    most=None,
    parameters=(Parameter("above_average", ABOVE_AVERAGE, default=1.0), Parameter("score", SCORE, default=1.0)),
    scope=Scope.TENSOR,
    statistics=("looked_up",),
)
