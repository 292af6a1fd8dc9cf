"""Numbers as a text writes them, read as exact decimals: `1,000`, `$1000.00` and `2000/2` are one number."""

import re
from decimal import Context, Decimal, InvalidOperation

#: Digits after which a "number" is the output of a model that repeats itself, not an answer.
MAX_DIGITS = 40

# decimal rounds to 28 digits unless told otherwise.
_EXACT = Context(prec=MAX_DIGITS)

CURRENCY = r"(?:\\?\$|[€£¥₹]|(?:USD|Rs\.?)\s)"
# A comma groups digits by three.
UNSIGNED = r"(?:\d{1,3}(?:,\d{3})+(?!\d)(?:\.\d+)?|\d+(?:\.\d+)?|\.\d+)"
# A minus after a digit or a bracket is a subtraction or a range.
SIGN = r"(?:(?<![\d)\]])[-+]\s?)?"
_FRACTION = rf"\\[dtc]?frac\s*\{{\s*({UNSIGNED})\s*\}}\s*\{{\s*({UNSIGNED})\s*\}}"
NUMBER = re.compile(
    rf"({SIGN}){CURRENCY}?\s?({SIGN})(?:({UNSIGNED})"
    rf"(?:\s*/\s*({UNSIGNED})(?![\d/])|\s*{_FRACTION}|\s+(?:and\s+)?(\d{{1,9}})/(\d{{1,9}})(?![\d/]))?|{_FRACTION})"
)

# How much of a text is looked at.
_REACH = 200


def read_expression(text: str) -> Decimal | None:
    r"""Return the number of a short answer such as a box holds: the first one after the last `=`.

    >>> read_expression(r"9 \times 2 = 18\text{ dollars in 7 days}")
    Decimal('18')
    >>> read_expression(r"\frac{1}{2}")
    Decimal('0.5')
    """
    written = NUMBER.search(text.rpartition("=")[2][:_REACH])
    return written and value_of(written)


def value_of(number: re.Match[str]) -> Decimal | None:
    """Return the value of a match of `NUMBER`, None if it has too many digits or divides by 0."""
    sign, inner_sign, whole, divisor, over, under, plain_over, plain_under, only_over, only_under = number.groups()
    try:
        value = _quotient(only_over, only_under) if whole is None else decimal_of(whole)
        if value is None:
            return None
        if divisor:
            value = _quotient(whole, divisor)
        elif over or plain_over:  # 2\frac{1}{2}, 2 1/2
            part = _quotient(over or plain_over, under or plain_under)
            value = None if part is None else _EXACT.add(value, part)
    except InvalidOperation:
        return None
    if value is None:
        return None
    minus = "-" in sign + inner_sign
    return normalized(-value if minus else value)


def _quotient(over: str, under: str) -> Decimal | None:
    """Return the fraction, None if it divides by 0."""
    upper, lower = decimal_of(over), decimal_of(under)
    return _EXACT.divide(upper, lower) if upper is not None and lower else None


def decimal_of(text: str) -> Decimal | None:
    """Return the digits of a text as a number, None if there are none or too many."""
    digits = re.sub(r"[^\d.+-]", "", text).rstrip(".")
    if not digits or len(digits) > MAX_DIGITS:
        return None
    try:
        return normalized(Decimal(digits))
    except InvalidOperation:
        return None


def normalized(number: Decimal) -> Decimal:
    """Return the number so that equal ones are written alike: 18 for 18.00, 0 for -0."""
    return _EXACT.add(number.normalize(_EXACT), Decimal(0))
