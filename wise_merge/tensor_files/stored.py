"""A tensor of a file that is read where and when a merge needs it: whole, or the part of a block."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from wise_merge.tensor_files.contents import Contents, mapped

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class StoredTensor:
    """A tensor of a file, not read yet.

    Attributes:
        contents: of the file.
        name: of the tensor there.
    """

    contents: Contents
    name: str

    def read(self, start: int | None, count: int) -> "Tensor":
        """Return the tensor as it is stored, or `count` elements of it, flattened, from `start` on."""
        tensor = mapped(self.contents)[self.name]
        return tensor if start is None else tensor.reshape(-1)[start : start + count]


@dataclass(frozen=True)
class ScaledTensor:
    """A tensor of whole numbers, each to be multiplied by the scale of its row, which lies along the last dimension.

    Attributes:
        contents: of the file.
        name: of the whole numbers there.
        scale: the name of the scales, a float32 for each row.
    """

    contents: Contents
    name: str
    scale: str

    def read(self, start: int | None, count: int) -> "Tensor":
        """Return the products in float32: see `StoredTensor.read`."""
        from wise_merge.kernels.signatures import dequantised

        tensors = mapped(self.contents)
        numbers, scale = tensors[self.name], tensors[self.scale]
        if start is None:
            return dequantised(numbers, scale)
        width = numbers.shape[-1] if numbers.dim() else 1
        first, last = start // width, (start + count - 1) // width
        scales = scale.reshape(-1)[first : last + 1]
        if first != last:
            scales = scales.repeat_interleave(width)[start - first * width :][:count]
        return dequantised(numbers.reshape(-1)[start : start + count], scales)


def are_read(statistics: Mapping[str, Any]) -> bool:
    """Return whether any of the statistics are in files, so that a part of them belongs to that part of the tensor."""
    values = [one for value in statistics.values() for one in (value if isinstance(value, tuple) else (value,))]
    return any(isinstance(one, (StoredTensor, ScaledTensor)) for one in values)


def read_all(statistics: Mapping[str, Any], start: int | None, count: int) -> Mapping[str, Any]:
    """Return statistics with tensors in the place of what is stored; see `StoredTensor.read`."""
    return {name: _read(value, start, count) for name, value in statistics.items()}


def _read(value: Any, start: int | None, count: int) -> Any:
    if isinstance(value, tuple):
        return tuple(_read(one, start, count) for one in value)
    return value.read(start, count) if isinstance(value, (StoredTensor, ScaledTensor)) else value
