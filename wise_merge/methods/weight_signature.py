"""Weight signatures: model + strength * signature + strength_2 * signature_2 + ... up to four, each from a file.

Robust Weight Signatures (arXiv 2302.12480): a signature is what is left of robust - base without its part
along clean - base, tensor by tensor; `wise-merge signature extract` makes the file. A negative strength takes a
signature off again. Tensors of which no file has any stay as they are.
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from wise_merge.kernels.ranges import STRENGTH
from wise_merge.methods.contract import Base, Method, Parameter, Scope, TensorFile

if TYPE_CHECKING:
    from torch import Tensor

#: The parameters of each signature: its file, and its strength.
_SIGNATURES = (
    ("signature", "strength"),
    ("signature_2", "strength_2"),
    ("signature_3", "strength_3"),
    ("signature_4", "strength_4"),
)


def merge(
    tensors: "Sequence[Tensor]",
    base: "Tensor | None",
    parameters: Mapping[str, Any],
    statistics: Mapping[str, Any],
    *,
    out: "Tensor | None" = None,
) -> "Tensor":
    """Return the one tensor with its signatures, where it has any, times their strengths; see `Kernel`."""
    from wise_merge.kernels.signatures import added

    present = [(statistics[file], parameters[strength]) for file, strength in _SIGNATURES if file in statistics]
    return added(tensors[0], present, out=out)


METHOD = Method(
    name="weight_signature",
    title="Weight signature",
    paper="https://arxiv.org/abs/2302.12480",
    merge=merge,
    base=Base.NONE,
    fewest=1,
    most=1,
    parameters=tuple(
        parameter
        for number, (file, strength) in enumerate(_SIGNATURES)
        for parameter in (
            Parameter(file, TensorFile("signature"), default="" if number else None, by_tensor=False),
            Parameter(strength, STRENGTH, default=0.0, of_file=file),
        )
    ),
    scope=Scope.ELEMENTWISE,
)
