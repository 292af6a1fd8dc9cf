"""The samples of a file, problem by problem, with the final answer of each completion read at once.

Rows are read one after the other and texts are not kept unless asked for: 1,319 problems with
256 samples each fit in little memory.
"""

import math
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

from wise_merge.answers import benchmarks
from wise_merge.answers.benchmarks import Benchmark, Gold
from wise_merge.answers.completions import last_boxes
from wise_merge.errors import WiseMergeError
from wise_merge.estimators.diversity import operations
from wise_merge.results.columns import (
    STEPS,
    Columns,
    Fields,
    as_texts,
    dig,
    find_columns,
    is_number,
    is_verdict,
    statement,
)
from wise_merge.results.rows import Row, read_rows, refuse_journal, shortened, task_of

#: Rows by which the columns are found.
_FIRST = 50
#: Parts of task names, the more special ones first.
_TASK_NAMES = ("gsm8k", "countdown", "sudoku", "aime", "math")
#: The role of each column that a benchmark may need of a problem.
_ROLES = {"answer": "gold", "question": "problem", "problem": "problem", "puzzle": "problem"}
_NUMBER = re.compile(r"\s*[-+]?\s*[$€£]?\s*(\d[\d,]*)?(\.\d+)?\s*")
_GRID = re.compile(r"[0-9.]{16}|[0-9.]{81}")
_LONGEST_GOLD = 500
_NUMBERS, _NOT_NUMBERS = "all golds are numbers", "not all golds are numbers"
#: What a file writes where a model gave no answer.
_NO_ANSWER = {"", "[invalid]", "None", "null"}
#: How files say that a completion was cut at the longest one allowed.
_CUT_OFF = {"length", "max_tokens"}


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
    """

    path: Path
    task: str | None
    benchmark: Benchmark | None
    why: str
    columns: Columns
    problems: tuple[Problem, ...]
    rejected: tuple[tuple[str, str], ...]
    notes: tuple[str, ...]


def read_samples(
    path: Path,
    *,
    more: Sequence[Path] = (),
    fields: Fields | None = None,
    benchmark: str | None = None,
    why: str = "as asked",
    file_verdicts: bool = False,
    steps: str | None = None,
    keep_texts: bool = False,
    progress: bool = False,
) -> Samples:
    """Return the samples of a file; rows that cannot be used are counted in `rejected`, not raised.

    Args:
        path: lm-eval's samples, or JSON Lines or a JSON list with one row per problem or per sample.
        more: files with further samples of the same model, which are put together with those of the first.
        fields: role -> columns where the names are not to be guessed, see `columns.parse_fields`.
        benchmark: by which answers are read and compared; None means to be chosen by the file.
        why: a benchmark that is given was chosen.
        file_verdicts: take the verdicts of the file; then it needs no gold.
        steps: which of `columns.STEPS` makes one score of a list per completion; None leaves such scores out.
        keep_texts: keep problems and completions.
        progress: show a bar on stderr, if that is a terminal.
    """
    reader = _open(path, fields or {}, benchmark, file_verdicts, steps)
    if benchmark is not None:
        reader.why = why
    reader.keep_texts = keep_texts
    reader.read(path, progress)
    for further in more:
        # Columns may be called otherwise there; the rest is as in the first.
        chosen = reader.benchmark.name if reader.benchmark else None
        other = _open(further, fields or {}, chosen, file_verdicts, steps)
        if _held(other.columns) != _held(reader.columns) or task_of(further) != task_of(path):
            raise WiseMergeError(
                f"{further} cannot be put together with {path}: it holds {', '.join(_held(other.columns))}, "
                f"the other {', '.join(_held(reader.columns))}, and the tasks must be the same"
            )
        other.keep_texts, other.collected, other.rejected = keep_texts, reader.collected, reader.rejected
        other.read(further, progress, place=further.name)
        reader.no_verdicts += other.no_verdicts
    if not reader.collected:
        place, reason = reader.rejected[0]
        raise WiseMergeError(f"{path}: no row can be used; {place}: {reason}")
    problems = sorted((found.finish() for found in reader.collected.values()), key=_by_id)
    return Samples(
        path,
        task_of(path),
        reader.benchmark,
        reader.why,
        reader.columns,
        tuple(problems),
        tuple(reader.rejected),
        tuple(reader.notes()),
    )


def choose_benchmarks(
    files: Sequence[Path], *, fields: Fields | None = None, file_verdicts: bool = False, steps: str | None = None
) -> list[tuple[str | None, str]]:
    """Return the benchmark of each file, None if its answers are its own, and why: see `read_samples`.

    A file whose golds are all numbers is read as math if another, with the same problems, is: so they can be compared.
    """
    readers = [_open(path, fields or {}, None, file_verdicts, steps) for path in files]
    chosen = [(reader.benchmark.name if reader.benchmark else None, reader.why) for reader in readers]
    whys = {why for _, why in chosen}
    if not {_NUMBERS, _NOT_NUMBERS} <= whys:
        return chosen
    golds = [reader.golds(path) for reader, path in zip(readers, files, strict=True)]
    as_math = [index for index, (_, why) in enumerate(chosen) if why == _NOT_NUMBERS]
    for index, (_, why) in enumerate(chosen):
        alike = [other for other in as_math if why == _NUMBERS and _same_problems(golds[index], golds[other])]
        if alike:
            chosen[index] = ("math", f"not all golds of {files[alike[0]].name} are numbers")
    return chosen


def _same_problems(one: Mapping[str, str], other: Mapping[str, str]) -> bool:
    """Return whether most ids that two files share have the same gold."""
    shared = one.keys() & other.keys()
    return 2 * sum(one[identity] == other[identity] for identity in shared) > len(shared)


def _open(path: Path, fields: Fields, benchmark: str | None, file_verdicts: bool, steps: str | None) -> "_Reader":
    refuse_journal(path)
    first = [row for _, row in islice(read_rows(path, lambda *_: None), _FIRST)]
    if not first:
        raise WiseMergeError(_no_rows(path))
    try:
        columns = find_columns(first, fields, steps=steps is not None)
        reader = _choose(path, columns, first, benchmark, file_verdicts)
    except WiseMergeError as error:
        raise WiseMergeError(f"{path}: {error}") from error
    reader.steps = steps
    return reader


def _held(columns: Columns) -> list[str]:
    return [role for role in ("completions", "answers", "labels") if columns[role]] + sorted(columns.scores)


def _no_rows(path: Path) -> str:
    rejected: list[tuple[str, str]] = []
    for _ in read_rows(path, lambda *line: rejected.append(line)):
        break
    if not rejected:
        return f"{path} is empty"
    place, reason = rejected[0]
    return f"{path} has no row that is a JSON object; {place}: {reason}"


def _by_id(problem: Problem) -> tuple[bool, int, str]:
    number = problem.id.isascii() and problem.id.isdigit() and len(problem.id) < 19
    return not number, int(problem.id) if number else 0, problem.id


def _choose(path: Path, columns: Columns, first: Sequence[Row], name: str | None, file_verdicts: bool) -> "_Reader":
    """Return the reader of the file: which benchmark, and whether golds are needed."""
    if file_verdicts and not columns["labels"]:
        raise WiseMergeError(
            f"--verdicts file needs the file's own verdicts (true or false); name them with --field labels=COLUMN; "
            f"the columns are {', '.join(columns.names)}"
        )
    if not file_verdicts and not (columns["completions"] or columns["answers"]):
        raise WiseMergeError("it has neither completions nor answers to judge; --verdicts file takes its own verdicts")
    if name is not None:
        chosen, why = benchmarks.find(name), "as asked"
    elif file_verdicts and columns["answers"]:
        # The votes are then those of whoever published the file.
        return _Reader(columns, None, "answers and verdicts are the file's own", False, True)
    elif file_verdicts and not columns["completions"]:
        return _Reader(columns, None, "verdicts are the file's own", False, True)
    else:
        chosen, why = _recognise(path, columns, first)
    missing = [role for role in _needed(chosen) if not columns[role]]
    if missing and not file_verdicts:
        mend = " ".join(f"--field {role}=COLUMN" for role in missing)
        labels = f"; or --verdicts file takes its own verdicts ({columns['labels']})" if columns["labels"] else ""
        raise WiseMergeError(
            f"no {' and no '.join(missing)} found to judge {chosen.name} answers by"
            f"{''.join(columns.unfit.get(role, '') for role in missing)}; name it with {mend}{labels}; "
            f"the columns are {', '.join(columns.names)}"
        )
    return _Reader(columns, chosen, why, not missing, file_verdicts)


def _needed(benchmark: Benchmark) -> list[str]:
    """Return the roles that a benchmark's gold is made of."""
    if "answer" in benchmark.columns and benchmark.name != "sudoku":
        return ["gold"]
    return [_ROLES.get(column, column) for column in benchmark.columns]


