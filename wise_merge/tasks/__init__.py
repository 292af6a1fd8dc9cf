"""Tasks of lm-eval that draw K completions per problem and score them all.

lm-eval 0.4.13 has `repeats`, but keeps one of the K completions unless told
otherwise, has no command-line flag for K, and reports no estimator over samples.
Only lm-eval is known here; estimators and answers are elsewhere. `task` is the class
behind every YAML in `lm_eval_tasks/`, `problems` its data, `generation` and `prompt_lengths`
what is checked before the sampling, `backend` what is known of lm-eval's models, `scores`
the figures, `audit` what may be wrong with the samples.
"""

from wise_merge.hosts.lm_eval.messages import TaskInputError
from wise_merge.hosts.lm_eval.registration import register, tasks_directory
from wise_merge.tasks.livecodebench.task import LiveCodeBenchTask
from wise_merge.tasks.problems import (
    countdown_key,
    countdown_problems,
    olympiad_document,
    sudoku_document,
    sudoku_problems,
)
from wise_merge.tasks.task import PassKTask

__all__ = [
    "LiveCodeBenchTask",
    "PassKTask",
    "TaskInputError",
    "countdown_key",
    "countdown_problems",
    "olympiad_document",
    "register",
    "sudoku_document",
    "sudoku_problems",
    "tasks_directory",
]
