"""Bias and variance of Pass@1, and the bound on Pass@k that follows."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from wise_merge.errors import WiseMergeError
from wise_merge.estimators.bias_variance import (
    bias_and_variance,
    pass_at_k_bound,
    rate_histogram,
    variance_interval,
)


def test_the_variance_is_that_of_the_rates_and_not_of_the_sampling():
    """Over many draws of few samples the mean estimate is the true variance; that of c / n is not."""
    rng = np.random.default_rng(0)
    n, estimates, naive = 4, [], []
    for _ in range(4000):
        rates = rng.beta(0.5, 1.0, 50)  # variance a b / ((a + b)^2 (a + b + 1)) = 0.0889
        c = rng.binomial(n, rates)
        estimates.append(bias_and_variance(n, c))
        naive.append(np.var(c / n, ddof=1))
    truth = 0.5 / (1.5**2 * 2.5)
    assert np.mean([estimate.variance for estimate in estimates]) == pytest.approx(truth, abs=0.002)
    assert np.mean([estimate.bias for estimate in estimates]) == pytest.approx(2 / 3, abs=0.003)
    assert np.mean(naive) > truth + 0.02


def test_problems_may_have_different_numbers_of_samples():
    """Unbiased all the same, where hard problems got more samples; with one n it is the corrected variance of c / n."""
    rng = np.random.default_rng(2)
    estimates = []
    for _ in range(4000):
        rates = rng.beta(0.5, 1.0, 50)
        n = np.where(rates < 0.3, 12, 3)
        estimates.append(bias_and_variance(n, rng.binomial(n, rates)).variance)
    assert np.mean(estimates) == pytest.approx(0.5 / (1.5**2 * 2.5), abs=0.002)
    c = rng.binomial(8, 0.4, 30)
    noise = (c / 8 * (1 - c / 8)).mean() / 7
    assert bias_and_variance(8, c).variance == pytest.approx(np.var(c / 8, ddof=1) - noise)


def test_equal_problems_have_no_variance():
    """Coin tosses of one coin: about 0 on average, where that of c / n is not."""
    rng = np.random.default_rng(1)
    estimates = [bias_and_variance(8, rng.binomial(8, 0.5, 100)).variance for _ in range(1000)]
    assert np.mean(estimates) == pytest.approx(0, abs=0.001)


def test_one_sample_per_problem_tells_no_variance():
    """Nor does one problem; the bias is known all the same."""
    greedy = bias_and_variance(1, np.array([1, 0, 0, 1]))
    assert greedy.bias == 0.5
    assert np.isnan(greedy.variance)
    assert np.isnan(bias_and_variance(4, np.array([2])).variance)
    assert np.isnan(bias_and_variance(np.array([4, 1]), np.array([2, 1])).variance)
    with pytest.raises(WiseMergeError, match="at least one problem"):
        bias_and_variance(4, np.array([], dtype=int))


@given(st.lists(st.floats(0, 1), min_size=1, max_size=30), st.integers(2, 200))
def test_no_population_passes_the_bound(rates, k):
    """Proposition 6.1, with equality at k = 2."""
    rho = np.array(rates)
    bias, variance = float(1 - rho.mean()), float(rho.var())
    measured = np.mean(1 - (1 - rho) ** np.array([[2], [k]]), axis=1)
    bound = pass_at_k_bound(bias, variance, np.array([2, k]))
    assert measured[0] == pytest.approx(bound[0])
    assert measured[1] <= bound[1] + 1e-12


def test_there_is_no_bound_at_k_1():
    """The formula would give less than Pass@1 itself."""
    assert np.isnan(pass_at_k_bound(0.5, 0.1, np.array([1]))[0])
    assert pass_at_k_bound(1.0, 0.0, np.array([2, 64])).tolist() == [0.0, 0.0]


def test_the_histogram_counts_problems_by_their_share_of_correct_samples():
    """Every problem is in one bin; 3 of 10 is above the edge 0.3, and 10 of 10 in the last bin."""
    counts, edges = rate_histogram(10, np.array([0, 0, 3, 9, 10, 10]))
    assert counts.tolist() == [2, 0, 0, 1, 0, 0, 0, 0, 0, 3]
    assert edges == pytest.approx(np.arange(11) / 10)
    assert rate_histogram(3, np.array([1, 2]), bins=2)[0].tolist() == [1, 1]


def test_the_interval_of_the_variance_is_the_jackknifes():
    """Left out one by one, problems give the same standard error; of few, or of equal ones, it is unknown."""
    rng = np.random.default_rng(4)
    n, c = rng.integers(2, 9, 20), rng.integers(0, 3, 20)
    low, high = variance_interval(n, c)
    without = [bias_and_variance(np.delete(n, i), np.delete(c, i)).variance for i in range(20)]
    error = np.sqrt(19 / 20 * np.sum((without - np.mean(without)) ** 2))
    estimate = bias_and_variance(n, c).variance
    assert (low, high) == pytest.approx((estimate - 1.959964 * error, estimate + 1.959964 * error), rel=1e-6)
    for size, correct in ((8, [1, 2]), (1, [0, 1, 1]), (4, [2, 2, 2, 2])):
        assert np.isnan(variance_interval(size, np.array(correct))).all()


def test_the_interval_of_the_variance_covers_the_truth():
    """In about 95 % of 1000 draws of 100 problems; between 92 and 97 % is within what so many draws and sizes allow."""
    rng = np.random.default_rng(5)
    truth = 0.5 / (1.5**2 * 2.5)
    covered = 0
    for _ in range(1000):
        low, high = variance_interval(8, rng.binomial(8, rng.beta(0.5, 1.0, 100)))
        covered += low <= truth <= high
    assert 920 <= covered <= 970
