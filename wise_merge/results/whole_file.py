"""Files that are there whole or not at all; of folders, `wise_merge.checkpoints.replacing` takes care."""

import dataclasses
import json
import math
from pathlib import Path
from typing import Any

from wise_merge.errors import WiseMergeError


def write_whole(path: Path, content: bytes) -> None:
    """Write a file under another name and rename it, so that no half file is ever seen; write to pipes directly."""
    try:
        if _is_stream(path):
            with path.open("ab") as stream:
                stream.write(content)
            return
        # A symbolic link stays one.
        whole = path.resolve()
        whole.parent.mkdir(parents=True, exist_ok=True)
        partial = whole.with_name(whole.name + ".partial")
        partial.write_bytes(content)
        partial.replace(whole)
    except OSError as error:
        raise WiseMergeError(f"{path} cannot be written: {error.strerror}") from error


def write_document(path: Path, document: Any) -> None:
    """Write a document as JSON; dataclasses in it as objects, NaN and infinity, which JSON lacks, as null."""
    write_whole(path, json.dumps(_plain(document), indent=1, allow_nan=False).encode())


def _is_stream(path: Path) -> bool:
    """Return whether it is a pipe or a device, or stands for an open file, as /dev/stdout does."""
    open_files = ("/dev/std", "/dev/fd/", "/proc/")
    return str(path).startswith(open_files) or (path.exists() and not path.is_file() and not path.is_dir())


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(entry) for key, entry in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(entry) for entry in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return _plain(dataclasses.asdict(value))
    return value
