"""Answers to Sudoku: a grid, found in a completion and checked by the rules and the givens of its puzzle."""

import re
from collections.abc import Mapping
from itertools import groupby
from typing import Any

from wise_merge.answers.marked import last_boxed, last_tagged, spoken
from wise_merge.errors import WiseMergeError
from wise_merge.games import sudoku

# What is written and drawn around the cells of a grid: names of rows, LaTeX arrays, separators.
_ROW = re.compile(r"\A\s*\**row\s*\d\**:", re.IGNORECASE)
_LATEX = re.compile(r"\\(?:begin|end)\{\w*\*?\}(?:\{[clr|@{} ]*\})?|\\[a-z]+")
_SEPARATORS = re.compile(r"[\s|,;:&\\+\-_=*`'\"$()\[\]{}─-╿]+")
_ANNOUNCED = re.compile(
    r"\b(?:solution|solved|completed|answer|final)\b[^.\n]{0,60}?\bis:?([\d \t|,;*`'\"$]+)", re.IGNORECASE
)


def gold(document: Mapping[str, Any]) -> str:
    """Return the puzzle of a problem: 16 or 81 digits, 0 for blank cells.

    Args:
        document: with the column `question` or `puzzle`.
    """
    column = "question" if "question" in document else "puzzle"
    puzzle = document.get(column)
    if not isinstance(puzzle, str):
        raise WiseMergeError(f"its {column} must be a text of 16 or 81 cells; got {puzzle!r}")
    return sudoku.read_puzzle(puzzle)


def extract(completion: str) -> str | None:
    r"""Return the digits of the final grid, 16 or 81, or None if there is none.

    The last `<answer>...</answer>` is the completion if there is one with something in it.
    In there, in this order: the last `\boxed{...}`; the lines of digits it begins with (how a
    base model answers a few examples); those it ends with; the last "the solution is" with a
    grid on its line; the last lines of digits. The first three decide: with a digit too many,
    there is no answer. Blank cells, written 0, make an unfinished grid, which is an answer and
    wrong.

    >>> extract("The solution is:\n1 2 | 3 4\n3 4 | 1 2\n----+----\n2 1 | 4 3\n4 3 | 2 1")
    '1234341221434321'
    """
    text = spoken(completion)
    text = last_tagged(text) or text.replace("</answer>", "")
    boxed = last_boxed(text)
    if boxed is not None:
        return _grid(boxed)
    lines = text.strip().rstrip(".").splitlines()
    groups = ("\n".join(group) for of_grid, group in groupby(lines, _is_of_grid) if of_grid)
    blocks = [block for block in groups if _digits(block)]
    if blocks and blocks[0].startswith(lines[0]):
        candidates = ["\n".join(lines), lines[0], blocks[0]]
    elif blocks and blocks[-1].endswith(lines[-1]):
        candidates = [blocks[-1]]
    else:
        announced = [match[1] for match in _ANNOUNCED.finditer(text)]
        candidates = [*reversed(announced), *blocks[-1:]]
    return next((grid for candidate in candidates if (grid := _grid(candidate))), None)


def verdict(gold: str, text: str) -> tuple[str | None, bool]:
    """Return the grid as its label (None if it is not of the puzzle's size) and whether it is a solution."""
    if len(text) != len(gold):
        return None, False
    return text, sudoku.is_solution(gold, text)


def _grid(text: str) -> str | None:
    """Return the digits of a text that holds a grid and nothing else, or None."""
    digits = "".join(map(_digits, text.splitlines()))
    return digits if len(digits) in (16, 81) and re.fullmatch("[0-9]*", digits) else None


def _is_of_grid(line: str) -> bool:
    """Return whether a line, not an empty one, holds digits and separators only."""
    return line.strip() != "" and re.fullmatch("[0-9]*", _digits(line)) is not None


def _digits(line: str) -> str:
    """Return the line without the lines and labels around the cells of a grid."""
    return _SEPARATORS.sub("", _LATEX.sub("", _ROW.sub("", line))) if line else ""
