"""What a checkpoint is made of: its config, and the files that hold the weights of a model or an adapter.

Files are chosen as mergekit chooses them; weights in a form that it does not read are named with what to do about them.
"""

import json
from pathlib import Path
from typing import Any

from wise_merge.errors import WiseMergeError

#: How shards are named.
_SHARDS = ("model-*-of-*.safetensors", "pytorch_model-*-of-*.bin")
#: Files that training leaves beside a model and that hold no weights.
_NO_WEIGHTS = {"training_args.bin", "optimizer.bin", "optimizer.pt", "scheduler.pt", "rng_state.pth", "scaler.pt"}
#: Weight files of an adapter; the first that exists counts.
_ADAPTERS = ("adapter_model.safetensors", "adapter_model.bin")


def read_json(path: Path) -> dict[str, Any]:
    """Return the JSON object that a file holds."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise WiseMergeError(f"{path} cannot be read as JSON: {error}") from error
    if not isinstance(content, dict):
        raise WiseMergeError(f"{path} must hold a JSON object; it holds a {type(content).__name__}")
    return content


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


def is_adapter(directory: Path) -> bool:
    """Return whether a checkpoint is an adapter, and not a model of its own."""
    return (directory / "adapter_config.json").is_file() and not (directory / "config.json").is_file()


def weight_files(directory: Path) -> list[Path]:
    """Return the files that hold a model's weights, sorted by name, as mergekit chooses them.

    That is safetensors before `.bin`, and an index before a single file. Those that an index names
    need not be there.
    """
    single, indexed = _chosen(directory)
    return [directory / name for name in sorted(set(indexed.values()) or {single})]


def adapter_file(directory: Path) -> Path:
    """Return the file of an adapter's weights, safetensors before `.bin`."""
    for name in _ADAPTERS:
        if (directory / name).is_file():
            return directory / name
    raise WiseMergeError(f"{directory} has an adapter_config.json but no weights (adapter_model.safetensors)")


def stored_files(directory: Path) -> list[Path]:
    """Return the files that hold the weights of a model, or of an adapter that has no model beside it."""
    if not (directory / "config.json").is_file() and any((directory / name).is_file() for name in _ADAPTERS):
        return [adapter_file(directory)]
    return weight_files(directory)


def index_of(directory: Path) -> dict[str, str]:
    """Return what the index of a model says: the file of every tensor; empty where there is no index."""
    return _chosen(directory)[1]


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
