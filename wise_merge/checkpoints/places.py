"""From the name of a model, as a recipe has it, to the folder that holds it."""

from collections.abc import Callable
from pathlib import Path

from wise_merge.checkpoints.hub import snapshot
from wise_merge.errors import WiseMergeError


def is_path(name: str) -> bool:
    """Return whether a name can only be a path: the Hub has `NAME` and `ORGANISATION/NAME`."""
    path = Path(name)
    return path.is_absolute() or name.startswith((".", "~")) or len(path.parts) > 2


def folder_of(role: str, name: str, warn: Callable[[str], object]) -> Path:
    """Return the folder of a model: `name` itself, or the snapshot of `ORG/NAME` or `ORG/NAME@REVISION` on the Hub.

    What is not in the Hub's cache yet is downloaded.

    Args:
        role: early or late, for messages.
        name: of the model.
        warn: is given a line where the Hub does not answer and its cache is used.
    """
    if Path(name).is_dir():
        return Path(name)
    called = f"the {role} checkpoint {name}"
    if is_path(name.partition("@")[0]):
        raise WiseMergeError(
            f"{called} is neither a directory here nor a model on the Hub (the name has the form of a path, and "
            "nothing is there); correct the path"
        )
    return snapshot(name, called, warn)
