"""lm-eval's own task files, read ahead: 14,000 of them, of which every `lm_eval` makes its index anew, in seconds.

Importing this reads them once. A process that is forked then gets what stands in a file from memory when it asks for
it the first time; everything that lm-eval makes of it, it does itself.
"""

import contextlib
import functools
from pathlib import Path

from lm_eval.tasks import _index, manager

from . import machine

#: What a file holds by its path; each is handed out once, so that nobody shares it.
_READ = {}


def read_ahead() -> None:
    """Read every file as the index does, and let the index have it."""
    read = _index.load_yaml
    how = {"resolve_func": False, "recursive": True}
    for path in _index.TaskIndex._iter_yaml_files(Path(manager.__file__).parent):
        # One that cannot be read is read again by the index, which says so.
        with contextlib.suppress(Exception):
            _READ[path] = read(path, **how)

    @functools.wraps(read)
    def load_yaml(path, **asked):
        return _READ.pop(path) if asked == how and path in _READ else read(path, **asked)

    _index.load_yaml = load_yaml


# An lm-eval that makes its index otherwise reads for itself.
if hasattr(_index, "load_yaml") and hasattr(getattr(_index, "TaskIndex", None), "_iter_yaml_files"):
    read_ahead()
machine.ask_ahead()
