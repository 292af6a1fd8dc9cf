r"""Formulas as math-verify reads them right: the spellings of models, brought into the one that it knows.

What stands around a formula and is not part of it (delimiters, emphasis, the full stop of the sentence,
units) goes; what it would read as something else (`\sqrt(2)`, `2 1/2`, `\mathrm{e}`, `9\,500`) is written as
it is meant. A formula that no rule here and no parser understands stays as it is, and is an answer that
equals itself only: no part of it is looked at in its place.
"""

import re

from wise_merge.answers.characters import plain, ungrouped

_STYLE = re.compile(
    r"\\(?:displaystyle|textstyle|scriptstyle|limits|nolimits|boldmath|[bB]igg?[lrm]?)(?![a-zA-Z])|(?<!\\)\\!\s*|\\cancel(?![a-zA-Z])"
)
# Escaped once too often; a new line only where there are lines.
_DOUBLED = re.compile(r"\\\\(?=[a-zA-Z()\[\]{}$%])")
_LINES = re.compile(r"\\begin\{(?:align|aligned|equation|gather|gathered|split)\*?\}(.*?)\\end\{\w+\*?\}[\s.]*")
# math-verify takes i for the imaginary unit where no letter or digit touches it.
_IMAGINARY = re.compile(r"(?<=\d)i(?![a-zA-Z])")
_SPACE = re.compile(
    r"(?<!\\)\\[,;:> ](?!\\)|(?<!\\)\\[,;:> ](?=\\[a-zA-Z])|(?<!\\)~|\\(?:q?quad|thinspace|,)(?![a-zA-Z])|\\hspace\*?\{[^{}]*\}"
)
_DELIMITER = re.compile(r"(?<!\\)\${1,2}|(?<!\\)\\[()\[\]]")
_WRAPPERS = re.compile(
    r"\\(?:boxed|fbox|underline|bm|boldsymbol|pmb|mathstrut|phantom|color\s*\{[^{}]*\}|textcolor\s*\{[^{}]*\})\s*(?=\{)"
)
# A number needs no font.
_NUMBER_IN_FONT = re.compile(
    r"\\(?:text|textbf|textit|textrm|textsf|texttt|textnormal|mathrm|mathbf|mathit|mathsf|mathtt|mbox|emph)"
    r"\s*\{\s*([-+]?\\?\$?\d[\d.,/ ]*?\s*(?:\\?%)?)\s*[.]?\s*\}"
)
_QUANTITY_IN_FONT = re.compile(r"\A(\\(?:text|mbox|textbf)\s*\{)\s*([-+]?\d[\d.,]*)(\s+[a-zA-Z][^{}\\\d]*\})\Z")
_FONT_SWITCH = re.compile(r"\{\\(?:rm|bf|it|sf|tt)\s+([^{}]*)\}|\\(?:rm|bf|it|sf)\s+(?=[-\d])")
_EDGE = re.compile(r"\A(?:\*{1,3}|[`\"“”„«»\s]|\\\\)+|(?:\*{1,3}|[`\"“”„«»\s]|\\\\)+\Z")
_END = re.compile(r"(?:[\s.,;:]|\\(?=\s*\Z)|\\text\s*\{\s*[.,;:]*\s*\})+\Z")
_DOTS = re.compile(r"\.{2,}\Z")
_START = re.compile(
    r"\A[\s,;:]+|\A\\text\s*\{[^{}]*\b(?:is|are|equals)\b[\s:]*\}\s*|\A\\text\s*\{[^{}=]*\}\s*(?:=|:|\\approx|≈)\s*|\A(?:\\(?:approx|therefore|implies|Rightarrow)(?![a-zA-Z])|≈|=|∴)\s*"
)

