"""Answers to CountDown: an expression, found in a completion and checked by the rules of the game."""

import re
from collections.abc import Mapping
from typing import Any

from wise_merge.answers.marked import last_boxed, last_tagged, spoken
from wise_merge.errors import WiseMergeError
from wise_merge.games import countdown

_ANNOUNCED = re.compile(
    r"\b(?:expression|equation|solution|answer)\b(?:[^.:\n=]{0,40}?\bis\b:?|\**:)\**\s*(?:(?:\\\[|[*`$]+)\s*)?"
    # The expression ends where its line does, or with the first sign that is in none.
    r"((?:x =)?(?:\\\w+|\\.|[-+*/()\[\]{}=≈.$\d \t×÷·⋅−–])+)",  # noqa: RUF001
    re.IGNORECASE,
)
_OPERATION = re.compile(r"[-+*/×÷·⋅−–\\]")  # noqa: RUF001


def gold(document: Mapping[str, Any]) -> tuple[tuple[int, ...], int]:
    """Return the numbers, in their order, and the target of a problem.

    Args:
        document: with the columns `numbers` (or `nums`, as Jiayi-Pan/Countdown-Tasks-3to4 calls them) and `target`.
    """
    drawn, target = document.get("numbers", document.get("nums")), document.get("target")
    if not isinstance(drawn, (list, tuple)) or not drawn or not all(type(number) is int for number in drawn):
        raise WiseMergeError(f"its numbers must be a list of integers; got {drawn!r}")
    if min(drawn) < 0:
        raise WiseMergeError(f"its numbers must not be negative, as an expression has no signs; got {drawn!r}")
    if type(target) is not int:
        raise WiseMergeError(f"its target must be an integer; got {target!r}")
    return tuple(drawn), target


def extract(completion: str) -> str | None:
    r"""Return the text of the final expression, or None if there is none.

    The last `<answer>...</answer>` is the completion if there is one with something in it.
    In there, in this order: the last `\boxed{...}`, which decides even if it holds no
    expression; the first line with something in it (how a base model answers a few examples); what
    follows the last "the expression is" or "Answer:" (or equation, solution); the last line, if it holds an operation.

    >>> extract("(9-5)*6 = 24\n\nNumbers: 1 2 3")
    '(9-5)*6 = 24'
    >>> extract(r"9-5 is 4. <answer>\boxed{(9-5) \times 6}</answer><|eot_id|>")
    '(9-5) \\times 6'
    """
    text = spoken(completion)
    text = last_tagged(text) or text
    boxed = last_boxed(text)
    if boxed is not None:
        # An expression may go over several lines of LaTeX.
        candidates = [" ".join(boxed.split())]
    else:
        announced = [match[1].strip(" \t*`") for match in _ANNOUNCED.finditer(text)]
        lines = [line for line in map(_bare, text.splitlines()) if line]
        candidates = [*lines[:1], *announced[-1:], *(line for line in lines[-1:] if _OPERATION.search(line))]
    return next((candidate for candidate in candidates if countdown.read_answer(candidate)), None)


def _bare(line: str) -> str:
    """Return the line without Markdown around it; nothing of one that begins or ends a block of code."""
    return "" if line.lstrip().startswith("```") else line.strip("*` \t")


def verdict(gold: tuple[tuple[int, ...], int], text: str) -> tuple[str | None, bool]:
    """Return a label that equal expressions share (None if the text is no expression) and whether it is a solution."""
    answer = countdown.read_answer(text)
    if answer is None:
        return None, False
    return countdown.spell(answer.form), countdown.is_solution(answer, *gold)
