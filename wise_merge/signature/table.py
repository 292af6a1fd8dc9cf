"""What a signature is, as a short table by groups of modules, and the warning about what its dtype could not hold."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from wise_merge import text
from wise_merge.checkpoints.groups import group_of
from wise_merge.checkpoints.headers import TensorHeader
from wise_merge.geometry.projection import Projection

if TYPE_CHECKING:
    from wise_merge.signature.extraction import Stored

_WIDTHS = {"F64": 8, "I64": 8, "F32": 4, "I32": 4, "F16": 2, "BF16": 2, "I16": 2}

LEGEND = """change: |robust - base|
cosine: of robust - base with clean - base
removed: the share of change^2 that lies along clean - base, tensor by tensor
signature: |what is left|
rounding error: |file - signature| / |signature|
size, full weights: of the signature, and of all weights of the group in robust"""


@dataclass(frozen=True)
class Row:
    """One tensor of a signature: what was measured of it, and its bytes in the file."""

    name: str
    projection: Projection
    stored: "Stored"
    size: int


def size_of(header: TensorHeader) -> int:
    """Return the bytes of a stored tensor."""
    return math.prod(header.shape) * _WIDTHS.get(header.dtype, 1)


def table(rows: Sequence[Row], full: Mapping[str, int]) -> str:
    """Return the table: a line for each group of modules, the largest first, and one of all.

    Args:
        rows: of all tensors of the signature.
        full: the bytes of each tensor of the model.
    """
    groups: dict[str, list[Row]] = {}
    for row in rows:
        groups.setdefault(group_of(row.name), []).append(row)
    lines = [["", "parameters", "change", "cosine", "removed", "signature", "rounding error", "size", "full weights"]]
    for group, some in sorted(groups.items(), key=lambda item: -sum(row.projection.elements for row in item[1])):
        lines.append(_line(group, some, sum(size for name, size in full.items() if group_of(name) == group)))
    lines.append(_line("all", rows, sum(full.values())))
    return "\n".join(text.table(lines, "<>"))


def _line(group: str, rows: Sequence[Row], full: int) -> list[str]:
    total = sum((row.projection for row in rows), Projection())
    # Of each tensor by itself: |d_c|^2 - |signature|^2 = <d_c, d_0>^2 / |d_0|^2.
    along = sum(row.projection.along * row.projection.coefficient for row in rows)
    squared, error = sum(row.stored.squared for row in rows), sum(row.stored.error for row in rows)
    return [
        group,
        text.elements(total.elements),
        f"{math.sqrt(total.robust):#.4g}",
        "-" if total.cosine is None else f"{total.cosine:.4f}",
        f"{along / total.robust:.1%}" if total.robust else "-",
        f"{math.sqrt(squared):#.4g}",
        f"{math.sqrt(error / squared) if squared else 0.0:.3%}",
        text.size(sum(row.size for row in rows)),
        text.size(full),
    ]


def lost_warning(rows: Sequence[Row], dtype: str) -> str | None:
    """Return a sentence about elements that are too small for a floating dtype; None where there is none.

    In int8 small elements of a row are 0 beside its large ones, which the rounding error tells.
    """
    lost = sum(row.stored.lost for row in rows)
    if not lost or dtype == "int8":
        return None
    share = lost / sum(row.projection.elements for row in rows)
    return (
        f"{lost:,} elements ({share:.2%}) are too small for {dtype} and are 0 in the file; --dtype float32 keeps them, "
        "and in int8 each row has a scale of its own"
    )
