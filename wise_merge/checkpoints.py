"""What can be learnt of a checkpoint without reading a weight: its config and its safetensors headers."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from wise_merge.errors import WiseMergeError


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
        hint = ""
        if (directory / "adapter_config.json").is_file():
            hint = f"; it holds a LoRA adapter, which mergekit takes as BASE+{directory}"
        raise WiseMergeError(f"{directory} has no config.json, so it is not a model{hint}")
    return _read_json(path)


def read_headers(directory: Path) -> dict[str, TensorHeader]:
    """Return the header of every tensor of a checkpoint, by name; empty if it has no safetensors files.

    Every file that the index names is opened, so a missing or truncated one is
    found here, named, rather than in the middle of a merge.
    """
    from safetensors import SafetensorError, safe_open

    headers: dict[str, TensorHeader] = {}
    for path in _weight_files(directory):
        if not path.is_file():
            raise WiseMergeError(f"{path} is missing, but the index of {directory} names it; copy the file again")
        try:
            with safe_open(path, framework="np") as file:
                for name in file.keys():  # noqa: SIM118 - not a dict
                    part = file.get_slice(name)
                    headers[name] = TensorHeader(tuple(part.get_shape()), part.get_dtype())
        except SafetensorError as error:
            raise WiseMergeError(
                f"{path} is not a whole safetensors file ({error}); copy or save the checkpoint again"
            ) from error
    return headers


def check_same_model(early: Path, late: Path, *, ignore_vocabulary: bool = False) -> None:
    """Raise unless two checkpoints have one architecture, the same tensors and the same shapes.

    With `ignore_vocabulary` the sizes of embeddings and LM head may differ,
    because a tokenizer that both share will be laid over them.
    """
    early_config, late_config = read_config(early), read_config(late)
    for directory, config in ((early, early_config), (late, late_config)):
        if not config.get("architectures"):
            raise WiseMergeError(
                f"{directory}/config.json names no architectures; save the checkpoint with transformers"
            )
    if early_config.get("architectures") != late_config.get("architectures"):
        raise WiseMergeError(
            f"early and late are different architectures: {early} is {_architecture(early_config)}, "
            f"{late} is {_architecture(late_config)}; both must be checkpoints of one run"
        )
    early_headers, late_headers = read_headers(early), read_headers(late)
    if not early_headers or not late_headers:
        return
    # A tied LM head may or may not be stored beside the embeddings it equals.
    tied = early_config.get("tie_word_embeddings") and late_config.get("tie_word_embeddings")
    tied_head = {"lm_head.weight"} if tied else set()
    for have, lack, names in (
        (early, late, early_headers.keys() - late_headers.keys() - tied_head),
        (late, early, late_headers.keys() - early_headers.keys() - tied_head),
    ):
        if names:
            more = f" and {len(names) - 1} more" if len(names) > 1 else ""
            raise WiseMergeError(
                f"tensor {min(names)}{more} of {have} is missing in {lack}; both must be checkpoints of one run"
            )
    for name in sorted(early_headers.keys() & late_headers.keys()):
        early_shape, late_shape = early_headers[name].shape, late_headers[name].shape
        if ignore_vocabulary and early_shape[1:] == late_shape[1:]:
            continue
        if early_shape != late_shape:
            raise WiseMergeError(
                f"tensor {name} has shape {early_shape} in {early} but {late_shape} in {late}; "
                "both must be checkpoints of one run"
            )


def _weight_files(directory: Path) -> list[Path]:
    index = directory / "model.safetensors.index.json"
    if index.is_file():
        weight_map = _read_json(index).get("weight_map")
        if not isinstance(weight_map, dict) or not weight_map:
            raise WiseMergeError(f"{index} has no weight_map; save the checkpoint again")
        return [directory / name for name in sorted(set(weight_map.values()))]
    if (directory / "model.safetensors").is_file():
        return [directory / "model.safetensors"]
    if any(directory.glob("pytorch_model*.bin")):
        return []
    raise WiseMergeError(f"{directory} has a config.json but no weights (model.safetensors or its index)")


def _read_json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise WiseMergeError(f"{path} cannot be read as JSON: {error}") from error
    if not isinstance(content, dict):
        raise WiseMergeError(f"{path} must hold a JSON object; it holds a {type(content).__name__}")
    return content


def _architecture(config: dict[str, Any]) -> str:
    return ", ".join(config["architectures"])
