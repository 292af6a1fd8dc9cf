"""The checkpoints that a training run has left: which are whole, what the log says of them, and a recipe for two.

Knows the folders of transformers' Trainer and what is built on it (TRL, axolotl), the early checkpoints that
`wise_merge.training` keeps beside them, and folders named by step or epoch, such as torchtune's. Reads no weight.
"""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from wise_merge import text
from wise_merge.checkpoints.adapters import adapter_file, read_adapter
from wise_merge.checkpoints.headers import read_config, read_headers, weight_files
from wise_merge.checkpoints.pairs import first_disagreement, losses, read_state, same_weights, step_of
from wise_merge.errors import WiseMergeError

#: What folders of checkpoints are called, such as checkpoint-25, step_100, epoch_0, global_step50, epoch_1-step_9.
_NAME = re.compile(r"(?:(?:checkpoint|ckpt|global|step|iter|epoch)[-_=]?\d*[-_]?)+", re.IGNORECASE)
_EPOCH = re.compile(r"epoch[-_=]?(\d+)", re.IGNORECASE)

#: What the Trainer writes before trainer_state.json: with one of these and without it, a save was cut short.
_OF_THE_TRAINER = ("optimizer.pt", "optimizer.bin", "scheduler.pt", "rng_state.pth", "training_args.bin")


@dataclass(frozen=True)
class Checkpoint:
    """What is known of a checkpoint of a run."""

    path: Path
    #: From trainer_state.json, else from the folder's name; None where neither tells.
    step: int | None
    epoch: float | None
    #: The last training loss that was logged at or before the step, and the evaluation's.
    loss: float | None
    eval_loss: float | None
    #: "full" or "LoRA"
    kind: str
    #: Of the model or the adapter alone, and of the whole folder.
    weight_bytes: int
    total_bytes: int
    #: Why it must not be used, in words; None for a whole checkpoint.
    problem: str | None
    #: Whether it is the run's folder itself, in which training left its last model.
    final: bool = False


def find_checkpoints(run: Path) -> list[Checkpoint]:
    """Return the checkpoints of a run in the order of their steps, those that are not whole among them.

    Looks into `run` and into `run`/early. Where both have a step, the one in early is returned, which no
    `save_total_limit` deletes; if their weights differ, it is of another run, and both are returned.
    """
    if not run.is_dir():
        raise WiseMergeError(f"{run} does not exist or is not a directory; name the output_dir of a training run")
    folders = sorted(path for path in run.iterdir() if path.is_dir() and _is_named_as_checkpoint(path.name))
    kept = run / "early"
    early = sorted(path for path in kept.iterdir() if path.is_dir()) if kept.is_dir() else []
    early = [path for path in early if _is_named_as_checkpoint(path.name)]
    records = _records(kept / "checkpoints.json")
    by_trainer = any((path / "trainer_state.json").is_file() for path in (*folders, *early))
    found = [_read(path, records, by_trainer=by_trainer) for path in (*early, *folders)]
    if any((run / name).is_file() for name in ("config.json", "adapter_config.json")):
        found.append(_read(run, {}, by_trainer=False, final=True))
    if not found:
        raise WiseMergeError(
            f"{run} holds no checkpoints: no folders such as checkpoint-25 or step_25, and no model of its own; "
            "name the output_dir of a training run"
        )
    return sorted(_without_doubles(_with_strangers_named(found), kept), key=_order)


def choose(
    checkpoints: Sequence[Checkpoint], early: str | None = None, late: str | None = None
) -> tuple[Checkpoint, Checkpoint]:
    """Return the early and the late checkpoint by step or by name of folder; else the first and the last whole one.

    A run's final model is the late one only where it is named ("final") or there is no other.
    """
    whole = [checkpoint for checkpoint in checkpoints if checkpoint.problem is None]
    if len(whole) < 2:
        raise WiseMergeError(
            f"a merge needs two whole checkpoints; there {'is 1' if whole else 'are 0'} of {len(checkpoints)}. "
            "Train with save_strategy and without a save_total_limit that deletes the early ones"
        )
    numbered = [checkpoint for checkpoint in whole if not checkpoint.final]
    first = whole[0] if early is None else _named(checkpoints, early)
    last = (numbered if len(numbered) > 1 else whole)[-1] if late is None else _named(checkpoints, late)
    if first == last:
        raise WiseMergeError(f"early and late are both {first.path}; a merge needs two checkpoints")
    if _order(first) > _order(last):
        raise WiseMergeError(f"early must come before late; got {label(first)} and {label(last)}")
    if first.kind != last.kind:
        raise WiseMergeError(
            f"{first.path} is a {first.kind} checkpoint and {last.path} is {last.kind}; name two alike"
        )
    return first, last


