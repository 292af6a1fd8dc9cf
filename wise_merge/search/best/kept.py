"""What of a choice is kept beside the results, in choice.json, for those who show it: `wise-merge report`."""

import math
from pathlib import Path

from wise_merge.points import Results
from wise_merge.points.best import BestChoice, CheckedConstraint, ChosenPoint, ComparedPoint, state_of
from wise_merge.search.best.candidates import title
from wise_merge.search.best.result import UNMERGED, ConfirmedChoice, Rival
from wise_merge.search.best.table import with_bars


def kept(result: ConfirmedChoice, results: Results, recipe: Path | None) -> BestChoice:
    """Return what is kept of a choice.

    Args:
        result: see there.
        results: from which was chosen.
        recipe: that was written, None = none.
    """
    candidates, selecting = result.candidates, int(result.selects.sum())
    tasks = tuple(dict.fromkeys(candidates.tasks.tolist()))
    return BestChoice(
        objective=str(result.objective),
        constraints=tuple(map(str, result.constraints)),
        sought=f"{result.objective}{with_bars(result)}",
        reference_temperature=result.reference_temperature,
        seed=result.seed,
        tasks=tasks,
        points=len(candidates.points),
        selection_problems=selecting,
        confirmation_problems=len(result.selects) - selecting,
        of=state_of(results, tasks),
        chosen=_chosen(result),
        nearest=title(candidates.points[result.choice.nearest]) if result.choice.winner is None else None,
        against=tuple(_compared(result, rival) for rival in result.rivals if _names(result, rival)),
        checked=tuple(
            CheckedConstraint(str(one.constraint), one.value, one.bar, bool(one.holds)) for one in result.checked
        ),
        recipe=None if recipe is None else str(recipe),
    )


def _chosen(result: ConfirmedChoice) -> ChosenPoint | None:
    if result.choice.winner is None or result.chosen is None:
        return None
    point, confirmed = result.candidates.points[result.choice.winner], result.chosen.confirmation
    return ChosenPoint(
        title=title(point),
        model=point.model,
        temperature=point.temperature,
        unmerged=point.unmerged is not None,
        selection=result.chosen.selection,
        confirmation=confirmed.value,
        low=_known(confirmed.low),
        high=_known(confirmed.high),
    )


def _compared(result: ConfirmedChoice, rival: Rival) -> ComparedPoint:
    test = rival.confirmation
    return ComparedPoint(
        names=_names(result, rival),
        title=title(result.candidates.points[rival.candidate]),
        best_unmerged=UNMERGED in rival.roles,
        meets=rival.meets,
        confirmation=rival.value.confirmation.value,
        difference=test.difference,
        low=_known(test.low),
        high=_known(test.high),
        p=test.p_value,
        detectable=_known(rival.detectable),
    )


def _names(result: ConfirmedChoice, rival: Rival) -> tuple[str, ...]:
    """Return in words what a rival is at its best; empty for one that is but a checkpoint at the same temperature."""
    several = len({point.temperature for point in result.candidates.points}) > 1
    names = []
    for role in rival.roles:
        who, _, which = role.rpartition(", ")
        if role == UNMERGED:
            names.append("the best unmerged model")
        elif which == "best T":
            names.append(f"{who} at its best temperature" if several else who)
    return tuple(names)


def _known(number: float) -> float | None:
    return None if math.isnan(number) else number
