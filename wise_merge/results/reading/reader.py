"""Rows of a file become problems: each is checked, its answers are read at once, and its texts let go."""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from wise_merge.answers.benchmarks import Benchmark, Gold
from wise_merge.answers.completions import last_boxes
from wise_merge.errors import WiseMergeError
from wise_merge.estimators.diversity import operations
from wise_merge.results.reading.columns import Columns, dig, is_verdict
from wise_merge.results.reading.lists import lists_of, missing_texts, numbers
from wise_merge.results.reading.missing import Missing, notes_of
from wise_merge.results.reading.problem import Problem
from wise_merge.results.reading.rows import Row, read_rows
from wise_merge.results.reading.texts import is_missing, statement
from wise_merge.text import shortened

#: The role of each column that a benchmark may need of a problem.
_ROLES = {"answer": "gold", "question": "problem", "problem": "problem", "puzzle": "problem"}
_LONGEST_GOLD = 500
#: What a file writes where a model gave no answer.
_NO_ANSWER = {"", "[invalid]", "None", "null"}
#: How files say that a completion was cut at the longest one allowed.
_CUT_OFF = {"length", "max_tokens"}


@dataclass
class Collected:
    """The samples of a problem so far."""

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
    seen: set[int] = field(default_factory=set)
    operations: Counter[str] = field(default_factory=Counter)
    cut_off: int | None = 0

    def finish(self) -> Problem:
        """Return the problem, of which no more samples come."""
        return Problem(
            self.id,
            self.gold,
            self.statement,
            self.n,
            tuple(self.answers) or None,
            tuple(self.labels) or None,
            {name: tuple(scores) for name, scores in self.scores.items()},
            tuple(self.completions) or None,
            len(self.seen) or None,
            tuple(sorted(self.operations.values(), reverse=True)) or None,
            self.cut_off,
        )


