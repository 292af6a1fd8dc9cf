"""Standard errors, intervals and tests over problems, against closed forms and simulation."""

import itertools
from math import comb

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from wise_merge.errors import WiseMergeError
from wise_merge.estimators.best_at_k import best_at_k_curves
from wise_merge.estimators.uncertainty import (
    bootstrap_interval,
    interval_of_mean,
    mean_interval,
    minimum_detectable_effect,
    paired_difference,
    standard_error,
    wilson_interval,
)


def test_the_standard_error_is_that_of_the_mean_over_problems():
    """Values 1 and 0: standard deviation 0.7071 over the root of two."""
    assert standard_error(np.array([1.0, 0.0])) == pytest.approx(0.5)
    columns = np.array([[1.0, 0.2], [0.0, 0.2]])
    assert standard_error(columns) == pytest.approx([0.5, 0.0])
    assert np.isnan(standard_error(np.array([1.0])))


def test_wilsons_interval_has_its_published_values():
    """Against the score equation it solves: the ends are where |share - p| = z sqrt(p (1 - p) / n)."""
    z = 1.959963984540054
    for successes, trials in [(1, 10), (5, 10), (150, 1319), (9, 10)]:
        for p in wilson_interval(successes, trials):
            assert abs(successes / trials - p) == pytest.approx(z * (p * (1 - p) / trials) ** 0.5)
    assert wilson_interval(0, 30) == pytest.approx((0.0, z**2 / (30 + z**2)))
    assert wilson_interval(30, 30) == pytest.approx((30 / (30 + z**2), 1.0))


def test_the_bootstrap_agrees_with_the_normal_interval_of_many_problems():
    """500 problems: half the width is 1.96 standard errors, to the noise of the resampling."""
    rng = np.random.default_rng(0)
    values = rng.beta(0.5, 0.5, (500, 2))
    low, high = bootstrap_interval(values, rng=rng, resamples=20_000)
    assert (high - low) / 2 == pytest.approx(1.96 * standard_error(values), rel=0.03)
    assert (high + low) / 2 == pytest.approx(values.mean(axis=0), abs=2e-3)


@pytest.mark.parametrize("rate", [0.5, 0.05])
def test_intervals_of_single_verdicts_cover_the_truth_as_often_as_they_say(rate):
    """60 problems: an interval holds the rate wherever the score test does not reject it, which is 95 % in all."""
    chances = [comb(60, c) * rate**c * (1 - rate) ** (60 - c) for c in range(61)]
    not_rejected = [abs(c - 60 * rate) <= 1.959963984540054 * (60 * rate * (1 - rate)) ** 0.5 for c in range(61)]
    covered = []
    for c in range(61):
        low, high = wilson_interval(c, 60)
        covered.append(low <= rate <= high)
    assert covered == not_rejected
    # As near as the shares of 60 allow.
    assert sum(itertools.compress(chances, covered)) == pytest.approx(0.95, abs=0.03)


@pytest.mark.parametrize(
    ("truth", "draw"),
    [(1 / 3, lambda rng: rng.beta(0.3, 0.6, 60)), (0.05, lambda rng: rng.random(60) * (rng.random(60) < 0.1))],
    ids=["bimodal", "nine of ten never solved"],
)
def test_intervals_of_rates_cover_the_truth(truth, draw):
    """Of 60 problems, 1000 times: close to the 95 % they say, and never less often than the percentile bootstrap."""
    rng = np.random.default_rng(2)
    covered, by_bootstrap = 0, 0
    for _ in range(1000):
        values = draw(rng)
        low, high = mean_interval(values, 1000, rng=rng)
        covered += low <= truth <= high
        low, high = bootstrap_interval(values, rng=rng, resamples=300)
        by_bootstrap += low <= truth <= high
    assert covered >= by_bootstrap
    assert 0.92 <= covered / 1000 <= 0.975


def test_no_success_at_all_is_not_certainty():
    """Thirty problems, none solved: resampling would say [0, 0]. One problem says nothing about others."""
    rng = np.random.default_rng(0)
    low, high = mean_interval(np.column_stack([np.zeros(30), np.linspace(0, 1, 30)]), 1, rng=rng)
    assert low[0] == 0
    assert high[0] == pytest.approx(wilson_interval(0, 30)[1])
    assert low[1] < 0.5 < high[1]
    assert np.isnan(mean_interval(np.array([0.5]), 100, rng=rng)).all()


@pytest.mark.parametrize("n", [1, 8])
def test_mean_and_standard_error_are_enough_for_the_interval(n):
    """Rates, single verdicts, all right and all wrong: as from the values themselves; of a single problem neither."""
    rng = np.random.default_rng(3)
    rates = rng.binomial(n, rng.beta(0.5, 0.5, 40)) / n
    for values in (rates, np.ones(40), np.zeros(40), np.full(40, 1 / n if n > 1 else 1.0), rates[:1]):
        expected = mean_interval(values, n, rng=rng)
        found = interval_of_mean(float(values.mean()), float(standard_error(values)), len(values), n=n)
        assert found == pytest.approx(tuple(map(float, expected)), abs=1e-9, nan_ok=True)


