"""What the server may do about namespaces, found out by trying, and a box of its own where no sandbox is around it."""

import os
import signal
import sys
from collections.abc import Sequence
from dataclasses import dataclass

from wise_merge.execution.inside import kernel

#: Places that are covered with an empty folder where a program needs nothing in them: what is in memory, in
#: the folders of users, and the sockets of services, which a network of one's own does not keep from.
_COVERED = ("/tmp", "/var/tmp", "/dev/shm", "/run", "/home", "/root", "/mnt", "/media", "/srv")


@dataclass(frozen=True)
class Box:
    """What keeps programs from harm.

    Attributes:
        namespaces: whether the server is the first process of a namespace with nobody else in it but programs: they
            cannot end it, and it can end all that they leave.
        work: where a program has a folder in memory; None if it gets one on disk.
        uid: the user that programs become; None if they stay who the server is.
        covered: places that look empty.
    """

    namespaces: bool
    work: str | None
    uid: int | None
    covered: tuple[str, ...] = ()


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
    become = uid if os.geteuid() == 0 else None
    if namespaces and _can_unshare():
        _go_on_in_namespaces()
        covered = _cover(home, needed)
        work = next((place for place in covered if place in _COVERED[:4]), None)
        return Box(True, work, become, covered)
    if sys.platform.startswith("linux"):
        kernel.adopt_orphans()
    return Box(False, None, become)


def _can_unshare() -> bool:
    """Return whether a child of this process succeeds in all that `_go_on_in_namespaces` does."""
    child = os.fork()
    if child == 0:
        try:
            _go_on_in_namespaces()
            os._exit(0)
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
    """Cover places in which nothing is needed; return which."""
    covered = []
    for place in (*_COVERED, home):
        if not os.path.isdir(place) or os.path.realpath(place) != place or place == "/":
            continue
        if any(f"{path}/".startswith(f"{place}/") for path in needed):
            continue
        try:
            kernel.mount_memory(place, "size=4k,mode=0755")
        except OSError:
            continue
        covered.append(place)
    return tuple(covered)
