"""What `wise-merge best` chose, what it is worth on the half of the problems that confirms, and what to do with it."""

from collections.abc import Sequence

from wise_merge.points.best import BestChoice, CheckedConstraint, ChosenPoint, ComparedPoint, state_of
from wise_merge.points.folder import Results
from wise_merge.report.groups import grouped, title_of
from wise_merge.report.numbers import Statement
from wise_merge.report.opening.words import LEVEL, against, command, with_interval
from wise_merge.text import enumeration

#: More rivals than this are not listed, but the best unmerged model: it is the hardest of them.
_LISTED = 3


def about_choice(results: Results, best: BestChoice | None) -> Statement:
    """Return what was chosen, or that nothing was yet, and the command that comes next."""
    if best is None:
        return Statement(
            "No point has been chosen yet. `wise-merge best` chooses one by what matters to you, such as pass@1, "
            f"pass@{results.samples} or a weighted sum of both; put it in the place of SUM:",
            f"{command('wise-merge', 'best', str(results.folder), '--objective')} SUM",
        )
    if not is_of(results, best):
        return Statement(
            f"`wise-merge best` has last chosen {best.chosen.title if best.chosen else 'no point'} for the largest "
            f"{best.sought}, but from earlier results: points or samples have changed since. Choose again:",
            _again(results, best),
        )
    halves = f"on {best.selection_problems:,} problems, the selection half"
    if best.chosen is None:
        unmet = "; ".join(f"{one.constraint}: {one.value[0]:.3f} against {one.bar[0]:.3f}" for one in best.checked)
        return Statement(
            f"`wise-merge best` found no point that meets {enumeration(best.constraints, 'and')} {halves}. The nearest "
            f"is {best.nearest} ({unmet}). Choose again with some slack, or sweep more points.",
        )
    chosen, title = best.chosen, _title(results, best.chosen)
    sought = best.sought + (f", the mean of {enumeration(best.tasks, 'and')}," if len(best.tasks) > 1 else "")
    worth = with_interval(chosen.confirmation, chosen.low, chosen.high)
    text = (
        f"`wise-merge best` chose {title}: of {best.points:,} points it has the largest {sought} {halves}. On the "
        f"other {best.confirmation_problems:,}, the confirmation half, its {best.objective} is {worth}"
    )
    compared = [_against(one) for one in _told(best.against)]
    text += f" (brackets: 95 % intervals over problems): {'; '.join(compared)}." if compared else "."
    text += "".join(f" {_held(one)}" for one in best.checked)
    text += f" {_verdict(best, chosen)}"
    if best.recipe is None or not text.endswith(":"):
        return Statement(text)
    return Statement(text, command("wise-merge", "merge", best.recipe, "merged"))


def _title(results: Results, chosen: ChosenPoint) -> str:
    """Return what the report calls the point, else what the choice does."""
    if not chosen.unmerged:
        for group in grouped(results.points):
            for point in group.points:
                if (point.model, point.temperature) == (chosen.model, chosen.temperature):
                    return title_of(point, group)
    return chosen.title


def is_of(results: Results, best: BestChoice) -> bool:
    """Return whether a choice was made from the results as they are now."""
    return best.of == state_of(results, best.tasks)


def _told(rivals: Sequence[ComparedPoint]) -> Sequence[ComparedPoint]:
    return rivals if len(rivals) <= _LISTED else [one for one in rivals if one.best_unmerged]


def _against(rival: ComparedPoint) -> str:
    unmet = "" if rival.meets else ", which does not meet the constraints"
    return against(rival.names, f"{rival.title}{unmet}", rival.difference, rival.low, rival.high, rival.p)


def _held(checked: CheckedConstraint) -> str:
    held = "holds" if checked.holds else "does not hold"
    return f"{checked.constraint} {held} there: {checked.value[1]:.3f} against {checked.bar[1]:.3f}."


def _verdict(best: BestChoice, chosen: ChosenPoint) -> str:
    """Return what to do, or that merging does not help."""
    take = f"sample it at temperature {chosen.temperature:g}"
    if chosen.unmerged:
        return f"Merging does not help here: the best point is a checkpoint as it is; {take}."
    unmerged = next((one for one in best.against if one.best_unmerged), None)
    if unmerged is None:
        return f"No unmerged model of the sweep meets the constraints. To merge it, and {take}:"
    if unmerged.p >= LEVEL:
        shown = "" if unmerged.detectable is None else f"; so many problems would show one of {unmerged.detectable:.3f}"
        return (
            "That merging helps here is not shown: the difference to the best unmerged model is not told from 0"
            f"{shown}. To merge it all the same, and {take}:"
        )
    if unmerged.difference < 0:
        return f"Merging does not help here: the best unmerged model, {unmerged.title}, is better."
    return f"To merge it, and {take}:"


def _again(results: Results, best: BestChoice) -> str:
    arguments = ["wise-merge", "best", str(results.folder), "--objective", best.objective]
    for constraint in best.constraints:
        arguments += ["--subject-to", constraint]
    if set(best.tasks) != set(results.tasks):
        arguments += ["--tasks", ",".join(best.tasks)]
    if best.reference_temperature is not None:
        arguments += ["--reference-temperature", f"{best.reference_temperature:g}"]
    if best.seed:
        arguments += ["--seed", str(best.seed)]
    if best.recipe is not None and best.recipe != str(results.folder / "best.yml"):
        arguments += ["--out", best.recipe]
    return command(*arguments)
