"""What a greedy soup is and what it is worth, as `table`, `recipe` and soup.json show it."""

from dataclasses import dataclass

import numpy as np

from wise_merge.search.best.candidates import Candidates
from wise_merge.search.best.result import Checked, Reading, Rival
from wise_merge.search.soup.greedy import Score, Step
from wise_merge.search.soup.plan import Plan
from wise_merge.search.soup.scores import Selection


@dataclass(frozen=True)
class Singles:
    """The checkpoints by themselves, on the half that selects.

    Attributes:
        scores: of each, in the order of the plan.
        order: their numbers, from the best to the worst.
        wanted: what was looked for there.
    """

    scores: tuple[Score, ...]
    order: tuple[int, ...]
    wanted: Selection

    @property
    def best(self) -> int:
        """The number of the best one, whether it meets the constraints or not."""
        return self.order[0]


@dataclass(frozen=True)
class ConfirmedSoup:
    """What `wise-merge soup` has found.

    Attributes:
        plan: of the soup.
        singles: see there.
        steps: that led to it, at least one.
        candidates: the soup and its rivals, with their figures on all problems.
        number: of the soup among them.
        reading: its values.
        rivals: it is compared with; none for what it is itself.
        ends: the numbers of the first and the last checkpoint of the run of the best one, whose mean is WiSE-FT here.
        checked: the constraints at the soup, on both halves.
    """

    plan: Plan
    singles: Singles
    steps: tuple[Step, ...]
    candidates: Candidates
    number: int
    reading: Reading
    rivals: tuple[Rival, ...]
    ends: tuple[int, int]
    checked: tuple[Checked, ...]

    @property
    def ingredients(self) -> tuple[int, ...]:
        """The numbers of the checkpoints in the soup, in the order in which they were kept."""
        return self.steps[-1].soup

    @property
    def selects(self) -> np.ndarray:
        """(P,) whether a problem is of the half that selects."""
        return self.singles.wanted.selects
