"""The figures of a file, against counting all subsets by hand."""

import dataclasses
import itertools
import math
import random
import statistics

import numpy as np
import pytest

from wise_merge.errors import WiseMergeError
from wise_merge.results.comparison import compare
from wise_merge.results.metrics import check_k, metrics
from wise_merge.results.summary import summarize
from wise_merge.results.verdicts import JudgedProblem


def problem(identity, answers, gold="1", scores=None, distinct=None, operations=None):
    correct = tuple(answer == gold for answer in answers)
    return JudgedProblem(str(identity), gold, correct, tuple(answers), scores or {}, distinct, operations)


#: Two problems with four samples: two right of four, and one right of four; a scorer that likes wrong ones.
TWO = [
    problem("a", ["1", "1", "2", None], scores={"orm": (0.1, 0.2, 0.9, 0.2)}, distinct=4, operations=(3, 1)),
    problem("b", ["2", "2", "3", "1"], scores={"orm": (0.5, 0.4, 0.3, 0.5)}, distinct=1, operations=(4,)),
]


def vote(answers, weights, gold):
    """The share of right answers among those with the most weight."""
    totals = {a: sum(w for b, w in zip(answers, weights, strict=True) if a == b) for a in answers if a is not None}
    heaviest = [a for a, total in totals.items() if total == max(totals.values()) > 0]
    return sum(a == gold for a in heaviest) / len(heaviest) if heaviest else 0.0


def best(scores, correct):
    top = [right for score, right in zip(scores, correct, strict=True) if score == max(scores)]
    return sum(top) / len(top)


def over_subsets(facts, k, value):
    """The mean over problems of the mean over all subsets of k samples."""
    means = []
    for one in facts:
        subsets = list(itertools.combinations(range(one.n), k))
        means.append(statistics.mean(value(one, subset) for subset in subsets))
    return statistics.mean(means)


BY_HAND = {
    ("pass@k", None): lambda one, of: float(any(one.correct[i] for i in of)),
    ("pass^k", None): lambda one, of: float(all(one.correct[i] for i in of)),
    ("maj@k", None): lambda one, of: vote([one.answers[i] for i in of], [1] * len(of), one.gold),
    ("best@k", "orm"): lambda one, of: best([one.scores["orm"][i] for i in of], [one.correct[i] for i in of]),
    ("answer diversity", None): lambda one, of: len({one.answers[i] for i in of} - {None}) / len(of),
}


@pytest.mark.parametrize(("name", "scorer"), BY_HAND)
@pytest.mark.parametrize("k", [1, 2, 3, 4])
def test_every_figure_is_the_mean_over_all_subsets(name, scorer, k):
    """Whole curves, k by k, equal counting all subsets of both problems."""
    found, _ = metrics(TWO, [1, 2, 4])
    curve = summarize(TWO, found, [1, 2, 4]).curve(name, scorer)
    assert curve.value[k - 1] == pytest.approx(over_subsets(TWO, k, BY_HAND[name, scorer]))


def test_a_weighted_vote_is_exact_at_the_ends_and_sampled_between():
    """k = 1 and k = n as counted by hand; at k = 2 within four of the stated errors."""
    found, _ = metrics(TWO, [1, 2, 4])
    curve = summarize(TWO, found, [1, 2, 4]).curve("weighted maj@k", "orm")
    by_hand = {
        k: over_subsets(
            TWO, k, lambda one, of: vote([one.answers[i] for i in of], [one.scores["orm"][i] for i in of], one.gold)
        )
        for k in (1, 2, 4)
    }
    assert (curve.value[0], curve.value[2]) == (pytest.approx(by_hand[1]), pytest.approx(by_hand[4]))
    assert abs(curve.value[1] - by_hand[2]) <= 4 * curve.monte_carlo_error[1] > 0


def test_scores_below_zero_are_no_weights():
    """One line says why; best@k is there all the same."""
    facts = [problem("a", ["1", "2"], scores={"logprob": (-1.0, -2.0)})]
    found, notes = metrics(facts, [1, 2])
    assert [metric.title for metric in found][:3] == ["pass@k", "maj@k", "best@k by logprob"]
    assert not any(metric.name == "weighted maj@k" for metric in found)
    assert notes == ["no weighted vote by logprob: it has scores below 0 (down to -2), so no weights"]


