"""Best@k against enumerating every subset."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from wise_merge.errors import WiseMergeError
from wise_merge.estimators.best_at_k import best_at_k_curves
from wise_merge.estimators.pass_at_k import pass_at_k_curves


def by_enumeration(scores, correct):
    """The mean over all subsets of the share of correct samples among the best scored."""
    n = len(scores)
    curve = []
    for k in range(1, n + 1):
        values = []
        for subset in itertools.combinations(range(n), k):
            best = max(scores[i] for i in subset)
            tied = [correct[i] for i in subset if scores[i] == best]
            values.append(sum(tied) / len(tied))
        curve.append(np.mean(values))
    return curve


samples = st.integers(1, 8).flatmap(
    lambda n: st.tuples(
        st.lists(st.sampled_from([-1.5, 0.0, 0.25, 3.0]), min_size=n, max_size=n),
        st.lists(st.booleans(), min_size=n, max_size=n),
    )
)


@given(samples)
def test_best_at_k_is_the_mean_over_all_subsets(sample):
    """The closed form equals picking by score in every subset, ties shared."""
    scores, correct = sample
    assert best_at_k_curves(np.array([scores]), np.array([correct]))[0] == pytest.approx(
        by_enumeration(scores, correct), abs=1e-12
    )


@given(samples, st.randoms())
def test_the_order_of_the_samples_does_not_matter(sample, random):
    """Shuffling the samples of a problem changes nothing."""
    scores, correct = map(np.array, sample)
    order = random.sample(range(len(scores)), len(scores))
    one, other = (
        best_at_k_curves(scores[None], correct[None]),
        best_at_k_curves(scores[order][None], correct[order][None]),
    )
    assert one == pytest.approx(other, abs=1e-12)


@given(samples)
def test_best_at_k_lies_between_chance_and_pass_at_k(sample):
    """best@1 is pass@1, and no scorer finds what is not there."""
    scores, correct = map(np.array, sample)
    best = best_at_k_curves(scores[None], correct[None])[0]
    most = pass_at_k_curves(len(correct), np.array([correct.sum()]))[0]
    assert best[0] == pytest.approx(most[0])
    assert (best <= most + 1e-12).all()


def test_a_perfect_scorer_reaches_pass_at_k_and_a_constant_one_stays_at_pass_at_1():
    """The two ends of what a scorer can be."""
    correct = np.array([[True, False, False, True, False]])
    assert best_at_k_curves(correct.astype(float), correct) == pytest.approx(pass_at_k_curves(5, np.array([2])))
    assert best_at_k_curves(np.zeros((1, 5)), correct) == pytest.approx(np.full((1, 5), 0.4))


def test_best_at_k_holds_for_many_problems_and_samples():
    """Problems do not mix, and 10,000 samples neither over- nor underflow."""
    rng = np.random.default_rng(0)
    scores, correct = rng.normal(size=(3, 300)).round(1), rng.random((3, 300)) < 0.3
    together = best_at_k_curves(scores, correct)
    for problem in range(3):
        assert together[problem] == pytest.approx(best_at_k_curves(scores[[problem]], correct[[problem]])[0])
    n = 10_000
    correct = np.zeros((1, n), dtype=bool)
    correct[0, n // 2] = True  # the median: best of k if it is drawn and the k - 1 others are below
    curve = best_at_k_curves(np.arange(n, dtype=float)[None], correct)[0]
    assert curve[:3] == pytest.approx([1 / n, 2 / n * 5000 / 9999, 3 / n * (5000 * 4999) / (9999 * 9998)])
    assert np.isfinite(curve).all()


@pytest.mark.parametrize(
    ("scores", "correct", "message"),
    [
        ([[1.0, np.nan]], [[True, False]], "sample 1 of problem 0 is NaN"),
        ([[1.0, 2.0]], [[True]], r"got \(1, 2\) and \(1, 1\)"),
        ([[]], [[]], "n >= 1"),
    ],
)
def test_scores_that_cannot_rank_are_refused(scores, correct, message):
    """One line that names the sample or the shapes."""
    with pytest.raises(WiseMergeError, match=message):
        best_at_k_curves(np.array(scores), np.array(correct, dtype=bool))
