r"""Reading the final number of a worked solution (GSM8K).

Numbers are compared as exact decimals, so `1,000`, `1000` and `$1000.00` are one answer.
Units are not looked at: `18 dollars`, `18%` and `18` are one answer too.
"""

import re
from collections.abc import Iterator
from decimal import Context, Decimal, InvalidOperation

from wise_merge.answers.completions import finished, last_boxes

#: Digits after which a "number" is the output of a model that repeats itself, not an answer.
MAX_DIGITS = 40

# The default context would round to 28 digits.
_EXACT = Context(prec=MAX_DIGITS)

_CURRENCY = r"(?:\\?\$|[€£¥₹]|(?:USD|Rs\.?)\s)"
_UNSIGNED = r"(?:\d{1,3}(?:,\d{3})+(?!\d)(?:\.\d+)?|\d+(?:\.\d+)?|\.\d+)"
# A minus after a digit or a bracket is a subtraction or a range, and a comma groups digits by three.
_SIGN = r"(?:(?<![\d)\]])[-+]\s?)?"
_FRACTION = rf"\\[dtc]?frac\s*\{{\s*({_UNSIGNED})\s*\}}\s*\{{\s*({_UNSIGNED})\s*\}}"
_NUMBER = re.compile(
    rf"({_SIGN}){_CURRENCY}?\s?({_SIGN})(?:({_UNSIGNED})(?:\s*/\s*({_UNSIGNED})(?![\d/])|\s*{_FRACTION})?|{_FRACTION})"
)
_NUMBER_AT_END = re.compile(rf"(?:{_SIGN}){_CURRENCY}?{_UNSIGNED}")

# What may stand between `the answer is` and the number.
_FILLER = re.compile(
    r"(?:[\s:*_`>~≈({\[]|\$+(?!\d)|\\[(\[]|\\text(?:bf)?\{|\\[,;! ]"
    r"|(?:about|approximately|approx\.?|therefore|thus|just|only|exactly|equal|to|a total of|that|then|now)\b"
    r"|[A-Za-z]\s?=)*"
)
_ANSWER_IS = re.compile(r"(?:[ \t]+[^\s.:;!?]+){0,6}?\s+(?:is|was|equals|are)\b|\s*(?:[:=]|\*\*\s*:?)")
_OPERATOR = re.compile(r"\s*(?:[-+*/×·÷x=^]|\\(?:times|cdot|div|frac))\s*[\d$\\(.{-]")  # noqa: RUF001
_THIN_SPACE = re.compile(r"(?<=\d)\\,(?=\d{3})")
# `#### 2. Add the eggs` is a heading.
_HEADING = re.compile(r"[.):]\s+[A-Za-z*\\]")

# Until where an answer that follows a marker is looked for, and how many of the last markers are tried.
_REACH = 200
_MARKERS = 50


def read_number(completion: str) -> Decimal | None:
    r"""Return the final number of a worked solution, or None if there is none.

    In this order: the last of `\boxed{18}` and `#### 18`; the last `The answer is 18` or
    `Answer: 18`; the last number of the text. What follows an end-of-text token is not read, nor
    a next problem that the model made up after its answer.

    >>> read_number("5 apples at $3,600 each. #### 18,000")
    Decimal('18000')
    >>> read_number(r"so she earns $\boxed{\$18\text{ a day}}$ in 3 hours")
    Decimal('18')
    """
    text = finished(completion)
    if "\\" in text:
        # How LaTeX spells a thousands comma, and the thin space that some put in its place.
        text = _THIN_SPACE.sub("", text.replace("{,}", ",").replace("\\!", ""))
    text = text.replace("\N{MINUS SIGN}", "-")
    for read in (_marked, _announced, _last):
        number = read(text)
        if number is not None:
            return number
    return None


