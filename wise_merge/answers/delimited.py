r"""Formulas between delimiters, `$x$`, `\(x\)` or an `align*`, in the prose of a completion."""
# ruff: noqa: RUF001 - signs that look like letters are what is read here

import re

from wise_merge.answers.formulas import is_cut

_FORMULA = re.compile(
    r"(?<!\\)\$\$(?P<display>.+?)(?<!\\)\$\$|(?<!\\)\\\[(?P<bracket>.+?)(?<!\\)\\\]"
    r"|(?<!\\)\\\((?P<parenthesis>.+?)(?<!\\)\\\)|(?<!\\)\$(?P<inline>(?:\\.|[^$\\\n])+?)\$"
    r"|(?P<lines>\\begin\{(?P<kind>align\*?|equation\*?|gather\*?)\}.+?\\end\{(?P=kind)\})",
    re.DOTALL,
)
# The dollar of `$18 and $20` opens no formula, nor does that of `$20 - $2`.
_PRICE = re.compile(r"\s*[\d.,]+(?:\s*\Z|\s+[^$\\]*\b[a-zA-Z]{2,}|[.;:]\s|\s*[-+*/=×]\s*\Z)")
_WORD = re.compile(r"(?<![\\a-zA-Z])[a-zA-Z]{2,}")
_WORDS_IN_LATEX = re.compile(r"\\\w+\s*(?:\{[^{}]*\})?")
_JOINT = re.compile(r"[\s*]*(?:,|;|&|,?\s*\\text\s*\{\s*(?:and|or)\s*\}|(?:,\s*)?(?:and|or)\b)[\s*]*")
PERCENT = re.compile(r"\s*(?:\\?%|per ?cent\b|pct\b|percentage\b)", re.IGNORECASE)

# Parts of a formula that stand outside its dollars: `6 $*3$`, `2$\frac{1}{2}$`, `-$x$`, `$4$√2`.
_FACTOR = re.compile(r"\\[dt]?frac|\\sqrt|\\pi")
_OPERATION = re.compile(r"[*/^×÷]|\\(?:times|cdot|div)")
_NUMBER_BEFORE = re.compile(r"[-+]?\d+\Z")
_OPERAND_BEFORE = re.compile(r"(?<![\w.])\d+(?:\.\d+)?\s*\Z")
_MINUS_BEFORE = re.compile(r"(?:(?<=[\s:=(*])|\A)-\Z")
_AFTER = re.compile(r"(?:[\\^_√π°²³]|\d)\S*")

_NUMBER_FIRST = re.compile(r"\s*[-+]?[\d.,]*\d")
_FORMULA_FIRST = re.compile(r"\s*(?:\\[a-zA-Z]|[a-zA-Z]\s*[=+*/^<>(_-]|[({\[-])")


def groups(text: str) -> list[tuple[int, int, str]]:
    """Return the formulas of the text as (start, end, content), those that commas, `and` or `or` join as one.

    >>> groups("The roots of $f$ are $1$ and $2$.")
    [(13, 16, 'f'), (21, 32, '1, 2')]
    """
    spans: list[tuple[int, int, str]] = []
    position = 0
    while formula := _FORMULA.search(text, position):
        start, end = formula.span()
        inline = formula["inline"]
        if inline and _is_price(inline, text[end : end + 1]):
            position = start + 1
            continue
        content = next(formula[name] for name in _NAMES if formula[name] is not None).strip()
        before = _before(content, text, start)
        start, content = start - len(before), before + content
        if after := _AFTER.match(text, end):
            content, end = content + after[0], after.end()
        if percent := PERCENT.match(text, end):
            content, end = f"{content}\\%", percent.end()
        if spans and _JOINT.fullmatch(text, spans[-1][1], start):
            start, _, joined = spans.pop()
            content = f"{joined}, {content}"
        spans.append((start, end, content))
        position = end
    return spans


_NAMES = ("display", "bracket", "parenthesis", "inline", "lines")


def masked(text: str, formulas: list[tuple[int, int, str]], sign: str) -> str:
    """Return the text with `sign` for every character of its formulas."""
    for start, end, _ in formulas:
        text = f"{text[:start]}{sign * (end - start)}{text[end:]}"
    return text


def ends_within(text: str) -> bool:
    """Whether the text ends within a formula: one is opened and not closed, and no sentence ends after it.

    >>> ends_within("so $x = 3 +"), ends_within("so $x = 3."), ends_within("he pays $3")
    (True, False, False)
    """
    for opening, closing in (("\\(", "\\)"), ("\\[", "\\]"), ("$$", "$$")):
        at = text.rfind(opening)
        if at >= 0 and text.find(closing, at + 2) < 0 and (opening != "$$" or text.count("$$") % 2):
            return bool(text[at + 2 :].strip()) and _has_no_end(text[at + 2 :])
    at = text.rfind("$")
    if at < 0 or (at and text[at - 1] == "\\"):
        return False
    rest = text[at + 1 :]
    if _NUMBER_FIRST.match(rest):  # a price, unless an operation follows
        return is_cut(rest) and not _WORD.search(rest)
    return bool(_FORMULA_FIRST.match(rest)) and _has_no_end(rest)


def is_balanced(text: str) -> bool:
    """Whether every display that is opened in the text is closed in it."""
    return (
        text.count("\\[") == text.count("\\]") and text.count("\\(") == text.count("\\)") and not text.count("$$") % 2
    )


def _is_price(inline: str, after: str) -> bool:
    words = _WORD.search(_WORDS_IN_LATEX.sub("", inline))
    return bool(_PRICE.match(inline) and (after.isdigit() or inline[-1].isspace() or words))


def _before(content: str, text: str, start: int) -> str:
    """Return the part of the formula that stands before its opening dollar."""
    if _OPERATION.match(content):
        match = _OPERAND_BEFORE.search(text, max(0, start - 20), start)
    elif _FACTOR.match(content) and (number := _NUMBER_BEFORE.search(text, max(0, start - 20), start)):
        match = number
    else:
        match = _MINUS_BEFORE.search(text, max(0, start - 2), start)
    return match[0] if match else ""


def _has_no_end(formula: str) -> bool:
    return is_cut(formula) or formula.rstrip(" ")[-1:] not in (".", "!", "\n")
