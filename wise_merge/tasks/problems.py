"""The problems of our tasks: from a file of the user's, or generated; with the columns that a task needs."""

import hashlib
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import datasets
import jinja2
import jinja2.meta

from wise_merge.answers.benchmarks import Gold
from wise_merge.errors import WiseMergeError
from wise_merge.games import countdown, sudoku
from wise_merge.hosts.lm_eval import conversion
from wise_merge.hosts.lm_eval.messages import TaskInputError, log
from wise_merge.hosts.lm_eval.registration import tasks_directory
from wise_merge.results.reading.rows import read_rows
from wise_merge.text import near

#: Examples that are generated beside the problems of the games, so --num_fewshot goes up to this.
FEWSHOT_EXAMPLES = 16

#: Other names that data sets have for our columns, the likeliest first; case does not matter.
ALSO_CALLED = {
    "numbers": ("nums",),
    "question": ("puzzle",),
    "problem": ("question",),
    "answer": ("final_answer",),
}


def countdown_problems(
    *, numbers: int, largest: int, problems: int, problem_seed: int, operations: str, **_: Any
) -> dict[str, datasets.Dataset]:
    """Return the problems of `countdown_passk` and a few others for the few-shot examples."""
    _positive_integers(numbers=numbers, largest=largest, problems=problems)
    generated = _with_examples(
        problems,
        lambda count: countdown.generate_problems(
            count, numbers=numbers, largest=largest, seed=problem_seed, operations=str(operations)
        ),
    )
    return _splits([{"numbers": list(p.numbers), "target": p.target, "solution": p.solution} for p in generated])


def countdown_key(gold: Any) -> Gold:
    """Return what makes two problems of CountDown the same one, see `countdown.Problem.key`."""
    numbers, target = gold
    return countdown.Problem(numbers, target, solution="").key


def sudoku_problems(
    *, size: int, blanks: int, problems: int, problem_seed: int, **_: Any
) -> dict[str, datasets.Dataset]:
    """Return the puzzles of `sudoku4_passk` or `sudoku9_passk`, and a few others for the few-shot examples."""
    _positive_integers(size=size, blanks=blanks, problems=problems)
    generated = _with_examples(
        problems, lambda count: sudoku.generate_puzzles(count, size=size, blanks=blanks, seed=problem_seed)
    )
    return _splits([{"question": p.puzzle, "solution": p.solution} for p in generated])


def sudoku_document(row: Mapping[str, Any], *, size: int, **_: Any) -> dict[str, Any]:
    """Return a row of a Sudoku file with its puzzle as the prompt needs it: digits in a row, 0 for an empty cell."""
    puzzle = sudoku.read_puzzle(str(row["question"]))
    if len(puzzle) != size**2:
        raise WiseMergeError(f"it must have {size**2} cells; got {len(puzzle)}: {row['question']!r}")
    return {**row, "question": puzzle}


def olympiad_document(row: Mapping[str, Any], **_: Any) -> dict[str, Any]:
    """Return a row of OlympiadBench with its one answer and its one solution as texts.

    The answer, such as `["$1$,$2$"]`, loses its list and its dollars. A picture, a proof, and more or fewer answers
    than one are refused.
    """
    pictures = [name for name, value in row.items() if name.lower().startswith("image") and value]
    if pictures:
        raise WiseMergeError(
            f"it has a picture (column {pictures[0]}), which a prompt cannot show; take problems of text, OE_TO_..."
        )
    answers = row["answer"] if isinstance(row["answer"], list) else [row["answer"]]
    if len(answers) != 1 or not str(answers[0] or "").strip():
        raise WiseMergeError(
            f"its final_answer must be a text or a list of one; got {answers!r}: a proof (TP_...) cannot be judged here"
        )
    if row.get("error"):
        log.warning(
            "problem %s of OlympiadBench allows an error of %s: here an answer must be equal to %s",
            row.get("id"),
            row["error"],
            answers[0],
        )
    answer = str(answers[0]).replace("$", "").strip()
    solution = row.get("solution")
    # The first of several ways to solve it.
    return {**row, "answer": answer, **({"solution": solution[0]} if isinstance(solution, list) and solution else {})}


def _with_examples(problems: int, generate: Callable[[int], Sequence[Any]]) -> Sequence[Any]:
    # The examples are drawn together with the problems, so that none of them is a problem too.
    try:
        return generate(problems + FEWSHOT_EXAMPLES)
    except WiseMergeError as error:
        raise WiseMergeError(f"{problems} problems and {FEWSHOT_EXAMPLES} few-shot examples: {error}") from error


