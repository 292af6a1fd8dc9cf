"""What can be learnt of a model without reading a weight: its config and the headers of its weight files.

Headers of safetensors files are read as they are. Of `.bin` files only the pickle is read, never the
weights, and by an unpickler that knows tensors alone: a file that would run code is refused.
"""

import json
import re
import struct
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from wise_merge.checkpoints.ties import counterpart, tied
from wise_merge.errors import WiseMergeError, first_line

#: How safetensors spells the dtypes of torch.
_DTYPES = {
    "bool": "BOOL",
    "uint8": "U8",
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


#: How shards are named.
_SHARDS = ("model-*-of-*.safetensors", "pytorch_model-*-of-*.bin")
#: What training leaves beside a model.
_NO_WEIGHTS = {"training_args.bin", "optimizer.bin", "optimizer.pt", "scheduler.pt", "rng_state.pth", "scaler.pt"}

#: Buffers of older checkpoints, which models compute by themselves.
COMPUTED = re.compile(r"(rotary_emb\.inv_freq|position_ids|attn\.masked_bias|attention\.masked_bias)$")


@dataclass(frozen=True)
class TensorHeader:
    """Shape and dtype (as safetensors spells it, such as "BF16") of a stored tensor."""

    shape: tuple[int, ...]
    dtype: str


def read_config(directory: Path) -> dict[str, Any]:
    """Return config.json of a checkpoint directory."""
    if not directory.is_dir():
        raise WiseMergeError(f"checkpoint {directory} does not exist or is not a directory")
    path = directory / "config.json"
    if not path.is_file():
        hint = _hint(directory)
        if (directory / "adapter_config.json").is_file():
            hint = f"; it holds a LoRA adapter, which mergekit takes as BASE+{directory}"
        elif not any(directory.iterdir()):
            hint = "; the folder is empty"
        raise WiseMergeError(f"{directory} has no config.json, so it is not a model{hint}")
    return read_json(path)


#: Keys of a config that say nothing about the model: its dtype, and where and by what it was saved.
INCIDENTAL = {"_name_or_path", "torch_dtype", "dtype", "transformers_version", "use_cache", "name_or_path"}


def differing_keys(one: Mapping[str, Any], other: Mapping[str, Any]) -> list[str]:
    """Return the keys in which two configs say something else of the model; what one lacks counts, too."""
    keys = (one.keys() | other.keys()) - INCIDENTAL
    absent = object()
    return sorted(key for key in keys if one.get(key, absent) != other.get(key, absent))


def read_headers(directory: Path) -> dict[str, TensorHeader]:
    """Return the header of every tensor of a model, by name.

    Every file that the index names is opened, so a missing or truncated one is
    found here, named, rather than in the middle of a merge.
    """
    indexed = _chosen(directory)[1]
    headers: dict[str, TensorHeader] = {}
    for path in weight_files(directory):
        if not path.is_file():
            raise WiseMergeError(f"{path} is missing, but the index of {directory} names it; copy the file again")
        found = file_headers(path)
        for name in sorted(name for name, file in indexed.items() if file == path.name):
            if name not in found:
                raise WiseMergeError(f"{path} lacks tensor {name}, which the index says it holds; copy the file again")
        twice = min(found.keys() & headers.keys(), default=None)
        if twice is not None:
            raise WiseMergeError(
                f"tensor {twice} is in {path} and in another file of {directory}, so nothing says which of them "
                "counts; save the checkpoint again"
            )
        headers.update(found)
    return headers


def weight_files(directory: Path) -> list[Path]:
    """Return the files that hold a model's weights, sorted by name, as mergekit chooses them.

    That is safetensors before `.bin`, and an index before a single file. Those that an index names
    need not be there.
    """
    single, indexed = _chosen(directory)
    return [directory / name for name in sorted(set(indexed.values()) or {single})]


def file_headers(path: Path) -> dict[str, TensorHeader]:
    """Return the header of every tensor of one weight file, safetensors or pickled, by name."""
    return _safetensors_headers(path) if path.suffix == ".safetensors" else _pickle_headers(path)


def read_json(path: Path) -> dict[str, Any]:
    """Return the JSON object that a file holds."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise WiseMergeError(f"{path} cannot be read as JSON: {error}") from error
    if not isinstance(content, dict):
        raise WiseMergeError(f"{path} must hold a JSON object; it holds a {type(content).__name__}")
    return content


def check_same_model(
    early: Path, late: Path, called: tuple[str, str] = ("early", "late"), *, ignore_vocabulary: bool = False
) -> None:
    """Raise unless two checkpoints, as they are `called`, have one architecture, the same tensors and shapes.

    With `ignore_vocabulary` the sizes of embeddings and LM head may differ,
    because a tokenizer that both share will be laid over them.
    """
    early_config, late_config = read_config(early), read_config(late)
    for directory, config in ((early, early_config), (late, late_config)):
        if config.get("quantization_config"):
            # First: its tensors have other names and shapes, which would be named as the fault.
            raise WiseMergeError(
                f"{directory} is quantised (quantization_config in its config.json), and such weights cannot be "
                "averaged; take the checkpoint that it was made from"
            )
        names = config.get("architectures")
        if not names or not isinstance(names, list) or not all(isinstance(name, str) for name in names):
            raise WiseMergeError(
                f"{directory}/config.json has no list of architectures; save the checkpoint with transformers"
            )
    if early_config.get("architectures") != late_config.get("architectures"):
        raise WiseMergeError(
            f"{called[0]} and {called[1]} are different architectures: {early} is {_architecture(early_config)}, "
            f"{late} is {_architecture(late_config)}; both must be checkpoints of one run"
        )
    ties = (tied(early_config), tied(late_config))
    if None not in ties and ties[0] != ties[1]:
        with_tie, without = (early, late) if ties[0] else (late, early)
        raise WiseMergeError(
            f"{with_tie}/config.json ties the LM head to the embeddings (tie_word_embeddings) and "
            f"{without}/config.json does not; both must be checkpoints of one run"
        )
    headers = (read_headers(early), read_headers(late))
    # A tied LM head may or may not be stored beside the embeddings, or instead of them. Where neither config says so,
    # a model without a head of its own can only be tied.
    may_be_tied = ties[0] == ties[1] and ties[0] is not False
    in_both = {name: (name, name) for name in headers[0].keys() & headers[1].keys()}
    for have, lack in ((0, 1), (1, 0)):
        missing = []
        for name in headers[have].keys() - headers[lack].keys():
            tie = counterpart(name, headers[lack]) if may_be_tied else None
            if tie is not None:
                in_both[name] = (name, tie) if have == 0 else (tie, name)
            elif not COMPUTED.search(name):
                missing.append(name)
        if missing:
            more = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
            raise WiseMergeError(
                f"tensor {min(missing)}{more} of {(early, late)[have]} is missing in {(early, late)[lack]}; both must "
                "be checkpoints of one run"
            )
    sizes = (_vocabulary_size(early_config), _vocabulary_size(late_config))
    for name, (early_name, late_name) in sorted(in_both.items()):
        early_shape, late_shape = headers[0][early_name].shape, headers[1][late_name].shape
        if early_shape == late_shape:
            continue
        only_tokens = early_shape[1:] == late_shape[1:] and (early_shape[:1], late_shape[:1]) == sizes
        if only_tokens and ignore_vocabulary:
            continue
        remedy = "both must be checkpoints of one run"
        if only_tokens:
            remedy = "if one has further tokens, lay one tokenizer over both with `tokenizer: {source: union}`"
        places = [
            f"{shape} in {folder}" + ("" if stored == name else f" (where it is {stored})")
            for shape, folder, stored in ((early_shape, early, early_name), (late_shape, late, late_name))
        ]
        raise WiseMergeError(f"tensor {name} has shape {places[0]} but {places[1]}; {remedy}")


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
    return _DTYPES.get(name, name.upper())


def _chosen(directory: Path) -> tuple[str, dict[str, str]]:
    """Return the weight file that mergekit would look for, and what its index says: the file of every tensor."""
    for single in ("model.safetensors", "pytorch_model.bin"):
        path, index = directory / single, directory / f"{single}.index.json"
        if index.is_file():
            indexed = _weight_map(index)
            if path.is_file() and set(indexed.values()) != {single}:
                raise WiseMergeError(
                    f"{directory} holds {single} and {index.name}: two models, of which mergekit reads the second "
                    "and transformers the first; delete the one that is stale"
                )
            return single, indexed
        if path.is_file():
            return single, {}
        if path.is_symlink():
            raise WiseMergeError(f"{path} is a link to a file that is not there; download the model again")
    hint = _hint(directory) or _hint_at_names(directory)
    raise WiseMergeError(f"{directory} has a config.json but no weights (model.safetensors or its index){hint}")


def _weight_map(index: Path) -> dict[str, str]:
    weight_map = read_json(index).get("weight_map")
    if not isinstance(weight_map, dict) or not weight_map or not all(isinstance(f, str) for f in weight_map.values()):
        raise WiseMergeError(f"{index} has no weight_map; save the checkpoint again")
    return weight_map


def _hint(directory: Path) -> str:
    """Return what may be done about weights in a form that mergekit does not read."""
    if (directory / "zero_to_fp32.py").is_file() or any(directory.glob("global_step*/*_model_states.pt")):
        return "; DeepSpeed's shards become a model by its zero_to_fp32.py there, with --safe_serialization"
    for folder in (*sorted(directory.glob("pytorch_model_fsdp_*")), directory):
        if folder.is_dir() and (folder != directory or any(folder.glob("__*_*.distcp"))):
            config = "" if (directory / "config.json").is_file() else "; copy config and tokenizer there as well"
            return f"; FSDP's shards become a model by `accelerate merge-weights {folder} {directory}`{config}"
    if (directory / "pytorch_model_fsdp.bin").is_file():
        return "; FSDP's pytorch_model_fsdp.bin holds all weights: name it pytorch_model.bin, beside config.json"
    return ""


def _hint_at_names(directory: Path) -> str:
    """Return what may be done about weights that have other names than mergekit looks for."""
    shards = sorted(path.name for pattern in _SHARDS for path in directory.glob(pattern))
    if shards:
        return (
            f"; there are {len(shards)} files such as {shards[0]}, but no index, which says what each holds: copy "
            f"{'model.safetensors' if shards[0].endswith('.safetensors') else 'pytorch_model.bin'}.index.json as well, "
            "or save the checkpoint again"
        )
    others = sorted(
        path.name
        for pattern in ("*.safetensors", "*.bin", "*.pt", "*.pth", "*.gguf")
        for path in directory.glob(pattern)
        if path.is_file() and path.name not in _NO_WEIGHTS
    )
    return f"; {others[0]} has none of these names" if others else ""


def _vocabulary_size(config: Mapping[str, Any]) -> tuple[int, ...]:
    for holder in (config, config.get("text_config")):
        if isinstance(holder, Mapping) and isinstance(holder.get("vocab_size"), int):
            return (holder["vocab_size"],)
    return ()


def _architecture(config: Mapping[str, Any]) -> str:
    names: Sequence[str] = config["architectures"]
    return ", ".join(names)
