r"""Reading the final number of a worked solution (GSM8K).

Numbers are compared as exact decimals, so `1,000`, `1000` and `$1000.00` are one answer.
Units are not looked at: `18 dollars`, `18%` and `18` are one answer too. A formula in a box, `2^{10}` or `3\pi`, is
not a number that it contains: it is the answer as it stands, and read by math-verify.
"""

import re
from collections.abc import Hashable, Iterator, Mapping, Sequence
from decimal import Decimal
from typing import Any

from wise_merge.answers import mathematics, statements
from wise_merge.answers.characters import plain, ungrouped
from wise_merge.answers.completions import finished, last_boxes
from wise_merge.answers.decimals import (
    CURRENCY,
    MAX_DIGITS,
    NUMBER,
    SIGN,
    UNSIGNED,
    decimal_of,
    normalized,
    read_expression,
    value_of,
)
from wise_merge.answers.formulas import is_cut, spelled
from wise_merge.answers.marked import ends_itself
from wise_merge.answers.prose import Cut
from wise_merge.errors import WiseMergeError

_NUMBER_AT_END = re.compile(rf"(?:{SIGN}){CURRENCY}?{UNSIGNED}")

# What may stand between `the answer is` and the number.
_FILLER = re.compile(
    r"(?:[\s:*_`>~≈({\[]|\$+(?!\d)|\\[(\[]|\\text(?:bf)?\{|\\[,;! ]"
    r"|(?:about|approximately|approx\.?|therefore|thus|just|only|exactly|equal|to|a total of|that|then|now)\b"
    r"|[A-Za-z]\s?=)*"
)
_ANSWER_IS = re.compile(
    rf"s?(?:[ \t]+(?!{statements.NO_PREDICATE}\b)[^\s.:;!?]+){{0,6}}?\s+(?:is|was|equals|are)\b|\s*(?:[:=]|\*\*\s*:?)"
)
# What follows a number that is only the beginning of a formula.
_GOES_ON = re.compile(
    r"\s*(?:[√π^²³]|sqrt|\\(?:sqrt|pi|times|cdot|div|d?frac)|\*\*?\d|and\s+\d+/\d|\$\s*\\d?frac"
    r"|\\[,;: ]\s*\\(?:sqrt|pi|d?frac))"
)
_ENDS = ("", ".", "\n")
# Signs by which the last number of a text is part of a formula.
_WITHIN_FORMULA = re.compile(r"[\\^√π/∛]|sqrt")
_QUOTIENT_AT_END = re.compile(r"(?<![\d/.,])(?:\d{1,9}\s+(?:and\s+)?)?\d{1,9}\s?/\s?\d{1,9}\Z")
_NEGATIVE = re.compile(r"[\s:*]*(?:negative|minus)\b", re.IGNORECASE)
_OPERATOR = re.compile(r"\s*(?:[-+*/×·÷x=^]|\\(?:times|cdot|div|frac))\s*[\d$\\(.{-]")  # noqa: RUF001
# Of a mixed number or of thousands.
_SPACE = re.compile(r"(\d)\\[,;: ](?=\d)")
_SHORT_FRACTION = re.compile(r"frac\s*(\d)\s*(\d)")
# `#### 2. Add the eggs` is a heading.
_HEADING = re.compile(r"[.):]\s+[A-Za-z*\\]")

