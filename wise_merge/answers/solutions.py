r"""The last equations of a solution, which isolate the unknowns, without those of the steps before.

`5x = 30` and `x = 6` are a step and an answer; math-verify takes them for a set of two solutions. `x = 2 or x = 3`
and `x = 6, y = 7` are solutions both; so are `x = 2, 3` and `x = 2 \pm 1`, with one left side for all.
"""

import re

_CONSEQUENCE = re.compile(
    r"\\(?:implies|Rightarrow|Longrightarrow|therefore|iff|Leftrightarrow)(?![a-zA-Z])|=>"
    r"|(?<![a-zA-Z])(?:so|thus|hence|therefore)(?![a-zA-Z])"
    r"|\\text\s*\{[^{}]*\b(?:so|thus|hence|therefore|then|which gives)\b[^{}]*\}"
)
_PART = re.compile(
    r"[,;]|\\text\s*\{\s*,?\s*(?:and|or)\s*\}|(?<![a-zA-Z\\])(?:and|or)(?![a-zA-Z])|\\(?:land|lor|wedge|vee)(?![a-zA-Z])"
)
_UNKNOWN = re.compile(r"\s*((?:[a-zA-Z]|\\[a-z]+)(?:_(?:\{\w+\}|\w))?)\s*")
_NAME = re.compile(r"\\[a-zA-Z]+|[a-zA-Z]")
_NO_NAME = re.compile(r"\\(?:[dtc]?frac|sqrt|cdot|times|div|left|right|leq?|geq?|neq?|lt|gt|pm)")
EQUALS = re.compile(r"(?<![<>!:])=")
_BOTH_SIGNS = re.compile(r"\\pm(?![a-zA-Z])\s*")
_RELATION = re.compile(r"[=<>≤≥≠]|\\(?:leq?|geq?|neq?|lt|gt)(?![a-zA-Z])")


def solved(text: str) -> str:
    r"""Return the text, or, if it is a solution with its steps, only the equations that isolate the unknowns.

    >>> solved("5x=30 and x=6"), solved("x = 2 or x = 3"), solved(r"5x = 30 \implies x = 6")
    ('x=6', 'x = 2 or x = 3', ' x = 6')
    >>> solved("x = 2, 3"), solved("x = 2, x > 0")
    ('2, 3', 'x = 2, x > 0')
    """
    equations = len(EQUALS.findall(text))
    if equations < 2:
        return _without_common_side(text) if equations else text
    last = _CONSEQUENCE.split(text)[-1]
    text = last if last.strip() else text
    parts = _parts(text)
    if len(parts) < 2 or not all(_RELATION.search(part) for part in parts):
        return text
    isolating: list[str] = []
    unknowns: set[str] = set()
    others: set[str] = set()
    for part in parts:
        left, *right = EQUALS.split(part, maxsplit=1)
        unknown = _UNKNOWN.fullmatch(left) if right else None
        if unknown and unknown[1] not in _NAME.findall(right[0]):
            isolating.append(part.strip())
            unknowns.update(_NAME.findall(unknown[1])[:1])
        else:
            others.update(name for name in _NAME.findall(part) if not _NO_NAME.fullmatch(name))
    # `x + y = 3, x = 1` does not say what y is.
    return ", ".join(isolating) if isolating and len(isolating) < len(parts) and others <= unknowns else text


def with_both_signs(text: str) -> str:
    r"""Return the text with both values of a formula that has one `\pm` within brackets.

    Outside them, math-verify reads it right; what several of them in one formula mean is not known.

    >>> with_both_signs(r"\frac{1\pm\sqrt{2}}{3}"), with_both_signs(r"(\pm 1, 0), (0, 2)")
    ('\\frac{1+\\sqrt{2}}{3}, \\frac{1-\\sqrt{2}}{3}', '(1, 0), (-1, 0), (0, 2)')
    >>> with_both_signs(r"1, 2 \pm \sqrt{3}")
    '1, 2 \\pm \\sqrt{3}'
    """
    if "\\pm" not in text:
        return text
    parts = _parts(text)
    values: list[str] = []
    for part in parts:
        before, *after = _BOTH_SIGNS.split(part)
        if len(after) == 1 and sum(map(before.count, "([{")) > sum(map(before.count, ")]}")):
            plus = "" if before.rstrip()[-1] in "([{=," else "+"
            values += [before + sign + after[0] for sign in (plus, "-")]
        else:
            values.append(part)
    return ", ".join(value.strip() for value in values) if len(values) > len(parts) else text


def _without_common_side(text: str) -> str:
    """Return `x = 2, 3` without its left side, which is that of every value; any other text as it is."""
    left, right = EQUALS.split(text)
    parts = _parts(right)
    unknown = _UNKNOWN.fullmatch(left)
    if not unknown or len(parts) < 2 or _RELATION.search(right) or unknown[1] in _NAME.findall(right):
        return text
    return right.strip()


def _parts(text: str) -> list[str]:
    """Return what commas, `and` and `or` keep apart, outside brackets."""
    parts, begin, position = [], 0, 0
    while part := _PART.search(text, position):
        before = text[begin : part.start()]
        position = part.end()
        if sum(map(before.count, "([{")) == sum(map(before.count, ")]}")):
            parts.append(before)
            begin = part.end()
    return [part for part in [*parts, text[begin:]] if part.strip()]
