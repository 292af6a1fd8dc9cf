"""Choosing on one half and confirming on the other, on simulated sweeps: the winner's curse is there, and removed."""

import itertools

import numpy as np
import pytest

from wise_merge.errors import WiseMergeError
from wise_merge.search.best.choice import choose, halves, task_weights, wins
from wise_merge.search.best.confirmation import difference, estimate

SWEEPS, CANDIDATES, PROBLEMS, SAMPLES = 200, 30, 120, 4


def everybody(objective):
    return np.ones(len(objective), dtype=bool)


def without_constraints(objective):
    return np.empty((0, *objective.shape))


def problems_of(*counts):
    return [(f"task{task}", str(i)) for task, count in enumerate(counts) for i in range(count)]


@pytest.fixture(scope="module")
def null_sweeps():
    """Of many sweeps whose points are equally good: winner minus candidate 0 on both halves, and the p-values."""
    rng = np.random.default_rng(0)
    selects = halves(problems_of(PROBLEMS), 0)
    tasks = np.zeros(PROBLEMS)
    chosen, confirmed, p = [], [], []
    for _ in range(SWEEPS):
        rho = rng.beta(0.5, 0.5, PROBLEMS)
        values = rng.binomial(SAMPLES, rho, (CANDIDATES, PROBLEMS)) / SAMPLES
        weights = task_weights(tasks[selects])
        found = choose(values[:, selects], without_constraints(values)[:, :, selects], weights, everybody(values))
        late, winner = values[0], values[found.winner]
        chosen.append((winner - late)[selects].mean())
        if found.winner:
            test = difference(late[~selects], winner[~selects], tasks[~selects], seed=0, resamples=500)
            confirmed.append(test.difference)
            p.append(test.p_value)
    return np.array(chosen), np.array(confirmed), np.array(p)


def test_equal_points_differ_on_the_selection_half(null_sweeps):
    """The best of 30 equal points seems better than another on the problems it was chosen on: the winner's curse."""
    chosen, _, _ = null_sweeps
    assert chosen.mean() > 20 * chosen.std() / np.sqrt(SWEEPS)
    assert chosen.mean() > 0.04


def test_equal_points_do_not_differ_on_the_confirmation_half(null_sweeps):
    """There the winner's advantage is centred on 0, within three standard errors over sweeps."""
    _, confirmed, _ = null_sweeps
    assert len(confirmed) > 0.9 * SWEEPS
    assert abs(confirmed.mean()) < 3 * confirmed.std(ddof=1) / np.sqrt(len(confirmed))


def test_the_test_on_the_confirmation_half_keeps_its_level(null_sweeps):
    """Equal points are called different in no more than 5 % of sweeps, give or take three standard errors."""
    _, _, p = null_sweeps
    assert (p < 0.05).mean() <= 0.05 + 3 * np.sqrt(0.05 * 0.95 / len(p))
    # And p-values are no higher than they must be.
    assert (p < 0.5).mean() >= 0.5 - 3 * np.sqrt(0.25 / len(p)) - 0.02


def test_a_planted_best_point_is_found_and_confirmed():
    """One point that is better on every problem wins, and the confirmed difference is about what was planted."""
    rng = np.random.default_rng(1)
    rho = rng.uniform(0.2, 0.6, 400)
    better = np.zeros((CANDIDATES, 1))
    better[17] = 0.15
    values = rng.binomial(16, rho + better, (CANDIDATES, 400)) / 16
    selects, tasks = halves(problems_of(400), 0), np.zeros(400)
    found = choose(
        values[:, selects], without_constraints(values[:, selects]), task_weights(tasks[selects]), everybody(values)
    )
    assert found.winner == 17
    test = difference(values[0, ~selects], values[17, ~selects], tasks[~selects], seed=0)
    assert abs(test.difference - 0.15) < 3 * test.standard_error
    assert test.low > 0
    assert test.p_value < 0.001
    counts = wins(
        values[:, selects],
        without_constraints(values[:, selects]),
        tasks[selects],
        everybody(values),
        rng=np.random.default_rng(0),
    )
    assert counts[17] == counts.sum() == 200


def test_halves_are_equal_and_the_same_whatever_the_order():
    """Each task is cut in two; a problem's half depends on seed, task and id alone."""
    problems = problems_of(10, 7)
    selects = halves(problems, 0)
    assert (selects[:10].sum(), selects[10:].sum()) == (5, 3)
    mixed = np.random.default_rng(0).permutation(17)
    assert (halves([problems[i] for i in mixed], 0) == selects[mixed]).all()
    assert any((halves(problems, seed) != selects).any() for seed in (1, 2))
    assert (halves(problems, 0)[:7] != halves([("other", id) for _, id in problems[:10]], 0)[:7]).any()


def test_every_problem_selects_about_as_often_as_it_confirms():
    """Over seeds, no problem has a half of its own."""
    often = np.mean([halves(problems_of(20), seed) for seed in range(400)], axis=0)
    assert (abs(often - 0.5) < 4 * 0.5 / np.sqrt(400)).all()


def test_three_problems_have_no_halves():
    """A half of one problem has no standard error."""
    with pytest.raises(WiseMergeError, match="task task1 has 3"):
        halves(problems_of(4, 3), 0)


def test_the_best_of_those_that_meet_the_constraints_is_chosen():
    """By hand: the best point fails a constraint in the mean, the next meets it with nothing to spare."""
    objective = np.array([[0.9, 0.9], [0.6, 0.8], [0.5, 0.5]])
    margins = np.array([[[0.3, -0.4], [0.1, -0.1], [1.0, 1.0]]])
    found = choose(objective, margins, np.array([0.5, 0.5]), np.array([True, True, True]))
    assert found.winner == 1
    assert found.meets.tolist() == [False, True, True]
    assert found.values == pytest.approx([0.9, 0.7, 0.5])
    assert found.margins == pytest.approx(np.array([[-0.05, 0.0, 1.0]]))


