"""What a command can know of its files and its device before the long work."""

from collections.abc import Mapping
from pathlib import Path

from wise_merge.errors import WiseMergeError, first_line


def check_outputs(outputs: Mapping[str, Path | None]) -> None:
    """Refuse files that are there already, or that two options name; `outputs` is option -> file."""
    taken: dict[Path, str] = {}
    for option, path in outputs.items():
        if path is None:
            continue
        if path.is_dir() or path.is_file():
            raise WiseMergeError(f"{option} {path} exists and is not overwritten; delete it or choose another name")
        if path.resolve() in taken:
            raise WiseMergeError(f"{option} {path} is the file of {taken[path.resolve()]}, too; choose another name")
        taken[path.resolve()] = option


def check_device(name: str | None) -> None:
    """Refuse a device that torch does not have; None is any."""
    import torch

    if name is None:
        return
    try:
        torch.empty(1, device=name)
    except (RuntimeError, AssertionError) as error:
        reason = first_line(error)
        raise WiseMergeError(f"--device {name} cannot be used: {reason}") from error
