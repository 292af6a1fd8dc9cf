"""A file of tensors beside a checkpoint: its metadata and headers, and the tensors, mapped."""

import functools
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from wise_merge import __version__
from wise_merge.checkpoints.headers import TensorHeader, file_headers
from wise_merge.errors import WiseMergeError

if TYPE_CHECKING:
    from torch import Tensor

#: Version of the metadata; files of another version are refused.
FORMAT = "1"


@dataclass(frozen=True)
class Contents:
    """What a file says of itself.

    Attributes:
        path: of the file.
        kind: what it holds, such as "fisher".
        metadata: what it says beside that, as texts.
        headers: shape and dtype of each tensor.
    """

    path: Path
    kind: str
    metadata: Mapping[str, str]
    headers: Mapping[str, TensorHeader]


def read_contents(path: str | Path, kind: str) -> Contents:
    """Return what a file of a kind says of itself; raises `WiseMergeError` for one that is no such file."""
    place = Path(os.path.expanduser(path))
    try:
        status = place.stat()
    except OSError as error:
        raise WiseMergeError(f"the {kind} file {path} cannot be read: {error.strerror or error}") from error
    contents = _read(place, status.st_size, status.st_mtime_ns)
    if contents.kind != kind or contents.metadata.get("format") != FORMAT:
        what = f"one of {contents.kind}" if contents.kind else "no file of ours"
        if contents.kind == kind:
            what = f"of format {contents.metadata.get('format')}, and {FORMAT} is read"
        raise WiseMergeError(f"{path} is to be a {kind} file, and is {what}; {_MADE_BY.get(kind, '')}")
    return contents


#: By which command the files of a kind are made.
_MADE_BY = {
    "fisher": "`wise-merge fit fisher` makes one of a checkpoint",
    "signature": "`wise-merge signature extract` makes one",
}


@functools.lru_cache(maxsize=64)
def _read(path: Path, size: int, changed: int) -> Contents:
    """`size` and `changed` (its time) tell a file from another one that was there under the same name."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="np") as file:
            metadata = dict(file.metadata() or {})
    except (SafetensorError, OSError) as error:
        raise WiseMergeError(f"{path} is not a whole safetensors file ({error}); make or copy it again") from error
    kind = metadata.pop("kind", "") if "wise_merge" in metadata else ""
    return Contents(path, kind, metadata, file_headers(path))


def mapped(contents: Contents) -> "Mapping[str, Tensor]":
    """Return the tensors of a file by name, as views of the mapped file; not to be written to."""
    status = contents.path.stat()
    return _mapped(contents.path, status.st_size, status.st_mtime_ns)


@functools.lru_cache(maxsize=64)
def _mapped(path: Path, size: int, changed: int) -> "Mapping[str, Tensor]":
    from safetensors import safe_open

    with safe_open(path, framework="pt") as file:
        return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a dict


def write(path: Path, kind: str, tensors: "Mapping[str, Tensor]", metadata: Mapping[str, str]) -> None:
    """Write a file that appears whole, or not at all.

    Args:
        path: of the new file; what is there is replaced.
        kind: what it holds.
        tensors: contiguous, by name.
        metadata: what it is to say beside that.
    """
    from safetensors.torch import save_file

    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            save_file(dict(tensors), partial, {"wise_merge": __version__, "kind": kind, "format": FORMAT, **metadata})
            # safetensors makes its files for their owner alone.
            mask = os.umask(0)
            os.umask(mask)
            partial.chmod(0o666 & ~mask)
            partial.replace(path)
        finally:
            partial.unlink(missing_ok=True)
    except OSError as error:
        raise WiseMergeError(f"{path} cannot be written: {error.strerror or error}") from error
