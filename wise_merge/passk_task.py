"""The former name of `wise_merge.tasks`, for YAML files of users that say `!function wise_merge.passk_task.NAME`."""

from wise_merge.tasks import (
    PassKTask,
    TaskInputError,
    countdown_key,
    countdown_problems,
    register,
    sudoku_document,
    sudoku_problems,
    tasks_directory,
)

__all__ = [
    "PassKTask",
    "TaskInputError",
    "countdown_key",
    "countdown_problems",
    "register",
    "sudoku_document",
    "sudoku_problems",
    "tasks_directory",
]
