"""Writes the samples to a file where lm-eval ends by an error and would lose them.

Hours of sampling come before the first figure, and lm-eval writes its files after the last one.
"""

import json
import tempfile
from collections.abc import Iterable, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

from wise_merge.hosts.lm_eval.messages import log


def save(task: str, rows: Iterable[Mapping[str, Any]], rank: int) -> Path | None:
    """Write the rows to a new file in the current directory, or else in the one for temporary files; return its path.

    It is called like those of `--log_samples`, samples_<task>_<date>.jsonl. None if it cannot be
    written, which is logged: the error that led here must not be hidden by another.

    Args:
        task: its name.
        rows: one per problem, as `--log_samples` has them.
        rank: of this process, which has problems of its own.
    """
    date = datetime.now().isoformat(timespec="microseconds").replace(":", "-")
    name = f"samples_{task}_{date}{f'-{rank}' if rank else ''}.jsonl"
    lines = [json.dumps(row, default=str) + "\n" for row in rows]
    for folder in (Path(), Path(tempfile.gettempdir())):
        try:
            path = folder.resolve() / name
            with path.open("x", encoding="utf-8") as file:
                file.writelines(lines)
        except OSError as error:
            log.error("%s cannot be written to %s: %s", name, folder, error)
        else:
            return path
    return None
