"""Best@k: the correctness of the sample that a scorer ranks first among k.

The measure behind Best@K in arXiv 2504.10478, where an outcome reward model picks.
"""

import numpy as np

from wise_merge.errors import WiseMergeError

#: Values of k whose weights are held at once: bounds the memory at n = 10,000 to 20 MB.
_BLOCK = 256


def best_at_k_curves(scores: np.ndarray, correct: np.ndarray) -> np.ndarray:
    """Return Best@k of every problem for k = 1, ..., n, unbiased over all subsets of k samples.

    Sorted by score, the sample at rank i (from 0) is the best of a subset of size k with
    probability C(i, k - 1) / C(n, k). Samples with one score share their chances equally.

    Args:
        scores: (problems, n) float, higher is better; no NaN.
        correct: (problems, n) bool.

    Returns:
        (problems, n) float64; column k - 1 is best@k.
    """
    scores, correct = np.asarray(scores, dtype=np.float64), np.asarray(correct, dtype=bool)
    if scores.shape != correct.shape or scores.ndim != 2 or not scores.shape[1]:
        raise WiseMergeError(
            f"scores and verdicts must both have the shape (problems, n) with n >= 1; "
            f"got {scores.shape} and {correct.shape}"
        )
    if np.isnan(scores).any():
        problem, sample = np.argwhere(np.isnan(scores))[0]
        raise WiseMergeError(
            f"the score of sample {sample} of problem {problem} is NaN; a scorer must rank every sample"
        )
    credit = _shared_credit(scores, correct)
    n = credit.shape[1]
    return np.concatenate(
        [credit @ _chance_of_best(n, k) for k in np.array_split(np.arange(1, n + 1), -(-n // _BLOCK))], 1
    )


def _shared_credit(scores: np.ndarray, correct: np.ndarray) -> np.ndarray:
    """Return (problems, n): correctness in ascending order of score, averaged within equal scores."""
    order = np.argsort(scores, axis=1, kind="stable")
    ranked = np.take_along_axis(scores, order, axis=1)
    credit = np.take_along_axis(correct, order, axis=1).astype(np.float64)
    # Runs of equal scores, numbered through all problems.
    starts = np.ones_like(ranked, dtype=bool)
    starts[:, 1:] = ranked[:, 1:] != ranked[:, :-1]
    run = np.cumsum(starts.ravel()) - 1
    return np.asarray((np.bincount(run, credit.ravel()) / np.bincount(run))[run].reshape(credit.shape))


def _chance_of_best(n: int, k: np.ndarray) -> np.ndarray:
    """Return (n, len(k)): the chance C(i, k - 1) / C(n, k) that rank i is the best of k."""
    rank = np.arange(n - 1, 0, -1)[:, None]
    # From the top rank, k / n, downwards: C(i-1, k-1) / C(i, k-1) = (i - k + 1) / i.
    steps = np.maximum(rank - k + 1, 0) / rank
    chances = np.cumprod(np.concatenate([(k / n)[None, :], steps]), axis=0)
    return np.asarray(chances[::-1])
