"""Pass@k and pass^k against counting every case."""

import itertools
from fractions import Fraction
from math import comb

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from wise_merge.errors import WiseMergeError
from wise_merge.estimators.pass_at_k import all_correct_curves, pass_at_k, pass_at_k_curves, reported_k


@pytest.mark.parametrize("n", range(1, 8))
def test_pass_at_k_is_the_share_of_draws_with_a_success(n):
    """The closed form equals counting all ways to draw k of n samples."""
    for c, k in itertools.product(range(n + 1), range(1, n + 1)):
        draws = list(itertools.combinations([True] * c + [False] * (n - c), k))
        assert pass_at_k(n, c, k) == pytest.approx(sum(map(any, draws)) / len(draws), abs=1e-12)


@given(st.integers(1, 10_000), st.data())
def test_pass_at_k_equals_the_binomials_for_large_n(n, data):
    """The product form agrees with exact integers up to n = 10,000."""
    c = data.draw(st.integers(0, n))
    k = data.draw(st.integers(1, n))
    exact = 1 - comb(n - c, k) / comb(n, k) if comb(n - c, k) else 1.0
    assert pass_at_k(n, c, k) == pytest.approx(exact, abs=1e-9)


@given(st.integers(2, 200), st.data())
def test_a_larger_k_never_lowers_pass_at_k(n, data):
    """Pass@k rises with k from c / n."""
    c = data.draw(st.integers(0, n))
    curve = [pass_at_k(n, c, k) for k in range(1, n + 1)]
    assert curve[0] == pytest.approx(c / n)
    # The steps are differences of nearly equal numbers: allow their rounding.
    assert all(later >= earlier - 1e-12 for earlier, later in itertools.pairwise(curve))


@pytest.mark.parametrize(("n", "c", "k"), [(4, 1, 5), (4, 1, 0), (4, 5, 1), (4, -1, 1)])
def test_impossible_counts_are_refused(n, c, k):
    """k > n is an error, never clamped."""
    with pytest.raises(WiseMergeError):
        pass_at_k(n, c, k)


def test_impossible_counts_are_refused_in_curves():
    """More correct samples than samples, or no samples at all."""
    with pytest.raises(WiseMergeError, match=r"must lie in \[0, 4\]; got 5"):
        pass_at_k_curves(4, np.array([1, 5]))
    with pytest.raises(WiseMergeError, match="at least one sample"):
        all_correct_curves(0, np.array([0]))


@given(st.integers(1, 40), st.data())
def test_the_curves_are_the_estimates_for_each_k(n, data):
    """All k at once equals one at a time, and pass^k is the share of draws without a failure."""
    c = np.array(data.draw(st.lists(st.integers(0, n), min_size=1, max_size=5)))
    some, all_right = pass_at_k_curves(n, c), all_correct_curves(n, c)
    for problem, count in enumerate(c.tolist()):
        for k in range(1, n + 1):
            assert some[problem, k - 1] == pytest.approx(pass_at_k(n, count, k), abs=1e-12)
            assert all_right[problem, k - 1] == pytest.approx(comb(count, k) / comb(n, k), abs=1e-12)


@pytest.mark.parametrize("n", range(1, 8))
def test_all_correct_is_the_share_of_draws_without_a_failure(n):
    """pass^k by counting all ways to draw k of n samples."""
    for c, k in itertools.product(range(n + 1), range(1, n + 1)):
        draws = list(itertools.combinations([True] * c + [False] * (n - c), k))
        expected = sum(map(all, draws)) / len(draws)
        assert all_correct_curves(n, np.array([c]))[0, k - 1] == pytest.approx(expected, abs=1e-12)


def test_the_curves_hold_to_ten_thousand_samples():
    """Against exact integers at a few k, and without a step down."""
    n, counts = 10_000, np.array([0, 1, 37, 5000, 9999, 10_000])
    some, all_right = pass_at_k_curves(n, counts), all_correct_curves(n, counts)
    for problem, k in itertools.product(range(len(counts)), (1, 2, 100, 5000, 9999, 10_000)):
        c = int(counts[problem])
        assert some[problem, k - 1] == pytest.approx(1 - Fraction(comb(n - c, k), comb(n, k)), abs=1e-11)
        assert all_right[problem, k - 1] == pytest.approx(Fraction(comb(c, k), comb(n, k)), abs=1e-11)
    assert (np.diff(some) >= 0).all()
    assert (np.diff(all_right) <= 0).all()


@pytest.mark.parametrize(
    ("n", "ks"), [(1, [1]), (2, [1, 2]), (32, [1, 2, 4, 8, 16, 32]), (48, [1, 2, 4, 8, 16, 32, 48])]
)
def test_the_curve_is_reported_at_powers_of_two_and_n(n, ks):
    """k = 1, 2, 4, ... and always n itself."""
    assert reported_k(n) == ks
