"""What was chosen and what it is worth, as `table`, `recipe` and JSON show it."""

from dataclasses import dataclass

import numpy as np

from wise_merge.estimators.uncertainty import PairedDifference
from wise_merge.results.summary import Estimate
from wise_merge.search.best.candidates import Candidates
from wise_merge.search.best.choice import Choice
from wise_merge.search.best.objective import Constraint, Objective

#: The role of the best checkpoint that meets the constraints as it is.
UNMERGED = "best unmerged"


@dataclass(frozen=True)
class Reading:
    """A point's value on the half that selects, on the half that confirms, and on all problems."""

    selection: float
    confirmation: Estimate
    all_problems: Estimate


@dataclass(frozen=True)
class Rival:
    """What the chosen point is compared with; differences are the chosen point's value minus this one's.

    Attributes:
        roles: what it is: "late, same T" and "late, best T" (which is the best for late alone, of all temperatures, on
            the half that selects), likewise early, or where there is no alpha the name of each checkpoint, and
            `UNMERGED`; several if they are one point.
        candidate: its number.
        value: of the objective.
        meets: whether it meets all constraints on the half that selects.
        selection: difference there, which is too large if the winner was lucky.
        confirmation: difference on the other half.
        all_problems: difference on all problems, half as much too large.
        detectable: the smallest true difference that a test on the confirming half finds with 80 % power.
    """

    roles: tuple[str, ...]
    candidate: int
    value: Reading
    meets: bool
    selection: float
    confirmation: PairedDifference
    all_problems: float
    detectable: float


@dataclass(frozen=True)
class Checked:
    """A constraint at the chosen point, or at the nearest miss.

    Attributes:
        constraint: see there.
        end: the number of the candidate whose value is the bar (before the offset), None = the bar is a number.
        value: left side on the half that selects, and on the other.
        bar: right side, likewise.
        margin: value minus bar on the half that confirms.
        holds: whether it is met on the half that confirms.
    """

    constraint: Constraint
    end: int | None
    value: tuple[float, float]
    bar: tuple[float, float]
    margin: PairedDifference
    holds: bool


@dataclass(frozen=True)
class ConfirmedChoice:
    """What `wise-merge best` has found.

    Attributes:
        objective: what is maximised.
        constraints: what must hold.
        seed: of the halves, and of every bootstrap and test.
        reference_temperature: at which early and late are the bars of constraints; None if no bar is an end.
        candidates: among which was chosen.
        unmeasured: the numbers of those that cannot be chosen, as the bar of a constraint has not been sampled.
        selects: (P,) whether a problem is of the half that selects.
        choice: made there.
        chosen: the value of the winner; None without one.
        rivals: it is compared with.
        checked: the constraints at the winner, or without one at the nearest miss.
        same: in how many of `resamples` resamples of the selecting half the same point would have been chosen.
        near: the same, or one of the same checkpoints at most a step of the grid away, in alpha and in each coordinate
            (or where nothing is varied, the same model), at any temperature.
        none: in how many no point meets the constraints.
        resamples: how many there are.
    """

    objective: Objective
    constraints: tuple[Constraint, ...]
    seed: int
    reference_temperature: float | None
    candidates: Candidates
    unmeasured: tuple[int, ...]
    selects: np.ndarray
    choice: Choice
    chosen: Reading | None
    rivals: tuple[Rival, ...]
    checked: tuple[Checked, ...]
    same: int
    near: int
    none: int
    resamples: int
