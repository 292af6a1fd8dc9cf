r"""The process in which mathematics is read and compared: `math-verify` on one problem after another.

Whatever a model wrote ends up in sympy here, so this process is made to be lost: an answer may
use CPU_SECONDS of processor time and the process MEMORY bytes; where Python cannot stop it,
the system kills the process, and `workers` starts another one. Nothing but `math-verify` and
the spelling of formulas is imported, which keeps the start short.

It reads a problem per line on standard input, as JSON: `[gold, answers, alone]`. It writes lines too:
`[0, i]` before it touches answer i, `[4, i]` if there was no time for it, `[1, i, j]` before it compares the wrong
answers i and j, `[2]` before it reads the gold, and last `[3, verdicts]`. So the other side knows whom to
blame for silence, and what the next process must not try again. An answer that is null is such a one, and
those whose places are in `alone` are not compared with other wrong ones.
"""

import gc
import json
import logging
import math
import os
import re
import signal
import sys
import time
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import sympy  # type: ignore[import-untyped]
from math_verify import LatexExtractionConfig, parse, verify
from sympy.core.relational import Relational  # type: ignore[import-untyped]

from wise_merge.answers import formulas, statements

#: Processor time for one answer: about fifty times what the slowest honest one needs.
CPU_SECONDS = 3
#: For all answers of a problem, and for all comparisons of its wrong answers with each other.
READING_SECONDS = 15
COMPARING_SECONDS = 15
#: Address space of the process, in bytes.
MEMORY = 2 * 1024**3

# What a hostile answer is made of: such answers are read last, so that they cannot use up the time of others.
_COSTLY = re.compile(r"[!^]|\\(?:sum|prod|int|lim|binom|[dt]?frac.*\\[dt]?frac)|\({9}")
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
        value: see `value`; where two differ, so do the expressions.
        proportion: of an equation or inequality, see `_proportion`; equal ones rarely differ in it.
    """

    parsed: list[Any]
    shown: str
    value: Any = None
    proportion: Any = None


class OutOfTime(BaseException):
    """Not an Exception: math-verify and sympy swallow those."""


def main() -> None:
    """Serve until standard input ends."""
    logging.disable(logging.CRITICAL)
    # The parser's tables are large and stay: going through them for garbage again and again is a fifth of the time.
    gc.freeze()
    gc.set_threshold(100_000, 20, 100)
    if hasattr(signal, "SIGINT"):
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the parent, which then closes our input
    _limit_memory()
    _parse_in_two_stages()
    # What a library prints must not get between our lines.
    output = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)

    def say(*line: Any) -> None:
        output.write(json.dumps(line) + "\n")
        output.flush()

    for line in sys.stdin:
        try:
            say(3, judge(*json.loads(line), say=say))
        except BrokenPipeError:
            os._exit(0)


def judge(
    gold: str, answers: list[str | None], alone: list[int], *, say: Callable[..., None] = lambda *line: None
) -> list[tuple[str | None, bool]]:
    """Return the class and the verdict of each answer; one that cannot be read, or not in time, is (None, False).

    The right answers are one class, which is called `gold`. Wrong ones are one class if math-verify takes each of
    them for each other; as it takes `1,2` for `(1,2)` and for `(2,1)`, which differ, equal to one is not enough. The
    class is called like the shortest, then alphabetically first of them. Answers are looked at in a
    fixed order, so nothing depends on the one in which they come. What is not read in READING_SECONDS is no answer,
    and what is not compared in COMPARING_SECONDS differs.
    """
    say(2)
    with bounded():  # out of time ends the process, and the other side says why
        truth = read_gold(gold)
    wrong: list[tuple[int, Reading]] = []
    verdicts: list[tuple[str | None, bool]] = [(None, False)] * len(answers)
    there = [(i, answer) for i, answer in enumerate(answers) if answer is not None]
    until = time.process_time() + READING_SECONDS
    for i, answer in sorted(there, key=lambda item: (bool(_COSTLY.search(item[1])), len(item[1]), item[1])):
        if time.process_time() > until:
            say(4, i)
            continue
        say(0, i)
        try:
            with bounded():
                reading = read(answer)
                if reading is None:
                    continue
                right = is_equal(truth, reading)
        except OutOfTime:
            say(4, i)
            continue
        if right:
            verdicts[i] = (gold, True)
        else:
            wrong.append((i, reading))
    wrong.sort(key=lambda item: (len(item[1].shown), item[1].shown, answers[item[0]]))
    until = time.process_time() + COMPARING_SECONDS
    classes: list[list[tuple[int, Reading]]] = []
    names = {gold}
    for i, reading in wrong:
        members = _class_of(i, reading, classes, alone, until, say)
        if members:
            verdicts[i] = verdicts[members[0][0]]
        else:
            classes.append(members)
            name = reading.shown
            while name in names:  # the same text, read in two ways
                name += "'"
            names.add(name)
            verdicts[i] = (name, False)
        members.append((i, reading))
    return verdicts


def _class_of(
    i: int,
    reading: Reading,
    classes: list[list[tuple[int, Reading]]],
    alone: list[int],
    until: float,
    say: Callable[..., None],
) -> list[tuple[int, Reading]]:
    """Return the members of the first class all of which are the same as this one, or an empty list."""
    for members in classes:
        if any(_surely_same(reading, other) for _, other in members):
            return members
    for members in classes if i not in alone else ():
        for j, other in members:
            if j in alone or not _may_be_same(reading, other) or time.process_time() > until:
                break
            say(1, i, j)
            if not _same(reading, other):
                break
        else:
            return members
    return []


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
    return Reading([*read_as, shown], shown, value(read_as[0]) if len(read_as) == 1 else None, _proportion(read_as[0]))


def _parsed(formula: str) -> list[Any]:
    """Return what math-verify makes of a whole formula: one expression, or none.

    Given leave, it takes some number of a text that it cannot parse; with these settings it does not.
    """
    body = formula.removesuffix("\\%")
    text = f"\\boxed{{{formula}}}" if body == formula else f"${body}$ percent"
    found = parse(text, _WHOLE, extraction_mode="first_match", parsing_timeout=None)
    return [item for item in found if not isinstance(item, str)]


def is_equal(gold: Reading, answer: Reading) -> bool:
    """Return math-verify's verdict; expressions whose values are far apart need none of its work."""
    # It takes symbols for equal by their letters, `\\text{Ann}` and the product A n n.
    symbolic = any(isinstance(reading.parsed[0], sympy.Symbol) for reading in (gold, answer))
    if not symbolic and _differ(gold.value, answer.value):
        return False
    if verify(gold.parsed, answer.parsed, timeout_seconds=None):
        return True
    letter, given = _LETTER.fullmatch(gold.shown), _CHOSEN.fullmatch(answer.shown)
    return bool(letter and given and letter[1] == given[1]) or _is_same_text(gold, answer)