def test_the_nearest_miss_is_the_one_with_the_smallest_worst_shortfall():
    """Without a winner; of equally near points the one with the larger objective."""
    objective = np.array([[0.9], [0.2], [0.3]])
    margins = np.array([[[-0.3], [0.5], [-0.1]], [[0.1], [-0.1], [-0.1]]])
    found = choose(objective, margins, np.ones(1), np.ones(3, dtype=bool))
    assert (found.winner, found.nearest) == (None, 2)


def test_a_point_that_cannot_be_measured_is_not_chosen():
    """Neither as winner nor as nearest miss nor in a resample."""
    objective, margins = np.array([[0.9] * 4, [0.2] * 4]), np.full((1, 2, 4), -1.0)
    electable = np.array([False, True])
    assert choose(objective, margins, np.full(4, 0.25), electable).nearest == 1
    assert choose(objective, -margins, np.full(4, 0.25), electable).winner == 1
    drawn = wins(objective, -margins, np.zeros(4), electable, rng=np.random.default_rng(0))
    assert drawn.tolist() == [0, 200]


def test_equal_points_are_chosen_in_their_order_despite_rounding():
    """0.1 + 0.2 is 0.3: sums in another order do not decide."""
    objective = np.array([[0.3, 0.0], [0.1, 0.2]])
    assert (objective @ np.ones(2)).argmax() == 1
    assert choose(objective, without_constraints(objective), np.ones(2), np.ones(2, dtype=bool)).winner == 0


def test_the_bootstrap_counts_every_way_to_draw():
    """Two problems, of which one favours each point: the four equally likely draws say how often each wins."""
    objective = np.array([[1.0, 0.0], [0.0, 0.9]])
    # By hand: (0, 0), (0, 1) and (1, 0) choose the first point, (1, 1) the second.
    expected = sum(np.argmax(objective[:, list(draw)].mean(axis=1)) for draw in itertools.product((0, 1), repeat=2)) / 4
    counts = wins(
        objective,
        without_constraints(objective),
        np.zeros(2),
        everybody(objective),
        rng=np.random.default_rng(0),
        resamples=4000,
    )
    assert counts.sum() == 4000
    assert abs(counts[1] / 4000 - expected) < 4 * np.sqrt(expected * (1 - expected) / 4000)


def test_resamples_without_a_feasible_point_are_counted_by_nobody():
    """A constraint that holds only if the first of two problems is drawn twice or once fails in a quarter."""
    objective, margins = np.ones((1, 2)), np.array([[[1.0, -1.0]]])
    counts = wins(objective, margins, np.zeros(2), np.ones(1, dtype=bool), rng=np.random.default_rng(0), resamples=4000)
    assert abs(counts.sum() / 4000 - 0.75) < 4 * np.sqrt(0.75 * 0.25 / 4000)


def test_tasks_count_alike():
    """The mean over tasks, each the mean over its problems, whatever their numbers."""
    tasks = np.array(["a"] * 30 + ["b"] * 6)
    values = np.random.default_rng(0).random(36)
    expected = (values[:30].mean() + values[30:].mean()) / 2
    assert values @ task_weights(tasks) == pytest.approx(expected)
    assert estimate(values, 8, tasks, seed=0).value == pytest.approx(expected)
    assert difference(np.zeros(36), values, tasks, seed=0, resamples=100).difference == pytest.approx(expected)


def test_the_standard_error_is_that_within_tasks():
    """How far tasks lie apart is no uncertainty: the closed form of a stratified mean, and the bootstrap's interval."""
    rng = np.random.default_rng(0)
    tasks = np.array(["a"] * 200 + ["b"] * 50)
    values = np.where(tasks == "a", 0.1, 0.8) + 0.1 * rng.normal(size=250)
    expected = np.sqrt(sum(values[tasks == task].var() / (tasks == task).sum() for task in "ab")) / 2
    found = estimate(values, 8, tasks, seed=0)
    assert found.standard_error == pytest.approx(expected, rel=0.01)  # n - 1 is counted once, not per task
    apart = difference(np.zeros(250), values, tasks, seed=0)
    assert apart.standard_error == pytest.approx(expected, rel=0.01)
    # A normal interval, within the noise of 10,000 resamples.
    assert (apart.high - apart.low) / (2 * 1.96 * expected) == pytest.approx(1, abs=0.05)
    # The negative control: problems thrown together would seem far less sure.
    assert np.std(values) / np.sqrt(250) > 2 * expected


def test_rates_that_happen_to_be_equal_are_not_certainty():
    """A mean of two tasks varies as the mean of two coins' shares, each from as many tosses as the task has samples."""
    tasks = np.array(["a"] * 30 + ["b"] * 6)
    found = estimate(np.full(36, 0.5), 4, tasks, seed=0)
    z2, variance = 1.959963984540054**2, (1 / (30 * 4) + 1 / (6 * 4)) / 4
    assert (found.value - found.low) ** 2 == pytest.approx(z2 * found.low * (1 - found.low) * variance)
    # Of one task that is Wilson's interval of 144 tosses.
    alone = estimate(np.full(36, 0.5), 4, np.array(["a"] * 36), seed=0)
    assert (alone.value - alone.low) ** 2 == pytest.approx(z2 * alone.low * (1 - alone.low) / 144)
