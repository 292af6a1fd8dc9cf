"""What `wise-merge best` prints: the choice, its figures on both halves, and what they say in sentences."""

from wise_merge.points import Point
from wise_merge.results.cells import difference, with_interval
from wise_merge.search.best.candidates import listed, roles, title
from wise_merge.search.best.choice import ROUNDING
from wise_merge.search.best.result import UNMERGED, Checked, ConfirmedChoice, Rival
from wise_merge.search.best.sentences import held, indented, p_value, verdict, wrapped
from wise_merge.text import printable


def text(result: ConfirmedChoice, source: str, points: int) -> str:
    """Return everything that is printed.

    Args:
        result: see there.
        source: of the results, as the user wrote it.
        points: how many different ones the sweep was asked for.
    """
    lines = [*_head(result, source, points), ""]
    lines += _chosen(result) if result.choice.winner is not None else _nearest(result)
    return "\n".join(part for line in lines for part in wrapped(printable(line)))


def with_bars(result: ConfirmedChoice) -> str:
    """Return the constraints as part of a sentence, with the temperature of early and late; empty if there are none."""
    if not result.constraints:
        return ""
    ends = sorted({one.end for one in result.constraints if one.end is not None}, reverse=True)
    at = f" ({' and '.join(ends)} at T {result.reference_temperature:g})" if ends else ""
    return f" with {' and '.join(map(str, result.constraints))}{at}"


def confirmed(result: ConfirmedChoice) -> str:
    """Return in a sentence what the confirmation half says of the chosen point."""
    assert result.chosen is not None
    parts = [f"{result.objective} {with_interval(result.chosen.confirmation)}"]
    for rival in result.rivals:
        if _tells(rival):
            test = rival.confirmation
            parts.append(f"minus that of {_who(result, rival)} {difference(test)} {p_value(test.p_value)}")
    for checked in result.checked:
        parts.append(f"{checked.constraint} {'holds' if checked.holds else 'does not hold'}")
    return "; ".join(parts) + "."


def _head(result: ConfirmedChoice, source: str, points: int) -> list[str]:
    candidates, selecting = result.candidates, int(result.selects.sum())
    tasks = list(dict.fromkeys(candidates.tasks.tolist()))
    fewest, most = min(candidates.samples), max(candidates.samples)
    samples = f"{fewest}" if fewest == most else f"{fewest} to {most}"
    mean = ", the mean of their figures" if len(tasks) > 1 else ""
    lines = [
        f"{source}: {len(candidates.points):,} of {points:,} points, {len(result.selects):,} problems of "
        f"{', '.join(tasks)}{mean}, {samples} samples each",
        f"chosen on {selecting:,} problems, the selection half; confirmed on the other "
        f"{len(result.selects) - selecting:,} (seed {result.seed})",
    ]
    left_out = dict(candidates.left_out)
    if result.unmeasured:
        left_out["without the early or late that is their bar"] = tuple(
            title(candidates.points[number]) for number in result.unmeasured
        )
    lines += [f"left out: {len(some):,} {reason} ({listed(some)})" for reason, some in left_out.items()]
    return lines


def _chosen(result: ConfirmedChoice) -> list[str]:
    assert result.choice.winner is not None
    assert result.chosen is not None
    objective, winner = result.objective, result.candidates.points[result.choice.winner]
    rows = [("chosen", title(winner), result.chosen)]
    rows += [(_roles(result, one), title(result.candidates.points[one.candidate]), one.value) for one in result.rivals]
    values = [["", "", "selection", "confirmation", "all problems"]]
    values += [
        [role, point, f"{one.selection:.3f}", with_interval(one.confirmation), f"{one.all_problems.value:.3f}"]
        for role, point, one in rows
    ]
    lines = [f"best {objective}{with_bars(result)}: {title(winner)}", "", str(objective), *indented(values)]
    if result.rivals:
        apart = [["", "selection", "confirmation", "", "all problems"]]
        apart += [
            [
                _roles(result, one),
                f"{one.selection:+.3f}",
                difference(one.confirmation),
                p_value(one.confirmation.p_value),
                f"{one.all_problems:+.3f}",
            ]
            for one in result.rivals
        ]
        lines += ["", f"{objective} of the chosen point minus that of", *indented(apart)]
    bounded = ", the latter of those that meet the constraints" if result.constraints else ""
    lines += [
        "",
        "± one standard error and [95 % interval] over problems; p of a paired permutation test",
        f"best T, {UNMERGED}: the best on the selection half{bounded}",
        "selection and all problems flatter the chosen point: it was chosen for its figures there",
        "",
    ]
    lines += [_held(result, one) for one in result.checked]
    lines += [_verdict(result, one) for one in result.rivals if _tells(one)] if winner.unmerged is None else []
    if winner.unmerged is not None:
        lines.append(f"Merging does not help here: the best point is {title(winner)}, no average.")
    lines.append(_stability(result))
    return lines


