"""A sweep over several processes: the same results, and none of them outlives the command."""

import contextlib
import os
import signal
import subprocess
import time

import psutil
import pytest
from click.testing import CliRunner
from support import forked
from support.sweeps import drawn, figures, sweep, write

from wise_merge.cli import main
from wise_merge.errors import WiseMergeError
from wise_merge.points import read_results
from wise_merge.search.sweep.reading import read_settings


def start(place, out):
    """Start the command in a process of its own."""
    command = [forked.SCRIPTS / "wise-merge", "sweep", write(place), "--out", out, "--processes", "2"]
    return forked.start(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)


def caught(place, folder):
    """Start the command, and return it, all that it has started, stopped amid the sampling, and its results.

    The whole sweep takes a second: on a busy machine it may be over before anybody looks. Then it is tried again.
    """
    for attempt in range(10):
        out = folder / str(attempt)
        command = start(place, out)
        while len(list(out.glob("journal/*.jsonl.lock"))) < 2 and command.poll() is None:
            time.sleep(0.01)
        children = []
        with contextlib.suppress(psutil.NoSuchProcess):
            children = psutil.Process(command.pid).children(recursive=True)
        both = len([child for child in children if "search.engines" in program(child)]) == 2
        for child in children:
            with contextlib.suppress(psutil.NoSuchProcess):
                child.suspend()
        # Of 16 points two are copies: with less than 14 written, one is still to be sampled by who was stopped.
        if both and command.poll() is None and len(list(out.glob("points/*/[!.]*.json"))) < 14:
            return command, children, out
        resume(children)
        assert command.wait(60) == 0, command.stderr.read()
    raise AssertionError("the sweep was always over before it could be stopped")


def program(process):
    """The command line of a process; empty once it has ended."""
    with contextlib.suppress(psutil.NoSuchProcess):
        return " ".join(process.cmdline())
    return ""


def resume(processes):
    """Let processes go on that were stopped."""
    for process in processes:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.resume()


def test_two_processes_find_what_one_finds(place, swept, tmp_path):
    """Every sample is drawn once, by one thread, whichever process has the point; nothing runs afterwards."""
    before = psutil.Process().children(recursive=True)
    printed = sweep(place, tmp_path / "results", "--processes", "2")
    assert figures(tmp_path / "results") == figures(swept[0])
    assert drawn(tmp_path / "results") == drawn(swept[0])
    assert printed.count("\ncheckpoint-") == 16
    programs = [" ".join(one.cmdline()) for one in psutil.Process().children(recursive=True) if one not in before]
    assert not [program for program in programs if "search.engines" in program]
    # How many processes there are is no property of the results.
    assert "Results" in sweep(place, tmp_path / "results", "--processes", "1")


@pytest.mark.parametrize(
    "number", [signal.SIGKILL, pytest.param(signal.SIGTERM, marks=pytest.mark.slow), signal.SIGINT]
)
def test_whatever_ends_the_command_ends_its_processes(number, place, swept, tmp_path):
    """And what they have drawn by then is not drawn again."""
    command, children, out = caught(place, tmp_path)
    os.kill(command.pid, number)
    resume(children)
    assert command.wait(60) != 0
    _, alive = psutil.wait_procs(children, timeout=60)
    assert not alive
    sweep(place, out, "--processes", "2")
    assert figures(out) == figures(swept[0])
    assert drawn(out) == drawn(swept[0])


def test_a_process_that_dies_is_one_line(place, tmp_path):
    """With the point, and what to do."""
    command, children, _ = caught(place, tmp_path)
    next(child for child in children if "search.engines" in program(child)).kill()
    resume(children)
    errors = command.stderr.read()
    assert command.wait(60) == 1
    assert "Error: a process died while it sampled checkpoint-" in errors
    assert "(exit code -9" in errors
    assert "Traceback" not in errors


def test_an_error_within_a_process_is_one_line(place, tmp_path):
    """What only sampling finds out comes back as it is."""
    path = write(place, gen_kwargs={"max_gen_toks": 100_000})
    done = CliRunner().invoke(main, ["sweep", str(path), "--out", str(tmp_path / "out"), "--processes", "2"])
    assert done.exit_code == 1
    assert "12 of 12 prompts are longer" in done.output
    assert not read_results(tmp_path / "out").outcomes


@pytest.mark.parametrize("other", [{"backend": "vllm"}, {"device": "cuda"}, {"ray": "auto"}])
def test_where_processes_would_share_a_gpu_they_are_refused(other, place):
    """They are for CPUs; vLLM and Ray have ways of their own."""
    with pytest.raises(WiseMergeError, match="for tiny models on the CPUs"):
        read_settings(write(place), {"processes": 2, **other})
    with pytest.raises(WiseMergeError, match="processes must be at least 1"):
        read_settings(write(place), {"processes": 0})
