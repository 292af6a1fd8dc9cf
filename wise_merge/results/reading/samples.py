"""Which file holds what, by which benchmark it is read, and its samples problem by problem.

Rows are read one after the other and texts are not kept unless asked for: 1,319 problems with
256 samples each fit in little memory.
"""

import re
from collections.abc import Mapping, Sequence
from itertools import islice
from pathlib import Path

from wise_merge.answers import benchmarks
from wise_merge.answers.benchmarks import Benchmark
from wise_merge.errors import WiseMergeError
from wise_merge.results.reading.columns import Columns, Fields, dig, find_columns, is_number
from wise_merge.results.reading.problem import Problem, Samples
from wise_merge.results.reading.reader import Reader, needed_roles, unwrapped
from wise_merge.results.reading.rows import Row, read_rows, refuse_journal, task_of

#: Rows by which the columns are found.
_FIRST = 50
#: Parts of task names, the more special ones first.
_TASK_NAMES = ("gsm8k", "countdown", "sudoku", "aime", "math")
_NUMBER = re.compile(r"\s*[-+]?\s*[$€£]?\s*(\d[\d,]*)?(\.\d+)?\s*")
_GRID = re.compile(r"[0-9.]{16}|[0-9.]{81}")
_NUMBERS, _NOT_NUMBERS = "all golds are numbers", "not all golds are numbers"


def read_samples(
    path: Path,
    *,
    more: Sequence[Path] = (),
    fields: Fields | None = None,
    benchmark: str | None = None,
    why: str = "as asked",
    file_verdicts: bool = False,
    steps: str | None = None,
    skip_bad: bool = False,
    pool: bool = False,
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
        skip_bad: leave out samples without a completion (or verdict, if the file's decide); else they are wrong.
        pool: the samples of all rows with one id are those of one problem, also within a file.
        keep_texts: keep problems and completions.
        progress: show a bar on stderr, if that is a terminal.
    """
    reader = _open(path, fields or {}, benchmark, file_verdicts, steps)
    if benchmark is not None:
        reader.why = why
    reader.keep_texts, reader.skip_bad, reader.pool = keep_texts, skip_bad, pool
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
        other.keep_texts, other.skip_bad, other.pool = keep_texts, skip_bad, pool
        other.collected, other.rejected = reader.collected, reader.rejected
        other.read(further, progress, place=further.name)
        reader.no_verdicts += other.no_verdicts
        reader.missing.update(other.missing)
    if not reader.collected and not reader.rejected:
        raise WiseMergeError(f"{path}: no sample has a {'verdict' if file_verdicts else 'completion'}, so none is left")
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
        dict(sorted(reader.missing.samples.items())),
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


def _open(path: Path, fields: Fields, benchmark: str | None, file_verdicts: bool, steps: str | None) -> Reader:
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


def _choose(path: Path, columns: Columns, first: Sequence[Row], name: str | None, file_verdicts: bool) -> Reader:
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
        return Reader(columns, None, "answers and verdicts are the file's own", False, True)
    elif file_verdicts and not columns["completions"]:
        return Reader(columns, None, "verdicts are the file's own", False, True)
    else:
        chosen, why = _recognise(path, columns, first)
    missing = [role for role in needed_roles(chosen) if not columns[role]]
    if missing and not file_verdicts:
        mend = " ".join(f"--field {role}=COLUMN" for role in missing)
        labels = f"; or --verdicts file takes its own verdicts ({columns['labels']})" if columns["labels"] else ""
        raise WiseMergeError(
            f"no {' and no '.join(missing)} found to judge {chosen.name} answers by"
            f"{''.join(columns.unfit.get(role, '') for role in missing)}; name it with {mend}{labels}; "
            f"the columns are {', '.join(columns.names)}"
        )
    return Reader(columns, chosen, why, not missing, file_verdicts)


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
        gold = unwrapped(dig(row, columns["gold"]))
        if isinstance(gold, str) and "####" in gold:
            why = "golds end in #### and a number"
        elif not (gold is None or is_number(gold) or (isinstance(gold, str) and _NUMBER.fullmatch(gold))):
            return benchmarks.find("math"), _NOT_NUMBERS
    return benchmarks.find("gsm8k"), why
