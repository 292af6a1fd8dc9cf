"""The files of a folder of journals: their names, and their lines as bytes."""

import os
import re
from collections.abc import Iterator
from pathlib import Path

from wise_merge.errors import WiseMergeError
from wise_merge.journal.records import Run

_LONGEST_NAME = 100


def as_file_name(text: str, *, keep_end: bool = False) -> str:
    """Return a text without odd characters, at most its first 100 or, with `keep_end`, its last 100."""
    name = re.sub(r"[^A-Za-z0-9_.+-]+", "_", text).lstrip(".")
    return name[-_LONGEST_NAME:] if keep_end else name[:_LONGEST_NAME]


def file_name(run: Run, rank: int) -> str:
    """Return the name of the file of a rank; only the fingerprint in it distinguishes runs."""
    return f"{as_file_name(run.task) or 'task'}-{run.fingerprint}-{rank}.jsonl"


def journal_files(directory: Path) -> list[Path]:
    """Return the files of a folder of journals, by name: the order in which they count."""
    return sorted(path for path in directory.glob("*.jsonl") if path.is_file())


def lines_of(path: Path) -> Iterator[bytes]:
    """Yield the lines of a file, as they are."""
    try:
        with path.open("rb") as file:
            for line in file:
                yield line
                # Another process may append meanwhile: reading on would begin within its line.
                if not line.endswith(b"\n"):
                    return
    except OSError as error:
        raise WiseMergeError(f"the journal {path} cannot be read: {error.strerror or error}") from error


def ends_with_a_whole_line(path: Path) -> bool:
    """Return whether a file is empty or its last line is complete."""
    with path.open("rb") as file:
        if not file.seek(0, os.SEEK_END):
            return True
        file.seek(-1, os.SEEK_END)
        return file.read(1) == b"\n"
