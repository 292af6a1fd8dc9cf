r"""Numbers as people write them, in LaTeX as math-verify reads it: with units, prices, percentages, mixed fractions.

Units are not compared: they go where math-verify would not know them. `2 1/2` is two and a half here, and not 3/2,
as it is there.
"""

import re

_FONTS = r"\\(?:text|textbf|textit|textrm|textsf|texttt|textnormal|mathrm|mathbf|mathit|mathsf|mathtt|mbox|emph)"
# Fonts around numbers are dropped.
_NUMBER_IN_FONT = re.compile(rf"{_FONTS}\s*\{{\s*([-+]?\\?\$?\d[\d.,/ ]*?\s*(?:\\?%)?)\s*[.]?\s*\}}")
_QUANTITY_IN_FONT = re.compile(r"\A(\\(?:text|mbox|textbf)\s*\{)\s*([-+]?\d[\d.,]*)(\s+[a-zA-Z][^{}\\\d]*\})\Z")

_CURRENCY = r"(?:\\text\s*\{\s*\\?\$\s*\}|\\\$|[€£¥₹]|\\(?:euro|pounds)(?![a-zA-Z]))"
_BEFORE_NUMBER = re.compile(rf"{_CURRENCY}\s*(?=[-+]?[\d.\\])")
_AFTER_NUMBER = re.compile(rf"(?<=\d)\s*{_CURRENCY}")
_DEGREE = re.compile(
    r"(?:\^\s*)?(?:\{\s*)?(?:\\degree|\\textdegree|\\circ|°|º)(?![a-zA-Z])(?:\s*\})?|(?<=\d)\^\s*\{?o\}?\Z"
)
_DEGREES_OF = re.compile(r"(?<=\\circ)\s*(?:\\(?:text|mathrm)\s*\{\s*[CFK]\s*\}|[CF])\Z")
_PERCENT = re.compile(
    r"\s*(?:\\?%|\\(?:text|mathrm|textrm)\s*\{\s*(?:\\?%|percent|per cent|percentage)\s*\}"
    r"|(?<![a-zA-Z])(?:percent|per cent|pct)\.?)\Z"
)

_MIXED = re.compile(
    r"(?<![\d.,^_}/)\]a-zA-Z])(?<!\d\s)(\d{1,9})(\s*(?:\\text\s*\{\s*and\s*\}|and)\s*|\s*&\s*|\s+)"
    r"(\d{1,9})\s?/\s?(\d{1,9})(?![\d/.]|\s*[a-zA-Z(\\])"
)
_MIXED_OR_LIST = re.compile(r"(-?)(\d{1,9}) and (\d{1,9})/(\d{1,9})")
_SCIENTIFIC = re.compile(r"(?<![a-zA-Z\d.\\])(\d+(?:\.\d+)?)[eE]([-+]?\d{1,4})(?![a-zA-Z\d.])")
# 1.000.000: with one point only, it is a decimal.
_DOT_GROUPS = re.compile(r"(?<![\d.])([1-9]\d{0,2}(?:\.\d{3}){2,9})(?![\d.])")
_REPEATING = re.compile(r"(?<![\d.])(\d{0,15})\.(\d{0,15})\\(?:overline|bar)\s*(?:\{(\d{1,15})\}|(\d))(?![\d{])")

# `18 square feet`, `5 dollars per hour`; but `5 and 6`, `3 mod 7` and `2 ab` are more than a number.
_QUANTITY = re.compile(
    r"([-+]?(?:\d[\d,]*(?:\.\d+)?|\.\d+|\d*\\frac\{\d+\}\{\d+\}|\d+/\d+))\s*"
    r"([a-zA-Z]+\.?(?:[\s/-]+[a-zA-Z]+\.?)*)(?:\s*\^\s*\{?[23]\}?)?"
)
_SHORT_UNIT = re.compile(
    r"[mcdk]?m|ft|in|yd|mi|k?g|mg|lbs?|oz|s|sec|min|h|hrs?|m?l|gal|[mk]ph|rpm|usd|am|pm|k?w|hz|n|j|sq|cu|day|egg|cup|box"
    r"|bag|an?|of|per|the"
)
_NO_UNIT = re.compile(
    r"and|or|mod|base|choose|if|for|where|when|such|is|are|not|to|pi|sqrt|ln|log|sin|cos|tan|exp|infinity|infty"
)
_POWER_OF_UNIT = re.compile(r"(?:[mcdk]?m|ft|in|yd|mi)\s*\^\s*\{?[23]\}?\Z")


