"""Pass@1 problem by problem: bias, variance, and what they allow Pass@k to be.

rho_x is the chance that one sample of problem x is correct. Fine-tuning lowers the bias
E[1 - rho_x] and raises the variance Var(rho_x): problems are solved always or never, and
Pass@k cannot rise (arXiv 2504.10478, section 6).
"""

from dataclasses import dataclass
from statistics import NormalDist

import numpy as np

from wise_merge.errors import WiseMergeError
from wise_merge.estimators.pass_at_k import check_counts


@dataclass(frozen=True)
class BiasVariance:
    """E[1 - rho_x] and Var(rho_x) over problems, each estimated without bias.

    The variance is NaN from one problem, or where a problem has one sample only, and may come
    out slightly below 0 where the true one is near 0.
    """

    bias: float
    variance: float


def bias_and_variance(n: int | np.ndarray, c: np.ndarray) -> BiasVariance:
    """Return bias and variance of Pass@1 over problems.

    The variance of c / n over problems holds the noise of the samples too. So rho^2 is estimated by
    the chance c (c - 1) / (n (n - 1)) that two samples of a problem are both correct, and the square
    of the mean by the mean over pairs of different problems. With one n for all this is the variance
    of c / n less mean((c / n)(1 - c / n) / (n - 1)).

    Args:
        n: samples per problem, one number or (problems,) integers.
        c: (problems,) integers, how many of them are correct.
    """
    n, c = np.broadcast_arrays(np.asarray(n), np.asarray(c))
    problems = len(c)
    if not problems:
        raise WiseMergeError("bias and variance need at least one problem; got none")
    for size in np.unique(n):
        check_counts(int(size), c[n == size])
    rates = c / n
    variance = np.nan
    if problems > 1 and n.min() > 1:
        both = (c * (c - 1) / (n * (n - 1))).mean()
        different = (rates.sum() ** 2 - (rates**2).sum()) / (problems * (problems - 1))
        variance = both - different
    return BiasVariance(float(1 - rates.mean()), float(variance))


def variance_interval(n: int | np.ndarray, c: np.ndarray, *, level: float = 0.95) -> tuple[float, float]:
    """Return the ends of an interval for Var(rho_x): the estimate of `bias_and_variance` ± z standard errors.

    The standard error is the jackknife's over problems: sqrt((P - 1) / P * sum (V_(i) - mean)^2), V_(i) the
    estimate without problem i. NaN from fewer than three problems, where a problem has one sample only, and
    where all problems are alike: leaving one out then tells nothing.

    Args:
        n: samples per problem, one number or (problems,) integers.
        c: (problems,) integers, how many of them are correct.
        level: confidence level in (0, 1).
    """
    estimate = bias_and_variance(n, c).variance
    n, c = np.broadcast_arrays(np.asarray(n), np.asarray(c))
    problems = len(c)
    if problems < 3 or n.min() < 2:
        return float("nan"), float("nan")
    rates, both = c / n, c * (c - 1) / (n * (n - 1))
    others, other_squares = rates.sum() - rates, (rates**2).sum() - rates**2
    without = (both.sum() - both) / (problems - 1)
    without -= (others**2 - other_squares) / ((problems - 1) * (problems - 2))
    if np.ptp(without) < 1e-12:
        return float("nan"), float("nan")
    half = NormalDist().inv_cdf((1 + level) / 2) * np.sqrt((problems - 1) * without.var())
    return float(estimate - half), float(estimate + half)


def pass_at_k_bound(bias: float, variance: float, k: np.ndarray) -> np.ndarray:
    """Return the most that Pass@k can be on average, given bias and variance, for k >= 2.

    1 - (bias^2 + variance)^(k / 2) (arXiv 2504.10478, proposition 6.1): Jensen's inequality for
    (1 - rho)^k, with equality at k = 2 and wherever all problems have one rho. For k = 1 it
    would not be a bound, so NaN is returned there. Same shape as `k`, float64.
    """
    k = np.asarray(k)
    second_moment = np.clip(bias**2 + variance, 0.0, 1.0)
    return np.where(k >= 2, 1.0 - second_moment ** (k / 2), np.nan)


def rate_histogram(n: int, c: np.ndarray, *, bins: int = 10) -> tuple[np.ndarray, np.ndarray]:
    """Return (bins,) counts of problems by their share of correct samples, and the (bins + 1,) edges in [0, 1].

    Bins hold their left edge, the last one both.
    """
    check_counts(n, c)
    # In integers: 3 of 10 belongs above the edge 0.3, which as a float is not 3 / 10.
    index = np.minimum(np.asarray(c) * bins // n, bins - 1)
    return np.bincount(index, minlength=bins), np.linspace(0.0, 1.0, bins + 1)
