"""A process that has imported what commands need, once, and forks for each command that a test wants run.

To import torch, transformers and lm-eval takes seconds, which is most of what a command on a toy checkpoint takes. A
command that this process forks for has all else as if it had been started: arguments, folder, environment, standard
streams, `__main__`, what Python does at its end, its exit code or the signal that ends it. What it shares with others
is what a start would have drawn anew: the seed of Python's hashes. And what was imported here is not taken apart at its
end: every page of it would be copied for that first, which takes longer than most of the commands.

Many a module looks at the environment while it is imported. What it looked at is noted, and a command that would have
shown it something else is refused; its caller (`support.forked`) starts it then.

    python fork_server.py FOLDER MODULE,MODULE... MODULE,...

serves at FOLDER/0 with the modules of the first stage, at FOLDER/1 with those of the first two, and so on, until its
standard input ends.
"""

import atexit
import contextlib
import gc
import importlib
import json
import os
import select
import shutil
import signal
import socket
import sys
import threading
import types
from pathlib import Path

#: What is looked at by C, by Python itself when it starts, or by a module that searches all variables.
AT_THE_START = ("PYTHON", "WISE_MERGE", "LD_", "OMP_", "KMP_", "MKL_", "OPENBLAS_", "NUMEXPR_", "CUDA_", "MALLOC_")
AT_THE_START += ("TQDM_", "FSSPEC_", "NETWORKX_", "LC_", "LANG")

#: The environment of this process before any import.
START = dict(os.environ)


class Listed(str):
    """The name of a variable that somebody came across who goes through all of them."""


def import_all(modules: list[str]) -> set[str]:
    """Import the modules and return the names of the variables that they asked for."""
    seen, look_up, go_through = set(), os._Environ.__getitem__, os._Environ.__iter__

    def noted(environment, name):
        if not isinstance(name, Listed):
            seen.add(os.fsdecode(name))  # `os.environb` is of the same class
        return look_up(environment, name)

    os._Environ.__getitem__ = noted
    os._Environ.__iter__ = lambda environment: map(Listed, go_through(environment))
    try:
        for module in modules:
            importlib.import_module(module)
    finally:
        os._Environ.__getitem__, os._Environ.__iter__ = look_up, go_through
    return seen


def differences(seen: set[str], environment: dict[str, str]) -> list[str]:
    """Return the variables for whose sake a command with this environment has to be started.

    A value that some module sets when it is imported is no difference: whoever has imported it, too, hands that on.
    """
    names = seen | {name for name in environment.keys() | START.keys() if name.startswith(AT_THE_START)}
    return sorted(name for name in names if environment.get(name) not in (START.get(name), os.environ.get(name)))


def serve(listener: socket.socket, seen: set[str]) -> dict | None:
    """Fork for every request. Return it in the process that is to run it, and None at the end in this one."""
    while True:
        ready, _, _ = select.select([listener, 0], [], [])
        if 0 in ready:
            reap(options=0)
            return None
        connection, _ = listener.accept()
        if os.fork():
            connection.close()
            reap()
            continue
        # This process waits for the command, and tells how it ended.
        message, streams, _, _ = socket.recv_fds(connection, 65536, 3)
        while not message.endswith(b"\n"):
            message += connection.recv(65536)
        request = json.loads(message) | {"streams": streams}
        if found := differences(seen, request["environment"]):
            tell(connection, differs=found)
            os._exit(0)
        # One that comes before the command can take it waits for that.
        signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])
        command = os.fork()
        if not command:
            if request["session"]:
                os.setsid()
            signal.signal(signal.SIGINT, signal.default_int_handler)
            connection.close()
            return request
        for stream in (0, 1, 2, *streams):
            os.close(stream)
        tell(connection, pid=command)
        _, status = os.waitpid(command, 0)
        tell(connection, status=os.waitstatus_to_exitcode(status))
        os._exit(0)