def test_problems_with_more_samples_use_all_of_them():
    """Curves end at the smallest n, but the problem with five samples is estimated from five."""
    facts = [problem("a", ["1", "2"]), problem("b", ["1", "1", "2", "2", "2"])]
    found, _ = metrics(facts, [1, 2])
    summary = summarize(facts, found, [1, 2])
    assert (summary.n_low, summary.n_high) == (2, 5)
    for name in ("pass@k", "maj@k"):
        curve = summary.curve(name)
        assert len(curve.value) == 2
        assert curve.value[1] == pytest.approx(over_subsets(facts, 2, BY_HAND[name, None]))


def test_no_figure_depends_on_the_order_of_problems_beyond_rounding():
    """Means over problems, whichever comes first."""
    one, other = (summarize(facts, metrics(facts, [1, 4])[0], [1, 4]) for facts in (TWO, TWO[::-1]))
    for curve, turned in zip(one.curves, other.curves, strict=True):
        if curve.name != "weighted maj@k":
            assert curve.value == pytest.approx(turned.value)
            assert curve.standard_error == pytest.approx(turned.standard_error)


def test_bias_variance_and_bound_are_those_of_the_proposition():
    """At k = 2 the bound is Pass@2 itself; the variance is the sample variance without the noise of n samples."""
    found, _ = metrics(TWO, [1, 4])
    summary = summarize(TWO, found, [1, 4])
    rates = [0.5, 0.25]
    assert summary.bias == pytest.approx(1 - statistics.mean(rates))
    noise = statistics.mean(rate * (1 - rate) / 3 for rate in rates)
    assert summary.variance == pytest.approx(statistics.variance(rates) - noise)
    assert math.isnan(summary.bound[0])
    assert summary.bound[3] == pytest.approx(1 - (summary.bias**2 + summary.variance) ** 2)


def test_what_is_counted_is_counted():
    """Histogram, share without an answer, identical samples: by hand."""
    summary = summarize(TWO, metrics(TWO, [1, 4])[0], [1, 4])
    assert summary.histogram == (0, 0, 1, 0, 0, 1, 0, 0, 0, 0)
    assert summary.unanswered == pytest.approx(1 / 8)
    assert summary.identical == 1


def test_the_share_of_cut_samples_is_of_all_or_unknown():
    """Two problems by hand; a problem that does not say leaves nothing to say."""

    def share(*counts):
        facts = [dataclasses.replace(one, cut_off=cut) for one, cut in zip(TWO, counts, strict=True)]
        return summarize(facts, metrics(facts, [1])[0], [1]).cut_off

    assert share(3, 1) == pytest.approx(4 / 8)
    assert share(0, 0) == 0
    assert share(3, None) is None


def test_the_reliability_of_the_vote_is_by_the_share_that_won():
    """Two of three votes, right; two of four, wrong; no votes, left out."""
    facts = [*TWO, problem("c", [None, None])]
    bins = summarize(facts, metrics(facts, [1])[0], [1]).reliability
    assert [(bin_.low, bin_.high, bin_.problems, bin_.accuracy) for bin_ in bins] == [
        (0.4, 0.5, 1, 0),
        (0.6, 0.7, 1, 1),
    ]
    assert [bin_.share for bin_ in bins] == pytest.approx([0.5, 2 / 3])


def test_what_two_runs_could_detect_follows_from_the_standard_error():
    """(1.96 + 0.84) sqrt(2) standard errors."""
    rng = random.Random(0)
    facts = [problem(i, [rng.choice("12") for _ in range(4)]) for i in range(50)]
    summary = summarize(facts, metrics(facts, [1])[0], [1])
    ((k, effect),) = summary.detectable
    assert k == 1
    assert effect == pytest.approx(2.8016 * math.sqrt(2) * summary.curve("pass@k").standard_error[0], rel=1e-4)


def test_greedy_completions_get_an_interval_for_shares():
    """n = 1, all right: the bootstrap would claim certainty, Wilson's interval does not."""
    facts = [problem(i, ["1"]) for i in range(20)]
    curve = summarize(facts, metrics(facts, [1])[0], [1]).curve("pass@k")
    z2 = 1.959964**2
    assert (curve.value[0], curve.high[0]) == (1, 1)
    assert curve.low[0] == pytest.approx(20 / (20 + z2), rel=1e-5)
    assert math.isnan(summarize(facts, metrics(facts, [1])[0], [1]).variance)


