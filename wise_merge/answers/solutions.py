r"""The last equations of a solution, which isolate the unknowns, without those of the steps before.

`5x = 30` and `x = 6` are a step and an answer; math-verify takes them for a set of two solutions. `x = 2 or x = 3`
and `x = 6, y = 7` are solutions both.
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
_RELATION = re.compile(r"[=<>≤≥≠]|\\(?:leq?|geq?|neq?|lt|gt)(?![a-zA-Z])")


def solved(text: str) -> str:
    r"""Return the text, or, if it is a solution with its steps, only the equations that isolate the unknowns.

    >>> solved("5x=30 and x=6"), solved("x = 2 or x = 3"), solved(r"5x = 30 \implies x = 6")
    ('x=6', 'x = 2 or x = 3', ' x = 6')
    """
    if len(EQUALS.findall(text)) < 2:
        return text
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
