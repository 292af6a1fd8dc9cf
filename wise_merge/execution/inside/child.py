"""The process of one program: gives up what it may do, runs the source, says how that ended."""

import builtins
import mmap
import os
import resource
import signal
import sys
import types
from typing import Any, NoReturn

from wise_merge.execution.inside import filters, guard, kernel
from wise_merge.execution.inside.box import Box
from wise_merge.execution.inside.page import Writer, record
from wise_merge.execution.inside.values import canonical

#: Descriptors that a program may have open, so that files in memory are few, too.
_MOST_DESCRIPTORS = 64

_LINUX = sys.platform.startswith("linux")


class Unreadable:
    """Standard input of a program that has none: as in HumanEval's harness, to read it is an error."""

    def read(self, *_: Any) -> NoReturn:
        """Raise OSError."""
        raise OSError("this program has no standard input")

    readline = readlines = __iter__ = __next__ = read

    def readable(self) -> bool:
        """Return False."""
        return False


def become_program(request: dict[str, Any], writer: Writer, *, work: str, output: int, box: Box) -> NoReturn:
    """Run the request's source in this process, which ends with it."""
    exit_now = os._exit
    try:
        os.setpgid(0, 0)  # not a session, for which the scheduler makes a group, which takes milliseconds
        os.chdir(work)
        _connect(request["stdin"], output)
        _give_up(request["limits"], box)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        _import_for(request["source"])
        guard.take_away()
        _run(request, writer)
    except BaseException as error:
        try:
            writer.write(record("end", "failed", f"{type(error).__name__}: {error}"[:300]))
        except BaseException:
            exit_now(1)
    exit_now(0)


def open_streams() -> None:
    """Make `sys.stdout` and `sys.stderr` of the programs, before they are forked: nothing is written to them here."""
    stdin: Any = Unreadable()
    stdout, stderr = (open(one, "w", encoding="utf-8", errors="backslashreplace", closefd=False) for one in (1, 2))  # noqa: SIM115
    for name, stream in (("stdin", stdin), ("stdout", stdout), ("stderr", stderr)):
        setattr(sys, name, stream)
        setattr(sys, f"__{name}__", stream)


def _connect(stdin: str | None, output: int) -> None:
    """Connect 0 and 1, as 2 leads nowhere already; close all else."""
    if stdin:
        with open("stdin", "wb") as file:
            file.write(stdin.encode("utf-8", "surrogatepass"))
        os.dup2(os.open("stdin", os.O_RDONLY), 0)
        os.unlink("stdin")
    else:
        os.dup2(2, 0)
    os.dup2(output, 1)
    os.closerange(3, 1024)
    if stdin is not None:
        sys.stdin = open(0, encoding="utf-8", errors="surrogateescape", closefd=False)  # noqa: SIM115


def _give_up(limits: dict[str, Any], box: Box) -> None:
    """Set the limits, which bind all that this process starts, and become a user who may nothing."""
    for name, most in (
        ("AS", limits["memory"]),
        ("CORE", 0),
        # The server ends a program by the clock; this is for the case that the server is gone.
        ("CPU", int(limits["longest"]) + 2),
        ("FSIZE", limits["file_bytes"]),
        ("NOFILE", _MOST_DESCRIPTORS),
        ("NPROC", limits["processes"]),
    ):
        kind = getattr(resource, f"RLIMIT_{name}", None)
        if kind is None:
            continue
        _, ceiling = resource.getrlimit(kind)
        value = most if ceiling == resource.RLIM_INFINITY else min(most, ceiling)
        try:
            resource.setrlimit(kind, (value, value))
        except (OSError, ValueError):
            if _LINUX:  # macOS refuses some
                raise
    if box.uid is not None:
        os.setgroups([])
        os.setresgid(box.uid, box.uid, box.uid)
        os.setresuid(box.uid, box.uid, box.uid)
    if _LINUX:
        kernel.drop_capabilities()
        kernel.forbid_new_privileges()
        kernel.die_with_parent(signal.SIGKILL)
    if box.filters:
        filters.filter_calls()


def _import_for(source: str) -> None:
    """Import what must be changed before a program has it.

    Not done in the server, where both would do something in every process that is forked from there.
    """
    if "random" in source:
        import random

        random.seed(0)  # a verdict should be the same the next time
    if "subprocess" in source:
        import subprocess  # noqa: F401


def _run(request: dict[str, Any], writer: Writer) -> None:
    # The program may replace any name, also of builtins: what is used after it is held here.
    write, exit_now, own_id, process_id = writer.write, os._exit, os.getpid(), os.getpid
    base, name_of, text_of, flush, leaving = BaseException, type, str, sys.stdout.flush, SystemExit
    evaluate, show, calls, number = eval, canonical, request["calls"], enumerate
    # Given back when the program has used all its memory and something must be said about it.
    spare = mmap.mmap(-1, 1024 * 1024)
    script = request["stdin"] is not None
    if script:
        main = types.ModuleType("__main__")
        sys.modules["__main__"] = main
        names = vars(main)
        names["__builtins__"] = builtins
    else:
        names = {}
    # Made before the program runs: afterwards not even `str` need be there.
    passed, unclear = record("end", "passed", ""), record("end", "failed", "an exception that cannot be shown")
    as_record = record
    end = passed
    try:
        code = compile(request["source"], "<program>", "exec", dont_inherit=True)
        exec(code, names)
    except base as error:
        spare.close()
        if process_id() != own_id:
            exit_now(1)
        if not (script and name_of(error) is leaving and error.code in (None, 0)):  # type: ignore[attr-defined]
            try:
                end = as_record("end", "failed", f"{name_of(error).__name__}: {text_of(error)}"[:300])
            except base:
                end = unclear
    # A child that the program forked comes back here, too, and has nothing to say.
    if process_id() != own_id:
        exit_now(1)
    try:  # noqa: SIM105 - not by `contextlib`, which uses names that the program may have replaced
        flush()
    except base:
        pass
    if end is passed:
        for i, call in number(calls):
            try:  # noqa: SIM105
                write(as_record("value", i, show(evaluate(call, names))))
            except base:
                pass
    write(end)
    # Threads that still run end here, as they have no say in HumanEval's harness either.
    exit_now(0)
