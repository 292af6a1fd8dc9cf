"""A merge of two full checkpoints of one layout: its checks, from headers and configs alone, and its output."""

import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from wise_merge.checkpoints.headers import check_same_model, read_config, read_headers, weight_files
from wise_merge.checkpoints.heads import completed, head_warnings, stand_ins
from wise_merge.checkpoints.pairs import pair_warnings, read_state, step_of
from wise_merge.checkpoints.places import folder_of
from wise_merge.checkpoints.vocabulary import compare_tokens
from wise_merge.errors import WiseMergeError
from wise_merge.interpolation.layout import Tensor, lay_out, size
from wise_merge.loading import no_garbage
from wise_merge.merge.companions import (
    Companions,
    choose_companions,
    copy_companions,
    copy_config,
    differing_companions,
    output_dtype,
    untie_config,
)
from wise_merge.merge.pipeline import Order
from wise_merge.merge.record import Hashes, figures, hashing_threads, start_hashing, write_facts
from wise_merge.merge.whole_folder import check_free, check_space, whole_folder
from wise_merge.recipe import idle_filters

#: Further bytes per model: config, tokenizer, record.
_COMPANIONS = 50_000_000


@dataclass(frozen=True)
class _Plan:
    folders: tuple[Path, Path]
    titles: tuple[str, str]
    tensors: list[Tensor]
    #: Of early and late: `checkpoints.heads.stand_ins`.
    lacking: tuple[dict[str, str], dict[str, str]]
    companions: Companions


def carry_out(order: Order) -> None:
    """Check everything, then write the models of the order unless the checks are all that is wanted."""
    started = time.monotonic()
    plan = _check(order)
    method = order.recipes[0]["merge_method"]
    order.say(f"{method} of early {plan.titles[0]} and late {plan.titles[1]}")
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
    (pair,) = order.pairs
    here = [Path(name) for name in (pair.early, pair.late) if Path(name).is_dir()]
    check_free(order.out, here, force=order.force, keep=[order.path])
    folders = (folder_of("early", pair.early, order.warn), folder_of("late", pair.late, order.warn))
    check_free(order.out, list(folders), force=order.force, keep=[order.path])
    if folders[0].samefile(folders[1]):
        raise WiseMergeError(
            f"early {pair.early} and late {pair.late} are one folder; name the late checkpoint in models"
        )
    check_same_model(*folders)
    configs = (read_config(folders[0]), read_config(folders[1]))
    stored = (read_headers(folders[0]), read_headers(folders[1]))
    lacking = stand_ins(folders, stored)
    headers = (completed(stored[0], lacking[0]), completed(stored[1], lacking[1]))
    warnings = [
        *pair_warnings(*folders),
        *head_warnings((pair.early, pair.late), lacking),
        *compare_tokens(*folders),
        *idle_filters(order.recipes[0], headers[0]),
    ]
    companions = choose_companions((pair.early, folders[:1]), (pair.late, folders[1:]))
    warnings += companions.warnings
    different = differing_companions(*folders)
    if different:
        warnings.append(f"{', '.join(different)} of early and late differ; the merge gets those of {pair.early}")
    tensors = lay_out(order.recipes, pair, configs, headers)
    mixed = {(headers[0][tensor.name].dtype, headers[1][tensor.name].dtype) for tensor in tensors}
    for one, other in sorted(pairing for pairing in mixed if pairing[0] != pairing[1]):
        warnings.append(
            f"tensors that are {one} in early are {other} in late; they are averaged in the recipe's dtype, or else in "
            "one that holds both"
        )
    for warning in warnings:
        order.warn(warning)
    check_space(order.out, (size(tensors) + _COMPANIONS) * len(order.recipes))
    steps = [step_of(folder, read_state(folder)) for folder in folders]
    titles = [
        name if step is None else f"{name} (step {step})"
        for name, step in zip((pair.early, pair.late), steps, strict=True)
    ]
    return _Plan(folders, (titles[0], titles[1]), tensors, lacking, companions)


@contextmanager
def progress(total: int) -> Iterator[Callable[[int], object]]:
    """Yield what moves a bar on standard error; it shows nothing where that is no terminal."""
    import sys

    from tqdm import tqdm

    with tqdm(total=total, unit=" parameters", unit_scale=True, leave=False, disable=not sys.stderr.isatty()) as bar:
        yield bar.update


def _write(order: Order, plan: _Plan, hashes: list[Hashes], started: float) -> None:
    with no_garbage():
        from wise_merge.checkpoints.weights import open_tensors
        from wise_merge.merge.streaming import check_buffers, write_merges
        from wise_merge.merge.table import by_group, describe

    (pair,) = order.pairs
    names = (pair.early, pair.late)
    early, late = (
        completed(open_tensors(folder), lacking) for folder, lacking in zip(plan.folders, plan.lacking, strict=True)
    )
    check_buffers(plan.tensors, early, late, names)
    with whole_folder(order.out, force=order.force) as partial:
        folders = [partial / name for name in order.names]
        for folder in folders:
            folder.mkdir(exist_ok=True)
        with progress(sum(early[tensor.name].numel() for tensor in plan.tensors)) as advance:
            measured = write_merges(plan.tensors, early, late, names, folders, advance=advance)
        groups = by_group(measured)
        inputs = {
            role: {"model": name, "step": step_of(folder, read_state(folder)), "files": files.entries()}
            for role, name, folder, files in zip(("early", "late"), names, plan.folders, hashes, strict=True)
        }
        for number, (folder, recipe) in enumerate(zip(folders, order.recipes, strict=True)):
            copy_config(plan.folders[0], folder, plan.tensors)
            copy_companions(plan.companions, folder)
            untie_config(folder)
            _check_written(folder, plan.tensors)
            write_facts(
                folder,
                recipe,
                pair,
                [inputs],
                engine="wise-merge",
                tokenizer_from=plan.companions.tokenizer_from,
                started=started,
                measured=figures(groups, number),
            )
    describe(order, measured, output_dtype(plan.tensors))


def _check_written(folder: Path, tensors: list[Tensor]) -> None:
    """Raise AssertionError unless safetensors itself finds in the files what was laid out."""
    headers = read_headers(folder)
    assert {tensor.name: tensor.shape for tensor in tensors} == {name: header.shape for name, header in headers.items()}
