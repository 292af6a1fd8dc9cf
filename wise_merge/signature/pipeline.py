"""The order of work of `wise-merge signature extract`: check three checkpoints, measure, write, print."""

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from wise_merge import text
from wise_merge.checkpoints.architecture import check_same_model
from wise_merge.checkpoints.equality import same_weights
from wise_merge.checkpoints.files import is_adapter, read_config
from wise_merge.checkpoints.fingerprint import of_weights
from wise_merge.checkpoints.groups import group_of
from wise_merge.checkpoints.headers import COMPUTED, FLOATING, TensorHeader, read_headers
from wise_merge.checkpoints.heads import completed, separate_head, stand_ins
from wise_merge.checkpoints.places import folder_of
from wise_merge.checkpoints.ties import counterpart, is_head, tied
from wise_merge.checkpoints.vocabulary import compare_tokens
from wise_merge.errors import WiseMergeError
from wise_merge.signature.choice import chosen
from wise_merge.tensor_files.parts import written_in_parts
from wise_merge.tensor_files.signature import KIND, SCALE

#: The checkpoints, in the order of all sequences here.
ROLES = ("robust", "clean", "base")

Say = Callable[[str], object]


@dataclass(frozen=True)
class Choice:
    """Which tensors are asked for, and in which dtype; see `wise-merge signature extract --help`."""

    layers: str | None
    only: tuple[str, ...]
    dtype: str


@dataclass(frozen=True)
class _Plan:
    """What is known before any weight is read; sequences have the order of `ROLES`."""

    folders: list[Path]
    #: Of robust, with what stands for a tensor that it lacks.
    headers: Mapping[str, TensorHeader]
    #: `checkpoints.heads.stand_ins`.
    lacking: list[dict[str, str]]
    #: The tensors that are asked for.
    names: list[str]
    #: Whether the LM head is the embeddings in all of them, so that their signature is that of both.
    tied: bool


def extract(models: Sequence[str], out: Path, choice: Choice, *, say: Say, warn: Say) -> None:
    """Write the signature of a checkpoint beside another one, and print what it is.

    Args:
        models: robust, clean and base: folders, or models of the Hub.
        out: the new file.
        choice: see there.
        say: is given lines for standard output.
        warn: is given warnings.
    """
    _check_out(out)
    plan = _check(models, choice, warn)
    robust, clean, base = models
    say(f"signature of robust {robust} beside clean {clean}, both from base {base}\n")
    threads = ThreadPoolExecutor(1)
    try:
        digests = [threads.submit(of_weights, folder) for folder in plan.folders]
        _write(models, plan, out, choice, digests, say, warn)
    finally:
        threads.shutdown(cancel_futures=True)


def _check_out(out: Path) -> None:
    if out.suffix != ".safetensors":
        raise WiseMergeError(f"--out must be a file such as x.safetensors; got {out}")
    if out.exists() or out.is_symlink():
        raise WiseMergeError(f"--out {out} exists and is not overwritten; delete it or choose another name")


def _check(models: Sequence[str], choice: Choice, warn: Say) -> _Plan:
    folders = [_folder(role, model, warn) for role, model in zip(ROLES, models, strict=True)]
    robust, clean, base = folders
    for role, folder in (("robust", robust), ("clean", clean)):
        # Further tokens matter only where embeddings are asked for.
        check_same_model(base, folder, ("base", role), ignore_vocabulary=True)
    for role, other in (("base", base), ("clean", clean)):
        if same_weights(robust, other):
            raise WiseMergeError(
                f"robust {models[0]} and {role} {models[ROLES.index(role)]} hold the same weights, so there is no "
                "signature; name a checkpoint that has learnt something else"
            )
    if same_weights(clean, base):
        warn(f"clean {models[1]} and base {models[2]} hold the same weights, so the signature is robust - base, whole")
    stored = [read_headers(folder) for folder in folders]
    lacking = stand_ins(folders, stored)
    headers = [completed(own, one) for own, one in zip(stored, lacking, strict=True)]
    one_head = tied(read_config(robust)) is not False and not any(map(separate_head, folders))
    names = chosen(_names(headers, without_head=one_head), choice.layers, choice.only)
    for name in names:
        _check_shapes(name, [one[name] for one in headers], folders)
    if any(group_of(name) in ("embeddings", "lm head") for name in names):
        for folder in (robust, clean):
            _check_tokens(base, folder)
    return _Plan(folders, headers[0], lacking, names, one_head)


