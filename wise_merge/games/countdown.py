"""The game CountDown: reach a target from a few numbers with + - * /, each number used exactly once.

Problems are generated from a seed, so no data set is needed. Answers are parsed
into a tree and computed with exact fractions; nothing is ever evaluated as code.
A sign in front of a number is no operation of the game.
"""

import random
import re
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import NoReturn

from wise_merge.errors import WiseMergeError

#: Longest expression that is read; a longer one is no answer to a game of a few numbers.
MAX_CHARACTERS = 200

#: Most brackets that are read: the parser recurses into them.
MAX_BRACKETS = 30

#: After so many draws without a problem, the settings are taken to have none.
MAX_FRUITLESS_DRAWS = 100_000

_TOKEN = re.compile(r"\s*(\d+|[-+*/()]|\\frac)")
_LATEX = re.compile(r"\\(times|cdot|ast|div|[dt]?frac|left|right|text|displaystyle|[()\[\]{}]|[ ,;:!])")
_LATEX_SIGNS = {
    **{"times": "*", "cdot": "*", "ast": "*", "div": "/"},
    **dict.fromkeys(("frac", "dfrac", "tfrac"), "\\frac"),
    **{"{": "(", "}": ")"},  # but \( and \[ only switch to mathematics
}
_EQUALS = re.compile(r"=|≈|\\approx")
_OPERATION = re.compile(r"\d[^=]*?(?:[-+*/×·⋅∗＊x÷∕⁄／−–－＋]|\\(?:times|cdot|ast|div))[^=]*?\d|\\[dt]?frac")  # noqa: RUF001
_WRITTEN_OTHERWISE = str.maketrans(
    {
        **dict.fromkeys("×·⋅∗＊x", "*"),  # noqa: RUF001
        **dict.fromkeys("÷∕⁄／", "/"),  # noqa: RUF001
        **dict.fromkeys("−–－", "-"),  # noqa: RUF001
        **dict.fromkeys("[{（", "("),  # noqa: RUF001
        **dict.fromkeys("]}）", ")"),  # noqa: RUF001
        **{"＋": "+", "$": " ", "`": " "},  # noqa: RUF001
    }
)


@dataclass(frozen=True)
class Problem:
    """A game: `numbers` to use, `target` to reach, and one `solution` that does."""

    numbers: tuple[int, ...]
    target: int
    solution: str

    @property
    def key(self) -> tuple[tuple[int, ...], int]:
        """A key that is equal for equal problems; the order of the numbers does not matter."""
        return (tuple(sorted(self.numbers)), self.target)


# An expression in canonical form: a number; a sum ("+", terms), each term a (sign, expression);
# or a product ("*", factors), each factor an (exponent, expression). Signs and exponents are +1
# or -1. Nested sums and products are flattened and their parts sorted, those with +1 first.
Expression = int | tuple[str, tuple[tuple[int, "Expression"], ...]]


@dataclass(frozen=True)
class Answer:
    """An expression that was read: its exact `value`, the `numbers` in it, sorted, and its `form`.

    `form` is equal for expressions that differ only by brackets, by the order of
    terms or factors, or by spelling: `(2+3)*4` and `4 * (3+2)` are one answer, and
    so are `6/2*3`, `3*6/2` and `6/(2/3)`. `spell` makes a text of it.
    """

    value: Fraction
    numbers: tuple[int, ...]
    form: Expression


def read_answer(text: str) -> Answer | None:
    r"""Return the expression on the first non-empty line of a text, or None if there is none.

    What follows an equals sign is dropped: models like to add "= 24"; so is a side before it that
    holds no operation, as in "24 = 4*6" or "x = 4*6". Typographic signs and those of LaTeX (`\times`, `\div`,
    `\frac{6}{2}`, `\left(`) are understood; a division by zero is no expression.

    >>> read_answer(r"\frac{6}{4} \times 3 = 4.5").value
    Fraction(9, 2)
    """
    line = next((line for line in text.splitlines() if line.strip()), "")
    sides = _EQUALS.split(line)
    spelled = next(
        (side for side in sides if len(side) <= MAX_CHARACTERS and _OPERATION.search(side)), sides[0]
    ).strip()
    if len(spelled) > MAX_CHARACTERS:
        return None
    # Unknown characters become spaces, as digits on both sides must not become one number.
    spelled = _LATEX.sub(lambda command: _LATEX_SIGNS.get(command[1], " "), spelled)
    spelled = spelled.translate(_WRITTEN_OTHERWISE).strip().rstrip(".")
    if spelled.count("(") > MAX_BRACKETS:
        return None
    try:
        return _Parser(spelled).parse()
    except _NotAnExpression:
        return None


