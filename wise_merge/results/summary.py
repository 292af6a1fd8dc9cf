"""The summary of a file of samples: means of its metrics over problems, and what else a reader should see.

Every figure is a mean over problems; its standard error and interval say how much it would
change with other problems of the kind.
"""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from wise_merge.estimators.bias_variance import bias_and_variance, pass_at_k_bound, rate_histogram
from wise_merge.estimators.majority import majority_at_n
from wise_merge.estimators.uncertainty import mean_interval, minimum_detectable_effect, standard_error
from wise_merge.results.metrics import Metric, by_size, check_k, correct_counts, metrics
from wise_merge.results.verdicts import JudgedProblem

#: Confidence level of every interval.
LEVEL = 0.95
_BINS = 10


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


def summary_of(problems: Sequence[JudgedProblem], *, seed: int = 0) -> Summary:
    """Return the figures of judged problems, of which there is one at least, reported at k = 1, 2, 4, ...

    Args:
        problems: see there.
        seed: of whatever is drawn.
    """
    reported = check_k(problems, None)
    computed, notes = metrics(problems, reported, seed=seed)
    return summarize(problems, computed, reported, seed=seed, notes=notes)


def summarize(
    problems: Sequence[JudgedProblem],
    computed: Sequence[Metric],
    reported: Sequence[int],
    *,
    seed: int = 0,
    notes: Sequence[str] = (),
) -> Summary:
    """Return the figures of a file.

    Args:
        problems: of the file, judged.
        computed: their metrics, see `metrics`.
        reported: the k at which figures are shown.
        seed: of the bootstrap.
        notes: to be passed on.
    """
    n_low, n_high = min(problem.n for problem in problems), max(problem.n for problem in problems)
    sizes = np.array([problem.n for problem in problems])
    curves = tuple(_curve(metric, sizes, seed) for metric in computed)
    (passed,) = (curve for curve in curves if curve.name == "pass@k")
    spread = bias_and_variance(sizes, correct_counts(problems))
    histograms = [rate_histogram(n, correct_counts(some), bins=_BINS)[0] for n, some in by_size(problems).items()]
    completions = all(problem.distinct is not None for problem in problems)
    answered = [answer is not None for problem in problems for answer in problem.answers or ()]
    return Summary(
        problems=len(problems),
        n_low=n_low,
        n_high=n_high,
        reported=tuple(reported),
        curves=curves,
        bias=spread.bias,
        variance=spread.variance,
        bound=tuple(map(float, pass_at_k_bound(spread.bias, spread.variance, np.arange(1, n_low + 1)))),
        histogram=tuple(map(int, np.sum(histograms, axis=0))),
        reliability=_reliability(problems),
        unanswered=1 - sum(answered) / len(answered) if answered else None,
        cut_off=_cut_off(problems),
        identical=sum(problem.n > 1 and problem.distinct == 1 for problem in problems) if completions else None,
        detectable=tuple((k, minimum_detectable_effect(math.sqrt(2) * passed.standard_error[k - 1])) for k in reported),
        notes=tuple(notes),
    )


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


def _cut_off(problems: Sequence[JudgedProblem]) -> float | None:
    counts = [problem.cut_off for problem in problems if problem.cut_off is not None]
    return sum(counts) / sum(problem.n for problem in problems) if len(counts) == len(problems) else None


def _reliability(problems: Sequence[JudgedProblem]) -> tuple[Reliability, ...]:
    """Return how often the most frequent answer is right, by its share of the votes that were cast."""
    bins: Mapping[int, list[tuple[float, float]]] = {index: [] for index in range(_BINS)}
    for problem in problems:
        votes = Counter(answer for answer in problem.answers or () if answer is not None)
        if votes:
            most, cast = max(votes.values()), votes.total()
            # In integers: 3 of 10 belongs to the bin that ends at 0.3.
            bins[-(-most * _BINS // cast) - 1].append(
                (most / cast, majority_at_n(problem.answers or (), problem.correct))
            )
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