def _folder(role: str, model: str, warn: Say) -> Path:
    if ("+" in model and not Path(model).is_dir()) or (Path(model).is_dir() and is_adapter(Path(model))):
        raise WiseMergeError(
            f"{role} {model} is a LoRA adapter, and a signature is taken from whole weights; write its model first, by "
            "`wise-merge merge` and a recipe with `merge_method: passthrough` and BASE+ADAPTER as the one model"
        )
    return folder_of(role, model, warn)


def _names(headers: Sequence[Mapping[str, TensorHeader]], *, without_head: bool) -> list[str]:
    """Return the tensors that can have a signature: floating, and in all; a head beside what it is tied to has none."""
    return [
        name
        for name, header in headers[0].items()
        if all(name in one for one in headers)
        and header.dtype in FLOATING
        and not COMPUTED.search(name)
        and not (without_head and is_head(name) and counterpart(name, headers[0]) is not None)
    ]


def _check_shapes(name: str, headers: Sequence[TensorHeader], folders: Sequence[Path]) -> None:
    for role, folder, header in zip(ROLES, folders, headers, strict=True):
        if header.shape != headers[2].shape:
            raise WiseMergeError(
                f"tensor {name} has shape {headers[2].shape} in base {folders[2]} but {header.shape} in {role} "
                f"{folder}; leave it out, by --layers or --only, or take a base with the same tokens"
            )
        if header.dtype not in FLOATING:
            raise WiseMergeError(f"tensor {name} is {header.dtype} in {role} {folder}; save the checkpoint in bfloat16")


def _check_tokens(base: Path, other: Path) -> None:
    try:
        compare_tokens(base, other)
    except WiseMergeError as error:
        reason = str(error).partition(", so rows")[0]
        raise WiseMergeError(
            f"{reason}, so the rows of embeddings and LM head mean different tokens; leave them out, such as by "
            "--layers, or take checkpoints of one tokenizer"
        ) from error


def _write(
    models: Sequence[str],
    plan: _Plan,
    out: Path,
    choice: Choice,
    digests: Sequence["Future[str]"],
    say: Say,
    warn: Say,
) -> None:
    from wise_merge.checkpoints.weights import open_tensors
    from wise_merge.signature.extraction import headers_of, measured, write
    from wise_merge.signature.table import LEGEND, Row, lost_warning, size_of, table

    states = [
        completed(open_tensors(folder), lacking) for folder, lacking in zip(plan.folders, plan.lacking, strict=True)
    ]
    total = sum(states[0][name].numel() for name in plan.names)
    with text.bar(total=total, what="projecting", unit=" parameters", scaled=True) as shown:
        projections = measured(plan.names, states, models, shown.update)
    left = {name: sums for name, sums in projections.items() if not sums.is_empty}
    if not left:
        raise WiseMergeError(
            f"robust {models[0]} equals base or clean in all {len(projections)} tensors that were asked for, so there "
            "is no signature; ask for others, by --layers or --only"
        )
    headers = headers_of(list(left), states[0], choice.dtype)
    metadata = {
        "architecture": str(read_config(plan.folders[0])["architectures"][0]),
        "dtype": choice.dtype,
        "tied": "true" if plan.tied else "false",
        **dict(zip(ROLES, models, strict=True)),
        **{f"{role}_digest": digest.result() for role, digest in zip(ROLES, digests, strict=True)},
    }
    with written_in_parts(out, KIND, headers, metadata) as parts:
        total = sum(sums.elements for sums in left.values())
        with text.bar(total=total, what="writing", unit=" parameters", scaled=True) as shown:
            stored = write(left, states, parts, choice.dtype, shown.update)
    sizes = {name: size_of(headers[name]) for name in left}
    if choice.dtype == "int8":
        sizes = {name: size + size_of(headers[name + SCALE]) for name, size in sizes.items()}
    rows = [Row(name, sums, stored[name], sizes[name]) for name, sums in left.items()]
    full = {name: size_of(header) for name, header in plan.headers.items()}
    say(f"{table(rows, full)}\n\n{LEGEND}\n")
    equal = len(projections) - len(left)
    none = f"; {text.counted(equal, 'tensor')} equal in robust and base or clean, without one" if equal else ""
    say(
        f"Wrote {out}: {text.size(out.stat().st_size)} beside {text.size(sum(full.values()))} of weights, "
        f"{text.counted(len(left), 'tensor')} in {choice.dtype}{none}."
    )
    lost = lost_warning(rows, choice.dtype)
    if lost is not None:
        warn(lost)
