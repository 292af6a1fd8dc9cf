"""How sure the mean over problems is, and whether two models differ.

Problems are what is independent: the samples of one problem share its difficulty. So
every standard error, interval and test here resamples problems, never samples.
"""

from dataclasses import dataclass
from statistics import NormalDist

import numpy as np

from wise_merge.errors import WiseMergeError

#: Resamples that are held at once: bounds the memory at 10,000 problems to 40 MB.
_BLOCK = 500
#: How far sums of probabilities may lie apart, or beyond 1, by rounding alone, at n = 10,000.
_ROUNDING = 1e-9


@dataclass(frozen=True)
class PairedDifference:
    """The difference of two models on the same problems, second minus first.

    Attributes:
        difference: of the means over problems.
        standard_error: of that difference; NaN from a single problem.
        low: lower end of the bootstrap interval; NaN from a single problem, or where all differ by the same.
        high: upper end of the bootstrap interval, likewise.
        p_value: two-sided, of the sign-flip permutation test.
    """

    difference: float
    standard_error: float
    low: float
    high: float
    p_value: float


def standard_error(values: np.ndarray) -> np.ndarray:
    """Return the standard error of the mean over problems; NaN for a single problem.

    `values` is (problems, ...); the result lacks the first axis.
    """
    values = _per_problem(values)
    if len(values) < 2:
        return np.full(values.shape[1:], np.nan)
    return np.asarray(values.std(axis=0, ddof=1) / np.sqrt(len(values)))


def mean_interval(
    values: np.ndarray,
    n: float | np.ndarray,
    *,
    rng: np.random.Generator,
    level: float = 0.95,
    resamples: int = 2000,
) -> tuple[np.ndarray, np.ndarray]:
    """Return the ends of an interval for the mean over problems; NaN from a single problem.

    For values in [0, 1] this is Wilson's interval with the effective number of trials,
    problems * mean * (1 - mean) / variance of the values: that of so many tosses of a coin with the
    same mean and standard error (Korn and Graubard 1998 do so for clustered samples). Of 0/1 values
    it is Wilson's own, and no success at all is not taken for certainty. It covers the truth more often
    than the percentile bootstrap where few problems are ever solved (docs/score.md).

    There are never more trials than samples, so values that happen to be equal are not taken for
    certainty either. Where n differs, that is problems^2 / sum of 1 / n: of a mean over problems whose
    samples are all tosses of one coin, the variance is p (1 - p) divided by it.

    If any value lies beyond [0, 1], it is the bootstrap's for all of them, and NaN where a column has no spread.

    Args:
        values: (problems,) or (problems, K); the interval of each column.
        n: samples of each problem, one number or (problems,).
        rng: of the bootstrap.
        level: confidence level in (0, 1).
        resamples: of the bootstrap.
    """
    values = _per_problem(values)
    problems = len(values)
    if problems < 2:
        return np.full(values.shape[1:], np.nan), np.full(values.shape[1:], np.nan)
    if values.min() < -_ROUNDING or values.max() > 1 + _ROUNDING:
        return _known_spread(values, bootstrap_interval(values, rng=rng, level=level, resamples=resamples))
    most = problems**2 / np.sum(1 / np.broadcast_to(_samples(n), problems))
    mean = values.mean(axis=0)
    with np.errstate(divide="ignore", invalid="ignore"):
        trials = problems * mean * (1 - mean) / values.var(axis=0)
    # All problems 0 or all 1: the interval is that of a binomial with one toss per problem.
    trials = np.where((mean <= 0) | (mean >= 1), problems, trials)
    return _wilson(mean, np.minimum(trials, most), level)


def interval_of_mean(
    mean: float, standard_error: float, problems: int, *, n: int = 1, level: float = 0.95
) -> tuple[float, float]:
    """Return the ends of the interval for a mean over problems of which nothing else is left; NaN where it is unknown.

    For values in [0, 1] it is that of `mean_interval`: mean and standard error tell their variance. No such values have
    a variance above mean * (1 - mean); where that is so, and for a mean beyond [0, 1], it is mean -+ z standard errors.

    Args:
        mean: over problems.
        standard_error: of it, as `standard_error` makes it.
        problems: how many.
        n: samples of each.
        level: confidence level in (0, 1).
    """
    if problems < 2 or not (np.isfinite(mean) and np.isfinite(standard_error)):
        return np.nan, np.nan
    variance = standard_error**2 * (problems - 1)
    if not 0 <= mean <= 1 or variance > mean * (1 - mean) + _ROUNDING:
        half = NormalDist().inv_cdf((1 + level) / 2) * standard_error
        return mean - half, mean + half
    # As in `mean_interval`: never more trials than samples, and one per problem where all are 0 or all are 1.
    trials = float(problems * n)
    if not 0 < mean < 1:
        trials = problems
    elif variance > 0:
        trials = min(trials, problems * mean * (1 - mean) / variance)
    low, high = _wilson(np.asarray(mean), np.asarray(float(trials)), level)
    return float(low), float(high)


def bootstrap_interval(
    values: np.ndarray, *, rng: np.random.Generator, level: float = 0.95, resamples: int = 2000
) -> tuple[np.ndarray, np.ndarray]:
    """Return the ends of the percentile bootstrap interval of the mean, problems drawn with replacement.

    Args:
        values: (problems,) or (problems, K).
        rng: source of the draws; one draw of problems serves all columns.
        level: confidence level in (0, 1).
        resamples: how many draws.
    """
    values = _per_problem(values)
    _check_level(level)
    means = _resampled_means(values, rng, resamples)
    low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2], axis=0)
    return np.asarray(low), np.asarray(high)