def test_a_mean_of_other_values_has_the_normal_interval():
    """Beyond [0, 1], and where no values within it could vary so much; unknown without a standard error."""
    for mean in (25.0, 0.5, -0.1):
        assert interval_of_mean(mean, 2.0, 100) == pytest.approx((mean - 3.92, mean + 3.92), abs=0.001)
    assert all(np.isnan(interval_of_mean(0.5, np.nan, 100)))


def test_the_interval_of_verdicts_is_wilsons_own():
    """0/1 values, and continuously so: a value that is almost 1 changes almost nothing."""
    rng = np.random.default_rng(0)
    values = np.array([1.0] * 7 + [0.0] * 13)
    assert mean_interval(values, 1, rng=rng) == pytest.approx(wilson_interval(7, 20))
    values[0] -= 1e-9
    assert mean_interval(values, 4, rng=rng) == pytest.approx(wilson_interval(7, 20), abs=1e-8)


def test_values_that_happen_to_be_equal_are_not_certainty():
    """Ten problems with 2 of 4 right are no surer than 40 tosses with 20 heads: that is Wilson's interval."""
    rng = np.random.default_rng(0)
    assert mean_interval(np.full(10, 0.5), 4, rng=rng) == pytest.approx(wilson_interval(20, 40))
    # Equal but for rounding, and nearly so.
    assert mean_interval(0.5 + 1e-17 * np.arange(10), 4, rng=rng) == pytest.approx(wilson_interval(20, 40))
    assert mean_interval(0.5 + 1e-3 * np.arange(-5, 5), 4, rng=rng) == pytest.approx(wilson_interval(20, 40), abs=1e-3)
    # The negative control: where problems differ more than coins do, the number of samples says nothing.
    apart = np.array([0.0, 1.0] * 5)
    assert mean_interval(apart, 4, rng=rng) == pytest.approx(wilson_interval(5, 10))
    assert mean_interval(apart, 1000, rng=rng) == pytest.approx(wilson_interval(5, 10))


def test_where_n_differs_a_problem_of_few_samples_counts_as_one_of_few():
    """A mean of two rates from 1 and 999 samples varies as if there were 4: p (1 - p) (1 + 1/999) / 4."""
    low, high = mean_interval(np.array([0.5, 0.5]), np.array([1, 999]), rng=np.random.default_rng(0))
    trials, z2 = 4 / (1 + 1 / 999), 1.959963984540054**2
    assert abs(0.5 - low) == pytest.approx(abs(high - 0.5))
    assert (0.5 - low) ** 2 == pytest.approx(z2 * low * (1 - low) / trials)  # Wilson's equation
    with pytest.raises(WiseMergeError, match="n = 0"):
        mean_interval(np.array([0.5, 0.5]), np.array([1, 0]), rng=np.random.default_rng(0))


@pytest.mark.parametrize(
    ("problems", "n", "rate"), [(2, 4, 0.5), (5, 4, 0.3), (10, 16, 0.5), (30, 8, 0.9), (3, 64, 0.2)]
)
def test_intervals_of_problems_that_are_equally_hard_cover_the_truth(problems, n, rate):
    """Rates that are equal in truth often are in the samples: Pass@1, Pass@2 and pass^2 of 1000 draws.

    Never less than 90 % of them; with the spread of the rates alone it was 75 %, by intervals of no width among others.
    """
    rng = np.random.default_rng(6)
    truths = {"pass@1": rate, "pass@2": 1 - (1 - rate) ** 2, "pass^2": rate**2}
    covered = dict.fromkeys(truths, 0)
    for _ in range(1000):
        c = rng.binomial(n, rate, problems)
        # By counting: one sample, or a pair of different ones, drawn at random.
        pair = n * (n - 1)
        values = {"pass@1": c / n, "pass@2": 1 - (n - c) * (n - c - 1) / pair, "pass^2": c * (c - 1) / pair}
        for name, truth in truths.items():
            low, high = mean_interval(values[name], n, rng=rng)
            assert high - low > 1e-3
            covered[name] += low <= truth <= high
    assert all(count >= 900 for count in covered.values()), covered


@given(
    st.lists(st.tuples(st.integers(1, 12), st.integers(0, 12)).map(lambda pair: (pair[0], min(pair))), min_size=2),
    st.randoms(),
)
def test_no_interval_of_several_problems_has_no_width(counts, random):
    """However the samples fell, and in whatever order problems stand; all the width of the bound or more."""
    rng = np.random.default_rng(0)
    n, c = np.array(counts).T
    low, high = mean_interval(c / n, n, rng=rng)
    assert 0 <= low <= (c / n).mean() <= high <= 1
    z2 = 1.959963984540054**2
    # The narrowest of Wilson's intervals is that at a share of 0 or 1.
    assert high - low >= z2 / (n.sum() + z2) * (1 - 1e-9)
    shuffled = np.array(random.sample(counts, len(counts))).T
    again = mean_interval(shuffled[1] / shuffled[0], shuffled[0], rng=rng)
    assert (float(again[0]), float(again[1])) == pytest.approx((float(low), float(high)))


