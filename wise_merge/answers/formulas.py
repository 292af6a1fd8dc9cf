r"""Formulas rewritten from the spellings of models into the one that math-verify reads correctly.

What stands around a formula and is no part of it goes (delimiters, emphasis, the full stop of the sentence);
what it would read as something else, `\sqrt(2)` or `\mathrm{e}`, is written as it is meant. A formula
that no rule here and no parser understands stays as it is, and is equal to itself only: no part of it is
looked at in its place.
"""
# ruff: noqa: RUF001 - signs that look like letters are what is read here

import re

from wise_merge.answers import quantities
from wise_merge.answers.characters import plain, ungrouped
from wise_merge.answers.solutions import EQUALS, solved, with_both_signs

# Backslashes that are escaped twice; `\\` stays a line break within environments that have lines.
_DOUBLED = re.compile(r"\\\\(?=[a-zA-Z()\[\]{}$%])")
_LINES = re.compile(r"\\begin\{(?:align|aligned|equation|gather|gathered|split)\*?\}(.*?)\\end\{\w+\*?\}[\s.]*")
_STYLE = re.compile(
    r"\\(?:displaystyle|textstyle|scriptstyle|limits|nolimits|boldmath|[bB]igg?[lrm]?|cancel)(?![a-zA-Z])|(?<!\\)\\!\s*"
)
_SPACE = re.compile(
    r"(?<!\\)\\[,;:> ](?!\\)|(?<!\\)\\[,;:> ](?=\\[a-zA-Z])"
    r"|\\(?:q?quad|thinspace|,)(?![a-zA-Z])|\\hspace\*?\{[^{}]*\}"
)
_DELIMITER = re.compile(r"(?<!\\)\${1,2}|(?<!\\)\\[()\[\]]")
_WRAPPER = re.compile(
    r"\\(?:boxed|fbox|underline|bm|boldsymbol|pmb|color\s*\{[^{}]*\}|textcolor\s*\{[^{}]*\})\s*(?=\{)"
)
_FONT_SWITCH = re.compile(r"\{\\(?:rm|bf|it|sf|tt)\s+([^{}]*)\}|\\(?:rm|bf|it|sf)\s+(?=[-\d])")

# What may surround a formula: emphasis and quotes, the punctuation of a sentence, words such as \text{Area} = .
_EDGE = re.compile(r"\A(?:\*{1,3}|[`\"“”„«»\s]|\\\\)+|(?:\*{1,3}|[`\"“”„«»\s]|\\\\)+\Z")
_START = re.compile(
    r"\A[\s,;:]+|\A\\text\s*\{[^{}]*\b(?:is|are|equals)\b[\s:]*\}\s*|\A\\text\s*\{[^{}=]*\}\s*(?:=|:|\\approx|≈)\s*"
    r"|\A(?:\\(?:approx|therefore|implies|Rightarrow)(?![a-zA-Z])|≈|=|∴)\s*"
)
_END = re.compile(r"(?:[\s.,;:]|\\(?=\s*\Z)|\\text\s*\{\s*[.,;:]*\s*\})+\Z")
_END_IN_BRACKETS = re.compile(r"(?:[\s.,;]|\\text\s*\{\s*[.,;]*\s*\})+(?=\)\Z)")
_DOTS = re.compile(r"\.{2,}\Z")
_QUOTES = (("'", "'"), ("_", "_"), ("‘", "’"))
_POINT_IN_WORDS = re.compile(r"(\\(?:text|textbf|textit|textrm|mathrm|mbox)\s*\{[^{}]*?)[\s.,;:]+\}\Z")

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
# A dash between two numbers without spaces stands for a range; any other is a minus.
_DASH = re.compile(r"(?<![\d)}])[–—―]|[–—―](?![\d(\\])")

_FONT = r"\\(?:mathrm|mathit|mathsf|text|textrm|textit|textnormal|operatorname\*?|mbox)"
_FUNCTIONS = "arcsin|arccos|arctan|sinh|cosh|tanh|sin|cos|tan|cot|sec|csc|ln|log|exp|gcd|lcm|max|min|det|pi"
_CONSTANT = re.compile(rf"{_FONT}\s*\{{\s*([ei]|\\pi)\s*\}}|\\(?:mathrm|rm)\s+([ei])(?![a-zA-Z])")
_FUNCTION_IN_FONT = re.compile(rf"{_FONT}\s*\{{\s*({_FUNCTIONS})\s*\}}")
_BARE_FUNCTION = re.compile(
    rf"(?<![\\a-zA-Z{{])({_FUNCTIONS}|sqrt|infinity|infty)(?![a-zA-Z])|(?<=\{{)(sqrt|pi)(?![a-zA-Z])"
)
# What math-verify cannot read as a name: m_{\max}.
_INDEX_OF_NAME = re.compile(r"(?<=[a-zA-Z])_\s*(?:\{\s*\\(max|min)\s*\}|\\(max|min)(?![a-zA-Z]))")
_NATURAL_LOGARITHM = re.compile(r"\\log_\s*(?:e(?![a-zA-Z])|\{\s*e\s*\})")
# math-verify takes i for the imaginary unit where no digit touches it.
_IMAGINARY = re.compile(r"(?<=\d)i(?![a-zA-Z])")
_TEXT = re.compile(r"\\(?:text|textbf|textit|textrm|mbox|mathrm|mathbf)\s*\{[^{}]*\}")

