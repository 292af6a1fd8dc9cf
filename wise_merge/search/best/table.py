"""What `wise-merge best` prints: the choice, its figures on both halves, and what they say in sentences."""

import textwrap
from collections.abc import Sequence

from wise_merge.results.cells import difference, with_interval
from wise_merge.search.best.candidates import listed, roles, title
from wise_merge.search.best.choice import ROUNDING
from wise_merge.search.best.result import UNMERGED, Checked, Found, Rival
from wise_merge.text import printable, table

_WIDTH = 100
#: Below it a difference is called one.
_LEVEL = 0.05


def text(found: Found, source: str, points: int) -> str:
    """Return everything that is printed.

    Args:
        found: see there.
        source: of the results, as the user wrote it.
        points: how many different ones the sweep was asked for.
    """
    lines = [*_head(found, source, points), ""]
    lines += _chosen(found) if found.choice.winner is not None else _nearest(found)
    return "\n".join(part for line in lines for part in _wrapped(printable(line)))


def with_bars(found: Found) -> str:
    """Return the constraints as part of a sentence, with the temperature of early and late; empty if there are none."""
    if not found.constraints:
        return ""
    ends = sorted({one.end for one in found.constraints if one.end is not None}, reverse=True)
    at = f" ({' and '.join(ends)} at T {found.reference_temperature:g})" if ends else ""
    return f" with {' and '.join(map(str, found.constraints))}{at}"


def confirmed(found: Found) -> str:
    """Return in a sentence what the confirmation half says of the chosen point."""
    assert found.chosen is not None
    parts = [f"{found.objective} {with_interval(found.chosen.confirmation)}"]
    for rival in found.rivals:
        if _tells(rival):
            test = rival.confirmation
            parts.append(f"minus that of {_who(found, rival)} {difference(test)} {_p(test.p_value)}")
    for checked in found.checked:
        parts.append(f"{checked.constraint} {'holds' if checked.holds else 'does not hold'}")
    return "; ".join(parts) + "."


def _head(found: Found, source: str, points: int) -> list[str]:
    candidates, selecting = found.candidates, int(found.selects.sum())
    tasks = list(dict.fromkeys(candidates.tasks.tolist()))
    fewest, most = min(candidates.samples), max(candidates.samples)
    samples = f"{fewest}" if fewest == most else f"{fewest} to {most}"
    mean = ", the mean of their figures" if len(tasks) > 1 else ""
    lines = [
        f"{source}: {len(candidates.points):,} of {points:,} points, {len(found.selects):,} problems of "
        f"{', '.join(tasks)}{mean}, {samples} samples each",
        f"chosen on {selecting:,} problems, the selection half; confirmed on the other "
        f"{len(found.selects) - selecting:,} (seed {found.seed})",
    ]
    left_out = dict(candidates.left_out)
    if found.unmeasured:
        left_out["without the early or late that is their bar"] = tuple(
            title(candidates.points[number]) for number in found.unmeasured
        )
    lines += [f"left out: {len(some):,} {reason} ({listed(some)})" for reason, some in left_out.items()]
    return lines


def _chosen(found: Found) -> list[str]:
    assert found.choice.winner is not None
    assert found.chosen is not None
    objective, winner = found.objective, found.candidates.points[found.choice.winner]
    rows = [("chosen", title(winner), found.chosen)]
    rows += [(_roles(found, one), title(found.candidates.points[one.candidate]), one.value) for one in found.rivals]
    values = [["", "", "selection", "confirmation", "all problems"]]
    values += [
        [role, point, f"{one.selection:.3f}", with_interval(one.confirmation), f"{one.all_problems.value:.3f}"]
        for role, point, one in rows
    ]
    lines = [f"best {objective}{with_bars(found)}: {title(winner)}", "", str(objective), *_table(values)]
    if found.rivals:
        apart = [["", "selection", "confirmation", "", "all problems"]]
        apart += [
            [
                _roles(found, one),
                f"{one.selection:+.3f}",
                difference(one.confirmation),
                _p(one.confirmation.p_value),
                f"{one.all_problems:+.3f}",
            ]
            for one in found.rivals
        ]
        lines += ["", f"{objective} of the chosen point minus that of", *_table(apart)]
    bounded = ", the latter of those that meet the constraints" if found.constraints else ""
    lines += [
        "",
        "± one standard error and [95 % interval] over problems; p of a paired permutation test",
        f"best T, {UNMERGED}: the best on the selection half{bounded}",
        "selection and all problems flatter the chosen point: it was chosen for its figures there",
        "",
    ]
    lines += [_held(found, one) for one in found.checked]
    lines += [_verdict(found, one) for one in found.rivals if _tells(one)] if winner.unmerged is None else []
    if winner.unmerged is not None:
        lines.append(f"Merging does not help here: the best point is {title(winner)}, no average.")
    lines.append(_stability(found))
    return lines


