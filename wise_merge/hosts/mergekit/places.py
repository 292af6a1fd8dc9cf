"""From the models of a mergekit configuration to the folders that hold them, here or in the Hub's cache."""

from pathlib import Path
from typing import Any

import transformers
from mergekit.common import ModelPath, ModelReference
from mergekit.config import MergeConfiguration

from wise_merge.checkpoints.files import read_config
from wise_merge.checkpoints.places import is_path
from wise_merge.errors import WiseMergeError, first_line
from wise_merge.recipes.reading import from_home


def config_of(model: ModelReference) -> dict[str, Any]:
    """Return config.json of a checkpoint here or on the Hub, of a LoRA checkpoint that of its base.

    OSError if it is in neither place.
    """
    path = Path(model.model.path)
    return read_config(path if path.exists() else _of_the_hub(model.model, "config.json"))


def config_directory(model: ModelReference) -> Path:
    """Return the folder of that config.json."""
    return local(model.model) or _of_the_hub(model.model, "config.json")


def adapter_folder(model: ModelPath) -> Path:
    """Return the folder of an adapter here or on the Hub."""
    path = Path(model.path)
    if path.exists():
        return path
    try:
        folder = _of_the_hub(model, "adapter_config.json")
        for name in ("adapter_model.safetensors", "adapter_model.bin"):
            if transformers.utils.cached_file(
                model.path, name, revision=model.revision, _raise_exceptions_for_missing_entries=False
            ):
                break
    except OSError as error:
        reason = first_line(error)
        raise WiseMergeError(
            f"the adapter {model} is neither a directory here nor on the Hub ({reason}); correct the path"
        ) from error
    return folder


def _of_the_hub(model: ModelPath, file: str) -> Path:
    """Return the folder in which the Hub's cache has a file of a repository, fetched if need be."""
    if is_path(model.path):
        raise FileNotFoundError("the name has the form of a path, and nothing is there")
    # Not AutoConfig: it refuses models with code of their own, which --trust-remote-code allows.
    return Path(transformers.utils.cached_file(model.path, file, revision=model.revision)).parent


def local(model: ModelPath) -> Path | None:
    """Return the folder of a model or adapter that is a path on this machine; None for one that is not."""
    path = Path(model.path)
    return path if path.is_dir() else None


def same_place(one: ModelPath | None, other: ModelPath | None) -> bool:
    """Return whether two models, or two adapters, are one: the same folder here, or the same name."""
    if one is None or other is None:
        return one is other
    places = (local(one), local(other))
    return one == other if None in places else places[0].samefile(places[1])  # type: ignore[union-attr, arg-type]


def mark_local_paths(config: MergeConfiguration) -> None:
    """Write `a/b` as `./a/b` where it is a directory, and what `~` stands for.

    mergekit asks the Hub whether `a/b` is a repository there when it writes the
    model card: that tells the Hub private names and, without a network, ends the
    merge with the weights written and tokenizer and config missing.
    """

    def marked(model: ModelPath) -> ModelPath:
        path = from_home(model.path)
        if path != model.path and Path(path).is_dir():
            return ModelPath(path=path)
        if path.startswith(("/", "~", "./", "../")) or model.revision or not Path(path).is_dir():
            return model
        return ModelPath(path=f"./{path}")

    def with_marks(model: ModelReference) -> ModelReference:
        lora = model.lora and marked(model.lora)
        return model.model_copy(update={"model": marked(model.model), "lora": lora})

    holders: list[Any] = [config, *(config.modules or {}).values()]
    slices = [piece for holder in holders for piece in holder.slices or ()]
    for owner in (config, *slices):
        if owner.base_model is not None:
            owner.base_model = with_marks(owner.base_model)
    for entry in [entry for holder in holders for entry in holder.models or ()] + [
        source for piece in slices for source in piece.sources
    ]:
        entry.model = with_marks(entry.model)
