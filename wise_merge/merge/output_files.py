"""The safetensors files of a model that is computed block by block: headers first, then bytes at their places.

`safetensors` itself writes a file from whole tensors in memory.
"""

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from wise_merge.checkpoints.headers import SAFETENSORS_DTYPES
from wise_merge.errors import WiseMergeError
from wise_merge.tensors.layout import PlannedTensor

#: Bytes of a file, as `transformers` has it, unless one tensor alone is larger.
_LARGEST_FILE = 5_000_000_000


@dataclass(frozen=True)
class Place:
    """Where the bytes of a tensor, or of a part of it, go."""

    descriptor: int
    offset: int


def lay_files(folder: Path, tensors: Sequence[PlannedTensor], stored: Mapping[str, torch.Tensor]) -> dict[str, Place]:
    """Make the files of one model with their headers, and return where each tensor's bytes go, by its name.

    Args:
        folder: that exists and is empty.
        tensors: of the output.
        stored: the tensors of the first checkpoint by name, for the dtypes of buffers.

    The caller closes the descriptors.
    """
    sizes = {tensor.name: _bytes(tensor, stored[tensor.name]) for tensor in tensors}
    files: list[list[PlannedTensor]] = [[]]
    filled = 0
    for tensor in tensors:
        if files[-1] and filled + sizes[tensor.name] > _LARGEST_FILE:
            files.append([])
            filled = 0
        files[-1].append(tensor)
        filled += sizes[tensor.name]
    places: dict[str, Place] = {}
    weight_map: dict[str, str] = {}
    for number, content in enumerate(files, start=1):
        name = "model.safetensors" if len(files) == 1 else f"model-{number:05d}-of-{len(files):05d}.safetensors"
        # The widest come first, so that each starts at a multiple of its width, as the format asks.
        content = sorted(content, key=lambda tensor: -_dtype(tensor, stored[tensor.name]).itemsize)
        header: dict[str, object] = {"__metadata__": {"format": "pt"}}
        end = 0
        for tensor in content:
            dtype = _dtype(tensor, stored[tensor.name])
            spelt = SAFETENSORS_DTYPES.get(str(dtype).removeprefix("torch."))
            if spelt is None:
                raise WiseMergeError(f"tensor {tensor.name} is {dtype}, which wise-merge cannot write")
            header[tensor.name] = {
                "dtype": spelt,
                "shape": list(tensor.shape),
                "data_offsets": [end, end + sizes[tensor.name]],
            }
            end += sizes[tensor.name]
        text = json.dumps(header, separators=(",", ":")).encode()
        text += b" " * (-len(text) % 8)
        descriptor = os.open(folder / name, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
        start = 8 + len(text)
        os.pwrite(descriptor, len(text).to_bytes(8, "little") + text, 0)
        os.ftruncate(descriptor, start + end)
        for tensor in content:
            entry = header[tensor.name]
            places[tensor.name] = Place(descriptor, start + entry["data_offsets"][0])  # type: ignore[index]
            weight_map[tensor.name] = name
    if len(files) > 1:
        index = {"metadata": {"total_size": sum(sizes.values())}, "weight_map": dict(sorted(weight_map.items()))}
        (folder / "model.safetensors.index.json").write_text(json.dumps(index, indent=2) + "\n")
    return places


def write(descriptor: int, tensor: torch.Tensor, offset: int) -> None:
    """Write the bytes of a tensor to their place in a file."""
    # A view of the bytes would need two dimensions for a scalar; reshape makes one of it.
    data = tensor.reshape(-1).contiguous().view(torch.uint8).numpy().data
    while data:
        written = os.pwrite(descriptor, data, offset)
        data, offset = data[written:], offset + written


def _dtype(tensor: PlannedTensor, stored: torch.Tensor) -> torch.dtype:
    return getattr(torch, tensor.out_dtype) if tensor.out_dtype else stored.dtype


def _bytes(tensor: PlannedTensor, stored: torch.Tensor) -> int:
    return stored.numel() * _dtype(tensor, stored).itemsize
