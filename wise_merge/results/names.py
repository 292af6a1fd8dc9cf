"""Names of files of samples for tables and legends: short, and no two equal."""

import itertools
from collections.abc import Sequence
from pathlib import Path

from wise_merge.errors import WiseMergeError
from wise_merge.results.reading.rows import task_of
from wise_merge.text import printable


def names(files: Sequence[Path]) -> list[str]:
    """Return a short name for each file, no two equal: its task or stem, with the folders that differ."""
    whole = [file.resolve() for file in files]
    twice = [str(file) for file, count in ((file, whole.count(file)) for file in whole) if count > 1]
    if twice:
        raise WiseMergeError(f"{twice[0]} is given twice")
    short = [_stem(file) for file in whole]
    for depth in range(2, max(len(file.parts) for file in whole) + 1):
        if len(set(short)) == len(short):
            return short
        folders = ["".join(file.parts[-depth : 1 - depth]).strip("/") for file in whole]
        # A folder that all of them share tells nothing.
        if len(set(folders)) > 1:
            pairs = zip(map(printable, folders), short, strict=True)
            short = [f"{folder}/{name}" if folder else name for folder, name in pairs]
    # Two files of one task in one folder differ by their date only.
    return short if len(set(short)) == len(short) else [printable(str(file)) for file in files]


def cut(names: Sequence[str], width: int) -> list[str]:
    """Return the names cut to a width so that they stay different."""
    alike = itertools.takewhile(lambda letters: len(set(letters)) == 1, zip(*names, strict=False))
    shared = max(0, len(list(alike)) - width // 4)
    numbered = [f"{number} {name}" for number, name in enumerate(names, start=1)]
    for candidates in (names, [f"…{name[shared:]}" for name in names], numbered):
        shortened = [middle_cut(name, width) for name in candidates]
        if len(set(shortened)) == len(shortened):
            break
    return shortened


def middle_cut(text: str, width: int) -> str:
    """Return the text cut to a width in its middle, as names differ at either end."""
    head = (width - 1) * 2 // 5
    return text if len(text) <= width else f"{text[:head]}…{text[head + 1 - width :]}"


def _stem(file: Path) -> str:
    return printable(task_of(file) or file.name.removesuffix(".gz").removesuffix(".jsonl").removesuffix(".json"))
