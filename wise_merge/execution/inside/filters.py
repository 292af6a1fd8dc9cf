"""A filter of system calls for programs that have no namespaces: no network, and no signals to anybody but themselves.

Written in the language of seccomp (Linux, `man 2 seccomp`), which needs no permission. A call that is not allowed fails
with EPERM. It is no sandbox: files stay as they are.
"""

import ctypes
import os
import platform
import struct
import sys

from wise_merge.execution.inside import kernel

# Of each machine: its number in `linux/audit.h`, then its system calls.
_MACHINES = {
    "x86_64": (
        0xC000003E,
        {
            "socket": 41,
            "kill": 62,
            "tkill": 200,
            "tgkill": 234,
            "pidfd_send_signal": 424,
            "ptrace": 101,
            "process_vm_writev": 311,
            "io_uring_setup": 425,
            "rt_sigqueueinfo": 129,
            "rt_tgsigqueueinfo": 297,
        },
    ),
    "aarch64": (
        0xC00000B7,
        {
            "socket": 198,
            "kill": 129,
            "tkill": 130,
            "tgkill": 131,
            "pidfd_send_signal": 424,
            "ptrace": 117,
            "process_vm_writev": 271,
            "io_uring_setup": 425,
            "rt_sigqueueinfo": 138,
            "rt_tgsigqueueinfo": 240,
        },
    ),
}

_LOAD, _IS, _IS_AT_LEAST, _RETURN = 0x20, 0x15, 0x35, 0x06
_ALLOW, _KILL = 0x7FFF0000, 0x80000000
_DENY = 0x00050000 | 1  # EPERM
_NUMBER, _MACHINE, _FIRST_ARGUMENT = 0, 4, 16
# Calls of x32, another way to number those of x86-64, begin here.
_X32 = 0x40000000


def is_known() -> bool:
    """Return whether there is a filter for this machine."""
    return sys.platform.startswith("linux") and platform.machine() in _MACHINES and sys.byteorder == "little"


def filter_calls() -> None:
    """Keep this process, and all that it starts, from the network, local services included, and from other processes.

    It may signal itself and its group. Raises OSError where the system has no such filters.
    """
    audit, numbers = _MACHINES[platform.machine()]
    own = os.getpid()
    only = {
        "kill": (own, 0, 0x100000000 - own),  # itself, its group, its group by number
        "tkill": (own,),
        "tgkill": (own,),
    }
    lines = [(_LOAD, 0, 0, _MACHINE), (_IS, 1, 0, audit), (_RETURN, 0, 0, _KILL), (_LOAD, 0, 0, _NUMBER)]
    lines += [(_IS_AT_LEAST, 0, 1, _X32), (_RETURN, 0, 0, _DENY)]
    for name, number in numbers.items():
        allowed = only.get(name, ())
        check = [(_LOAD, 0, 0, _FIRST_ARGUMENT)]
        check += [(_IS, len(allowed) - i, 0, value) for i, value in enumerate(allowed)]
        check += [(_RETURN, 0, 0, _DENY), (_RETURN, 0, 0, _ALLOW)]
        lines += [(_IS, 0, len(check), number), *check]
    lines += [(_RETURN, 0, 0, _ALLOW)]
    program = b"".join(struct.pack("=HBBI", *line) for line in lines)
    buffer = ctypes.create_string_buffer(program, len(program))
    kernel.install_filter(len(lines), ctypes.addressof(buffer))
