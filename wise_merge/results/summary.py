"""The figures of a file of samples, made of its facts by the estimators.

Every figure is a mean over problems; its standard error and interval say how much it would
change with other problems of the kind.
"""

import functools
import math
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from wise_merge.errors import WiseMergeError
from wise_merge.estimators.best_at_k import best_at_k_curves
from wise_merge.estimators.bias_variance import bias_and_variance, pass_at_k_bound, rate_histogram
from wise_merge.estimators.diversity import distinct_curve, distinct_share_curve
from wise_merge.estimators.majority import Votes, count_votes, majority_at_n, vote_curve, weighted_majority_curve
from wise_merge.estimators.pass_at_k import all_correct_curves, pass_at_k_curves, reported_k
from wise_merge.estimators.uncertainty import (
    PairedDifference,
    mean_interval,
    minimum_detectable_effect,
    paired_difference,
    standard_error,
)
from wise_merge.results.verdicts import Facts

#: Of every interval.
LEVEL = 0.95
_BINS = 10


@dataclass(frozen=True)
class Metric:
    """A figure of each problem at some k.

    Attributes:
        name: `pass@k`, `pass^k`, `maj@k`, `best@k`, `weighted maj@k`, `answer diversity`,
            `operation diversity` or `semantic diversity`.
        scorer: that ranks or weighs, None for figures without.
        k: ascending.
        values: (problems, len(k)) float64, in the order of the facts.
        monte_carlo_error: of the mean over problems at each k where the figure is sampled, else None.
        of_all: (problems,) values from all samples of each problem, None where that is no figure of its own.
    """

    name: str
    scorer: str | None
    k: tuple[int, ...]
    values: np.ndarray
    monte_carlo_error: np.ndarray | None = None
    of_all: np.ndarray | None = None

    @property
    def title(self) -> str:
        """The name with its scorer."""
        return self.name if self.scorer is None else f"{self.name} by {self.scorer}"


@dataclass(frozen=True)
class Estimate:
    """A mean over problems with its standard error and the ends of its interval."""

    value: float
    standard_error: float
    low: float
    high: float


@dataclass(frozen=True)
class Curve:
    """The mean of a metric over problems: parallel sequences, one entry per k; and from all samples, if n differs."""

    name: str
    scorer: str | None
    k: tuple[int, ...]
    value: tuple[float, ...]
    standard_error: tuple[float, ...]
    low: tuple[float, ...]
    high: tuple[float, ...]
    monte_carlo_error: tuple[float, ...] | None
    of_all: Estimate | None = None

    @property
    def title(self) -> str:
        """The name with its scorer."""
        return self.name if self.scorer is None else f"{self.name} by {self.scorer}"

    def at(self, k: int) -> Estimate:
        """Return the point at k, which must be one of the curve's."""
        i = self.k.index(k)
        return Estimate(self.value[i], self.standard_error[i], self.low[i], self.high[i])


@dataclass(frozen=True)
class Reliability:
    """The problems whose most frequent answer has a share of the votes within (low, high]."""

    low: float
    high: float
    problems: int
    share: float
    accuracy: float


