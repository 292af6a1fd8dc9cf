"""The samples of a file, problem by problem.

Rows are read one after the other and texts are not kept unless asked for: 1,319 problems with
256 samples each fit in little memory.
"""

import dataclasses
from collections.abc import Sequence
from pathlib import Path

from wise_merge.errors import WiseMergeError
from wise_merge.results.reading.benchmark_choice import plan_of
from wise_merge.results.reading.columns import Columns, Fields
from wise_merge.results.reading.plan import Plan
from wise_merge.results.reading.problem import Problem, Samples
from wise_merge.results.reading.reader import Reader
from wise_merge.results.reading.rows import task_of


def read_samples(
    path: Path,
    *,
    more: Sequence[Path] = (),
    fields: Fields | None = None,
    benchmark: str | None = None,
    why: str = "as asked",
    file_verdicts: bool = False,
    steps: str | None = None,
    filter_name: str | None = None,
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
        file_verdicts: take the verdicts of the file; then it needs no gold. Where a task of lm-eval judged the
            completions itself, they are taken unless a benchmark is given.
        steps: which of `columns.STEPS` makes one score of a list per completion; None leaves such scores out.
        filter_name: the filter of lm-eval whose rows are read; None = of each problem those of the first one.
        skip_bad: leave out samples without a completion (or verdict, if the file's decide); else they are wrong.
        pool: the samples of all rows with one id are those of one problem, also within a file.
        keep_texts: keep problems and completions.
        progress: show a bar on stderr, if that is a terminal.
    """

    def plan_for(file: Path, name: str | None) -> Plan:
        plan = plan_of(file, fields or {}, name, file_verdicts, steps, filter_name)
        return dataclasses.replace(plan, skip_bad=skip_bad, pool=pool, keep_texts=keep_texts)

    plan = plan_for(path, benchmark)
    if benchmark is not None:
        plan = dataclasses.replace(plan, why=why)
    reader = Reader()
    reader.read(path, plan, progress=progress)
    for further in more:
        # Its columns may have other names; the rest must be as in the first file.
        other = plan_for(further, plan.benchmark.name if plan.benchmark else None)
        _check_alike(path, plan, further, other)
        reader.read(further, other, progress=progress, prefix=further.name)
    if plan.file_verdicts:
        reader.check_filter(path, plan)
    _check_not_empty(path, reader, file_verdicts=plan.file_verdicts)
    problems = sorted((problem.finish() for problem in reader.collected.values()), key=_by_id)
    return Samples(
        path,
        task_of(path),
        plan.benchmark,
        plan.why,
        plan.columns,
        tuple(problems),
        tuple(reader.rejected),
        tuple(reader.notes(plan)),
        dict(sorted(reader.missing.samples.items())),
        plan.file_verdicts,
    )


def _check_alike(path: Path, plan: Plan, further: Path, other: Plan) -> None:
    """Raise a `WiseMergeError` unless both files hold the same of each sample and are of one task."""
    if other.columns.judged_by != plan.columns.judged_by:
        by = [columns.judged_by or "one of our benchmarks" for columns in (other.columns, plan.columns)]
        raise WiseMergeError(f"{further} cannot be put together with {path}: it is judged by {by[0]}, not {by[1]}")
    if _held(other.columns) != _held(plan.columns) or task_of(further) != task_of(path):
        raise WiseMergeError(
            f"{further} cannot be put together with {path}: it holds {', '.join(_held(other.columns))}, "
            f"the other {', '.join(_held(plan.columns))}, and the tasks must be the same"
        )


def _check_not_empty(path: Path, reader: Reader, *, file_verdicts: bool) -> None:
    """Raise a `WiseMergeError`, with the reason, if no sample was read."""
    if reader.collected:
        return
    if not reader.rejected:
        raise WiseMergeError(f"{path}: no sample has a {'verdict' if file_verdicts else 'completion'}, so none is left")
    place, reason = reader.rejected[0]
    raise WiseMergeError(f"{path}: no row can be used; {place}: {reason}")


def _held(columns: Columns) -> list[str]:
    """Return what the file holds of each sample."""
    return [role for role in ("completions", "answers", "labels") if columns[role]] + sorted(columns.scores)


def _by_id(problem: Problem) -> tuple[bool, int, str]:
    """Return a key by which 2 comes before 10, and numbers before other ids."""
    number = problem.id.isascii() and problem.id.isdigit() and len(problem.id) < 19
    return not number, int(problem.id) if number else 0, problem.id
