"""What was fitted, as table and files show it."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from wise_merge import text
from wise_merge.calibrate.sequences import Data, described
from wise_merge.checkpoints.groups import group_of
from wise_merge.estimators.fisher import relative_error

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Group:
    """The Fisher information of some tensors.

    Attributes:
        name: of the part of the model, "all" of all of it.
        parameters: how many.
        mean: over these.
        zero: the share that is 0.
        squared_norm: sum of the squares of all entries.
        relative_error: see `estimators.fisher.relative_error`; NaN where one sequence tells of none.
    """

    name: str
    parameters: int
    mean: float
    zero: float
    squared_norm: float
    relative_error: float


@dataclass(frozen=True)
class FittedFisher:
    """A Fisher file and what it is of.

    Attributes:
        checkpoint: as the command line names it.
        digest: of its weights.
        data: the completions.
        draws: of next tokens, per sequence.
        seed: of these.
        dtype: in which gradients were computed.
        norm: of all entries.
        seconds: that the sequences took.
        groups: the largest first, all of them together last.
    """

    checkpoint: str
    digest: str
    data: Data
    draws: int
    seed: int
    dtype: str
    norm: float
    seconds: float
    groups: Sequence[Group]


def groups_of(tensors: "Mapping[str, Tensor]", second_moments: Mapping[str, float], n: int) -> list[Group]:
    """Return the groups of tensors, the largest first, and "all".

    Args:
        tensors: of the model, each parameter once.
        second_moments: mean over sequences, see `estimators.fisher.relative_error`.
        n: number of sequences.
    """
    import torch

    totals: dict[str, list[float]] = {}
    for name, tensor in tensors.items():
        own = [
            tensor.numel(),
            float(tensor.sum(dtype=torch.float64)),
            tensor.numel() - int(torch.count_nonzero(tensor)),
            float(torch.linalg.vector_norm(tensor, dtype=torch.float64)) ** 2,
            second_moments[name],
        ]
        for group in (group_of(name), "all"):
            totals[group] = [a + b for a, b in zip(totals.get(group, [0] * len(own)), own, strict=True)]
    ordered = sorted(totals.items(), key=lambda item: (item[0] == "all", -item[1][0]))
    return [
        Group(name, int(count), total / count, zero / count, norm, relative_error(norm, moment, n))
        for name, (count, total, zero, norm, moment) in ordered
    ]


def norm_of(tensors: "Mapping[str, Tensor]") -> float:
    """Return the root of the sum of the squares of all entries."""
    import torch

    return math.hypot(*(float(torch.linalg.vector_norm(one, dtype=torch.float64)) for one in tensors.values()))


def table(fitted: FittedFisher) -> str:
    """Return a line about the data and one for each group."""
    rows = [["", "parameters", "mean Fisher", "zero", "relative error"]]
    rows += [
        [
            group.name,
            text.elements(group.parameters),
            f"{group.mean:.3g}",
            f"{group.zero:.1%}",
            "" if math.isnan(group.relative_error) else f"{group.relative_error:.1%}",
        ]
        for group in fitted.groups
    ]
    return "\n".join(
        [
            f"{described(fitted.data)}, {text.counted(fitted.draws, 'draw')} each",
            "",
            *text.table(rows, "<>"),
            "",
            "mean Fisher: of a parameter. zero: parameters whose Fisher is 0.",
            "relative error: |estimate - Fisher| / |Fisher|, as to be expected from the spread over sequences.",
        ]
    )
