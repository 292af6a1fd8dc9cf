"""Pass@1 problem by problem: bias, variance, and what they allow Pass@k to be.

rho_x is the chance that one sample of problem x is correct. Fine-tuning lowers the bias
E[1 - rho_x] and raises the variance Var(rho_x): problems are solved always or never, and
Pass@k cannot rise (arXiv 2504.10478, section 6).
"""

from dataclasses import dataclass

import numpy as np

from wise_merge.errors import WiseMergeError
from wise_merge.estimators.pass_at_k import check_counts


@dataclass(frozen=True)
class BiasVariance:
    """E[1 - rho_x] and Var(rho_x) over problems, each estimated without bias.

    The variance is NaN from one sample per problem or one problem, and may come out slightly
    below 0 where the true one is near 0.
    """

    bias: float
    variance: float


def bias_and_variance(n: int, c: np.ndarray) -> BiasVariance:
    """Return bias and variance of Pass@1 over problems.

    The variance of c / n over problems holds the noise of n samples too, so the
    unbiased estimate of that noise, mean((c/n)(1 - c/n) / (n - 1)), is taken off.

    Args:
        n: samples per problem.
        c: (problems,) integers, how many of them are correct.
    """
    check_counts(n, c)
    rates = np.asarray(c) / n
    if not rates.size:
        raise WiseMergeError("bias and variance need at least one problem; got none")
    variance = np.nan
    if n > 1 and len(rates) > 1:
        variance = rates.var(ddof=1) - (rates * (1 - rates)).mean() / (n - 1)
    return BiasVariance(float(1 - rates.mean()), float(variance))


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
