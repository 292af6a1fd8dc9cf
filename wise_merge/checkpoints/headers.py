"""The headers of weight files: which tensors a model stores, of which shape and dtype, without reading a weight.

Headers of safetensors files are read as they are. Of `.bin` files only the pickle is read, never the
weights, and by an unpickler that knows tensors alone: a file that would run code is refused.
"""

import re
import struct
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from wise_merge.checkpoints.files import index_of, weight_files
from wise_merge.errors import WiseMergeError, first_line

#: How safetensors spells the dtypes of torch.
SAFETENSORS_DTYPES = {
    "bool": "BOOL",
    "uint8": "U8",
    "uint16": "U16",
    "uint32": "U32",
    "uint64": "U64",
    "int8": "I8",
    "int16": "I16",
    "int32": "I32",
    "int64": "I64",
    "float16": "F16",
    "bfloat16": "BF16",
    "float32": "F32",
    "float64": "F64",
    "float8_e4m3fn": "F8_E4M3",
    "float8_e5m2": "F8_E5M2",
}

#: Those that can be averaged, as safetensors spells them, from narrow to wide, and as torch does.
FLOATING = {"F16": "float16", "BF16": "bfloat16", "F32": "float32", "F64": "float64"}

#: Buffers of older checkpoints, which models compute by themselves and no loader reads any more.
COMPUTED = re.compile(r"(rotary_emb\.inv_freq|position_ids|attn\.masked_bias|attention\.masked_bias)$")


@dataclass(frozen=True)
class TensorHeader:
    """Shape and dtype (as safetensors spells it, such as "BF16") of a stored tensor."""

    shape: tuple[int, ...]
    dtype: str


def read_headers(directory: Path) -> dict[str, TensorHeader]:
    """Return the header of every tensor of a model, by name.

    Every file that the index names is opened, so a missing or truncated one is
    found here, named, rather than in the middle of a merge.
    """
    indexed = index_of(directory)
    headers: dict[str, TensorHeader] = {}
    for path in weight_files(directory):
        if not path.is_file():
            raise WiseMergeError(f"{path} is missing, but the index of {directory} names it; copy the file again")
        own = file_headers(path)
        for name in sorted(name for name, file in indexed.items() if file == path.name):
            if name not in own:
                raise WiseMergeError(f"{path} lacks tensor {name}, which the index says it holds; copy the file again")
        twice = min(own.keys() & headers.keys(), default=None)
        if twice is not None:
            raise WiseMergeError(
                f"tensor {twice} is in {path} and in another file of {directory}, so nothing says which of them "
                "counts; save the checkpoint again"
            )
        headers.update(own)
    return headers


def file_headers(path: Path) -> dict[str, TensorHeader]:
    """Return the header of every tensor of one weight file, safetensors or pickled, by name."""
    return _safetensors_headers(path) if path.suffix == ".safetensors" else _pickle_headers(path)


def _safetensors_headers(path: Path) -> dict[str, TensorHeader]:
    from safetensors import SafetensorError, safe_open

    headers = {}
    try:
        with safe_open(path, framework="np") as file:
            for name in file.keys():  # noqa: SIM118 - not a dict
                part = file.get_slice(name)
                headers[name] = TensorHeader(tuple(part.get_shape()), part.get_dtype())
    except (SafetensorError, OSError) as error:
        raise WiseMergeError(
            f"{path} is not a whole safetensors file ({error}); copy or save the checkpoint again"
        ) from error
    return headers


def load_pickled(path: Path, device: str) -> Any:
    """Return what is in a file of torch's format, mapped where that can be; no code in it runs.

    Args:
        path: of the file.
        device: where its tensors are to be; "meta" = nowhere, for their shapes and dtypes alone.
    """
    import torch

    settings: Any = {"map_location": device, "weights_only": True}
    try:
        return torch.load(path, mmap=True, **settings)
    except RuntimeError as error:
        if "mmap" not in str(error):
            raise
        return torch.load(path, **settings)  # the format of torch before 1.6, which cannot be mapped


def _pickle_headers(path: Path) -> dict[str, TensorHeader]:
    import pickle

    import torch

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            content = load_pickled(path, "meta")
    except pickle.UnpicklingError as error:
        needs = re.search(r"GLOBAL (\S+)", str(error))
        reason = f"it asks for {needs.group(1)}" if needs else "it does not hold tensors alone"
        raise WiseMergeError(
            f"{path} is not a file of tensors ({reason}), and reading it could run code; it was not read. "
            "Save the checkpoint as safetensors"
        ) from error
    except (RuntimeError, OSError, EOFError, ValueError, LookupError, AttributeError, TypeError, struct.error) as error:
        raise WiseMergeError(
            f"{path} is not a whole file of tensors ({first_line(error)}); copy or save it again"
        ) from error
    if not isinstance(content, Mapping) or not all(isinstance(value, torch.Tensor) for value in content.values()):
        raise WiseMergeError(
            f"{path} must hold a dictionary of tensors, as transformers saves it; save it again with save_pretrained"
        )
    return {str(name): TensorHeader(tuple(tensor.shape), dtype_name(tensor.dtype)) for name, tensor in content.items()}


def dtype_name(dtype: Any) -> str:
    """Return a dtype of torch as safetensors spells it, such as "BF16"."""
    name = str(dtype).removeprefix("torch.")
    return SAFETENSORS_DTYPES.get(name, name.upper())