def without_fonts(text: str) -> str:
    r"""Return the text with the numbers in `\text{18}` and the like as numbers."""
    return _QUANTITY_IN_FONT.sub(r"\2\1\3", _NUMBER_IN_FONT.sub(r"\1", text))


def without_signs(text: str) -> str:
    r"""Return the text without signs of currency, and with one sign for degrees.

    >>> without_signs(r"\$18"), without_signs("90°")
    ('18', '90^\\circ')
    """
    return _DEGREES_OF.sub("", _DEGREE.sub(r"^\\circ", _AFTER_NUMBER.sub("", _BEFORE_NUMBER.sub("", text))))


def without_percent(text: str) -> str | None:
    r"""Return a percentage without its sign or word, or None if the text is none.

    >>> without_percent(r"10\%"), without_percent("10 percent"), without_percent("10")
    ('10', '10', None)
    """
    sign = _PERCENT.search(text)
    return text[: sign.start()] if sign else None


def in_latex(text: str) -> str:
    r"""Return the text with its numbers as LaTeX has them: mixed, repeating and in scientific notation.

    >>> in_latex("2 1/2"), in_latex(r"0.1\overline{6}"), in_latex("1.5e3")
    ('2\\frac{1}{2}', '\\frac{15}{90}', '1.5\\times 10^{3}')
    """
    text = _DOT_GROUPS.sub(lambda match: match[1].replace(".", ""), text)
    text = _SCIENTIFIC.sub(r"\1\\times 10^{\2}", text)
    return _MIXED.sub(_mixed, _REPEATING.sub(_as_fraction, text))


def mixed_or_list(text: str) -> str | None:
    """Return `2 and 1/2` as one number, where it is that alone; it may be a list of two as well."""
    match = _MIXED_OR_LIST.fullmatch(text)
    if not match or int(match[3]) >= int(match[4]):
        return None
    return f"{match[1]}{match[2]}\\frac{{{match[3]}}}{{{match[4]}}}"


def without_unit(text: str) -> str:
    """Return the number of a quantity whose unit is written in plain letters; any other text as it is.

    >>> without_unit("18 square feet"), without_unit("5cm^2"), without_unit("2ab"), without_unit("2 n")
    ('18', '5', '2ab', '2 n')
    """
    match = _QUANTITY.fullmatch(text)
    if not match:
        return text
    if _POWER_OF_UNIT.search(text):
        return match[1]
    if len(match[2]) == 1:  # it may be a variable, see `formulas.readings`
        return text
    words = [word for word in re.split(r"[\s/.-]+", match[2].lower()) if word]
    if any(map(_NO_UNIT.fullmatch, words)):
        return text
    short = [word for word in words if _SHORT_UNIT.fullmatch(word)]
    if not short and max(map(len, words)) < 4:
        return text
    if any(len(word) < 3 for word in words if word not in short):
        return text
    # Letters that touch the number may be a product.
    is_apart = text[match.end(1)] == " "
    return match[1] if is_apart or len(words[0]) >= 4 or (len(words[0]) > 1 and words[0] in short) else text


def _mixed(match: re.Match[str]) -> str:
    whole, between, over, under = match.groups()
    if int(over) >= int(under):
        return match[0]
    return f"{whole} and {over}/{under}" if "and" in between else f"{whole}\\frac{{{over}}}{{{under}}}"


def _as_fraction(match: re.Match[str]) -> str:
    whole, start, several, one = match.groups()
    again = several or one
    over = int(f"{whole}{start}{again}") - int(f"{whole}{start}" or "0")
    return f"\\frac{{{over}}}{{{'9' * len(again)}{'0' * len(start)}}}"
