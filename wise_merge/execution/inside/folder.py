"""The folder in which a program starts: empty, limited in size, gone afterwards."""

import collections
import os
import shutil
import stat

from wise_merge.execution.inside import kernel
from wise_merge.execution.inside.box import Box

#: Files that a program may have.
MOST_FILES = 4096


class Folder:
    """A place for one program after the other; made anew where a program changed it, which most do not."""

    def __init__(self, box: Box) -> None:
        self._box = box
        self.place = box.work
        self._untouched: tuple[int, int] | None = None  # size, time of the last change

    def prepare(self, size: int) -> str:
        """Return an empty folder for one program, whose files may take `size` bytes."""
        if self._untouched is not None:
            assert self.place is not None
            if self._untouched == (size, os.stat(self.place).st_ctime_ns):
                return self.place
            self.remove()
        uid, gid = (os.geteuid(), os.getegid()) if self._box.uid is None else (self._box.uid, self._box.uid)
        if self._box.work is None:
            self.place = _new_folder()
            os.chown(self.place, uid, gid)
        else:
            self.place = self._box.work
            options = f"size={size},nr_inodes={MOST_FILES},mode=0700,uid={uid},gid={gid}"
            kernel.mount_memory(self.place, options, writable=True)
        self._untouched = size, os.stat(self.place).st_ctime_ns
        return self.place

    def holds(self, size: int) -> bool:
        """Return whether the files are few and small enough; in memory the system sees to that."""
        return self._box.work is not None or self.place is None or _fits(self.place, size)

    def remove(self) -> None:
        """Remove the folder with all that is in it; no process may be there any more."""
        if self._untouched is None or self.place is None:
            return
        self._untouched = None
        if self._box.work is None:
            _remove(self.place)
        else:
            kernel.unmount(self.place)


def _new_folder() -> str:
    # Not by `tempfile`, which imports `random`, which does something in every process that is forked.
    base = next((place for place in ("/tmp", "/var/tmp") if os.access(place, os.W_OK)), os.getcwd())
    place = os.path.join(base, f"wise-merge-program-{os.urandom(8).hex()}")
    os.mkdir(place, 0o700)
    return place


def _fits(folder: str, most: int) -> bool:
    total, count, folders = 0, 0, collections.deque([folder])
    while folders:
        try:
            with os.scandir(folders.popleft()) as entries:
                for entry in entries:
                    count += 1
                    details = entry.stat(follow_symlinks=False)
                    total += details.st_blocks * 512
                    if stat.S_ISDIR(details.st_mode):
                        folders.append(entry.path)
                    if total > most or count > MOST_FILES:
                        return False
        except OSError:
            continue
    return True


def _remove(folder: str) -> None:
    for parent, names, _ in os.walk(folder):
        for path in (os.path.join(parent, name) for name in names):
            if not os.path.islink(path):
                os.chmod(path, 0o700)  # before it is walked into: a program may have forbidden that
    shutil.rmtree(folder, ignore_errors=True)
