"""What tests take for a command in a process of its own is one: it shows whatever a real start would."""

import json
import os
import signal
import subprocess
import sys
import time

import psutil
import pytest
from support import forked

REPORT = """
import json, os, sys
print(json.dumps({
    "arguments": sys.argv, "folder": os.getcwd(), "name": __name__, "file": globals().get("__file__"),
    "path": sys.path, "environment": dict(os.environ), "terminal": sys.stdout.isatty(),
    "main": sys.modules["__main__"].__dict__ is globals(), "mask": os.umask(0),
}))
print("to the other", file=sys.stderr)
sys.exit(int(sys.argv[-1]))
"""


@pytest.fixture
def reported(tmp_path):
    """What a command of one of three kinds reports, started anew or not."""
    (tmp_path / "report.py").write_text(REPORT)

    def report(kind, *, anew, **environment):
        command = {"code": ["-c", REPORT], "module": ["-m", "report"], "file": [tmp_path / "report.py"]}[kind]
        done = forked.run(
            [sys.executable, *command, "two words", "3"], cwd=tmp_path, env={**os.environ, **environment}, anew=anew
        )
        found = json.loads(done.stdout)
        return found | {"status": done.returncode, "errors": done.stderr}

    return report


@pytest.mark.parametrize("kind", ["code", "module", "file"])
def test_a_command_finds_what_it_finds_when_it_is_started(kind, reported):
    """Arguments, folder, search path, `__main__`, streams and exit code."""
    ours, theirs = reported(kind, anew=False, OF_A_TEST="1"), reported(kind, anew=True, OF_A_TEST="1")
    # What imports have set is set sooner.
    added = ours["environment"].keys() - theirs["environment"].keys()
    assert {**ours, "environment": {k: v for k, v in ours["environment"].items() if k not in added}} == theirs
    assert not [name for name in added if not name.startswith(("KMP_", "HF_XET_", "TORCHINDUCTOR_"))]
    assert ours["status"] == 3
    assert ours["environment"]["OF_A_TEST"] == "1"


def imported(**environment):
    code = "import sys; print(*(name in sys.modules for name in ('torch', 'huggingface_hub', 'lm_eval')))"
    return forked.run([sys.executable, "-c", code], env={**os.environ, **environment}).stdout.split()


def test_what_is_imported_already_depends_on_what_its_import_looks_at():
    """Another address of the Hub is none of torch's business; another seed of the hashes is everybody's."""
    assert imported(OF_A_TEST="1") == ["True", "True", "True"]
    assert imported(HF_ENDPOINT="http://127.0.0.1:1") == ["True", "False", "False"]
    assert imported(PYTHONHASHSEED="1") == ["False", "False", "False"]
    assert imported(WISE_MERGE_AUTOLOAD="0") == ["False", "False", "False"]


@pytest.fixture
def heard():
    """What a shell starts in its background, as this may be, does not hear Ctrl-C, nor does what that starts."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.parametrize("anew", [False, True])
@pytest.mark.usefixtures("heard")
def test_signals_and_errors_end_it_as_they_end_every_process(anew):
    """SIGKILL, Ctrl-C, an exception; it does at its end what was registered, and none has ended before it has."""
    patient = "import atexit, time; atexit.register(print, 'at the end'); print('here', flush=True); time.sleep(60)"
    for number, printed in ((signal.SIGKILL, ""), (signal.SIGINT, "at the end\n"), (signal.SIGTERM, "")):
        command = forked.start(
            [sys.executable, "-c", patient], stdout=subprocess.PIPE, stderr=subprocess.PIPE, anew=anew
        )
        assert command.stdout.readline() == "here\n"
        assert command.poll() is None
        with pytest.raises(subprocess.TimeoutExpired):
            command.wait(0.01)
        command.send_signal(number)
        output, errors = command.communicate(timeout=60)
        assert (output, command.returncode) == (printed, -number)
        assert ("KeyboardInterrupt" in errors) == (number == signal.SIGINT)
    broken = forked.run([sys.executable, "-c", "1 / 0"], anew=anew)
    assert broken.returncode == 1
    assert broken.stderr.endswith("ZeroDivisionError: division by zero\n")


@pytest.mark.parametrize("anew", [False, True])
def test_its_end_is_that_of_every_process(anew, tmp_path):
    """A thread is waited for, then comes what was registered; files and objects are let go of; any exit code."""
    code = (
        "import atexit, sys, tempfile, threading, time\n"
        "left, folder = open('left.txt', 'w'), tempfile.TemporaryDirectory(dir='.')\n"
        "left.write('all of it')\n"
        "atexit.register(print, 'registered')\n"
        "threading.Thread(target=lambda: (time.sleep(0.2), print('thread'))).start()\n"
        "print('main')\n"
        "sys.exit('a last word')\n"
    )
    done = forked.run([sys.executable, "-c", code], cwd=tmp_path, anew=anew)
    assert (done.returncode, done.stdout) == (1, "main\nthread\nregistered\n")
    assert done.stderr.splitlines()[0] == "a last word"
    assert [path.name for path in tmp_path.iterdir()] == ["left.txt"]
    assert (tmp_path / "left.txt").read_text() == "all of it"
    codes = [forked.run([sys.executable, "-c", f"exit({code})"], anew=anew).returncode for code in ("", "-1", "300")]
    assert codes == [0, 255, 44]


def test_a_command_that_takes_too_long_is_ended(tmp_path):
    """Nothing of it goes on."""
    code = "import os, pathlib, time; pathlib.Path('pid').write_text(str(os.getpid())); time.sleep(600)"
    with pytest.raises(subprocess.TimeoutExpired):
        forked.run([sys.executable, "-c", code], cwd=tmp_path, timeout=3)
    deadline = time.monotonic() + 60
    while psutil.pid_exists(int((tmp_path / "pid").read_text())):
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_a_shell_that_finds_a_stand_in_cannot_tell(tmp_path):
    """Pipes, exit codes and the PATH that the script sees are those of the script."""
    folder = forked.stand_ins(tmp_path / "bin")
    path = os.pathsep.join(map(str, (folder, forked.SCRIPTS, os.environ["PATH"])))

    def shell(command):
        return subprocess.run(["bash", "-c", command], env={**os.environ, "PATH": path}, capture_output=True, text=True)

    assert shell("wise-merge --version | tr a-z A-Z").stdout.startswith("WISE-MERGE, VERSION")
    assert shell("command -v wise-merge").stdout == f"{folder / 'wise-merge'}\n"
    assert shell("wise-merge merge absent.yml out; echo $?").stdout == "1\n"
    # Another start for the seed of the hashes.
    assert shell("PYTHONHASHSEED=1 wise-merge --version").stdout == shell("wise-merge --version").stdout


def test_no_two_commands_draw_the_same_numbers():
    """Neither from Python's generator nor from numpy's."""
    code = "import random, numpy; print(random.random(), numpy.random.rand())"
    drawn = [forked.run([sys.executable, "-c", code]).stdout.split() for _ in range(3)]
    assert len({number for pair in drawn for number in pair}) == 6