@dataclass(frozen=True)
class Summary:
    """The figures of a file.

    Attributes:
        problems: how many there are.
        n_low: the fewest samples of a problem; curves go up to it.
        n_high: the most.
        reported: the k at which figures are shown.
        curves: by metric, whole.
        bias: E[1 - rho].
        variance: unbiased Var(rho); NaN from one problem or where a problem has one sample.
        bound: on Pass@k by proposition 6.1 for k = 1, ..., n_low; NaN at k = 1.
        histogram: problems by share of correct samples, in equal bins from 0 to 1.
        reliability: of the vote; empty bins are left out.
        unanswered: share of samples without an answer; None if the file has only verdicts.
        cut_off: share of samples that were cut at the longest completion allowed; None if the file does not say of all.
        identical: problems with several samples that are all one text; None if the file has no completions.
        detectable: (k, smallest difference in pass@k between two runs like this one, unpaired, that a test
            at 5 % finds with 80 % power).
        notes: sentences that the reader of the figures should see.
    """

    problems: int
    n_low: int
    n_high: int
    reported: tuple[int, ...]
    curves: tuple[Curve, ...]
    bias: float
    variance: float
    bound: tuple[float, ...]
    histogram: tuple[int, ...]
    reliability: tuple[Reliability, ...]
    unanswered: float | None
    cut_off: float | None
    identical: int | None
    detectable: tuple[tuple[int, float], ...]
    notes: tuple[str, ...]

    def curve(self, name: str, scorer: str | None = None) -> Curve | None:
        """Return the curve of a metric, None if there is none."""
        return next((curve for curve in self.curves if (curve.name, curve.scorer) == (name, scorer)), None)


@dataclass(frozen=True)
class Compared:
    """A metric of two files on the same problems at one k, second minus first, and what would be detectable."""

    name: str
    k: int
    difference: PairedDifference
    detectable: float


def check_k(facts: Sequence[Facts], wanted: Sequence[int] | None) -> list[int]:
    """Return at which k to report: those wanted, if all problems have so many samples, else 1, 2, 4, ..."""
    fewest = min(problem.n for problem in facts)
    if wanted is None:
        return reported_k(fewest)
    for k in wanted:
        if not 1 <= k <= fewest:
            short = next(problem for problem in facts if problem.n == fewest)
            raise WiseMergeError(
                f"k = {k} needs 1 <= k <= n, but problem {short.id[:60]} has n = {fewest} samples; draw more or lower k"
            )
    return sorted(set(wanted))


#: Passes items on and may show how far it is: from (items, what is done with them) to the items.
Watch = Callable[[Collection[Any], str], Iterable[Any]]


def metrics(
    facts: Sequence[Facts],
    reported: Sequence[int],
    *,
    seed: int = 0,
    watch: Watch = lambda items, _: items,
) -> tuple[list[Metric], list[str]]:
    """Return every metric of the problems, and what is left out and why.

    Args:
        facts: of at least one problem.
        reported: the k at which sampled figures are wanted; the others are computed at all k.
        seed: of the orders in which weighted votes are counted.
        watch: sees the problems pass whose votes are counted, which takes longest.
    """
    n = min(problem.n for problem in facts)
    every = tuple(range(1, n + 1))
    found = [_by_n("pass@k", None, facts, n, lambda size, some: pass_at_k_curves(size, _counts(some)))]
    notes = []
    votes = all(problem.answers is not None for problem in facts)
    if votes:
        found.append(_majority(facts, n, watch))
    for scorer in _scorers(facts):
        found.append(_by_n("best@k", scorer, facts, n, functools.partial(_best, scorer)))
    for scorer in _scorers(facts) if votes else ():
        # -inf is the score of what a scorer cannot read: such a sample has no weight.
        finite = [score for problem in facts for score in problem.scores[scorer] if score != -math.inf]
        lowest = min(finite, default=0.0)
        if lowest < 0:
            notes.append(f"no weighted vote by {scorer}: it has scores below 0 (down to {lowest:.4g}), so no weights")
            continue
        found.append(_weighted(facts, scorer, reported, seed, watch))
    found.append(_by_n("pass^k", None, facts, n, lambda size, some: all_correct_curves(size, _counts(some))))
    if votes:
        shares = [distinct_share_curve(problem.answers or ())[:n] for problem in facts]
        found.append(Metric("answer diversity", None, every, np.stack(shares)))
    if all(problem.operations is not None for problem in facts):
        shares = [distinct_curve(np.array(problem.operations))[:n] for problem in facts]
        found.append(Metric("operation diversity", None, every, np.stack(shares)))
    return found, notes


