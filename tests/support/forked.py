"""Commands in processes of their own that need not import torch and the hosts anew: see `fork_server`.

`start` and `run` take what subprocess takes and give what it gives. Where the environment asks for other imports, they
start the command as subprocess would, and so they do with `anew=True`, for tests that are about the start itself.
"""

import atexit
import functools
import json
import os
import signal
import socket
import subprocess
import sys
import sysconfig
import tempfile
import threading
import time
from pathlib import Path

#: First what does not look at the variables of the Hub, then the rest.
STAGES = (
    ("torch", "scipy.stats", "sklearn.linear_model", "pandas", "matplotlib.pyplot", "sympy", "pyarrow", "psutil"),
    (
        *("datasets", "transformers.models.auto.modeling_auto", "transformers.models.llama.modeling_llama"),
        *("accelerate", "peft", "evaluate", "lm_eval.evaluator", "lm_eval.tasks", "lm_eval.models.huggingface"),
        *("mergekit.plan", "mergekit.scripts.run_yaml", "math_verify", "support.task_files"),
    ),
)
SCRIPTS = Path(sysconfig.get_path("scripts"))


class Process:
    """A command that is running, or has ended, with what `subprocess.Popen` has that tests ask for; all text."""

    def __init__(self, arguments, connection, pid, stdout, stderr):
        self.args, self.pid, self.stdout, self.stderr = arguments, pid, stdout, stderr
        self.returncode = None
        self._connection = connection

    def poll(self):
        """Return the exit code, minus a signal's number, or None while it runs."""
        try:
            return self.wait(0)
        except subprocess.TimeoutExpired:
            return None

    def wait(self, timeout=None):
        if self.returncode is None:
            self._connection.settimeout(timeout if timeout is None else max(timeout, 1e-6))
            try:
                self.returncode = read_line(self._connection)["status"]
            except TimeoutError:
                raise subprocess.TimeoutExpired(self.args, timeout) from None
            self._connection.close()
        return self.returncode

    def communicate(self, timeout=None):
        """Return all that it prints on the two streams, once it has ended."""
        printed = {}

        def read(stream):
            printed[stream] = stream.read()

        streams = [stream for stream in (self.stdout, self.stderr) if stream]
        readers = [threading.Thread(target=read, args=[stream], daemon=True) for stream in streams]
        for reader in readers:
            reader.start()
        for reader in readers:
            reader.join(timeout)
            if reader.is_alive():
                raise subprocess.TimeoutExpired(self.args, timeout)
        self.wait(timeout)
        for stream in streams:
            stream.close()
        return printed.get(self.stdout), printed.get(self.stderr)

    def send_signal(self, number):
        if self.poll() is None:
            os.kill(self.pid, number)

    def terminate(self):
        self.send_signal(signal.SIGTERM)

    def kill(self):
        self.send_signal(signal.SIGKILL)


def start(arguments, *, cwd=None, env=None, stdout=None, stderr=None, start_new_session=False, anew=False):
    """Start a command: a script of this environment, or its Python with -c, -m or a script of its own."""
    arguments = [str(argument) for argument in arguments]
    environment = dict(os.environ if env is None else env)
    if not anew and (command := runnable(arguments)):
        ends = {1: None, 2: None}
        streams = [0, 1, 2]
        for number, wanted in ((1, stdout), (2, stderr)):
            if wanted == subprocess.PIPE:
                read, streams[number] = os.pipe()
                ends[number] = os.fdopen(read, "r")
            elif wanted == subprocess.DEVNULL:
                streams[number] = os.open(os.devnull, os.O_WRONLY)
        try:
            for stage in reversed(range(len(STAGES))):
                place = server() / str(stage)
                found = ask(place, command, cwd or os.getcwd(), environment, streams, start_new_session)
                if found:
                    return Process(arguments, *found, ends[1], ends[2])
        finally:
            for stream in streams[1:]:
                if stream > 2:
                    os.close(stream)
        for end in filter(None, ends.values()):
            end.close()
    settings = {"stdout": stdout, "stderr": stderr, "text": True, "start_new_session": start_new_session}
    return subprocess.Popen(arguments, cwd=cwd, env=environment, **settings)


