"""Whether two checkpoints have one architecture: the same tensors in the same shapes, by their configs and headers."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from wise_merge.checkpoints.files import read_config
from wise_merge.checkpoints.headers import COMPUTED, TensorHeader, read_headers
from wise_merge.checkpoints.ties import counterpart, tied
from wise_merge.errors import WiseMergeError

#: Keys of a config that say nothing about the model: its dtype, and where and by what it was saved.
INCIDENTAL = {"_name_or_path", "torch_dtype", "dtype", "transformers_version", "use_cache", "name_or_path"}


def differing_keys(one: Mapping[str, Any], other: Mapping[str, Any]) -> list[str]:
    """Return the keys in which two configs say something else of the model; what one lacks counts, too."""
    keys = (one.keys() | other.keys()) - INCIDENTAL
    absent = object()
    return sorted(key for key in keys if one.get(key, absent) != other.get(key, absent))


def check_same_model(
    first: Path, other: Path, called: tuple[str, str] = ("early", "late"), *, ignore_vocabulary: bool = False
) -> None:
    """Raise unless two checkpoints, as they are `called`, have one architecture, the same tensors and shapes.

    With `ignore_vocabulary` the sizes of embeddings and LM head may differ,
    because a tokenizer that both share will be laid over them.
    """
    folders = (first, other)
    configs = (read_config(first), read_config(other))
    for folder, config in zip(folders, configs, strict=True):
        _check_config(folder, config)
    if configs[0]["architectures"] != configs[1]["architectures"]:
        raise WiseMergeError(
            f"{called[0]} and {called[1]} are different architectures: {first} is {_architecture(configs[0])}, "
            f"{other} is {_architecture(configs[1])}; both must be checkpoints of one run"
        )
    ties = (tied(configs[0]), tied(configs[1]))
    if None not in ties and ties[0] != ties[1]:
        with_tie, without = (first, other) if ties[0] else (other, first)
        raise WiseMergeError(
            f"{with_tie}/config.json ties the LM head to the embeddings (tie_word_embeddings) and "
            f"{without}/config.json does not; both must be checkpoints of one run"
        )
    headers = (read_headers(first), read_headers(other))
    # A tied LM head may or may not be stored beside the embeddings, or instead of them. Where neither config says so,
    # a model without a head of its own can only be tied.
    in_both = _tensors_of_both(folders, headers, may_be_tied=ties[0] == ties[1] and ties[0] is not False)
    sizes = (_vocabulary_size(configs[0]), _vocabulary_size(configs[1]))
    for name, stored in sorted(in_both.items()):
        shapes = (headers[0][stored[0]].shape, headers[1][stored[1]].shape)
        only_tokens = shapes[0][1:] == shapes[1][1:] and (shapes[0][:1], shapes[1][:1]) == sizes
        if shapes[0] != shapes[1] and not (only_tokens and ignore_vocabulary):
            remedy = "both must be checkpoints of one run"
            if only_tokens:
                remedy = "if one has further tokens, lay one tokenizer over both with `tokenizer: {source: union}`"
            places = [
                f"{shape} in {folder}" + ("" if own == name else f" (where it is {own})")
                for shape, folder, own in zip(shapes, folders, stored, strict=True)
            ]
            raise WiseMergeError(f"tensor {name} has shape {places[0]} but {places[1]}; {remedy}")


def _check_config(folder: Path, config: Mapping[str, Any]) -> None:
    """Raise for a model whose weights cannot be averaged, and for one that does not say what it is."""
    if config.get("quantization_config"):
        # Checked first: otherwise the other names and shapes of its tensors would be reported as the fault.
        raise WiseMergeError(
            f"{folder} is quantised (quantization_config in its config.json), and such weights cannot be averaged; "
            "take the checkpoint that it was made from"
        )
    names = config.get("architectures")
    if not names or not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise WiseMergeError(
            f"{folder}/config.json has no list of architectures; save the checkpoint with transformers"
        )


def _tensors_of_both(
    folders: tuple[Path, Path],
    headers: tuple[Mapping[str, TensorHeader], Mapping[str, TensorHeader]],
    *,
    may_be_tied: bool,
) -> dict[str, tuple[str, str]]:
    """Return the names of all tensors, each with what either model stores it as; raise for one that is missing."""
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
                f"tensor {min(missing)}{more} of {folders[have]} is missing in {folders[lack]}; both must be "
                "checkpoints of one run"
            )
    return in_both


def _vocabulary_size(config: Mapping[str, Any]) -> tuple[int, ...]:
    for holder in (config, config.get("text_config")):
        if isinstance(holder, Mapping) and isinstance(holder.get("vocab_size"), int):
            return (holder["vocab_size"],)
    return ()


def _architecture(config: Mapping[str, Any]) -> str:
    names: Sequence[str] = config["architectures"]
    return ", ".join(names)