_CURRENCY = r"(?:\\text\s*\{\s*\\?\$\s*\}|\\\$|[€£¥₹]|\\(?:euro|pounds)(?![a-zA-Z]))"
_BEFORE_NUMBER = re.compile(rf"{_CURRENCY}\s*(?=[-+]?[\d.\\])")
_AFTER_NUMBER = re.compile(rf"(?<=\d)\s*{_CURRENCY}")
_DEGREE = re.compile(
    r"(?:\^\s*)?(?:\{\s*)?(?:\\degree|\\textdegree|\\circ|°|º)(?![a-zA-Z])(?:\s*\})?|(?<=\d)\^\s*\{?o\}?\Z"
)
_DEGREES_OF = re.compile(r"(?<=\\circ)\s*(?:\\(?:text|mathrm)\s*\{\s*[CFK]\s*\}|[CF])\Z")
_PERCENT = re.compile(
    r"\s*(?:\\?%|\\(?:text|mathrm|textrm)\s*\{\s*(?:\\?%|percent|per cent|percentage)\s*\}|(?<![a-zA-Z])(?:percent|per cent|pct)\.?)\Z"
)

_SYMBOLS = {
    "√": "\\sqrt ", "∛": "\\sqrt[3] ", "π": "\\pi ", "∞": "\\infty ", "·": "\\cdot ", "⋅": "\\cdot ", "∙": "\\cdot ",
    "×": "\\times ", "÷": "\\div ", "±": "\\pm ", "≤": "\\le ", "⩽": "\\le ", "≥": "\\ge ", "⩾": "\\ge ", "≠": "\\neq ",
    "∪": "\\cup ", "∩": "\\cap ", "∈": "\\in ", "∅": "\\emptyset ", "ℝ": "\\mathbb{R}", "…": "\\ldots ",
    "θ": "\\theta ", "α": "\\alpha ", "β": "\\beta ", "γ": "\\gamma ", "δ": "\\delta ", "λ": "\\lambda ",
    "φ": "\\phi ", "ω": "\\omega ", "μ": "\\mu ", "⇒": "\\Rightarrow ", "⟹": "\\Rightarrow ",
}  # fmt: skip
_SYMBOL = re.compile(f"[{''.join(_SYMBOLS)}]")
_RAISED, _LOWERED = "⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻", "₀₁₂₃₄₅₆₇₈₉₊₋"
_SCRIPT = re.compile(f"[{_RAISED}]+|[{_LOWERED}]+")
_TYPED = str.maketrans(_RAISED + _LOWERED, "0123456789+-" * 2)
_ROOT_OF_NUMBER = re.compile(r"√\s*(\d+(?:\.\d+)?)")
# A dash between two numbers without spaces says from where to where.
_DASH = re.compile(r"(?<![\d)}])[–—―]|[–—―](?![\d(\\])")  # noqa: RUF001

_FONT = r"\\(?:mathrm|mathit|mathsf|text|textrm|textit|textnormal|operatorname\*?|mbox)"
_CONSTANT = re.compile(rf"{_FONT}\s*\{{\s*([ei]|\\pi)\s*\}}|\\(?:mathrm|rm)\s+([ei])(?![a-zA-Z])")
_NATURAL = re.compile(r"\\log_\s*(?:e(?![a-zA-Z])|\{\s*e\s*\})")
_POINT_IN_WORDS = re.compile(r"(\\(?:text|textbf|textit|textrm|mathrm|mbox)\s*\{[^{}]*?)[\s.,;:]+\}\Z")
_FUNCTIONS = "arcsin|arccos|arctan|sinh|cosh|tanh|sin|cos|tan|cot|sec|csc|ln|log|exp|gcd|lcm|max|min|det|pi"
_FUNCTION_IN_FONT = re.compile(rf"{_FONT}\s*\{{\s*({_FUNCTIONS})\s*\}}")
_BARE_FUNCTION = re.compile(
    rf"(?<![\\a-zA-Z{{])({_FUNCTIONS}|sqrt|infinity|infty)(?![a-zA-Z])|(?<=\{{)(sqrt|pi)(?![a-zA-Z])"
)
_TEXT = re.compile(r"\\(?:text|textbf|textit|textrm|mbox|mathrm|mathbf)\s*\{[^{}]*\}")

_TAKES_ARGUMENTS = re.compile(r"\\[dtc]?frac(?![a-zA-Z])|\\sqrt(?![a-zA-Z])|\^(?=\s*\()")
_INDEX = re.compile(r"\s*\[[^\[\]]*\]\s*")
_COMMAND = re.compile(r"\\[a-zA-Z]+")

