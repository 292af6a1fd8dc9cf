"""Many programs, each run once, in the order in which they came."""

import os
import threading
from collections import deque
from collections.abc import Sequence

from wise_merge.errors import WiseMergeError
from wise_merge.execution.outcome import Limits, Outcome, Program
from wise_merge.execution.servers import Server, check_system, give_back, take_server

# Starting a server costs as much as so many programs; for fewer, none is started.
_PROGRAMS_PER_SERVER = 8

# Those that never end take their time beside others; whoever waits for a core is given time for it (`inside.server`).
_SERVERS_PER_CORE = 3


def run_programs(
    programs: Sequence[Program], limits: Limits | None = None, *, processes: int | None = None
) -> list[Outcome]:
    """Return what became of each program, in their order; equal programs are run once and share an outcome.

    Args:
        programs: see `Program`.
        limits: of each program; None means `Limits()`.
        processes: that may run programs at once; None means three per core.
    """
    check_system()
    distinct = list(dict.fromkeys(programs))
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    worthwhile = len(distinct) // _PROGRAMS_PER_SERVER + 1
    count = max(1, min(processes or cores * _SERVERS_PER_CORE, worthwhile, len(distinct)))
    outcomes = _run_all(distinct, limits or Limits(), count) if distinct else {}
    return [outcomes[program] for program in programs]


def _run_all(programs: list[Program], limits: Limits, count: int) -> dict[Program, Outcome]:
    todo = deque(programs)
    outcomes: dict[Program, Outcome] = {}
    failures: list[BaseException] = []
    taken: list[Server] = []
    stopped = threading.Event()

    def work() -> None:
        try:
            server = take_server()
            taken.append(server)
            while not stopped.is_set():
                try:
                    program = todo.popleft()
                except IndexError:
                    break
                outcome = server.run(program, limits)
                if outcome is None and not stopped.is_set():
                    # Whatever ended the server may have had nothing to do with the program, which gets another chance.
                    server = _replace(server, taken)
                    outcome = server.run(program, limits)
                    if outcome is None and not stopped.is_set():
                        server = _replace(server, taken)
                        _check(server)
                if outcome is not None:
                    outcomes[program] = outcome
                else:
                    lost = (None,) * len(program.calls)
                    outcomes[program] = Outcome("killed", error="the process that ran it was lost", values=lost)
        except BaseException as failure:
            failures.append(failure)
            stopped.set()

    threads = [threading.Thread(target=work, daemon=True) for _ in range(count)]
    try:
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    except BaseException:  # Ctrl-C: nobody waits for the outcomes any more
        stopped.set()
        for server in list(taken):
            server.close()
        raise
    for server in taken:
        if failures:
            server.close()
        else:
            give_back(server)
    if failures:
        raise failures[0]
    return outcomes


def _check(server: Server) -> None:
    """Raise if a server is lost over a program that does nothing, so that it is no program's fault."""
    if server.run(Program(""), Limits(seconds=60.0)) is None:
        raise WiseMergeError(
            "the process that runs programs ends without a word, with any program; "
            "`wise-merge doctor` says in which sandbox it is"
        )


def _replace(server: Server, taken: list[Server]) -> Server:
    taken.remove(server)
    server.close()
    new = take_server()
    taken.append(new)
    return new
