"""A merge of full checkpoints of one layout: its checks, from headers and configs alone, and its output."""

import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from wise_merge.checkpoints.files import read_config, weight_files
from wise_merge.checkpoints.fit import check_fit
from wise_merge.checkpoints.folder import step_of
from wise_merge.checkpoints.headers import TensorHeader, read_headers
from wise_merge.checkpoints.heads import completed, head_warnings, stand_ins
from wise_merge.checkpoints.places import folder_of
from wise_merge.checkpoints.vocabulary import compare_tokens
from wise_merge.merge.loading import without_garbage_collection
from wise_merge.merge.order import Order, announcement
from wise_merge.merge.record import Hashes, figures, hashing_threads, start_hashing, write_facts
from wise_merge.merge.side_files import (
    SideFiles,
    choose_side_files,
    copy_config,
    copy_side_files,
    differing_side_files,
    output_dtype,
    untie_config,
)
from wise_merge.merge.whole_folder import check_free, check_space, whole_folder
from wise_merge.recipes.models import roles
from wise_merge.recipes.parameters import idle_filters
from wise_merge.tensors.layout import PlannedTensor, lay_out, size
from wise_merge.tensors.statistics import check_files
from wise_merge.text import bar

#: Further bytes per model: config, tokenizer, record.
_SIDE_FILES = 50_000_000


@dataclass(frozen=True)
class _Plan:
    """What is known before any weight is read; sequences are parallel, a model each, the base first."""

    folders: list[Path]
    titles: list[str]
    tensors: list[PlannedTensor]
    #: `checkpoints.heads.stand_ins`.
    lacking: list[dict[str, str]]
    side_files: SideFiles


def carry_out(order: Order) -> None:
    """Check everything, then write the models of the order unless the checks are all that is wanted."""
    started = time.monotonic()
    plan = _check(order)
    order.say(announcement(order.recipes[0], plan.titles))
    if order.check:
        order.say("All checks have passed; nothing was written.")
        return
    threads = ThreadPoolExecutor(hashing_threads())
    try:
        # Begun before torch is imported, which takes one core for some seconds.
        hashes = [start_hashing(threads, weight_files(folder)) for folder in plan.folders]
        _write(order, plan, hashes, started)
    finally:
        threads.shutdown(cancel_futures=True)
    order.say(f"Wrote {order.out} in {time.monotonic() - started:.1f} s.")


def _check(order: Order) -> _Plan:
    (ingredients,) = order.ingredients
    recipe, names = order.recipes[0], ingredients.names
    model_roles = roles(recipe, ingredients)
    here = [Path(name) for name in names if Path(name).is_dir()]
    check_free(order.out, here, force=order.force, keep=[order.path, *order.files])
    folders = [folder_of(role, name, order.warn) for role, name in zip(model_roles, names, strict=True)]
    check_free(order.out, folders, force=order.force, keep=[order.path, *order.files])
    warnings = check_fit(folders, names, model_roles)
    configs = [read_config(folder) for folder in folders]
    stored = [read_headers(folder) for folder in folders]
    lacking = stand_ins(folders, stored)
    headers = [completed(own, one) for own, one in zip(stored, lacking, strict=True)]
    warnings += head_warnings(names, folders, stored, lacking)
    for folder in folders[1:]:
        warnings += compare_tokens(folders[0], folder)
    warnings += idle_filters(recipe, headers[0])
    side_files = choose_side_files([(name, [folder]) for name, folder in zip(names, folders, strict=True)])
    warnings += side_files.warnings
    for role, folder in zip(model_roles[1:], folders[1:], strict=True):
        different = differing_side_files(folders[0], folder)
        if different:
            two = "early and late" if role == "late" else f"{folders[0]} and {folder}"
            warnings.append(f"{', '.join(different)} of {two} differ; the merge gets those of {names[0]}")
    check_files(recipe, dict(zip(names, folders, strict=True)))
    tensors = lay_out(order.recipes, ingredients, configs, headers)
    warnings += _mixed_dtypes(tensors, headers, names, model_roles)
    for warning in warnings:
        order.warn(warning)
    check_space(order.out, (size(tensors) + _SIDE_FILES) * len(order.recipes))
    steps = [step_of(folder) for folder in folders]
    titles = [name if step is None else f"{name} (step {step})" for name, step in zip(names, steps, strict=True)]
    return _Plan(folders, titles, tensors, lacking, side_files)


def _mixed_dtypes(
    tensors: Sequence[PlannedTensor],
    headers: Sequence[Mapping[str, TensorHeader]],
    names: Sequence[str],
    model_roles: Sequence[str],
) -> list[str]:
    """Return a sentence for each pair of dtypes in which the first checkpoint and another one store a tensor."""
    warnings = []
    for name, role, others in zip(names[1:], model_roles[1:], headers[1:], strict=True):
        first, other = ("early", "late") if role == "late" else (names[0], name)
        mixed = {(headers[0][tensor.name].dtype, others[tensor.name].dtype) for tensor in tensors}
        warnings += [
            f"tensors that are {one} in {first} are {two} in {other}; they are averaged in the recipe's dtype, or else "
            "in one that holds both"
            for one, two in sorted(pairing for pairing in mixed if pairing[0] != pairing[1])
        ]
    return warnings


def _write(order: Order, plan: _Plan, hashes: list[Hashes], started: float) -> None:
    with without_garbage_collection():
        from wise_merge.checkpoints.weights import open_tensors
        from wise_merge.merge.stream import check_buffers, write_merges
        from wise_merge.merge.table import by_group, describe

    (ingredients,) = order.ingredients
    names = ingredients.names
    states = [
        completed(open_tensors(folder), lacking) for folder, lacking in zip(plan.folders, plan.lacking, strict=True)
    ]
    check_buffers(plan.tensors, states, names)
    with whole_folder(order.out, force=order.force) as partial:
        folders = [partial / name for name in order.names]
        for folder in folders:
            folder.mkdir(exist_ok=True)
        total = sum(states[0][tensor.name].numel() for tensor in plan.tensors)
        with bar(total=total, unit=" parameters", scaled=True) as shown:
            measured = write_merges(plan.tensors, states, names, folders, advance=shown.update)
        groups = by_group(measured)
        inputs = [
            {"model": name, "step": step_of(folder), "files": files.entries()}
            for name, folder, files in zip(names, plan.folders, hashes, strict=True)
        ]
        for number, (folder, recipe) in enumerate(zip(folders, order.recipes, strict=True)):
            copy_config(plan.folders[0], folder, plan.tensors)
            copy_side_files(plan.side_files, folder)
            untie_config(folder)
            _check_written(folder, plan.tensors)
            write_facts(
                folder,
                recipe,
                ingredients,
                [inputs],
                files=order.files,
                engine="wise-merge",
                tokenizer_from=plan.side_files.tokenizer_from,
                started=started,
                measured=figures(groups, number, on_line=order.line is not None),
            )
    describe(order, measured, output_dtype(plan.tensors))


def _check_written(folder: Path, tensors: list[PlannedTensor]) -> None:
    """Raise AssertionError unless safetensors itself finds in the files what was laid out."""
    headers = read_headers(folder)
    assert {tensor.name: tensor.shape for tensor in tensors} == {name: header.shape for name, header in headers.items()}
