"""What the selection half of the problems says of a model: its value, and how it meets the constraints."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from wise_merge.points import Outcome, Point, Results
from wise_merge.search.best.candidates import Candidates, find_candidates
from wise_merge.search.best.choice import task_weights
from wise_merge.search.best.objective import Constraint, Figure, Objective
from wise_merge.search.soup.greedy import Score


def measured(
    outcomes: Sequence[tuple[Point, Sequence[Outcome]]], tasks: Sequence[str], figures: Sequence[Figure]
) -> Candidates:
    """Return the figures of models on every problem.

    Args:
        outcomes: of each model, by task.
        tasks: their names.
        figures: that are needed.
    """
    points = tuple(point for point, _ in outcomes)
    found = tuple(one for _, some in outcomes for one in some)
    return find_candidates(Results(Path(), {}, 0, tuple(tasks), points, found), tasks, figures)


@dataclass(frozen=True)
class Selection:
    """What is wanted on the half that selects.

    Attributes:
        objective: that is maximised.
        constraints: that must hold.
        problems: (P) task and id of each.
        bars: right side of each constraint: a number, or what the best single checkpoint has there, plus the offset.
        selects: (P,) whether a problem is of that half.
    """

    objective: Objective
    constraints: tuple[Constraint, ...]
    problems: tuple[tuple[str, str], ...]
    bars: tuple[float, ...]
    selects: np.ndarray

    def score(self, model: Candidates) -> Score:
        """Return the score of a model that stands alone among its candidates."""
        margins = []
        for constraint, bar in zip(self.constraints, self.bars, strict=True):
            apart = mean(model, constraint.objective, self.selects) - bar
            margins.append(apart if constraint.at_least else -apart)
        return Score(mean(model, self.objective, self.selects), tuple(margins))


def selection(
    objective: Objective, constraints: Sequence[Constraint], best: Candidates, selects: np.ndarray
) -> Selection:
    """Return what is wanted, with the bars that the best single checkpoint sets."""
    bars = [one.offset + (0.0 if one.end is None else mean(best, one.objective, selects)) for one in constraints]
    return Selection(objective, tuple(constraints), best.problems, tuple(bars), selects)


def mean(model: Candidates, objective: Objective, selects: np.ndarray) -> float:
    """Return the value of a model that stands alone among its candidates: over the selecting problems, by task."""
    return float(model.value(objective)[0, selects] @ task_weights(model.tasks[selects]))
