r"""Numbers and formulas in prose without delimiters: `so the area is 2π square feet`, `The answer is (2, 4).`

A number is read with all of the formula that it is a part of: `4√2` is not 4.
"""
# ruff: noqa: RUF001 - signs that look like letters are what is read here

import re

from wise_merge.answers.delimited import PERCENT
from wise_merge.answers.formulas import is_cut

# A stretch of text that may be mathematics: no words, but letters that stand alone.
_NAMES = "sqrt|pi|sin|cos|tan|log|ln|and|or|infinity"
_RUN = re.compile(
    r"(?:\\[a-zA-Z]+\*?(?:\s*\{[^{}]*\})?|\\.|[-+*/=^_(){}\[\]<>|,.;:!%\s\d]|(?<![a-zA-Z]{2})(?<=[a-zA-Z)])'"
    r"|[€£¥₹$°º√∛π∞×·⋅∙÷±≤≥≠∪∩∈∅ℝθ–—²³⁰¹⁴-⁹₀-₉…]"
    rf"|(?<![a-zA-Z])(?:{_NAMES})(?![a-zA-Z])|(?<=\d)(?:pi|sqrt)(?![a-zA-Z])"
    r"|(?<![a-zA-Z'’])[a-zA-Z](?![a-zA-Z]|['’][a-z]))+"
)
_HAS_VALUE = re.compile(r"[\d½-⅞]|\\(?!text|[a-z]*box|left|right|[(\[])[a-zA-Z]|[π∞∅√]|[a-zA-Z]\s*[-+*/^=(]")
_HAS_NUMBER = re.compile(r"\d|\\(?:[dt]?frac|sqrt|pi|infty)(?![a-z])|[π∞]")
# `5cm`, `18th`; but `2ab` goes on.
_UNIT = re.compile(
    r"(?:mm|cm|dm|km|kg|mg|mi|ft|in|yd|lbs?|oz|hrs?|mins?|sec|mph|kph|ml|st|nd|rd|th|am|pm|usd)"
    r"(?:\^?\{?[23²³]\}?)?(?![a-zA-Z])",
    re.IGNORECASE,
)
_LETTERS = re.compile(r"[a-zA-Z]+")
_LEADING = re.compile(r"\A(?:[\s,;:)\]}|>=_]|\.(?!\d)|(?:and|or)\b|[a-zA-Z]\s+(?=[\d$])|[-*+/]\s+|[–—―])+")
_TRAILING = re.compile(r"(?:[\s,;:.('’\[|{_<]|\*\*|\*\Z|(?<=\s)-|[–—―]|\b(?:and|or)\b|\s[aAI](?=\s*\Z))+\Z")
_ARTICLE = re.compile(r"\s(?:a|A|I)\s*\Z")
_END_OF_SENTENCE = re.compile(r"[\s_`\"”.!]+\Z")
_ENTERS_WORD = re.compile(r"\s\S*\d")
_NEXT_ITEM = re.compile(r"[,;:.]\s+")
# `1000,99` in prose is no list.
_DECIMAL_COMMA = re.compile(r"\A(-?\d{3,}),(\d\d?)\Z")


class Cut(Exception):
    """The answer breaks off in the middle of a formula."""


def whole(text: str) -> str | None:
    """Return the text if it is nothing but a formula that does not break off."""
    run = _RUN.fullmatch(text.strip())
    return _DECIMAL_COMMA.sub(r"\1.\2", run[0]) if run and not is_cut(run[0]) else None


def first_run(text: str, *, is_end: bool) -> str | None:
    """Return the formula or number that the text begins with, or None.

    Args:
        text: a line.
        is_end: whether the completion ends with it.

    Raises:
        Cut: if the formula breaks off there.
    """
    run = _RUN.match(text)
    if not run or not _HAS_VALUE.search(run[0]):
        return None
    return _trimmed(text, run.start(), run.end(), is_end=is_end and run.end() == len(text))


def last_run(text: str, *, is_end: bool) -> str | None:
    """Return the last number of a text, with the formula that it is a part of, or None.

    Raises:
        Cut: if the completion ends within that formula.
    """
    for run in reversed(list(_RUN.finditer(text))):
        before = text[run.start() - 1 : run.start()]
        # `AZYUK2A` holds no number.
        in_word = before.isascii() and before.isalpha() and run[0][0].isdigit() and not _ENTERS_WORD.search(run[0])
        if in_word or not _HAS_NUMBER.search(run[0]):
            continue
        answer = _trimmed(text, run.start(), run.end(), is_end=is_end and run.end() == len(text))
        if answer is None or not _HAS_NUMBER.search(answer):
            continue
        # In prose, a comma or a full stop goes on to something else; in brackets and equations it does not.
        return answer if re.search(r"[(\[{=]", answer) else _NEXT_ITEM.split(answer)[-1]
    return None


def _trimmed(text: str, start: int, end: int, *, is_end: bool) -> str | None:
    if text[start : start + 1] == "-" and text[start - 1 : start].isalpha():
        start += 1  # a hyphen
    run = text[start:end]
    letters = _LETTERS.match(text, end) if run[-1:].isdigit() else None
    if letters and not _UNIT.match(text, end):
        run += letters[0]
    if is_end and is_cut(_END_OF_SENTENCE.sub("", run)):
        raise Cut
    is_percentage = PERCENT.match(text, end) and not run.rstrip().endswith("%")
    before = None
    while before != run:
        before = run
        run = _LEADING.sub("", run)
        run = _TRAILING.sub("", run if is_end else _ARTICLE.sub("", run))
        if run.endswith("}") and run.count("{") < run.count("}"):
            run = run[:-1]
        for opening, closing in ("()", "[]"):
            # Of an interval, (0, 1], neither bracket has its pair.
            if run.endswith(closing) and run.count(opening) < run.count(closing) and not re.search(r"[(\[].*,", run):
                run = run[:-1]
            if run.startswith(opening) and run.count(opening) > run.count(closing) and not re.search(r",.*[)\]]", run):
                run = run[1:]
    run = _DECIMAL_COMMA.sub(r"\1.\2", run)
    return f"{run}\\%" if run and is_percentage else run or None