def wilson_interval(successes: int, trials: int, *, level: float = 0.95) -> tuple[float, float]:
    """Return Wilson's score interval for a share of independent trials (doi 10.1080/01621459.1927.10502953).

    Right for one sample per problem; for several samples per problem use `mean_interval`.
    """
    if trials < 1 or not 0 <= successes <= trials:
        raise WiseMergeError(f"an interval needs 0 <= successes <= trials and a trial; got {successes} of {trials}")
    low, high = _wilson(np.asarray(successes / trials), np.asarray(float(trials)), level)
    return float(low), float(high)


def _wilson(share: np.ndarray, trials: np.ndarray, level: float) -> tuple[np.ndarray, np.ndarray]:
    _check_level(level)
    spread = NormalDist().inv_cdf((1 + level) / 2) ** 2 / trials
    centre = (share + spread / 2) / (1 + spread)
    half = np.sqrt(share * (1 - share) * spread + spread**2 / 4) / (1 + spread)
    # The ends are 0 and 1 there, but for rounding.
    return np.where(share <= 0, 0.0, centre - half), np.where(share >= 1, 1.0, centre + half)


def paired_difference(
    first: np.ndarray,
    second: np.ndarray,
    *,
    rng: np.random.Generator,
    level: float = 0.95,
    resamples: int = 10_000,
) -> PairedDifference:
    """Compare two models on the same problems: paired bootstrap interval and permutation test.

    Under the null hypothesis the two models are exchangeable on each problem, so the sign of each
    difference is a coin toss: the p-value is the share of tosses with a mean at least as far from 0,
    the observed one counted among them. Drawn again, one problem, or problems that all differ by the
    same, would always give that difference: their interval is unknown, unless the models are equal on all.

    Args:
        first: (problems,) value of the first model on each problem.
        second: (problems,) value of the second model, in the same order.
        rng: of bootstrap and test.
        level: confidence level in (0, 1).
        resamples: of bootstrap and test, each.
    """
    first, second = _per_problem(first), _per_problem(second)
    if first.shape != second.shape or first.ndim != 1:
        raise WiseMergeError(
            f"a paired comparison needs one value per problem of both models, on the same problems; "
            f"got shapes {first.shape} and {second.shape}"
        )
    differences = second - first
    low, high = bootstrap_interval(differences, rng=rng, level=level, resamples=resamples)
    if len(differences) < 2 or differences.any():
        low, high = _known_spread(differences, (low, high))
    observed = abs(differences.sum())
    # Rounding must not decide whether a permutation with the same sum counts as at least as far.
    threshold = observed - 1e-9 * np.abs(differences).sum()
    as_far = sum(
        int((np.abs((2.0 * rng.integers(0, 2, (block, len(differences))) - 1) @ differences) >= threshold).sum())
        for block in _blocks(resamples)
    )
    return PairedDifference(
        difference=float(differences.mean()),
        standard_error=float(standard_error(differences)),
        low=float(low),
        high=float(high),
        p_value=(as_far + 1) / (resamples + 1),
    )


def minimum_detectable_effect(standard_error: float, *, level: float = 0.05, power: float = 0.8) -> float:
    """Return the smallest true difference that a two-sided test finds with the given power.

    (z_{1 - level / 2} + z_power) * standard_error, the normal approximation. `standard_error` is
    that of the difference: of a paired one, or sqrt(2) times that of one model's mean where
    another model of the same spread is to be compared on other problems.
    """
    _check_level(level)
    _check_level(power)
    normal = NormalDist()
    return (normal.inv_cdf(1 - level / 2) + normal.inv_cdf(power)) * standard_error


def _per_problem(values: np.ndarray) -> np.ndarray:
    values = np.asarray(values, dtype=np.float64)
    if not values.ndim or not len(values):
        raise WiseMergeError("there must be at least one problem; got none")
    if np.isnan(values).any():
        raise WiseMergeError("the value of a problem is NaN; every problem needs a value")
    return values


def _samples(n: float | np.ndarray) -> np.ndarray:
    n = np.asarray(n, dtype=np.float64)
    if not (n > 0).all():
        raise WiseMergeError(f"the interval of a problem without samples is not known; got n = {n.min()}")
    return n


def _known_spread(values: np.ndarray, ends: tuple[np.ndarray, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Return the ends of an interval, NaN where all values of a column are equal but for rounding."""
    alike = np.ptp(values, axis=0) <= _ROUNDING
    low, high = (np.where(alike, np.nan, end) for end in ends)
    return low, high


def _check_level(level: float) -> None:
    if not 0 < level < 1:
        raise WiseMergeError(f"a level or power must lie in (0, 1), such as 0.95; got {level}")


def _resampled_means(values: np.ndarray, rng: np.random.Generator, resamples: int) -> np.ndarray:
    """Return (resamples, ...): means over as many problems as there are, drawn with replacement."""
    problems = len(values)
    uniform = np.full(problems, 1 / problems)
    return np.concatenate(
        [rng.multinomial(problems, uniform, block) @ values / problems for block in _blocks(resamples)]
    )


def _blocks(count: int) -> list[int]:
    return [min(_BLOCK, count - start) for start in range(0, count, _BLOCK)]