# What tells a formula from a number with words around it, once every number in it is written 0.
_LAST_SIDE = re.compile(r"(?<![<>!])=|\\approx|≈")
_ANY_NUMBER = re.compile(rf"\d{{1,2}}:\d\d(?!\d)|{NUMBER.pattern}")
_DRESSING = re.compile(
    r"\\(?:text|textbf|textit|mathrm|mathbf|mbox|underline|displaystyle|left|right|q?quad|l?dots)(?![a-zA-Z])"
    r"|\\[,;:!%$ ()\[\]]|[{}$]|\^\s*\{?\\circ\}?|\\degree|(?<=[a-z][a-z}.])\^\{?0\}?|</?\w+>?"  # cm^2, 120 </answer
)
_FORMULA = re.compile(
    r"[\\^<>≤≥≠±√π∞]|sqrt|[A-Za-z0)]_\w|0\s*!"
    r"|0(?!(?:cm|mm|km|kg|mg|ml|lb|oz|ft|in|yd|hr|[ap]m|st|nd|rd|th)\b)[a-z]{1,2}(?![a-z])|0\s+[inxyz]\b|\b[a-z]0"
    r"|\b[a-z]\s*[-+*/]\s*[(0a-z]|[0)]\s*[-+*]\s*[a-z]\b"
    r"|0\s*(?:[-+*/,;:×÷·]|and\b|or\b)?\s*[-+(\[]*\s*0",  # noqa: RUF001
    re.IGNORECASE,
)

# `a total of **$64** for the 16 glasses`, and how the closing remarks of chat models begin.
_BOLD = re.compile(rf"\*\*\s*({SIGN}\\?{CURRENCY}?{UNSIGNED})[^*\n:]{{0,40}}\*\*")
_CLOSING_REMARK = re.compile(r"\n\s*(?:Let me know|Please let me know|Feel free|I hope|Hope this|Would you like)\b")
_DIGIT = re.compile(r"\d")
_DIGIT_OR_CONSTANT = re.compile(r"\d|\\pi|π")
# After the last number of a text: an operation without its second operand.
_BREAKS_OFF = re.compile(r"\s*(?:[-+/=×÷^]|(?<=\s)\*|\\(?:times|cdot|div|frac|sqrt|pm)\s*\{?)[\s${(]*")  # noqa: RUF001
_LONGEST_REST = 20
_REACH_OF_CUT = 60
_OPERATIONS = frozenset("-+/=×÷^*{")  # noqa: RUF001
# The end of a text that was cut at the token limit within a calculation. A hyphen alone on its line is none.
_CUT_OPERATION = re.compile(
    r"[\w)}\]%]\s*(?:[-+/=×÷^]|(?<=\s)\*|\\(?:times|cdot|div|frac|sqrt)\s*\{?)\Z|\\[dt]?frac\s*(?:\{[^{}]*\}?\s*)?(?:\{[^{}]*)?\Z"  # noqa: RUF001
)
_PARAGRAPHS = 20
_LONGEST_PARAGRAPH = 2000

# Where a brace was forgotten; some models type an angle bracket for it.
_END_OF_CUT_BOX = re.compile(r"[\n<>]")

# How far behind a marker an answer is searched for, and how many of the last markers are tried.
_REACH = 200
_MARKERS = 50


def gold(document: Mapping[str, Any]) -> str:
    """Return the number that the answer of a problem is or ends in."""
    number = read_number(str(document["answer"]))
    if number is None:
        raise WiseMergeError(f"its answer must be or end in a number; got {document['answer']!r}")
    return str(number)


def extract(completion: str) -> str | None:
    r"""Return the final number of a worked solution, or the formula in its box as `\boxed{...}`, or None.

    In this order: the last of `\boxed{18}` and `#### 18`; the last `The answer is 18` or
    `Answer: 18`; the last number in bold type in the last paragraph with a number; the last number. Thinking and
    what follows an end-of-text token are not read, nor a next problem that the model made up after its answer.

    >>> extract("5 apples at $3,600 each. #### 18,000")
    '18000'
    >>> extract(r"so she earns $\boxed{\$18\text{ a day}}$ in 3 hours")
    '18'
    >>> extract(r"\boxed{2^{10}}")
    '\\boxed{2^{10}}'
    """
    answer = _read(completion)
    return None if answer is None else str(answer)


def read_number(completion: str) -> Decimal | None:
    """Return what `extract` does as a number; None if it is none."""
    answer = _read(completion)
    return answer if isinstance(answer, Decimal) else None


