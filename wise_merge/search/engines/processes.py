"""Points over several processes of this machine, for models so tiny that more threads gain nothing.

Each process has an engine of its own, with one thread. They are programs rather than forks, for the reasons of
`wise_merge.answers.workers`, and end with the process that started them, however that ends: what they have drawn by
then is in the journal.
"""

import contextlib
import os
import pickle
import queue
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

from wise_merge.errors import WiseMergeError
from wise_merge.kernels.threads import VARIABLES
from wise_merge.points.outcome import Outcome
from wise_merge.points.point import Point
from wise_merge.search.engines.worker import Order, Worker


class Processes:
    """Samples points with several engines; a context manager, at the end of which they are gone."""

    def __init__(self, order: Order) -> None:
        """Keep what engines must know; none is started yet."""
        count = order.settings.processes
        cores = os.cpu_count() or 1
        self._order = replace(order, processes=max(1, cores // count), shows=False)
        self._running: list[subprocess.Popen[bytes]] = []

    def __enter__(self) -> "Processes":
        return self

    def __exit__(self, *_: object) -> None:
        for process in self._running:
            process.kill()
        for process in self._running:
            process.wait()
            for pipe in (process.stdin, process.stdout):
                # Closing flushes what the dead process has not read, which fails and does not matter.
                with contextlib.suppress(OSError):
                    pipe and pipe.close()

    def sample(self, points: Sequence[Point], n: int) -> Iterator[list[Outcome]]:
        """Yield what came of n samples per problem at each point, in the order in which it is found."""
        waiting = deque(points)
        answers: queue.SimpleQueue[list[Outcome] | BaseException] = queue.SimpleQueue()
        while len(self._running) < min(len(points), self._order.settings.processes):
            self._running.append(self._start())

        def feed(process: "subprocess.Popen[bytes]") -> None:
            try:
                while waiting:
                    try:
                        point = waiting.popleft()
                    except IndexError:  # another thread took the last point
                        return
                    answers.put(_ask(process, (point, n)))
            except BaseException as error:
                answers.put(error)

        for process in self._running:
            threading.Thread(target=feed, args=(process,), daemon=True).start()
        for _ in points:
            outcomes = answers.get()
            if isinstance(outcomes, BaseException):
                raise outcomes
            yield outcomes

    def _start(self) -> "subprocess.Popen[bytes]":
        # The child imports from the same places as this process.
        program = (
            f"import sys; sys.path[:] = {sys.path!r}; from wise_merge.search.engines import processes; processes.main()"
        )
        own = {} if any(os.environ.get(name) for name in VARIABLES) else {"OMP_NUM_THREADS": "1"}
        process = subprocess.Popen(
            [sys.executable, "-c", program],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, **own},
            # The parent handles Ctrl-C.
            start_new_session=True,
        )
        assert process.stdin is not None
        pickle.dump(self._order, process.stdin)
        process.stdin.flush()
        return process


def _ask(process: "subprocess.Popen[bytes]", request: tuple[Point, int]) -> list[Outcome]:
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        pickle.dump(request, process.stdin)
        process.stdin.flush()
        answer: Any = pickle.load(process.stdout)
    except (OSError, EOFError, pickle.UnpicklingError) as error:
        raise WiseMergeError(
            f"a process died while it sampled {request[0].title} (exit code {process.wait()}; what it said stands "
            "above); all finished samples are in the journal: mend that and run the same command again"
        ) from error
    if isinstance(answer, str):
        raise WiseMergeError(answer)
    outcomes: list[Outcome] = answer
    return outcomes


def main() -> None:
    """Sample the points that come from standard input, in a process of its own, until the input ends."""
    # Libraries may print to stdout, which carries the pickled answers.
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    order: Order = pickle.load(sys.stdin.buffer)
    asked: queue.SimpleQueue[tuple[Point, int]] = queue.SimpleQueue()

    def listen() -> None:
        try:
            while True:
                asked.put(pickle.load(sys.stdin.buffer))
        except BaseException:
            # The parent has exited; finished samples are in the journal already.
            os._exit(0)

    threading.Thread(target=listen, daemon=True).start()
    worker: Worker | None = None
    while True:
        point, n = asked.get()
        try:
            worker = worker or Worker(order)
            answer: list[Outcome] | str = worker.sample(point, n)
        except WiseMergeError as error:
            answer = str(error)
        pickle.dump(answer, answers)
        answers.flush()
