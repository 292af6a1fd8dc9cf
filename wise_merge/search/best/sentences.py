"""Sentences about what the half that confirms has shown, and the form in which they are printed."""

import textwrap
from collections.abc import Sequence

from wise_merge.results.cells import difference
from wise_merge.search.best.objective import Objective
from wise_merge.search.best.result import Checked, Rival
from wise_merge.text import table

_WIDTH = 100
#: A difference with a smaller p-value is called confirmed.
_LEVEL = 0.05


def held(checked: Checked, whose: str) -> str:
    """Return whether a constraint holds; `whose` says, in brackets, whose value the bar is, or nothing."""
    return (
        f"{checked.constraint} {'holds' if checked.holds else 'DOES NOT HOLD'} on the confirmation half: "
        f"{checked.value[1]:.3f} against {checked.bar[1]:.3f}{whose}, {difference(checked.margin)}; "
        f"on the selection half {checked.value[0]:.3f} against {checked.bar[0]:.3f}."
    )


def verdict(objective: Objective, rival: Rival, who: str) -> str:
    """Return whether the chosen point differs from a rival; `who` names it."""
    test = rival.confirmation
    if test.p_value >= _LEVEL:
        return (
            f"Not shown: a difference in {objective} to {who}. It is {difference(test)}, {p_value(test.p_value)}; "
            f"so many problems would show one of {rival.detectable:.3f}."
        )
    word = "above" if test.difference > 0 else "BELOW"
    return f"Confirmed: {objective} {abs(test.difference):.3f} {word} that of {who}, {p_value(test.p_value)}."


def p_value(value: float) -> str:
    """Return p=0.012, or p<0.001."""
    return "p<0.001" if value < 0.001 else f"p={value:.3f}"


def indented(rows: Sequence[Sequence[str]]) -> list[str]:
    """Return the lines of a table, set off from prose."""
    return [f"  {line}" for line in table(rows)]


def wrapped(line: str) -> list[str]:
    """Return a line of prose in lines of bearable length; those of a table stay whole."""
    if len(line) <= _WIDTH or line.startswith("  "):
        return [line]
    return textwrap.wrap(line, _WIDTH, subsequent_indent="  ", break_on_hyphens=False)
