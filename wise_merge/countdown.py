"""The game CountDown: reach a target from a few numbers with + - *, each number used exactly once.

Problems are generated from a seed, so no data set is needed. Answers are parsed
into a tree and computed with exact integers; nothing is ever evaluated as code.
Division is left out.
"""

import random
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NoReturn

from wise_merge.errors import WiseMergeError

#: Longest expression that is read; a longer one is no answer to a game of a few numbers.
MAX_CHARACTERS = 200

_TOKEN = re.compile(r"\s*(\d+|[-+*()])")
_WRITTEN_OTHERWISE = str.maketrans({"×": "*", "·": "*", "⋅": "*", "−": "-", "–": "-", "[": "(", "]": ")"})  # noqa: RUF001


@dataclass(frozen=True)
class Problem:
    """A game: `numbers` to use, `target` to reach, and one `solution` that does."""

    numbers: tuple[int, ...]
    target: int
    solution: str

    @property
    def key(self) -> tuple[tuple[int, ...], int]:
        """What makes two problems the same one: the order of the numbers does not matter."""
        return (tuple(sorted(self.numbers)), self.target)


# An expression in canonical form: a number; a sum of ("+", terms), each a (sign, expression);
# or a product ("*", factors). Nested sums and products are flattened and their parts sorted.
Expression = int | tuple[str, tuple]  # type: ignore[type-arg]


@dataclass(frozen=True)
class Answer:
    """An expression that was read: its exact `value`, the `numbers` in it, sorted, and its `form`.

    `form` is equal for expressions that differ only by brackets, by the order of
    terms or factors, or by spaces: `(2+3)*4` and `4 * (3+2)` are one answer.
    """

    value: int
    numbers: tuple[int, ...]
    form: Expression


def read_answer(completion: str) -> Answer | None:
    """Return the expression on the first non-empty line of a completion, or None if there is none.

    What follows an equals sign is dropped: models like to add "= 24".
    """
    line = next((line for line in completion.splitlines() if line.strip()), "")
    text = line.split("=")[0].translate(_WRITTEN_OTHERWISE).strip().rstrip(".")
    if not text or len(text) > MAX_CHARACTERS:
        return None
    try:
        return _Parser(text).parse()
    except _NotAnExpression:
        return None


def is_solution(answer: Answer | None, problem_numbers: tuple[int, ...], target: int) -> bool:
    """Return whether the answer uses every number exactly once and has the value `target`."""
    return answer is not None and answer.numbers == tuple(sorted(problem_numbers)) and answer.value == target


def generate_problems(count: int, *, numbers: int, largest: int, seed: int) -> list[Problem]:
    """Return `count` different solvable problems, the same ones for the same arguments.

    Args:
        count: how many.
        numbers: how many numbers a problem has, 3 or 4.
        largest: the numbers are drawn uniformly from 1 to this.
        seed: of the generator.
    """
    if numbers not in (3, 4):
        raise WiseMergeError(f"CountDown has problems of 3 or 4 numbers; got numbers={numbers}")
    if largest < 1 or count < 1:
        raise WiseMergeError(f"largest and count must be positive; got largest={largest}, count={count}")
    found: dict[tuple[tuple[int, ...], int], Problem] = {}
    draws = random_problems(random.Random(f"countdown {numbers} {largest} {seed}"), numbers=numbers, largest=largest)
    for _ in range(100 * count):
        problem = next(draws)
        found.setdefault(problem.key, problem)
        if len(found) == count:
            return list(found.values())
    raise WiseMergeError(
        f"there are fewer than {count} different problems of {numbers} numbers up to {largest}; "
        "ask for fewer, or raise largest"
    )


def random_problems(rng: random.Random, *, numbers: int, largest: int) -> Iterator[Problem]:
    """Yield problems for ever: random numbers, joined in a random tree by random operations.

    Targets are positive and at most `largest` squared.
    """
    while True:
        drawn = [rng.randint(1, largest) for _ in range(numbers)]
        parts = [(value, str(value), "") for value in drawn]
        while len(parts) > 1:
            i = rng.randrange(len(parts) - 1)
            left, right = parts[i], parts.pop(i + 1)
            parts[i] = _join(left, right, rng.choice("+-*"))
        target, solution, _ = parts[0]
        if 0 < target <= largest**2:
            rng.shuffle(drawn)
            yield Problem(tuple(drawn), target, solution)


def _join(left: tuple[int, str, str], right: tuple[int, str, str], sign: str) -> tuple[int, str, str]:
    """Join two (value, text, sign of the last operation), with brackets only where they are needed."""
    value = {"+": left[0] + right[0], "-": left[0] - right[0], "*": left[0] * right[0]}[sign]
    bracket_left = sign == "*" and left[2] in ("+", "-")
    bracket_right = (sign == "*" or sign == "-") and right[2] in ("+", "-")
    left_text = f"({left[1]})" if bracket_left else left[1]
    right_text = f"({right[1]})" if bracket_right else right[1]
    return value, f"{left_text}{sign}{right_text}", sign


class _NotAnExpression(Exception):
    pass


class _Parser:
    """Recursive descent over `expression = term (+|- term)*`, `term = atom (* atom)*`."""

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

    def _sum(self) -> tuple[int, Expression]:
        value, form = self._product()
        terms = _signed_terms(form, +1)
        while sign := self._take("+", "-"):
            right, right_form = self._product()
            value = value + right if sign == "+" else value - right
            terms += _signed_terms(right_form, +1 if sign == "+" else -1)
        return value, form if len(terms) == 1 else ("+", tuple(sorted(terms, key=repr)))

    def _product(self) -> tuple[int, Expression]:
        value, form = self._atom()
        factors = _factors(form)
        while self._take("*"):
            right, right_form = self._atom()
            value *= right
            factors += _factors(right_form)
        return value, form if len(factors) == 1 else ("*", tuple(sorted(factors, key=repr)))

    def _atom(self) -> tuple[int, Expression]:
        if self._take("("):
            inner = self._sum()
            if not self._take(")"):
                self._fail()
            return inner
        token = self.tokens[self.at]
        # Python refuses to read an integer of thousands of digits; no game has one.
        if not token.isdigit() or len(token) > 9:
            self._fail()
        self.at += 1
        self.numbers.append(int(token))
        return int(token), int(token)

    def _fail(self) -> NoReturn:
        raise _NotAnExpression


def _signed_terms(form: Expression, sign: int) -> list[tuple[int, Expression]]:
    if isinstance(form, tuple) and form[0] == "+":
        return [(sign * inner_sign, term) for inner_sign, term in form[1]]
    return [(sign, form)]


def _factors(form: Expression) -> list[Expression]:
    if isinstance(form, tuple) and form[0] == "*":
        return list(form[1])
    return [form]