def recipe(early: Checkpoint, late: Checkpoint, alpha: float) -> str:
    """Return the recipe that averages two checkpoints; paths are as seen from the current folder."""
    if not 0.0 <= alpha <= 1.0:
        raise WiseMergeError(f"alpha must lie in [0, 1] (0 = early, 1 = late); got {alpha}")
    return (
        f"# early: {label(early)}\n"
        f"# late:  {label(late)}\n"
        "# Run it where the paths below lead to them: wise-merge merge THIS_FILE OUT\n"
        "merge_method: wise_ft\n"
        f"base_model: {_scalar(_reference(early))}\n"
        "models:\n"
        f"  - model: {_scalar(_reference(late))}\n"
        "parameters:\n"
        f"  alpha: {alpha:g}  # 0 = early, 1 = late\n"
    )


def label(checkpoint: Checkpoint) -> str:
    """Return a checkpoint's step, epoch and losses in words, such as "step 25, epoch 0.5, loss 1.372"."""
    facts = [
        f"{name} {value}"
        for name, value in (
            ("step", _integer(checkpoint.step)),
            ("epoch", _decimal(checkpoint.epoch)),
            ("loss", _decimal(checkpoint.loss)),
            ("eval_loss", _decimal(checkpoint.eval_loss)),
        )
        if value != "-"
    ]
    return ", ".join(facts) or ("the final model" if checkpoint.final else checkpoint.path.name)


def table(checkpoints: Sequence[Checkpoint]) -> str:
    """Return the checkpoints for people and pipes: a line each, aligned."""
    head = ["step", "epoch", "loss", "eval_loss", "weights", "total", "kind", "path"]
    rows = [
        [
            "final" if checkpoint.final and checkpoint.step is None else _integer(checkpoint.step),
            _decimal(checkpoint.epoch),
            _decimal(checkpoint.loss),
            _decimal(checkpoint.eval_loss),
            text.size(checkpoint.weight_bytes),
            text.size(checkpoint.total_bytes),
            checkpoint.kind if checkpoint.problem is None else "broken",
            str(checkpoint.path) + (" (final)" if checkpoint.final else ""),
        ]
        for checkpoint in checkpoints
    ]
    if all(row[3] == "-" for row in rows):
        head, rows = [*head[:3], *head[4:]], [[*row[:3], *row[4:]] for row in rows]
    return "\n".join(text.table([head, *rows], ">" * (len(head) - 2) + "<"))


def _is_named_as_checkpoint(name: str) -> bool:
    return bool(_NAME.fullmatch(name)) and any(letter.isdigit() for letter in name)


def _read(path: Path, records: Mapping[int, Mapping[str, Any]], *, by_trainer: bool, final: bool = False) -> Checkpoint:
    state = read_state(path)
    step = step_of(path, state) if state or not final else None
    record = records.get(step, {}) if step is not None else {}
    epoch = _number(state.get("epoch"))
    if epoch is None:
        epoch = _number(record.get("epoch"))
    named = _EPOCH.search(path.name)
    if epoch is None and named and not final:
        epoch = float(named.group(1))
    loss = _last(losses(state), step)
    full = (path / "config.json").is_file() or not (path / "adapter_config.json").is_file()
    problem, weights = _problem(path, full=full)
    if problem is None and not final:
        problem = _cut_short(path, state, by_trainer=by_trainer)
    files = path.glob("*") if final else path.rglob("*")
    return Checkpoint(
        path=path,
        step=step,
        epoch=epoch,
        loss=_number(record.get("loss")) if loss is None else loss,
        eval_loss=_last(losses(state, "eval_loss"), step),
        kind="full" if full else "LoRA",
        weight_bytes=sum(file.stat().st_size for file in weights),
        total_bytes=sum(file.stat().st_size for file in files if file.is_file()),
        problem=problem,
        final=final,
    )


def _problem(path: Path, *, full: bool) -> tuple[str | None, list[Path]]:
    """Return why model or adapter are not whole, or None, and the weight files that are there."""
    weights: list[Path] = []
    try:
        if full:
            read_config(path)
            weights = [file for file in weight_files(path) if file.is_file()]
            read_headers(path)
        else:
            weights = [adapter_file(path)]
            read_adapter(path)
    except WiseMergeError as error:
        return str(error), weights
    return None, weights


def _cut_short(path: Path, state: Mapping[str, Any], *, by_trainer: bool) -> str | None:
    """Return that trainer_state.json, which is written last, is not there or not whole, where one is to be expected."""
    file = path / "trainer_state.json"
    if state or not (by_trainer or any((path / name).is_file() for name in _OF_THE_TRAINER)):
        return None
    return f"{file} {'cannot be read' if file.is_file() else 'is missing'}, so saving was cut short"