def spell(form: Expression) -> str:
    """Return the expression with as few brackets as it needs; equal forms are spelled equally.

    >>> spell(read_answer("(3 + 2) * (6 / 4)").form)
    '6*(2+3)/4'
    """
    if isinstance(form, int):
        return str(form)
    kind, parts = form
    spelled = ""
    for sign, part in parts:
        # Within a product, only a sum is neither a number nor flattened.
        bracketed = f"({spell(part)})" if kind == "*" and not isinstance(part, int) else spell(part)
        spelled += (kind if sign > 0 else {"+": "-", "*": "/"}[kind]) + bracketed
    return spelled[1:]


def is_solution(answer: Answer | None, problem_numbers: tuple[int, ...], target: int) -> bool:
    """Return whether the answer uses every number exactly once and has the value `target`."""
    return answer is not None and answer.numbers == tuple(sorted(problem_numbers)) and answer.value == target


def generate_problems(count: int, *, numbers: int, largest: int, seed: int, operations: str = "+-*") -> list[Problem]:
    """Return `count` different solvable problems, the same ones for the same arguments.

    Args:
        count: how many.
        numbers: how many numbers a problem has, 3 or 4.
        largest: the numbers are drawn uniformly from 1 to this.
        seed: of the generator.
        operations: that its solution is made of, some of + - * /; a division leaves no remainder.
    """
    if numbers not in (3, 4):
        raise WiseMergeError(f"CountDown has problems of 3 or 4 numbers; got numbers={numbers}")
    if largest < 1 or count < 1:
        raise WiseMergeError(f"largest and count must be positive; got largest={largest}, count={count}")
    if not operations or set(operations) - set("+-*/"):
        raise WiseMergeError(f"operations must be some of + - * /, as in '+-*'; got {operations!r}")
    problems: dict[tuple[tuple[int, ...], int], Problem] = {}
    rng = random.Random(f"countdown {numbers} {largest} {seed}")
    draws = random_problems(rng, numbers=numbers, largest=largest, operations=operations)
    for _ in range(100 * count):
        problem = next(draws)
        problems.setdefault(problem.key, problem)
        if len(problems) == count:
            return list(problems.values())
    raise WiseMergeError(
        f"there are fewer than {count} different problems of {numbers} numbers up to {largest}; "
        "ask for fewer, or raise largest"
    )


def random_problems(rng: random.Random, *, numbers: int, largest: int, operations: str = "+-*") -> Iterator[Problem]:
    """Yield problems for ever: random numbers, joined in a random tree by random operations.

    Targets are positive and at most `largest` squared. Divisions leave no remainder.
    """
    fruitless = 0
    while fruitless < MAX_FRUITLESS_DRAWS:
        fruitless += 1
        drawn = [rng.randint(1, largest) for _ in range(numbers)]
        parts: list[_Part | None] = [(value, str(value), "") for value in drawn]
        while len(parts) > 1:
            i = rng.randrange(len(parts) - 1)
            left, right = parts[i], parts.pop(i + 1)
            parts[i] = _join(left, right, rng.choice(operations))
        if parts[0] and 0 < parts[0][0] <= largest**2:
            rng.shuffle(drawn)
            fruitless = 0
            yield Problem(tuple(drawn), parts[0][0], parts[0][1])
    raise WiseMergeError(
        f"{MAX_FRUITLESS_DRAWS} draws of {numbers} numbers up to {largest} with the operations {operations!r} "
        "made no problem; raise largest, or allow more operations"
    )


# A value, its text and the last operation in it.
_Part = tuple[int, str, str]


