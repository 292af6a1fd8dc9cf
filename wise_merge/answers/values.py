"""A number for an expression, so that two which are far apart need no symbolic comparison.

Symbols stand for fixed arbitrary numbers. Equal expressions have close values; the converse is not
claimed, so close values decide nothing.
"""

import math
import zlib
from typing import Any

import sympy  # type: ignore[import-untyped]
from sympy.core.relational import Relational  # type: ignore[import-untyped]


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
    """Return the value; raises whatever sympy does."""
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
    """Return a key that sorts numbers and tuples of them."""
    if isinstance(value, tuple):
        return (1, repr(value), 0, 0)
    return (0, "", value.real, value.imag)


def differ(one: Any, other: Any) -> bool:
    """Return whether two values are too far apart for equal expressions."""
    if one is None or other is None:
        return False
    if isinstance(one, tuple) or isinstance(other, tuple):
        if not (isinstance(one, tuple) and isinstance(other, tuple)):
            return True
        # An ordered pair and the set of the same two are equal to math-verify in some cases.
        if {one[0], other[0]} == {"set", "tuple"}:
            one, other = (("", *sorted(value[1:], key=_order)) for value in (one, other))
        return len(one) != len(other) or any(map(differ, one, other))
    if isinstance(one, str) or isinstance(other, str):
        return bool(one != other)
    if one == other:
        return False
    return bool(abs(one - other) > 1e-5 * max(1, abs(one), abs(other)))


def proportion(relation: Any) -> Any:
    """Return left minus right side of a relation at one point over the same at another, or None."""
    if not isinstance(relation, Relational):
        return None
    try:
        difference = relation.lhs - relation.rhs
        moved = difference.subs({symbol: symbol + 1 for symbol in difference.free_symbols})
        return value(difference) / value(moved)
    except (Exception, RecursionError):  # sides that cannot be subtracted, such as sets or undefined functions
        return None