def _is_same_text(gold: Reading, answer: Reading) -> bool:
    """Whether neither can be parsed and both are written the same, spaces and styles aside."""
    return len(gold.parsed) == len(answer.parsed) == 1 and _bare(gold.shown) == _bare(answer.shown)


def value(expression: Any) -> Any:
    """Return a complex number or nested tuples of them, close for equal expressions; None where there is no such value.

    Symbols stand for fixed arbitrary numbers; `x = 5` has the value of 5 and an open interval that of a pair,
    because math-verify takes these for equal. Percentages have none: 28% is 28 to it and 0.28 as well.
    """
    try:
        return None if isinstance(expression, str) or expression.has(sympy.UnevaluatedExpr) else _value(expression)
    except (Exception, RecursionError):
        return None


def _value(expression: Any) -> Any:
    if isinstance(expression, sympy.Eq) and expression.lhs.is_Symbol:
        return _value(expression.rhs)
    if isinstance(expression, Relational):
        return None
    if isinstance(expression, sympy.Union):
        expression = expression.doit()  # parts that do not overlap, so that equal unions have equal parts
        if isinstance(expression, sympy.Union):
            parts = [_value(part) for part in expression.args]
            if None in parts:
                return None
            return ("union", *sorted(parts, key=lambda part: part[1] if isinstance(part, tuple) else part))
    if isinstance(expression, sympy.FiniteSet):
        values = [_value(element) for element in expression.args]
        if len(values) == 1:
            return values[0]
        return None if None in values else ("set", *sorted(values, key=_order))
    if isinstance(expression, sympy.Interval):
        ends = (_value(expression.start), _value(expression.end))
        kind = "tuple" if expression.left_open and expression.right_open else "interval"
        return None if None in ends else (kind, *ends)
    if isinstance(expression, sympy.Tuple):
        values = [_value(element) for element in expression.args]
        return None if None in values else ("tuple", *values)
    if isinstance(expression, sympy.MatrixBase):
        values = [_value(element) for element in expression.flat()]
        return None if None in values else ("matrix", *expression.shape, *values)
    if isinstance(expression, (sympy.Integer, sympy.Rational, sympy.Float)):
        return float(expression)
    if not isinstance(expression, sympy.Expr):
        return None
    chosen = {symbol: 0.3 + zlib.crc32(symbol.name.lower().encode()) / 2**32 for symbol in expression.free_symbols}
    number = complex(expression.evalf(15, subs=chosen))
    if math.isnan(number.real) or math.isnan(number.imag):
        return None
    return number.real if number.imag == 0 else number


