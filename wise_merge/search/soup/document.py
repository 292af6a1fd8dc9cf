"""A greedy soup as soup.json has it (`wise_merge.points.soup`)."""

from wise_merge.points.soup import Soup, SoupChoice, SoupRival, SoupStep
from wise_merge.search.soup.recipe import NAME
from wise_merge.search.soup.result import ConfirmedSoup
from wise_merge.search.soup.table import model_name


def document(soup: ConfirmedSoup) -> Soup:
    """Return what others are told of a greedy soup."""
    plan, wanted, selecting = soup.plan, soup.singles.wanted, int(soup.selects.sum())

    def names(numbers: tuple[int, ...]) -> tuple[str, ...]:
        return tuple(plan.checkpoints[number].name for number in numbers)

    return Soup(
        objective=str(wanted.objective),
        constraints=tuple(map(str, wanted.constraints)),
        seed=plan.settings.halves_seed,
        selection_problems=selecting,
        confirmation_problems=len(soup.selects) - selecting,
        steps=tuple(
            SoupStep(
                plan.labels[step.number],
                step.kept,
                step.score.value,
                step.before,
                step.score.meets,
                names(step.soup),
            )
            for step in soup.steps
        ),
        chosen=SoupChoice(names(soup.ingredients), soup.reading.selection, soup.reading.confirmation.value),
        against=tuple(
            SoupRival(
                name,
                model_name(soup, [name]),
                rival.value.confirmation.value,
                rival.confirmation.difference,
                rival.confirmation.low,
                rival.confirmation.high,
                rival.confirmation.p_value,
            )
            for rival in soup.rivals
            for name in rival.roles
        ),
        recipe=None if len(soup.ingredients) == 1 else NAME,
    )