_MIXED = re.compile(
    r"(?<![\d.,^_}/)\]a-zA-Z])(?<!\d\s)(\d{1,9})(\s*(?:\\text\s*\{\s*and\s*\}|and)\s*|\s*&\s*|\s+)(\d{1,9})\s?/\s?(\d{1,9})(?![\d/.]|\s*[a-zA-Z(\\])"
)
_SCIENTIFIC = re.compile(r"(?<![a-zA-Z\d.\\])(\d+(?:\.\d+)?)[eE]([-+]?\d{1,4})(?![a-zA-Z\d.])")
_DOT_GROUPS = re.compile(r"(?<![\d.])([1-9]\d{0,2}(?:\.\d{3}){2,9})(?![\d.])")
_REPEATING = re.compile(r"(?<![\d.])(\d{0,15})\.(\d{0,15})\\(?:overline|bar)\s*(?:\{(\d{1,15})\}|(\d))(?![\d{])")

# `18 square feet`, `5 dollars per hour`; but `5 and 6`, `3 mod 7` and `2 ab` are more than a number.
_QUANTITY = re.compile(
    r"([-+]?(?:\d[\d,]*(?:\.\d+)?|\.\d+|\d*\\frac\{\d+\}\{\d+\}|\d+/\d+))\s*((?:[a-zA-Z]+\.?)(?:[\s/-]+[a-zA-Z]+\.?)*)"
    r"(?:\s*\^\s*\{?[23]\}?)?"
)
_SHORT_UNITS = frozenset(
    [
        "mm",
        "cm",
        "dm",
        "km",
        "m",
        "ft",
        "in",
        "yd",
        "mi",
        "kg",
        "g",
        "mg",
        "lb",
        "lbs",
        "oz",
        "s",
        "sec",
        "min",
        "h",
        "hr",
        "hrs",
        "ml",
        "l",
        "gal",
        "mph",
        "kph",
        "rpm",
        "usd",
        "am",
        "pm",
        "hz",
        "w",
        "kw",
        "n",
        "j",
        "a",
        "an",
        "of",
        "per",
        "the",
        "to",
        "sq",
        "cu",
        "m/s",
        "day",
        "egg",
        "cup",
        "box",
        "bag",
        "mph",
    ]
)
_NO_UNITS = frozenset(
    [
        "and",
        "or",
        "mod",
        "base",
        "choose",
        "if",
        "for",
        "where",
        "when",
        "pi",
        "sqrt",
        "ln",
        "log",
        "sin",
        "cos",
        "tan",
        "exp",
        "such",
        "is",
        "are",
        "not",
        "to",
    ]
)
_POWER_OF_UNIT = re.compile(r"(?:mm|cm|dm|km|m|ft|in|yd|mi)\s*\^\s*\{?[23]\}?\Z")

_UNREADABLE = re.compile(
    r"(?<![\d._^])\d+(?:\.\d+)?\s+\.?\d|\d\.\d+\.\d"  # 1 2, which would be their sum, and 1.000.00
    r"|(?<![a-zA-Z\\])\d+\.?\d*['’]\d|\.{2,}"
)

_CONSEQUENCE = re.compile(
    r"\\(?:implies|Rightarrow|Longrightarrow|therefore|iff|Leftrightarrow)(?![a-zA-Z])|=>|(?<![a-zA-Z])(?:so|thus|hence|therefore)(?![a-zA-Z])"
    r"|\\text\s*\{[^{}]*\b(?:so|thus|hence|therefore|then|which gives)\b[^{}]*\}"
)
_PART = re.compile(
    r"[,;]|\\text\s*\{\s*,?\s*(?:and|or)\s*\}|(?<![a-zA-Z\\])(?:and|or)(?![a-zA-Z])|\\(?:land|lor|wedge|vee)(?![a-zA-Z])"
)
_UNKNOWN = re.compile(r"\s*((?:[a-zA-Z]|\\[a-z]+)(?:_(?:\{\w+\}|\w))?)\s*")
_NAME = re.compile(r"\\[a-zA-Z]+|[a-zA-Z]")
_EQUALS = re.compile(r"(?<![<>!:])=")
_RELATION = re.compile(r"[=<>≤≥≠]|\\(?:leq?|geq?|neq?|lt|gt)(?![a-zA-Z])")
_FUNCTION_NAMES = frozenset(
    f"\\{name}"
    for name in ("frac", "dfrac", "tfrac", "cdot", "times", "sqrt", "left", "right", "div", "le", "ge", "ne")
)

