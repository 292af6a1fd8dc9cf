"""A file of tensors that is written part by part, so that memory never holds more than the parts: its header first."""

import contextlib
import json
import math
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from wise_merge import __version__
from wise_merge.checkpoints.headers import TensorHeader
from wise_merge.errors import WiseMergeError
from wise_merge.tensor_files.contents import FORMAT

if TYPE_CHECKING:
    from torch import Tensor

#: Bytes of an element.
_WIDTHS = {"F32": 4, "F16": 2, "I8": 1}


@dataclass(frozen=True)
class Parts:
    """A file that is being written; threads may write at the same time."""

    descriptor: int
    #: Where the first byte of each tensor goes.
    offsets: Mapping[str, int]

    def write(self, name: str, start: int, part: "Tensor") -> None:
        """Write elements of a tensor, from the element `start` on; `part` has the dtype of its header."""
        import torch

        flat = part.reshape(-1).contiguous()
        data = flat.view(torch.uint8).numpy().data
        offset = self.offsets[name] + start * flat.itemsize
        while data:
            written = os.pwrite(self.descriptor, data, offset)
            data, offset = data[written:], offset + written


@contextlib.contextmanager
def written_in_parts(
    path: Path, kind: str, headers: Mapping[str, TensorHeader], metadata: Mapping[str, str]
) -> Iterator[Parts]:
    """Yield a file to fill, which is at `path` when the block ends without an exception; otherwise nothing is left.

    Args:
        path: of the new file; one that is there is not replaced.
        kind: what it holds.
        headers: of all its tensors, in F32, F16 or I8.
        metadata: what it is to say beside that.
    """
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    head, offsets, end = _laid_out(headers, {"format": FORMAT, "wise_merge": __version__, "kind": kind, **metadata})
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o666)
        try:
            os.pwrite(descriptor, head, 0)
            os.ftruncate(descriptor, end)
            yield Parts(descriptor, offsets)
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        if path.exists():
            raise WiseMergeError(f"{path} appeared in the meantime and is not overwritten; choose another name")
        partial.replace(path)
    except OSError as error:
        raise WiseMergeError(f"{path} cannot be written: {error.strerror or error}") from error
    finally:
        with contextlib.suppress(OSError):
            partial.unlink(missing_ok=True)


def _laid_out(headers: Mapping[str, TensorHeader], metadata: Mapping[str, str]) -> tuple[bytes, dict[str, int], int]:
    """Return the first bytes of the file, where each tensor begins, and where the file ends."""
    entries: dict[str, object] = {"__metadata__": dict(metadata)}
    places, end = {}, 0
    # The widest come first, so that each starts at a multiple of its width, as the format asks.
    for name, header in sorted(headers.items(), key=lambda item: -_WIDTHS[item[1].dtype]):
        size = math.prod(header.shape) * _WIDTHS[header.dtype]
        entries[name] = {"dtype": header.dtype, "shape": list(header.shape), "data_offsets": [end, end + size]}
        places[name] = end
        end += size
    text = json.dumps(entries, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    head = len(text).to_bytes(8, "little") + text
    return head, {name: len(head) + place for name, place in places.items()}, len(head) + end
