"""What a call returned, as a text that is equal for values that `==` takes for equal."""

import hashlib
from typing import Any

#: Longer texts are cut here and end with a digest of the whole.
LONGEST = 2000

# Digits of a float that count: results that differ by rounding are the same.
_DIGITS = 10


def canonical(value: Any) -> str:
    """Return a text for the value: 1, 1.0 and True share one, sets and dicts have no order, lists are no tuples.

    Objects of other types count by their type and what they say of themselves, without their address.
    """
    text = _text(value)
    if len(text) > LONGEST:
        digest = hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:16]
        text = f"{text[:LONGEST]}... ({digest})"
    return text


def _text(value: Any) -> str:
    kind = type(value)
    if kind is bool or kind is int:
        return hex(value) if abs(value) >= 10**1000 else str(int(value))
    if kind is float:
        return _of_float(value)
    if kind is complex:
        return f"({_of_float(value.real)}+{_of_float(value.imag)}j)" if value.imag else _of_float(value.real)
    if kind in (str, bytes, bytearray):
        return repr(bytes(value) if kind is bytearray else value)
    if kind is list:
        return f"[{', '.join(map(_text, value))}]"
    if kind is tuple:
        return f"({', '.join(map(_text, value))},)"
    if kind in (set, frozenset):
        return f"{{{', '.join(sorted(map(_text, value)))}}}"
    if isinstance(value, dict):
        return f"{{{', '.join(sorted(f'{_text(key)}: {_text(item)}' for key, item in value.items()))}}}"
    if value is None or value is Ellipsis:
        return repr(value)
    said = repr(value)  # with its address, where nobody has written another
    return f"<{kind.__qualname__} {'' if ' at 0x' in said else said}>"


def _of_float(value: float) -> str:
    rounded = float(f"{value:.{_DIGITS}g}")
    return str(int(rounded)) if rounded.is_integer() and abs(rounded) < 1e15 else repr(rounded)
