"""The processes that descend from one, and what they use, as /proc shows it; nothing where there is no /proc."""

import os
import signal
import time
from collections import defaultdict


def descendants(process: int) -> list[int]:
    """Return the ids of all living processes that descend from this one, parents before children."""
    children = defaultdict(list)
    try:
        entries = os.listdir("/proc")
    except OSError:
        return []
    for entry in entries:
        if entry.isdigit():
            try:
                with open(f"/proc/{entry}/stat") as file:
                    state, parent = file.read().rpartition(")")[2].split()[:2]
            except (OSError, ValueError):
                continue
            if state != "Z":
                children[int(parent)].append(int(entry))
    found = [process]
    for one in found:
        found += children.pop(one, [])
    return found[1:]


def memory_of(processes: list[int]) -> int:
    """Return the bytes of memory that these processes hold together; pages that they share count for each."""
    pages = 0
    for process in processes:
        try:
            with open(f"/proc/{process}/statm") as file:
                pages += int(file.read().split()[1])
        except (OSError, ValueError, IndexError):
            continue
    return pages * os.sysconf("SC_PAGE_SIZE")


def is_alone(process: int) -> bool:
    """Return whether a process has neither threads nor children, which would be what it waits for a core with."""
    try:
        return len(os.listdir(f"/proc/{process}/task")) == 1 and not descendants(process)
    except OSError:
        return False


def seconds_waiting(process: int) -> float:
    """Return for how long this process could have run and had no core."""
    try:
        with open(f"/proc/{process}/schedstat") as file:
            return int(file.read().split()[1]) / 1e9
    except (OSError, ValueError, IndexError):
        return 0.0


def end_all(process: int, first: int) -> None:
    """Kill `first`, a child of this process, and all that descends from it or was orphaned to it; wait for them.

    Those that fork meanwhile are stopped before they are killed, so that a fork bomb goes out.
    """
    until = time.monotonic() + 5
    while not _all_waited_for() and time.monotonic() < until:
        # Where there is no /proc only the child is known, and its group.
        found = descendants(process) or [first, -first]
        for sign in (signal.SIGSTOP, signal.SIGKILL):
            for one in found:
                try:
                    os.kill(one, sign)
                except OSError:
                    continue
        time.sleep(0.001)


def _all_waited_for() -> bool:
    """Return whether this process has no children any more."""
    try:
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    except ChildProcessError:
        return True
    return False
