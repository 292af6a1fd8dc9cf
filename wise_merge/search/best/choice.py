"""Choosing on one half of the problems, so that the other half can say what the choice is worth.

The largest of many noisy figures is biased upwards (the winner's curse); the same point's figure on other problems is
not. Pure functions on arrays: C candidates, P problems, J constraints.
"""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from wise_merge.errors import WiseMergeError

#: Values closer than this are equal: sums in another order differ by rounding.
ROUNDING = 1e-12


@dataclass(frozen=True)
class Choice:
    """What was chosen.

    Attributes:
        winner: the candidate with the largest value among those that meet all constraints; None = none does.
        nearest: the candidate whose worst margin is the largest, which is the nearest miss if there is no winner.
        values: (C,) of the objective.
        margins: (J, C) by which constraints are met; negative = not met.
        meets: (C,) whether all constraints are met.
    """

    winner: int | None
    nearest: int
    values: np.ndarray
    margins: np.ndarray
    meets: np.ndarray


def halves(problems: Sequence[tuple[str, str]], seed: int) -> np.ndarray:
    """Return (P,) bool: True = this problem selects, False = it confirms.

    Each task is cut in two by a hash of seed, task and id, so their order does not matter; of an odd number the odd
    one confirms.

    Args:
        problems: task and id of each.
        seed: of the hash.
    """
    selects = np.zeros(len(problems), dtype=bool)
    for task in dict.fromkeys(task for task, _ in problems):
        members = [i for i, problem in enumerate(problems) if problem[0] == task]
        if len(members) < 4:
            raise WiseMergeError(
                f"two halves of the problems need at least 4 problems; task {task} has {len(members)}, so sample more "
                "of it or leave it out by --tasks"
            )
        members.sort(key=lambda i: hashlib.sha256(json.dumps([seed, *problems[i]]).encode()).digest())
        selects[members[: len(members) // 2]] = True
    return selects


def task_weights(tasks: np.ndarray) -> np.ndarray:
    """Return (P,) weights that sum to 1, as much for every task; `tasks` has the task of each problem."""
    _, task, counts = np.unique(tasks, return_inverse=True, return_counts=True)
    return np.asarray(1 / (len(counts) * counts[task]))


def choose(objective: np.ndarray, margins: np.ndarray, weights: np.ndarray, electable: np.ndarray) -> Choice:
    """Return the best candidate; of equal ones the first.

    Args:
        objective: (C, P) value of each candidate on each problem.
        margins: (J, C, P) by which each constraint is met on each problem; its mean must not be below 0.
        weights: (P,) of the problems, summing to 1.
        electable: (C,) bool, at least one: whether a candidate may be chosen at all.
    """
    values, means = objective @ weights, margins @ weights
    worst = np.where(electable, means.min(axis=0, initial=np.inf), -np.inf)
    meets = worst >= -ROUNDING
    best = _first_of_largest(np.where(meets, values, -np.inf)[None])[0]
    # Of equally near ones the best.
    near = worst >= worst.max() - ROUNDING
    nearest = _first_of_largest(np.where(near, values, -np.inf)[None])[0]
    return Choice(int(best) if meets.any() else None, int(nearest), values, means, meets)


def wins(
    objective: np.ndarray,
    margins: np.ndarray,
    tasks: np.ndarray,
    electable: np.ndarray,
    *,
    rng: np.random.Generator,
    resamples: int = 200,
) -> np.ndarray:
    """Return (C,) integers: in how many bootstrap resamples of the problems each candidate would be chosen.

    Problems are drawn with replacement within their tasks. The sum falls short of `resamples` by those in which no
    candidate meets all constraints. For the arguments see `choose`; `tasks` has the task of each problem.
    """
    weights = np.empty((resamples, len(tasks)))
    names = np.unique(tasks)
    for task in names:
        members = tasks == task
        count = int(members.sum())
        drawn = rng.multinomial(count, np.full(count, 1 / count), resamples)
        weights[:, members] = drawn / (count * len(names))
    meets = np.tile(electable, (resamples, 1))
    for margin in margins:
        meets &= weights @ margin.T >= -ROUNDING
    chosen = _first_of_largest(np.where(meets, weights @ objective.T, -np.inf))
    return np.bincount(chosen[meets.any(axis=1)], minlength=len(objective))


def _first_of_largest(values: np.ndarray) -> np.ndarray:
    """Return of each row the first column that has its largest value, but for rounding."""
    return np.asarray(np.argmax(values >= values.max(axis=1, keepdims=True) - ROUNDING, axis=1))
