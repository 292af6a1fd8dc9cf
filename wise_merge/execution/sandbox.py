"""What keeps a program from doing harm: bubblewrap where it works, else what the system lets a process do by itself.

A server (`inside.server`) starts within it and forks programs, so that the sandbox is set up once and not per program.
"""

import functools
import json
import os
import shutil
import subprocess
import sys
import threading
from dataclasses import dataclass
from pathlib import Path

import wise_merge
from wise_merge.errors import first_line
from wise_merge.execution.outcome import Limits

#: Where each program has its folder in a sandbox.
_WORK = "/tmp"

#: All of the environment that a program sees: no tokens, no paths of the user.
ENVIRONMENT = {
    "PATH": "/usr/bin:/bin",
    "HOME": _WORK,
    "LANG": "C.UTF-8",
    "PYTHONDONTWRITEBYTECODE": "1",
    "PYTHONHASHSEED": "0",  # the order of a set should be the same the next time
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
}

# Where a system keeps its programs and libraries.
_SYSTEM = ("/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32", "/nix/store", "/gnu/store")
_SETTINGS = ("/etc/ld.so.cache", "/etc/localtime", "/etc/alternatives")

# Users that no system gives to anybody: between those that systemd keeps for other things.
_FIRST_USER, _USERS = 60578, 606


@dataclass(frozen=True)
class Sandbox:
    """How servers are started.

    Attributes:
        name: "bubblewrap", or "none": then a server makes what it can of namespaces and limits.
        prefix: what is put before the command.
        remark: why a sandbox that is installed is not used, "" if there is nothing to say.
        namespaces: whether a server without a sandbox tries to have namespaces.
    """

    name: str
    prefix: tuple[str, ...] = ()
    remark: str = ""
    namespaces: bool = True


@functools.cache
def choose_sandbox() -> Sandbox:
    """Return bubblewrap if it is installed and works here, which is tried, or else none."""
    where = shutil.which("bwrap")
    if where is None:
        return Sandbox("none")
    home = str(Path.home())
    shown = next((place for place in _needed() if f"{home}/".startswith(f"{place}/")), None)
    if shown is not None:
        return Sandbox("none", remark=f"bubblewrap is not used: Python needs {shown}, which holds the home folder")
    sandbox = Sandbox("bubblewrap", _bubblewrap(where))
    fault = _try(command(sandbox, 0))
    if fault is not None:
        return Sandbox("none", remark=f"bubblewrap does not work here ({fault})")
    return sandbox


def _try(arguments: list[str]) -> str | None:
    """Return why a server that is started so cannot run programs; None if it can."""
    pipe = subprocess.PIPE
    try:
        process = subprocess.Popen(
            arguments, stdin=pipe, stdout=pipe, stderr=pipe, text=True, env=ENVIRONMENT, cwd="/", start_new_session=True
        )
    except OSError as error:
        return first_line(error)
    impatience = threading.Timer(60.0, process.kill)
    impatience.start()
    try:
        assert process.stdout
        said = process.stdout.readline()  # its input stays open meanwhile
        _, errors = process.communicate()
    finally:
        impatience.cancel()
    if not said:
        return (errors.strip().splitlines() or ["it says nothing"])[-1]
    fault: str | None = json.loads(said)["fault"]
    return fault


def command(sandbox: Sandbox, number: int) -> list[str]:
    """Return the command of a server, by whose number the user that its programs become is chosen."""
    settings = {
        "sandboxed": sandbox.name != "none",
        "namespaces": sandbox.namespaces,
        "work": _WORK,
        "uid": _FIRST_USER + (os.getpid() * 61 + number) % _USERS,
        "home": os.path.realpath(Path.home()),
        "needed": _needed(),
        "limits": {**vars(Limits(seconds=10.0)), "longest": 60.0},
    }
    # What a program can import is what this process can, as far as it lies in the installation.
    visible = [path for path in sys.path if any(f"{path}/".startswith(f"{place}/") for place in _installation())]
    program = (
        f"import sys; sys.path[:] = {[str(_package().parent), *visible]!r}; "
        "from wise_merge.execution.inside import server; sys.path.pop(0); "
        f"import json; server.main(json.loads({json.dumps(settings)!r}))"
    )
    return [*sandbox.prefix, os.path.realpath(_interpreter()), "-S", "-s", "-c", program]


def _bubblewrap(where: str) -> tuple[str, ...]:
    arguments = [where, "--unshare-pid", "--unshare-net", "--unshare-ipc", "--unshare-uts", "--unshare-cgroup-try"]
    if os.geteuid() != 0:
        arguments.append("--unshare-user")
    for place in _SYSTEM:
        if os.path.islink(place):
            arguments += ["--symlink", os.readlink(place), place]
        elif os.path.isdir(place):
            arguments += ["--ro-bind", place, place]
    for place in (*_SETTINGS, *_needed()):
        if not any(f"{place}/".startswith(f"{seen}/") for seen in _SYSTEM):
            # Where it is not told, it takes folders above for private.
            for above in reversed(Path(place).parents[:-1]):
                arguments += ["--perms", "0755", "--dir", str(above)]
            arguments += ["--ro-bind-try", place, place]
    arguments += ["--proc", "/proc", "--dir", "/dev", "--symlink", "/proc/self/fd", "/dev/fd"]
    # Not `--dev`: for it bubblewrap makes a second user namespace, in which the server could mount nothing.
    for device in ("null", "zero", "full", "random", "urandom"):
        arguments += ["--dev-bind-try", f"/dev/{device}", f"/dev/{device}"]
    # The server is the first process, whom the others cannot end; it mounts the folders in which programs start.
    arguments += ["--dir", _WORK, "--remount-ro", "/", "--chdir", "/", "--as-pid-1", "--cap-add", "CAP_SYS_ADMIN"]
    return tuple(arguments)


def _interpreter() -> str:
    # In a virtual environment sys.executable is a link that may lead over folders that a sandbox does not show.
    return str(getattr(sys, "_base_executable", None) or sys.executable)


def _installation() -> list[str]:
    """Return the folders of Python and of the environment."""
    places = [sys.base_prefix, sys.base_exec_prefix, sys.prefix, os.path.dirname(os.path.realpath(_interpreter()))]
    places += [path for path in sys.path if Path(path).name in ("site-packages", "dist-packages")]
    return sorted({path for place in places for path in (place, os.path.realpath(place)) if os.path.isdir(path)})


def _package() -> Path:
    return Path(wise_merge.__file__).resolve().parent


def _needed() -> list[str]:
    return [*_installation(), str(_package())]
