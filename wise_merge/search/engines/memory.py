"""Whether engines fit into memory, said before anything is loaded."""

from collections.abc import Sequence
from pathlib import Path

from wise_merge.errors import WiseMergeError
from wise_merge.text import size

#: Bytes of the available memory that are left for Python, torch and the samples.
_RESERVE = 1 << 30
_BYTES = {"bfloat16": 2, "float16": 2, "float32": 4, "float64": 8}


def default_device() -> str:
    """Return the kind of accelerator that this machine has, or "cpu".

    A torch that was built for one, as PyPI's is, names it whether there is one or not, unless it is asked to look.
    """
    from torch import accelerator

    return str(accelerator.current_accelerator(check_available=True) or "cpu")


def available() -> int:
    """Return how many bytes this process may still take: of the machine, or of the container that it runs in."""
    import psutil

    free = int(psutil.virtual_memory().available)
    in_groups = free_in_groups(Path("/sys/fs/cgroup"), Path("/proc/self/cgroup"))
    return free if in_groups is None else min(free, in_groups)


def free_in_groups(groups: Path, own: Path) -> int | None:
    """Return how many bytes the groups of processes leave by which containers and schedulers limit memory.

    Args:
        groups: the folder in which Linux shows them.
        own: the file that names those of this process.

    None where there is no limit, or no group.
    """
    try:
        # Lines such as 0::/slurm/job_7 and, of the older kind, 4:memory:/slurm/job_7.
        named = {kind: path for _, kind, path in (line.split(":", 2) for line in own.read_text().splitlines())}
    except (OSError, ValueError):
        named = {}
    left = []
    for root, path, names in (
        (groups, named.get("", ""), ("memory.max", "memory.current", "")),
        (groups / "memory", named.get("memory", ""), ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_")),
    ):
        # In a container the path may be that of the host, with the group mounted at the root: skip missing folders.
        group = root / path.strip("/")
        left += [_free(one, *names) for one in (group, *group.parents) if one.is_relative_to(root)]
    return min((free for free in left if free is not None), default=None)


def _free(group: Path, limit: str, used: str, prefix: str) -> int | None:
    """Return how many bytes a group may still take, None = it is not there or has no limit."""
    try:
        most, taken = (int((group / name).read_text()) for name in (limit, used))
        facts = dict(line.split() for line in (group / "memory.stat").read_text().splitlines())
        # The page cache counts as used, but is freed on demand.
        files = sum(int(facts[f"{prefix}{name}"]) for name in ("active_file", "inactive_file"))
    except (OSError, ValueError, KeyError):
        # The limit may be "max".
        return None
    return max(0, most - taken + files)


def running_bytes(merged: int, dtype: str | None, loaded: str | None) -> int:
    """Return the bytes of the running model.

    Args:
        merged: bytes of a merge.
        dtype: of the merge, None = several.
        loaded: what `model_args` has the engine load; None or "auto" = that of the merge.
    """
    if loaded not in _BYTES or dtype not in _BYTES:
        return merged
    return merged * _BYTES[loaded] // _BYTES[dtype]


def check_memory(
    model_bytes: int, checkpoint_bytes: Sequence[int], dtype: str | None, *, free: int, in_memory: bool
) -> str | None:
    """Return a warning where the checkpoints are read from disk again for every point, None where all fits.

    Args:
        model_bytes: of the running model.
        checkpoint_bytes: of the files of each checkpoint that is mapped for one point.
        dtype: of the running model.
        free: bytes that may be taken.
        in_memory: whether the running model lies in this memory, rather than in that of a GPU.

    Raises a `WiseMergeError` where not even the running model fits, with what would.
    """
    running = model_bytes if in_memory else 0
    if running and running + _RESERVE > free:
        width = _BYTES.get(dtype or "", 4)
        half = model_bytes * _BYTES["bfloat16"] // width
        fits = half < model_bytes and half + _RESERVE <= free
        smaller = f"model_args dtype=bfloat16 ({size(half)}), " if fits else ""
        raise WiseMergeError(
            f"too little memory: the model takes {size(model_bytes)} while it runs and everything else "
            f"{size(_RESERVE)}, and {size(free)} are free; what would fit: {smaller}a GPU (device cuda) or "
            f"{size(model_bytes + _RESERVE)} of memory"
        )
    mapped = sum(checkpoint_bytes)
    if running + mapped + _RESERVE <= free:
        return None
    return (
        f"the {'two' if len(checkpoint_bytes) == 2 else len(checkpoint_bytes)} checkpoints ({size(mapped)}) do not fit "
        f"into memory beside the model ({size(running)} of {size(free)} free), so they are read from disk again for "
        "every merge"
    )