def _with_strangers_named(found: Sequence[Checkpoint]) -> list[Checkpoint]:
    """Return the checkpoints with a problem noted in those whose log is not that of the last one."""
    whole = [checkpoint for checkpoint in found if checkpoint.problem is None and not checkpoint.final]
    if not whole:
        return list(found)
    last = max(whole, key=_order)
    named = []
    for checkpoint in found:
        parting = first_disagreement(read_state(checkpoint.path), read_state(last.path))
        if checkpoint.problem is None and parting is not None:
            step, loss, last_loss = parting
            checkpoint = replace(
                checkpoint,
                problem=f"{checkpoint.path} is of another run than {last.path}: at step {step} its log has a loss of "
                f"{loss:g}, the other {last_loss:g}",
            )
        named.append(checkpoint)
    return named


def _without_doubles(found: Sequence[Checkpoint], kept: Path) -> list[Checkpoint]:
    result = list(found)
    for early in [checkpoint for checkpoint in found if checkpoint.path.parent == kept]:
        for other in [checkpoint for checkpoint in found if checkpoint.path.parent != kept and not checkpoint.final]:
            if early.step is None or early.step != other.step:
                continue
            if early.problem is None and other.problem is None:
                if same_weights(early.path, other.path) is False:
                    problem = f"{early.path} and {other.path} differ, so the first is of another run"
                    result[result.index(early)] = replace(early, problem=problem)
                else:
                    result.remove(other)
            elif early.problem is None:
                result.remove(other)
            else:
                result.remove(early)
            break
    return result


def _order(checkpoint: Checkpoint) -> tuple[bool, float, float]:
    last = float("inf")
    step, epoch = checkpoint.step, checkpoint.epoch
    if step is None and not checkpoint.final:
        return False, -1.0 if epoch is None else epoch, 0.0
    return checkpoint.final, last if step is None else step, last if epoch is None else epoch


def _named(checkpoints: Sequence[Checkpoint], name: str) -> Checkpoint:
    matches = [
        checkpoint
        for checkpoint in checkpoints
        if (str(checkpoint.step) == name and not checkpoint.final)
        or checkpoint.path.name == name
        or (checkpoint.final and name == "final")
    ]
    for checkpoint in matches:
        if checkpoint.problem is None:
            return checkpoint
    wanted = f"checkpoint of step {name}" if name.isdigit() else f"checkpoint {name}"
    if matches:
        raise WiseMergeError(f"the {wanted} cannot be used: {matches[0].problem}")
    whole = [checkpoint for checkpoint in checkpoints if checkpoint.problem is None]
    names = [
        "final" if checkpoint.final else checkpoint.path.name if checkpoint.step is None else str(checkpoint.step)
        for checkpoint in whole
    ]
    if len(names) > 10 and name.isdigit():
        near = sorted((abs(int(other) - int(name)), place) for place, other in enumerate(names) if other.isdigit())[:4]
        names = [names[place] for place in sorted(place for _, place in near)]
        raise WiseMergeError(f"there is no {wanted}; the nearest are {', '.join(names)}")
    raise WiseMergeError(f"there is no {wanted}; there are {', '.join(names)}")


def _reference(checkpoint: Checkpoint) -> str:
    """Return how mergekit's YAML names a checkpoint: a path, or BASE+ADAPTER."""
    parts = [str(checkpoint.path)]
    if checkpoint.kind == "LoRA":
        base = read_adapter(checkpoint.path).base
        place = checkpoint.path / "adapter_config.json"
        if base is None:
            raise WiseMergeError(f"{place} does not name the base model; write base_model_name_or_path into it")
        if not Path(base).is_dir() and not re.fullmatch(r"[\w-][\w.-]*(/[\w.-]+)?", base):
            raise WiseMergeError(
                f"the base model {base} that {place} names is not there; correct base_model_name_or_path"
            )
        parts.insert(0, base)
    for part in parts:
        if "+" in part or "@" in part:
            raise WiseMergeError(f"mergekit takes + and @ in {part} for its own signs; rename the folder")
    return "+".join(parts)


def _scalar(text: str) -> str:
    """Return a path as YAML reads it back."""
    plain = re.fullmatch(r"[\w./][\w./+-]*", text, re.ASCII) and re.search(r"[A-Za-z]", text)
    return text if plain else json.dumps(text, ensure_ascii=False)


def _records(path: Path) -> dict[int, Mapping[str, Any]]:
    """Return what the training callback noted of the early checkpoints, by step."""
    try:
        entries = json.loads(path.read_text(encoding="utf-8"))["checkpoints"]
        return {entry["step"]: entry for entry in entries}
    except (OSError, ValueError, KeyError, TypeError):
        return {}


def _last(values: Mapping[float, float], step: int | None) -> float | None:
    steps = [at for at in values if step is None or at <= step]
    return values[max(steps)] if steps else None


def _number(value: Any) -> float | None:
    return float(value) if isinstance(value, (int, float)) else None


def _integer(value: int | None) -> str:
    return "-" if value is None else str(value)


def _decimal(value: float | None) -> str:
    return "-" if value is None else f"{value:.4g}"
