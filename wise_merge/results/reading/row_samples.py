"""What a row says of samples: their completions, answers, verdicts and scores, each checked."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from wise_merge.answers.benchmarks import Benchmark
from wise_merge.errors import WiseMergeError
from wise_merge.results.reading.columns import dig, is_verdict
from wise_merge.results.reading.lists import lists_of, missing_texts, numbers
from wise_merge.results.reading.plan import Plan
from wise_merge.results.reading.rows import Row
from wise_merge.results.reading.texts import is_missing
from wise_merge.text import shortened

#: What a file writes where a model gave no answer.
_NO_ANSWER = {"", "[invalid]", "None", "null"}
#: How files say that a completion was cut at the longest one allowed.
_CUT_OFF = {"length", "max_tokens"}


@dataclass(frozen=True)
class RowSamples:
    """The n samples of a row that count; lists are parallel, with one entry per sample.

    Attributes:
        n: how many there are.
        completions: the texts, empty where one is missing; None if the file has none.
        answers: the final answer of each, None where there is none; None if the file has only verdicts.
        verdicts: the file's own, None where it has none; None if it has no column of them.
        scores: from column to one score per sample.
        cut_off: how many were cut at the longest completion allowed; None if the file does not say of all.
        missing: how many samples of the row lack a `completion`, a `verdict` or a score (`score in COLUMN`).
        not_verdicts: how many entries of a column of verdicts are neither true nor false.
    """

    n: int
    completions: list[str] | None
    answers: list[str | None] | None
    verdicts: list[bool | None] | None
    scores: Mapping[str, list[float]]
    cut_off: int | None
    missing: Mapping[str, int]
    not_verdicts: int


def samples_of(row: Row, plan: Plan) -> RowSamples:
    """Return the samples of a row; raises a `WiseMergeError` that says what is wrong with one."""
    n, lists, score_lists = lists_of(row, plan.columns, plan.sample_roles, plan.steps)
    completions, labels = lists.get("completions"), lists.get("labels")
    without_text = missing_texts(completions or ())
    answers = _answers(completions, lists.get("answers"), plan)
    not_verdicts = 0
    verdicts: list[bool | None] | None
    if labels is None:
        verdicts, not_verdicts = _verdicts_to_compare(row, n, plan)
        undecided = without_text
    else:
        verdicts = [_verdict(label, number, plan) for number, label in enumerate(labels, start=1)]
        undecided = {number for number, verdict in enumerate(verdicts) if verdict is None}
        # A sample without a verdict counts as wrong and has no vote.
        verdicts = list(map(bool, verdicts))
        answers = answers and [None if number in undecided else answer for number, answer in enumerate(answers)]
    missing = {"completion": len(without_text)} if without_text else {}
    if labels is not None and undecided:
        missing["verdict"] = len(undecided)
    scores = {}
    for column, values in score_lists.items():
        scores[column], unknown = numbers(column, values)
        # A missing completion has no score, and the sampling model's own log-probability may be unknown.
        if unknown - without_text and column != plan.columns.own_logprob:
            missing[f"score in {column}"] = len(unknown - without_text)
    cut = _which_are_cut(row, n, without_text, plan)
    kept = [number for number in range(n) if not plan.skip_bad or number not in undecided]

    def only_kept(values: Sequence[Any] | None) -> list[Any] | None:
        return values and [values[number] for number in kept]  # type: ignore[return-value]

    cut = only_kept(cut)
    return RowSamples(
        n=len(kept),
        completions=only_kept(completions and ["" if text is None else text for text in completions]),
        answers=only_kept(answers),
        verdicts=only_kept(verdicts),
        scores={column: only_kept(values) or [] for column, values in scores.items()},
        cut_off=None if cut is None else sum(cut),
        missing=missing,
        not_verdicts=not_verdicts,
    )


def _answers(completions: list[str | None] | None, column: list[Any] | None, plan: Plan) -> list[str | None] | None:
    """Return the answer of each sample, read from its completion or as it stands in a column."""
    benchmark = plan.benchmark
    if plan.reads_completions and completions is not None and benchmark is not None:
        return [None if completion is None else benchmark.extract(completion) for completion in completions]
    if column is None:
        return None
    given = [None if is_missing(answer) else str(answer) for answer in column]
    if plan.columns.judged_by is not None and benchmark is None:
        # A task of lm-eval says by null where there is no answer, and its answer may be "None".
        return list(given)
    given = [None if text is None or text.strip() in _NO_ANSWER else text for text in given]
    return [text if text is None or benchmark is None else _read_answer(benchmark, text) for text in given]


def _read_answer(benchmark: Benchmark, text: str) -> str | None:
    """Return what the benchmark reads in an answer that stands by itself, without the completion around it."""
    boxed = "answer" in benchmark.columns and "boxed" not in text
    return (benchmark.extract(f"\\boxed{{{text}}}") if boxed else None) or benchmark.extract(text)


def _verdict(label: Any, number: int, plan: Plan) -> bool | None:
    if is_verdict(label):
        return bool(label)
    if is_missing(label):
        return None
    raise WiseMergeError(f"{plan.columns['labels']} must be true or false; entry {number} is {shortened(label)}")


def _verdicts_to_compare(row: Row, n: int, plan: Plan) -> tuple[list[bool | None] | None, int]:
    """Return the file's verdicts where they are only compared with ours, and how many entries are no verdicts.

    Such entries are None and reject no row, as no figure is made of them.
    """
    column = plan.columns["labels"]
    if column is None:
        return None, 0
    labels = dig(row, column)
    if not plan.columns.per_problem:
        labels = [labels]
    if is_missing(labels):
        return [None] * n, 0
    if not isinstance(labels, list) or len(labels) != n:
        return [None] * n, n
    not_verdicts = sum(not is_missing(label) and not is_verdict(label) for label in labels)
    return [bool(label) if is_verdict(label) else None for label in labels], not_verdicts


def _which_are_cut(row: Row, n: int, without_text: set[int], plan: Plan) -> list[bool] | None:
    """Return of each of the n samples whether it was cut; None if the row does not say of all completions."""
    column = plan.columns["finish_reason"]
    if column is None:
        return None
    reasons = dig(row, column)
    if not isinstance(reasons, list):
        reasons = [reasons]
    if len(reasons) != n:
        return None
    if not all(isinstance(reason, str) or number in without_text for number, reason in enumerate(reasons)):
        return None
    return [isinstance(reason, str) and reason.lower() in _CUT_OFF for reason in reasons]
