"""Results as JSON, with the facts from which every figure can be recomputed, and as CSV, one line per figure.

The facts in JSON can be read again.
"""

import csv
import io
import json
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, astuple, dataclass
from pathlib import Path
from typing import Any

from wise_merge import __version__
from wise_merge.errors import WiseMergeError
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


@dataclass(frozen=True)
class ReadAgain:
    """What `write_json` has written of a file of samples.

    Attributes:
        name: short, see `Scored`.
        path: of the samples, as the command was given it.
        task: that an lm-eval file is named after, else None.
        benchmark: by which answers were read; None = they are the file's own.
        by_file: whether the verdicts are the file's own; None = it is not recorded.
        judged_by: the metric and task of lm-eval whose verdicts they are, None where they are ours or of any file.
        rejected: how many rows could not be used.
        missing: see `wise_merge.results.reading.problem.Samples`.
        notes: sentences that the reader of the figures should see.
        problems: judged.
    """

    name: str
    path: Path
    task: str | None
    benchmark: str | None
    by_file: bool | None
    judged_by: str | None
    rejected: int
    missing: Mapping[str, int]
    notes: tuple[str, ...]
    problems: tuple[JudgedProblem, ...]


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
        "notes": [*samples.notes, *one.verdicts.notes],
        "verdicts": "file" if one.verdicts.by_file else "own",
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


def read_json(path: Path) -> list[ReadAgain]:
    """Return what `write_json` has written of each file; the figures can be made again from it."""
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
        return [_read_again(file) for file in document["files"]]
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        reason = f"{error} is missing" if isinstance(error, KeyError) else error
        raise WiseMergeError(
            f"{path} cannot be read ({reason}); write it again with `wise-merge score --json`"
        ) from error


def _read_again(file: Mapping[str, Any]) -> ReadAgain:
    verdicts = file.get("verdicts")
    return ReadAgain(
        name=str(file["file"]),
        path=Path(file["path"]),
        task=file["task"],
        benchmark=file["benchmark"],
        by_file=None if verdicts is None else verdicts == "file",
        judged_by=file.get("judged_by"),
        rejected=len(file["rejected"]),
        missing=dict(file["missing"]),
        notes=tuple(file.get("notes", ())),
        problems=tuple(_problem_again(problem) for problem in file["problems"]),
    )


def _problem_again(facts: Mapping[str, Any]) -> JudgedProblem:
    """Return the problem of which `_problem` has written the facts."""
    answers: list[str | None]
    if "samples" in facts:
        answers, correct = facts["samples"]["answer"], facts["samples"]["correct"]
    elif facts["unanswered"] is None:
        answers, correct = [], [index < facts["c"] for index in range(facts["n"])]
    else:
        votes = [(vote["answer"], vote["correct"]) for vote in facts["answers"] for _ in range(vote["count"])]
        # A sample without an answer is right only by a verdict of the file.
        right = facts["c"] - sum(correct for _, correct in votes)
        votes += [(None, index < right) for index in range(facts["unanswered"])]
        answers, correct = [answer for answer, _ in votes], [right for _, right in votes]
    if len(correct) != facts["n"] or sum(correct) != facts["c"]:
        raise ValueError(f"the samples of problem {facts['id']} are not those that were counted")
    # JSON has no infinity, the score of what a scorer cannot read.
    scores = {
        scorer: tuple(-math.inf if score is None else score for score in values)
        for scorer, values in facts.get("samples", {}).get("scores", {}).items()
    }
    return JudgedProblem(
        facts["id"],
        facts["gold"],
        tuple(correct),
        None if facts["unanswered"] is None else tuple(answers),
        scores,
        facts["distinct_completions"],
        None if facts["operations"] is None else tuple(facts["operations"]),
        facts["cut_off"],
    )
