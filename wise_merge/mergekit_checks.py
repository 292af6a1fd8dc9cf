"""Checks of a mergekit configuration before mergekit starts on it.

mergekit itself ignores unknown parameters, drops extra tensors, and shows most
mistakes as a traceback without a file name. Looks at parameters, configs and
headers; weights are read only where two files might be equal. Errors are click
exceptions, so that `mergekit-yaml` prints one line.
"""

import contextlib
import functools
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import transformers
from mergekit.common import ModelPath, ModelReference
from mergekit.config import MergeConfiguration
from mergekit.io.tasks import LoaderCache
from pydantic import BaseModel

from wise_merge.checkpoints.adapters import check_adapter, read_adapter
from wise_merge.checkpoints.headers import check_same_model, differing_keys, read_config, read_headers
from wise_merge.checkpoints.heads import head_warnings, stand_ins
from wise_merge.checkpoints.pairs import pair_warnings
from wise_merge.checkpoints.vocabulary import compare_tokens, has_tokenizer
from wise_merge.errors import WiseMergeError, first_line
from wise_merge.mergekit_lora import merged_by_content
from wise_merge.recipe import Pair, check_settings, from_home, idle_filters, pairs

log = logging.getLogger(__name__)


class MergeInputError(click.ClickException, WiseMergeError):
    """A `WiseMergeError` that `mergekit-yaml` prints as one line, with exit code 1."""


@contextlib.contextmanager
def one_line_errors() -> Iterator[None]:
    """Turn every `WiseMergeError` within into a `MergeInputError`."""
    try:
        yield
    except MergeInputError:
        raise
    except WiseMergeError as error:
        raise MergeInputError(str(error)) from error
    except OSError as error:
        if error.filename is None:
            raise
        raise MergeInputError(f"{error.filename} cannot be read: {error.strerror or error}") from error


def check_configuration(config: MergeConfiguration, *, by_mergekit: bool = True) -> None:
    """Raise `MergeInputError` for a configuration of our methods that cannot give the right model.

    Looks at parameters, configs and headers, and logs a warning for what is odd about the two checkpoints. Those
    that are still on the Hub are checked as far as their config. mergekit asks several times within a merge; as
    long as configuration and files stay as they were, the answer stands. In this process, mergekit then reads
    checkpoints anew, and adds adapters to their bases in a safer way.

    `by_mergekit` says that mergekit alone writes the output, with the tokenizer of the early checkpoint or none.
    """
    global _passed
    with one_line_errors():
        _mark_local_paths(config)
        recipe = _as_recipe(config)
        check_settings(recipe)
        found = [_references(pair) for pair in pairs(recipe)]
        state = (repr(recipe), [_files(model) for pair in found for model in pair])
        adapters = any(model.lora for pair in found for model in pair)
        if adapters or state != _passed:
            # mergekit keeps open what it has read under a path, and would give it again for what is there now, or
            # for another dtype of the sum.
            LoaderCache.loaders.clear()
        if state == _passed:
            return
        for model in dict.fromkeys(model for pair in found for model in pair):
            _check_checkpoint("early" if model in [pair[0] for pair in found] else "late", model)
        for early, late in found:
            _check_pair(config, early, late, by_mergekit=by_mergekit)
        if adapters:
            _guard_adapters()
        _passed = state


#: The configuration that passed last, with the names, sizes and times of the files of its checkpoints.
_passed: tuple[str, list[Any]] | None = None


def _references(pair: Pair) -> tuple[ModelReference, ModelReference]:
    return ModelReference.model_validate(pair.early), ModelReference.model_validate(pair.late)


def _files(model: ModelReference) -> list[tuple[str, int, int]]:
    folders = [folder for path in (model.model, model.lora) if path and (folder := _local(path))]
    files = sorted(path for folder in folders for path in folder.iterdir() if path.is_file())
    return [(str(path), path.stat().st_size, path.stat().st_mtime_ns) for path in files]


def _as_recipe(value: Any) -> Any:
    """Return a configuration as plain data. pydantic's own way fails on a path with a space in it (mergekit 0.1.5)."""
    if isinstance(value, ModelReference) and value.override_architecture is None:
        return str(value)
    if isinstance(value, BaseModel):
        return {name: _as_recipe(part) for name, part in value if part is not None}
    if isinstance(value, dict):
        return {name: _as_recipe(part) for name, part in value.items()}
    return [_as_recipe(part) for part in value] if isinstance(value, (list, tuple)) else value


