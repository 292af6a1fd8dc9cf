"""The estimators against counting every case."""

import itertools
from math import comb

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wise_merge.errors import WiseMergeError
from wise_merge.estimators.pass_at_k import majority_at_n, pass_at_k, reported_k


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


def test_the_most_frequent_answer_decides():
    """Two votes for 18 beat one for 7."""
    assert majority_at_n(["18", "7", "18"], [True, False, True]) == 1.0
    assert majority_at_n(["7", "18", "7"], [False, True, False]) == 0.0


def test_tied_answers_share_the_credit():
    """Of three tied answers one is right."""
    assert majority_at_n(["a", "b", "c"], [True, False, False]) == pytest.approx(1 / 3)


def test_samples_without_an_answer_do_not_vote():
    """Three abstentions do not outvote one answer, and nothing but abstentions is wrong."""
    assert majority_at_n([None, None, None, "18"], [False, False, False, True]) == 1.0
    assert majority_at_n([None, None], [False, False]) == 0.0


@given(st.lists(st.sampled_from(["a", "b", "c", None]), min_size=1, max_size=12), st.randoms())
def test_the_vote_does_not_depend_on_the_order(answers, random):
    """Shuffling the samples changes nothing."""
    shuffled = random.sample(answers, len(answers))
    right = lambda sample: [answer == "a" for answer in sample]  # noqa: E731
    assert majority_at_n(answers, right(answers)) == majority_at_n(shuffled, right(shuffled))


def test_one_answer_cannot_be_right_and_wrong():
    """A vote needs one verdict per answer."""
    with pytest.raises(WiseMergeError, match="both correct and wrong"):
        majority_at_n(["a", "a"], [True, False])


@pytest.mark.parametrize(
    ("n", "ks"), [(1, [1]), (2, [1, 2]), (32, [1, 2, 4, 8, 16, 32]), (48, [1, 2, 4, 8, 16, 32, 48])]
)
def test_the_curve_is_reported_at_powers_of_two_and_n(n, ks):
    """k = 1, 2, 4, ... and always n itself."""
    assert reported_k(n) == ks