def tell(connection: socket.socket, **facts: object) -> None:
    """Send a line to the caller, who may have gone."""
    with contextlib.suppress(OSError):
        connection.sendall(json.dumps(facts).encode() + b"\n")


def reap(options: int = os.WNOHANG) -> None:
    """Take notice of the processes that have ended; with 0 for `options`, wait for all."""
    with contextlib.suppress(ChildProcessError):
        while os.waitpid(-1, options)[0]:
            pass


def set_up(streams: list[int], folder: str, environment: dict[str, str], arguments: list[str], said: str, **_) -> None:
    """Give this process the streams, folder, environment and arguments with which it would have been started."""
    for number, stream in enumerate(streams):
        os.dup2(stream, number)
        os.close(stream)
    os.chdir(folder)
    set_by_imports = {name: value for name, value in os.environ.items() if START.get(name) != value}
    os.environ.clear()
    os.environ.update(environment | set_by_imports)
    sys.stderr.write(said)
    sys.argv[:] = arguments
    sys.orig_argv[:] = [sys.executable, *arguments]
    if "numpy" in sys.modules:
        # Python's own generator sees to that itself.
        sys.modules["numpy"].random.seed()


def run(arguments: list[str]) -> None:
    """Run a script, `-c CODE` or `-m MODULE` as Python's command line would, in a `__main__` of its own."""
    import runpy

    kind = arguments[0]
    if kind == "-m":
        sys.path.insert(0, os.getcwd())
        sys.argv[:] = arguments[1:]
        runpy.run_module(arguments[1], run_name="__main__", alter_sys=True)
        return
    main = types.ModuleType("__main__")
    main.__builtins__ = __builtins__
    sys.modules["__main__"] = main
    if kind == "-c":
        sys.path.insert(0, "")
        sys.argv[:] = ["-c", *arguments[2:]]
        code = compile(arguments[1], "<string>", "exec")
    else:
        sys.path.insert(0, str(Path(kind).resolve().parent))
        main.__file__ = kind
        code = compile(Path(kind).read_bytes(), kind, "exec")
    exec(code, vars(main))


def run_to_the_end(arguments: list[str]) -> None:
    """Run a command and do what Python does at the end, up to the point at which it would take modules apart.

    An exception goes on to Python itself, which then does all of it.
    """
    status = 0
    try:
        run(arguments)
    except SystemExit as ended:
        if ended.code is None or isinstance(ended.code, int):
            status = (ended.code or 0) & 0xFF
        else:
            print(ended.code, file=sys.stderr)
            status = 1
    threading._shutdown()
    atexit._run_exitfuncs()
    # Files that it left open are written to the end when nobody has them any more.
    names = vars(sys.modules["__main__"])
    if names is not globals():
        names.clear()
    gc.collect()
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except Exception:
            # Such as a pipe that nobody reads: Python has its own way to end with that.
            sys.exit(status)
    os._exit(status)


def main() -> dict | None:
    """Serve; return the request in a process that is to run a command."""
    place, *stages = sys.argv[1:]
    # Instead of this file's folder; in the end neither is a place of modules for any command.
    sys.path[0] = str(Path(__file__).parents[1])
    listeners = []
    for number in range(len(stages)):
        listeners.append(socket.socket(socket.AF_UNIX))
        listeners[-1].bind(f"{place}/{number}")
        listeners[-1].listen(64)
    seen = set()
    for number, stage in enumerate(stages):
        gc.disable()
        seen |= import_all(stage.split(","))
        gc.freeze()
        gc.enable()
        # Each stage but the last goes on in a process of its own.
        if number == len(stages) - 1 or not os.fork():
            said = Path(place, "said").read_text()
            request = serve(listeners[number], seen)
            break
    if request is not None:
        del sys.path[0]
        for listener in listeners:
            listener.close()
        set_up(**request, said=said)
    elif number == len(stages) - 1:
        shutil.rmtree(place)
    return request


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    _request = main()
    if _request is not None:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGINT])
        run_to_the_end(_request["arguments"])