def test_a_sum_of_probabilities_that_rounds_above_one_gets_wilsons_interval():
    """Best@k of a problem without a wrong sample is 1 + 7e-16 at n = 100: no reason for another kind of interval."""
    values = best_at_k_curves(np.random.default_rng(0).random((50, 100)), np.arange(50)[:, None] < np.full(100, 40))
    assert values.max() > 1
    low, high = mean_interval(values, 100, rng=np.random.default_rng(1))
    assert low == pytest.approx(np.full(100, wilson_interval(40, 50)[0]))
    assert high == pytest.approx(np.full(100, wilson_interval(40, 50)[1]))


def test_values_beyond_one_get_the_bootstrap():
    """Cosine distances reach 2."""
    values = np.random.default_rng(0).uniform(0.5, 1.5, 200)
    low, high = mean_interval(values, 4, rng=np.random.default_rng(1))
    assert (low, high) == bootstrap_interval(values, rng=np.random.default_rng(1))
    assert low < values.mean() < high
    # Drawn again, equal values say nothing; NaN and not certainty.
    assert np.isnan(mean_interval(np.full(5, 1.5), 4, rng=np.random.default_rng(1))).all()


def test_the_permutation_test_is_the_share_of_sign_flips():
    """Eight problems: all 256 flips counted one by one."""
    first = np.array([0.1, 0.4, 0.2, 0.9, 0.5, 0.3, 0.7, 0.6])
    second = first + np.array([0.3, 0.1, -0.05, 0.05, 0.2, 0.15, -0.1, 0.25])
    result = paired_difference(first, second, rng=np.random.default_rng(0), resamples=40_000)
    d = second - first
    flips = [abs(np.dot(signs, d)) for signs in itertools.product((1, -1), repeat=8)]
    exact = np.mean([flip >= abs(d.sum()) - 1e-12 for flip in flips])
    assert result.p_value == pytest.approx(exact, abs=0.006)
    assert result.difference == pytest.approx(d.mean())
    assert result.standard_error == pytest.approx(d.std(ddof=1) / 8**0.5)
    assert result.low < d.mean() < result.high


def test_two_equal_models_do_not_differ():
    """Without any difference p is 1; with none on average it is spread evenly over [0, 1]."""
    rng = np.random.default_rng(3)
    values = rng.random(20)
    same = paired_difference(values, values, rng=rng, resamples=100)
    assert (same.difference, same.low, same.high, same.p_value) == (0.0, 0.0, 0.0, 1.0)
    p = [paired_difference(rng.random(25), rng.random(25), rng=rng, resamples=200).p_value for _ in range(300)]
    assert np.mean(np.array(p) < 0.2) == pytest.approx(0.2, abs=0.08)


def test_one_pair_tells_nothing_of_others_and_neither_do_equal_differences():
    """The bootstrap would draw the same again and say [d, d]; unless the models are equal on several problems."""
    rng = np.random.default_rng(0)
    for first, second in (([0.5], [0.75]), ([0.5], [0.5]), ([0.1, 0.3, 0.6], [0.2, 0.4, 0.7])):
        found = paired_difference(np.array(first), np.array(second), rng=rng, resamples=100)
        assert np.isnan([found.low, found.high]).all()
        assert found.difference == pytest.approx(second[0] - first[0])
    assert paired_difference(np.array([0.5]), np.array([0.75]), rng=rng, resamples=100).p_value == 1


def test_swapping_the_models_turns_the_sign():
    """The p-value stays, up to the noise of its tosses."""
    rng = np.random.default_rng(4)
    a, b = rng.random(40), rng.random(40) + 0.1
    there, back = (paired_difference(*pair, rng=np.random.default_rng(5)) for pair in ((a, b), (b, a)))
    assert there.difference == -back.difference
    assert there.p_value == pytest.approx(back.p_value, abs=0.02)


def test_the_minimum_detectable_effect_is_found_as_often_as_it_says():
    """A difference of 2.8 standard errors is significant at 5 % in 80 % of experiments."""
    assert minimum_detectable_effect(1.0) == pytest.approx(2.8016, abs=1e-4)
    rng = np.random.default_rng(0)
    found = np.abs(rng.normal(minimum_detectable_effect(1.0), 1.0, 100_000)) > 1.96
    assert found.mean() == pytest.approx(0.8, abs=0.005)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda rng: standard_error(np.array([])), "at least one problem"),
        (lambda rng: standard_error(np.array([0.1, np.nan])), "NaN"),
        (lambda rng: wilson_interval(3, 2), "3 of 2"),
        (lambda rng: bootstrap_interval(np.array([1.0]), rng=rng, level=95), r"\(0, 1\)"),
        (lambda rng: paired_difference(np.zeros(3), np.zeros(2), rng=rng), r"got shapes \(3,\) and \(2,\)"),
    ],
)
def test_what_has_no_uncertainty_is_refused(call, message):
    """One line that says why."""
    with pytest.raises(WiseMergeError, match=message):
        call(np.random.default_rng(0))
