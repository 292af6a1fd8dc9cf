"""The scores of a task: of one problem from its judged completions, and the whole curve over all problems."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from wise_merge.answers.benchmarks import Judged
from wise_merge.estimators.best_at_k import best_at_k_curves
from wise_merge.estimators.majority import majority_at_n, majority_curves
from wise_merge.estimators.pass_at_k import pass_at_k_curves, reported_k
from wise_merge.estimators.uncertainty import standard_error
from wise_merge.tasks import audit


def metric_names(n: int, *, ranked: bool) -> list[str]:
    """Return the metrics that are means over problems of n completions each; `ranked` if a scorer ranks these."""
    votes = [f"maj@{n}", *([f"best@{n}"] if ranked else [])]
    return [*(f"pass@{k}" for k in reported_k(n)), *votes, "answered", "identical", "cut_off"]


def of_problem(completions: Sequence[str], judged: Judged, counts: audit.Counts) -> dict[str, Any]:
    """Return the scores of one problem, and what they were computed from.

    Args:
        completions: the n of the problem.
        judged: their answers and verdicts.
        counts: what the audit says of them.
    """
    n = len(completions)
    pass_at_k = pass_at_k_curves(n, np.array([sum(judged.correct)]))[0]
    scores: dict[str, Any] = {f"pass@{k}": float(pass_at_k[k - 1]) for k in reported_k(n)}
    scores[f"maj@{n}"] = majority_at_n(judged.answers, judged.correct)
    scores["answered"] = (counts["answered"] or 0) / n
    scores["identical"] = float(counts["distinct"] == 1 < n)
    if counts["cut_off"] is not None:
        scores["cut_off"] = counts["cut_off"] / n
    scores["curve"] = {
        "answers": list(judged.answers),
        "correct": list(judged.correct),
        **audit.sampling_details(completions),
    }
    return scores


def add_best_at_k(scores: dict[str, Any], ranked: Sequence[float] | None, judged: Judged) -> None:
    """Add best@n to the scores of one problem, NaN if the scorer failed.

    Args:
        scores: see `of_problem`.
        ranked: one score per completion, higher is better; None if the scorer failed.
        judged: the verdicts on the completions.
    """
    name = f"best@{len(judged.correct)}"
    # NaN rather than left out, as all processes of a run must have the same metrics.
    scores[name] = math.nan
    if ranked is not None:
        scores[name] = float(best_at_k_curves(np.array([ranked]), np.array([judged.correct]))[0][-1])
        # Infinity is not JSON.
        scores["curve"]["scores"] = [score if math.isfinite(score) else None for score in ranked]


def whole_curve(judged: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Return pass@k and maj@k for k = 1, ..., n with standard errors, means over problems.

    Args:
        judged: `answers` (labels, None = no answer) and `correct` of each problem's n completions,
            and their `scores` if there is a scorer (None = could not be read). What else there is
            (see `audit.sampling_details`) is for the samples that are logged.

    Returns:
        `n`, `problems`, and lists of n numbers each: `pass@k`, `pass@k_stderr`, `maj@k`,
        `maj@k_stderr`, with scores `best@k` and `best@k_stderr` too. A single problem has no
        standard error (None).
    """
    n = len(judged[0]["correct"])
    correct = np.array([sum(problem["correct"]) for problem in judged])
    curves = {
        "pass@k": pass_at_k_curves(n, correct),
        "maj@k": majority_curves((problem["answers"], problem["correct"]) for problem in judged),
    }
    if all("scores" in problem for problem in judged):
        scores = [[-math.inf if score is None else score for score in problem["scores"]] for problem in judged]
        curves["best@k"] = best_at_k_curves(np.array(scores), np.array([problem["correct"] for problem in judged]))
    result: dict[str, Any] = {"n": n, "problems": len(judged)}
    for name, values in curves.items():
        result[name] = values.mean(axis=0).tolist()
        errors = standard_error(values).tolist()
        result[f"{name}_stderr"] = errors if len(judged) > 1 else [None] * n
    return result
