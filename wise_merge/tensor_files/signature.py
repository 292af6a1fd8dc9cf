"""Signature files: what a checkpoint has learnt beside another one, a tensor for each weight that has any of it.

In float16 or float32; or in int8, with the float32 scale of each row beside each tensor, under its name and `SCALE`.
Beside the tensors stand the architecture, whether the LM head was tied to the embeddings, so that their signature is
that of both, and from which checkpoints, of which digests, it was taken. `wise-merge signature extract` makes them.
"""

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from wise_merge.checkpoints.files import read_config
from wise_merge.checkpoints.headers import FLOATING, TensorHeader
from wise_merge.checkpoints.ties import counterpart, is_head, tied
from wise_merge.errors import WiseMergeError
from wise_merge.tensor_files.contents import Contents, mapped, read_contents
from wise_merge.tensor_files.stored import ScaledTensor, StoredTensor

KIND = "signature"
#: Of the name of a tensor that has the scales of another one.
SCALE = ".scale"
#: In which they may be written, as safetensors spells them.
DTYPES = {"float16": "F16", "int8": "I8", "float32": "F32"}


def check(path: str, *, model: str, folder: Path, headers: Mapping[str, TensorHeader]) -> None:
    """Raise `WiseMergeError` unless a file is a signature that can be added to a model: finite, of its architecture.

    Args:
        path: as the recipe has it.
        model: as the recipe calls it.
        folder: of the model.
        headers: of the model's tensors.
    """
    contents = read_contents(path, KIND)
    names = names_in(contents)
    config = read_config(folder)
    architectures = config.get("architectures") or ["no known architecture"]
    if contents.metadata.get("architecture") not in architectures:
        raise WiseMergeError(
            f"the signature {path} is of {contents.metadata.get('architecture')}, and {model} is {architectures[0]}; "
            "take one of this architecture"
        )
    for name in names:
        _check_tensor(contents, name, model, headers)
    ties = tied(config) is not False
    if ties != _is_tied(contents) and any(counterpart(name, headers) or is_head(name) for name in names):
        raise WiseMergeError(
            f"the signature {path} was taken {'with' if not ties else 'without'} an LM head that is tied to the "
            f"embeddings (tie_word_embeddings), and {model} has it {'tied' if ties else 'apart'}; extract one without "
            "the two, by --layers"
        )
    # Here, because it imports torch.
    from wise_merge.kernels.finite import first_non_finite

    for name, tensor in mapped(contents).items():
        value = first_non_finite(tensor)
        if value is not None:
            raise WiseMergeError(f"tensor {name} of the signature {path} contains {value}; extract or copy it again")


def names_in(contents: Contents) -> list[str]:
    """Return the tensors of which a file has the signature; raises `WiseMergeError` unless the file is whole."""
    dtype = contents.metadata.get("dtype", "")
    scaled = dtype == "int8"
    names = [name for name, header in contents.headers.items() if header.dtype == DTYPES.get(dtype)]
    scales = {name: contents.headers[name].dtype for name in contents.headers.keys() - set(names)}
    wanted = {name + SCALE for name in names} if scaled else set()
    if not names or scales != dict.fromkeys(wanted, "F32"):
        odd = min(scales.keys() ^ wanted, default=min(scales, default="none"))
        raise WiseMergeError(
            f"the signature {contents.path} says that it is in {dtype or 'no dtype'}, and its tensor {odd} is not as "
            "that has it; extract or copy it again"
        )
    for name in wanted:
        shape = contents.headers[name.removesuffix(SCALE)].shape
        if contents.headers[name].shape != (*shape[:-1], 1):
            raise WiseMergeError(f"tensor {name} of the signature {contents.path} has not a scale for each row")
    return names


def _check_tensor(contents: Contents, name: str, model: str, headers: Mapping[str, TensorHeader]) -> None:
    there = name
    if name not in headers and _is_tied(contents):
        there = counterpart(name, headers) or name
    if there not in headers:
        raise WiseMergeError(
            f"the signature {contents.path} has tensor {name}, which {model} has not; take one of this architecture"
        )
    shape, header = contents.headers[name].shape, headers[there]
    if header.shape != shape:
        raise WiseMergeError(
            f"tensor {name} of the signature {contents.path} has shape {shape}, and {header.shape} in {model}; take "
            "one of this model's size (and with its tokens, or without the embeddings)"
        )
    if header.dtype not in FLOATING:
        raise WiseMergeError(f"tensor {there} of {model} is {header.dtype}, to which no signature can be added")


def statistics(parameter: str, path: str, names: Sequence[str]) -> dict[str, Any]:
    """Return what a kernel gets of one tensor: its signature under the name of the parameter, or nothing.

    Args:
        parameter: that names the file.
        path: of it.
        names: under which the tensor may be stored; the first that is there counts.
    """
    contents = read_contents(path, KIND)
    name = _name_in(contents, names)
    if name is None:
        return {}
    if contents.headers[name].dtype == "I8":
        return {parameter: ScaledTensor(contents, name, name + SCALE)}
    return {parameter: StoredTensor(contents, name)}


def check_all_found(path: str, planned: Collection[Sequence[str]]) -> None:
    """Raise `WiseMergeError` for a tensor of a file that a merge, which plans others, would pass over in silence.

    Args:
        path: of the file.
        planned: of each tensor that is merged, the names under which it may be stored.
    """
    contents = read_contents(path, KIND)
    found = {_name_in(contents, names) for names in planned}
    missing = sorted(set(names_in(contents)) - found)
    if missing:
        more = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
        raise WiseMergeError(
            f"the signature {path} has tensor {missing[0]}{more}, for which this way of merging has another name, so "
            "nothing would be added; `wise-merge merge` goes by the names of the checkpoint's files"
        )


def _name_in(contents: Contents, names: Sequence[str]) -> str | None:
    """Return under which name a file has a tensor; that of what it is tied to only where both were one."""
    head = is_head(names[0])
    fitting = [name for name in names if is_head(name) == head or _is_tied(contents)]
    if _is_tied(contents):
        tie = counterpart(names[0], contents.headers)
        fitting += [] if tie is None else [tie]
    return next((name for name in fitting if name in contents.headers), None)


def _is_tied(contents: Contents) -> bool:
    return contents.metadata.get("tied") == "true"
