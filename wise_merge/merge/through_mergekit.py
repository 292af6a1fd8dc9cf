"""Recipes with adapters, slices or a tokenizer section, and mergekit's own methods: mergekit as a library.

What the command line of mergekit leaves open is decided here: a folder that appears whole, a fresh cache for adapters,
no state of an earlier merge in the process, permissions by the umask.
"""

import contextlib
import logging
import os
import shutil
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from mergekit.config import MergeConfiguration
from mergekit.io.tasks import LoaderCache
from mergekit.merge import run_merge
from mergekit.merge_methods import registry
from mergekit.options import MergeOptions
from pydantic import ValidationError

from wise_merge.checkpoints.files import adapter_file, is_adapter, weight_files
from wise_merge.checkpoints.folder import step_of
from wise_merge.checkpoints.headers import read_headers
from wise_merge.checkpoints.places import folder_of, is_path
from wise_merge.errors import WiseMergeError
from wise_merge.geometry.distances import Measured
from wise_merge.hosts.mergekit.checks import check_configuration
from wise_merge.hosts.mergekit.patches import checking_every_method, observed
from wise_merge.merge.measuring import measuring
from wise_merge.merge.order import Order, Say, announcement
from wise_merge.merge.record import figures, start_hashing, write_facts
from wise_merge.merge.side_files import (
    SideFiles,
    choose_side_files,
    copy_side_files,
    untie_config,
    without_tokenizer,
)
from wise_merge.merge.table import by_group, describe
from wise_merge.merge.whole_folder import check_free, check_space, whole_folder
from wise_merge.recipes.models import is_ours, roles
from wise_merge.recipes.schema import Recipe, model_name
from wise_merge.text import hint

#: Of mergekit's methods that drop weights at random, so that a recipe gives the same model each time.
RANDOM_SEED = 0

#: Keys of a recipe under which a model stands.
_MODELS = {"base_model", "model", "lora", "source", "tokenizer_source"}


def carry_out(order: Order) -> None:
    """Check everything, then have mergekit write the models of the order unless the checks are all that is wanted."""
    started = time.monotonic()
    recipe = order.recipes[0]
    _check_method(recipe)
    fetched = _fetched(order)
    models = list(dict.fromkeys(model for one in order.ingredients for model in one.names))
    folders = {
        model: [place for part in model.split("+") if (place := fetched.get(part, Path(part))).is_dir()]
        for model in models
    }
    check_free(
        order.out,
        [folder for parts in folders.values() for folder in parts],
        force=order.force,
        keep=[order.path, *order.files],
    )
    with _warnings_to(order.warn):
        check_configuration(_configuration(_placed(recipe, fetched)), by_mergekit=False)
    side_files = _side_files(order, folders)
    for warning in side_files.warnings:
        order.warn(warning)
    for ingredients in order.ingredients:
        order.say(f"{announcement(recipe, ingredients.names)}, by mergekit")
    files = {model: [file for folder in parts for file in _files(folder)] for model, parts in folders.items()}
    largest = max((sum(file.stat().st_size for file in stored) for stored in files.values()), default=0)
    # Each adapter becomes a model for the time of the merge.
    check_space(order.out, largest * (len(order.recipes) + sum("+" in model for model in folders)))
    if order.check:
        order.say("All checks have passed; nothing was written.")
        return
    with ThreadPoolExecutor(2) as threads, whole_folder(order.out, force=order.force) as partial:
        hashes = {model: start_hashing(threads, stored) for model, stored in files.items()}
        measured, dtype = _merge(order, partial, side_files, fetched)
        groups = by_group(measured)
        facts = {
            model: {
                "model": model,
                "step": next((at for at in map(step_of, reversed(folders[model])) if at is not None), None),
                "files": hashes[model].entries(),
            }
            for model in folders
        }
        inputs = [[facts[model] for model in one.names] for one in order.ingredients]
        for number, (name, one) in enumerate(zip(order.names, order.recipes, strict=True)):
            write_facts(
                partial / name,
                one,
                order.ingredients[0],
                inputs,
                files=order.files,
                engine="mergekit",
                random_seed=None if is_ours(recipe) else RANDOM_SEED,
                tokenizer_from=side_files.tokenizer_from,
                started=started,
                measured=figures(groups, number, on_line=order.line is not None),
            )
    describe(order, measured, dtype)
    order.say(f"Wrote {order.out} in {time.monotonic() - started:.1f} s.")


def _check_method(recipe: Recipe) -> None:
    """Raise unless mergekit has the merge method of a recipe."""
    known = [method.spec.name for method in registry.registered_methods()]
    name = recipe["merge_method"]
    if name not in known:
        raise WiseMergeError(f"mergekit has no merge_method {name}; {hint(name, sorted(known))}")


def _fetched(order: Order) -> dict[str, Path]:
    """Return the folders of models and adapters of the Hub, which mergekit itself does not find without a network."""
    fetched: dict[str, Path] = {}
    for ingredients in order.ingredients:
        for role, model in zip(roles(order.recipes[0], ingredients), ingredients.names, strict=True):
            # What is wrong with a path, such as a + in its name, is for the checks.
            for part in [] if Path(model).is_dir() else model.split("+"):
                if part not in fetched and not Path(part).is_dir() and not is_path(part.partition("@")[0]):
                    fetched[part] = folder_of(role, part, order.warn)
    return fetched


