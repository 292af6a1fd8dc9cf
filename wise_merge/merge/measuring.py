"""What each merge by mergekit changes, measured tensor by tensor while mergekit computes it.

`stream` measures the blocks that it merges itself; here whole tensors come from an observer within mergekit.
"""

import math
from collections.abc import Mapping
from typing import Any

import torch

from wise_merge.geometry.distances import Distance, Measured, Step, differing, distance, step
from wise_merge.hosts.mergekit.patches import Observer
from wise_merge.tensors.apply import check_finite, check_result

#: Elements that are measured at once.
_BLOCK = 1 << 17


def measuring(
    measured: Measured, dtypes: set[torch.dtype], *, line: str | None, out_dtype: torch.dtype | None
) -> Observer:
    """Return an observer (`patches.observed`) of the merge of one more model.

    It raises `WiseMergeError` for weights that are not finite.

    Args:
        measured: to which the sums of each tensor are added.
        dtypes: to which the dtype of each tensor of the output is added.
        line: see `methods.Method`.
        out_dtype: of the output; None = as mergekit merges.
    """
    sums: dict[str, Step] = {}
    measured.steps.append(sums)

    def observe(
        tensor: str, inputs: Mapping[Any, torch.Tensor], merged: torch.Tensor, parameters: Mapping[str, Any]
    ) -> None:
        written = merged.to(out_dtype or merged.dtype)
        dtypes.add(written.dtype)
        if line is None:
            check_finite(tensor, list(inputs.values()), list(inputs))
        first, *_, last = *inputs.values(), *inputs.values()
        if first.shape != written.shape:  # a tokenizer has been laid over it
            return
        alpha = None if line is None else float(parameters[line])
        measured.distances[tensor], sums[tensor] = _measure(first, last, written, alpha)
        squared = measured.distances[tensor].task_vector if alpha is None else sums[tensor].squared
        if not math.isfinite(squared):
            check_result(tensor, written, {}, {})

    return observe


def _measure(
    first: torch.Tensor, last: torch.Tensor, merged: torch.Tensor, alpha: float | None
) -> tuple[Distance, Step]:
    """Return what `geometry.distances.Measured` holds of a tensor; `alpha` None: it lies on no line."""
    wide = torch.float64 if first.dtype == torch.float64 else torch.float32
    total, steps = Distance(), Step()
    for one, other, out in zip(*(torch.split(part.reshape(-1), _BLOCK) for part in (first, last, merged)), strict=True):
        one_wide = one.to(wide)
        moved = differing(one.to(out.dtype).contiguous(), out.contiguous())
        difference = (out if alpha is None else other).to(wide) - one_wide
        changed = moved if alpha is None else int(torch.count_nonzero(difference))
        of_block = distance(one_wide, difference, changed=changed)
        total += of_block
        if alpha is not None:
            steps += step(one_wide, difference, out, alpha, of_block.task_vector, moved=moved)
    return total, steps