def _splits(rows: Sequence[dict[str, Any]]) -> dict[str, datasets.Dataset]:
    return {
        "test": datasets.Dataset.from_list(rows[:-FEWSHOT_EXAMPLES]),
        "train": datasets.Dataset.from_list(rows[-FEWSHOT_EXAMPLES:]),
    }


def of_task(setting: Any, name: str, task: str) -> Any:
    """Return what a setting of the metadata says for a task: one value for all, or a mapping from tasks to values."""
    if not isinstance(setting, dict):
        return setting
    ours = {path.stem for path in Path(tasks_directory()).glob("*_passk.yaml")}
    known = ours | {task} | conversion.made
    unknown = sorted(set(setting) - known)
    # One that lm-eval may have another task for is perhaps only left out of this run; a slip of the pen is not.
    slips = [
        one for one in unknown if not one.endswith(conversion.SUFFIX) or near(one, known - set(setting), cutoff=0.9)
    ]
    if slips:
        raise TaskInputError(
            f"{name} names {', '.join(slips)}, which is no task; the tasks are {', '.join(sorted(ours | {task}))}"
        )
    return setting.get(task)


def data_file(setting: Any, task: str) -> Path | None:
    """Return the file that the metadata names for a task."""
    setting = of_task(setting, "data_file", task)
    if setting is not None and not isinstance(setting, str):
        raise TaskInputError(f"{task}: data_file must be the path of a JSON Lines file; got {setting!r}")
    return None if setting is None else Path(setting).expanduser()


#: A column of dates among the features of `datasets`, whose names of columns are not taken for one.
_DATE = re.compile(r"Value\((?:dtype=)?'(?:timestamp|date|time)")


def read_file(path: Path, task: str) -> datasets.Dataset:
    """Return the rows of a JSON Lines file."""
    if not path.is_file():
        raise TaskInputError(f"{task}: data_file {str(path)!r} does not exist; give the path of a JSON Lines file")

    def refuse(place: str, reason: str) -> None:
        raise TaskInputError(f"{task}: {path} is not a JSON Lines file; {place}: {reason}")

    # Read here first, as the errors of `datasets` name neither the file nor the line.
    try:
        count = sum(1 for _ in read_rows(path, refuse))
    except TaskInputError:
        raise
    except WiseMergeError as error:
        raise TaskInputError(f"{task}: {error}") from error
    if not count:
        raise TaskInputError(f"{task}: {path} is empty")
    try:
        rows = datasets.load_dataset("json", data_files={"test": str(path.resolve())}, split="test")
        # Texts that look like dates have become dates, which a prompt would show with a time of day.
        if _DATE.search(str(rows.features)):
            rows = datasets.Dataset.from_list([row for _, row in read_rows(path, refuse)])
        return rows
    except (datasets.exceptions.DatasetGenerationError, ValueError) as error:
        raise TaskInputError(f"{task}: {path} is not a JSON Lines file: {error.__cause__ or error}") from error


def sha256(path: Path) -> str:
    """Return the SHA-256 of a file, in hexadecimal, by which results say which copy of the data they are from."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def variables(template: str) -> set[str]:
    """Return the names that a Jinja template takes from its document.

    >>> sorted(variables("{{question}} {{numbers | join(' ')}}"))
    ['numbers', 'question']
    """
    return jinja2.meta.find_undeclared_variables(jinja2.Environment().parse(template))


def with_columns(
    rows: datasets.Dataset, columns: Sequence[str], constants: Mapping[str, Any], origin: str
) -> datasets.Dataset:
    """Return the rows with these columns, renamed where a data set calls them otherwise.

    Args:
        rows: as loaded.
        columns: that the task needs.
        constants: values, the same in each row, for columns that the data need not have.
        origin: of the rows, for the error message.
    """
    for column in columns:
        if column in rows.column_names:
            continue
        names = (column, *ALSO_CALLED.get(column, ()))
        other = sorted(
            (name for name in rows.column_names if name.lower() in names), key=lambda name: names.index(name.lower())
        )
        if other:
            rows = rows.rename_column(other[0], column)
        elif column in constants:
            rows = rows.add_column(column, [constants[column]] * len(rows))
    missing = [column for column in columns if column not in rows.column_names]
    if missing:
        raise WiseMergeError(f"{origin} lacks the column {', '.join(missing)}; it has {', '.join(rows.column_names)}")
    return rows


def positive_integer(value: Any, name: str) -> int:
    """Return the value if it is a positive integer, and refuse it by name otherwise."""
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise TaskInputError(f"{name} must be a positive integer; got {value!r}")
    return value


def _positive_integers(**values: Any) -> None:
    for name, value in values.items():
        positive_integer(value, name)