def _marked(text: str) -> Decimal | None:
    candidates: list[tuple[int, Decimal]] = []
    for start, end, content in last_boxes(text, _REACH, count=2):
        # Cut off by the token limit or by a forgotten brace, it holds what follows it.
        number = read_expression(text[start + 6 : start + 60] if content is None else content)
        if number is not None:
            candidates.append((end, number))
            break
    for at in _last_places(text, "####"):
        found = _number_at(text, at + 4)
        if found and not _HEADING.match(text, found.end()):
            number = _value(found)
            if number is not None:
                candidates.append((at, number))
                break
    return max(candidates)[1] if candidates else None


def _announced(text: str) -> Decimal | None:
    lower = text.lower()
    if len(lower) != len(text):  # some capitals have two small letters
        lower = text
    for at in _last_places(lower, "answer"):
        says = _ANSWER_IS.match(text, at + 6, at + _REACH)
        found = says and _number_at(text, says.end())
        if found:
            number = _value(found)
            if _OPERATOR.match(text, found.end()):
                # `The answer is 3 + 4 = 7`
                line = text[found.start() : found.start() + _REACH].split("\n", 1)[0]
                sentence = line.split(". ", 1)[0]
                number = read_expression(sentence.rpartition("=")[2]) if "=" in sentence else number
            if number is not None:
                return number
    return None


def _last_places(text: str, marker: str) -> Iterator[int]:
    at = len(text)
    for _ in range(_MARKERS):
        at = text.rfind(marker, 0, at)
        if at < 0:
            return
        yield at


def _last(text: str) -> Decimal | None:
    reach = 30
    while True:
        tail = text[-reach:]
        numbers = [
            found[0]
            for found in _NUMBER_AT_END.finditer(tail)
            if (found.start() or reach >= len(text)) and len(found[0]) <= 2 * MAX_DIGITS
        ]
        for found in reversed(numbers):
            number = _decimal(found)
            if number is not None:
                return number
        if reach >= len(text):
            return None
        reach *= 10


def read_expression(text: str) -> Decimal | None:
    r"""Return the number of a short answer such as a box holds: the first one after the last `=`.

    >>> read_expression(r"9 \times 2 = 18\text{ dollars in 7 days}")
    Decimal('18')
    >>> read_expression(r"\frac{1}{2}")
    Decimal('0.5')
    """
    found = _NUMBER.search(text.rpartition("=")[2][:_REACH])
    return found and _value(found)


def _number_at(text: str, position: int) -> re.Match[str] | None:
    filler = _FILLER.match(text, position, position + _REACH)
    return _NUMBER.match(text, filler.end() if filler else position, position + _REACH + 2 * MAX_DIGITS)


def _value(found: re.Match[str]) -> Decimal | None:
    sign, inner_sign, whole, divisor, over, under, only_over, only_under = found.groups()
    try:
        number = _quotient(only_over, only_under) if whole is None else _decimal(whole)
        if number is None:
            return None
        if divisor:
            number = _quotient(whole, divisor)
        elif over:  # 2\frac{1}{2}
            part = _quotient(over, under)
            number = None if part is None else _EXACT.add(number, part)
    except InvalidOperation:
        return None
    if number is None:
        return None
    minus = "-" in sign + inner_sign
    return _plain(-number if minus else number)


def _quotient(over: str, under: str) -> Decimal | None:
    upper, lower = _decimal(over), _decimal(under)
    return _EXACT.divide(upper, lower) if upper is not None and lower else None


def _decimal(text: str) -> Decimal | None:
    digits = re.sub(r"[^\d.+-]", "", text).rstrip(".")
    if not digits or len(digits) > MAX_DIGITS:
        return None
    try:
        return _plain(Decimal(digits))
    except InvalidOperation:
        return None


def _plain(number: Decimal) -> Decimal:
    # normalize: 18 and 18.00 must be one vote; adding 0 makes 0 of -0.
    return _EXACT.add(number.normalize(_EXACT), Decimal(0))