def summarize(
    facts: Sequence[Facts],
    found: Sequence[Metric],
    reported: Sequence[int],
    *,
    seed: int = 0,
    notes: Sequence[str] = (),
) -> Summary:
    """Return the figures of a file.

    Args:
        facts: of its problems.
        found: their metrics, see `metrics`.
        reported: the k at which figures are shown.
        seed: of the bootstrap.
        notes: to be passed on.
    """
    n_low, n_high = min(problem.n for problem in facts), max(problem.n for problem in facts)
    sizes = np.array([problem.n for problem in facts])
    curves = tuple(_curve(metric, sizes, seed) for metric in found)
    (passed,) = (curve for curve in curves if curve.name == "pass@k")
    spread = bias_and_variance(sizes, _counts(facts))
    histograms = [rate_histogram(n, _counts(some), bins=_BINS)[0] for n, some in _groups(facts).items()]
    completions = all(problem.distinct is not None for problem in facts)
    answered = [answer is not None for problem in facts for answer in problem.answers or ()]
    return Summary(
        problems=len(facts),
        n_low=n_low,
        n_high=n_high,
        reported=tuple(reported),
        curves=curves,
        bias=spread.bias,
        variance=spread.variance,
        bound=tuple(map(float, pass_at_k_bound(spread.bias, spread.variance, np.arange(1, n_low + 1)))),
        histogram=tuple(map(int, np.sum(histograms, axis=0))),
        reliability=_reliability(facts),
        unanswered=1 - sum(answered) / len(answered) if answered else None,
        cut_off=_cut_off(facts),
        identical=sum(problem.n > 1 and problem.distinct == 1 for problem in facts) if completions else None,
        detectable=tuple((k, minimum_detectable_effect(math.sqrt(2) * passed.standard_error[k - 1])) for k in reported),
        notes=tuple(notes),
    )


def compare(
    first: Sequence[Metric], second: Sequence[Metric], reported: Sequence[int], *, seed: int = 0
) -> list[Compared]:
    """Return the paired differences of pass@k and maj@k, second minus first.

    Args:
        first: metrics of one file.
        second: metrics of another, on the same problems in the same order.
        reported: at which k.
        seed: of bootstrap and permutation test.
    """
    compared = []
    for name in ("pass@k", "maj@k"):
        one, other = (next((metric for metric in found if metric.name == name), None) for found in (first, second))
        if one is None or other is None:
            continue
        for k in reported:
            difference = paired_difference(
                one.values[:, k - 1], other.values[:, k - 1], rng=np.random.default_rng(seed), level=LEVEL
            )
            compared.append(Compared(name, k, difference, minimum_detectable_effect(difference.standard_error)))
    return compared


def _groups(facts: Sequence[Facts]) -> dict[int, list[Facts]]:
    groups: dict[int, list[Facts]] = {}
    for problem in facts:
        groups.setdefault(problem.n, []).append(problem)
    return groups


def _by_n(
    name: str,
    scorer: str | None,
    facts: Sequence[Facts],
    n: int,
    curves: Callable[[int, list[Facts]], np.ndarray],
) -> Metric:
    """Return a metric whose curves are computed together for problems with as many samples, and cut to n."""
    values, of_all = np.empty((len(facts), n)), np.empty(len(facts))
    sizes = np.array([problem.n for problem in facts])
    for size, some in _groups(facts).items():
        whole = curves(size, some)
        values[sizes == size], of_all[sizes == size] = whole[:, :n], whole[:, -1]
    return Metric(name, scorer, tuple(range(1, n + 1)), values, of_all=of_all)


def _counts(facts: Sequence[Facts]) -> np.ndarray:
    return np.array([problem.c for problem in facts])


def _votes(problem: Facts) -> tuple[Sequence[str | None], Sequence[bool]]:
    return problem.answers or (), problem.correct


