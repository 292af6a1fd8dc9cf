"""Rows of files become problems: each row is checked, its answers are read, and its texts are dropped."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from wise_merge.answers.benchmarks import Gold
from wise_merge.errors import WiseMergeError
from wise_merge.estimators.diversity import operations
from wise_merge.results.reading.columns import dig
from wise_merge.results.reading.lists import entries
from wise_merge.results.reading.missing import Missing, notes_of
from wise_merge.results.reading.plan import Plan
from wise_merge.results.reading.problem import Problem
from wise_merge.results.reading.row_problem import gold, identity, raw_gold
from wise_merge.results.reading.row_samples import RowSamples, samples_of
from wise_merge.results.reading.rows import Row, is_of_filter, read_rows
from wise_merge.results.reading.texts import statement
from wise_merge.text import shortened


@dataclass
class Collected:
    """The samples of a problem so far, and where its last row stands."""

    id: str
    file: Path
    place: str
    filter: str
    raw_gold: Any
    gold: Gold | None
    statement: str
    n: int = 0
    answers: list[str | None] = field(default_factory=list)
    labels: list[bool | None] = field(default_factory=list)
    scores: dict[str, list[float]] = field(default_factory=dict)
    completions: list[str] = field(default_factory=list)
    hashes: set[int] = field(default_factory=set)
    operations: Counter[str] = field(default_factory=Counter)
    cut_off: int | None = 0

    def add(self, samples: RowSamples, *, keep_texts: bool) -> None:
        """Add the samples of a row."""
        self.n += samples.n
        known = self.cut_off is not None and samples.cut_off is not None
        self.cut_off = (self.cut_off or 0) + (samples.cut_off or 0) if known else None
        self.answers.extend(samples.answers or ())
        self.labels.extend(samples.verdicts or ())
        for column, scores in samples.scores.items():
            self.scores.setdefault(column, []).extend(scores)
        if samples.completions is not None:
            # Hashes: the texts themselves would be most of the memory.
            self.hashes.update(map(hash, samples.completions))
            self.operations.update(map(operations, samples.completions))
            if keep_texts:
                self.completions.extend(samples.completions)

    def finish(self) -> Problem:
        """Return the problem, after its last samples were added."""
        return Problem(
            self.id,
            self.gold,
            self.statement,
            self.n,
            tuple(self.answers) or None,
            tuple(self.labels) or None,
            {name: tuple(scores) for name, scores in self.scores.items()},
            tuple(self.completions) or None,
            len(self.hashes) or None,
            tuple(sorted(self.operations.values(), reverse=True)) or None,
            self.cut_off,
        )


class Reader:
    """Collects the problems of a file row by row, and the further samples of them in other files."""

    def __init__(self) -> None:
        self.collected: dict[str, Collected] = {}
        self.rejected: list[tuple[str, str]] = []
        self.missing = Missing()
        # In the order in which they come.
        self._filters: dict[str, None] = {}
        self._statements: set[int] = set()
        self._not_verdicts = 0
        # Each answer is kept as one object, however many samples give it.
        self._answers: dict[str, str] = {}

    def read(self, path: Path, plan: Plan, *, progress: bool, prefix: str = "") -> None:
        """Add all rows of a file; `prefix` tells it from other files in messages."""

        def reject(line: str, reason: str) -> None:
            self.rejected.append((f"{prefix} {line}".strip(), reason))

        for line, row in read_rows(path, reject, progress=progress):
            try:
                self._add(path, line, row, plan)
            except WiseMergeError as error:
                reject(line, str(error))

    def _add(self, file: Path, place: str, row: Row, plan: Plan) -> None:
        """Add the samples of a row; raises a `WiseMergeError` that says what is wrong with it."""
        columns = plan.columns
        if columns.lm_eval:
            self._filters[str(row.get("filter"))] = None
        if not is_of_filter(row, plan.filter):
            return
        problem_id = identity(place, row, columns)
        known = self.collected.get(problem_id)
        if known is not None and columns.per_problem and known.file == file:
            if columns.lm_eval and str(row.get("filter")) != known.filter:
                return
            if not plan.pool:
                raise WiseMergeError(
                    f"id {shortened(problem_id)} is there twice, first in {known.place}; "
                    "if both rows have samples of it, --pool puts them together"
                )
        samples = samples_of(row, plan)
        self._not_verdicts += samples.not_verdicts
        if not samples.n:
            self.missing.update(Missing(Counter(samples.missing), {problem_id}))
            return
        if known is None:
            known = self._new(problem_id, file, place, row, plan)
        elif raw_gold(row, plan) != known.raw_gold:
            raise WiseMergeError(f"its gold differs from that of the same id in {known.place}")
        self.collected[problem_id] = known
        known.file, known.place, known.filter = file, place, str(row.get("filter"))
        known.add(self._with_one_object_per_answer(samples), keep_texts=plan.keep_texts)
        self.missing.samples.update(samples.missing)

    def check_filter(self, path: Path, plan: Plan) -> None:
        """Raise if the verdicts of several filters were met, and nothing says which are to decide."""
        if plan.filter is None and plan.columns.are_verdicts_of_a_filter and len(self._filters) > 1:
            raise WiseMergeError(
                f"{path}: {plan.columns['labels']} has verdicts of {len(self._filters)} filters, which may differ: "
                f"{', '.join(self._filters)}; say with --filter NAME which of them decides"
            )

    def _new(self, problem_id: str, file: Path, place: str, row: Row, plan: Plan) -> Collected:
        column = plan.columns["problem"]
        text = (statement(dig(row, column)) or "") if column else ""
        self._statements.add(hash(text))
        raw = raw_gold(row, plan)
        read = None
        if raw is not None:
            try:
                read = gold(row, raw, plan)
            except WiseMergeError:
                if not plan.file_verdicts:
                    raise
        kept = text if plan.keep_texts else ""
        return Collected(problem_id, file, place, str(row.get("filter")), raw, read, kept)

    def _with_one_object_per_answer(self, samples: RowSamples) -> RowSamples:
        answers = samples.answers
        if answers is None:
            return samples
        shared = [None if text is None else self._answers.setdefault(text, text) for text in answers]
        return replace(samples, answers=shared)

    def notes(self, plan: Plan) -> Iterator[str]:
        """Yield sentences on what the user should know of the file that was read with the plan."""
        columns = plan.columns
        for left_out in columns.left_out:
            yield f"no scores in {left_out}"
        if columns.of_steps:
            yield f"scores of steps: of each list in {', '.join(columns.of_steps)} the {plan.steps} (--steps)"
        yield from notes_of(self.missing, self.collected, file_verdicts=plan.file_verdicts, skip_bad=plan.skip_bad)
        if self._not_verdicts:
            labels = columns["labels"]
            yield (
                f"{entries(self._not_verdicts)} of {labels} not true or false, so not compared with our verdicts; "
                f"if these are scores, add --field scores={labels}"
            )
        if columns.are_verdicts_of_a_filter:
            filter_name = plan.filter or next(iter(self._filters))
            yield f"the file's verdicts are {columns['labels']} of the filter {filter_name}"
        elif columns.lm_eval and "labels" in columns.unfit:
            yield f"not compared with the file's verdicts{columns.unfit['labels']}; --field labels=COLUMN names one"
        if len(self._filters) > 1:
            taken = "each problem is taken once, from all its responses"
            if plan.filter is not None:
                taken = f"the rows of {plan.filter} are read (--filter)"
            yield f"the file has {len(self._filters)} filters; {taken}"
        column, rows = columns["problem"], len(self.collected)
        one_each = all(problem.n == 1 for problem in self.collected.values())
        if column and columns["id"] and one_each and 2 * len(self._statements) <= rows:
            yield (
                f"every {columns['id']} is there once, but its {rows:,} rows have {len(self._statements):,} "
                f"different texts in {column}; if those are samples of one problem, add --field id={column}"
            )
