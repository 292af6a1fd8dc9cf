"""How the opening writes figures, differences and commands."""

import shlex
from collections.abc import Sequence

#: A difference with a smaller p-value is told from 0, as in `wise-merge best`.
LEVEL = 0.05


def with_interval(value: float, low: float | None, high: float | None) -> str:
    """Return a figure and its interval, if it is known: 0.491 [0.440, 0.543]."""
    return f"{value:.3f}" + ("" if low is None or high is None else f" [{_number(low)}, {_number(high)}]")


def against(
    names: Sequence[str], about: str, difference: float, low: float | None, high: float | None, p: float | None
) -> str:
    """Return what a model is worth beside another: "0.083 [0.045, 0.122] more than late (...)", or that none is shown.

    Args:
        names: what the other one is.
        about: it, further.
        difference: of the model less the other one.
        low: end of the 95 % interval of the difference, None = unknown.
        high: likewise.
        p: of the difference, None = unknown.
    """
    who = ", ".join(names)
    if p is None or p >= LEVEL:
        ends = "" if low is None or high is None else f" [{_number(low, '+.3f')}, {_number(high, '+.3f')}]"
        test = "" if p is None else f", {_p(p)}"
        return f"not told from {who} ({about}; difference {_number(difference, '+.3f')}{ends}{test})"
    if difference < 0:
        low, high = (None, None) if low is None or high is None else (-high, -low)
    size = with_interval(abs(difference), low, high)
    return f"{size} {'more' if difference > 0 else 'less'} than {who} ({about}; {_p(p)})"


def command(*arguments: str) -> str:
    """Return a command as it is typed."""
    return shlex.join(arguments)


def _p(value: float) -> str:
    return "p < 0.001" if value < 0.001 else f"p = {value:.3f}"


def _number(value: float, form: str = ".3f") -> str:
    return f"{value:{form}}".replace("-", "\N{MINUS SIGN}")
