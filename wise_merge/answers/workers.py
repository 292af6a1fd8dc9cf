"""Processes that read and compare mathematics, kept for as long as this one lives.

Answers of a model are hostile input: sympy hangs in C code or fills the memory on some of
them, and math-verify's own timeouts work in a main thread only and stop neither. So the work is
done by processes (`worker`) that can be lost. They are started as programs of their own, not with
`multiprocessing`: a fork beside torch's threads can deadlock, and a spawn imports the caller's
`__main__` again, which is all of lm-eval, in every one of them.
"""

import atexit
import json
import os
import queue
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Sequence
from typing import Any

from wise_merge.answers.messages import COMPARING, DONE, NO_TIME, READING, READING_GOLD
from wise_merge.errors import WiseMergeError

#: Seconds of silence after which a worker is killed. It limits its own processor time to less; this one is for
#: systems where it cannot, and generous because the machine may be busy.
PATIENCE = 30.0

#: A distinct answer's class and verdict, see `wise_merge.answers.benchmarks`.
Verdict = tuple[str | None, bool]

# Starting a process costs about as much as so many answers; for fewer, none is started.
_ANSWERS_PER_PROCESS = 100

# The most processes that may be lost on the answers to one problem: they take `worker.READING_SECONDS`.
_MOST_LOST = 5

_idle: list["Worker"] = []
_lock = threading.Lock()


class Worker:
    """One process and the thread that listens to it."""

    def __init__(self) -> None:
        # The process imports from the same places as this one, and not from the working directory.
        program = f"import sys; sys.path[:] = {sys.path!r}; from wise_merge.answers import worker; worker.main()"
        try:
            self._process = subprocess.Popen(
                [sys.executable, "-c", program],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                text=True,
                encoding="utf-8",
                # The order of some things in sympy depends on the hash seed.
                env={**os.environ, "WISE_MERGE_AUTOLOAD": "0", "PYTHONHASHSEED": "0"},
            )
        except (OSError, ValueError) as error:  # no interpreter there, or, where Python is embedded, none known
            raise WiseMergeError(
                f"the process that compares answers does not start with {sys.executable!r} ({error}); "
                "run wise-merge with an installed Python"
            ) from error
        self._said: queue.SimpleQueue[list[Any] | None] = queue.SimpleQueue()
        threading.Thread(target=self._listen, daemon=True).start()

    def _listen(self) -> None:
        assert self._process.stdout
        try:
            for line in self._process.stdout:
                if line.startswith("["):  # else a module printed something when it was imported
                    self._said.put(json.loads(line))
        except (OSError, ValueError):
            pass  # the process ended within a line
        self._said.put(None)

    def is_alive(self) -> bool:
        """Return whether the process runs; the system may have killed an idle one to free memory."""
        return self._process.poll() is None

    def judge(self, gold: str, answers: Sequence[str | None], alone: Sequence[int]) -> list[list[Any]]:
        """Return its `messages`; the last one is [DONE, verdicts] unless it died or fell silent."""
        said: list[list[Any]] = []
        try:
            assert self._process.stdin
            self._process.stdin.write(json.dumps([gold, answers, alone]) + "\n")
            self._process.stdin.flush()
        except OSError:
            return said
        while not said or said[-1][0] != DONE:
            try:
                # A process that is still importing is silent too.
                line = self._said.get(timeout=PATIENCE)
            except queue.Empty:
                line = None
            if line is None:
                break
            said.append(line)
        return said

    def close(self) -> None:
        """End the process."""
        self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            try:
                if pipe:
                    pipe.close()
            except OSError:
                pass


