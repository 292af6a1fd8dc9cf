"""The figures of each problem at a point: pass@k, maj@k and best@k, by the estimators."""

import functools
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from wise_merge.errors import WiseMergeError
from wise_merge.estimators.best_at_k import best_at_k_curves
from wise_merge.estimators.majority import Votes, count_votes, vote_curve
from wise_merge.estimators.pass_at_k import pass_at_k_curves
from wise_merge.points.outcome import OWN_LOGPROB
from wise_merge.results.verdicts import JudgedProblem
from wise_merge.search.best.objective import Figure


def figure_of_problems(facts: Sequence[JudgedProblem], figure: Figure) -> np.ndarray:
    """Return (problems,) float64: the figure of each problem, without bias and from all its samples.

    Args:
        facts: of problems with at least `figure.k` samples each.
        figure: see there; best@k ranks the samples by the model's own mean log-probability.
    """
    sizes = np.array([problem.n for problem in facts])
    if not len(sizes) or sizes.min() < figure.k:
        raise WiseMergeError(f"{figure} needs {figure.k} samples of each problem; there are {min(sizes, default=0)}")
    values = np.empty(len(facts))
    for n in np.unique(sizes):
        some = [problem for problem in facts if problem.n == n]
        values[sizes == n] = _CURVES[figure.name](some)[:, figure.k - 1]
    return values


def _pass(facts: Sequence[JudgedProblem]) -> np.ndarray:
    return pass_at_k_curves(facts[0].n, np.array([problem.c for problem in facts]))


def _majority(facts: Sequence[JudgedProblem]) -> np.ndarray:
    return np.stack([_vote(count_votes(problem.answers or (None,) * problem.n, problem.correct)) for problem in facts])


# Equal votes occur in many problems and points, and counting them is the slowest step here.
@functools.cache
def _vote(votes: Votes) -> np.ndarray:
    # The computation is exact to about 1e-11; rounding makes a vote that is always won exactly 1.
    return np.asarray(np.round(vote_curve(votes), 10))


def _best(facts: Sequence[JudgedProblem]) -> np.ndarray:
    scores = np.array([problem.scores[OWN_LOGPROB] for problem in facts])
    return best_at_k_curves(scores, np.array([problem.correct for problem in facts]))


#: From a figure's name to its curves (problems, n) of problems with equal n.
_CURVES: Mapping[str, Callable[[Sequence[JudgedProblem]], np.ndarray]] = {
    "pass": _pass,
    "maj": _majority,
    "best": _best,
}
