"""The figures of each problem: every metric of its judged samples, at every k, by the estimators.

Means over problems and their intervals are made of these in `summary`.
"""

import functools
import math
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from wise_merge.errors import WiseMergeError
from wise_merge.estimators.best_at_k import best_at_k_curves
from wise_merge.estimators.diversity import distinct_curve, distinct_share_curve
from wise_merge.estimators.majority import Votes, count_votes, vote_curve, weighted_majority_curve
from wise_merge.estimators.pass_at_k import all_correct_curves, pass_at_k_curves, reported_k
from wise_merge.results.verdicts import JudgedProblem


@dataclass(frozen=True)
class Metric:
    """A figure of each problem at some k.

    Attributes:
        name: `pass@k`, `pass^k`, `maj@k`, `best@k`, `weighted maj@k`, `answer diversity`,
            `operation diversity` or `semantic diversity`.
        scorer: that ranks or weighs, None for figures without.
        k: ascending.
        values: (problems, len(k)) float64, in the order of the problems.
        monte_carlo_error: of the mean over problems at each k where the figure is sampled, else None.
        of_all: (problems,) values from all samples of each problem, None where that is no figure of its own.
    """

    name: str
    scorer: str | None
    k: tuple[int, ...]
    values: np.ndarray
    monte_carlo_error: np.ndarray | None = None
    of_all: np.ndarray | None = None

    @property
    def title(self) -> str:
        """The name with its scorer."""
        return self.name if self.scorer is None else f"{self.name} by {self.scorer}"


def check_k(problems: Sequence[JudgedProblem], asked: Sequence[int] | None) -> list[int]:
    """Return at which k to report: those asked for, if all problems have so many samples, else 1, 2, 4, ..."""
    fewest = min(problem.n for problem in problems)
    if asked is None:
        return reported_k(fewest)
    for k in asked:
        if not 1 <= k <= fewest:
            short = next(problem for problem in problems if problem.n == fewest)
            raise WiseMergeError(
                f"k = {k} needs 1 <= k <= n, but problem {short.id[:60]} has n = {fewest} samples; draw more or lower k"
            )
    return sorted(set(asked))


#: Called as watch(items, title): yields the items, and may show progress under the title.
Watch = Callable[[Collection[Any], str], Iterable[Any]]


def metrics(
    problems: Sequence[JudgedProblem],
    reported: Sequence[int],
    *,
    seed: int = 0,
    watch: Watch = lambda items, _: items,
) -> tuple[list[Metric], list[str]]:
    """Return every metric of the problems, and what is left out and why.

    Args:
        problems: at least one, judged.
        reported: the k at which sampled figures are wanted; the others are computed at all k.
        seed: of the orders in which weighted votes are counted.
        watch: sees the problems pass whose votes are counted, which takes longest.
    """
    n = min(problem.n for problem in problems)
    every = tuple(range(1, n + 1))
    computed = [_by_n("pass@k", None, problems, n, lambda size, some: pass_at_k_curves(size, correct_counts(some)))]
    notes = []
    votes = all(problem.answers is not None for problem in problems)
    if votes:
        computed.append(_majority(problems, n, watch))
    for scorer in _scorers(problems):
        computed.append(_by_n("best@k", scorer, problems, n, functools.partial(_best, scorer)))
    for scorer in _scorers(problems) if votes else ():
        # -inf is the score of what a scorer cannot read: such a sample has no weight.
        finite = [score for problem in problems for score in problem.scores[scorer] if score != -math.inf]
        lowest = min(finite, default=0.0)
        if lowest < 0:
            notes.append(f"no weighted vote by {scorer}: it has scores below 0 (down to {lowest:.4g}), so no weights")
            continue
        computed.append(_weighted(problems, scorer, reported, seed, watch))
    computed.append(
        _by_n("pass^k", None, problems, n, lambda size, some: all_correct_curves(size, correct_counts(some)))
    )
    if votes:
        shares = [distinct_share_curve(problem.answers or ())[:n] for problem in problems]
        computed.append(Metric("answer diversity", None, every, np.stack(shares)))
    if all(problem.operations is not None for problem in problems):
        shares = [distinct_curve(np.array(problem.operations))[:n] for problem in problems]
        computed.append(Metric("operation diversity", None, every, np.stack(shares)))
    return computed, notes


