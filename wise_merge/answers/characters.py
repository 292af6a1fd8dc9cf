r"""Unicode signs and digits of models replaced by the plain characters that the other modules read.

`plain` is safe for a whole completion, prose included; nothing here knows LaTeX beyond its spaces. What a
formula means is for `formulas`.
"""
# ruff: noqa: RUF001 - signs that look like letters are what is read here

import re

_ZERO_WIDTH = "\u200b\u200c\u200d\u2060\ufeff\u00ad"
_SPACES = "\u00a0\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a\u202f\u205f\u3000"
# Minus signs, and the hyphens that stand for one. En and em dashes are not among them: they also mean "to".
_MINUS = "\u2212\ufe63\uff0d\u2010\u2011\u2012\u02d7\u2796"
_FRACTIONS = {
    "½": (1, 2), "⅓": (1, 3), "⅔": (2, 3), "¼": (1, 4), "¾": (3, 4), "⅕": (1, 5), "⅖": (2, 5), "⅗": (3, 5),
    "⅘": (4, 5), "⅙": (1, 6), "⅚": (5, 6), "⅐": (1, 7), "⅛": (1, 8), "⅜": (3, 8), "⅝": (5, 8), "⅞": (7, 8),
    "⅑": (1, 9), "⅒": (1, 10),
}  # fmt: skip

_PLAIN = str.maketrans(
    {
        **dict.fromkeys(_ZERO_WIDTH),
        **dict.fromkeys(_SPACES, " "),
        **dict.fromkeys(_MINUS, "-"),
        **{chr(code): chr(code - 0xFEE0) for code in range(0xFF01, 0xFF5F) if code != 0xFF0D},  # fullwidth forms
        # Bold, sans-serif and monospaced digits, ten after ten.
        **{chr(code): str((code - 0x1D7CE) % 10) for code in range(0x1D7CE, 0x1D800)},
        "。": ".",
        "\N{FRACTION SLASH}": "/",
        "\N{DIVISION SLASH}": "/",
        "\N{RATIO}": ":",
    }
)
# A dash directly before a number is its sign, unless a word or another number ends there: `pages 3–5`, `answer—5`.
_DASH_BEFORE_NUMBER = re.compile(r"(?<![^\W_])(?<![)\]}%.])[–—―](?=\\?[$€£¥₹√π]?(?:\.?\d|\\[a-z]|[½-⅞⅐-⅒]))")
_FRACTION = re.compile(rf"(?:(\d)\s?)?([{''.join(_FRACTIONS)}])")

_SEPARATOR = r"\\[,;:! ]|\{,\}|[ ~_'’]"
# Groups that continue before or after are another number, or a list. The digit comes before the look-behind, which
# makes the pattern three times as fast.
_GROUPS = re.compile(
    rf"[1-9](?<![\d.,_^/].)(?<!frac.)(?<!frac .)\d{{0,2}}({_SEPARATOR})\d{{3}}(?:\1\d{{3}}){{0,9}}"
    rf"(?![\d_]|(?:{_SEPARATOR}|,)\d)"
)
# Most texts have no separator at all, which this finds in a tenth of the time.
_SPACED_GROUP = re.compile(r" \d\d\d(?!\d)(?<=\d....)")
_SEPARATORS = re.compile(_SEPARATOR)
_NUMBER_BEFORE = re.compile(rf"\d(?:{_SEPARATOR})\Z")
_OVER = re.compile(r"\s?/\s?(\d{1,9})")


def plain(text: str) -> str:
    """Return the text with plain spaces, digits, fractions and minus signs.

    >>> plain("\N{MINUS SIGN}2½ is less than \N{EN DASH}1")
    '-2 1/2 is less than -1'
    """
    if text.isascii():
        return text
    text = text.translate(_PLAIN)
    if "–" in text or "—" in text or "―" in text:
        text = _DASH_BEFORE_NUMBER.sub("-", text)
    return _FRACTION.sub(_typed, text)


def _typed(match: re.Match[str]) -> str:
    whole, sign = match.groups()
    over, under = _FRACTIONS[sign]
    return f"{whole} {over}/{under}" if whole else f"{over}/{under}"


def ungrouped(text: str) -> str:
    r"""Return the text without separators between the thousands of numbers, except commas.

    Groups are of three digits, all but the first, and one separator parts them; anything else is a list.

    >>> ungrouped(r"9 500 and 12\,000\,000 and 1_000_000 but 3 400 5 and 1 2")
    '9500 and 12000000 and 1000000 but 3 400 5 and 1 2'
    """
    if "\\" in text or "_" in text or "'" in text or "’" in text or "~" in text or "{," in text:
        return _GROUPS.sub(_together, text)
    return _GROUPS.sub(_together, text) if _SPACED_GROUP.search(text) else text


def _together(match: re.Match[str]) -> str:
    if _NUMBER_BEFORE.search(match.string, max(0, match.start() - 4), match.start()):
        return match[0]
    groups = _SEPARATORS.split(match[0])
    over = _OVER.match(match.string, match.end())
    if over and len(groups) == 2 and int(groups[1]) < int(over[1]):
        return match[0]  # 2 100/300 is a mixed number
    return "".join(groups)
