"""What tells one model from another: a digest of its weights, from memory or from a folder.

Samples may only be put together if they are of the same weights. Names of folders do not tell: a
checkpoint is overwritten, copied, merged again with another alpha.
"""

import hashlib
import mmap
import os
import re
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from wise_merge.errors import WiseMergeError

if TYPE_CHECKING:
    from torch import Tensor
    from torch.nn import Module

#: Suffixes of the files in a checkpoint that samples depend on.
_SUFFIXES = {".safetensors", ".bin", ".pt", ".gguf", ".json", ".model", ".tiktoken", ".txt", ".jinja", ".py"}
#: Files that training and evaluations leave there.
_OTHERS = re.compile(
    r"(optimizer|scheduler|scaler|rng_state|trainer_state|training_args|readme|license).*|(.*_)?results.*\.json",
    re.IGNORECASE,
)
#: Bytes hashed per call: long calls do not wait for Python's lock, which other threads may hold for half a second.
_CHUNK = 1 << 30
_THREADS = 4

_T = TypeVar("_T")


def of_module(model: "Module") -> str:
    """Return 32 hex digits of a hash over names, shapes, dtypes and bytes of all weights and buffers that are saved.

    The same on every device and in every order; a change of a single bit changes it. At no time is
    more than a few tensors copied.
    """
    weights = model.state_dict()
    absent = [name for name, tensor in weights.items() if getattr(tensor, "is_meta", False)]
    if absent:
        raise WiseMergeError(
            f"{absent[0]} and {len(absent) - 1} further weights are not in memory, so the model cannot be told from "
            "others; load it without offloading"
        )
    return _digest(weights, lambda name: _of_tensor(weights[name]))


def of_folder(path: Path) -> str:
    """Return 32 hex digits of a hash over the names and contents of a checkpoint's files: weights, tokenizer, settings.

    The same of a copy elsewhere. What training leaves beside them (optimizer, scheduler, random
    states, its own settings) and other folders within are passed over; links are followed, as the Hub's
    cache has them.
    """
    try:
        files = {file.name: file for file in path.iterdir() if _counts(file)}
        if not files:
            raise WiseMergeError(f"{path} holds no files of a checkpoint (such as model.safetensors and config.json)")
        return _digest(files, lambda name: file_sha256(files[name]))
    except OSError as error:
        raise WiseMergeError(f"{error.filename or path} cannot be read: {error.strerror or error}") from error


def of_weights(directory: Path) -> str:
    """Return 32 hex digits of a hash over names, shapes, dtypes and bytes of the tensors that a model stores.

    The same however they are split into files, and whatever lies beside them: what is known of these weights stays
    true with another tokenizer or another chat template. Tensors are mapped, so memory holds one page after another.
    """
    from wise_merge.checkpoints.weights import open_tensors

    weights = open_tensors(directory)
    return _digest(weights, lambda name: _of_tensor(weights[name]))


def of_file(path: Path) -> str:
    """Return 32 hex digits of a hash over the content of a model that is one file, such as a GGUF."""
    return file_sha256(path).hex()[:32]


def _counts(file: Path) -> bool:
    return file.suffix.lower() in _SUFFIXES and not _OTHERS.fullmatch(file.name) and not file.is_dir()


def _digest(names: Iterable[str], digest: Callable[[str], bytes]) -> str:
    ordered = sorted(names)
    # hashlib releases Python's lock while it hashes.
    with ThreadPoolExecutor(min(_THREADS, os.cpu_count() or 1)) as threads:
        parts = list(threads.map(digest, ordered))
    whole = hashlib.sha256()
    for name, part in zip(ordered, parts, strict=True):
        # Names are hashed so that all have one length and cannot be confused when joined.
        whole.update(hashlib.sha256(name.encode("utf-8", "surrogateescape")).digest() + part)
    return whole.hexdigest()[:32]


def _of_tensor(tensor: "Tensor | Any") -> bytes:
    import torch

    if not isinstance(tensor, torch.Tensor):
        # The extra state of a module (`get_extra_state`).
        return hashlib.sha256(repr(tensor).encode("utf-8", "surrogateescape")).digest()
    sha = hashlib.sha256(f"{tensor.dtype} {tuple(tensor.shape)}".encode())
    # As bytes: numpy has neither bfloat16 nor the 8-bit floats.
    flat = tensor.detach().to("cpu").contiguous().reshape(-1).view(torch.uint8)
    sha.update(flat.numpy().data)
    return sha.digest()


def file_sha256(path: Path) -> bytes:
    """Return the 32 bytes of the SHA-256 of a file's content, which the Hub shows of large files."""
    sha = hashlib.sha256()
    with path.open("rb", buffering=0) as file:
        size = os.fstat(file.fileno()).st_size
        if not size:  # cannot be mapped
            return sha.digest()
        with mmap.mmap(file.fileno(), size, access=mmap.ACCESS_READ) as mapped, memoryview(mapped) as content:
            for start in range(0, size, _CHUNK):
                if hasattr(os, "posix_fadvise"):
                    # Without this hint, a mapped file is read from disk in small pieces.
                    os.posix_fadvise(file.fileno(), start, _CHUNK, os.POSIX_FADV_WILLNEED)
                with content[start : start + _CHUNK] as chunk:
                    sha.update(chunk)
    return sha.digest()