def _nearest(result: ConfirmedChoice) -> list[str]:
    point = result.candidates.points[result.choice.nearest]
    lines = [f"No point meets {_all_of(result)} on the selection half. The nearest is {title(point)}:"]
    for one, margin in zip(result.checked, result.choice.margins[:, result.choice.nearest], strict=True):
        met = "" if margin >= -ROUNDING else ", not met"
        lines.append(f"  {one.constraint}: {one.value[0]:.3f} against {one.bar[0]:.3f}{_end(result, one)}{met}")
    lines.append(f"Allow some slack, such as `pass@32 >= late - 0.02`, or sweep more {_grid(point)}.")
    return lines


def _grid(point: Point) -> str:
    """Return what a sweep may have more of."""
    if any(one.varies for one in point.varied):
        return f"values of {', '.join(point.label(one) for one in point.varied)} and temperatures"
    return "temperatures" if point.alpha is None else "alphas and temperatures"


def _all_of(result: ConfirmedChoice) -> str:
    return with_bars(result).removeprefix(" with ")


def _end(result: ConfirmedChoice, checked: Checked) -> str:
    """Return whose value a bar is."""
    if checked.end is None:
        return ""
    offset = checked.constraint.offset
    slack = f"; {'less' if offset < 0 else 'plus'} {abs(offset):g}" if offset else ""
    return f" ({title(result.candidates.points[checked.end])}{slack})"


def _held(result: ConfirmedChoice, one: Checked) -> str:
    return held(one, _end(result, one))


def _roles(result: ConfirmedChoice, rival: Rival) -> str:
    """Return what a point is, in few words: such as "late, same and best T"."""
    assert result.choice.winner is not None
    parts = []
    for name in reversed(roles(result.candidates.points[result.choice.winner])):
        how = [which for which in ("same", "best") if f"{name}, {which} T" in rival.roles]
        parts += [f"{name}, {' and '.join(how)} T"] if how else []
    return "; ".join([*parts, *(role for role in rival.roles if role == UNMERGED)])


def _tells(rival: Rival) -> bool:
    """Return whether a comparison deserves a sentence: those with an end at its best, in one way or another."""
    return any(role == UNMERGED or role.endswith("best T") for role in rival.roles)


def _verdict(result: ConfirmedChoice, rival: Rival) -> str:
    unmet = "" if rival.meets else ", which does not meet the constraints"
    return verdict(result.objective, rival, f"{_who(result, rival)}{unmet}")


def _who(result: ConfirmedChoice, rival: Rival) -> str:
    """Return a point in words, by the hardest comparison that it stands for."""
    role = rival.roles[-1]
    words = "the best unmerged model" if role == UNMERGED else f"{role.rpartition(', ')[0]} at its best temperature"
    return f"{words} ({title(result.candidates.points[rival.candidate])})"


def _stability(result: ConfirmedChoice) -> str:
    shown = result.choice.nearest if result.choice.winner is None else result.choice.winner
    varied = [one.parameter for one in result.candidates.points[shown].varied]
    step = "alpha" if varied == ["alpha"] else "the grid"
    along = f"one at most a step of {step} away" if varied else "the same model"
    near = f", {result.near} {along} at any temperature" if result.near > result.same else ""
    none = f"; in {result.none} no point meets the constraints" if result.none else ""
    return (
        f"Stability: of {result.resamples} resamples of the selection half {result.same} choose this point{near}{none}."
    )
