"""A folder takes the place of another one, and at every moment one of the two is there.

Linux and macOS exchange two names in one step. Where they or the file system cannot, the old folder is moved aside
first: a process that is killed right then leaves nothing at the place, and `put_in_order` puts back what was there.
"""

import ctypes
import os
import platform
import shutil
import sys
from pathlib import Path

_RENAME_EXCHANGE = _RENAME_SWAP = 2
_AT_FDCWD = -100
#: Of renameat2, for C libraries that have no function of that name.
_SYSCALL = {"x86_64": 316, "aarch64": 276}


def replace_folder(new: Path, place: Path, aside: Path) -> Path | None:
    """Rename `new` to `place`, and return where the folder that was at `place` lies now, for the caller to delete.

    That is `new` or `aside`, which are beside it and are nothing else; None if nothing was at `place`.
    """
    if not place.exists():
        new.rename(place)
        return None
    if exchange(new, place):
        return new
    try:
        place.rename(aside)
        new.rename(place)
    except BaseException:
        if aside.exists() and not place.exists():
            aside.rename(place)
        raise
    return aside


def put_in_order(new: Path, place: Path, aside: Path) -> bool:
    """Undo or finish a `replace_folder` that was killed; return False, and delete nothing, if that cannot be told.

    Which is so if something else has been put at `place` since, so that what was there is in `aside` alone.
    """
    if aside.exists():
        if not place.exists():
            aside.rename(place)
        elif new.exists():
            return False
    shutil.rmtree(new, ignore_errors=True)
    shutil.rmtree(aside, ignore_errors=True)
    return True


def exchange(one: Path, other: Path) -> bool:
    """Exchange what two names of one file system stand for, in one step; False, with nothing changed, if it cannot."""
    if sys.platform not in ("linux", "darwin"):
        return False
    library = ctypes.CDLL(None)
    names = ctypes.c_char_p(os.fsencode(one)), ctypes.c_char_p(os.fsencode(other))
    if sys.platform == "darwin":
        return hasattr(library, "renamex_np") and library.renamex_np(*names, ctypes.c_uint(_RENAME_SWAP)) == 0
    arguments = (
        *(ctypes.c_int(_AT_FDCWD), names[0]),
        *(ctypes.c_int(_AT_FDCWD), names[1]),
        ctypes.c_uint(_RENAME_EXCHANGE),
    )
    if hasattr(library, "renameat2"):
        return bool(library.renameat2(*arguments) == 0)
    number = _SYSCALL.get(platform.machine())
    return number is not None and library.syscall(ctypes.c_long(number), *arguments) == 0
