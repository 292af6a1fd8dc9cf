"""The rows of a file of samples: JSON Lines, or one JSON list, plain or gzipped; damage is reported by line.

The list may be that of an object, as in {"data": [...]}.
"""

import codecs
import gzip
import json
import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from itertools import islice
from pathlib import Path
from typing import IO, Any, NamedTuple

from wise_merge.errors import WiseMergeError
from wise_merge.text import bar, shortened

Row = dict[str, Any]


class Located(NamedTuple):
    """A row and the place in its file for messages, such as `line 7`."""

    place: str
    row: Row


#: How lm-eval calls the samples of a task: samples_<task>_<date>.jsonl.
_LM_EVAL_NAME = re.compile(r"samples_(?P<task>.+)_(?P<date>\d{4}-\d\d-\d\dT[\d.:-]+)\.jsonl(\.gz)?")
_GZIP, _BOM = b"\x1f\x8b", b"\xef\xbb\xbf"
#: The beginning of a file whose rows stand in one list: [..., or {"model": "x", "data": [...
_LIST = re.compile(
    rb'(\xef\xbb\xbf)?\s*(\{\s*("[^"\\]*"\s*:\s*("([^"\\]|\\.)*"|[\w.+-]+)\s*,\s*)*'
    rb'"(data|rows|records|items|examples|problems)"\s*:\s*)?\['
)
#: How the lines of a journal begin.
_JOURNAL = b'{"crc":"'
_SEPARATOR = re.compile(r"[\s,]*")
#: So many bytes decide whether a file is a list.
_PEEKED = 512
#: Bytes of a list that are read at a time.
_CHUNK = 1 << 20


def task_of(path: Path) -> str | None:
    """Return the task that an lm-eval samples file is named after, None for any other name."""
    match = _LM_EVAL_NAME.fullmatch(path.name)
    return match["task"] if match else None


def sample_files(path: Path) -> list[Path]:
    """Return the file itself, or the lm-eval samples in a folder: of each sub-folder the newest of each task."""
    if path.is_file():
        return [path]
    if path == Path("-") or (path.exists() and not path.is_dir()):
        raise WiseMergeError(f"{path} is a pipe and can be read only once; save it to a file first")
    if not path.is_dir():
        raise WiseMergeError(f"{path} does not exist; give a file of samples or the folder of an lm-eval run")
    newest: dict[tuple[Path, str], tuple[str, Path]] = {}
    for file in sorted(path.rglob("samples_*.jsonl*")):
        match = _LM_EVAL_NAME.fullmatch(file.name)
        if match:
            key = (file.parent, match["task"])
            newest[key] = max(newest.get(key, ("", file)), (match["date"], file))
    if not newest:
        for file in path.glob("*.jsonl"):
            refuse_journal(file)
        raise WiseMergeError(f"{path} is a folder without samples_<task>_<date>.jsonl; run lm_eval with --log_samples")
    return [file for _, file in newest.values()]


def is_of_filter(row: Row, name: str | None) -> bool:
    """Return whether a row is of the filter of lm-eval with this name; None is any, and rows without one are of all."""
    return name is None or str(row.get("filter", name)) == name


def refuse_journal(path: Path) -> None:
    """Raise, with the way to its samples, if a file is one of a journal's."""
    start = b""
    with suppress(OSError), path.open("rb") as file:
        start = file.read(len(_JOURNAL))
    if start == _JOURNAL:
        raise WiseMergeError(
            f"{path.parent} is a journal; write its samples to a folder OUT with wise-merge journal {path.parent} "
            "--out OUT, then run wise-merge score OUT"
        )


