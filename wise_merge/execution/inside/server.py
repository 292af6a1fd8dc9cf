"""Runs a program per line of standard input, each in a process that is forked for it, within limits.

A line is JSON: source, stdin, calls, limits. The first line of the answer says in which box programs run; each
further one is what became of one: status, output, error, values. It ends when its input ends, and all programs with it.
"""

# Imported here so that a program, which is forked from here, need not: what solutions often import. Not `threading`
# and not `random`, directly or not: they do something in every process that is forked, which doubles its time.
import bisect  # noqa: F401
import collections  # noqa: F401
import contextlib
import copy  # noqa: F401
import datetime  # noqa: F401
import functools  # noqa: F401
import gc
import hashlib  # noqa: F401
import heapq  # noqa: F401
import importlib
import itertools  # noqa: F401
import json
import math  # noqa: F401
import mmap
import operator  # noqa: F401
import os
import re  # noqa: F401
import select
import signal
import string  # noqa: F401
import sys
import time
import typing  # noqa: F401
from typing import Any

from wise_merge.execution.inside import kernel
from wise_merge.execution.inside.box import Box, in_sandbox, of_ones_own
from wise_merge.execution.inside.child import become_program, open_streams
from wise_merge.execution.inside.descendants import descendants, end_all, is_alone, memory_of, seconds_waiting
from wise_merge.execution.inside.folder import Folder
from wise_merge.execution.inside.page import Writer, new_page, read_records

# How often a running program's memory and files are looked at, and, on systems that cannot say it, whether it ended.
_LOOK_EVERY = 0.1
_POLL_EVERY = 0.002

_LINUX = sys.platform.startswith("linux")


def main(settings: dict[str, Any]) -> None:
    """Serve until standard input ends.

    Settings are: sandboxed, whether a sandbox is around this process; work, the folder in it that programs start in;
    uid, that programs become where this process is root; home and needed, see `box.of_ones_own`; namespaces, whether
    to try them; limits, of a program that is tried first.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if _LINUX:
        try:
            with open("/proc/self/oom_score_adj", "w") as file:
                file.write("500")  # where memory is short, programs go before whoever asked for them
        except OSError:
            pass
    if settings["sandboxed"]:
        box = in_sandbox(settings["work"], settings["uid"])
    else:
        box = of_ones_own(settings["uid"], settings["home"], settings["needed"], namespaces=settings["namespaces"])
    if _LINUX:
        kernel.hide_memory()
    others = 0 if box.uid is not None else _processes_of_this_user()
    folder = Folder(box)
    output = os.fdopen(os.dup(1), "w", encoding="utf-8")
    nothing = os.open(os.devnull, os.O_RDWR)
    os.dup2(nothing, 1)
    os.dup2(nothing, 2)
    requests = os.fdopen(os.dup(0), "rb")  # not `sys.stdin`, which programs get another one for
    open_streams()
    gc.collect()
    gc.freeze()  # a program's collections would otherwise copy every page that is shared with this process

    def say(line: dict[str, Any]) -> None:
        output.write(json.dumps(line) + "\n")
        output.flush()

    about = {
        "namespaces": box.namespaces,
        "own_user": box.uid is not None,
        "covered": box.covered,
        "filters": box.filters,
    }
    say(
        {
            **about,
            "unreadable": None if box.uid is None else _unreadable(box.uid),
            "fault": _fault(settings["limits"], box, folder),
        }
    )
    while line := requests.readline():
        request = json.loads(line)
        # The system counts those of a user, whoever started them.
        request["limits"]["processes"] += others
        say(run(request, box, folder))
    folder.remove()


def run(request: dict[str, Any], box: Box, folder: Folder) -> dict[str, Any]:
    """Return what became of one program, of which nothing is left."""
    if "numpy" in request["source"]:
        _import_numpy()
    limits, page = request["limits"], new_page()
    work = folder.prepare(limits["file_bytes"])
    read_end, write_end = os.pipe()
    program = os.fork()
    if program == 0:
        become_program(request, Writer(page), work=work, output=write_end, box=box)
    os.close(write_end)
    output = bytearray()
    stopped, code = _watch(program, read_end, output, limits, folder)
    _end_all(program, box)
    _drain(read_end, output, limits["output_bytes"])
    os.close(read_end)
    ended, values = _read(page, len(request["calls"]))
    page.close()
    status, error = stopped or ended or ("killed", _reason(code))
    return {"status": status, "output": output.decode("utf-8", "replace"), "error": error, "values": values}


def _read(page: mmap.mmap, calls: int) -> tuple[tuple[str, str] | None, list[str | None]]:
    """Return status and error, None if the program did not come to say, and the values of its calls."""
    ended: tuple[str, str] | None = None
    values: list[str | None] = [None] * calls
    for record in read_records(page):
        match record:  # whatever else stands there was not written by us
            case ["value", int(i), str(text)] if 0 <= i < calls:
                values[i] = text
            case ["end", "passed" | "failed" as status, str(error)]:
                ended = status, error
    return ended, values


def _watch(
    program: int, pipe: int, output: bytearray, limits: dict[str, Any], folder: Folder
) -> tuple[tuple[str, str] | None, int]:
    """Wait for the end of a program, or of its time or room: return status and reason of the latter, and exit code."""
    begin = time.monotonic()
    deadline = begin + limits["seconds"]
    look = begin + _LOOK_EVERY
    over = _ending(program)
    watched = [pipe, 0] if over is None else [over, pipe, 0]
    try:
        while True:
            ended, code = os.waitpid(program, os.WNOHANG)
            if ended:
                return None, os.waitstatus_to_exitcode(code)
            now = time.monotonic()
            if now >= deadline:
                more = _time_due(program, now - begin, limits["seconds"], limits["longest"])
                if more <= 0:
                    return ("timed out", f"did not end in {limits['seconds']:g} seconds"), 0
                deadline = now + more
            if now >= look:
                if memory_of(descendants(os.getpid())) > limits["memory"]:
                    return ("killed", f"its processes used more than {limits['memory'] / 1024**2:.0f} MiB of memory"), 0
                if not folder.holds(limits["file_bytes"]):
                    return ("killed", f"its files took more than {limits['file_bytes'] / 1024**2:.0f} MiB"), 0
                look = now + _LOOK_EVERY
            patience = min(deadline, look) - now
            ready, _, _ = select.select(watched, [], [], patience if over is not None else min(patience, _POLL_EVERY))
            if 0 in ready:  # whoever asked is gone
                return ("killed", "nobody waits for it"), 0
            if pipe in ready:
                data = os.read(pipe, 65536)
                if not data:
                    watched.remove(pipe)
                output += data[: max(0, limits["output_bytes"] - len(output))]
    finally:
        if over is not None:
            os.close(over)


def _import_numpy() -> None:
    """Import numpy here once, and not in every program; HumanEval's harness has it imported, too."""
    if "numpy" not in sys.modules:
        try:
            importlib.import_module("numpy")
        except Exception:  # it is not installed, or not in a state to be used
            return
        gc.collect()
        gc.freeze()


