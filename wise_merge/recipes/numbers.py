"""Lists of numbers as people write them: 0.1:0.9:0.1, or 0.3,0.5."""

from decimal import Decimal, InvalidOperation

#: Of one list.
_MOST = 10_000


def parse_numbers(text: str) -> tuple[Decimal, ...]:
    """Return the numbers of "FIRST:LAST:STEP" or "A,B,...", exactly as decimals: 0.1:0.9:0.1 are nine.

    Raises ValueError for anything else.
    """
    try:
        if ":" in text:
            first, last, step = (Decimal(part) for part in text.split(":"))
            if not step > 0 or not last >= first or (last - first) / step > _MOST:
                raise ValueError(text)
            numbers = [first + step * number for number in range(int((last - first) / step) + 1)]
        else:
            numbers = [Decimal(part) for part in text.split(",")]
    except InvalidOperation as error:
        raise ValueError(text) from error
    if not all(one.is_finite() for one in numbers):
        raise ValueError(text)
    # Without the zeros at the end, so that 0.1 and 0.10 are one; and no -0.
    return tuple(dict.fromkeys(Decimal(f"{one.normalize():f}") + 0 for one in numbers))
