"""What a point is worth, and whether it differs from another, on problems that had no part in choosing it.

Several tasks count alike, whatever the number of their problems; problems are independent, tasks are fixed.
"""

import numpy as np

from wise_merge.estimators.uncertainty import PairedDifference, mean_interval, paired_difference, standard_error
from wise_merge.results.summary import LEVEL, Estimate
from wise_merge.search.best.choice import task_weights

#: Number of resamples in each bootstrap and permutation test.
RESAMPLES = 10_000


def estimate(values: np.ndarray, n: int, tasks: np.ndarray, *, seed: int) -> Estimate:
    """Return the mean over tasks of the means over their problems.

    Args:
        values: (P,) of a point on each problem.
        n: samples of each problem, the fewest where that differs.
        tasks: (P,) the task of each.
        seed: of the bootstrap, where one is needed.
    """
    levelled = _levelled(values, tasks)
    # A problem of a small task has a larger weight, which acts as if it had fewer samples.
    sizes = n / np.square(task_weights(tasks) * len(tasks))
    low, high = mean_interval(levelled, sizes, rng=np.random.default_rng(seed), level=LEVEL)
    return Estimate(*map(float, (levelled.mean(), standard_error(levelled), low, high)))


def difference(
    first: np.ndarray, second: np.ndarray, tasks: np.ndarray, *, seed: int, resamples: int = RESAMPLES
) -> PairedDifference:
    """Return second minus first on the same problems, with a bootstrap interval and the p of a permutation test.

    Args:
        first: (P,) of one point on each problem.
        second: (P,) of another.
        tasks: (P,) the task of each problem.
        seed: of bootstrap and test.
        resamples: of each.
    """
    weights = task_weights(tasks) * len(tasks)
    # The test flips the signs of the weighted differences themselves, not of levelled values, so it is exact.
    tested = paired_difference(
        first * weights, second * weights, rng=np.random.default_rng(seed), level=LEVEL, resamples=resamples
    )
    if len(np.unique(tasks)) == 1:
        return tested
    levelled = _levelled(second - first, tasks)
    spread = paired_difference(
        np.zeros(len(tasks)), levelled, rng=np.random.default_rng(seed), level=LEVEL, resamples=resamples
    )
    return PairedDifference(spread.difference, spread.standard_error, spread.low, spread.high, tested.p_value)


def _levelled(values: np.ndarray, tasks: np.ndarray) -> np.ndarray:
    """Return values whose plain mean is the mean over tasks and whose spread is that within the tasks alone.

    So what knows nothing of tasks gives the standard error of a stratified mean: how far tasks lie apart is no
    uncertainty, as they would be the same with other problems.
    """
    weights = task_weights(tasks) * len(tasks)
    _, task, counts = np.unique(tasks, return_inverse=True, return_counts=True)
    means = np.bincount(task, values) / counts
    if len(counts) == 1:
        return values
    return np.asarray(means.mean() + weights * (values - means[task]))