_UNIT_APART = re.compile(r"\d\s+(?:cm|mm|km|kg|ft|in|mph|[mgs])\Z")
_ATTACHED = re.compile(r"(?:(?<=[\d})\]])|(?<=[\d})\]]\s)|(?<=[\d})\]][a-zA-Z])|(?<=[a-zA-Z]\s))[a-zA-Z]\Z")


def spelled(text: str) -> str:
    r"""Return a formula as math-verify reads it right, without what stands around it.

    >>> spelled(r"$4\sqrt(2)$.")
    '4\\sqrt{2}'
    >>> spelled(r"**2 1/2**"), spelled(r"1 - \frac1{\mathrm{e}}"), spelled(r"9\,500 \text{ cm}")
    ('2\\frac{1}{2}', '1 - \\frac{1}{ e}', '9500 \\text{ cm}')
    """
    text = _with_symbols(ungrouped(plain(" ".join(text.split()))))
    if "\\\\" in text and "\\begin" not in text:
        text = _DOUBLED.sub(r"\\", text)
    if "\\begin" in text:
        text = _last_line(text)
    text = _SPACE.sub(" ", _STYLE.sub("", text.replace("{,}", ",")))
    text = _DELIMITER.sub("", text) if "$" in text or "\\" in text else text
    text = _unwrapped(_FONT_SWITCH.sub(lambda found: found[1] or "", text)) if "\\" in text else text
    text = _QUANTITY_IN_FONT.sub(r"\2\1\3", _bare(_NUMBER_IN_FONT.sub(r"\1", text)))
    text = _AFTER_NUMBER.sub("", _BEFORE_NUMBER.sub("", text))
    text = _DEGREES_OF.sub("", _DEGREE.sub(r"^\\circ", text))
    text = _CONSTANT.sub(lambda found: f" {found[1] or found[2]}", text)
    text = _POINT_IN_WORDS.sub(r"\1}", _NATURAL.sub(r"\\ln ", _IMAGINARY.sub(" i", text)))
    text = _FUNCTION_IN_FONT.sub(r"\\\1 ", text)
    text = _outside_words(text)
    text = _with_braces(text)
    percent = _PERCENT.search(text)
    if percent:
        text = _EQUALS.split(text[: percent.start()])[-1]
    text = _DOT_GROUPS.sub(lambda found: found[1].replace(".", ""), text)
    text = _SCIENTIFIC.sub(r"\1\\times 10^{\2}", text)
    text = _REPEATING.sub(_as_fraction, text)
    text = _solved(_MIXED.sub(_mixed, text))
    text = _number_alone(" ".join(text.split()))
    return f"{text}\\%" if percent else text


def readings(text: str, *, is_gold: bool) -> list[str]:
    r"""Return the ways in which a spelled formula may be read, all of them whole; none if there is no such way.

    math-verify takes many letters at the end for units: `3t` is 3 to it. That of a gold is a variable, so that 3 is
    no right answer to it; that of an answer may be either where it is a usual unit.

    >>> readings("3m", is_gold=True), readings("3m", is_gold=False), readings("3t", is_gold=False)
    (['3{m}'], ['3{m}', '3m'], ['3{t}'])
    >>> readings("1 2", is_gold=False)
    []
    """
    bare = _TEXT.sub(" . ", text)
    if _UNREADABLE.search(bare) or not _is_balanced(text):
        return []
    if " and " in text and (mixed := re.fullmatch(r"(-?)(\d{1,9}) and (\d{1,9})/(\d{1,9})", text)):
        sign, whole, over, under = mixed.groups()
        if int(over) < int(under):
            return [text, f"{sign}{whole}\\frac{{{over}}}{{{under}}}"]
    last = _ATTACHED.search(text)
    if not last or "\\text" in text[-30:]:
        return [text]
    command = re.search(r"\\[a-zA-Z]*\Z", text)
    if command:
        return [text]
    variable = f"{text[: last.start()]}{{{last[0]}}}"
    if _UNIT_APART.search(text):
        return [text]
    return [variable] if is_gold or last[0] not in "mgshlL" else [variable, text]


