"""How the rows of one file become problems: its columns, its benchmark, and what the user asked for."""

from dataclasses import dataclass
from functools import cached_property

from wise_merge.answers.benchmarks import Benchmark
from wise_merge.results.reading.columns import Columns


@dataclass(frozen=True)
class Plan:
    """How a file is read.

    Attributes:
        columns: where things stand in its rows.
        benchmark: by which answers are read and compared; None if they are the file's own.
        why: the benchmark was chosen.
        has_gold: whether the file has the gold that the benchmark compares with.
        file_verdicts: whether the verdicts of the file count, not those of the benchmark.
        steps: which of `columns.STEPS` makes one score of a list per completion; None leaves such scores out.
        skip_bad: whether samples without a completion (or verdict, if the file's count) are left out.
        pool: whether a file may have several rows with samples of one problem.
        keep_texts: whether problems and completions are kept.
        filter: of lm-eval, whose rows are read; None = of each problem those of the filter that comes first.
    """

    columns: Columns
    benchmark: Benchmark | None
    why: str
    has_gold: bool
    file_verdicts: bool
    steps: str | None = None
    skip_bad: bool = False
    pool: bool = False
    keep_texts: bool = False
    filter: str | None = None

    @cached_property
    def reads_completions(self) -> bool:
        """Whether answers are read from the completions; else they stand in a column, or there are none."""
        own_answers = self.file_verdicts and self.columns["answers"] is not None
        return self.columns["completions"] is not None and self.benchmark is not None and not own_answers

    @cached_property
    def sample_roles(self) -> list[str]:
        """The columns that a sample is made of; a mistake in any other rejects no row."""
        candidates = {
            "completions": True,
            "answers": not self.reads_completions,
            "labels": self.file_verdicts,
        }
        return [role for role, needed in candidates.items() if needed and self.columns[role]]
