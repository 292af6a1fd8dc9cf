"""Maj@k against enumerating every subset, and against exact integers where there are too many of them."""

import itertools
from fractions import Fraction
from math import comb

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wise_merge.errors import WiseMergeError
from wise_merge.estimators.majority import (
    Votes,
    count_votes,
    majority_at_n,
    majority_curve,
    majority_curves,
    vote_curve,
    weighted_majority_curve,
)
from wise_merge.estimators.pass_at_k import pass_at_k_curves

#: Two answers are right: there may be several forms of a solution.
RIGHT = ("a", "b")

answers = st.lists(st.sampled_from(["a", "b", "c", "d", "e", None]), min_size=1, max_size=9)


def verdicts(answers):
    return [answer in RIGHT for answer in answers]


def vote(answers, weights=None):
    """The share of right answers among the heaviest of one subset, counted by hand."""
    weights = weights or [1.0] * len(answers)
    totals = {}
    for answer, weight in zip(answers, weights, strict=True):
        if answer is not None and weight > 0:
            totals[answer] = totals.get(answer, 0) + weight
    winners = [answer for answer, total in totals.items() if total == max(totals.values())]
    return sum(winner in RIGHT for winner in winners) / len(winners) if winners else 0.0


def by_enumeration(answers):
    return [
        np.mean([vote(subset) for subset in itertools.combinations(answers, k)]) for k in range(1, len(answers) + 1)
    ]


def by_exact_integers(votes):
    """The same expectation by multiplying polynomials with integer coefficients, the tied answers counted."""
    n = votes.n
    score = [Fraction(0)] * (n + 1)
    options = [(count, True) for count in votes.right] + [(count, False) for count in votes.wrong]
    for level in range(1, max(votes.right, default=0) + 1):
        states = {(0, 0): np.array([1], dtype=object)}
        for count, right in options:
            fewer = np.array([comb(count, i) for i in range(min(level, count + 1))], dtype=object)
            moved = {}
            for (tied_right, tied_wrong), ways in states.items():
                steps = [((tied_right, tied_wrong), np.convolve(ways, fewer))]
                if count >= level:
                    exactly = np.concatenate([np.zeros(level, dtype=object), ways * comb(count, level)])
                    steps.append(((tied_right + right, tied_wrong + (not right)), exactly))
                for state, added in steps:
                    before = moved.get(state, np.zeros(0, dtype=object))
                    longer, shorter = sorted((before, added), key=len, reverse=True)
                    longer = longer.copy()
                    longer[: len(shorter)] += shorter
                    moved[state] = longer
            states = moved
        silent = np.array([comb(votes.abstentions, i) for i in range(votes.abstentions + 1)], dtype=object)
        for (tied_right, tied_wrong), ways in states.items():
            if tied_right:
                for size, number in enumerate(np.convolve(ways, silent)):
                    score[size] += Fraction(tied_right, tied_right + tied_wrong) * int(number)
    return [float(score[k] / comb(n, k)) for k in range(1, n + 1)]


@given(answers)
def test_majority_at_k_is_the_mean_over_all_subsets(answers):
    """Exact for every k: ties shared, abstentions silent, several right answers."""
    assert majority_curve(answers, verdicts(answers)) == pytest.approx(by_enumeration(answers), abs=1e-12)


@given(answers)
def test_the_last_point_is_the_vote_of_all(answers):
    """k = n leaves one subset."""
    curve = majority_curve(answers, verdicts(answers))
    assert curve[-1] == pytest.approx(majority_at_n(answers, verdicts(answers)), abs=1e-12)
    assert majority_at_n(answers, verdicts(answers)) == vote(answers)


@settings(deadline=None, max_examples=30)
@given(
    st.lists(st.integers(1, 12), max_size=4),
    st.lists(st.integers(1, 12), max_size=6),
    st.integers(0, 12),
)
def test_larger_votes_agree_with_exact_integers(right, wrong, abstentions):
    """Too many subsets to list; the integers count them."""
    votes = Votes(tuple(sorted(right, reverse=True)), tuple(sorted(wrong, reverse=True)), abstentions)
    if votes.n:
        assert vote_curve(votes) == pytest.approx(by_exact_integers(votes), abs=1e-11)


@pytest.mark.parametrize(
    "votes",
    [
        Votes((60, 20), (50, 40, 30, 5, 1, 1, 1, 1), 10),
        Votes((40,), (41, 40, 39, 38, 1, 1), 7),
        Votes((3, 2), (4,) * 10 + (1,) * 20, 30),
        Votes((1,), (1,) * 150, 0),
    ],
)
def test_hundreds_of_samples_agree_with_exact_integers(votes):
    """Close races, many ties, many abstentions."""
    assert vote_curve(votes) == pytest.approx(by_exact_integers(votes), abs=1e-11)


