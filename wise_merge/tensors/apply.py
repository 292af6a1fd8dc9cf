"""A merge method applied to tensors: cast, merge, round once; and the errors where that cannot give a right model.

For mergekit, `wise-merge merge` and the sweep. Looking at every number takes time, so each of them calls the checks
for what is not finite only where its own sums, or `may_overflow`, say that something may be wrong.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from wise_merge.errors import WiseMergeError
from wise_merge.kernels.finite import first_non_finite
from wise_merge.methods import Method
from wise_merge.tensor_files.stored import read_all
from wise_merge.tensors.layout import PlannedTensor


def apply(
    method: Method,
    inputs: Sequence[Tensor],
    parameters: Mapping[str, Any],
    statistics: Mapping[str, Any],
    *,
    has_base: bool,
    dtype: torch.dtype | None = None,
    out_dtype: torch.dtype | None = None,
    start: int | None = None,
    out: Tensor | None = None,
) -> Tensor:
    """Return the merge of one tensor, or of equal blocks of it.

    Args:
        method: that merges.
        inputs: of each checkpoint, in the order of the recipe, the base first; finite.
        parameters: of the kernel.
        statistics: of the kernel; what files hold is read here.
        has_base: whether the first input is the base.
        dtype: to which all are cast before, None = as they are.
        out_dtype: to which the result is rounded, None = as the kernel returns it.
        start: of the blocks, which are flattened then: the place of their first element in the tensor; None = whole.
        out: where the result may be written, if that can be done without a copy; the result is this very tensor then.
    """
    if dtype is not None:
        inputs = [tensor.to(dtype) for tensor in inputs]
    first = inputs[0]
    fits = (
        out is not None
        and out.dtype == first.dtype == (out_dtype or first.dtype)
        and out.device == first.device
        and out.is_contiguous()
    )
    base, models = (first, inputs[1:]) if has_base else (None, inputs)
    present = read_all(statistics, start, first.numel())
    merged = method.merge(models, base, parameters, present, out=out if fits else None)
    if fits and out is not None and merged.data_ptr() == out.data_ptr():
        return out
    return merged if out_dtype is None else merged.to(out_dtype)


def apply_planned(
    tensor: PlannedTensor,
    inputs: Sequence[Tensor],
    *,
    number: int = 0,
    start: int | None = None,
    out: Tensor | None = None,
) -> Tensor:
    """Return a tensor of the output, or a block of it.

    Args:
        tensor: what is done.
        inputs: see `apply`; cast already or not.
        number: of the model that is written.
        start: see `apply`.
        out: see `apply`.
    """
    if tensor.dtype is None or tensor.out_dtype is None:
        return inputs[0]
    return apply(
        tensor.method,
        inputs,
        tensor.parameters[number],
        tensor.statistics,
        has_base=tensor.has_base,
        dtype=getattr(torch, tensor.dtype),
        out_dtype=getattr(torch, tensor.out_dtype),
        start=start,
        out=out,
    )


def may_overflow(tensor: PlannedTensor) -> bool:
    """Return whether finite inputs can give a merge that is not: in a narrower dtype, or by a temperature."""
    if tensor.dtype is None or tensor.out_dtype is None:
        return False
    narrower = torch.finfo(getattr(torch, tensor.out_dtype)).max < torch.finfo(getattr(torch, tensor.dtype)).max
    return narrower or bool(tensor.statistics)


def check_finite(name: str, inputs: Sequence[Tensor], models: Sequence[Any]) -> None:
    """Raise `WiseMergeError` for the first input with a NaN or infinity; `models` are their names."""
    for tensor, model in zip(inputs, models, strict=True):
        value = first_non_finite(tensor)
        if value is not None:
            raise WiseMergeError(
                f"tensor {name} of {model} contains {value} in {tensor.dtype}; every weight must be finite. "
                "Choose a checkpoint from before the training diverged, or a wider dtype"
            )


def check_result(name: str, merged: Tensor, parameters: Mapping[str, Any], statistics: Mapping[str, Any]) -> None:
    """Raise `WiseMergeError` for a merge of finite inputs that does not fit into its dtype."""
    if first_non_finite(merged) is None:
        return
    if "logit_offset" in statistics:
        raise WiseMergeError(
            f"temperature {min(parameters['temperature'])} makes tensor {name} overflow {merged.dtype}; raise it"
        )
    raise WiseMergeError(f"the average of tensor {name} does not fit into {merged.dtype}; write a wider dtype")


def check_equal(name: str, inputs: Sequence[Tensor], models: Sequence[Any]) -> None:
    """Raise `WiseMergeError` unless buffers (integers, booleans) are equal in all models, of these names."""
    for tensor, model in zip(inputs[1:], models[1:], strict=True):
        if tensor.dtype != inputs[0].dtype or not torch.equal(inputs[0], tensor):
            raise WiseMergeError(
                f"buffer {name} ({str(tensor.dtype).removeprefix('torch.')}) differs between {models[0]} and {model}; "
                "only floating-point tensors can be averaged, and a choice between the two would be a guess"
            )
