"""Expressions of mathematics: read by `math-verify`, and compared by it where cheaper means do not decide.

Whatever a model wrote ends up in sympy here, without a limit of time or memory: `worker` has these.
Nothing but `math-verify` and the spelling of formulas is imported, which keeps its start short.
"""

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import sympy  # type: ignore[import-untyped]
from math_verify import LatexExtractionConfig, parse, verify
from sympy.core.relational import Relational  # type: ignore[import-untyped]

from wise_merge.answers import formulas, statements
from wise_merge.answers.values import differ, proportion, value

_INTEGER = re.compile(r"-?\d{1,15}")
_WHOLE = (LatexExtractionConfig(),)
# What a multiple-choice question has for an answer, and how a model gives one: `(B)`, `B. 12`, `\\textbf{(B) } 12`.
_CHOICE = r"\(?(?:\\(?:text|textbf|mathrm|mathbf|textit|mbox)\s*\{)?\s*\(?\s*\**([A-Z])"
_LETTER = re.compile(rf"{_CHOICE}[).}}\s*]*")
_CHOSEN = re.compile(rf"{_CHOICE}(?:[).}}\s*]*|\s*[).:}}]+(?![).:}}]|\s*[-+*/^=<>]|\s*\\[a-z]).*)")
# `x=1, y=2 and x=3, y=4` are two solutions; math-verify would make one set of four equations.
_ALTERNATIVES = re.compile(
    r"(=[^=$]*,[^$]*?=[^,;$]*?)(?:\\quad|\\qquad|\s)*(?:\\text\s*\{\s*(?:and|or)\s*\}|\b(?:and|or)\b)"
    r"(?:\\quad|\\qquad|\s)*(?=[^=$]*=[^$]*,[^$]*=)"
)


@dataclass(frozen=True)
class Reading:
    """What math-verify read.

    Attributes:
        parsed: its expressions and strings.
        shown: the text of the answer.
        value: see `values.value`; where two differ, so do the expressions.
        proportion: of an equation or inequality, see `values.proportion`; equal ones rarely differ in it.
    """

    parsed: list[Any]
    shown: str
    value: Any = None
    proportion: Any = None


def read_gold(gold: str) -> Reading:
    """Return the gold as math-verify reads it; one that it cannot read is a text, and equals that text only."""
    return read(f"\\boxed{{{statements.of_gold(gold)}}}", is_gold=True) or Reading([gold], gold)


@lru_cache(maxsize=10_000)  # the same small answers come up in many problems
def read(text: str, is_gold: bool = False) -> Reading | None:
    """Return what math-verify reads in a box, all of it, or its text where it cannot be read; None if it is empty."""
    content = text[7:-1] if text.startswith("\\boxed{") else text
    if _INTEGER.fullmatch(content):
        number = int(content)
        return Reading([sympy.Integer(number), str(number)], str(number), float(number))
    shown = formulas.spelled(content)
    spelled = _ALTERNATIVES.sub(r"\1; ", shown) if "=" in shown else shown
    read_as = [expression for form in formulas.readings(spelled, is_gold=is_gold) for expression in _parsed(form)]
    if not shown:
        return None
    if not read_as:
        return Reading([shown], shown)
    # The text last: where two are spelled the same, they are the same.
    return Reading([*read_as, shown], shown, value(read_as[0]) if len(read_as) == 1 else None, proportion(read_as[0]))


def _parsed(formula: str) -> list[Any]:
    """Return what math-verify makes of a whole formula: one expression, or none.

    By default it takes some number out of a text that it cannot parse; these settings forbid that.
    """
    body = formula.removesuffix("\\%")
    text = f"\\boxed{{{formula}}}" if body == formula else f"${body}$ percent"
    parsed = parse(text, _WHOLE, extraction_mode="first_match", parsing_timeout=None)
    return [item for item in parsed if not isinstance(item, str)]


def is_equal(gold: Reading, answer: Reading) -> bool:
    """Return whether an answer equals the gold: by their values if these are far apart, else by math-verify."""
    # math-verify compares symbols by their letters: `\\text{Ann}` equals the product A n n.
    symbolic = any(isinstance(reading.parsed[0], sympy.Symbol) for reading in (gold, answer))
    if not symbolic and differ(gold.value, answer.value):
        return False
    if verify(gold.parsed, answer.parsed, timeout_seconds=None):
        return True
    letter, given = _LETTER.fullmatch(gold.shown), _CHOSEN.fullmatch(answer.shown)
    return bool(letter and given and letter[1] == given[1]) or _is_same_text(gold, answer)


def _is_same_text(gold: Reading, answer: Reading) -> bool:
    """Whether neither can be parsed and both are written the same, spaces and styles aside."""
    return len(gold.parsed) == len(answer.parsed) == 1 and _bare(gold.shown) == _bare(answer.shown)


def is_surely_same(one: Reading, other: Reading) -> bool:
    """Return whether both are written the same, spaces and styles aside, and have no different values."""
    return _bare(one.shown) == _bare(other.shown) and not differ(one.value, other.value)


@lru_cache(maxsize=10_000)
def _bare(shown: str) -> str:
    return re.sub(r"\\(?:text|mathrm|textbf|mathbf|left|right|displaystyle|[dt](?=frac))|\\[,;:! ]|[\s{}]", "", shown)


def may_be_same(one: Reading, other: Reading) -> bool:
    """Return whether it is worth asking math-verify: False for answers that are surely different."""
    if one.value is not None and other.value is not None:
        return not differ(one.value, other.value)
    first, second = one.parsed[0], other.parsed[0]
    if isinstance(first, str) or isinstance(second, str) or first.free_symbols != second.free_symbols:
        return False
    if isinstance(first, Relational) and isinstance(second, Relational):
        # Equal relations are multiples of each other; math-verify would solve both, which takes long.
        return not differ(one.proportion, other.proportion)
    return type(first) is type(second)


def is_same(one: Reading, other: Reading) -> bool:
    """Return whether math-verify takes either answer for the other."""
    return any(verify(a.parsed, b.parsed, timeout_seconds=None) for a, b in ((one, other), (other, one)))


def parse_in_two_stages() -> None:
    """Let math-verify's parser try antlr's fast prediction first, and the full one where that ends in an error.

    It takes less than half the time, and a tenth on tuples. The result is the same: by antlr's documentation, what the
    fast prediction accepts it reads as the full one does.
    """
    try:
        from antlr4.atn.PredictionMode import PredictionMode  # type: ignore[import-untyped]
        from latex2sympy2_extended.latex2sympy2 import _Latex2Sympy  # type: ignore[import-untyped]

        create, convert = _Latex2Sympy.create_parser, _Latex2Sympy.parse
    except (ImportError, AttributeError):
        return  # another version of antlr: slower, with the same results

    def create_fast(self: Any, text: str) -> Any:
        parser = create(self, text)
        if getattr(self, "is_first_stage", False):
            parser._interp.predictionMode = PredictionMode.SLL
        return parser

    def convert_in_two_stages(self: Any, text: str) -> Any:
        self.is_first_stage = True
        try:
            return convert(self, text)
        except Exception:
            self.is_first_stage = False
            return convert(self, text)

    _Latex2Sympy.create_parser, _Latex2Sympy.parse = create_fast, convert_in_two_stages
