"""The server processes that run programs (`inside.server`), kept for as long as this process lives.

As with the processes that compare answers, they are programs of their own and not `multiprocessing`: a fork beside
torch's threads can deadlock, and a spawn imports all of lm-eval again.
"""

import atexit
import json
import os
import queue
import subprocess
import sys
import threading
from typing import Any

from wise_merge.errors import WiseMergeError
from wise_merge.execution.outcome import PATIENCE, Limits, Outcome, Program
from wise_merge.execution.sandbox import ENVIRONMENT, Sandbox, choose_sandbox, command

# Seconds beyond its longest time after which a program's server is given up.
_SILENCE = 30.0

_idle: list["Server"] = []
_lock = threading.Lock()
_started = 0


class Server:
    """One process, started in the sandbox, and the thread that listens to it.

    `box` is what it said of itself: whether programs have namespaces and a user of their own, which places are covered.
    """

    def __init__(self, sandbox: Sandbox | None = None) -> None:
        global _started
        with _lock:
            number = _started
            _started += 1
        arguments = command(sandbox or choose_sandbox(), number)
        try:
            self._process = subprocess.Popen(
                arguments,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                env=ENVIRONMENT,
                cwd="/",
                start_new_session=True,  # Ctrl-C is for this process, which then closes their input
            )
        except OSError as error:
            raise WiseMergeError(f"the process that runs programs does not start: {error}") from error
        self._said: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
        threading.Thread(target=self._listen, daemon=True).start()
        box = self._hear(_SILENCE)
        if box is None:
            self.close()
            shown = " ".join(arguments[: arguments.index("-c")])
            raise WiseMergeError(f"the process that runs programs does not start; try: {shown} -c 'print(1)'")
        self.box: dict[str, Any] = box
        if box["fault"] is not None and box["unreadable"] is None:
            self.close()
            raise WiseMergeError(f"programs cannot be run here, not even one that does nothing: {box['fault']}")
        if box["unreadable"] is not None:
            self.close()
            raise WiseMergeError(
                f"programs run as a user who may nothing and cannot read {box['unreadable']}, where Python is; "
                "install bubblewrap, or let everybody read it (chmod a+rX, the folders above it, too)"
            )

    def _listen(self) -> None:
        assert self._process.stdout
        try:
            for line in self._process.stdout:
                self._said.put(line)
        except (OSError, ValueError):
            pass  # the process ended within a line
        self._said.put(None)

    def _hear(self, seconds: float) -> dict[str, Any] | None:
        try:
            line = self._said.get(timeout=seconds)
            said = json.loads(line) if line else None
        except (queue.Empty, ValueError):
            return None
        return said if isinstance(said, dict) else None

    def is_alive(self) -> bool:
        """Return whether the process runs."""
        return self._process.poll() is None

    def run(self, program: Program, limits: Limits) -> Outcome | None:
        """Return what became of the program; None if the server was lost over it."""
        longest = PATIENCE * limits.seconds
        request = {**vars(program), "limits": {**vars(limits), "longest": longest}}
        try:
            assert self._process.stdin
            self._process.stdin.write(json.dumps(request).encode() + b"\n")
            self._process.stdin.flush()
        except OSError:
            return None
        said = self._hear(longest + _SILENCE)
        return None if said is None else Outcome(**{**said, "values": tuple(said["values"])})

    def close(self) -> None:
        """End the process, and what it runs."""
        for pipe in (self._process.stdin, None):
            try:
                if pipe:
                    pipe.close()
            except OSError:
                pass
        try:
            self._process.wait(timeout=5)  # it ends with its input
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


def take_server() -> Server:
    """Return an idle server that is still there, or a new one."""
    with _lock:
        dead = [server for server in _idle if not server.is_alive()]
        _idle[:] = [server for server in _idle if server not in dead]
        server = _idle.pop() if _idle else None
    for lost in dead:
        lost.close()
    return server or Server()


def give_back(server: Server) -> None:
    """Keep a server for the next call."""
    with _lock:
        _idle.append(server)


def describe_server() -> dict[str, Any]:
    """Return what a server says of the box in which its programs run."""
    server = take_server()
    give_back(server)
    return server.box


def close() -> None:
    """End all idle servers; the next call starts new ones."""
    with _lock:
        idle, _idle[:] = list(_idle), []
    for server in idle:
        server.close()


def _forget() -> None:
    """Drop the servers and the lock of the parent after a fork: they would answer the parent, not this process."""
    global _lock
    _idle.clear()
    _lock = threading.Lock()


def check_system() -> None:
    """Raise where processes cannot be limited."""
    if os.name != "posix":
        raise WiseMergeError(f"programs cannot be run on {sys.platform}, which has no limits for processes; use Linux")


atexit.register(close)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)