def _fault(limits: dict[str, Any], box: Box, folder: Folder) -> str | None:
    """Return what is wrong with a program that does nothing: then no program can be judged; None if all is well."""
    limits = {**limits, "processes": limits["processes"] + 4096}
    done = run({"source": "", "stdin": "x", "calls": ["1"], "limits": limits}, box, folder)
    return None if done["status"] == "passed" and done["values"] == ["1"] else done["error"] or "it returns nothing"


def _unreadable(uid: int) -> str | None:
    """Return a place of Python's that this user cannot read; None if there is none."""
    for place in [path for path in sys.path if os.path.exists(path)]:
        child = os.fork()
        if child == 0:
            try:
                os.setgroups([])
                os.setresuid(uid, uid, uid)
                readable = os.access(place, os.R_OK | (os.X_OK if os.path.isdir(place) else 0), effective_ids=True)
                os._exit(0 if readable else 1)
            finally:
                os._exit(1)
        if os.waitpid(child, 0)[1]:
            return place
    return None


def _ending(process: int) -> int | None:
    """Return a descriptor that can be read from when a child has ended; None where there is no such thing."""
    try:
        return os.pidfd_open(process)  # type: ignore[attr-defined,unused-ignore]
    except (AttributeError, OSError):
        return None


def _time_due(program: int, spent: float, seconds: float, longest: float) -> float:
    """Return how many more seconds a program gets whose time is over: it shall have had a core for half of it.

    Only a program that is alone: others wait for those that they started themselves.
    """
    if spent >= longest or not is_alone(program):
        return 0.0
    return min(seconds / 2 - (spent - seconds_waiting(program)), longest - spent)


def _end_all(program: int, box: Box) -> None:
    """End all processes of a program."""
    if not box.namespaces:
        if box.uid is not None:
            _end_user(box.uid)
        end_all(os.getpid(), program)
        return
    with contextlib.suppress(ProcessLookupError):
        os.kill(-1, signal.SIGKILL)  # in this namespace, and at once: nobody can fork away
    try:
        while True:
            os.wait()
    except ChildProcessError:
        pass
    _renew_shared_memory()


def _renew_shared_memory() -> None:
    """Leave the System V objects behind that a program made, which outlive it."""
    for kind in ("shm", "sem", "msg"):
        try:
            with open(f"/proc/sysvipc/{kind}") as file:
                if len(file.readlines()) > 1:
                    kernel.unshare(kernel.NEW_IPC)
                    return
        except OSError:
            continue


def _end_user(uid: int) -> None:
    """Kill all that runs as this user, at once, so that none of it can fork away."""
    child = os.fork()
    if child == 0:
        try:
            os.setresuid(uid, uid, uid)
            os.kill(-1, signal.SIGKILL)
        finally:
            os._exit(0)
    os.waitpid(child, 0)


def _reason(code: int) -> str:
    if code < 0:
        try:
            return f"ended by {signal.Signals(-code).name}"
        except ValueError:
            return f"ended by signal {-code}"
    return f"ended by itself before its source did, with exit code {code}"


def _drain(pipe: int, output: bytearray, most: int) -> None:
    """Read what is left in the pipe, whose writers are gone."""
    os.set_blocking(pipe, False)
    try:
        for _ in range(32):  # more than a pipe holds: should a writer be there after all, it is not waited for
            output += os.read(pipe, 65536)[: max(0, most - len(output))]
    except BlockingIOError:
        pass


def _processes_of_this_user() -> int:
    """Return how many processes and threads this user has."""
    count = 0
    try:
        entries = [entry for entry in os.listdir("/proc") if entry.isdigit()]
    except OSError:
        return 1024
    for entry in entries:
        try:
            if os.stat(f"/proc/{entry}").st_uid == os.getuid():
                count += len(os.listdir(f"/proc/{entry}/task"))
        except OSError:
            continue
    return count
