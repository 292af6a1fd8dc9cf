"""An evaluation of one model on one task, whatever wrote it down."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from wise_merge.publish.evidence import Counts, OtherMetric
from wise_merge.results.summary import Summary
from wise_merge.results.verdicts import JudgedProblem


@dataclass(frozen=True)
class Evaluated:
    """What is known of a model on a task, from one run.

    Attributes:
        source: the file that says so.
        role: whose it is; None = the file does not say which model was sampled.
        model: its name in the results; None = likewise.
        task: its name.
        summary: figures from K samples of each problem; None = there are only further metrics.
        problems: see `Row.problems`.
        temperature: see `Row.temperature`.
        max_tokens: see `Row.max_tokens`.
        limit: see `Row.limit`.
        problems_of_task: how many there are, sampled or not; None = unknown.
        settings: see `TaskEvidence.settings`.
        dataset: see `TaskEvidence.dataset`.
        judge: see `TaskEvidence.judge`.
        others: see `TaskEvidence.others`.
        remarks: see `TaskEvidence.remarks`.
        made: a sentence on how and when it was made.
        date: of that, ISO 8601; None = it is not recorded.
        golds: of the problems by their ids, where the file says nothing of the model; these tell files of one task.
    """

    source: Path
    role: str | None
    model: str | None
    task: str
    summary: Summary | None
    problems: tuple[Counts, ...] | None
    temperature: float | None
    max_tokens: int | None
    limit: int | None
    problems_of_task: int | None
    settings: Mapping[str, Any]
    dataset: Mapping[str, Any] | None
    judge: str | None
    others: tuple[OtherMetric, ...]
    remarks: tuple[str, ...]
    made: str
    date: str | None
    golds: Mapping[str, str | None]


def counts_of(problems: tuple[JudgedProblem, ...]) -> tuple[Counts, ...]:
    """Return how many samples of each problem are correct."""
    return tuple(Counts(problem.id, problem.n, problem.c) for problem in problems)
