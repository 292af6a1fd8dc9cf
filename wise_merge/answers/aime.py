r"""Answers to the AIME: integers from 0 to 999, written with leading zeros or without.

The answer is found as in any mathematics (`mathematics.extract`). One that is written as a number is
compared here; any other, `2^5` or `\frac{m+n}{1}`, is read by math-verify.
"""

import re
from collections.abc import Hashable, Mapping, Sequence
from typing import Any

from wise_merge.answers import mathematics
from wise_merge.answers.formulas import spelled
from wise_merge.errors import WiseMergeError

LARGEST = 999

_MODULUS = re.compile(r"\\p?mod\s*\{?\s*\d+\s*\}?|\(\s*\\?mod\s*\d+\s*\)|\\equiv.*")
_DRESSING = re.compile(r"\\(?:text|textbf|mathbf|mathrm|mbox)\b\s*|\^\\circ|[{}]")
_LEFT_SIDE = re.compile(r"[A-Za-z\d+\-*/()_\\^|\s]*=\s*")
_NUMBER = re.compile(r"([-+]?)(\d{1,3}(?:,\d{3}){1,12}|\d{1,40})(?:\.(\d*))?\s*(?:degrees?|units?|\.)?")


def gold(document: Mapping[str, Any]) -> str:
    """Return the answer of a problem as an integer without leading zeros; its column may hold a text, 27 or 27.0."""
    answer = document["answer"]
    integer = None if isinstance(answer, bool) else re.fullmatch(r"\s*(\d{1,3})(?:\.0)?\s*", str(answer), re.ASCII)
    if not integer:
        raise WiseMergeError(f"its answer must be an integer from 0 to {LARGEST}; got {answer!r}")
    return str(int(integer[1]))


def extract(completion: str) -> str | None:
    r"""Return the final answer as an integer without leading zeros, or None if there is none.

    A number that is no integer from 0 to 999 is no answer. What is no number as it stands is
    returned as math-verify would read it.

    >>> extract(r"Therefore $m + n = \boxed{025}$.")
    '25'
    >>> extract(r"\boxed{1000}")
    """
    text = mathematics.extract(completion)
    if text is None:
        return None
    number = _NUMBER.fullmatch(_plain(text[len("\\boxed{") : -1]))
    return _integer(number) if number else text


def classify(
    questions: Sequence[tuple[Hashable, Sequence[str]]], processes: int | None = None
) -> list[list[tuple[str | None, bool]]]:
    """Return the class and the verdict of each distinct answer, see `wise_merge.answers.benchmarks`."""
    return mathematics.classify(questions, processes)


def _plain(answer: str) -> str:
    """Return a number without its left side, such as `m + n =`, and without LaTeX around it."""
    bare = _DRESSING.sub("", _LEFT_SIDE.sub("", _MODULUS.sub("", spelled(answer)), count=1)).strip().removesuffix(".")
    return bare[1:-1] if bare.startswith("(") and bare.endswith(")") else bare


def _integer(number: re.Match[str]) -> str | None:
    sign, whole, decimals = number.groups()
    value = int(whole.replace(",", ""))
    if (decimals or "").strip("0") or value > LARGEST or (sign == "-" and value):
        return None
    return str(value)