def classify(
    questions: Sequence[tuple[Hashable, Sequence[str]]], processes: int | None = None
) -> list[list[tuple[str | None, bool]]]:
    """Return the class and the verdict of each distinct answer, see `wise_merge.answers.benchmarks`.

    A number is its own class, and right if it is the gold. A formula is what math-verify says: right, the same
    as a number that another sample gives, or the same as other formulas.
    """
    results: list[list[tuple[str | None, bool]]] = [
        [(text, text == gold) for text in texts] for gold, texts in questions
    ]
    hard = [i for i, (_, texts) in enumerate(questions) if any(map(_is_boxed, texts))]
    boxed = [(questions[i][0], [_boxed(text) for text in questions[i][1]]) for i in hard]
    for i, judged in zip(hard, mathematics.classify(boxed, processes), strict=True):
        gold, texts = questions[i]
        numbers = {name: text for text, (name, _) in sorted(zip(texts, judged, strict=True)) if not _is_boxed(text)}
        for j, (name, right) in enumerate(judged):
            if _is_boxed(texts[j]):
                results[i][j] = (str(gold), True) if right else (numbers.get(name, name) if name else None, False)
    return results


def _is_boxed(answer: str) -> bool:
    return answer.startswith("\\boxed")


def _boxed(answer: str) -> str:
    # Written in full: math-verify reads 1E-7 as a product of a number and E.
    return answer if _is_boxed(answer) else f"\\boxed{{{Decimal(answer):f}}}"


def _read(completion: str) -> Decimal | str | None:
    text = finished(completion)
    if "\\" in text:
        # How LaTeX spells a thousands comma.
        text = text.replace("{,}", ",").replace("\\!", "")
        text = _SHORT_FRACTION.sub(r"frac{\1}{\2}", text) if "frac" in text else text
        text = _SPACE.sub(r"\1 ", text)
    text = ungrouped(plain(text))
    try:
        answer = _marked(text, completion)
        if answer is None:
            answer = _announced(text)
        return _last(text) if answer is None else answer
    except Cut:
        return None


def _marked(text: str, completion: str) -> Decimal | str | None:
    candidates: list[tuple[int, Decimal | str]] = []
    for start, end, content in last_boxes(text, _REACH, count=2):
        shown = _cut_box(text, start, completion) if content is None else content
        answer = _formula(shown) or read_expression(shown)
        if answer is not None:
            candidates.append((end, answer))
            break
    for at in _last_places(text, "####"):
        match = _number_at(text, at + 4)
        if match and not _HEADING.match(text, match.end()):
            number = value_of(match)
            if number is not None:
                candidates.append((at, number))
                break
    return max(candidates, key=lambda candidate: candidate[0])[1] if candidates else None


def _cut_box(text: str, start: int, completion: str) -> str:
    """Return what a box holds that does not close, to where its brace was forgotten.

    Raises:
        Cut: if the text ends within a formula there.
    """
    shown = _END_OF_CUT_BOX.split(text[start + 6 : start + 60], maxsplit=1)[0]
    reaches_end = start + 6 + len(shown) >= len(text.rstrip())
    if reaches_end and is_cut(shown.lstrip().removeprefix("{")) and not ends_itself(completion):
        raise Cut
    return shown


def _formula(content: str) -> str | None:
    """Return what a box holds, boxed, if it is more than a number with words around it."""
    if NUMBER.fullmatch(content):
        return None
    side = _DRESSING.sub(" ", _ANY_NUMBER.sub("0", _LAST_SIDE.split(content)[-1]))
    return f"\\boxed{{{' '.join(content.split())}}}" if _FORMULA.search(side) else None


