"""What a greedy soup prints: what it will do, each step as it is decided, and what the soup is worth."""

from collections.abc import Sequence

from wise_merge.points.soup import SINGLE, UNIFORM, WISE_FT
from wise_merge.results.cells import difference, with_interval
from wise_merge.search.best.result import Checked, Rival
from wise_merge.search.best.sentences import held, indented, p_value, verdict, wrapped
from wise_merge.search.soup.greedy import Step
from wise_merge.search.soup.plan import Plan
from wise_merge.search.soup.result import ConfirmedSoup, Singles
from wise_merge.text import counted, printable, size


def of_plan(plan: Plan) -> str:
    """Return which models are sampled."""
    settings, count = plan.settings, len(plan.checkpoints)
    named = ", ".join(plan.with_step(number) for number in range(count))
    constraints = "".join(f" with {one}" for one in settings.subject_to)
    where = f" of {counted(len(plan.groups), 'run')}" if settings.run else ""
    lines = [
        f"greedy soup for {settings.objective}{constraints} of {count} checkpoints{where}, {size(plan.model_bytes)} a "
        f"model: {named}",
        f"each of them, their mean, and up to {count - 1} means of some, at T {settings.temperature:g}: "
        f"{settings.samples} samples per problem of {', '.join(settings.tasks)}",
    ]
    return "\n".join(part for line in lines for part in wrapped(printable(line)))


def head(plan: Plan, singles: Singles) -> str:
    """Return what stands above the steps."""
    wanted, selecting = singles.wanted, int(singles.wanted.selects.sum())
    constraints = f" with {' and '.join(map(str, wanted.constraints))}" if wanted.constraints else ""
    bars = [
        f"{one.objective} of {plan.labels[singles.best]}, the best, is {bar - one.offset:.3f}"
        for one, bar in zip(wanted.constraints, wanted.bars, strict=True)
        if one.end is not None
    ]
    start = next(number for number in singles.order if singles.scores[number].meets)
    passed = [plan.labels[number] for number in singles.order[: singles.order.index(start)]]
    lines = [
        "",
        f"{wanted.objective}{constraints} on {counted(selecting, 'problem')}, the selection half (seed "
        f"{plan.settings.halves_seed})",
        *bars,
        *([f"better alone, without meeting the constraints: {', '.join(passed)}"] if passed else []),
        f"     {'checkpoint':{_width(plan)}}  alone  soup with it",
    ]
    return "\n".join(part for line in lines for part in wrapped(printable(line)))


def of_step(plan: Plan, singles: Singles, step: Step, place: int) -> str:
    """Return the line of a step; `place` counts from 1."""
    alone = singles.scores[step.number].value
    change = "" if step.before is None else f"{step.score.value - step.before:+.4f}"
    said = _said(singles, step)
    label = printable(plan.labels[step.number])
    return f"{place:>3}  {label:{_width(plan)}}  {alone:.3f}  {step.score.value:.3f}  {change:7}  {said}"


def _said(singles: Singles, step: Step) -> str:
    """Return what was decided, and by which constraint where it was not for the value."""
    if step.before is None:
        return "the soup begins with it"
    if step.kept:
        return "kept"
    missed = [
        f"{constraint} is missed by {-margin:.4f}"
        for constraint, margin in zip(singles.wanted.constraints, step.score.margins, strict=True)
        if margin < 0
    ]
    return "refused" if step.score.meets else f"refused: {' and '.join(missed)}"


def _width(plan: Plan) -> int:
    return max(len("checkpoint"), *(len(printable(label)) for label in plan.labels))


def of_soup(soup: ConfirmedSoup) -> str:
    """Return what the soup is and what it is worth."""
    lines = [*_what(soup), "", *_values(soup)]
    if soup.rivals:
        lines += ["", *_differences(soup)]
    lines += [
        "",
        "± one standard error and [95 % interval] over problems; p of a paired permutation test",
        "selection and all problems flatter the greedy soup: it was chosen for its figures there",
        "",
        *(held(one, _whose(soup, one)) for one in soup.checked),
        *(_verdict(soup, one) for one in soup.rivals),
    ]
    return "\n".join(part for line in lines for part in wrapped(printable(line)))


def _what(soup: ConfirmedSoup) -> list[str]:
    labels, count = soup.plan.labels, len(soup.ingredients)
    if count == 1:
        return [
            "",
            f"The greedy soup is one model, {labels[soup.ingredients[0]]}: no mean of it and others was better on the "
            "selection half. Merging does not help here.",
        ]
    names = ", ".join(labels[number] for number in soup.ingredients)
    return ["", f"The greedy soup: {names} ({count} of {counted(len(labels), 'checkpoint')})"]


def model_name(soup: ConfirmedSoup, names: Sequence[str]) -> str:
    """Return what the models are that go by some of the names of rivals."""
    labels = soup.plan.labels
    if SINGLE in names:
        return labels[soup.singles.best]
    if WISE_FT in names:
        early, late = soup.ends
        return f"{labels[early]} and {labels[late]}, alpha 0.5"
    assert UNIFORM in names
    return f"mean of {len(labels)}"


def _values(soup: ConfirmedSoup) -> list[str]:
    count = len(soup.ingredients)
    own = soup.plan.labels[soup.ingredients[0]] if count == 1 else f"mean of {count}"
    rows = [("greedy soup", own, soup.reading)]
    rows += [(", ".join(one.roles), model_name(soup, one.roles), one.value) for one in soup.rivals]
    cells = [["", "", "selection", "confirmation", "all problems"]]
    cells += [
        [role, model, f"{one.selection:.3f}", with_interval(one.confirmation), f"{one.all_problems.value:.3f}"]
        for role, model, one in rows
    ]
    return [str(soup.singles.wanted.objective), *indented(cells)]


def _differences(soup: ConfirmedSoup) -> list[str]:
    cells = [["", "selection", "confirmation", "", "all problems"]]
    cells += [
        [
            ", ".join(one.roles),
            f"{one.selection:+.3f}",
            difference(one.confirmation),
            p_value(one.confirmation.p_value),
            f"{one.all_problems:+.3f}",
        ]
        for one in soup.rivals
    ]
    return [f"{soup.singles.wanted.objective} of the greedy soup minus that of", *indented(cells)]


def _whose(soup: ConfirmedSoup, checked: Checked) -> str:
    return "" if checked.end is None else f" ({soup.plan.labels[soup.singles.best]})"


def _verdict(soup: ConfirmedSoup, rival: Rival) -> str:
    unmet = "" if rival.meets else ", which does not meet the constraints"
    return verdict(soup.singles.wanted.objective, rival, f"{_who(soup, rival)}{unmet}")


def _who(soup: ConfirmedSoup, rival: Rival) -> str:
    """Return a rival in a sentence, with the model that it is."""
    names = " and ".join(name if name == WISE_FT else f"the {name}" for name in rival.roles)
    return f"{names} ({model_name(soup, rival.roles)})"


def confirmed(soup: ConfirmedSoup) -> str:
    """Return in a sentence what the confirmation half says of the soup."""
    objective = soup.singles.wanted.objective
    parts = [f"{objective} {with_interval(soup.reading.confirmation)}"]
    parts += [
        f"minus that of {_who(soup, one)} {difference(one.confirmation)} {p_value(one.confirmation.p_value)}"
        for one in soup.rivals
    ]
    parts += [f"{one.constraint} {'holds' if one.holds else 'does not hold'}" for one in soup.checked]
    return "; ".join(parts) + "."