def _majority(facts: Sequence[Facts], n: int, watch: Watch) -> Metric:
    votes = [count_votes(*_votes(problem)) for problem in facts]
    # Votes repeat: on easy problems, and wherever n is small.
    distinct: set[Votes] = set(votes)
    curves = {vote: _vote_curve(vote) for vote in watch(distinct, "maj@k")}
    values = np.stack([curves[vote][:n] for vote in votes])
    return Metric("maj@k", None, tuple(range(1, n + 1)), values, of_all=np.array([curves[vote][-1] for vote in votes]))


@functools.lru_cache(maxsize=20_000)
def _vote_curve(vote: Votes) -> np.ndarray:
    """Return the curve of a vote; kept, as the points of a sweep have many votes in common."""
    # Exact to about 1e-11: a vote that is always won must be 1, and not almost.
    curve = np.round(vote_curve(vote), 10)
    curve.setflags(write=False)
    return curve


def _best(scorer: str, _: int, facts: Sequence[Facts]) -> np.ndarray:
    scores = np.array([problem.scores[scorer] for problem in facts])
    return best_at_k_curves(scores, np.array([problem.correct for problem in facts]))


def _scorers(facts: Sequence[Facts]) -> list[str]:
    return [scorer for scorer in facts[0].scores if all(scorer in problem.scores for problem in facts)]


def _weighted(facts: Sequence[Facts], scorer: str, reported: Sequence[int], seed: int, watch: Watch) -> Metric:
    rng = np.random.default_rng(seed)
    curves, errors, of_all = [], [], []
    for problem in watch(facts, f"weighted maj@k by {scorer}"):
        weights = np.maximum(problem.scores[scorer], 0.0)
        k = sorted({*reported, problem.n})
        curve, error = weighted_majority_curve(*_votes(problem), weights, rng=rng, k=k)
        curves.append(curve[: len(reported)])
        errors.append(error[: len(reported)])
        of_all.append(curve[-1])
    # The draws of different problems are independent.
    error = np.sqrt(np.square(errors).sum(axis=0)) / len(facts)
    return Metric("weighted maj@k", scorer, tuple(reported), np.stack(curves), error, np.array(of_all))


def _curve(metric: Metric, n: np.ndarray, seed: int) -> Curve:
    low, high = mean_interval(metric.values, n, rng=np.random.default_rng(seed), level=LEVEL)
    error = metric.monte_carlo_error
    of_all = None
    if n.min() < n.max() and metric.of_all is not None:
        interval = mean_interval(metric.of_all, n, rng=np.random.default_rng(seed), level=LEVEL)
        of_all = Estimate(*map(float, (metric.of_all.mean(), standard_error(metric.of_all), *interval)))
    return Curve(
        metric.name,
        metric.scorer,
        metric.k,
        _floats(metric.values.mean(axis=0)),
        _floats(standard_error(metric.values)),
        _floats(low),
        _floats(high),
        None if error is None else _floats(error),
        of_all,
    )


def _floats(values: np.ndarray) -> tuple[float, ...]:
    return tuple(map(float, values))


def _cut_off(facts: Sequence[Facts]) -> float | None:
    counts = [problem.cut_off for problem in facts if problem.cut_off is not None]
    return sum(counts) / sum(problem.n for problem in facts) if len(counts) == len(facts) else None


def _reliability(facts: Sequence[Facts]) -> tuple[Reliability, ...]:
    """Return how often the most frequent answer is right, by its share of the votes that were cast."""
    bins: Mapping[int, list[tuple[float, float]]] = {index: [] for index in range(_BINS)}
    for problem in facts:
        votes = Counter(answer for answer in problem.answers or () if answer is not None)
        if votes:
            most, cast = max(votes.values()), votes.total()
            # In integers: 3 of 10 belongs to the bin that ends at 0.3.
            bins[-(-most * _BINS // cast) - 1].append((most / cast, majority_at_n(*_votes(problem))))
    return tuple(
        Reliability(
            index / _BINS,
            (index + 1) / _BINS,
            len(some),
            float(np.mean([share for share, _ in some])),
            float(np.mean([right for _, right in some])),
        )
        for index, some in bins.items()
        if some
    )
