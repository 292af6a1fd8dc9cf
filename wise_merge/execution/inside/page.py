"""Memory that a program's process shares with the server: what it has to say when its source has run.

No descriptor leads to it, so closing all of them, or writing into all of them, changes nothing. Records follow each
other, each with its length before it; the length is written last, so that a record is whole or not there.
"""

import json
import mmap
import struct
from collections.abc import Iterator
from typing import Any

SIZE = 256 * 1024

_LENGTH = struct.Struct("<I")


def new_page() -> mmap.mmap:
    """Return an empty page."""
    return mmap.mmap(-1, SIZE)


def record(*values: Any) -> bytes:
    """Return a record as it stands in a page."""
    data = json.dumps(values).encode()
    return _LENGTH.pack(len(data)) + data


class Writer:
    """Appends records to a page. Holds what it calls: the program may have replaced the names of builtins."""

    def __init__(self, page: mmap.mmap) -> None:
        self._page, self._at, self._len = page, 0, len

    def write(self, one: bytes) -> None:
        """Append a record; one that has no room is left out."""
        after = self._at + self._len(one)
        if after + 4 <= SIZE:
            self._page[self._at + 4 : after] = one[4:]
            self._page[self._at : self._at + 4] = one[:4]
            self._at = after


def read_records(page: mmap.mmap) -> Iterator[list[Any]]:
    """Yield the records of a page as far as they make sense."""
    at = 0
    while at + 4 <= SIZE:
        (length,) = _LENGTH.unpack(page[at : at + 4])
        if not length:
            return
        try:
            found = json.loads(page[at + 4 : at + 4 + length])
        except (ValueError, RecursionError):
            return
        if not isinstance(found, list):
            return
        yield found
        at += 4 + length
