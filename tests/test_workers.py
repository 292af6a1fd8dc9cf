"""The processes that compare answers: started when needed, reused, replaced when lost, ended with their parent."""

import os
import signal
import subprocess
import sys
import textwrap
import threading
import time

import pytest

from wise_merge.answers import worker, workers
from wise_merge.errors import WiseMergeError

HALF = (r"\frac{1}{2}", [r"\boxed{0.5}", r"\boxed{0.25}"])
JUDGED = [(r"\frac{1}{2}", True), ("0.25", False)]


@pytest.fixture(autouse=True)
def _no_workers_left():
    workers.close()
    yield
    workers.close()


def test_a_problem_is_judged_here_as_it_is_in_a_process(monkeypatch):
    """The process adds limits and nothing else."""
    # Beyond its limit the system ends the process, which here is that of the tests, with a larger heap to walk.
    monkeypatch.setattr(worker, "CPU_SECONDS", 120)
    assert workers.judge_all([HALF]) == [JUDGED] == [worker.judge(*HALF, [])]


@pytest.mark.skipif(not hasattr(signal, "SIGPROF"), reason="needs the limits of POSIX")
def test_limits_end_with_the_answer():
    """The time that is limited is that of one answer, not that of the process which read it."""
    # In a process of its own: where the system is late with the first limit, the second one kills.
    code = """
        import itertools, resource, signal
        from wise_merge.answers import worker
        before = resource.getrlimit(resource.RLIMIT_CPU)
        with worker.bounded():
            assert resource.getrlimit(resource.RLIMIT_CPU) != before
        assert resource.getrlimit(resource.RLIMIT_CPU) == before
        try:
            with worker.bounded():
                sum(i for i in itertools.count())
        except worker.OutOfTime:
            print("out of time")
        assert signal.getitimer(signal.ITIMER_PROF) == (0, 0)
        assert resource.getrlimit(resource.RLIMIT_CPU) == before
    """
    for _ in range(3):
        run = subprocess.run([sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, check=False)
        if run.returncode != -signal.SIGXCPU:
            break
    assert (run.returncode, run.stdout) == (0, "out of time\n"), run.stderr


def test_few_answers_start_one_process_and_later_calls_use_it_again():
    """A handful of answers is not worth a second start, and the first one is not wasted."""
    workers.judge_all([HALF] * 3, processes=8)
    (first,) = workers._idle
    workers.judge_all([HALF])
    assert workers._idle == [first]


def test_many_problems_come_back_in_order():
    """Two processes share the work; each problem keeps its place."""
    problems = [(str(i), [rf"\boxed{{\frac{{{2 * i}}}{{2}}}}", rf"\boxed{{{i + 1}}}"]) for i in range(1, 151)]
    results = workers.judge_all(problems, processes=2)
    assert results == [[(str(i), True), (str(i + 1), False)] for i in range(1, 151)]
    assert len(workers._idle) == 2


def test_no_problems_are_no_work():
    """Nothing in, nothing out, nothing started but what is there."""
    assert workers.judge_all([]) == []
    assert workers.judge_all([("1", [])]) == [[]]


def test_a_killed_process_is_replaced():
    """One that the system ended between two calls is noticed, and the call succeeds."""
    workers.judge_all([HALF])
    os.kill(workers._idle[0]._process.pid, signal.SIGKILL)
    assert workers.judge_all([HALF]) == [JUDGED]


@pytest.mark.skipif(not hasattr(os, "waitid"), reason="asks for children that have ended")
def test_any_number_of_killed_processes_is_replaced_and_none_is_left():
    """When memory is short, the system ends all idle ones; they are no sign that none starts."""
    lost = [workers.Worker() for _ in range(4)]
    workers._idle.extend(lost)
    for one in lost:
        os.kill(one._process.pid, signal.SIGKILL)
        os.waitid(os.P_PID, one._process.pid, os.WEXITED | os.WNOWAIT)
    assert workers.judge_all([HALF]) == [JUDGED]
    assert not set(lost) & set(workers._idle)
    assert all(one._process.returncode is not None for one in lost)


def test_a_missing_interpreter_is_an_error(monkeypatch):
    """It is said which."""
    monkeypatch.setattr(sys, "executable", "/nowhere/python")
    with pytest.raises(WiseMergeError, match="does not start with '/nowhere/python'"):
        workers.judge_all([HALF])


def test_an_answer_that_hangs_in_c_code_costs_a_process_and_no_more():
    """The factorial of ten thousand million is computed without Python; the problem's other answers are judged."""
    problem = (HALF[0], [HALF[1][0], r"\boxed{(10^{10})!}", HALF[1][1]])
    begin = time.monotonic()
    assert workers.judge_all([problem]) == [[JUDGED[0], (None, False), JUDGED[1]]]
    assert time.monotonic() - begin < workers.PATIENCE


def test_a_silent_process_is_killed(monkeypatch):
    """Where the system sets no limits, patience ends; a process that never says anything is an error."""
    monkeypatch.setattr(workers, "PATIENCE", 0.01)
    with pytest.raises(WiseMergeError, match="does not start"):
        workers.judge_all([HALF])


def test_a_gold_that_hangs_is_an_error():
    """It is said which."""
    with pytest.raises(WiseMergeError, match=r"gold answer cannot be read.*10"):
        workers.judge_all([(r"\prod_{n=1}^{10000000} n", [r"\boxed{x}"])])


@pytest.mark.skipif(not hasattr(signal, "SIGPROF"), reason="needs the limits of POSIX")
def test_memory_is_limited():
    """A worker cannot take more than its share of the machine."""
    code = """
        import resource
        from wise_merge.answers import worker
        worker._limit_memory()
        try:
            x = bytearray(3 * 1024**3)
        except MemoryError:
            print("refused")
    """
    run = subprocess.run([sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, check=True)
    if sys.platform == "darwin":
        pytest.skip("macOS does not enforce RLIMIT_AS")
    assert run.stdout == "refused\n"


def test_any_thread_may_ask():
    """Math-verify's own timeouts work in the main thread only; this works in all of them at once."""
    results = []
    threads = [threading.Thread(target=lambda: results.append(workers.judge_all([HALF]))) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == [[JUDGED]] * 3


def test_a_worker_imports_nothing_heavy_and_prints_nothing():
    """It starts with math-verify and what that needs, even where the start-up file is active."""
    code = """
        import sys
        from wise_merge.answers import worker
        heavy = {"torch", "transformers", "lm_eval", "mergekit", "matplotlib"} & set(sys.modules)
        assert not heavy, heavy
    """
    run = subprocess.run([sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, check=True)
    assert run.stdout == ""


@pytest.mark.skipif(os.name != "posix", reason="asks for processes by their number")
@pytest.mark.parametrize("how", ["exit", "kill", "interrupt"])
def test_workers_end_with_their_parent(how):
    """At its exit, if it is killed, and at Ctrl-C within a comparison, with no traceback of a worker."""
    code = f"""
        import os, signal, time
        from wise_merge.answers import workers
        signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell may start what is in its background without
        original = workers.Worker.judge
        def judge(self, *arguments):
            {"os.kill(self._process.pid, signal.SIGSTOP)" if how == "interrupt" else ""}
            print(self._process.pid, flush=True)
            return original(self, *arguments)
        workers.Worker.judge = judge
        workers.judge_all([("1/2", ["$x$"])])
        print("done", flush=True)
        {"time.sleep(60)" if how == "kill" else ""}
    """
    parent = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(code)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    pid = int(parent.stdout.readline())
    if how == "kill":
        assert parent.stdout.readline() == "done\n"
        parent.kill()
    elif how == "interrupt":
        time.sleep(1)  # the parent waits by now, for a worker that is as silent as one within a comparison
        os.killpg(parent.pid, signal.SIGINT)
    _, errors = parent.communicate(timeout=60)
    assert errors.count("Traceback") == (how == "interrupt")
    deadline = time.monotonic() + 20
    while _is_running(pid):
        assert time.monotonic() < deadline, "the worker outlives its parent"
        time.sleep(0.1)


def _is_running(pid):
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False