def _check_checkpoint(role: str, model: ModelReference) -> None:
    if (model.lora is not None or model.model.revision) and Path(str(model)).is_dir():
        raise WiseMergeError(f"mergekit takes + and @ in {model} for its own signs; rename the folder")
    try:
        config_of(model)
    except OSError as error:
        reason = first_line(error)
        raise WiseMergeError(
            f"the {role} checkpoint {model.model} is neither a directory here nor a model on the Hub ({reason}); "
            "correct the path"
        ) from error
    base = _local(model.model)
    if base is not None:
        read_headers(base)
    if model.lora is not None:
        for warning in check_adapter(read_adapter(_adapter(model.lora)), model.model.path, _config_directory(model)):
            log.warning(warning)


def _check_pair(config: MergeConfiguration, early: ModelReference, late: ModelReference, *, by_mergekit: bool) -> None:
    """Raise unless two checkpoints fit each other; log what is odd about them."""
    if _same_place(early.model, late.model) and _same_place(early.lora, late.lora):
        raise WiseMergeError(f"early {early} and late {late} are one checkpoint; name the late one in models")
    one_tokenizer = config.tokenizer is not None or config.tokenizer_source is not None
    early_base, late_base = _local(early.model), _local(late.model)
    if early_base is not None and late_base is not None:
        check_same_model(early_base, late_base, ignore_vocabulary=one_tokenizer)
        lacking = stand_ins((early_base, late_base), (read_headers(early_base), read_headers(late_base)))
        different = differing_keys(read_config(early_base), read_config(late_base))
        if different:
            log.warning(
                f"config.json of early and late differ ({', '.join(different)}); the merge gets that of {early}"
            )
        for warning in head_warnings((str(early), str(late)), lacking):
            log.warning(warning)
        for warning in idle_filters(_as_recipe(config), read_headers(early_base)):
            log.warning(warning)
    early_folder, late_folder = (_local(model.lora or model.model) for model in (early, late))
    if early_folder is None or late_folder is None:
        return
    found = pair_warnings(early_folder, late_folder)
    if not one_tokenizer:
        found += compare_tokens(_tokenizer(early, early_folder), _tokenizer(late, late_folder))
        if by_mergekit and not any(has_tokenizer(folder) for folder in (early_folder, _local(early.model)) if folder):
            found.append(
                f"{early} has no tokenizer, and mergekit looks nowhere else: the merge has none; copy one into it"
            )
    for warning in found:
        log.warning(warning)


def _tokenizer(model: ModelReference, folder: Path) -> Path:
    """Return where a checkpoint's tokenizer lies: beside the adapter if there is one, else with the base."""
    return folder if (folder / "tokenizer_config.json").is_file() else _local(model.model) or folder


def _guard_adapters() -> None:
    """Have mergekit merge adapters by `merged_by_content`; its own cache goes by path alone."""
    merged = ModelReference.merged
    if hasattr(merged, "__wrapped__"):
        return

    @functools.wraps(merged)
    def guarded(
        self: ModelReference,
        cache_dir: str | None = None,
        trust_remote_code: bool = False,
        lora_merge_dtype: str | None = None,
    ) -> ModelReference:
        with one_line_errors():
            return merged_by_content(merged, self, cache_dir, trust_remote_code, lora_merge_dtype)

    ModelReference.merged = guarded


def config_of(model: ModelReference) -> dict[str, Any]:
    """Return config.json of a checkpoint here or on the Hub, of a LoRA checkpoint that of its base.

    OSError if it is in neither place.
    """
    path = Path(model.model.path)
    return read_config(path if path.exists() else _of_the_hub(model.model, "config.json"))


def _config_directory(model: ModelReference) -> Path:
    return _local(model.model) or _of_the_hub(model.model, "config.json")


def _adapter(model: ModelPath) -> Path:
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
    path = Path(model.path)
    if path.is_absolute() or model.path.startswith((".", "~")) or len(path.parts) > 2:
        raise FileNotFoundError("the name has the form of a path, and nothing is there")
    # Not AutoConfig: it refuses models with code of their own, which --trust-remote-code allows.
    return Path(transformers.utils.cached_file(model.path, file, revision=model.revision)).parent


def _local(model: ModelPath) -> Path | None:
    path = Path(model.path)
    return path if path.is_dir() else None


def _same_place(one: ModelPath | None, other: ModelPath | None) -> bool:
    if one is None or other is None:
        return one is other
    places = (_local(one), _local(other))
    return one == other if None in places else places[0].samefile(places[1])  # type: ignore[union-attr, arg-type]


def _mark_local_paths(config: MergeConfiguration) -> None:
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
