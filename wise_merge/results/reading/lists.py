"""The samples of a row as parallel lists, with an entry for each sample, in whatever shape the row holds them.

A missing entry is None, and so is each entry of a list that is missing as a whole.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from wise_merge.errors import WiseMergeError
from wise_merge.results.reading.columns import STEPS, Columns, dig
from wise_merge.results.reading.rows import Row
from wise_merge.results.reading.texts import as_texts, is_missing
from wise_merge.text import shortened

#: From a role, or from a column of scores, to an entry per sample.
Lists = dict[str, list[Any]]


def lists_of(row: Row, columns: Columns, roles: Sequence[str], steps: str | None) -> tuple[int, Lists, Lists]:
    """Return how many samples a row has, and their lists by role and by column of scores.

    Raises a `WiseMergeError` that says what is wrong with the row where the lists differ in length.

    Args:
        row: of a file.
        columns: of the file.
        roles: to be read; the first one says how many samples there are.
        steps: which of `columns.STEPS` makes one score of a list; None leaves such scores out.
    """
    lists: dict[str, list[Any] | None] = {}
    for role in roles:
        lists[role] = _values(columns, columns[role] or "", row, chats=role == "completions")
    completions = lists.get("completions")
    if columns.lm_eval and completions:
        lists["completions"] = completions[: _count_without_repetitions(row, columns)]
    scores = {column: _scores(columns, column, row, steps) for column in columns.scores}
    main = columns[roles[0]]
    first = next((values for values in (*lists.values(), *scores.values()) if values is not None), None)
    n = _count_from_other_lists(row, columns, main) if first is None else len(first)
    if not n:
        raise WiseMergeError(f"{main} is empty: there must be at least one sample")
    return n, _filled(lists, n, main, columns.roles), _filled(scores, n, main, {})


def _filled(lists: Mapping[str, list[Any] | None], n: int, main: str | None, names: Mapping[str, str]) -> Lists:
    """Return lists that all have n entries; raises a `WiseMergeError` with the name of one that has not."""
    filled = {}
    for key, values in lists.items():
        if values is None:
            values = [None] * n
        elif len(values) != n:
            raise WiseMergeError(f"{names.get(key, key)} has {entries(len(values))} for {n} {main}")
        filled[key] = values
    return filled


def _count_from_other_lists(row: Row, columns: Columns, main: str | None) -> int:
    """Return how many samples a row has by its other lists, where those of its samples are missing."""
    for role in ("labels", "finish_reason"):
        values = dig(row, columns[role] or "")
        if isinstance(values, list):
            return len(values)
    raise WiseMergeError(
        f"{main} is missing, so nothing says how many samples there are; wanted is a list with an entry for each, "
        "null where a sample has none"
    )


def missing_texts(completions: Sequence[Any]) -> set[int]:
    """Return which completions are missing; raises a `WiseMergeError` for one that is no text."""
    missing = set()
    for number, text in enumerate(completions):
        if text is None:
            missing.add(number)
        elif not isinstance(text, str):
            raise WiseMergeError(
                f"completion {number + 1} must be a text; got {shortened(text)}; if the texts stand elsewhere, "
                "name their column with --field completions=COLUMN"
            )
    return missing


def numbers(column: str, scores: Sequence[Any]) -> tuple[list[float], set[int]]:
    """Return scores as numbers, true being 1, and which are missing: these are -inf, which ranks last.

    Raises a `WiseMergeError` for any other score that is no finite number.
    """
    as_numbers, missing = list(map(_number, scores)), set()
    if None in as_numbers:
        for number, score in enumerate(scores):
            if is_missing(score):
                missing.add(number)
            elif as_numbers[number] is None:
                raise WiseMergeError(
                    f"{column} must be finite numbers; entry {number + 1} is {shortened(score)}; "
                    "--field scores= goes without scores"
                )
    return [-math.inf if number is None else number for number in as_numbers], missing


def _values(columns: Columns, column: str, row: Row, *, chats: bool = False) -> list[Any] | None:
    """Return one value per sample of the row; None if there is no list of them."""
    value = as_texts(dig(row, column)) if chats else dig(row, column)
    if not columns.per_problem:
        if isinstance(value, list) and len(value) < 2:
            value = value[0] if value else None
        if isinstance(value, (list, dict)):
            raise WiseMergeError(f"{column} must hold one sample, as in other rows; got {shortened(value)}")
        return [value]
    if is_missing(value):
        return None
    if not isinstance(value, list):
        raise WiseMergeError(f"{column} must be a list with one entry per sample; got {shortened(value)}")
    return value


def _scores(columns: Columns, column: str, row: Row, steps: str | None) -> list[Any] | None:
    """Return one score per sample, reduced from those of its steps if there are any; None if there is no list."""
    if steps is None or column not in columns.of_steps:
        return _values(columns, column, row)
    reduce = STEPS[steps]

    def reduced(scores: Any) -> Any:
        if scores == []:
            return None
        usable = isinstance(scores, list) and None not in map(_number, scores)
        return reduce(scores) if usable else scores

    if not columns.per_problem:
        return [reduced(dig(row, column))]
    values = _values(columns, column, row)
    return None if values is None else list(map(reduced, values))


def _count_without_repetitions(row: Row, columns: Columns) -> int | None:
    """Return how many samples of lm-eval's row are no repetitions, None if all.

    In a data-parallel run lm-eval may repeat the last problem of a process; our models return the same samples, and
    our tasks leave out those that other models draw.
    """
    for column in (columns["finish_reason"], columns["labels"] if columns.judged_by else None):
        counted = dig(row, column or "")
        if isinstance(counted, list) and counted:
            return len(counted)
    return None


def _number(score: Any) -> float | None:
    """Return a score as a number; None if it is no finite one."""
    try:
        number = float(score) if isinstance(score, (int, float)) else math.nan
    except OverflowError:
        return None
    return number if math.isfinite(number) else None


def entries(count: int) -> str:
    """Return `1 entry` or `2 entries`."""
    return "1 entry" if count == 1 else f"{count:,} entries"
