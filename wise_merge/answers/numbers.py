"""Reading the final answer out of a completion.

Extraction and equality of answers live here and nowhere else. Numbers are
compared as exact decimals, so `1,000`, `1000` and `$1000.00` are one answer.
"""

import re
from decimal import Context, Decimal, InvalidOperation

_NUMBER = r"[-+]?\s?[$€£]?\s?(?:\d{1,3}(?:,\d{3})+|\d+)?(?:\.\d+)?"
_FINAL = re.compile(rf"####\s*({_NUMBER})|answer\s+is:?\s*\**\s*({_NUMBER})", re.IGNORECASE)
_BOXED = re.compile(rf"\\boxed\s*\{{\s*([-+]?)\s*\\?({_NUMBER})")
# A minus after a digit is a subtraction or a range, and a comma groups digits by three.
_ANY = re.compile(r"(?:(?<!\d)[-+])?[$€£]?(?:\d{1,3}(?:,\d{3})+|\d+)(?:\.\d+)?")

#: Digits after which a "number" is the output of a model that repeats itself, not an answer.
MAX_DIGITS = 40

# The default context would round to 28 digits.
_EXACT = Context(prec=MAX_DIGITS)


def read_number(completion: str) -> Decimal | None:
    r"""Return the final number of a worked solution (GSM8K), or None if there is none.

    In this order: the last `#### 18` or `The answer is 18`, the last
    `\boxed{18}`, the last number of the text.

    >>> read_number("5 apples at $3,600 each. #### 18,000")
    Decimal('18000')
    """
    completion = completion.replace("{,}", ",")  # how LaTeX spells a thousands comma
    for pattern in (_FINAL, _BOXED, _ANY):
        found = ["".join(group or "" for group in match.groups()) or match[0] for match in pattern.finditer(completion)]
        numbers = [number for text in found if (number := _decimal(text)) is not None]
        if numbers:
            return numbers[-1]
    return None


def _decimal(text: str) -> Decimal | None:
    digits = re.sub(r"[^\d.+-]", "", text).rstrip(".")
    if not digits or len(digits) > MAX_DIGITS:
        return None
    try:
        # normalize: 18 and 18.00 must be one vote; adding 0 makes 0 of -0.
        return _EXACT.add(Decimal(digits).normalize(_EXACT), Decimal(0))
    except InvalidOperation:
        return None
