"""The samples of a file, problem by problem."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from wise_merge.answers.benchmarks import Benchmark, Gold
from wise_merge.results.reading.columns import Columns


@dataclass(frozen=True)
class Problem:
    """The n samples of one problem as they stand in the file; sequences are parallel, one entry per sample.

    Attributes:
        id: of the problem.
        gold: what answers are compared with, None if the file has none (only with its own verdicts).
        statement: the problem's text, empty unless texts are kept.
        n: how many samples.
        answers: the text of each final answer, None where there is none; None if the file has only verdicts.
        labels: the file's own verdicts, None where it has none.
        scores: from column or scorer to one score per sample.
        completions: the texts, if they are kept.
        distinct: how many different completions there are, None if the file has no completions.
        operations: how many samples have each sequence of arithmetic operators.
        cut_off: how many samples were cut at the longest completion allowed, None if the file does not say of all.
    """

    id: str
    gold: Gold | None
    statement: str
    n: int
    answers: tuple[str | None, ...] | None
    labels: tuple[bool | None, ...] | None
    scores: Mapping[str, tuple[float, ...]]
    completions: tuple[str, ...] | None
    distinct: int | None
    operations: tuple[int, ...] | None
    cut_off: int | None = None


@dataclass(frozen=True)
class Samples:
    """A file of samples as read.

    Attributes:
        path: of the file.
        task: that an lm-eval file is named after.
        benchmark: by which answers are read, None if they are the file's own and compared as texts.
        why: how the benchmark was chosen.
        columns: where things stand.
        problems: in the order of their ids.
        rejected: (place, reason) of every row that could not be used.
        notes: sentences that the reader of the figures should see.
        missing: how many samples lack a `completion`, a `verdict` or a score (`score in COLUMN`).
        file_verdicts: whether the verdicts of the file count, not those of the benchmark.
    """

    path: Path
    task: str | None
    benchmark: Benchmark | None
    why: str
    columns: Columns
    problems: tuple[Problem, ...]
    rejected: tuple[tuple[str, str], ...]
    notes: tuple[str, ...]
    missing: Mapping[str, int]
    file_verdicts: bool = False

    @property
    def judged_by(self) -> str | None:
        """The metric and task of lm-eval whose verdicts they are; None where they are ours, or those of any file."""
        return self.columns.judged_by if self.benchmark is None else None