@pytest.mark.parametrize(("n", "m"), [(1024, 500), (10_000, 5100), (10_000, 4000)])
def test_ten_thousand_samples_of_two_answers_agree_with_the_hypergeometric(n, m):
    """Right wins if more than half of k are drawn from its m; exact integers at a few k."""
    curve = vote_curve(Votes((m,), (n - m,), 0))
    for k in (1, 2, 3, 10, 101, n // 2, n - 1, n):
        ways = (
            comb(m, i) * comb(n - m, k - i) * Fraction(1 + (2 * i > k), 2)
            for i in range(max(-(-k // 2), k - n + m), min(m, k) + 1)
        )
        assert curve[k - 1] == pytest.approx(float(sum(ways) / comb(n, k)), abs=1e-11)


@pytest.mark.parametrize("n", [7, 1000, 10_000])
def test_where_all_answers_differ_the_vote_is_a_lottery(n):
    """One right of n different answers wins with 1 / n at every k: the share of a tie of k."""
    assert vote_curve(Votes((1,), (1,) * (n - 1), 0)) == pytest.approx(np.full(n, 1 / n), rel=1e-9)


@given(answers, st.randoms())
def test_the_order_of_the_samples_does_not_matter(answers, random):
    """Not even in the last bit."""
    shuffled = random.sample(answers, len(answers))
    assert (majority_curve(answers, verdicts(answers)) == majority_curve(shuffled, verdicts(shuffled))).all()


@given(answers)
def test_a_vote_finds_nothing_that_is_not_there(answers):
    """maj@1 is pass@1, and maj@k is never above pass@k."""
    majority = majority_curve(answers, verdicts(answers))
    most = pass_at_k_curves(len(answers), np.array([sum(verdicts(answers))]))[0]
    assert majority[0] == pytest.approx(most[0], abs=1e-12)
    assert (majority <= most + 1e-12).all()


def test_problems_are_voted_on_one_by_one():
    """Rows are problems; they must have the same number of samples."""
    problems = [(["a", "c", None], [True, False, False]), (["c", "c", "a"], [False, False, True])]
    curves = majority_curves(problems)
    assert curves.shape == (2, 3)
    for row, problem in zip(curves, problems, strict=True):
        assert (row == majority_curve(*problem)).all()
    with pytest.raises(WiseMergeError, match=r"same number of samples; got \[1, 3\]"):
        majority_curves([*problems, (["a"], [True])])


@given(st.lists(st.tuples(st.sampled_from(["a", "b", "c", None]), st.booleans()), min_size=1, max_size=8))
def test_an_answer_with_different_verdicts_earns_the_share_of_its_right_samples(samples):
    """As if one of the winner's samples were drawn: so maj@k stays below pass@k, and maj@1 is that of who votes."""
    answers, correct = map(list, zip(*samples, strict=True))
    share = {a: np.mean([c for b, c in samples if b == a]) for a in answers}

    def credit(subset):
        votes = [answer for answer in subset if answer is not None]
        winners = {answer for answer in votes if votes.count(answer) == max(map(votes.count, votes))}
        return np.mean([share[winner] for winner in winners]) if winners else 0.0

    curve = majority_curve(answers, correct)
    for k in range(1, len(answers) + 1):
        expected = np.mean([credit(subset) for subset in itertools.combinations(answers, k)])
        assert curve[k - 1] == pytest.approx(expected, abs=1e-12)
    assert majority_at_n(answers, correct) == pytest.approx(curve[-1], abs=1e-12)
    assert (curve <= pass_at_k_curves(len(answers), np.array([sum(correct)]))[0] + 1e-12).all()


@pytest.mark.parametrize(
    ("answers", "correct", "message"),
    [(["a"], [True, False], "1 answers but 2 verdicts"), ([], [], "at least one sample")],
)
def test_a_vote_without_its_samples_is_refused(answers, correct, message):
    """One verdict per answer, and at least one."""
    with pytest.raises(WiseMergeError, match=message):
        count_votes(answers, correct)


def test_a_weighted_vote_is_the_mean_over_all_subsets():
    """Within four Monte-Carlo standard errors at every k, and exactly at both ends."""
    answers = ["a", "c", "c", "d", None, "a", "e"]
    weights = [3.0, 1.0, 1.5, 0.5, 9.0, 0.0, 2.5]
    curve, error = weighted_majority_curve(
        answers, verdicts(answers), weights, rng=np.random.default_rng(0), permutations=20_000
    )
    for k in range(1, len(answers) + 1):
        subsets = itertools.combinations(zip(answers, weights, strict=True), k)
        expected = np.mean([vote(*map(list, zip(*subset, strict=True))) for subset in subsets])
        assert abs(curve[k - 1] - expected) <= 4 * error[k - 1] + 1e-12, k
    assert error[0] == error[-1] == 0
    assert (error[1:-1] > 0).all()


@given(answers)
def test_equal_weights_make_an_ordinary_vote(answers):
    """Sums of 0.1 in another order are not exactly equal, and still tied."""
    curve, error = weighted_majority_curve(
        answers, verdicts(answers), [0.1] * len(answers), rng=np.random.default_rng(1), permutations=300
    )
    # The standard error of a rare event that did not happen is 0: allow one in a hundred.
    assert (np.abs(curve - majority_curve(answers, verdicts(answers))) <= 5 * error + 0.02).all()


def test_a_weighted_vote_at_chosen_k_only():
    """The same subsets, fewer columns."""
    answers, weights = ["a", "c", "c", "d"], [3.0, 1.0, 1.5, 0.5]
    whole, _ = weighted_majority_curve(answers, verdicts(answers), weights, rng=np.random.default_rng(2))
    some, _ = weighted_majority_curve(answers, verdicts(answers), weights, rng=np.random.default_rng(2), k=[2, 4])
    assert some == pytest.approx(whole[[1, 3]])


@pytest.mark.parametrize("weights", [[1.0, -1.0], [1.0, np.nan], [1.0], [1.0, np.inf]])
def test_weights_that_cannot_vote_are_refused(weights):
    """Finite, at least 0, one per sample."""
    with pytest.raises(WiseMergeError, match="2 finite weights of at least 0"):
        weighted_majority_curve(["a", "c"], [True, False], weights, rng=np.random.default_rng(0))


@pytest.mark.parametrize("k", [[0], [3], [2, 1]])
def test_a_weighted_vote_of_more_samples_than_there_are_is_refused(k):
    """k > n is an error, never clamped."""
    with pytest.raises(WiseMergeError, match=r"ascend within \[1, 2\]"):
        weighted_majority_curve(["a", "c"], [True, False], [1.0, 1.0], rng=np.random.default_rng(0), k=k)