def _placed(entry: Any, fetched: Mapping[str, Path], key: str = "") -> Any:
    """Return a recipe, or a part of it, with folders in the place of models of the Hub."""
    if isinstance(entry, Mapping):
        if "path" in entry:
            return _placed(model_name(entry), fetched, key)
        return {name: _placed(value, fetched, name) for name, value in entry.items()}
    if isinstance(entry, (list, tuple)):
        return [_placed(one, fetched, key) for one in entry]
    if key in _MODELS and isinstance(entry, str):
        return "+".join(str(fetched.get(part, part)) for part in entry.split("+"))
    return entry


def _merge(
    order: Order, partial: Path, side_files: SideFiles, fetched: Mapping[str, Path]
) -> tuple[Measured, str | None]:
    """Write the models into `partial`, and return what was measured and the dtype of the output."""
    measured = Measured()
    dtypes: set[torch.dtype] = set()
    scratch = partial / ".adapters"
    for name, recipe in zip(order.names, order.recipes, strict=True):
        folder = partial / name
        # mergekit keeps its readers of checkpoints, and what they have read, for the life of the process.
        LoaderCache.loaders.clear()
        options = MergeOptions(
            lora_merge_cache=str(scratch),
            random_seed=RANDOM_SEED,
            # Else the dense product is rounded to the base's dtype before it is widened.
            lora_merge_dtype=recipe["dtype"] if recipe.get("dtype") in ("float32", "float64") else None,
            quiet=not sys.stderr.isatty(),
            write_model_card=False,
            # It would log that it found none, with a traceback.
            copy_tokenizer=side_files.tokenizer_from == order.ingredients[0].names[0] or _makes_tokenizer(recipe),
        )
        out_dtype = getattr(torch, recipe["out_dtype"]) if recipe.get("out_dtype") else None
        observer = measuring(measured, dtypes, line=order.line, out_dtype=out_dtype)
        with observed(observer), checking_every_method(), _warnings_to(lambda message: None):
            _run_mergekit(_configuration(_placed(recipe, fetched)), folder, options)
        read_headers(folder)
        untie_config(folder)
        _complete(order, folder, side_files)
    LoaderCache.loaders.clear()
    shutil.rmtree(scratch, ignore_errors=True)
    _open_to_umask(partial)
    return measured, str(next(iter(dtypes))).removeprefix("torch.") if len(dtypes) == 1 else None


def _run_mergekit(config: MergeConfiguration, folder: Path, options: MergeOptions) -> None:
    try:
        run_merge(config, str(folder), options)
    except (RuntimeError, ValueError, KeyError, TypeError, NotImplementedError, OSError) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise  # of the disk, not of transformers about a tokenizer
        reason = " ".join(str(error).split()) or type(error).__name__
        raise WiseMergeError(f"mergekit cannot carry out the recipe: {reason}") from error


def _complete(order: Order, folder: Path, side_files: SideFiles) -> None:
    """Add what mergekit leaves out of a model; raise if it could not write the tokenizer, which it only logs."""
    if _makes_tokenizer(order.recipes[0]) and not (folder / "tokenizer_config.json").is_file():
        template = order.recipes[0].get("chat_template")
        cause = f"; is chat_template {template!r} right?" if template else ""
        if side_files.tokenizer_from is None:
            cause = "; it has none"
        raise WiseMergeError(f"mergekit could not write the tokenizer of {order.ingredients[0].names[0]}{cause}")
    copy_side_files(side_files, folder, overwrite=False)


def _makes_tokenizer(recipe: Recipe) -> bool:
    """Return whether the recipe has mergekit make a tokenizer, rather than copy one."""
    return any(recipe.get(key) for key in ("tokenizer", "tokenizer_source", "chat_template"))


def _side_files(order: Order, folders: Mapping[str, Sequence[Path]]) -> SideFiles:
    """Return what goes with the weights of every model but a tokenizer that mergekit makes, or has from the Hub."""
    models = order.ingredients[0].names
    side_files = choose_side_files([(model, folders[model][::-1]) for model in models])
    if any(len(folders[model]) < 1 + model.count("+") for model in models):
        side_files = replace(side_files, warnings=())  # what is on the Hub is not known yet
        if side_files.tokenizer_from != models[0]:
            return replace(without_tokenizer(side_files), tokenizer_from=models[0])
    return without_tokenizer(side_files) if _makes_tokenizer(order.recipes[0]) else side_files


def _configuration(recipe: Recipe) -> MergeConfiguration:
    try:
        return MergeConfiguration.model_validate(dict(recipe))
    except (ValidationError, RuntimeError) as error:
        reason = (
            "; ".join(f"{'.'.join(map(str, one['loc']))}: {one['msg']}" for one in error.errors())
            if isinstance(error, ValidationError)
            else str(error)
        )
        raise WiseMergeError(f"mergekit does not take the recipe: {reason}") from error


@contextlib.contextmanager
def _warnings_to(warn: Say) -> Iterator[None]:
    """Hand what this package logs as warnings to `warn`."""

    class Handler(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            warn(record.getMessage())

    logger, handler = logging.getLogger("wise_merge"), Handler(logging.WARNING)
    logger.addHandler(handler)
    propagate, logger.propagate = logger.propagate, False
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.propagate = propagate


def _files(folder: Path) -> list[Path]:
    if is_adapter(folder):
        return [adapter_file(folder)]
    return [path for path in weight_files(folder) if path.is_file()]


def _open_to_umask(folder: Path) -> None:
    """Give every file the permissions that a new one has: safetensors makes its own for the owner alone."""
    mask = os.umask(0)
    os.umask(mask)
    for path in folder.rglob("*"):
        path.chmod((0o777 if path.is_dir() else 0o666) & ~mask)
