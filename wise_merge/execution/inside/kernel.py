"""Calls of Linux that Python has no functions for: namespaces, mounts, capabilities, and settings of a process."""

import ctypes
import os

NEW_MOUNTS = 0x00020000
NEW_HOST_NAME = 0x04000000
NEW_IPC = 0x08000000
NEW_USERS = 0x10000000
NEW_PROCESSES = 0x20000000
NEW_NETWORK = 0x40000000

_NO_SET_UID, _NO_DEVICES = 0x2, 0x4
_READ_ONLY, _ALL_BELOW, _PRIVATE = 0x1, 0x4000, 0x40000

_SET_DEATH_SIGNAL, _SET_DUMPABLE, _SET_CHILD_SUBREAPER, _SET_NO_NEW_PRIVILEGES = 1, 4, 36, 38

# The same number on every architecture since Linux 5.12.
_MOUNT_SETATTR = 442


_libc = ctypes.CDLL(None, use_errno=True)
# Looked up once, before any program is forked.
_functions = {
    name: getattr(_libc, name, None) for name in ("mount", "umount2", "unshare", "prctl", "capset", "syscall")
}


def _call(name: str, *arguments: int | bytes | None) -> None:
    function = _functions[name]
    if function is None:
        raise OSError(f"this system has no {name}")
    values = [ctypes.c_long(argument) if isinstance(argument, int) else argument for argument in arguments]
    if function(*values) != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{name}: {os.strerror(number)}")


def unshare(namespaces: int) -> None:
    """Move this process, or for NEW_PROCESSES its next child, into namespaces of its own."""
    _call("unshare", namespaces)


def mount_memory(place: str, options: str, *, writable: bool = False) -> None:
    """Mount a file system that lives in memory."""
    flags = _NO_SET_UID | _NO_DEVICES | (0 if writable else _READ_ONLY)
    _call("mount", b"tmpfs", os.fsencode(place), b"tmpfs", flags, options.encode())


def show_again(descriptor: int, place: str) -> None:
    """Let a folder that is open, and may be covered by now, be seen at this place."""
    bind = 0x1000
    _call("mount", os.fsencode(f"/proc/self/fd/{descriptor}"), os.fsencode(place), None, bind | _ALL_BELOW, None)


def make_read_only(place: str) -> None:
    """Forbid writing to what `mount_memory` mounted here."""
    remount = 0x20
    _call("mount", b"none", os.fsencode(place), None, remount | _READ_ONLY | _NO_SET_UID | _NO_DEVICES, None)


def unmount(place: str) -> None:
    """Take away what was mounted here last."""
    detach = 2
    _call("umount2", os.fsencode(place), detach)


def mount_processes() -> None:
    """Let /proc show the processes of this namespace."""
    _call("mount", b"proc", b"/proc", b"proc", _NO_SET_UID | _NO_DEVICES, None)


def make_everything_read_only() -> None:
    """Forbid writing to every file system that is mounted, in this mount namespace only."""
    _call("mount", b"none", b"/", None, _ALL_BELOW | _PRIVATE, None)
    # struct mount_attr: what to set, to clear, the propagation, a user namespace.
    attributes = (ctypes.c_uint64 * 4)(0x1, 0, 0, 0)
    at_working_directory, recursive = -100, 0x8000
    where = ctypes.cast(attributes, ctypes.c_void_p).value or 0
    _call("syscall", _MOUNT_SETATTR, at_working_directory, b"/", recursive, where, ctypes.sizeof(attributes))


# Version 3 of the interface, this process; no capabilities of any kind.
_capability_header = (ctypes.c_uint32 * 2)(0x20080522, 0)
_no_capabilities = (ctypes.c_uint32 * 6)()


def drop_capabilities() -> None:
    """Give up what this process may do beyond a common one, for good."""
    if _functions["capset"] is None or _functions["capset"](_capability_header, _no_capabilities) != 0:
        raise OSError(ctypes.get_errno(), "capset")


def forbid_new_privileges() -> None:
    """Let no program that is started from here, such as sudo, gain anything."""
    _call("prctl", _SET_NO_NEW_PRIVILEGES, 1, 0, 0, 0)


def install_filter(length: int, address: int) -> None:
    """Have the system ask this filter of so many lines about each system call; see `filters`."""
    pointed = (ctypes.c_uint64 * 2)(length, address)  # struct sock_fprog: a short, padding, a pointer
    set_seccomp, mode_filter = 22, 2
    _call("prctl", set_seccomp, mode_filter, ctypes.addressof(pointed), 0, 0)


def die_with_parent(signal: int) -> None:
    """Have the system send this signal when the parent ends."""
    _call("prctl", _SET_DEATH_SIGNAL, signal, 0, 0, 0)


def hide_memory() -> None:
    """Forbid others of the same user to read or change the memory of this process."""
    _call("prctl", _SET_DUMPABLE, 0, 0, 0, 0)


def adopt_orphans() -> None:
    """Become the parent of all that descends from this process and loses its own."""
    _call("prctl", _SET_CHILD_SUBREAPER, 1, 0, 0, 0)