def is_cut(text: str) -> bool:
    r"""Return whether a formula ends within an operation or a bracket, as one does that the token limit cut off.

    >>> is_cut(r"x = 3 +"), is_cut(r"\frac{3}{"), is_cut(r"(1, 2"), is_cut(r"[1, 2)"), is_cut("5!")
    (True, True, True, False, False)
    """
    bare = text.rstrip(" $")
    if re.search(
        r"(?:[-+*/=^_<>≤≥×·÷±√(\[{&]|\\(?:times|cdot|div|pm|frac|sqrt|le|ge|leq|geq|approx|text|left|right)|(?<!\\)\\)\Z",
        bare,
    ):
        return True
    opened = sum(map(bare.count, "([")) - sum(map(bare.count, ")]"))
    return bare.count("{") - bare.count("\\{") > bare.count("}") - bare.count("\\}") or opened > 0


def _bare(text: str) -> str:
    """Return the text without emphasis and quotes around it, and without the punctuation of its sentence."""
    before = None
    while before != text:
        before = text
        text = _START.sub("", _EDGE.sub("", text))
        # Three dots go on; one ends the sentence. 5!. is the factorial of 5.
        text = text if _DOTS.search(text) else _END.sub("", text)
        if len(text) > 1 and text[0] == text[-1] and text[0] in "'_":
            text = text[1:-1]
        if text.startswith("‘") and text.endswith("’"):  # noqa: RUF001
            text = text[1:-1]
    return text


def _last_line(text: str) -> str:
    r"""Return the last line of an `align*` or the like, as it would stand alone; matrices are left as they are."""
    lines = _LINES.fullmatch(text.strip())
    if not lines:
        return text
    last = [line for line in lines[1].split("\\\\") if line.strip(" &")][-1:]
    return "".join(last).replace("&", " ")


def _with_symbols(text: str) -> str:
    if text.isascii():
        return text
    text = _ROOT_OF_NUMBER.sub(r"\\sqrt{\1}", _DASH.sub("-", text))
    text = _SCRIPT.sub(lambda found: f"{'^' if found[0][0] in _RAISED else '_'}{{{found[0].translate(_TYPED)}}}", text)
    return _SYMBOL.sub(lambda found: _SYMBOLS[found[0]], text)


def _unwrapped(text: str) -> str:
    r"""Return the text with `\boxed{...}` and the like replaced by what they hold, from the innermost on."""
    for _ in range(20):
        found = None
        for found in _WRAPPERS.finditer(text):
            pass
        if not found:
            break
        end = _closing(text, found.end())
        if end is None:
            break
        text = f"{text[: found.start()]} {text[found.end() + 1 : end]} {text[end + 1 :]}"
    return text


def _closing(text: str, opening: int) -> int | None:
    """Return where the bracket that opens there closes."""
    pair = {"{": "}", "(": ")", "[": "]"}[text[opening]]
    depth = 0
    for i in range(opening, len(text)):
        if text[i] == text[opening]:
            depth += 1
        elif text[i] == pair:
            depth -= 1
            if depth == 0:
                return i
    return None


def _outside_words(text: str) -> str:
    r"""Return the text with a backslash before functions and constants that lack it, `\text{...}` left alone."""
    if not _BARE_FUNCTION.search(text):
        return text
    pieces, at = [], 0
    for words in [*_TEXT.finditer(text), None]:
        end = words.start() if words else len(text)
        pieces.append(_BARE_FUNCTION.sub(_commanded, text[at:end]))
        if words:
            pieces.append(words[0])
            at = words.end()
    return "".join(pieces)


def _commanded(found: re.Match[str]) -> str:
    name = found[1] or found[2]
    return "\\infty " if name.startswith("inf") else f"\\{name} "


