"""By which benchmark a file is read: by its task, its columns or its golds, or as the user says."""

import re
from collections.abc import Mapping, Sequence
from itertools import islice
from pathlib import Path

from wise_merge.answers import benchmarks
from wise_merge.answers.benchmarks import Benchmark
from wise_merge.errors import WiseMergeError
from wise_merge.results.reading.columns import Columns, Fields, dig, is_number
from wise_merge.results.reading.finder import find_columns
from wise_merge.results.reading.plan import Plan
from wise_merge.results.reading.row_problem import golds_as_written, needed_roles, unwrapped
from wise_merge.results.reading.rows import Row, is_of_filter, read_rows, refuse_journal, task_of

#: So many rows decide where the columns are.
_FIRST = 50
#: Parts of task names, the more special ones first -> the benchmark by which such tasks are judged.
_TASK_NAMES = {
    **{name: name for name in ("gsm8k", "countdown", "sudoku", "aime")},
    **dict.fromkeys(("hmmt", "brumo", "amc", "olympiad", "math"), "math"),
}
_NUMBER = re.compile(r"\s*[-+]?\s*[$€£]?\s*(\d[\d,]*)?(\.\d+)?\s*")
_GRID = re.compile(r"[0-9.]{16}|[0-9.]{81}")
_NUMBERS, _NOT_NUMBERS = "all golds are numbers", "not all golds are numbers"


def plan_of(
    path: Path,
    fields: Fields,
    benchmark: str | None,
    file_verdicts: bool,
    steps: str | None,
    filter_name: str | None = None,
) -> Plan:
    """Return how a file is to be read, judged by its first rows.

    Args:
        path: of the file.
        fields: role -> columns that the user gave.
        benchmark: that the user gave; None means to be chosen by the file.
        file_verdicts: whether the verdicts of the file count.
        steps: see `Plan`.
        filter_name: see `Plan.filter`.
    """
    refuse_journal(path)
    rows = (row for _, row in read_rows(path, lambda *_: None) if is_of_filter(row, filter_name))
    first = list(islice(rows, _FIRST))
    if not first:
        raise WiseMergeError(_no_rows(path))
    try:
        columns = find_columns(first, fields, steps=steps is not None)
        file_verdicts = file_verdicts or (benchmark is None and _judged_by_its_task(columns))
        chosen, why = _choose(path, columns, first, benchmark, file_verdicts)
        has_gold = chosen is not None and _has_gold(columns, chosen, file_verdicts)
    except WiseMergeError as error:
        raise WiseMergeError(f"{path}: {error}") from error
    return Plan(columns, chosen, why, has_gold, file_verdicts, steps, filter=filter_name)


def choose_benchmarks(
    files: Sequence[Path],
    *,
    fields: Fields | None = None,
    file_verdicts: bool = False,
    steps: str | None = None,
    filter_name: str | None = None,
) -> list[tuple[str | None, str]]:
    """Return the benchmark of each file, None if its answers are its own, and why: see `samples.read_samples`.

    A file whose golds are all numbers is read as math if another, with the same problems, is: so they can be compared.
    """
    plans = [plan_of(path, fields or {}, None, file_verdicts, steps, filter_name) for path in files]
    chosen = [(plan.benchmark.name if plan.benchmark else None, plan.why) for plan in plans]
    whys = {why for _, why in chosen}
    if not {_NUMBERS, _NOT_NUMBERS} <= whys:
        return chosen
    golds = [golds_as_written(path, plan.columns) for plan, path in zip(plans, files, strict=True)]
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


def _no_rows(path: Path) -> str:
    rejected: list[tuple[str, str]] = []
    filters = {str(row.get("filter")): None for _, row in read_rows(path, lambda *line: rejected.append(line))}
    if filters:
        return f"{path} has no samples of this --filter; its filters are {', '.join(filters)}"
    if not rejected:
        return f"{path} is empty"
    place, reason = rejected[0]
    return f"{path} has no row that is a JSON object; {place}: {reason}"


def _choose(
    path: Path, columns: Columns, first: Sequence[Row], name: str | None, file_verdicts: bool
) -> tuple[Benchmark | None, str]:
    """Return the benchmark of a file, None if its answers are its own, and why."""
    if file_verdicts and not columns["labels"]:
        raise WiseMergeError(
            f"--verdicts file needs the file's own verdicts (true or false){columns.unfit.get('labels', '')}; "
            f"name their column with --field labels=COLUMN; the columns are {', '.join(columns.names)}"
        )
    if not file_verdicts and not (columns["completions"] or columns["answers"]):
        raise WiseMergeError("it has neither completions nor answers to judge; --verdicts file takes its own verdicts")
    if name is not None:
        return benchmarks.find(name), "as asked"
    if file_verdicts and columns["answers"]:
        # The file has extracted answers, and these are the votes.
        by = f", by {columns.judged_by}" if columns.judged_by else ""
        return None, f"answers and verdicts are the file's own{by}"
    if file_verdicts and not columns["completions"]:
        return None, "verdicts are the file's own"
    return _recognise(path, columns, first)


def _judged_by_its_task(columns: Columns) -> bool:
    """Return whether the completions are those of a task that judges them itself, and so has the only right verdicts.

    Raises a `WiseMergeError` if the file is without these.
    """
    if columns.judged_by is not None and not columns["labels"]:
        raise WiseMergeError(
            f"these completions are judged by {columns.judged_by}, and the file has none of its verdicts; the lm_eval "
            "command that drew them, run again with its journal and --log_samples, draws nothing and writes samples "
            "with verdicts; or --benchmark NAME judges them by one of ours"
        )
    return columns.judged_by is not None


def _has_gold(columns: Columns, benchmark: Benchmark, file_verdicts: bool) -> bool:
    """Return whether the file has what the benchmark compares with; raises a `WiseMergeError` if it must have it."""
    missing = [role for role in needed_roles(benchmark) if not columns[role]]
    if missing and not file_verdicts:
        mend = " ".join(f"--field {role}=COLUMN" for role in missing)
        labels = f"; or --verdicts file takes its own verdicts ({columns['labels']})" if columns["labels"] else ""
        raise WiseMergeError(
            f"no {' and no '.join(missing)} found to judge {benchmark.name} answers by"
            f"{''.join(columns.unfit.get(role, '') for role in missing)}; name it with {mend}{labels}; "
            f"the columns are {', '.join(columns.names)}"
        )
    return not missing


def _recognise(path: Path, columns: Columns, first: Sequence[Row]) -> tuple[Benchmark, str]:
    """Return the benchmark that the file looks like, and by what."""
    task = (task_of(path) or "").lower()
    for part, name in _TASK_NAMES.items():
        if part in task:
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
