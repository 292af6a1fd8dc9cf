r"""The process in which mathematics is read and compared: one problem after another, within limits.

Whatever a model wrote ends up in sympy (`expressions`), so this process is made to be lost: an answer may
use CPU_SECONDS of processor time and the process MEMORY bytes; where Python cannot stop it,
the system kills the process, and `workers` starts another one.

It reads a problem per line on standard input, as JSON: `[gold, answers, alone]`. It writes `messages` before each
step that may kill it, so that the other side knows at which answer it stopped, and what the next process must not
try again: such an answer is null the next time, and those whose places are in `alone` are not compared with other
wrong ones.
"""

import gc
import json
import logging
import math
import os
import re
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from wise_merge.answers.expressions import (
    Reading,
    is_equal,
    is_same,
    is_surely_same,
    may_be_same,
    parse_in_two_stages,
    read,
    read_gold,
)
from wise_merge.answers.messages import COMPARING, DONE, NO_TIME, READING, READING_GOLD

#: Processor time for one answer: about fifty times what the slowest honest one needs.
CPU_SECONDS = 3
#: For all answers of a problem, and for all comparisons of its wrong answers with each other.
READING_SECONDS = 15
COMPARING_SECONDS = 15
#: Address space of the process, in bytes.
MEMORY = 2 * 1024**3

# What costly answers contain: these are read last, so that they cannot use up the time of others.
_COSTLY = re.compile(r"[!^]|\\(?:sum|prod|int|lim|binom|[dt]?frac.*\\[dt]?frac)|\({9}")


class OutOfTime(BaseException):
    """Not an Exception: math-verify and sympy swallow those."""


def main() -> None:
    """Serve until standard input ends."""
    logging.disable(logging.CRITICAL)
    # The parser's tables are large and stay: collecting garbage in them takes a fifth of the time.
    gc.freeze()
    gc.set_threshold(100_000, 20, 100)
    if hasattr(signal, "SIGINT"):
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C ends the parent, which then closes our input
    _limit_memory()
    parse_in_two_stages()
    # What a library prints goes to standard error, so that it does not get between our lines.
    output = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)

    def say(*line: Any) -> None:
        output.write(json.dumps(line) + "\n")
        output.flush()

    for line in sys.stdin:
        try:
            say(DONE, judge(*json.loads(line), say=say))
        except BrokenPipeError:
            os._exit(0)


def judge(
    gold: str, answers: list[str | None], alone: list[int], *, say: Callable[..., None] = lambda *line: None
) -> list[tuple[str | None, bool]]:
    """Return the class and the verdict of each answer; one that cannot be read, or not in time, is (None, False).

    The right answers are one class, which is called `gold`. Wrong ones are one class if math-verify takes each of
    them for each other; being equal to one member is not enough, as it takes `1,2` for `(1,2)` and for `(2,1)`, which
    differ. The class is named by its shortest member, the alphabetically first of these. Answers are read in a
    fixed order, so nothing depends on the one in which they come. What is not read in READING_SECONDS is no answer,
    and what is not compared in COMPARING_SECONDS differs.
    """
    say(READING_GOLD)
    with bounded():  # out of time ends the process, and the parent reports the gold
        truth = read_gold(gold)
    wrong: list[tuple[int, Reading]] = []
    verdicts: list[tuple[str | None, bool]] = [(None, False)] * len(answers)
    there = [(i, answer) for i, answer in enumerate(answers) if answer is not None]
    until = time.process_time() + READING_SECONDS
    for i, answer in sorted(there, key=lambda item: (bool(_COSTLY.search(item[1])), len(item[1]), item[1])):
        if time.process_time() > until:
            say(NO_TIME, i)
            continue
        say(READING, i)
        try:
            with bounded():
                reading = read(answer)
                if reading is None:
                    continue
                right = is_equal(truth, reading)
        except OutOfTime:
            say(NO_TIME, i)
            continue
        if right:
            verdicts[i] = (gold, True)
        else:
            wrong.append((i, reading))
    wrong.sort(key=lambda item: (len(item[1].shown), item[1].shown, answers[item[0]]))
    until = time.process_time() + COMPARING_SECONDS
    classes: list[list[tuple[int, Reading]]] = []
    names = {gold}
    for i, reading in wrong:
        members = _class_of(i, reading, classes, alone, until, say)
        if members:
            verdicts[i] = verdicts[members[0][0]]
        else:
            classes.append(members)
            name = reading.shown
            while name in names:  # the same text, read in two ways
                name += "'"
            names.add(name)
            verdicts[i] = (name, False)
        members.append((i, reading))
    return verdicts


def _class_of(
    i: int,
    reading: Reading,
    classes: list[list[tuple[int, Reading]]],
    alone: list[int],
    until: float,
    say: Callable[..., None],
) -> list[tuple[int, Reading]]:
    """Return the members of the first class all of which are the same as this one, or an empty list."""
    for members in classes:
        if any(is_surely_same(reading, other) for _, other in members):
            return members
    for members in classes if i not in alone else ():
        for j, other in members:
            if j in alone or not may_be_same(reading, other) or time.process_time() > until:
                break
            say(COMPARING, i, j)
            if not _is_same_in_time(reading, other):
                break
        else:
            return members
    return []


def _is_same_in_time(one: Reading, other: Reading) -> bool:
    """Return whether both are the same; what takes too long differs."""
    try:
        with bounded():
            return is_same(one, other)
    except OutOfTime:
        return False


@contextmanager
def bounded() -> Iterator[None]:
    """Raise OutOfTime after CPU_SECONDS of processor time; shortly after that the system ends this process."""
    if not hasattr(signal, "setitimer"):  # Windows: the parent's limit (`workers.PATIENCE`) is the only one
        yield
        return
    import resource

    def stop(signum: int, frame: Any) -> None:
        raise OutOfTime

    signal.signal(signal.SIGPROF, stop)
    before, hard = resource.getrlimit(resource.RLIMIT_CPU)
    # While sympy is in C code no handler of Python runs; SIGXCPU then kills the process.
    soft = math.ceil(time.process_time()) + CPU_SECONDS + 1
    resource.setrlimit(resource.RLIMIT_CPU, (soft if hard < 0 else min(soft, hard), hard))
    signal.setitimer(signal.ITIMER_PROF, CPU_SECONDS)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        resource.setrlimit(resource.RLIMIT_CPU, (before, hard))


def _limit_memory() -> None:
    try:
        import resource

        hard = resource.getrlimit(resource.RLIMIT_AS)[1]
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY if hard < 0 else min(MEMORY, hard), hard))
    except (ImportError, OSError, ValueError):
        pass  # this system has no such limit; that of time remains


if __name__ == "__main__":
    main()
