"""Sums that were written on the way, from which the same command, typed again, goes on."""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from wise_merge.calibrate.fisher.estimate import Sums
from wise_merge.errors import WiseMergeError
from wise_merge.tensor_files.contents import mapped, read_contents, write

KIND = "unfinished fisher"
#: Of tensors' names: the sums over entries stand beside each sum, in float64.
_MOMENT = "second moment of "


def place_of(out: Path) -> Path:
    """Return where the sums for a Fisher file stand until it is there."""
    return out.with_name(f"{out.stem}.unfinished.safetensors")


def save(path: Path, sums: Sums, settings: Mapping[str, str]) -> None:
    """Write the sums; the file is whole at any moment."""
    import torch

    moments = {
        _MOMENT + name: torch.tensor(moment, dtype=torch.float64) for name, moment in sums.second_moments.items()
    }
    squares = {name: tensor.contiguous() for name, tensor in sums.squares.items()}
    metadata = {"sequences": str(sums.sequences), "seconds": repr(sums.seconds)}
    write(path, KIND, {**squares, **moments}, {**settings, **metadata})


def check(path: Path, settings: Mapping[str, str]) -> bool:
    """Return whether there are sums to go on from; those of another work are refused.

    Args:
        path: where they stand.
        settings: on which the sums depend, in words: what it is -> its value.
    """
    if not path.exists():
        return False
    before = read_contents(path, KIND).metadata
    for what, value in settings.items():
        if before.get(what) != value:
            raise WiseMergeError(
                f"{path} holds what was begun with {what} {before.get(what)}, and now it is {value}; type the command "
                "as it was to go on, or delete that file to begin anew"
            )
    return True


def load_into(sums: Sums, path: Path) -> None:
    """Continue with the sums that stand in a file; it belongs to the same model (`check`)."""
    contents = read_contents(path, KIND)
    stored: Mapping[str, Any] = mapped(contents)
    for name, total in sums.squares.items():
        if name not in stored or stored[name].shape != total.shape:
            raise WiseMergeError(f"{path} has no sum for {name}; delete that file to begin anew")
        total.copy_(stored[name])
        sums.second_moments[name] = float(stored[_MOMENT + name])
    sums.sequences = int(contents.metadata["sequences"])
    sums.seconds = float(contents.metadata["seconds"])
    assert math.isfinite(sums.seconds)