def judge_all(problems: Sequence[tuple[str, Sequence[str]]], processes: int | None = None) -> list[list[Verdict]]:
    """Return a class and a verdict for each answer of each problem, given as pairs of gold and distinct answers.

    Args:
        problems: see above.
        processes: that may work at once; None means one per core. No more are started than there is work for.
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    worthwhile = sum(len(answers) for _, answers in problems) // _ANSWERS_PER_PROCESS + 1
    count = max(1, min(processes or cores, worthwhile, len(problems)))
    # The longest first, so that no long one runs alone at the end.
    todo = deque(sorted((i for i, (_, answers) in enumerate(problems) if answers), key=lambda i: -len(problems[i][1])))
    results: list[list[Verdict]] = [[] for _ in problems]
    failures: list[BaseException] = []
    taken: set[Worker] = set()
    stopped = threading.Event()

    def work() -> None:
        try:
            worker = _take(taken)
            while todo and not stopped.is_set():
                try:
                    i = todo.popleft()
                except IndexError:  # another thread was faster
                    break
                worker, results[i] = _judge_one(worker, *problems[i], taken, stopped)
        except BaseException as failure:
            failures.append(failure)
            stopped.set()

    threads = [threading.Thread(target=work, daemon=True) for _ in range(count)]
    try:
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    except BaseException:  # Ctrl-C: nobody waits for the results any more
        stopped.set()
        with _lock:
            lost = list(taken)
            taken.clear()
        for worker in lost:
            worker.close()
        raise
    with _lock:
        _idle.extend(taken)
    if failures:
        raise failures[0]
    return results


def _judge_one(
    worker: Worker, gold: str, answers: Sequence[str], taken: set[Worker], stopped: threading.Event
) -> tuple[Worker, list[Verdict]]:
    """Return the verdicts of one problem, and a worker for the next; answers that kill a worker count as no answers."""
    left: list[str | None] = list(answers)
    alone: set[int] = set()
    unexplained = 0
    while True:
        said = worker.judge(gold, left, sorted(alone))
        if said and said[-1][0] == DONE:
            return worker, [(name, right) for name, right in said[-1][1]]
        if stopped.is_set():
            return worker, []
        for i in (line[1] for line in said if line[0] == NO_TIME):
            left[i] = None
        begun = [line for line in said if line[0] != NO_TIME]
        kind, *at = begun[-1] if begun else [-1]
        # Answers are read in a fixed order; once many are lost, those that were not reached yet are given up.
        known = {line[1] for line in begun if line[0] == kind and at}
        if kind == READING:
            left[at[0]] = None
            if left.count(None) >= _MOST_LOST:
                left = [answer if i in known else None for i, answer in enumerate(left)]
        elif kind == COMPARING:
            alone.add(at[0])
            if len(alone) >= _MOST_LOST:
                alone.update(i for i in range(len(left)) if i not in known)
        elif kind == READING_GOLD:
            raise WiseMergeError(f"the gold answer cannot be read in reasonable time: {gold[:200]!r}")
        else:
            unexplained += 1
            if unexplained == 3:
                raise WiseMergeError(
                    "the process that compares answers does not start; try: "
                    f"{sys.executable} -c 'import wise_merge.answers.worker'"
                )
        with _lock:
            taken.discard(worker)
        worker.close()
        worker = _take(taken)


def _take(taken: set[Worker]) -> Worker:
    """Return an idle process that is still there, or a new one; dead ones are waited for, so that no zombies stay."""
    with _lock:
        dead = [worker for worker in _idle if not worker.is_alive()]
        _idle[:] = [worker for worker in _idle if worker not in dead]
        worker = _idle.pop() if _idle else None
        if worker:
            taken.add(worker)
    for lost in dead:
        lost.close()
    if worker is None:
        worker = Worker()  # takes a while: not under the lock
        with _lock:
            taken.add(worker)
    return worker


def close() -> None:
    """End all idle processes; the next call starts new ones."""
    with _lock:
        idle, _idle[:] = list(_idle), []
    for worker in idle:
        worker.close()


def _forget() -> None:
    """Drop the processes and the lock of the parent after a fork: they would answer the parent, not this process."""
    global _lock
    _idle.clear()
    _lock = threading.Lock()


atexit.register(close)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)
