"""How a model scored: its figures on each task, beside those of its checkpoints where there are any.

Where they come from is the business of `of_sweep`, `of_lm_eval` and `of_scores`; here is what these have in common.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from wise_merge.points import Point
from wise_merge.results.summary import Estimate, Summary

#: The role of the model that is published.
MODEL = "this model"
#: Roles in the order in which they are shown; those of further checkpoints come after them.
SHOWN = ("early", MODEL, "late")


def place_of(role: str) -> int:
    """Return where a role is shown among others: early, this model, late, then base, model 1, model 2, ..."""
    if role in SHOWN:
        return SHOWN.index(role)
    return len(SHOWN) + (int(role.rpartition(" ")[2]) if " " in role else 0)


def judge_in_words(judged_by: str) -> str:
    """Return what judged samples as a sentence has it.

    >>> judge_in_words("exact_match,strict-match of lm-eval's gsm8k_cot")
    "the metric exact_match,strict-match of lm-eval's gsm8k_cot"
    >>> judge_in_words("the tests of livecodebench_passk")
    'the tests of livecodebench_passk'
    """
    return f"the metric {judged_by}" if " of lm-eval's " in judged_by else judged_by


@dataclass(frozen=True)
class Counts:
    """How many of a problem's samples are correct: c of n."""

    id: str
    n: int
    c: int


@dataclass(frozen=True)
class Row:
    """A model sampled at a temperature on a task.

    Attributes:
        role: `MODEL`, or that of one of its checkpoints.
        temperature: of sampling; None = it is not recorded.
        summary: its figures.
        problems: what these were made from; None = the samples were not kept.
        max_tokens: of the longest completion allowed, None = unknown.
        limit: only the first so many problems were asked for, None = all, as far as is known.
        problems_of_task: how many the task has, sampled or not; None = unknown.
        stopped: see `wise_merge.points.Outcome`.
        point: of a sweep.
    """

    role: str
    temperature: float | None
    summary: Summary
    problems: tuple[Counts, ...] | None
    max_tokens: int | None = None
    limit: int | None = None
    problems_of_task: int | None = None
    stopped: str | None = None
    point: Point | None = None


@dataclass(frozen=True)
class OtherMetric:
    """A further metric of a task, of this model.

    Attributes:
        name: as lm-eval has it.
        filter: of lm-eval, whose answers it judges.
        estimate: its value; NaN for what is not known beside it.
        problems: how many it is over; None = it is not recorded.
    """

    name: str
    filter: str
    estimate: Estimate
    problems: int | None


@dataclass(frozen=True)
class TaskEvidence:
    """The figures on one task.

    Attributes:
        task: its name.
        rows: by temperature, and within one in the order of `place_of`; empty for a task that has no verdict on each
            of K samples.
        temperature: at which its figures are shown first.
        settings: of sampling this model, in JSON's types, by the names that a sweep has for them.
        dataset: `dataset_path`, `dataset_name` and `test_split`, as the evaluation records them; None = the file of the
            task says so.
        judge: what decided whether a sample is right; None = the task's own judge, which is one of ours.
        others: further metrics of this model.
        remarks: sentences that the reader of the figures should see.
    """

    task: str
    rows: tuple[Row, ...]
    temperature: float | None
    settings: Mapping[str, Any]
    dataset: Mapping[str, Any] | None = None
    judge: str | None = None
    others: tuple[OtherMetric, ...] = ()
    remarks: tuple[str, ...] = ()

    @property
    def first(self) -> tuple[Row, ...]:
        """The rows of the temperature that is shown first."""
        return tuple(row for row in self.rows if row.temperature == self.temperature)

    def of_role(self, role: str) -> Row | None:
        """Return the row of a role at the temperature that is shown first; None if it was not sampled."""
        return next((row for row in self.first if row.role == role), None)

    @property
    def mine(self) -> Row | None:
        """The row of this model at the temperature that is shown first."""
        return self.of_role(MODEL)


@dataclass(frozen=True)
class Evidence:
    """What is known of how a model scores.

    Attributes:
        temperature: at which its figures are shown first; None = it differs between tasks, or is not recorded.
        tasks: figures by task.
        sources: how they were made, in sentences; empty for a sweep.
        unsampled: tasks of the sweep on which it has not sampled the model.
        chosen: how `wise-merge best` chose it, in its own sentences; empty if it did not.
        runs: in the sweep's journal, of this model at that temperature: task -> fingerprint.
        journal: the folder of these; None = there is no journal.
        date: of the newest evaluation, ISO 8601; None = it is not recorded.
    """

    temperature: float | None
    tasks: tuple[TaskEvidence, ...]
    sources: tuple[str, ...] = ()
    unsampled: tuple[str, ...] = ()
    chosen: tuple[str, ...] = ()
    runs: Mapping[str, str] = field(default_factory=dict)
    journal: Path | None = None
    date: str | None = None

    @property
    def of_sweep(self) -> bool:
        """Whether one command sampled all models alike, with settings that are known."""
        return self.journal is not None

    @property
    def has_curves(self) -> bool:
        """Whether some task has more than one sample of each problem of this model, at the temperature shown first."""
        return any(task.mine is not None and task.mine.summary.reported[-1] > 1 for task in self.tasks)
