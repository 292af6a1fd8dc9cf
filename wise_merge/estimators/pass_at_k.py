"""Pass@k and pass^k: the chance that some, or all, of k samples are correct.

Both follow from n samples of a problem of which c are correct (arXiv 2107.03374,
equation 1), for every k from 1 to n at once.
"""

import numpy as np

from wise_merge.errors import WiseMergeError


def pass_at_k(n: int, c: int, k: int) -> float:
    """Return the unbiased estimate of Pass@k from n samples of which c are correct.

    1 - C(n - c, k) / C(n, k): the probability that k samples drawn without
    replacement from the n hold a correct one (arXiv 2107.03374, equation 1).

    >>> pass_at_k(4, 1, 2)
    0.5
    """
    check_counts(n, np.array([c]))
    if not 1 <= k <= n:
        raise WiseMergeError(f"pass@{k} needs 1 <= k <= n, but there are n = {n} samples; draw more or lower k")
    if n - c < k:
        return 1.0
    # The product form keeps every factor in [0, 1]; the binomials themselves overflow.
    return float(1.0 - np.prod(1.0 - k / np.arange(n - c + 1, n + 1)))


def pass_at_k_curves(n: int, c: np.ndarray) -> np.ndarray:
    """Return Pass@k of every problem for k = 1, ..., n.

    Args:
        n: samples per problem.
        c: (problems,) integers, how many of them are correct.

    Returns:
        (problems, n) float64; column k - 1 is pass@k, estimated without bias.
    """
    check_counts(n, c)
    # k correct samples are avoided one draw after the other: C(n-c, k) / C(n, k).
    return 1.0 - _all_drawn(n, n - np.asarray(c))


def all_correct_curves(n: int, c: np.ndarray) -> np.ndarray:
    """Return pass^k, the chance that all of k samples are correct, for k = 1, ..., n.

    C(c, k) / C(n, k), unbiased like pass@k (arXiv 2406.12045).

    Args:
        n: samples per problem.
        c: (problems,) integers, how many of them are correct.

    Returns:
        (problems, n) float64; column k - 1 is pass^k.
    """
    check_counts(n, c)
    return _all_drawn(n, np.asarray(c))


def check_counts(n: int, c: np.ndarray) -> None:
    """Refuse counts that no n samples can have."""
    if n < 1:
        raise WiseMergeError(f"estimates need at least one sample per problem; got n = {n}")
    wrong = [count for count in np.ravel(c) if not 0 <= count <= n]
    if wrong:
        raise WiseMergeError(f"the number of correct samples must lie in [0, {n}]; got {wrong[0]}")


def reported_k(n: int) -> list[int]:
    """Return the k at which a curve from n samples is reported: 1, 2, 4, ... and n.

    >>> reported_k(12)
    [1, 2, 4, 8, 12]
    """
    powers = [2**i for i in range(n.bit_length()) if 2**i < n]
    return [*powers, n]


def _all_drawn(n: int, m: np.ndarray) -> np.ndarray:
    """Return (problems, n): the chance C(m, k) / C(n, k) that all of k samples are among m of the n."""
    # Many problems share a count, so each count is computed once.
    counts, problem = np.unique(m, return_inverse=True)
    drawn = np.arange(n)
    left = np.maximum(counts[:, None] - drawn, 0)
    return np.asarray(np.cumprod(left / (n - drawn), axis=1)[problem])
