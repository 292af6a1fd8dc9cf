"""What a column of a file may be called, and where things stand in the rows of one file.

The accepted names are those of lm-eval's samples and of published files of samples; the
page docs/score.md shows them. How the columns of a file are found is in `finder`.
"""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from wise_merge.errors import WiseMergeError

#: Per role the accepted names. Columns of an earlier group win over those of a later one; within a group
#: two columns may only be present together if they hold the same.
NAMES: Mapping[str, tuple[tuple[str, ...], ...]] = {
    "id": tuple(
        (name,)
        for name in (
            *("id", "problem_id", "question_id", "doc_id", "task_id", "unique_id", "uid", "qid", "group_id", "idx"),
            *("index", "problem_idx", "question_idx", "problem_index", "question_index", "orig_dset_idx", "uuid"),
        )
    ),
    "problem": tuple(
        (name,)
        for name in (
            *("problem", "question", "puzzle", "prompt", "input", "query", "instruction", "problem_text", "example"),
            "messages",
        )
    ),
    "gold": (
        (
            *("gold", "gold_answer", "gold_label", "gt", "gt_answer", "gt_ans", "ground_truth", "groundtruth"),
            *("ground_truth_answer", "expected_answer", "expected", "reference_answer", "ref_answer"),
            "correct_answer",
        ),
        ("reference", "references", "golds", "target"),
        ("answer",),
        ("solution",),
        ("gts", "ref_ans"),
        ("choices",),
    ),
    "completions": (
        (
            *("completions", "completion", "samples", "responses", "response", "generations", "generation", "resps"),
            *("model_responses", "model_response", "model_outputs", "model_output", "model_completion"),
            *("generated_texts", "generated_text", "generated_solutions", "generated_solution", "candidates"),
            *("rollouts", "traces"),
        ),
        ("outputs", "output", "texts", "text", "codes", "code", "solutions"),
        ("choices.message", "model_output.choices.message"),
    ),
    "answers": (
        (
            *("answers", "preds", "pred", "predicted_answers", "predicted_answer", "extracted_answers"),
            *("extracted_answer", "extracted_preds", "model_answers", "model_answer", "given_answer", "pred_answer"),
            *("final_answers", "final_answer", "parsed_answers", "parsed_answer"),
        ),
        ("predictions", "prediction"),
        ("answer",),
    ),
    "labels": (
        (
            *("labels", "label", "is_corrects", "is_correct", "corrects", "correct", "answer_correct", "correctness"),
            *("verdicts", "verdict", "passed", "is_right", "correct_labels"),
        ),
        ("score", "scores", "acc", "accuracy", "exact_match", "judgements", "judgement", "results", "result"),
        ("symbolic_correct",),
        ("judge_correct",),
    ),
    "finish_reason": tuple(
        (name,)
        for name in (
            *("curve.finish_reason", "finish_reason", "finish_reasons", "stop_reason", "stop_reasons"),
            "choices.finish_reason",
        )
    ),
    "numbers": (("numbers", "nums"),),
    "target": (("target",),),
}
ROLES = (*NAMES, "scores")
#: Where lm-eval, from 0.5 on, has what each metric of a filter says of each completion.
SCORES_PER_REPEAT = "scores_per_repeat"

#: Where lm-eval's rows of a task that judges its completions itself say by which metric; those of a journal on top.
JUDGED_BY = ("curve.judged_by", "judged_by")
#: Where such rows have the task's own votes and verdicts.
OWN_VERDICTS = {"answers": "curve.answers", "labels": "curve.correct"}

#: How the scores of a completion's steps become one score.
STEPS: Mapping[str, Callable[[Sequence[float]], float]] = {
    "last": lambda scores: scores[-1],
    "min": min,
    "product": math.prod,
}

Fields = Mapping[str, Sequence[str]]


@dataclass(frozen=True)
class Columns:
    """Where things stand in the rows of a file: column names (dots lead into nested objects), None = not there.

    Attributes:
        per_problem: whether a row is a problem with a list of samples, not one sample.
        lm_eval: whether the rows are lm-eval's.
        roles: from role to column.
        scores: the columns with scores, each a scorer of its own.
        of_steps: those of them that have a list per completion.
        left_out: columns that look like scores but cannot be used, with the reason.
        unfit: from role to what stands under one of its names but cannot be meant, for messages.
        names: all columns of the file, likewise.
        judged_by: the task of lm-eval that judges the completions itself, and its metric, None = one of ours does.
    """

    per_problem: bool
    lm_eval: bool
    roles: Mapping[str, str]
    scores: tuple[str, ...]
    of_steps: tuple[str, ...]
    left_out: tuple[str, ...]
    unfit: Mapping[str, str]
    names: tuple[str, ...]
    judged_by: str | None = None

    def __getitem__(self, role: str) -> str | None:
        return self.roles.get(role)

    @property
    def are_verdicts_of_a_filter(self) -> bool:
        """Whether the verdicts are those of lm-eval's metrics, of which each filter has its own."""
        return self.lm_eval and (self["labels"] or "").startswith(f"{SCORES_PER_REPEAT}.")

    @property
    def own_logprob(self) -> str | None:
        """The column with the sampling model's own log-probabilities, which is beside `finish_reason`."""
        reason = self["finish_reason"] or ""
        return f"{reason.removesuffix('finish_reason')}logprob" if reason.endswith("finish_reason") else None


def parse_fields(settings: Iterable[str]) -> dict[str, list[str]]:
    """Return role -> columns from settings such as `gold=doc.answer`; columns given for one role are alternatives.

    `scores=` has no column: there are to be no scores.
    """
    fields: dict[str, list[str]] = {}
    for setting in settings:
        role, equals, column = setting.partition("=")
        if not equals or role not in ROLES or not (column or role == "scores"):
            raise WiseMergeError(
                f"--field takes role=column with a role of {', '.join(ROLES)}; got {setting!r}",
            )
        fields.setdefault(role, []).extend([column] if column else [])
    return fields


def dig(row: Any, column: str) -> Any:
    """Return what stands in a column, None if it is not there.

    A dot leads into a nested object, or to each object of a list (`choices.message.content`).
    """
    if isinstance(row, dict) and column in row:
        return row[column]
    if isinstance(row, list):
        return [dig(entry, column) for entry in row]
    first, dot, rest = column.partition(".")
    return dig(row[first], rest) if dot and isinstance(row, dict) and first in row else None


def is_verdict(value: Any) -> bool:
    """Return whether it is true, false, 1 or 0."""
    return isinstance(value, bool) or (isinstance(value, (int, float)) and value in (0, 1))


def is_number(value: Any) -> bool:
    """Return whether it is a number; true and false are none."""
    return isinstance(value, (int, float)) and not isinstance(value, bool)
