"""The greedy soup of Model soups (arXiv 2203.05482), recipe 1, with constraints that it must meet. A pure function.

Checkpoints are numbers, in the order in which the user lists them.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from wise_merge.search.best.choice import ROUNDING


@dataclass(frozen=True)
class Score:
    """What the selection half says of a model.

    Attributes:
        value: of the objective.
        margins: by which each constraint is met; negative = it is not.
    """

    value: float
    margins: tuple[float, ...] = ()

    @property
    def meets(self) -> bool:
        """Whether all constraints are met."""
        return all(margin >= -ROUNDING for margin in self.margins)


@dataclass(frozen=True)
class Step:
    """One checkpoint that was tried.

    Attributes:
        number: of the checkpoint.
        tried: the numbers of those whose mean was judged, ascending; this one is among them.
        score: of that mean.
        before: the value of the soup without it; None for the checkpoint that the soup begins with.
        kept: whether it became an ingredient.
        soup: the ingredients after the step, in the order in which they were kept.
    """

    number: int
    tried: tuple[int, ...]
    score: Score
    before: float | None
    kept: bool
    soup: tuple[int, ...]


def order_of(singles: Sequence[Score]) -> list[int]:
    """Return the checkpoints from the best to the worst; of equal ones the one that is listed first comes first."""
    order: list[int] = []
    left = list(range(len(singles)))
    while left:
        # One by one, because "equal but for rounding" cannot be a key of sorting.
        best = max(singles[number].value for number in left)
        first = next(number for number in left if singles[number].value >= best - ROUNDING)
        order.append(first)
        left.remove(first)
    return order


def greedy(singles: Sequence[Score], score: Callable[[tuple[int, ...]], Score]) -> Iterator[Step]:
    """Yield what comes of each checkpoint, from the best to the worst: one pass, without replacement.

    The soup begins with the best checkpoint that meets the constraints; there is no step where none does. Each of the
    others in turn is averaged with the ingredients so far, all with equal weight, and is kept if that is strictly
    better than the soup before and meets the constraints.

    Args:
        singles: the score of each checkpoint by itself.
        score: from the numbers of several checkpoints, ascending, to the score of their mean.
    """
    order = order_of(singles)
    start = next((number for number in order if singles[number].meets), None)
    if start is None:
        return
    soup: tuple[int, ...] = (start,)
    value = singles[start].value
    yield Step(start, soup, singles[start], None, True, soup)
    for number in order:
        if number == start:
            continue
        tried = tuple(sorted((*soup, number)))
        found = score(tried)
        kept = found.value > value + ROUNDING and found.meets
        before = value
        if kept:
            soup, value = (*soup, number), found.value
        yield Step(number, tried, found, before, kept, soup)
