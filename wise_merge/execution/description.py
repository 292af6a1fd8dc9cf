"""What programs are kept from on this machine, in words."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from wise_merge.execution.sandbox import Sandbox, choose_sandbox
from wise_merge.execution.servers import check_system, describe_server
from wise_merge.text import enumeration


def describe_sandbox() -> str:
    """Return in a sentence or two what programs are kept from here, and what not."""
    check_system()
    return describe(choose_sandbox(), describe_server())


def describe(sandbox: Sandbox, box: Mapping[str, Any]) -> str:
    """Return the sentences for a sandbox and what a server says of its box."""
    limits = "limits on time, memory, processes and files"
    if sandbox.name != "none":
        return (
            f"Programs run in {sandbox.name}: no network, no home folder, nothing writable but a folder of their own, "
            f"with {limits}. It does not protect against faults of the kernel, nor against a program that is written "
            "to forge its own verdict."
        )
    hint = sandbox.remark or "bubblewrap is not installed: `apt install bubblewrap`"
    if box["namespaces"]:
        home = os.path.realpath(Path.home())
        hidden = any(f"{home}/".startswith(f"{place}/") for place in box["covered"])
        reads = "" if hidden else f", of the home folder {home}, too"
        return (
            f"Programs run without a sandbox program ({hint}), in namespaces of their own: no network, no other "
            f"processes, all files read-only, with {limits}. "
            f"They can read what permissions allow outside the folders of users{reads}."
        )
    if box["own_user"]:
        who, may = "as a user of their own", ["read what every user can"]
    else:
        who, may = "as you", ["read and change your files, the home folder too"]
    if not box["filters"]:
        may += ["use the network"] if box["own_user"] else ["use the network", "end your processes"]
    filtered = ", and no network" if box["filters"] else ""
    can = enumeration(may, "and")
    return f"Programs run without a sandbox ({hint}), {who}, with {limits} only{filtered}. They can {can}."
