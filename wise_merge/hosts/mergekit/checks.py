"""Checks of a mergekit configuration before mergekit starts on it.

mergekit itself ignores unknown parameters, drops extra tensors, and shows most
mistakes as a traceback without a file name. Looks at parameters, configs and
headers; weights are read only where two files might be equal.
"""

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mergekit.common import ModelReference
from mergekit.config import MergeConfiguration
from mergekit.io.tasks import LoaderCache
from pydantic import BaseModel

from wise_merge.checkpoints.adapters import check_adapter, read_adapter
from wise_merge.checkpoints.architecture import check_same_model, differing_keys
from wise_merge.checkpoints.equality import same_weights
from wise_merge.checkpoints.files import read_config
from wise_merge.checkpoints.headers import read_headers
from wise_merge.checkpoints.heads import head_warnings, stand_ins
from wise_merge.checkpoints.pairs import pair_warnings
from wise_merge.checkpoints.vocabulary import compare_tokens, has_tokenizer
from wise_merge.errors import WiseMergeError, first_line
from wise_merge.hosts.mergekit.adapters import guard_adapters
from wise_merge.hosts.mergekit.errors import one_line_errors
from wise_merge.hosts.mergekit.places import (
    adapter_folder,
    config_directory,
    config_of,
    local,
    mark_local_paths,
    same_place,
)
from wise_merge.recipes.models import Ingredients, every_model, ingredients, is_ours, method_of, roles
from wise_merge.recipes.parameters import check_settings, idle_filters
from wise_merge.recipes.schema import scopes
from wise_merge.tensors.statistics import check_files
from wise_merge.text import hint

log = logging.getLogger(__name__)


def check_configuration(config: MergeConfiguration, *, by_mergekit: bool = True) -> None:
    """Raise `MergeInputError` for a configuration that cannot give the right model.

    Looks at parameters, configs and headers, and logs a warning for what is odd about the checkpoints. Those
    that are still on the Hub are checked as far as their config. mergekit asks several times within a merge; as
    long as configuration and files stay as they were, the answer stands. In this process, mergekit then reads
    checkpoints anew, and adds adapters to their bases in a safer way.

    `by_mergekit` says that mergekit alone writes the output, with the tokenizer of the early checkpoint or none.
    """
    global _passed
    with one_line_errors():
        mark_local_paths(config)
        recipe = _as_recipe(config)
        if is_ours(recipe):
            check_settings(recipe)
            sets = ingredients(recipe)
        else:
            check_parameters(recipe)
            sets = [every_model(recipe)]
        references = [_references(one) for one in sets]
        state = (repr(recipe), [_files(model) for models in references for model in models])
        adapters = any(model.lora for models in references for model in models)
        if adapters or state != _passed:
            # mergekit keeps open what it has read under a path, and would give it again for what is there now, or
            # for another dtype of the sum.
            LoaderCache.loaders.clear()
        if state == _passed:
            return
        named: dict[ModelReference, str] = {}
        for one, models in zip(sets, references, strict=True):
            for role, model in zip(roles(recipe, one), models, strict=True):
                named.setdefault(model, role)
        for model, role in named.items():
            _check_checkpoint(role, model)
        for one, models in zip(sets, references, strict=True):
            _check_fit(config, models, roles(recipe, one), by_mergekit=by_mergekit)
        if is_ours(recipe):
            _check_files(recipe, references)
        if adapters:
            guard_adapters()
        _passed = state


def _check_files(recipe: Any, references: Sequence[Sequence[ModelReference]]) -> None:
    """Raise `WiseMergeError` for files of parameters that do not belong to the models with which they stand."""
    if not method_of(recipe).files:
        return
    folders = {}
    for model in references[0]:
        if model.lora is not None:
            raise WiseMergeError(
                f"{recipe['merge_method']} takes whole models, to which its files belong, and {model} is an adapter; "
                "merge it into its base first"
            )
        folders[str(model)] = local(model.model) or model.local_path()
    check_files(recipe, {name: Path(folder) for name, folder in folders.items()})


def check_parameters(recipe: Any) -> None:
    """Raise `WiseMergeError` for a parameter that mergekit's own method of a recipe does not know, and ignores."""
    from mergekit.merge_methods import registry

    method = registry.get(recipe["merge_method"])
    known = [parameter.name for parameter in method.spec.parameters]
    for place, settings in [entry for scope in scopes(recipe) for entry in scope.items()]:
        for name in settings:
            if name not in known:
                meant = hint(name, known, f"{method.spec.name} knows {', '.join(known) or 'none'}")
                raise WiseMergeError(f"unknown parameter {name} in {place}; {meant}")


