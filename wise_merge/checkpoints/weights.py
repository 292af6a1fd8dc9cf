"""The tensors of a checkpoint, mapped from its files: nothing is read until an element is needed."""

from pathlib import Path
from typing import TYPE_CHECKING

from wise_merge.checkpoints.files import weight_files
from wise_merge.checkpoints.headers import load_pickled
from wise_merge.errors import WiseMergeError

if TYPE_CHECKING:
    from torch import Tensor


def open_tensors(directory: Path) -> "dict[str, Tensor]":
    """Return every tensor of a checkpoint by name, as views of its mapped files; not to be written to.

    The order is that of the files' names, and within a file that of the file. Files in torch's format are opened
    with `weights_only`: no code in them runs.
    """
    tensors: dict[str, Tensor] = {}
    for path in weight_files(directory):
        tensors.update(_open_safetensors(path) if path.suffix == ".safetensors" else _open_pickled(path))
    return tensors


def _open_safetensors(path: Path) -> "dict[str, Tensor]":
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt") as file:
            return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a dict
    except SafetensorError as error:
        raise WiseMergeError(f"{path} is not a whole safetensors file ({error}); copy the checkpoint again") from error


def _open_pickled(path: Path) -> "dict[str, Tensor]":
    import torch

    tensors = {name: tensor.detach() for name, tensor in load_pickled(path, "cpu").items()}
    for name, tensor in tensors.items():
        if tensor.layout != torch.strided:
            raise WiseMergeError(f"tensor {name} of {path} is sparse; save it as an ordinary tensor")
        if tensor.is_meta:
            raise WiseMergeError(
                f"tensor {name} of {path} has a shape and no content (meta); save the checkpoint again"
            )
    return tensors