def run(arguments, *, cwd=None, env=None, timeout=None, anew=False):
    """Run a command to its end and return a `subprocess.CompletedProcess`, with what it printed."""
    process = start(arguments, cwd=cwd, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, anew=anew)
    try:
        printed = process.communicate(timeout)
    except BaseException:
        process.kill()
        process.wait()
        raise
    return subprocess.CompletedProcess(process.args, process.returncode, *printed)


def runnable(arguments):
    """Return the command without the Python before it, if it is one of Python's; else None."""
    program, *rest = arguments
    if program == sys.executable or (Path(program).parent == SCRIPTS and Path(program).name.startswith("python")):
        return rest if rest and (rest[0] in ("-c", "-m") or not rest[0].startswith("-")) else None
    return arguments if Path(program).parent == SCRIPTS else None


def ask(place, arguments, folder, environment, streams, session=False):
    """Ask a server to run a command; return the connection and the process's number, or None if it must not."""
    request = {"arguments": arguments, "folder": os.fspath(folder), "environment": environment, "session": session}
    connection = socket.socket(socket.AF_UNIX)
    try:
        connection.connect(str(place))
        socket.send_fds(connection, [json.dumps(request).encode() + b"\n"], streams)
        answer = read_line(connection)
    except OSError as error:
        raise RuntimeError(f"the server of commands has ended: {place.with_name('said').read_text()}") from error
    if "pid" in answer:
        return connection, answer["pid"]
    connection.close()
    return None


def stand_ins(folder):
    """Fill a folder with stand-ins for the scripts, to come first on a PATH: a shell that looks there has them forked.

    The command sees the PATH without that folder.
    """
    folder.mkdir()
    for script in ("wise-merge", "lm_eval", "mergekit-yaml"):
        path = folder / script
        path.write_text(
            f"#!{sys.executable} -IS\nimport sys\nsys.path.append({str(Path(__file__).parents[1])!r})\n"
            f"from support.forked import stand_in\nstand_in({str(server())!r}, {str(SCRIPTS / script)!r})\n"
        )
        path.chmod(0o755)
    return folder


def stand_in(place, script):
    """Be a script: have a server run it with all that this process has, and end as it ends."""
    arguments = [script, *sys.argv[1:]]
    environment = {**os.environ, "PATH": os.environ["PATH"].partition(os.pathsep)[2]}
    for stage in reversed(range(len(STAGES))):
        if found := ask(Path(place, str(stage)), arguments, os.getcwd(), environment, [0, 1, 2]):
            status = Process(arguments, *found, None, None).wait()
            if status < 0:
                signal.signal(-status, signal.SIG_DFL)
                os.kill(os.getpid(), -status)
            os._exit(status)
    os.execve(script, arguments, environment)


def read_line(connection):
    """Return the next answer of a server."""
    line = b""
    while not line.endswith(b"\n"):
        got = connection.recv(1)
        if not got:
            raise ConnectionResetError
        line += got
    return json.loads(line)


@functools.cache
def server():
    """Start the server of this process, once, and return its folder."""
    # The path of a socket has no more than 104 characters.
    place = Path(tempfile.mkdtemp(prefix="forked-"))
    with (place / "said").open("w") as said:
        process = subprocess.Popen(
            [sys.executable, Path(__file__).with_name("fork_server.py"), place, *map(",".join, STAGES)],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=said,
            # What C code has set beside it, as readline does, commands do not see either.
            env=dict(os.environ),
        )
    while not all((place / str(stage)).exists() for stage in range(len(STAGES))):
        assert process.poll() is None, (place / "said").read_text()
        time.sleep(0.01)
    atexit.register(end, process)
    return place


def end(process):
    process.stdin.close()
    process.wait()