def by_size(problems: Sequence[JudgedProblem]) -> dict[int, list[JudgedProblem]]:
    """Return the problems by their number of samples n."""
    groups: dict[int, list[JudgedProblem]] = {}
    for problem in problems:
        groups.setdefault(problem.n, []).append(problem)
    return groups


def _by_n(
    name: str,
    scorer: str | None,
    problems: Sequence[JudgedProblem],
    n: int,
    curves: Callable[[int, list[JudgedProblem]], np.ndarray],
) -> Metric:
    """Return a metric; the curves of problems with equally many samples are computed together, and cut to n."""
    values, of_all = np.empty((len(problems), n)), np.empty(len(problems))
    sizes = np.array([problem.n for problem in problems])
    for size, some in by_size(problems).items():
        whole = curves(size, some)
        values[sizes == size], of_all[sizes == size] = whole[:, :n], whole[:, -1]
    return Metric(name, scorer, tuple(range(1, n + 1)), values, of_all=of_all)


def correct_counts(problems: Sequence[JudgedProblem]) -> np.ndarray:
    """Return c of each problem: how many of its samples are correct."""
    return np.array([problem.c for problem in problems])


def _votes(problem: JudgedProblem) -> tuple[Sequence[str | None], Sequence[bool]]:
    return problem.answers or (), problem.correct


def _majority(problems: Sequence[JudgedProblem], n: int, watch: Watch) -> Metric:
    votes = [count_votes(*_votes(problem)) for problem in problems]
    # Many problems have the same votes: easy ones, and all where n is small.
    distinct: set[Votes] = set(votes)
    curves = {vote: _vote_curve(vote) for vote in watch(distinct, "maj@k")}
    values = np.stack([curves[vote][:n] for vote in votes])
    return Metric("maj@k", None, tuple(range(1, n + 1)), values, of_all=np.array([curves[vote][-1] for vote in votes]))


@functools.lru_cache(maxsize=20_000)
def _vote_curve(vote: Votes) -> np.ndarray:
    """Return the curve of a vote; cached, as the points of a sweep have many votes in common."""
    # Exact to about 1e-11: a vote that is always won must be 1, and not almost.
    curve = np.round(vote_curve(vote), 10)
    curve.setflags(write=False)
    return curve


def _best(scorer: str, _: int, problems: Sequence[JudgedProblem]) -> np.ndarray:
    scores = np.array([problem.scores[scorer] for problem in problems])
    return best_at_k_curves(scores, np.array([problem.correct for problem in problems]))


def _scorers(problems: Sequence[JudgedProblem]) -> list[str]:
    return [scorer for scorer in problems[0].scores if all(scorer in problem.scores for problem in problems)]


def _weighted(
    problems: Sequence[JudgedProblem], scorer: str, reported: Sequence[int], seed: int, watch: Watch
) -> Metric:
    rng = np.random.default_rng(seed)
    curves, errors, of_all = [], [], []
    for problem in watch(problems, f"weighted maj@k by {scorer}"):
        weights = np.maximum(problem.scores[scorer], 0.0)
        k = sorted({*reported, problem.n})
        curve, error = weighted_majority_curve(*_votes(problem), weights, rng=rng, k=k)
        curves.append(curve[: len(reported)])
        errors.append(error[: len(reported)])
        of_all.append(curve[-1])
    # The draws of different problems are independent.
    error = np.sqrt(np.square(errors).sum(axis=0)) / len(problems)
    return Metric("weighted maj@k", scorer, tuple(reported), np.stack(curves), error, np.array(of_all))