def _order(value: Any) -> tuple[int, str, float, float]:
    if isinstance(value, tuple):
        return (1, repr(value), 0, 0)
    return (0, "", value.real, value.imag)


def _differ(one: Any, other: Any) -> bool:
    """Whether two values are too far apart for equal expressions."""
    if one is None or other is None:
        return False
    if isinstance(one, tuple) or isinstance(other, tuple):
        if not (isinstance(one, tuple) and isinstance(other, tuple)):
            return True
        # An ordered pair and the set of the same two are equal to math-verify in some cases.
        if {one[0], other[0]} == {"set", "tuple"}:
            one, other = (("", *sorted(value[1:], key=_order)) for value in (one, other))
        return len(one) != len(other) or any(map(_differ, one, other))
    if isinstance(one, str) or isinstance(other, str):
        return bool(one != other)
    if one == other:
        return False
    return bool(abs(one - other) > 1e-5 * max(1, abs(one), abs(other)))


def _surely_same(one: Reading, other: Reading) -> bool:
    return _bare(one.shown) == _bare(other.shown) and not _differ(one.value, other.value)


@lru_cache(maxsize=10_000)
def _bare(shown: str) -> str:
    return re.sub(r"\\(?:text|mathrm|textbf|mathbf|left|right|displaystyle|[dt](?=frac))|\\[,;:! ]|[\s{}]", "", shown)


def _may_be_same(one: Reading, other: Reading) -> bool:
    if one.value is not None and other.value is not None:
        return not _differ(one.value, other.value)
    first, second = one.parsed[0], other.parsed[0]
    if isinstance(first, str) or isinstance(second, str) or first.free_symbols != second.free_symbols:
        return False
    if isinstance(first, Relational) and isinstance(second, Relational):
        # Equal relations are multiples of each other; math-verify would solve both, which takes it long.
        return not _differ(one.proportion, other.proportion)
    return type(first) is type(second)


def _proportion(relation: Any) -> Any:
    """Return left minus right side of a relation at one point over the same at another, or None."""
    if not isinstance(relation, Relational):
        return None
    try:
        difference = relation.lhs - relation.rhs
        moved = difference.subs({symbol: symbol + 1 for symbol in difference.free_symbols})
        return value(difference) / value(moved)
    except (Exception, RecursionError):  # sets, undefined functions, what else a model may equate
        return None


def _same(one: Reading, other: Reading) -> bool:
    try:
        with bounded():
            return any(verify(a.parsed, b.parsed, timeout_seconds=None) for a, b in ((one, other), (other, one)))
    except OutOfTime:
        return False


@contextmanager
def bounded() -> Iterator[None]:
    """Raise OutOfTime after CPU_SECONDS of processor time; shortly after that the system ends this process."""
    if not hasattr(signal, "setitimer"):  # Windows: the other side's patience is the only limit
        yield
        return
    import resource

    def stop(signum: int, frame: Any) -> None:
        raise OutOfTime

    signal.signal(signal.SIGPROF, stop)
    before, hard = resource.getrlimit(resource.RLIMIT_CPU)
    # Sympy may be within C code, where no handler runs: SIGXCPU kills.
    soft = math.ceil(time.process_time()) + CPU_SECONDS + 1
    resource.setrlimit(resource.RLIMIT_CPU, (soft if hard < 0 else min(soft, hard), hard))
    signal.setitimer(signal.ITIMER_PROF, CPU_SECONDS)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        resource.setrlimit(resource.RLIMIT_CPU, (before, hard))


def _limit_memory() -> None:
    try:
        import resource

        hard = resource.getrlimit(resource.RLIMIT_AS)[1]
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY if hard < 0 else min(MEMORY, hard), hard))
    except (ImportError, OSError, ValueError):
        pass  # not on this system: the limit of time remains


def _parse_in_two_stages() -> None:
    """Let math-verify's parser try antlr's fast prediction first, and the full one where that ends in an error.

    It takes less than half the time, and a tenth on tuples. The result is the same: by antlr's documentation, what the
    fast prediction accepts it reads as the full one does.
    """
    try:
        from antlr4.atn.PredictionMode import PredictionMode  # type: ignore[import-untyped]
        from latex2sympy2_extended.latex2sympy2 import _Latex2Sympy  # type: ignore[import-untyped]

        create, convert = _Latex2Sympy.create_parser, _Latex2Sympy.parse
    except (ImportError, AttributeError):
        return  # another version: slower, and as right

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


if __name__ == "__main__":
    main()
