r"""Answers to the AIME: integers from 0 to 999, written with leading zeros or without.

The answer is found as in any mathematics (`mathematics.extract`). One that is written as a number is
compared here; any other, `2^5` or `\frac{m+n}{1}`, is read by math-verify.
"""

import re
from collections.abc import Hashable, Mapping, Sequence
from typing import Any

from wise_merge.answers import mathematics
from wise_merge.errors import WiseMergeError

LARGEST = 999

_BOX = re.compile(r"\\boxed\{(.*)\}")
# A minus before a digit is the number's.
_ANNOUNCED = re.compile(r"(?i:(?:the )?(?:final )?answer)(?:[^\w+-]|[+-](?!\d))*(?:(?i:is|equals|to be)\b)?")
# `25. This follows from step 3`, `**25** (see step 3)`, `25 because 5^2 = 25`, but neither `14 + 19 = 33` nor `25, 26`.
_NUMBER_FIRST = re.compile(
    r"[\s:*$({\[\\]*(-?\d{1,40})[*$)}\]\\]*(?=\s*\Z|[.;:](?:\s|\Z)|,\s+\D|\s+(?:\(|[A-Za-z]{2}))"
)
_MATHEMATICS = re.compile(r"\$|\\[(\[]")
_NOISE = re.compile(
    r"\\(?:text|textbf|mathbf|mathrm|mbox|displaystyle)\b\s*|\\[,;:! ]|\{,\}"
    r"|\\pmod\s*\{?\d+\}?|\(\s*\\?mod\s*\d+\s*\)|\^\s*\{?\s*\\(?:circ|degree)\s*\}?|\\degree|°|\\[()\[\]]|[\s${}*`]"
    r"|(?<=\d),(?=\d{3}(?!\d))"
)
_LEFT_SIDE = re.compile(r"[A-Za-z\d+\-*/()_\\^|\s$=]*=")
_NUMBER = re.compile(r"([-+]?)(\d{1,40})(?:\.(\d*))?(?:degrees?|units?|\.)?")
_LAST_NUMBER = re.compile(r"(?<![\w.])-?\d{1,40}(?:,\d{3})*(?:\.\d+)?")


def gold(document: Mapping[str, Any]) -> str:
    """Return the answer of a problem as an integer without leading zeros; its column may hold a text or an int."""
    answer = document["answer"]
    if isinstance(answer, bool) or not re.fullmatch(r"\s*\d{1,3}\s*", str(answer), re.ASCII):
        raise WiseMergeError(f"its answer must be an integer from 0 to {LARGEST}; got {answer!r}")
    return str(int(answer))


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
    boxed = _BOX.fullmatch(text)
    answer = boxed[1] if boxed else text
    announced = _ANNOUNCED.search(answer)
    if announced:
        answer = answer[: announced.start()] + answer[announced.end() :]
        if not boxed and (first := _NUMBER_FIRST.match(answer, announced.start())):
            answer = first[1]
    number = _NUMBER.fullmatch(_plain(answer))
    if number:
        return _integer(number)
    if boxed or _MATHEMATICS.search(answer):
        return text
    # `Gp4js)` holds no number.
    numbers = _LAST_NUMBER.findall(answer)
    number = _NUMBER.fullmatch(_plain(numbers[-1])) if numbers else None
    return _integer(number) if number else None


def classify(
    questions: Sequence[tuple[Hashable, Sequence[str]]], processes: int | None = None
) -> list[list[tuple[str | None, bool]]]:
    """Return the class and the verdict of each distinct answer, see `wise_merge.answers.benchmarks`."""
    return mathematics.classify(questions, processes)


def _plain(answer: str) -> str:
    """Return what remains of a number once its dressing and a left side such as `m + n =` are off."""
    bare = _NOISE.sub("", _LEFT_SIDE.sub("", answer, count=1)).removesuffix(".")
    return bare[1:-1] if bare.startswith("(") and bare.endswith(")") else bare


def _integer(number: re.Match[str]) -> str | None:
    sign, whole, decimals = number.groups()
    value = int(whole)
    if (decimals or "").strip("0") or value > LARGEST or (sign == "-" and value):
        return None
    return str(value)
