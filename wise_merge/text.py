"""Text for people: tables, sizes, corrections of misspelt names, text safe to print, the progress bar.

The sentences themselves are made where the facts are. Imports nothing of this package, and nothing heavy.
"""

import difflib
from collections.abc import Iterable, Sequence
from typing import Any

_MOST_SHOWN = 60
#: Columns of what a bar is about.
_BAR_COLUMNS = 40


def table(rows: Sequence[Sequence[str]], alignment: str = "<") -> list[str]:
    """Return the rows as lines whose columns stand below each other, two blanks apart; no line ends with blanks.

    Args:
        rows: of as many cells each.
        alignment: of each column, < left, > right or ^ in the middle; the last sign is that of all further columns.

    >>> print("\\n".join(table([["", "n", "path"], ["late", "600", "run"]], "<><")))
            n  path
    late  600  run
    """
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    signs = alignment.ljust(len(widths), alignment[-1])
    form = "  ".join(f"{{:{sign}{width}}}" for sign, width in zip(signs, widths, strict=False))
    return [form.format(*row).rstrip() for row in rows]


def size(count: float) -> str:
    """Return a number of bytes in decimal units, as disks and downloads are sold.

    >>> [size(count) for count in (512, 110_000, 2_200_000_000)]
    ['512 B', '110.0 kB', '2.2 GB']
    """
    if count < 1000:
        return f"{count:.0f} B"
    # 999.95 would be printed as 1000.0.
    for unit in ("kB", "MB", "GB"):
        count /= 1000
        if count < 999.95:
            return f"{count:.1f} {unit}"
    return f"{count / 1000:.1f} TB"


def elements(count: int) -> str:
    """Return a number of parameters or other elements, as models are named.

    >>> [elements(count) for count in (512, 1_240_000, 7_000_000_000)]
    ['512', '1.24 M', '7.00 B']
    """
    for unit, share in (("B", 10**9), ("M", 10**6), ("k", 10**3)):
        if count >= share:
            return f"{count / share:.2f} {unit}"
    return str(count)


def counted(number: int, what: str) -> str:
    """Return a number of things in words.

    >>> counted(1, "problem"), counted(1200, "problem")
    ('1 problem', '1,200 problems')
    """
    return f"{number:,} {what}{'' if number == 1 else 's'}"


def enumeration(names: Iterable[str], conjunction: str) -> str:
    """Return names as a sentence lists them; there is at least one.

    >>> enumeration(["wise_ft", "bang", "uniform_soup"], "or")
    'wise_ft, bang or uniform_soup'
    """
    *most, last = names
    return f"{', '.join(most)} {conjunction} {last}" if most else last


def near(name: object, known: Iterable[str], *, most: int = 1, cutoff: float = 0.6) -> list[str]:
    """Return the known names that one may stand for, the likeliest first; empty if none is like it.

    Args:
        name: as it was typed; what is no text is compared by how it is printed.
        known: names there are.
        most: of them, at most.
        cutoff: how like they must be, 0 = not at all, 1 = equal.
    """
    return difflib.get_close_matches(str(name), list(known), n=most, cutoff=cutoff)


def hint(name: object, known: Iterable[str], otherwise: str | None = None) -> str:
    """Return what follows the semicolon of a message about an unknown name: the one that was meant, or all there are.

    Args:
        name: see `near`.
        known: see `near`.
        otherwise: said where none is like it, instead of all names.

    >>> hint("aplha", ["alpha", "dtype"])
    'did you mean alpha?'
    >>> hint("x", ["alpha", "dtype"])
    'there are alpha, dtype'
    """
    known = list(known)
    likely = near(name, known)
    if likely:
        return f"did you mean {likely[0]}?"
    return f"there are {', '.join(known)}" if otherwise is None else otherwise


def shortened(value: object) -> str:
    """Return the value for a message, cut to what a line bears."""
    text = repr(value)
    return text if len(text) <= _MOST_SHOWN else text[:_MOST_SHOWN] + "..."


def excerpt(text: str, most: int = 200) -> str:
    """Return a text, or the beginning of one that is longer than results need to keep.

    >>> excerpt("assert f(1) == 1", most=9)
    'assert f(...'
    """
    return text if len(text) <= most else text[:most] + "..."


def printable(text: str) -> str:
    """Return the text with escapes for what a terminal would obey, such as colours and changes of direction."""
    return "".join(letter if letter.isprintable() else repr(letter)[1:-1] for letter in text)


def printable_lines(text: str) -> str:
    """Return the text as `printable` has it, line by line."""
    return "\n".join(map(printable, text.split("\n")))


def bar(
    items: Iterable[Any] | None = None,
    what: str = "",
    *,
    total: int | None = None,
    done: int = 0,
    unit: str = "it",
    scaled: bool = False,
    stays: bool = False,
    shown: bool = True,
) -> Any:
    """Return the items, counted by a bar on standard error as they pass; it shows nothing where that is no terminal.

    Without items it is a context with `update(n)`, which moves it, and the number so far as `n`: tqdm's.

    Args:
        items: to pass.
        what: the bar is about; of a long name the end.
        total: of what is counted, where the items do not tell.
        done: of them before, as of a work that is taken up again.
        unit: of what is counted.
        scaled: write 1.2M for 1,200,000.
        stays: leave the bar when it is done.
        shown: False = show nothing to anybody.
    """
    from tqdm import tqdm

    return tqdm(
        items,
        desc=printable(what)[-_BAR_COLUMNS:] or None,
        total=total,
        initial=done,
        unit=unit,
        unit_scale=scaled,
        leave=stays,
        # None: only where somebody is watching.
        disable=None if shown else True,
    )
