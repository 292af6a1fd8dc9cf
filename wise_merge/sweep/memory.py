"""Whether a sweep fits into memory, said before anything is loaded."""

from collections.abc import Sequence
from pathlib import Path

from wise_merge.errors import WiseMergeError

#: Of what the system calls available, what is left to Python, torch and the samples.
_RESERVE = 1 << 30
_BYTES = {"bfloat16": 2, "float16": 2, "float32": 4, "float64": 8}


def available() -> int:
    """Return how many bytes this process may still take: of the machine, or of the container that it runs in."""
    import psutil

    found = int(psutil.virtual_memory().available)
    for limit, used in (
        ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory.current"),
        ("/sys/fs/cgroup/memory/memory.limit_in_bytes", "/sys/fs/cgroup/memory/memory.usage_in_bytes"),
    ):
        try:
            most, taken = (int(Path(path).read_text()) for path in (limit, used))
        except (OSError, ValueError):
            # Not in a container, or in one without a limit ("max").
            continue
        found = min(found, max(0, most - taken))
    return found


def check_memory(
    model_bytes: int, checkpoint_bytes: Sequence[int], dtype: str | None, *, free: int, in_memory: bool
) -> str | None:
    """Return a warning where the checkpoints are read from disk for every alpha, None where all fits.

    Args:
        model_bytes: of the running model.
        checkpoint_bytes: of the files of early and late, which are mapped.
        dtype: of the running model.
        free: bytes that may be taken.
        in_memory: whether the running model lies in this memory, rather than in that of a GPU.

    Raises a `WiseMergeError` where not even the running model fits, with what would.
    """
    running = model_bytes if in_memory else 0
    if running and running + _RESERVE > free:
        width = _BYTES.get(dtype or "", 4)
        smaller = [
            f"model_args dtype={name} ({gigabytes(model_bytes * _BYTES[name] // width)})"
            for name in ("bfloat16",)
            if _BYTES[name] < width and model_bytes * _BYTES[name] // width + _RESERVE <= free
        ]
        remedy = " or ".join([*smaller, "a GPU (device cuda)", "a machine with more memory"])
        raise WiseMergeError(
            f"too little memory: the model takes {gigabytes(model_bytes)} while it runs, and {gigabytes(free)} are free "
            f"({gigabytes(_RESERVE)} of them for everything else); what would fit: {remedy}"
        )
    mapped = sum(checkpoint_bytes)
    if running + mapped + _RESERVE <= free:
        return None
    return (
        f"the two checkpoints ({gigabytes(mapped)}) do not fit into memory beside the model ({gigabytes(running)} of "
        f"{gigabytes(free)} free), so they are read from disk again for every alpha"
    )


def gigabytes(size: int) -> str:
    """Return a number of bytes for people."""
    return f"{size / 1e9:.1f} GB" if size >= 1e8 else f"{size / 1e6:.1f} MB"
