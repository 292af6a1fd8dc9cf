"""Takes away from a program what HumanEval's reference harness takes away, so that verdicts agree.

This is `reliability_guard` of openai/human-eval, which is no sandbox, as it says itself: it stops accidents.
"""

import builtins
import faulthandler
import os
import shutil
import sys

_OF_OS = (
    "kill",
    "system",
    "putenv",
    "remove",
    "removedirs",
    "rmdir",
    "fchdir",
    "setuid",
    "fork",
    "forkpty",
    "killpg",
    "rename",
    "renames",
    "truncate",
    "replace",
    "unlink",
    "fchmod",
    "fchown",
    "chmod",
    "chown",
    "chroot",
    "lchflags",
    "lchmod",
    "lchown",
    "getcwd",
    "chdir",
)
_MODULES = ("ipdb", "joblib", "resource", "psutil", "tkinter")


def take_away() -> None:
    """Make these names None in this process, and these modules impossible to import."""
    faulthandler.disable()
    for name in ("exit", "quit", "help"):
        setattr(builtins, name, None)
    os.environ["OMP_NUM_THREADS"] = "1"
    for name in _OF_OS:
        setattr(os, name, None)
    for name in ("rmtree", "move", "chown"):
        setattr(shutil, name, None)
    if "subprocess" in sys.modules:
        sys.modules["subprocess"].Popen = None  # type: ignore[attr-defined]
    for name in _MODULES:
        sys.modules[name] = None  # type: ignore[assignment]
