"""What is to be maximised, and what must hold meanwhile, read from texts such as `0.5*pass@1 + 0.5*pass@32`."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NoReturn

from wise_merge.errors import WiseMergeError
from wise_merge.text import enumeration, near

#: What figures are called before the @.
NAMES = ("pass", "maj", "best")
ENDS = ("early", "late")
_GRAMMAR = "write pass@K, maj@K or best@K, or a weighted sum of them such as 0.5*pass@1 + 0.5*pass@32"
_TOKEN = re.compile(
    r"\s*(?:(?P<figure>[A-Za-z_]\w*)\s*@\s*(?P<k>\w*)|(?P<number>(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)(?!\w)"
    r"|(?P<sign>[-+*])|(?P<word>[A-Za-z_]\w*))"
)


@dataclass(frozen=True)
class Figure:
    """A figure of each problem, such as pass@32: `name` of `NAMES`, and k of the samples."""

    name: str
    k: int

    def __str__(self) -> str:
        return f"{self.name}@{self.k}"


@dataclass(frozen=True)
class Objective:
    """A weighted sum of figures: (weight, figure) of each term."""

    terms: tuple[tuple[float, Figure], ...]

    @property
    def figures(self) -> tuple[Figure, ...]:
        """The different figures in it."""
        return tuple(dict.fromkeys(figure for _, figure in self.terms))

    def __str__(self) -> str:
        text = ""
        for weight, figure in self.terms:
            sign = (" - " if weight < 0 else " + ") if text else ("-" if weight < 0 else "")
            text += sign + ("" if abs(weight) == 1 else f"{abs(weight):.15g}*") + str(figure)
        return text


@dataclass(frozen=True)
class Constraint:
    """What a point must meet.

    Attributes:
        objective: the left side.
        at_least: whether it must be >= the right side, else <=.
        end: whose value of the left side is the bar: "early" (the first checkpoint) or "late" (the last), of a greedy
            soup "best" (the best single checkpoint); None = the bar is a number.
        offset: is added to the bar, or is the bar.
    """

    objective: Objective
    at_least: bool
    end: str | None
    offset: float

    def __str__(self) -> str:
        bar = f"{self.offset:.15g}"
        if self.end is not None:
            slack = f" {'-' if self.offset < 0 else '+'} {abs(self.offset):.15g}" if self.offset else ""
            bar = self.end + slack
        return f"{self.objective} {'>=' if self.at_least else '<='} {bar}"


def parse_objective(text: str) -> Objective:
    """Return the weighted sum that a text such as `0.5*pass@1 + 0.5*pass@32` stands for."""
    terms: list[tuple[float, Figure]] = []
    for signs, factors in _terms(text):
        weight = -1.0 if signs == "-" else 1.0
        figures = [factor for factor in factors if isinstance(factor, Figure)]
        numbers = [factor for factor in factors if isinstance(factor, float)]
        for word in (factor for factor in factors if isinstance(factor, str)):
            _refuse_word(text, word)
        if len(figures) != 1:
            what = " * ".join(str(factor) for factor in factors)
            reason = "has no figure" if not figures else "multiplies figures"
            raise WiseMergeError(f"{text!r}: the term {what} {reason}; {_GRAMMAR}")
        for number in numbers:
            weight *= number
        terms.append((weight, figures[0]))
    if not any(weight for weight, _ in terms):
        raise WiseMergeError(f"{text!r}: every weight is 0, so all points are equal; {_GRAMMAR}")
    return Objective(tuple(terms))


def parse_constraint(text: str, ends: Sequence[str] = ENDS) -> Constraint:
    """Return the constraint that a text such as `pass@32 >= late - 0.01` stands for.

    Args:
        text: to read.
        ends: words for models whose value may be the bar.
    """
    sides = re.split(r"(>=|<=)", text)
    if len(sides) != 3 or re.search(r"[<>=]", sides[0] + sides[2]):
        raise WiseMergeError(
            f"{text!r}: a constraint has one >= or <=, such as pass@32 >= {ends[-1]}, pass@32 >= {ends[-1]} - 0.01 or "
            "maj@8 >= 0.6"
        )
    objective, end, offset = parse_objective(sides[0]), None, 0.0
    for sign, factors in _terms(sides[2]):
        (factor,) = factors if len(factors) == 1 else (None,)
        if isinstance(factor, float):
            offset += -factor if sign == "-" else factor
        elif factor in ends and end is None and sign == "+":
            end = str(factor)
        else:
            likely = near(factor, ends) if isinstance(factor, str) else []
            meant = f" (did you mean {likely[0]}?)" if likely and likely[0] != factor else ""
            raise WiseMergeError(
                f"{text!r}: {sides[2].strip()!r}{meant} cannot be a bar; it must be "
                f"{enumeration([*ends, 'a number'], 'or')}, or {enumeration(ends, 'or')} plus or minus a number"
            )
    return Constraint(objective, sides[1] == ">=", end, offset)


def _terms(text: str) -> list[tuple[str, list[Figure | float | str]]]:
    """Return the terms of a sum, each with its sign and the factors of its product."""
    terms: list[tuple[str, list[Figure | float | str]]] = []
    sign: str | None = "+"
    place, expected = 0, True
    while text[place:].strip():
        token = _TOKEN.match(text, place)
        if token is None:
            raise WiseMergeError(f"{text!r}: {text[place:].strip()!r} is not understood; {_GRAMMAR}")
        place = token.end()
        if token["sign"]:
            leading = not terms and sign == "+" and token["sign"] in "+-" and not text[: token.start()].strip()
            if expected and not leading:
                raise WiseMergeError(f"{text!r}: something is missing before {token['sign']!r}; {_GRAMMAR}")
            sign, expected = (None if token["sign"] == "*" else token["sign"]), True
            continue
        if not expected:
            raise WiseMergeError(f"{text!r}: +, - or * is missing before {token[0].strip()!r}; {_GRAMMAR}")
        if token["figure"]:
            factor: Figure | float | str = _figure(text, token["figure"], token["k"])
        else:
            factor = float(token["number"]) if token["number"] else token["word"].lower()
        if sign is None:
            terms[-1][1].append(factor)
        else:
            terms.append((sign, [factor]))
        expected = False
    if expected:
        raise WiseMergeError(f"{text!r}: something is missing at the end; {_GRAMMAR}")
    return terms


def _figure(text: str, name: str, k: str) -> Figure:
    if name.lower() not in NAMES:
        likely = near(name.lower(), [*NAMES, "majority"])
        meant = f"did you mean {likely[0].removesuffix('ority')}@{k}?" if likely else _GRAMMAR
        raise WiseMergeError(f"{text!r}: there is no figure {name}@{k}; {meant}")
    if not re.fullmatch(r"[0-9]{1,9}", k) or int(k) < 1:
        raise WiseMergeError(f"{text!r}: K must be a whole number from 1 on, as in {name.lower()}@8; got {k!r}")
    return Figure(name.lower(), int(k))


def _refuse_word(text: str, word: str) -> NoReturn:
    if word in ENDS:
        raise WiseMergeError(f"{text!r}: {word} can only be the bar of a constraint, right of >= or <=; {_GRAMMAR}")
    likely = near(word, NAMES)
    meant = f"did you mean {likely[0]}@K?" if likely else _GRAMMAR
    raise WiseMergeError(f"{text!r}: {word} is not understood; {meant}")
