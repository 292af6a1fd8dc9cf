"""What a row says of its problem: the id, the text, and the gold that answers are compared with."""

from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from wise_merge.answers.benchmarks import Benchmark, Gold
from wise_merge.answers.completions import last_boxes
from wise_merge.errors import WiseMergeError
from wise_merge.results.reading.columns import Columns, dig
from wise_merge.results.reading.plan import Plan
from wise_merge.results.reading.rows import Row, read_rows
from wise_merge.results.reading.texts import statement
from wise_merge.text import excerpt

#: The role of each column that a benchmark may need of a problem.
_ROLES = {"answer": "gold", "question": "problem", "problem": "problem", "puzzle": "problem"}
_LONGEST_GOLD = 500


def identity(place: str, row: Row, columns: Columns) -> str:
    """Return the id of the problem that a row belongs to: from a column, or the number of the row.

    Raises a `WiseMergeError` if nothing tells.
    """
    column = columns["id"] or columns["problem"]
    if column is None:
        if columns.per_problem:
            return place.split()[1]
        raise WiseMergeError(
            "nothing says which problem it belongs to; name a column with --field id=COLUMN or "
            f"--field problem=COLUMN; the columns are {', '.join(columns.names)}"
        )
    value = dig(row, column)
    value = statement(value) or value
    if isinstance(value, bool) or not isinstance(value, (str, int)):
        raise WiseMergeError(f"its {column} must be a text or an integer, to tell problems apart; got {value!r}")
    return str(value)


def needed_roles(benchmark: Benchmark) -> list[str]:
    """Return the roles of the columns that a benchmark's gold is made of."""
    if "answer" in benchmark.columns and benchmark.name != "sudoku":
        return ["gold"]
    return [_ROLES.get(column, column) for column in benchmark.columns]


def unwrapped(gold: Any) -> Any:
    """Return a gold without the list around it, which some files have."""
    return gold[0] if isinstance(gold, list) and len(gold) == 1 else gold


def raw_gold(row: Row, plan: Plan) -> list[Any] | None:
    """Return what the gold is made of, as it stands in the row; None if the file has no gold."""
    if plan.benchmark is None and plan.columns.judged_by is not None:
        return [row.get("target")]
    if not plan.has_gold or plan.benchmark is None:
        return None
    return [dig(row, plan.columns[role] or "") for role in needed_roles(plan.benchmark)]


def gold(row: Row, raw: Sequence[Any], plan: Plan) -> Gold:
    """Return the gold as the benchmark reads it.

    Args:
        row: of the file.
        raw: see `raw_gold`.
        plan: of the file, which has a gold.
    """
    if plan.benchmark is None:
        # Nothing is compared with it by us; people read it, and files of other problems are told by it.
        return excerpt(str(unwrapped(raw)))
    for role, value in zip(needed_roles(plan.benchmark), raw, strict=True):
        if value is None or value == "":
            raise WiseMergeError(f"it has no {role}: {plan.columns[role]} is missing or empty")
    return plan.benchmark.gold(_document(row, plan.benchmark, plan.columns))


def _document(row: Row, benchmark: Benchmark, columns: Columns) -> Row:
    """Return the row with the names of columns that its benchmark knows."""
    document = dict(row["doc"]) if columns.lm_eval else dict(row)
    for column in benchmark.columns:
        role = columns[_ROLES.get(column, column)]
        if role is not None:
            value = unwrapped(dig(row, role))
            # A file may give a whole solution as the gold: then its answer is in the last box.
            boxes = last_boxes(value, _LONGEST_GOLD, 1) if isinstance(value, str) and "\\boxed" in value else []
            document[column] = boxes[0][2] if boxes and boxes[0][2] else value
    return document


def golds_as_written(path: Path, columns: Columns) -> dict[str, str]:
    """Return the gold of each problem as it stands in a file, by the id of the problem."""
    golds = {}
    for place, row in read_rows(path, lambda *_: None):
        with suppress(WiseMergeError):
            golds[identity(place, row, columns)] = str(unwrapped(dig(row, columns["gold"] or "")))
    return golds