def test_a_vote_that_is_always_won_gets_such_an_interval_too():
    """Maj@k of unanimous samples is 1 and not almost 1."""
    facts = [problem(i, ["1"] * 12) for i in range(20)]
    curve = summarize(facts, metrics(facts, [1, 12])[0], [1, 12]).curve("maj@k")
    assert set(curve.value) == {1.0}
    assert curve.low[-1] == curve.low[0] == pytest.approx(20 / (20 + 1.959964**2), rel=1e-5)


def test_k_is_reported_as_wanted_and_never_clamped():
    """1, 2, 4, ... and n unless given; more than the smallest n is an error that names the problem."""
    assert check_k(TWO, None) == [1, 2, 4]
    assert check_k(TWO, [3, 1, 3]) == [1, 3]
    with pytest.raises(WiseMergeError, match=r"k = 2 .* problem c has n = 1"):
        check_k([*TWO, problem("c", ["1"])], [2])
    with pytest.raises(WiseMergeError, match="k = 0"):
        check_k(TWO, [0])


def test_a_comparison_is_second_minus_first_and_turns_around():
    """The difference changes its sign, the p-value and the detectable effect stay."""
    rng = random.Random(1)
    weak, strong = (
        metrics([problem(i, [rng.choice("1" * often + "2") for _ in range(8)]) for i in range(40)], [1, 8])[0]
        for often in (1, 3)
    )
    there, back = compare(weak, strong, [1, 8]), compare(strong, weak, [1, 8])
    assert [(one.name, one.k) for one in there] == [("pass@k", 1), ("pass@k", 8), ("maj@k", 1), ("maj@k", 8)]
    for one, other in zip(there, back, strict=True):
        assert one.difference.difference == pytest.approx(-other.difference.difference)
        assert one.difference.low == pytest.approx(-other.difference.high)
        assert one.difference.p_value == other.difference.p_value
        assert one.detectable == other.detectable == pytest.approx(2.8016 * one.difference.standard_error, rel=1e-4)
    assert there[0].difference.difference > 0.1
    assert there[0].difference.p_value < 0.01
    assert np.isclose(there[0].difference.difference, (strong[0].values - weak[0].values)[:, 0].mean())


def test_where_n_differs_there_is_a_figure_from_all_samples_of_each_problem():
    """Curves end at the smallest n; what all samples tell is not lost, and where n is one, it is the last point."""
    facts = [*TWO, problem("c", ["1", "2", "2"], scores={"orm": (0.3, 0.25, 0.2)}, distinct=3, operations=(3,))]
    found, _ = metrics(facts, [1, 3])
    summary = summarize(facts, found, [1, 3])
    assert summary.curve("pass@k").k == (1, 2, 3)
    assert summary.curve("pass@k").of_all.value == pytest.approx(1.0)
    assert summary.curve("maj@k").of_all.value == pytest.approx(1 / 3)  # a: 1 of (1 1 2); b: 2; c: 2
    expected = statistics.mean(best(one.scores["orm"], one.correct) for one in facts)
    assert summary.curve("best@k", "orm").of_all.value == pytest.approx(expected)
    weighted = statistics.mean(vote(one.answers, one.scores["orm"], one.gold) for one in facts)
    assert summary.curve("weighted maj@k", "orm").of_all.value == pytest.approx(weighted)
    assert not math.isnan(summary.variance)
    found, _ = metrics(TWO, [1, 4])
    assert all(curve.of_all is None for curve in summarize(TWO, found, [1, 4]).curves)


def test_what_a_scorer_cannot_read_has_no_weight():
    """Minus infinity is ranked last by best@k and does not cost the weighted vote; a finite score below 0 does."""
    unread = [problem("a", ["1", "2", "2"], scores={"prm": (0.5, -math.inf, 0.4)})]
    found, notes = metrics(unread, [1, 3])
    weighted = next(metric for metric in found if metric.name == "weighted maj@k")
    assert weighted.values[0].tolist() == pytest.approx([1 / 3, 1.0])
    assert notes == []
    _, notes = metrics([problem("a", ["1", "2"], scores={"prm": (0.5, -0.1)})], [1])
    assert notes == ["no weighted vote by prm: it has scores below 0 (down to -0.1), so no weights"]