def _recognise(path: Path, columns: Columns, first: Sequence[Row]) -> tuple[Benchmark, str]:
    task = (task_of(path) or "").lower()
    for name in _TASK_NAMES:
        if name in task:
            return benchmarks.find(name), "by the name of the task"
    if columns["numbers"] and columns["target"]:
        return benchmarks.find("countdown"), "by its columns"
    if columns["problem"]:
        texts = [str(dig(row, columns["problem"])) for row in first]
        if all(_GRID.fullmatch(re.sub(r"\s", "", text)) for text in texts):
            return benchmarks.find("sudoku"), "by its grids"
    if columns["gold"] is None:
        return benchmarks.find("math"), "there is no gold to tell by"
    why = _NUMBERS
    for _, row in read_rows(path, lambda *_: None):
        gold = _unwrapped(dig(row, columns["gold"]))
        if isinstance(gold, str) and "####" in gold:
            why = "golds end in #### and a number"
        elif not (gold is None or is_number(gold) or (isinstance(gold, str) and _NUMBER.fullmatch(gold))):
            return benchmarks.find("math"), _NOT_NUMBERS
    return benchmarks.find("gsm8k"), why


def _unwrapped(gold: Any) -> Any:
    return gold[0] if isinstance(gold, list) and len(gold) == 1 else gold