class Reader:
    """Collects the problems of a file row by row."""

    file: Path

    def __init__(
        self, columns: Columns, benchmark: Benchmark | None, why: str, has_gold: bool, file_verdicts: bool
    ) -> None:
        self.columns, self.benchmark, self.why = columns, benchmark, why
        self.has_gold, self.file_verdicts = has_gold, file_verdicts
        self.keep_texts = False
        self.steps: str | None = None
        #: Whether samples without a completion (or verdict) are left out, and whether a file may have several rows
        #: for the samples of a problem.
        self.skip_bad = self.pool = False
        self.collected: dict[str, Collected] = {}
        self.rejected: list[tuple[str, str]] = []
        self.filters: set[str] = set()
        self.statements: set[int] = set()
        #: How many labels are no verdicts.
        self.no_verdicts = 0
        self.missing = Missing()
        self.reads_completions = (
            columns["completions"] is not None and benchmark is not None and not (file_verdicts and columns["answers"])
        )
        #: What a sample is made of; what no figure needs rejects no row.
        self.roles = [
            role
            for role, needed in (
                ("completions", True),
                ("answers", not self.reads_completions),
                ("labels", file_verdicts),
            )
            if needed and columns[role]
        ]
        # Read here, so that an answer is kept once however many samples give it.
        self.texts: dict[str, str] = {}

    def read(self, path: Path, progress: bool, place: str = "") -> None:
        """Add all rows of a file; `place` tells it from the first in messages."""

        def reject(line: str, reason: str) -> None:
            self.rejected.append((f"{place} {line}".strip(), reason))

        self.file = path
        for line, row in read_rows(path, reject, progress=progress):
            try:
                self.add(line, row)
            except WiseMergeError as error:
                reject(line, str(error))

    def golds(self, path: Path) -> dict[str, str]:
        """Return the gold of each problem as it stands in the file."""
        found = {}
        for place, row in read_rows(path, lambda *_: None):
            with suppress(WiseMergeError):
                found[self._id(place, row)] = str(unwrapped(dig(row, self.columns["gold"] or "")))
        return found

    def notes(self) -> Iterator[str]:
        """Yield what the reader of the figures should know of the file."""
        for left_out in self.columns.left_out:
            yield f"no scores in {left_out}"
        if self.columns.of_steps:
            yield f"scores of steps: of each list in {', '.join(self.columns.of_steps)} the {self.steps} (--steps)"
        yield from notes_of(self.missing, self.collected, file_verdicts=self.file_verdicts, skip_bad=self.skip_bad)
        if self.no_verdicts:
            labels = self.columns["labels"]
            yield (
                f"{_entries(self.no_verdicts)} of {labels} not true or false, so not compared with our verdicts; "
                f"if these are scores, add --field scores={labels}"
            )
        if len(self.filters) > 1:
            yield f"the file has {len(self.filters)} filters; each problem is taken once, from all its responses"
        problem, rows = self.columns["problem"], len(self.collected)
        alone = all(found.n == 1 for found in self.collected.values())
        if problem and self.columns["id"] and alone and 2 * len(self.statements) <= rows:
            yield (
                f"every {self.columns['id']} is there once, but its {rows:,} rows have {len(self.statements):,} "
                f"different texts in {problem}; if those are samples of one problem, add --field id={problem}"
            )

    def add(self, place: str, row: Row) -> None:
        """Add the samples of a row; raises a `WiseMergeError` that says what is wrong with it."""
        if self.columns.lm_eval:
            self.filters.add(str(row.get("filter")))
        identity = self._id(place, row)
        known = self.collected.get(identity)
        if known is not None and self.columns.per_problem and known.file == self.file:
            if self.columns.lm_eval and str(row.get("filter")) != known.filter:
                return
            if not self.pool:
                raise WiseMergeError(
                    f"id {shortened(identity)} is there twice, first in {known.place}; "
                    "if both rows have samples of it, --pool puts them together"
                )
        n, missing, fill = self._samples(row)
        if not n:
            self.missing.update(Missing(Counter(missing), {identity}))
            return
        if known is None:
            known = self._new(identity, place, row)
        elif self._raw_gold(row) != known.raw_gold:
            raise WiseMergeError(f"its gold differs from that of the same id in {known.place}")
        self.collected[identity] = known
        known.file, known.place, known.filter = self.file, place, str(row.get("filter"))
        fill(known)
        if missing:
            self.missing.samples.update(missing)

    def _id(self, place: str, row: Row) -> str:
        column = self.columns["id"] or self.columns["problem"]
        if column is None:
            if self.columns.per_problem:
                return place.split()[1]
            raise WiseMergeError(
                "nothing says which problem it belongs to; name a column with --field id=COLUMN or "
                f"--field problem=COLUMN; the columns are {', '.join(self.columns.names)}"
            )
        value = dig(row, column)
        value = statement(value) or value
        if isinstance(value, bool) or not isinstance(value, (str, int)):
            raise WiseMergeError(f"its {column} must be a text or an integer, to tell problems apart; got {value!r}")
        return str(value)

    def _raw_gold(self, row: Row) -> Any:
        if not self.has_gold or self.benchmark is None:
            return None
        return [dig(row, self.columns[role] or "") for role in needed_roles(self.benchmark)]

    def _new(self, identity: str, place: str, row: Row) -> Collected:
        problem = self.columns["problem"]
        text = (statement(dig(row, problem)) or "") if problem else ""
        self.statements.add(hash(text))
        raw = self._raw_gold(row)
        gold = None
        if self.has_gold:
            try:
                gold = self._gold(row, raw)
            except WiseMergeError:
                if not self.file_verdicts:
                    raise
        return Collected(identity, self.file, place, str(row.get("filter")), raw, gold, text if self.keep_texts else "")

    def _gold(self, row: Row, raw: Sequence[Any]) -> Gold:
        assert self.benchmark is not None
        for role, value in zip(needed_roles(self.benchmark), raw, strict=True):
            if value is None or value == "":
                raise WiseMergeError(f"it has no {role}: {self.columns[role]} is missing or empty")
        return self.benchmark.gold(self._document(row))

    def _document(self, row: Row) -> Row:
        """Return the row with the names of columns that its benchmark knows."""
        assert self.benchmark is not None
        document = dict(row["doc"]) if self.columns.lm_eval else dict(row)
        for column in self.benchmark.columns:
            role = self.columns[_ROLES.get(column, column)]
            if role is not None:
                value = unwrapped(dig(row, role))
                # A whole solution may stand for its answer.
                boxes = last_boxes(value, _LONGEST_GOLD, 1) if isinstance(value, str) and "\\boxed" in value else []
                document[column] = boxes[0][2] if boxes and boxes[0][2] else value
        return document

    def _samples(self, row: Row) -> tuple[int, dict[str, int], Callable[[Collected], None]]:
        """Check the samples of a row; return how many count, what is missing, and what adds them to their problem."""
        n, lists, scores = lists_of(row, self.columns, self.roles, self.steps)
        completions, answers, labels = map(lists.get, ("completions", "answers", "labels"))
        silent = missing_texts(completions or ())
        read = self._answers(completions, answers)
        if labels is None:
            verdicts, undecided = self._own_verdicts(row, n), silent
        else:
            verdicts = [self._verdict(label, number) for number, label in enumerate(labels, start=1)]
            undecided = {number for number, verdict in enumerate(verdicts) if verdict is None}
            # Nobody has judged them: wrong, and no vote.
            verdicts = list(map(bool, verdicts))
            read = read and [None if number in undecided else answer for number, answer in enumerate(read)]
        missing = {"completion": len(silent)} if silent else {}
        if labels is not None and undecided:
            missing["verdict"] = len(undecided)
        ranks = {}
        for column, values in scores.items():
            ranks[column], unknown = numbers(column, values)
            # That of the model that sampled may be unknown, and nobody expects one of what is not there.
            if unknown - silent and column != self.columns.own_logprob:
                missing[f"score in {column}"] = len(unknown - silent)
        ends = self._ends(row, n, silent)
        if self.skip_bad and undecided:
            kept = [number for number in range(n) if number not in undecided]
            n = len(kept)

            def only(values: list[Any] | None) -> list[Any] | None:
                return values and [values[number] for number in kept]

            completions, read, verdicts, ends = only(completions), only(read), only(verdicts), only(ends)
            ranks = {column: [values[number] for number in kept] for column, values in ranks.items()}
        cut_off = None if ends is None else sum(ends)

        def fill(problem: Collected) -> None:
            problem.n += n
            problem.cut_off = None if problem.cut_off is None or cut_off is None else problem.cut_off + cut_off
            if read is not None:
                problem.answers.extend(read)
            if verdicts is not None:
                problem.labels.extend(verdicts)
            for column, values in ranks.items():
                problem.scores.setdefault(column, []).extend(values)
            if completions is not None:
                texts = ["" if text is None else text for text in completions] if silent else completions
                # Hashes: the texts themselves would be most of the memory.
                problem.seen.update(map(hash, texts))
                problem.operations.update(map(operations, texts))
                if self.keep_texts:
                    problem.completions.extend(texts)

        return n, missing, fill

    def _answers(self, completions: list[str | None] | None, answers: list[Any] | None) -> list[str | None] | None:
        benchmark = self.benchmark
        if self.reads_completions and completions is not None and benchmark is not None:
            read = [None if completion is None else benchmark.extract(completion) for completion in completions]
        elif answers is None:
            return None
        else:
            given = [None if is_missing(answer) else str(answer) for answer in answers]
            given = [None if text is None or text.strip() in _NO_ANSWER else text for text in given]
            read = [text if text is None or benchmark is None else _read_answer(benchmark, text) for text in given]
        return [None if text is None else self.texts.setdefault(text, text) for text in read]

    def _ends(self, row: Row, n: int, silent: set[int]) -> list[bool] | None:
        """Return which of the n samples were cut, None if that is not known of all that are there."""
        column = self.columns["finish_reason"]
        if column is None:
            return None
        reasons = dig(row, column)
        if not isinstance(reasons, list):
            reasons = [reasons]
        if len(reasons) != n or not all(isinstance(reason, str) or i in silent for i, reason in enumerate(reasons)):
            return None
        return [isinstance(reason, str) and reason.lower() in _CUT_OFF for reason in reasons]

    def _verdict(self, label: Any, number: int) -> bool | None:
        if is_verdict(label):
            return bool(label)
        if is_missing(label):
            return None
        raise WiseMergeError(f"{self.columns['labels']} must be true or false; entry {number} is {shortened(label)}")

    def _own_verdicts(self, row: Row, n: int) -> list[bool | None] | None:
        """Return the file's verdicts where they are but compared with ours: None for what is none."""
        column = self.columns["labels"]
        if column is None:
            return None
        labels = dig(row, column)
        if not self.columns.per_problem:
            labels = [labels]
        if is_missing(labels):
            return [None] * n
        if not isinstance(labels, list) or len(labels) != n:
            self.no_verdicts += n
            return [None] * n
        self.no_verdicts += sum(not is_missing(label) and not is_verdict(label) for label in labels)
        return [bool(label) if is_verdict(label) else None for label in labels]


def _entries(count: int) -> str:
    return "1 entry" if count == 1 else f"{count:,} entries"


def _read_answer(benchmark: Benchmark, text: str) -> str | None:
    """Return what the benchmark reads in an answer that stands by itself, without the completion around it."""
    boxed = "answer" in benchmark.columns and "boxed" not in text
    return (benchmark.extract(f"\\boxed{{{text}}}") if boxed else None) or benchmark.extract(text)


def needed_roles(benchmark: Benchmark) -> list[str]:
    """Return the roles that a benchmark's gold is made of."""
    if "answer" in benchmark.columns and benchmark.name != "sudoku":
        return ["gold"]
    return [_ROLES.get(column, column) for column in benchmark.columns]


def unwrapped(gold: Any) -> Any:
    """Return a gold without the list around it, which some files have."""
    return gold[0] if isinstance(gold, list) and len(gold) == 1 else gold
