"""Which points get further samples: against counting by hand, and what may never happen."""

import itertools
import random
from collections import Counter

import numpy as np
import pytest

from wise_merge.search.sweep.rounds import Standing, dominated, narrow, sizes, standing


@pytest.mark.parametrize("samples", range(1, 200))
def test_rounds_double_and_end_in_all_samples(samples):
    """4, 8, 16, ... while that is less than K, then K; K at once where nothing is decided on the way."""
    found = sizes(samples, adaptive=True)
    assert found[-1] == samples
    assert found[:-1] == [4 * 2**number for number in range(len(found) - 1)]
    assert all(first < second <= 2 * first for first, second in itertools.pairwise(found))
    assert len(found) == 1 or found[0] == 4
    assert sizes(samples, adaptive=False) == [samples]


def test_a_standing_is_what_counting_gives():
    """Pass@1 and Pass@n of each task by drawing every subset, then the mean over tasks of however many problems."""
    n = 4
    tasks = [[0, 2, 4], [1, 3]]

    def by_counting(counts, k):
        draws = [list(itertools.combinations([1] * c + [0] * (n - c), k)) for c in counts]
        return sum(sum(map(any, some)) / len(some) for some in draws) / len(counts)

    found = standing([np.array(counts) for counts in tasks], n)
    assert found.pass_1 == pytest.approx(sum(by_counting(counts, 1) for counts in tasks) / 2)
    assert found.pass_n == pytest.approx(sum(by_counting(counts, n) for counts in tasks) / 2)
    assert (found.pass_1, found.pass_n) == (pytest.approx(0.5), pytest.approx(5 / 6))


def test_the_width_is_that_of_the_interval_of_the_least_certain_task():
    """Wilson's for verdicts on one sample, from its closed form; from one problem, nothing is known of others."""

    def wilson(successes, trials):
        z = 1.959963984540054
        share = successes / trials
        return z / (1 + z**2 / trials) * np.sqrt(share * (1 - share) / trials + z**2 / (4 * trials**2))

    few, many = np.array([1] * 3 + [0] * 7), np.array([1] * 30 + [0] * 70)
    assert standing([few], 1).half_width == pytest.approx(wilson(3, 10), rel=1e-6)
    assert standing([many], 1).half_width == pytest.approx(wilson(30, 100), rel=1e-6)
    assert standing([many, few], 1).half_width == standing([few], 1).half_width
    assert standing([np.array([2])], 4).half_width == np.inf
    # Rates that happen to be equal are no surer than as many tosses of a coin, and nothing solved is no certainty.
    assert standing([np.full(10, 2)], 4).half_width == pytest.approx(wilson(20, 40), rel=1e-6)
    assert not narrow({"equal": standing([np.full(10, 2)], 4)}, 0.14)
    assert narrow({"equal": standing([np.full(1000, 2)], 4)}, 0.02)
    assert standing([np.zeros(10, int)], 4).half_width > 0.1


def test_points_are_narrow_up_to_and_with_the_given_width():
    """And the others are not."""
    standings = {"a": Standing(0.5, 0.5, 0.02), "b": Standing(0.5, 0.5, 0.0201), "c": Standing(0.5, 0.5, np.inf)}
    assert narrow(standings, 0.02) == {"a"}
    assert narrow(standings, 0.01) == set()


def grid(seed, *, levels=8):
    """Standings in which ties are frequent, as they are with few problems."""
    draw = random.Random(seed)
    points = {
        number: Standing(draw.randrange(levels) / levels, draw.randrange(levels) / levels, 0.1)
        for number in range(draw.randrange(1, 24))
    }
    return points, {point for point in points if draw.random() < 0.25}, draw


def worse_than(standings, point):
    one = standings[point]
    return sum(other.pass_1 > one.pass_1 and other.pass_n > one.pass_n for other in standings.values())


@pytest.mark.parametrize("seed", range(100))
def test_only_dominated_points_are_dropped_and_half_at_most(seed):
    """None that nobody dominates, none that is to be kept, and those that most others dominate before all others."""
    standings, keep, _ = grid(seed)
    dropped = dominated(standings, keep)
    assert dropped.isdisjoint(keep)
    assert len(dropped) <= len(standings) // 2
    assert all(worse_than(standings, point) for point in dropped)
    may = [point for point in standings if point not in keep and worse_than(standings, point)]
    assert len(dropped) == min(len(may), len(standings) // 2)
    stayed = [worse_than(standings, point) for point in may if point not in dropped]
    assert not stayed or min(worse_than(standings, point) for point in dropped) >= max(stayed)


@pytest.mark.parametrize("seed", range(100))
def test_the_order_of_points_decides_ties_alone(seed):
    """However the points are ordered, equally many are dropped of each number of better ones."""
    standings, keep, draw = grid(seed)
    shuffled = dict(draw.sample(list(standings.items()), len(standings)))
    first, second = dominated(standings, keep), dominated(shuffled, keep)
    assert Counter(worse_than(standings, point) for point in first) == Counter(
        worse_than(standings, point) for point in second
    )
    assert dominated(standings, keep) == first


def test_the_best_point_in_either_figure_stays():
    """A point is dropped if one is better in both; equal in one is not better. A hand-made case of five."""
    standings = {
        "best at 1": Standing(0.6, 0.7, 0.1),
        "best at n": Standing(0.4, 0.9, 0.1),
        "as good at 1": Standing(0.6, 0.6, 0.1),
        "worse": Standing(0.3, 0.6, 0.1),
        "worst": Standing(0.1, 0.1, 0.1),
    }
    assert dominated(standings, set()) == {"worse", "worst"}
    assert dominated(standings, {"worst"}) == {"worse"}
    assert dominated({"alone": standings["worst"]}, set()) == set()
