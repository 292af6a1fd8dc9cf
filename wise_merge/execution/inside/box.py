"""What the server may do about namespaces, found out by trying, and a box of its own where no sandbox is around it."""

import os
import signal
import sys
from collections.abc import Sequence
from dataclasses import dataclass

from wise_merge.execution.inside import filters, kernel

# In one of these a program has its folder.
_WORK = ("/tmp", "/var/tmp", "/dev/shm")

# Places that look empty but for what Python needs: what is in memory, the folders of users, and the sockets of
# services, from which a network of one's own does not keep.
_COVERED = (*_WORK, "/run", "/home", "/root", "/mnt", "/media", "/srv")


@dataclass(frozen=True)
class Box:
    """What keeps programs from harm.

    Attributes:
        namespaces: whether the server is the first process of a namespace with nobody else in it but programs: they
            cannot end it, and it can end all that they leave.
        work: where a program has a folder in memory; None if it gets one on disk.
        uid: the user that programs become; None if they stay who the server is.
        covered: places that look empty.
        filters: whether system calls are filtered, see `filters`: only where there are no namespaces.
    """

    namespaces: bool
    work: str | None
    uid: int | None
    covered: tuple[str, ...] = ()
    filters: bool = False


def in_sandbox(work: str, uid: int | None) -> Box:
    """Return the box of a server that a sandbox started as its first process."""
    return Box(True, work, uid if os.geteuid() == 0 else None)


def of_ones_own(uid: int | None, home: str, needed: Sequence[str], *, namespaces: bool) -> Box:
    """Return a box that is made by this process, which goes on as a child of itself where that is allowed.

    Args:
        uid: that programs become where the server is root.
        home: the folder of the user.
        needed: places that must stay visible.
        namespaces: whether to try them.
    """
    become = uid if sys.platform.startswith("linux") and os.geteuid() == 0 else None
    if namespaces and _can_unshare(home, needed):
        _go_on_in_namespaces()
        covered = _cover(home, needed)
        return Box(True, next(place for place in covered if place in _WORK), become, covered)
    if sys.platform.startswith("linux"):
        kernel.adopt_orphans()
    return Box(False, None, become, filters=_can_filter())


def _can_filter() -> bool:
    """Return whether a child of this process can filter its system calls, and they are filtered."""
    if not filters.is_known():
        return False
    child = os.fork()
    if child == 0:
        try:
            kernel.forbid_new_privileges()
            filters.filter_calls()
            os.kill(os.getpid(), 0)
            os.kill(os.getppid(), 0)
        except PermissionError:
            os._exit(0)
        finally:
            os._exit(1)
    return os.waitpid(child, 0)[1] == 0


def _can_unshare(home: str, needed: Sequence[str]) -> bool:
    """Return whether a child of this process succeeds in all that a box of one's own takes."""
    child = os.fork()
    if child == 0:
        try:
            _go_on_in_namespaces()
            os._exit(0 if set(_cover(home, needed)) & set(_WORK) else 1)
        except BaseException:
            os._exit(1)
    return os.waitpid(child, 0)[1] == 0


def _go_on_in_namespaces() -> None:
    """Return in a child that sees its own processes, network and mounts, all read-only; the caller waits and ends."""
    uid, gid = os.geteuid(), os.getegid()
    own = kernel.NEW_PROCESSES | kernel.NEW_MOUNTS | kernel.NEW_NETWORK | kernel.NEW_IPC | kernel.NEW_HOST_NAME
    try:
        kernel.unshare(own)
    except OSError:
        kernel.unshare(own | kernel.NEW_USERS)
        for file, line in (("setgroups", "deny"), ("uid_map", f"{uid} {uid} 1"), ("gid_map", f"{gid} {gid} 1")):
            with open(f"/proc/self/{file}", "w") as opened:
                opened.write(line)
    child = os.fork()
    if child:
        signal.signal(signal.SIGTERM, lambda *_: os.kill(child, signal.SIGKILL))
        # The requests are the child's to read, and end with the caller; so does the child.
        os.close(0)
        os._exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) & 0xFF)
    kernel.die_with_parent(signal.SIGKILL)
    kernel.make_everything_read_only()
    kernel.mount_processes()


def _cover(home: str, needed: Sequence[str]) -> tuple[str, ...]:
    """Let places look empty but for what is needed in them; return which."""
    covered = []
    for place in dict.fromkeys((*_COVERED, home)):
        if not os.path.isdir(place) or os.path.realpath(place) != place or _is_in("/", place):
            continue
        within = [path for path in needed if _is_in(path, place)]
        if any(_is_in(place, path) for path in needed):
            continue  # all of it is needed
        held = [(path, os.open(path, os.O_PATH)) for path in within]
        kernel.mount_memory(place, "size=1m,mode=0755", writable=True)
        for path, descriptor in held:
            os.makedirs(path, exist_ok=True)
            kernel.show_again(descriptor, path)
            os.close(descriptor)
        kernel.make_read_only(place)
        covered.append(place)
    return tuple(covered)


def _is_in(path: str, place: str) -> bool:
    return f"{path}/".startswith(f"{place}/")