_TAKES_ARGUMENTS = re.compile(r"\\[dtc]?frac(?![a-zA-Z])|\\sqrt(?![a-zA-Z])|\^(?=\s*\()")
_INDEX = re.compile(r"\s*\[[^\[\]]*\]\s*")
_COMMAND = re.compile(r"\\[a-zA-Z]+")
_BRACKETS = {"{": "}", "(": ")", "[": "]"}

# What math-verify would read as a sum or a product of its parts: 1 2, 1.000.00 and 3.14...
_UNREADABLE = re.compile(r"(?<![\d._^])\d+(?:\.\d+)?\s+\.?\d|\d\.\d+\.\d|(?<![a-zA-Z\\])\d+\.?\d*['’]\d|\.{2,}")
_UNIT_APART = re.compile(r"\d\s+(?:cm|mm|km|kg|ft|in|mph)\Z")
_LETTER_AT_END = re.compile(r"(?:(?<=[\d})\]])|(?<=[\d})\]]\s)|(?<=[\d})\]][a-zA-Z])|(?<=[a-zA-Z]\s))(?<!\\)[a-zA-Z]\Z")
_COMMAND_AT_END = re.compile(r"\\[a-zA-Z]*\Z")
_OPEN_END = re.compile(
    r"(?:[-+*/=^_<>≤≥×·÷±√(\[{&]|\\(?:times|cdot|div|pm|[dt]?frac|sqrt|leq?|geq?|approx|text|left|right)|(?<!\\)\\)\Z"
)


def spelled(text: str) -> str:
    r"""Return a formula as math-verify reads it correctly, without what surrounds it.

    >>> spelled(r"$4\sqrt(2)$.")
    '4\\sqrt{2}'
    >>> spelled(r"**2 1/2**"), spelled(r"1 - \frac1{\mathrm{e}}"), spelled(r"9\,500 \text{ cm}")
    ('2\\frac{1}{2}', '1 - \\frac{1}{ e}', '9500 \\text{ cm}')
    """
    text = _with_commands(ungrouped(plain(" ".join(text.split())))).replace("{,}", ",").replace("~", " ")
    if "\\" in text:
        text = _of_one_line(text)
        text = _SPACE.sub(" ", _STYLE.sub("", text))
        text = _unwrapped(_FONT_SWITCH.sub(lambda match: match[1] or "", text))
    text = quantities.without_signs(_bare(quantities.without_fonts(_DELIMITER.sub("", text))))
    text = quantities.without_fonts(text)
    text = _with_braces(_with_functions(text))
    percentage = quantities.without_percent(text)
    if percentage is not None:
        text = EQUALS.split(percentage)[-1]
    text = " ".join(with_both_signs(solved(quantities.in_latex(text))).split())
    text = quantities.without_unit(text)
    return text if percentage is None else f"{text}\\%"


def readings(text: str, *, is_gold: bool) -> list[str]:
    r"""Return the ways in which a spelled formula may be read, all of them whole; none if there is no such way.

    math-verify takes many letters at the end for units: `3t` is 3 to it. That of a gold is a variable, so that 3 is
    no right answer to it; that of an answer may be either where it is a usual unit.

    >>> readings("3m", is_gold=True), readings("3m", is_gold=False), readings("3t", is_gold=False)
    (['3{m}'], ['3{m}', '3m'], ['3{t}'])

    A percentage is read without its sign as well: `62.5\%` is 62.5 and 0.625.

    >>> readings("1 2", is_gold=False), readings(r"62.5\%", is_gold=False)
    ([], ['62.5\\%', '62.5'])
    """
    if _UNREADABLE.search(_TEXT.sub(" . ", text)) or not _is_balanced(text):
        return []
    if text.endswith("\\%"):
        return [text, text[:-2]]
    if mixed := quantities.mixed_or_list(text):
        return [text, mixed]
    letter = _LETTER_AT_END.search(text)
    if not letter or "\\text" in text[-30:] or _COMMAND_AT_END.search(text) or _UNIT_APART.search(text):
        return [text]
    variable = f"{text[: letter.start()]}{{{letter[0]}}}"
    return [variable] if is_gold or letter[0] not in "mgshlL" else [variable, text]


def is_cut(text: str) -> bool:
    r"""Return whether a formula ends within an operation or a bracket, as one does that the token limit cut off.

    >>> is_cut(r"x = 3 +"), is_cut(r"\frac{3}{"), is_cut(r"(1, 2"), is_cut(r"[1, 2)"), is_cut("5!")
    (True, True, True, False, False)
    """
    bare = text.rstrip(" $")
    if _OPEN_END.search(bare):
        return True
    opened = sum(map(bare.count, "([")) - sum(map(bare.count, ")]"))
    return bare.count("{") - bare.count("\\{") > bare.count("}") - bare.count("\\}") or opened > 0