def _join(left: _Part | None, right: _Part | None, sign: str) -> _Part | None:
    """Return both joined, with brackets only where they are needed; None if a division leaves a remainder."""
    if left is None or right is None or (sign == "/" and (right[0] == 0 or left[0] % right[0])):
        return None
    a, b = left[0], right[0]
    value = a + b if sign == "+" else a - b if sign == "-" else a * b if sign == "*" else a // b
    bracket_left = sign in "*/" and left[2] in ("+", "-")
    bracket_right = right[2] in {"+": (), "-": ("+", "-"), "*": ("+", "-"), "/": ("+", "-", "*", "/")}[sign]
    left_text = f"({left[1]})" if bracket_left else left[1]
    right_text = f"({right[1]})" if bracket_right else right[1]
    return value, f"{left_text}{sign}{right_text}", sign


class _NotAnExpression(Exception):
    pass


class _Parser:
    """Recursive descent: `sum = product (+|- product)*`, `product = atom (*|/ atom)*`,
    `atom = number | ( sum ) | \\frac ( sum ) ( sum )`."""

    def __init__(self, text: str) -> None:
        self.tokens: list[str] = []
        position = 0
        while position < len(text):
            match = _TOKEN.match(text, position)
            if match is None:
                if text[position:].strip():
                    self._fail()
                break
            self.tokens.append(match[1])
            position = match.end()
        self.tokens.append("")
        self.at = 0
        self.numbers: list[int] = []

    def parse(self) -> Answer:
        value, form = self._sum()
        if self.tokens[self.at]:
            self._fail()
        return Answer(value, tuple(sorted(self.numbers)), form)

    def _take(self, *allowed: str) -> str | None:
        token = self.tokens[self.at]
        if token not in allowed:
            return None
        self.at += 1
        return token

    def _sum(self) -> tuple[Fraction, Expression]:
        value, form = self._product()
        terms = _parts("+", form, +1)
        while sign := self._take("+", "-"):
            right, right_form = self._product()
            value = value + right if sign == "+" else value - right
            terms += _parts("+", right_form, +1 if sign == "+" else -1)
        return value, _sorted("+", terms)

    def _product(self) -> tuple[Fraction, Expression]:
        value, form = self._atom()
        factors = _parts("*", form, +1)
        while sign := self._take("*", "/"):
            right, right_form = self._atom()
            value = value * right if sign == "*" else self._divide(value, right)
            factors += _parts("*", right_form, +1 if sign == "*" else -1)
        return value, _sorted("*", factors)

    def _atom(self) -> tuple[Fraction, Expression]:
        if self._take("\\frac"):
            (above, above_form), (below, below_form) = self._group(), self._group()
            factors = _parts("*", above_form, +1) + _parts("*", below_form, -1)
            return self._divide(above, below), _sorted("*", factors)
        token = self.tokens[self.at]
        if token == "(":
            return self._group()
        # Python refuses to read an integer of thousands of digits; no game has one.
        if not token.isdigit() or len(token) > 9:
            self._fail()
        self.at += 1
        self.numbers.append(int(token))
        return Fraction(int(token)), int(token)

    def _group(self) -> tuple[Fraction, Expression]:
        if not self._take("("):
            self._fail()
        inner = self._sum()
        if not self._take(")"):
            self._fail()
        return inner

    def _divide(self, above: Fraction, below: Fraction) -> Fraction:
        if below == 0:
            self._fail()
        return above / below

    def _fail(self) -> NoReturn:
        raise _NotAnExpression


def _parts(kind: str, form: Expression, sign: int) -> list[tuple[int, Expression]]:
    """Return the parts of a sum or product of that kind, or the expression as the only part."""
    if isinstance(form, tuple) and form[0] == kind:
        return [(sign * inner_sign, part) for inner_sign, part in form[1]]
    return [(sign, form)]


def _sorted(kind: str, parts: list[tuple[int, Expression]]) -> Expression:
    """Return the parts as one expression; the first of them is never subtracted or divided by."""
    if len(parts) == 1:
        return parts[0][1]

    def order(part: tuple[int, Expression]) -> tuple[int, bool, int, str]:
        sign, form = part
        return (-sign, isinstance(form, tuple), form if isinstance(form, int) else 0, repr(form))

    return (kind, tuple(sorted(parts, key=order)))