def read_rows(path: Path, reject: Callable[[str, str], None], *, progress: bool = False) -> Iterator[Located]:
    """Yield the rows of a file that are JSON objects; each other line goes to `reject` as (place, reason).

    Args:
        path: of the file.
        reject: called with the place and what is wrong there.
        progress: show a bar on stderr, if that is a terminal.
    """
    try:
        with (
            path.open("rb") as raw,
            bar(total=path.stat().st_size, what=path.name, unit="B", scaled=True, shown=progress) as moved,
        ):
            zipped = raw.peek(2)[:2] == _GZIP
            text: Any = gzip.GzipFile(fileobj=raw) if zipped else raw
            begin = text.peek(_PEEKED)[:_PEEKED]
            if b"\0" in begin:
                raise WiseMergeError(f"{path} is no text; wanted are JSON Lines or a JSON list, so convert it first")
            opening = _LIST.match(begin)
            if opening and _first_of_many(text):
                opening = None
            for located in _list(text, opening.end(), reject) if opening else _lines(text, reject):
                moved.update(raw.tell() - moved.n)
                yield located
    except (gzip.BadGzipFile, EOFError) as error:
        raise WiseMergeError(f"{path} is damaged ({error}); unpack it by hand") from error
    except OSError as error:
        raise WiseMergeError(f"{path} cannot be read: {error.strerror or error}") from error


def _first_of_many(text: IO[bytes]) -> bool:
    """Return whether the first line is JSON by itself and others follow: then these are JSON Lines."""
    lines = (line.removeprefix(_BOM) for line in iter(lambda: text.readline(_CHUNK), b""))
    first, *further = islice((line for line in lines if line.strip()), 2)
    text.seek(0)
    try:
        json.loads(first)
    except (ValueError, RecursionError):
        return False
    return bool(further)


def _lines(text: Iterable[bytes], reject: Callable[[str, str], None]) -> Iterator[Located]:
    for number, line in enumerate(text, start=1):
        if number == 1:
            line = line.removeprefix(_BOM)
        if line.strip():
            place = f"line {number}"
            try:
                row = json.loads(line.decode())
            except (ValueError, RecursionError) as error:
                reject(place, _what_is_wrong(error))
                continue
            if isinstance(row, dict):
                yield Located(place, row)
            else:
                reject(place, f"wanted a JSON object; got {shortened(row)}")


def _list(text: IO[bytes], opening: int, reject: Callable[[str, str], None]) -> Iterator[Located]:
    """Yield the entries of a JSON list that begins after `opening` bytes; only the current entry is held in memory.

    What follows a damaged entry cannot be read.
    """
    decoder, utf8 = json.JSONDecoder(), codecs.getincrementaldecoder("utf-8")()
    text.read(opening)
    more = text.read(_PEEKED)
    held, ended, number = "", False, 1
    while True:
        try:
            held += utf8.decode(more, final=ended)
            at = _skip(held, 0)
            while at < len(held) and held[at] != "]":
                entry, end = decoder.raw_decode(held, at)
                if isinstance(entry, dict):
                    yield Located(f"entry {number}", entry)
                else:
                    reject(f"entry {number}", f"wanted a JSON object; got {shortened(entry)}")
                at, number = _skip(held, end), number + 1
        except (ValueError, RecursionError) as error:
            if ended or not isinstance(error, json.JSONDecodeError):
                reject(f"entry {number}", f"{_what_is_wrong(error)}, and the list cannot be read from there on")
                return
        if held[at : at + 1] == "]":
            return
        if ended:
            reject(f"entry {number}", "the list ends without a closing bracket")
            return
        held = held[at:]
        # Twice as much each time, as an entry that is longer than what is held is parsed again from its beginning.
        more = text.read(max(_CHUNK, len(held)))
        ended = not more


def _skip(text: str, at: int) -> int:
    """Return where the next entry begins."""
    match = _SEPARATOR.match(text, at)
    assert match is not None
    return match.end()


def _what_is_wrong(error: Exception) -> str:
    if isinstance(error, UnicodeDecodeError):
        return f"not UTF-8 ({error.reason} at byte {error.start + 1})"
    if isinstance(error, json.JSONDecodeError):
        return f"not JSON ({error.msg} at character {error.pos + 1})"
    return f"not JSON ({error or type(error).__name__})"