@dataclass
class _Collected:
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


class _Reader:
    """Collects the problems of a file row by row."""

    file: Path

    def __init__(
        self, columns: Columns, benchmark: Benchmark | None, why: str, has_gold: bool, file_verdicts: bool
    ) -> None:
        self.columns, self.benchmark, self.why = columns, benchmark, why
        self.has_gold, self.file_verdicts = has_gold, file_verdicts
        self.keep_texts = False
        self.steps: str | None = None
        self.collected: dict[str, _Collected] = {}
        self.rejected: list[tuple[str, str]] = []
        self.filters: set[str] = set()
        self.statements: set[int] = set()
        #: How many labels are no verdicts.
        self.no_verdicts = 0
        self.reads_completions = (
            columns["completions"] is not None and benchmark is not None and not (file_verdicts and columns["answers"])
        )
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
                found[self._id(place, row)] = str(_unwrapped(dig(row, self.columns["gold"] or "")))
        return found

    def notes(self) -> Iterator[str]:
        for left_out in self.columns.left_out:
            yield f"no scores in {left_out}"
        if self.columns.of_steps:
            yield f"scores of steps: of each list in {', '.join(self.columns.of_steps)} the {self.steps} (--steps)"
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
            raise WiseMergeError(f"id {shortened(identity)} is there twice, first in {known.place}")
        samples = self._samples(row)
        if known is None:
            known = self._new(identity, place, row)
        elif self._raw_gold(row) != known.raw_gold:
            raise WiseMergeError(f"its gold differs from that of the same id in {known.place}")
        self.collected[identity] = known
        known.file, known.place = self.file, place
        samples(known)

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
        return [dig(row, self.columns[role] or "") for role in _needed(self.benchmark)]

    def _new(self, identity: str, place: str, row: Row) -> _Collected:
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
        return _Collected(
            identity, self.file, place, str(row.get("filter")), raw, gold, text if self.keep_texts else ""
        )

    def _gold(self, row: Row, raw: Sequence[Any]) -> Gold:
        assert self.benchmark is not None
        for role, value in zip(_needed(self.benchmark), raw, strict=True):
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
                value = _unwrapped(dig(row, role))
                # A whole solution may stand for its answer.
                boxes = last_boxes(value, _LONGEST_GOLD, 1) if isinstance(value, str) and "\\boxed" in value else []
                document[column] = boxes[0][2] if boxes and boxes[0][2] else value
        return document

    def _samples(self, row: Row) -> Callable[[_Collected], None]:
        """Check the samples of a row and return what adds them to its problem: all of them or none."""
        completions = self._list("completions", row, as_texts)
        if completions is not None and self.columns.lm_eval:
            completions = completions[: self._drawn(row)]
        # What no figure needs rejects no row.
        answers = None if self.reads_completions else self._list("answers", row)
        labels = self._list("labels", row) if self.file_verdicts else None
        scores = {column: self._scores(column, row) for column in self.columns.scores}
        main, samples = next(
            (role, values)
            for role, values in (("completions", completions), ("answers", answers), ("labels", labels))
            if values is not None
        )
        n = len(samples)
        if not n:
            raise WiseMergeError(f"{self.columns[main]} is empty: there must be at least one sample")
        parallel = [(self.columns["answers"], answers), (self.columns["labels"], labels), *scores.items()]
        for column, values in parallel:
            if values is not None and len(values) != n:
                raise WiseMergeError(f"{column} has {_entries(len(values))} for {n} {self.columns[main]}")
        if completions is not None:
            for number, text in enumerate(completions, start=1):
                if not isinstance(text, str):
                    raise WiseMergeError(f"completion {number} must be a text; got {shortened(text)}")
        verdicts = self._own_verdicts(row, n) if labels is None else list(map(self._verdict, labels, range(1, n + 1)))
        numbers = {column: list(map(_number, values)) for column, values in scores.items()}
        own = self.columns.own_logprob
        if own in numbers:
            # The model that sampled could not say, so it ranks last.
            pairs = zip(numbers[own], scores[own], strict=True)
            numbers[own] = [-math.inf if logprob is None else number for number, logprob in pairs]
        for column, values in numbers.items():
            if None in values:
                number = values.index(None)
                raise WiseMergeError(
                    f"{column} must be finite numbers; entry {number + 1} is {shortened(scores[column][number])}; "
                    "--field scores= goes without scores"
                )
        read = self._answers(completions, answers)
        cut_off = self._cut_off(row, n)

        def add(problem: _Collected) -> None:
            problem.n += n
            problem.cut_off = None if problem.cut_off is None or cut_off is None else problem.cut_off + cut_off
            if read is not None:
                problem.answers.extend(read)
            if verdicts is not None:
                problem.labels.extend(verdicts)
            for column, values in numbers.items():
                problem.scores.setdefault(column, []).extend(value for value in values if value is not None)
            if completions is not None:
                # Hashes: the texts themselves would be most of the memory.
                problem.seen.update(map(hash, completions))
                problem.operations.update(map(operations, completions))
                if self.keep_texts:
                    problem.completions.extend(completions)

        return add

    def _answers(self, completions: list[str] | None, answers: list[Any] | None) -> list[str | None] | None:
        benchmark = self.benchmark
        if self.reads_completions and completions is not None and benchmark is not None:
            read = [benchmark.extract(completion) for completion in completions]
        elif answers is None:
            return None
        else:
            given = [None if answer is None or str(answer).strip() in _NO_ANSWER else str(answer) for answer in answers]
            read = [text if text is None or benchmark is None else _read_answer(benchmark, text) for text in given]
        return [None if text is None else self.texts.setdefault(text, text) for text in read]

    def _drawn(self, row: Row) -> int | None:
        """Return how many samples of lm-eval's row are not there twice, None if all.

        Where it hands the last problem of a process out again, to keep others busy, our models give the same ones.
        """
        reasons = dig(row, self.columns["finish_reason"] or "")
        return len(reasons) if isinstance(reasons, list) and reasons else None

    def _cut_off(self, row: Row, n: int) -> int | None:
        """Return how many of the n samples were cut, None if that is not known of all."""
        reasons = dig(row, self.columns["finish_reason"] or "")
        if not isinstance(reasons, list):
            reasons = [reasons]
        if len(reasons) != n or not all(isinstance(reason, str) for reason in reasons):
            return None
        return sum(reason.lower() in _CUT_OFF for reason in reasons)

    def _verdict(self, label: Any, number: int) -> bool:
        if is_verdict(label):
            return bool(label)
        raise WiseMergeError(f"{self.columns['labels']} must be true or false; entry {number} is {shortened(label)}")

    def _own_verdicts(self, row: Row, n: int) -> list[bool | None] | None:
        """Return the file's verdicts where they are but compared with ours: None for what is none."""
        column = self.columns["labels"]
        if column is None:
            return None
        labels = dig(row, column)
        if not self.columns.per_problem:
            labels = [labels]
        if labels is None:
            return [None] * n
        if not isinstance(labels, list) or len(labels) != n:
            self.no_verdicts += n
            return [None] * n
        self.no_verdicts += sum(label is not None and not is_verdict(label) for label in labels)
        return [bool(label) if is_verdict(label) else None for label in labels]

    def _scores(self, column: str, row: Row) -> list[Any]:
        """Return one score per sample, made of those of its steps where there are some."""
        if self.steps is None or column not in self.columns.of_steps:
            return self._values(column, row)
        reduce = STEPS[self.steps]

        def reduced(scores: Any) -> Any:
            usable = isinstance(scores, list) and scores and None not in map(_number, scores)
            return reduce(scores) if usable else scores

        if not self.columns.per_problem:
            return [reduced(dig(row, column))]
        return list(map(reduced, self._values(column, row)))

    def _list(self, role: str, row: Row, unpack: Callable[[Any], Any] = lambda value: value) -> list[Any] | None:
        column = self.columns[role]
        return None if column is None else self._values(column, row, unpack)

    def _values(self, column: str, row: Row, unpack: Callable[[Any], Any] = lambda value: value) -> list[Any]:
        """Return one value per sample of the row."""
        value = unpack(dig(row, column))
        if not self.columns.per_problem:
            if isinstance(value, list) and len(value) == 1:
                value = value[0]
            if isinstance(value, (list, dict)):
                raise WiseMergeError(f"{column} must hold one sample, as in other rows; got {shortened(value)}")
            return [value]
        if not isinstance(value, list):
            raise WiseMergeError(f"{column} must be a list with one entry per sample; got {shortened(value)}")
        return value


def _entries(count: int) -> str:
    return "1 entry" if count == 1 else f"{count:,} entries"


def _number(score: Any) -> float | None:
    """Return a score as a number, true being 1; None if it is no finite one."""
    try:
        number = float(score) if isinstance(score, (int, float)) else math.nan
    except OverflowError:
        return None
    return number if math.isfinite(number) else None


def _read_answer(benchmark: Benchmark, text: str) -> str | None:
    """Return what the benchmark reads in an answer that stands by itself, without the completion around it."""
    boxed = "answer" in benchmark.columns and "boxed" not in text
    return (benchmark.extract(f"\\boxed{{{text}}}") if boxed else None) or benchmark.extract(text)
