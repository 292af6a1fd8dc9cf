"""What the estimators cost on one core: 1,000 problems, 1,024 samples each, every k from 1 to 1,024.

Beside pass@k stands the formula of the HumanEval paper as its authors published it, one call per
problem and k; beside maj@k the usual way, votes over random subsets of size k, at a precision
that is far from exact. Votes are drawn so that some problems have two answers and some hundreds.
"""

import os
import time

os.environ["OMP_NUM_THREADS"] = os.environ["OPENBLAS_NUM_THREADS"] = "1"

import numpy as np

from wise_merge.estimators.best_at_k import best_at_k_curves
from wise_merge.estimators.majority import Votes, vote_curve
from wise_merge.estimators.pass_at_k import all_correct_curves, pass_at_k_curves

PROBLEMS, N = 1000, 1024
#: Problems and values of k on which the slow ways are timed; the rest is extrapolated.
SAMPLED_PROBLEMS, SAMPLED_K, SUBSETS = 20, 32, 1000


def seconds(function):
    """Return what a call returns and how long it took."""
    begin = time.perf_counter()
    result = function()
    return result, time.perf_counter() - begin


def human_eval(n, c, k):
    """The estimator as published with arXiv 2107.03374."""
    if n - c < k:
        return 1.0
    return 1.0 - np.prod(1.0 - k / np.arange(n - c + 1, n + 1))


def draw_votes(rng):
    """Return the votes of problems from nearly settled to nearly all different."""
    votes = []
    for _ in range(PROBLEMS):
        options, concentration = rng.choice([5, 50, 400]), rng.choice([1, 5, 25, 250])
        counts = rng.multinomial(N, rng.dirichlet(np.full(options, concentration / options)))
        right, *rest = rng.permutation(counts[counts > 0]).tolist()
        silent = rest.pop() if len(rest) > 1 else 0
        votes.append(Votes((right,), tuple(sorted(rest, reverse=True)), silent))
    return votes


def by_subsets(votes, k, rng):
    """Return the vote's score over random subsets of size k."""
    counts = np.array([*votes.right, *votes.wrong, votes.abstentions])
    drawn = rng.multivariate_hypergeometric(counts, k, size=SUBSETS)[:, :-1]
    most = drawn.max(axis=1, keepdims=True)
    tied = (drawn == most) & (most > 0)
    return (tied[:, 0] / np.maximum(tied.sum(axis=1), 1)).mean()


def main():
    """Print the table."""
    rng = np.random.default_rng(0)
    c = rng.binomial(N, rng.beta(0.5, 0.5, PROBLEMS))
    correct = np.arange(N) < c[:, None]
    scores = correct + rng.normal(size=correct.shape)
    votes = draw_votes(rng)

    curves, took = seconds(lambda: pass_at_k_curves(N, c))
    print(f"pass@k   {took:8.2f} s   {PROBLEMS} problems x n = {N}, all k")
    print(f"pass^k   {seconds(lambda: all_correct_curves(N, c))[1]:8.2f} s")
    print(f"best@k   {seconds(lambda: best_at_k_curves(scores, correct))[1]:8.2f} s")
    majority, took_majority = seconds(lambda: np.stack([vote_curve(vote) for vote in votes]))
    print(f"maj@k    {took_majority:8.2f} s")

    problems = rng.choice(PROBLEMS, SAMPLED_PROBLEMS, replace=False)
    ks = np.unique(np.linspace(1, N, SAMPLED_K).astype(int))
    share = PROBLEMS * N / (len(problems) * len(ks))
    published, slow = seconds(lambda: np.array([[human_eval(N, c[p], k) for k in ks] for p in problems]))
    gap = np.abs(published - curves[problems][:, ks - 1]).max()
    print(
        f"HumanEval formula, one call per problem and k: {share * slow / took:.0f} times slower, largest gap {gap:.0e}"
    )
    drawn, slow = seconds(lambda: np.array([[by_subsets(votes[p], k, rng) for k in ks] for p in problems]))
    gap = np.abs(drawn - majority[problems][:, ks - 1]).max()
    print(
        f"votes over {SUBSETS} random subsets: {share * slow / took_majority:.0f} times slower, largest gap {gap:.0e}"
    )


if __name__ == "__main__":
    main()
