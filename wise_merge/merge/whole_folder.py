"""A folder that is there whole or not at all, whenever the process is killed.

It is filled beside its final place, flushed to the disk and renamed, or exchanged with the folder that it replaces.
What a killed process has left behind is put in order by the next one that writes to the same place.
"""

import contextlib
import glob
import os
import shutil
import uuid
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from filelock import FileLock, Timeout

from wise_merge.checkpoints.replacing import put_in_order, replace_folder
from wise_merge.errors import WiseMergeError
from wise_merge.text import size


def place_of(out: Path) -> Path:
    """Return the absolute path of a folder that may not be there yet; links on the way are followed, it itself not."""
    return out.resolve() if out.name in ("", "..") else out.parent.resolve() / out.name


def check_free(out: Path, inputs: list[Path], *, force: bool, keep: Sequence[Path] = ()) -> None:
    """Raise `WiseMergeError` unless a folder can be put at `out` without touching the inputs.

    With `force`, only a model or a folder of models is replaced, and none that holds one of the files to `keep`. A
    folder that a killed process was about to replace is put back first.
    """
    place = place_of(out)
    _remove_left_over(place)
    if place.is_symlink():
        raise WiseMergeError(f"{out} is a symbolic link, and a new folder would replace it; name another folder")
    for path in inputs:
        other = path.resolve()
        if place == other:
            raise WiseMergeError(f"the output {out} is also an input; name another folder")
        if place in other.parents:
            raise WiseMergeError(f"the output {out} would replace the folder that holds the input {path}; name another")
        if other in place.parents:
            raise WiseMergeError(f"the output {out} lies within the input {path}; name a folder outside of it")
    if out.exists() and not out.is_dir():
        raise WiseMergeError(f"{out} is a file; name a folder")
    if out.exists() and not force:
        raise WiseMergeError(f"{out} is there already; name another folder, or replace it whole with --force")
    if out.exists():
        for path in (Path.cwd(), *keep):
            if place == path.resolve() or place in path.resolve().parents:
                raise WiseMergeError(f"--force would delete {path} with {out}; name another folder")
        if not _holds_models(place):
            raise WiseMergeError(
                f"{out} holds other things than a model, and --force would delete them; name another folder"
            )
    parent = place.parent
    while not parent.exists():
        parent = parent.parent
    if not parent.is_dir():
        raise WiseMergeError(f"{out} cannot be made: {parent} is a file, not a folder")
    if not os.access(parent, os.W_OK | os.X_OK):
        raise WiseMergeError(f"{out} cannot be made: {parent} cannot be written to")


def _holds_models(folder: Path) -> bool:
    """Return whether a folder is empty, a model, or a folder of models such as `--alphas` writes."""
    names = {path.name for path in folder.iterdir()}
    if names & {"wise_merge.json", "mergekit_config.yml", "config.json"}:
        return True
    return all(name.startswith("alpha-") and (folder / name / "config.json").is_file() for name in names)


def check_space(out: Path, needed: int) -> None:
    """Raise `WiseMergeError` unless the disk of `out` has `needed` bytes free."""
    parent = out.resolve().parent
    while not parent.exists():
        parent = parent.parent
    disk = shutil.disk_usage(parent)
    if disk.total == 0:
        raise WiseMergeError(f"{out} cannot be made: {parent} is not on a disk; name a folder on one")
    free = disk.free
    if free < needed:
        raise WiseMergeError(
            f"{out} needs {size(needed)}, which is {size(needed - free)} more than {parent} has free; make room or "
            "name a folder on another disk"
        )


@contextlib.contextmanager
def whole_folder(out: Path, *, force: bool) -> Iterator[Path]:
    """Yield an empty folder to fill, which is at `out` when the block ends without an exception.

    Otherwise nothing is left of it. With `force`, what is at `out` is replaced whole.
    """
    out = place_of(out)
    partial = out.with_name(f".{out.name}.{uuid.uuid4().hex[:8]}.partial")
    lock = FileLock(partial.with_suffix(".lock"))
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        _remove_left_over(out)
        lock.acquire(timeout=0)
        try:
            partial.mkdir()
            yield partial
            _flush(partial)
            _publish(partial, out, force=force)
        finally:
            in_order = put_in_order(partial, out, _aside(partial))
            lock.release()
            if in_order:
                Path(lock.lock_file).unlink(missing_ok=True)
    except OSError as error:
        place = error.filename or partial
        raise WiseMergeError(
            f"{out} was not written: {error.strerror or error} ({place}); nothing is left of it"
        ) from error


def _remove_left_over(out: Path) -> None:
    """Put in order what killed processes have left beside `out`; the lock of a living one is held."""
    for lock_file in out.parent.glob(f".{glob.escape(out.name)}.????????.lock"):
        partial = lock_file.with_suffix(".partial")
        with contextlib.suppress(Timeout, OSError), FileLock(lock_file, timeout=0):
            if not put_in_order(partial, out, _aside(partial)):
                raise WiseMergeError(
                    f"{_aside(partial)} holds what was at {out} when a process that replaced it was killed, and {out} "
                    "has come from elsewhere since; move one of the two away"
                )
            lock_file.unlink(missing_ok=True)


def _aside(partial: Path) -> Path:
    return partial.with_suffix(".replaced")


def _flush(folder: Path) -> None:
    paths = [path for path in folder.rglob("*") if path.is_file()]
    folders = [folder, *(path for path in folder.rglob("*") if path.is_dir())]
    with ThreadPoolExecutor(8) as threads:
        list(threads.map(_fsync, paths))
    for path in folders:
        _fsync(path)


def _fsync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _publish(partial: Path, out: Path, *, force: bool) -> None:
    if out.exists() and not force:
        raise WiseMergeError(f"{out} appeared while the merge was running; nothing of it was changed")
    replaced = replace_folder(partial, out, _aside(partial))
    _fsync(out.parent)
    if replaced is not None:
        shutil.rmtree(replaced, ignore_errors=True)
