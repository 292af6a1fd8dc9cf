"""Which points get further samples: in rounds of doubling size, until an interval is narrow or a point is dominated.

What a round decides depends on the first n samples of each problem alone, so a sweep that was interrupted, or had
more samples from before, decides the same again.
"""

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from wise_merge.estimators.pass_at_k import pass_at_k_curves
from wise_merge.estimators.uncertainty import mean_interval
from wise_merge.results.summary import LEVEL

#: Samples per problem of the first of several rounds.
_FIRST = 4

_P = TypeVar("_P", bound=Hashable)


@dataclass(frozen=True)
class Standing:
    """Where a point stands after a round, over all tasks with equal weight.

    Attributes:
        pass_1: Pass@1.
        pass_n: Pass@n, n being the samples of the round.
        half_width: the widest half of a 95 % interval of Pass@1 among the tasks.
    """

    pass_1: float
    pass_n: float
    half_width: float


def sizes(samples: int, *, adaptive: bool) -> list[int]:
    """Return how many samples per problem a point has after each round: 4, 8, 16, ... and K, or K at once."""
    if not adaptive:
        return [samples]
    after_rounds = []
    n = _FIRST
    while n < samples:
        after_rounds.append(n)
        n *= 2
    return [*after_rounds, samples]


def standing(correct: Sequence[np.ndarray], n: int) -> Standing:
    """Return where a point stands.

    Args:
        correct: for each task, how many of the first n samples of each problem are correct, int [problems].
        n: samples per problem.
    """
    curves = [pass_at_k_curves(n, counts) for counts in correct]
    widths = []
    for curve in curves:
        low, high = mean_interval(curve[:, 0], n, rng=np.random.default_rng(0), level=LEVEL)
        # One problem gives no estimate of the variance between problems.
        widths.append(float(high - low) / 2 if len(curve) > 1 else np.inf)
    return Standing(
        float(np.mean([curve[:, 0].mean() for curve in curves])),
        float(np.mean([curve[:, -1].mean() for curve in curves])),
        max(widths),
    )


def narrow(standings: Mapping[_P, Standing], until: float) -> set[_P]:
    """Return the points whose interval is narrow enough."""
    return {point for point, one in standings.items() if one.half_width <= until}


def dominated(standings: Mapping[_P, Standing], keep: set[_P]) -> set[_P]:
    """Return the points to drop: half of all at most, the most often dominated first, and none that is not.

    A point is dominated by one that is better in Pass@1 and in Pass@n.

    Args:
        standings: of all points that are still sampled.
        keep: points that are never dropped.
    """
    worse_than = {
        point: sum(other.pass_1 > one.pass_1 and other.pass_n > one.pass_n for other in standings.values())
        for point, one in standings.items()
        if point not in keep
    }
    # The sort is stable: ties keep the order of the grid.
    worst = sorted((point for point, count in worse_than.items() if count), key=lambda point: -worse_than[point])
    return set(worst[: len(standings) // 2])