def _with_commands(text: str) -> str:
    """Return the text with commands for the signs of Unicode."""
    if text.isascii():
        return text
    text = _ROOT_OF_NUMBER.sub(r"\\sqrt{\1}", _DASH.sub("-", text))
    text = _SCRIPT.sub(lambda match: f"{'^' if match[0][0] in _RAISED else '_'}{{{match[0].translate(_TYPED)}}}", text)
    return _SYMBOL.sub(lambda match: _SYMBOLS[match[0]], text)


def _of_one_line(text: str) -> str:
    r"""Return the last line of an `align*` or the like, as it would stand alone; matrices are left as they are."""
    if "\\begin" not in text:
        return _DOUBLED.sub(r"\\", text) if "\\\\" in text else text
    lines = _LINES.fullmatch(text.strip())
    if not lines:
        return text
    last = [line for line in lines[1].split("\\\\") if line.strip(" &")][-1:]
    return "".join(last).replace("&", " ")


def _bare(text: str) -> str:
    """Return the text without emphasis and quotes around it, and without the punctuation of its sentence."""
    before = None
    while before != text:
        before = text
        text = _START.sub("", _EDGE.sub("", text))
        # Three dots belong to the formula, one dot ends the sentence.
        text = text if _DOTS.search(text) else _END_IN_BRACKETS.sub("", _END.sub("", text))
        if len(text) > 1 and (text[0], text[-1]) in _QUOTES:
            text = text[1:-1]
    return text


def _unwrapped(text: str) -> str:
    r"""Return the text with `\boxed{...}` and the like replaced by what they hold, from the innermost on."""
    for _ in range(20):
        wrapper = next(reversed(list(_WRAPPER.finditer(text))), None)
        end = wrapper and _closing(text, wrapper.end())
        if not wrapper or not end:
            break
        text = f"{text[: wrapper.start()]} {text[wrapper.end() + 1 : end]} {text[end + 1 :]}"
    return text


def _closing(text: str, opening: int) -> int | None:
    """Return where the bracket that opens there closes."""
    depth = 0
    for i in range(opening, len(text)):
        if text[i] == text[opening]:
            depth += 1
        elif text[i] == _BRACKETS[text[opening]]:
            depth -= 1
            if depth == 0:
                return i
    return None


def _with_functions(text: str) -> str:
    r"""Return the text with constants and functions as such, whatever font they are in; words in `\text` are none."""
    if "\\" in text:
        text = _INDEX_OF_NAME.sub(lambda match: f"_{{{match[1] or match[2]}}}", text)
        text = _CONSTANT.sub(lambda match: f" {match[1] or match[2]}", text)
        text = _FUNCTION_IN_FONT.sub(r"\\\1 ", text)
        text = _POINT_IN_WORDS.sub(r"\1}", _NATURAL_LOGARITHM.sub(r"\\ln ", text))
    text = _IMAGINARY.sub(" i", text)
    if not _BARE_FUNCTION.search(text):
        return text
    pieces, at = [], 0
    for words in _TEXT.finditer(text):
        pieces += [_BARE_FUNCTION.sub(_command, text[at : words.start()]), words[0]]
        at = words.end()
    return "".join([*pieces, _BARE_FUNCTION.sub(_command, text[at:])])


def _command(match: re.Match[str]) -> str:
    name = match[1] or match[2]
    return "\\infty " if name.startswith("inf") else f"\\{name} "


def _with_braces(text: str) -> str:
    r"""Return the text with braces around the arguments of fractions, roots and powers, as TeX takes them.

    An argument in parentheses, `\sqrt(2)`, is the whole of what they hold. `\sqrt12` is left to math-verify: in TeX it
    is the root of 1, times 2.
    """
    position = 0
    while match := _TAKES_ARGUMENTS.search(text, position):
        position = inner = match.end()
        if "sqrt" in match[0] and (index := _INDEX.match(text, position)):
            position = index.end()
        for _ in range(2 if "frac" in match[0] else 1):
            begin = position + len(text[position:]) - len(text[position:].lstrip(" "))
            if begin == len(text):
                break
            if text[begin] in "{(":
                end = _closing(text, begin)
                if end is None:
                    return text
                argument, end = text[begin + 1 : end], end + 1
            else:
                command = _COMMAND.match(text, begin)
                end = command.end() if command else begin + 1
                argument = text[begin:end]
            before = text[:position].rstrip(" ")
            text = f"{before}{{{argument}}}{text[end:]}"
            position = len(before) + len(argument) + 2
        position = inner  # there may be more within the arguments
    return text


def _is_balanced(text: str) -> bool:
    depth = 0
    for brace in re.finditer("[{}]", text.replace("\\\\", "").replace("\\{", "").replace("\\}", "")):
        depth += 1 if brace[0] == "{" else -1
        if depth < 0:
            return False
    return depth == 0
