"""Results as JSON, with the facts from which every figure can be recomputed, and as CSV, one line per figure."""

import csv
import io
import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, astuple, dataclass
from pathlib import Path
from typing import Any

from wise_merge import __version__
from wise_merge.results.comparison import Comparison
from wise_merge.results.reading.problem import Samples
from wise_merge.results.summary import LEVEL, Summary
from wise_merge.results.verdicts import JudgedProblem, Verdicts
from wise_merge.results.whole_file import write_document, write_whole


@dataclass(frozen=True)
class Scored:
    """A file of samples with its verdicts and figures, under a name that no other file has."""

    name: str
    samples: Samples
    verdicts: Verdicts
    summary: Summary


def write_json(path: Path, scored: Sequence[Scored], comparisons: Sequence[Comparison], *, seed: int) -> None:
    """Write facts and figures as JSON."""
    document = {
        "wise_merge": __version__,
        "seed": seed,
        "level": LEVEL,
        "files": [_file(one) for one in scored],
        "comparisons": [asdict(comparison) for comparison in comparisons],
    }
    write_document(path, document)


def write_csv(path: Path, scored: Sequence[Scored]) -> None:
    """Write every point of every curve as a line: file, metric, scorer, k, value, ..., problems, n.

    Where n differs between problems, k = n stands for all samples of each.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["file", "metric", "scorer", "k", "value", "standard_error", "low", "high", "problems", "n"])
    for one in scored:
        for curve in one.summary.curves:
            points: list[tuple[str | float, ...]] = [(k, *astuple(curve.at(k))) for k in curve.k]
            if curve.of_all is not None:
                points.append(("n", *astuple(curve.of_all)))
            for point in points:
                cells = ["" if isinstance(cell, float) and math.isnan(cell) else cell for cell in point]
                size = [one.summary.problems, one.summary.n_low]
                writer.writerow([one.name, curve.name, curve.scorer or "", *cells, *size])
    write_whole(path, text.getvalue().encode())


def _file(one: Scored) -> dict[str, Any]:
    samples, summary = one.samples, asdict(one.summary)
    return {
        "file": one.name,
        "path": str(samples.path),
        "task": samples.task,
        "benchmark": samples.benchmark and samples.benchmark.name,
        "judged_by": samples.judged_by,
        "columns": {**samples.columns.roles, "scores": samples.columns.scores},
        "rejected": [{"place": place, "reason": reason} for place, reason in samples.rejected],
        "missing": samples.missing,
        "agreement": one.verdicts.agreement and asdict(one.verdicts.agreement),
        "problems": [_problem(problem) for problem in one.verdicts.problems],
        "summary": {"notes": summary.pop("notes"), **summary},
    }


def _problem(problem: JudgedProblem) -> dict[str, Any]:
    """Return the facts of a problem: verdicts by answer; by sample only where scores tell samples apart."""
    facts: dict[str, Any] = {"id": problem.id, "gold": problem.gold, "n": problem.n, "c": problem.c}
    answers = problem.answers or (None,) * problem.n
    votes = Counter(zip(answers, problem.correct, strict=True))
    facts["unanswered"] = None if problem.answers is None else votes.pop((None, False), 0) + votes.pop((None, True), 0)
    ordered = sorted(votes.items(), key=lambda vote: (-vote[1], str(vote[0][0])))
    if problem.answers is not None:
        facts["answers"] = [
            {"answer": answer, "count": count, "correct": correct} for (answer, correct), count in ordered
        ]
    facts["distinct_completions"], facts["operations"] = problem.distinct, problem.operations
    facts["cut_off"] = problem.cut_off
    if problem.scores:
        facts["samples"] = {"answer": answers, "correct": problem.correct, "scores": problem.scores}
    return facts