def _announced(text: str) -> Decimal | str | None:
    lower = text.lower()
    if len(lower) != len(text):  # some capitals have two small letters
        lower = text
    for at in _last_places(lower, "answer"):
        says = _ANSWER_IS.match(text, at + 6, at + _REACH)
        if not says:
            continue
        match, negative = _number_at(text, says.end()), None
        if match and text[match.end() : match.end() + 1] in _ENDS:
            number = value_of(match)
            if number is not None:
                return number
        elif match is None and (negative := _NEGATIVE.match(text, says.end())):
            match = _number_at(text, negative.end())
        if match is None or _GOES_ON.match(text, match.end()):
            answer = _formula_said(text, says.end())
            if answer is not None:
                return answer
        if match:
            number = value_of(match)
            rest = text[match.end() :] if len(text) - match.end() < _LONGEST_REST else "."
            if _BREAKS_OFF.fullmatch(rest) or (rest.strip() == "," and "(" in text[says.end() : match.start()]):
                raise Cut
            if _OPERATOR.match(text, match.end()):
                # `The answer is 3 + 4 = 7`
                line = text[match.start() : match.start() + _REACH].split("\n", 1)[0]
                sentence = line.split(". ", 1)[0]
                if "=" not in sentence:
                    return _formula_said(text, says.end()) or number
                number = read_expression(sentence.rpartition("=")[2])
            if number is not None:
                return normalized(-number) if negative else number
    return None


def _formula_said(text: str, position: int) -> Decimal | str | None:
    """Return the formula that begins there, boxed, or its number if it is one; None if there is none."""
    said = statements.without_emphasis(text[position : position + _REACH])
    content = statements.stated(said, directly=True, is_end=position + _REACH >= len(text))
    if not content or not _DIGIT_OR_CONSTANT.search(content):
        return None
    return _formula(content) or read_expression(spelled(content))


def _last_places(text: str, marker: str) -> Iterator[int]:
    at = len(text)
    for _ in range(_MARKERS):
        at = text.rfind(marker, 0, at)
        if at < 0:
            return
        yield at


def _last(text: str) -> Decimal | str | None:
    closing = _CLOSING_REMARK.search(text, max(0, len(text) - _REACH))
    if closing and _DIGIT.search(text, 0, closing.start()):
        text = text[: closing.start()]
    if "**" in text:
        paragraphs = text.rsplit("\n\n", _PARAGRAPHS)
        with_number = next((part for part in reversed(paragraphs) if _DIGIT.search(part)), "")
        for bold in reversed(list(_BOLD.finditer(with_number[-_LONGEST_PARAGRAPH:]))):
            number = None if _HEADING.match(bold.string, bold.end(1)) else read_expression(bold[1])
            if number is not None:
                return number
    end_of_text = text[-_REACH_OF_CUT:].rstrip(" \n$.")
    may_be_cut = end_of_text[-1:] in _OPERATIONS or "\\" in end_of_text[-_REACH_OF_CUT:]
    if may_be_cut and _CUT_OPERATION.search(end_of_text):
        raise Cut
    reach = 30
    while True:
        tail = text[-reach:]
        numbers = [
            match
            for match in _NUMBER_AT_END.finditer(tail)
            if (match.start() or reach >= len(text)) and len(match[0]) <= 2 * MAX_DIGITS
        ]
        for match in reversed(numbers):
            number = decimal_of(match[0])
            if number is not None:
                return _whole(text, len(text) - len(tail) + match.end(), number)
        if reach >= len(text):
            return None
        reach *= 10


def _whole(text: str, end: int, number: Decimal) -> Decimal | str:
    """Return the number that ends there, or the fraction or formula that it is only a part of.

    Raises:
        Cut: if the text ends within that formula.
    """
    begin = text.rfind("\n", 0, end) + 1
    begin = max(begin, end - _REACH)
    line = text[begin : end + 20].split("\n", 1)[0]
    if not _WITHIN_FORMULA.search(line[-80:]):
        return number
    quotient = _QUOTIENT_AT_END.search(text, max(0, end - 40), end)
    if quotient and (match := NUMBER.fullmatch(quotient[0].replace(" and ", " "))):
        value = value_of(match)
        return number if value is None else value
    content = statements.of_sentence(line, is_end=end + 20 >= len(text))
    if content and _DIGIT_OR_CONSTANT.search(content):
        answer = _formula(content) or read_expression(spelled(content))
        return number if answer is None else answer
    return number


def _number_at(text: str, position: int) -> re.Match[str] | None:
    filler = _FILLER.match(text, position, position + _REACH)
    return NUMBER.match(text, filler.end() if filler else position, position + _REACH + 2 * MAX_DIGITS)
