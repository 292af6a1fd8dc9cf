"""Programs that a model writes are run only where the user says so, and told within what."""

from collections.abc import Mapping
from typing import Any

from wise_merge.execution import describe_sandbox
from wise_merge.hosts.lm_eval.messages import TaskInputError, log


def check_permission(task: str, metadata: Mapping[str, Any]) -> None:
    """Refuse a task that runs programs unless the metadata allow it; log what they are kept from.

    Args:
        task: its name.
        metadata: of the task.
    """
    allowed = metadata.get("execute", False)
    if allowed is not True:
        raise TaskInputError(
            f"{task} runs the programs that the model writes, which needs your permission: add "
            f"--metadata '{{\"execute\": true}}'"
            + (f" (got {allowed!r})" if allowed is not False else "")
            + f". {describe_sandbox()}"
        )
    log.info("%s runs the programs that the model writes. %s", task, describe_sandbox())