#: The configuration that passed last, with the names, sizes and times of the files of its checkpoints.
_passed: tuple[str, list[Any]] | None = None


def _references(ingredients: Ingredients) -> list[ModelReference]:
    return [ModelReference.model_validate(name) for name in ingredients.names]


def _files(model: ModelReference) -> list[tuple[str, int, int]]:
    folders = [folder for path in (model.model, model.lora) if path and (folder := local(path))]
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
    base = local(model.model)
    if base is not None:
        read_headers(base)
    if model.lora is not None:
        adapter = read_adapter(adapter_folder(model.lora))
        for warning in check_adapter(adapter, model.model.path, config_directory(model)):
            log.warning(warning)


def _check_fit(
    config: MergeConfiguration, models: Sequence[ModelReference], model_roles: Sequence[str], *, by_mergekit: bool
) -> None:
    """Raise unless checkpoints fit each other; log what is odd about them."""
    for number, model in enumerate(models):
        for before in models[:number]:
            if same_place(before.model, model.model) and same_place(before.lora, model.lora):
                if tuple(model_roles) == ("early", "late"):
                    raise WiseMergeError(
                        f"early {before} and late {model} are one checkpoint; name the late one in models"
                    )
                raise WiseMergeError(f"models {before} and {model} are one checkpoint; name it once")
    recipe = _as_recipe(config)
    for warning in idle_filters(recipe, _names_of(models)):
        log.warning(warning)
    if is_ours(recipe) or config.models:  # mergekit's own methods may put layers of any models together
        for warning in _oddities(config, models, model_roles, by_mergekit=by_mergekit):
            log.warning(warning)


def _names_of(models: Sequence[ModelReference]) -> Mapping[str, Any]:
    base = local(models[0].model)
    return {} if base is None else read_headers(base)


def _oddities(
    config: MergeConfiguration, models: Sequence[ModelReference], model_roles: Sequence[str], *, by_mergekit: bool
) -> list[str]:
    """Return what is odd about checkpoints as far as they lie here, a sentence each; raise if they do not fit."""
    one_tokenizer = config.tokenizer is not None or config.tokenizer_source is not None
    names = [str(model) for model in models]
    bases = [local(model.model) for model in models]
    sentences: list[str] = []
    first = bases[0]
    here = [number for number, folder in enumerate(bases) if folder is not None]
    if first is not None and len(here) > 1:
        folders = [folder for folder in bases if folder is not None]
        for number, folder in zip(here[1:], folders[1:], strict=True):
            pair = ("early", "late") if model_roles[number] == "late" else (names[0], names[number])
            check_same_model(first, folder, pair, ignore_vocabulary=one_tokenizer)
            different = differing_keys(read_config(first), read_config(folder))
            if different:
                sentences.append(
                    f"config.json of {pair[0]} and {pair[1]} differ ({', '.join(different)}); the merge gets that of "
                    f"{names[0]}"
                )
        headers = [read_headers(folder) for folder in folders]
        sentences += head_warnings([names[number] for number in here], folders, headers, stand_ins(folders, headers))
    own = [local(model.lora or model.model) for model in models]
    if own[0] is None:
        return sentences
    for number, other in enumerate(own):
        if number == 0 or other is None:
            continue
        if model_roles[number] == "late":
            sentences += pair_warnings(own[0], other)
        elif same_weights(own[0], other):
            sentences.append(f"{names[0]} and {names[number]} hold the same weights")
        if not one_tokenizer:
            sentences += compare_tokens(_tokenizer(models[0], own[0]), _tokenizer(models[number], other))
    if (
        not one_tokenizer
        and by_mergekit
        and None not in own
        and not any(has_tokenizer(folder) for folder in (own[0], local(models[0].model)) if folder)
    ):
        sentences.append(
            f"{names[0]} has no tokenizer, and mergekit looks nowhere else: the merge has none; copy one into it"
        )
    return sentences


def _tokenizer(model: ModelReference, folder: Path) -> Path:
    """Return where a checkpoint's tokenizer lies: beside the adapter if there is one, else with the base."""
    return folder if (folder / "tokenizer_config.json").is_file() else local(model.model) or folder
