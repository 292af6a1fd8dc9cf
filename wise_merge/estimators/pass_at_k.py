"""Estimates of what K independent samples of a problem are worth.

Every estimator uses all n samples of a problem, not the first K, and does not
depend on their order. Pure functions; no host is imported.
"""

from collections.abc import Hashable, Sequence

import numpy as np

from wise_merge.errors import WiseMergeError


def pass_at_k(n: int, c: int, k: int) -> float:
    """Return the unbiased estimate of Pass@k from n samples of which c are correct.

    1 - C(n - c, k) / C(n, k): the probability that k samples drawn without
    replacement from the n hold a correct one (arXiv 2107.03374, equation 1).

    >>> pass_at_k(4, 1, 2)
    0.5
    """
    if not 0 <= c <= n:
        raise WiseMergeError(f"the number of correct samples must lie in [0, {n}]; got {c}")
    if not 1 <= k <= n:
        raise WiseMergeError(f"pass@{k} needs 1 <= k <= n, but there are n = {n} samples; draw more or lower k")
    if n - c < k:
        return 1.0
    # The product form keeps every factor in [0, 1]; the binomials themselves overflow.
    return float(1.0 - np.prod(1.0 - k / np.arange(n - c + 1, n + 1)))


def majority_at_n(answers: Sequence[Hashable | None], correct: Sequence[bool]) -> float:
    """Return the score in [0, 1] of the most frequent answer among all n samples.

    `answers` are hashable classes: equal means the same vote; None, a sample
    without an answer, does not vote. Tied answers share the credit equally, so
    the score is the share of the tied answers that are correct, and 0 if no
    sample has an answer. All samples of one class must have one verdict.
    """
    if len(answers) != len(correct):
        raise WiseMergeError(f"there are {len(answers)} answers but {len(correct)} verdicts")
    votes: dict[Hashable, int] = {}
    verdicts: dict[Hashable, bool] = {}
    for answer, verdict in zip(answers, correct, strict=True):
        if answer is None:
            continue
        votes[answer] = votes.get(answer, 0) + 1
        if verdicts.setdefault(answer, verdict) != verdict:
            raise WiseMergeError(f"answer {answer!r} was judged both correct and wrong")
    if not votes:
        return 0.0
    most = max(votes.values())
    winners = [answer for answer, count in votes.items() if count == most]
    return sum(verdicts[answer] for answer in winners) / len(winners)


def reported_k(n: int) -> list[int]:
    """Return the k at which a curve from n samples is reported: 1, 2, 4, ... and n.

    >>> reported_k(12)
    [1, 2, 4, 8, 12]
    """
    powers = [2**i for i in range(n.bit_length()) if 2**i < n]
    return [*powers, n]