def _with_braces(text: str) -> str:
    r"""Return the text with braces around the arguments of fractions, roots and powers, as TeX takes them.

    An argument in parentheses, `\sqrt(2)`, is the whole of what they hold.
    """
    position = 0
    while found := _TAKES_ARGUMENTS.search(text, position):
        position = found.end()
        is_fraction = "frac" in found[0]
        if "sqrt" in found[0] and (index := _INDEX.match(text, position)):
            position = index.end()
        # `\sqrt12` is left to math-verify: in TeX it is the root of 1, times 2.
        for _ in range(2 if is_fraction else 1):
            begin = position
            while begin < len(text) and text[begin] == " ":
                begin += 1
            if begin == len(text):
                break
            if text[begin] == "{":
                end = _closing(text, begin)
                if end is None:
                    return text
                if not is_fraction:
                    break
                position = end + 1
                continue
            inside, end = _argument(text, begin)
            if end is None:
                return text
            text = f"{text[:position].rstrip()}{{{inside}}}{text[end:]}"
            position = position - (len(text[:position]) - len(text[:position].rstrip())) + len(inside) + 2
            if not is_fraction:
                position = found.end()  # there may be more within
                break
    return text


def _argument(text: str, begin: int) -> tuple[str, int | None]:
    if text[begin] == "(":
        end = _closing(text, begin)
        return ("", None) if end is None else (text[begin + 1 : end], end + 1)
    command = _COMMAND.match(text, begin)
    end = command.end() if command else begin + 1
    return text[begin:end], end


def _mixed(found: re.Match[str]) -> str:
    whole, between, over, under = found.groups()
    if int(over) >= int(under):
        return found[0]
    if "and" in between:
        return f"{whole} and {over}/{under}"  # or a list of two: see `readings`
    return f"{whole}\\frac{{{over}}}{{{under}}}"


def _as_fraction(found: re.Match[str]) -> str:
    whole, start, several, one = found.groups()
    again = several or one
    over = int(f"{whole}{start}{again}") - int(f"{whole}{start}" or "0")
    return f"\\frac{{{over}}}{{{'9' * len(again)}{'0' * len(start)}}}"


def _number_alone(text: str) -> str:
    """Return the number of a quantity whose unit is written in plain letters; any other text as it is."""
    found = _QUANTITY.fullmatch(text)
    if not found:
        return text
    words = [word for word in re.split(r"[\s/.-]+", found[2].lower()) if word]
    if _POWER_OF_UNIT.search(text):
        return found[1]
    attached = text[found.end(1)] != " "
    known = [word for word in words if len(word) >= 4 or word in _SHORT_UNITS]
    if not known or _NO_UNITS & set(words) or any(len(word) < 3 for word in words if word not in _SHORT_UNITS):
        return text
    return found[1] if not attached or len(words[0]) >= 4 or (len(words[0]) >= 2 and words[0] in _SHORT_UNITS) else text


def _solved(text: str) -> str:
    r"""Return what a solution ends in: without the equations on the way to it, in the same unknowns.

    >>> _solved("5x=30 and x=6"), _solved("x = 2 or x = 3"), _solved(r"5x = 30 \implies x = 6")
    ('x=6', 'x = 2 or x = 3', ' x = 6')
    """
    if len(_EQUALS.findall(text)) < 2:
        return text
    last = _CONSEQUENCE.split(text)[-1]
    if last.strip():
        text = last
    parts = _parts(text)
    if len(parts) < 2 or not all(_RELATION.search(part) for part in parts):
        return text
    solved, names, other = [], set(), set()
    for part in parts:
        left, *right = _EQUALS.split(part, maxsplit=1)
        unknown = _UNKNOWN.fullmatch(left) if right else None
        if unknown and unknown[1] not in _NAME.findall(right[0]):
            solved.append(part.strip())
            names.update(_NAME.findall(unknown[1])[:1])
        else:
            other.update(_NAME.findall(part))
    if not solved or len(solved) == len(parts) or not other - _FUNCTION_NAMES <= names:
        return text
    return ", ".join(solved)


def _parts(text: str) -> list[str]:
    """Return what commas, `and` and `or` keep apart, outside brackets."""
    parts, begin, position = [], 0, 0
    while found := _PART.search(text, position):
        before = text[begin : found.start()]
        position = found.end()
        if sum(map(before.count, "([{")) == sum(map(before.count, ")]}")):
            parts.append(before)
            begin = found.end()
    return [part for part in [*parts, text[begin:]] if part.strip()]


def _is_balanced(text: str) -> bool:
    bare = text.replace("\\\\", "").replace("\\{", "").replace("\\}", "")
    depth = 0
    for brace in re.finditer("[{}]", bare):
        depth += 1 if brace[0] == "{" else -1
        if depth < 0:
            return False
    return depth == 0
