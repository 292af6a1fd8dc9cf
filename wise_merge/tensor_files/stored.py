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


def read_all(statistics: Mapping[str, Any], start: int | None, count: int) -> Mapping[str, Any]:
    """Return statistics with tensors in the place of what is stored; see `StoredTensor.read`."""
    return {name: _read(value, start, count) for name, value in statistics.items()}


def _read(value: Any, start: int | None, count: int) -> Any:
    if isinstance(value, tuple):
        return tuple(_read(one, start, count) for one in value)
    return value.read(start, count) if isinstance(value, StoredTensor) else value