def _nearest(found: Found) -> list[str]:
    point = found.candidates.points[found.choice.nearest]
    lines = [f"No point meets {_all_of(found)} on the selection half. The nearest is {title(point)}:"]
    for one, margin in zip(found.checked, found.choice.margins[:, found.choice.nearest], strict=True):
        met = "" if margin >= -ROUNDING else ", not met"
        lines.append(f"  {one.constraint}: {one.value[0]:.3f} against {one.bar[0]:.3f}{_end(found, one)}{met}")
    grid = "temperatures" if point.alpha is None else "alphas and temperatures"
    lines.append(f"Allow some slack, such as `pass@32 >= late - 0.02`, or sweep more {grid}.")
    return lines


def _all_of(found: Found) -> str:
    return with_bars(found).removeprefix(" with ")


def _end(found: Found, checked: Checked) -> str:
    """Return whose value a bar is."""
    if checked.end is None:
        return ""
    offset = checked.constraint.offset
    slack = f"; {'less' if offset < 0 else 'plus'} {abs(offset):g}" if offset else ""
    return f" ({title(found.candidates.points[checked.end])}{slack})"


def _held(found: Found, checked: Checked) -> str:
    return (
        f"{checked.constraint} {'holds' if checked.holds else 'DOES NOT HOLD'} on the confirmation half: "
        f"{checked.value[1]:.3f} against {checked.bar[1]:.3f}{_end(found, checked)}, {difference(checked.margin)}; "
        f"on the selection half {checked.value[0]:.3f} against {checked.bar[0]:.3f}."
    )


def _roles(found: Found, rival: Rival) -> str:
    """Return what a point is, in few words: such as "late, same and best T"."""
    assert found.choice.winner is not None
    parts = []
    for name in reversed(roles(found.candidates.points[found.choice.winner])):
        how = [which for which in ("same", "best") if f"{name}, {which} T" in rival.roles]
        parts += [f"{name}, {' and '.join(how)} T"] if how else []
    return "; ".join([*parts, *(role for role in rival.roles if role == UNMERGED)])


def _tells(rival: Rival) -> bool:
    """Return whether a comparison deserves a sentence: those with an end at its best, in one way or another."""
    return any(role == UNMERGED or role.endswith("best T") for role in rival.roles)


def _verdict(found: Found, rival: Rival) -> str:
    test, objective, who = rival.confirmation, found.objective, _who(found, rival)
    unmet = "" if rival.meets else ", which does not meet the constraints"
    if test.p_value >= _LEVEL:
        return (
            f"Not shown: a difference in {objective} to {who}{unmet}. It is {difference(test)}, {_p(test.p_value)}; "
            f"so many problems would show one of {rival.detectable:.3f}."
        )
    word = "above" if test.difference > 0 else "BELOW"
    return f"Confirmed: {objective} {abs(test.difference):.3f} {word} that of {who}{unmet}, {_p(test.p_value)}."


def _who(found: Found, rival: Rival) -> str:
    """Return a point in words, by the hardest comparison that it stands for."""
    role = rival.roles[-1]
    words = "the best unmerged model" if role == UNMERGED else f"{role.rpartition(', ')[0]} at its best temperature"
    return f"{words} ({title(found.candidates.points[rival.candidate])})"


def _stability(found: Found) -> str:
    shown = found.choice.nearest if found.choice.winner is None else found.choice.winner
    along = "the same model" if found.candidates.points[shown].alpha is None else "one at most a step of alpha away"
    near = f", {found.near} {along} at any temperature" if found.near > found.same else ""
    none = f"; in {found.none} no point meets the constraints" if found.none else ""
    return (
        f"Stability: of {found.resamples} resamples of the selection half {found.same} choose this point{near}{none}."
    )


def _table(rows: Sequence[Sequence[str]]) -> list[str]:
    return [f"  {line}" for line in table(rows)]


def _p(value: float) -> str:
    return "p<0.001" if value < 0.001 else f"p={value:.3f}"


def _wrapped(line: str) -> list[str]:
    """Return a line of prose in lines of bearable length; those of a table stay whole."""
    if len(line) <= _WIDTH or line.startswith("  "):
        return [line]
    return textwrap.wrap(line, _WIDTH, subsequent_indent="  ", break_on_hyphens=False)
