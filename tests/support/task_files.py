"""lm-eval's own task files, read ahead: 14,000 of them, of which every `lm_eval` makes its index anew, in seconds.

Importing this reads them once. A process that is forked then gets what stands in a file from memory when it asks for
it the first time; everything that lm-eval makes of it, it does itself.

What was read is kept where `make` has its environments, for the next process that needs it.
"""

import contextlib
import functools
import hashlib
import importlib.metadata
import os
import pickle
from pathlib import Path

from lm_eval.tasks import _index, manager

from . import machine

#: What a file holds by its path; each is handed out once, so that nobody shares it.
_READ = {}
#: Where an environment has the files; they name functions by paths below it.
_FOLDER = Path(manager.__file__).parent


def read_ahead() -> None:
    """Read every file as the index does, or take what was kept of that, and let the index have it."""
    read = _index.load_yaml
    how = {"resolve_func": False, "recursive": True}

    def read_all():
        found = {}
        for path in _index.TaskIndex._iter_yaml_files(_FOLDER):
            # One that cannot be read is read again by the index, which says so.
            with contextlib.suppress(Exception):
                found[path] = read(path, **how)
        return found

    _READ.update(kept(read_all))

    @functools.wraps(read)
    def load_yaml(path, **asked):
        return _READ.pop(path) if asked == how and path in _READ else read(path, **asked)

    _index.load_yaml = load_yaml


def kept(read_all) -> dict:
    """Return what all files hold, from a file of that if there is one and the files are still those."""
    state = recorded()
    if state is None:
        return read_all()
    caches = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "wise-merge"
    cache = caches / f"task-files-{hashlib.sha256(str(_FOLDER).encode()).hexdigest()[:16]}.pickle"
    with contextlib.suppress(OSError):
        then, found = pickle.loads(cache.read_bytes())
        if then == state:
            return found
    found = read_all()
    # Who has no such folder, or cannot write there, reads again the next time.
    with contextlib.suppress(OSError):
        caches.mkdir(parents=True, exist_ok=True)
        whole = cache.with_name(f"{cache.name}.{os.getpid()}")
        whole.write_bytes(pickle.dumps((state, found)))
        whole.replace(cache)
    return found


def recorded() -> str | None:
    """Return the hash of the hashes that pip has of the files, or None where it did not put them there."""
    files = [file for file in importlib.metadata.files("lm_eval") or () if file.suffix == ".yaml"]
    if not files or not all(file.hash for file in files):
        return None
    return hashlib.sha256("".join(f"{file} {file.hash.value}\n" for file in files).encode()).hexdigest()


# An lm-eval that makes its index otherwise reads for itself.
if hasattr(_index, "load_yaml") and hasattr(getattr(_index, "TaskIndex", None), "_iter_yaml_files"):
    read_ahead()
machine.ask_ahead()
