"""What the folder of one checkpoint is: its step and what the log says, a model or an adapter, whole or not.

Knows what transformers' Trainer and what is built on it (TRL, axolotl) write, and folders that are named by step or
epoch. Reads no weight.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from wise_merge.checkpoints.adapters import read_adapter
from wise_merge.checkpoints.files import adapter_file, is_adapter, read_config, weight_files
from wise_merge.checkpoints.headers import read_headers
from wise_merge.errors import WiseMergeError

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
    #: Bytes of the model or the adapter alone, and of the whole folder.
    weight_bytes: int
    total_bytes: int
    #: Why it must not be used, as a sentence; None for a whole checkpoint.
    problem: str | None
    #: Whether it is the run's folder itself, in which training left its last model.
    final: bool = False


def read_checkpoint(
    path: Path, records: Mapping[int, Mapping[str, Any]], *, by_trainer: bool, final: bool = False
) -> Checkpoint:
    """Return what is known of a checkpoint.

    Args:
        path: its folder.
        records: what else was noted of checkpoints of its run, by step: epoch and loss.
        by_trainer: whether a trainer_state.json is to be expected, without which saving was cut short.
        final: whether it is the folder of the run itself.
    """
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
    problem, weights = _problem(path)
    if problem is None and not final:
        problem = _cut_short(path, state, by_trainer=by_trainer)
    files = path.glob("*") if final else path.rglob("*")
    return Checkpoint(
        path=path,
        step=step,
        epoch=epoch,
        loss=_number(record.get("loss")) if loss is None else loss,
        eval_loss=_last(losses(state, "eval_loss"), step),
        kind="LoRA" if is_adapter(path) else "full",
        weight_bytes=sum(file.stat().st_size for file in weights),
        total_bytes=sum(file.stat().st_size for file in files if file.is_file()),
        problem=problem,
        final=final,
    )


def read_state(directory: Path) -> dict[str, Any]:
    """Return trainer_state.json of a checkpoint; empty if there is none that can be read."""
    try:
        state = json.loads((directory / "trainer_state.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return state if isinstance(state, dict) else {}


def step_of(directory: Path, state: Mapping[str, Any] | None = None) -> int | None:
    """Return the step of a checkpoint by its trainer_state.json (`state`, if it has been read), else by its name."""
    step = (read_state(directory) if state is None else state).get("global_step")
    if isinstance(step, int):
        return step
    named = re.search(r"(?:checkpoint|ckpt|step|iter)[-_=]?(\d+)", directory.name, re.IGNORECASE)
    return int(named.group(1)) if named else None


def losses(state: Mapping[str, Any], key: str = "loss") -> dict[float, float]:
    """Return the logged losses by step; `key` may be "eval_loss"."""
    log = state.get("log_history")
    return {
        entry["step"]: float(entry[key])
        for entry in (log if isinstance(log, list) else [])
        if isinstance(entry, dict)
        and isinstance(entry.get("step"), (int, float))
        and isinstance(entry.get(key), (int, float))
    }


def label(checkpoint: Checkpoint) -> str:
    """Return a checkpoint's step, epoch and losses in words, such as "step 25, epoch 0.5, loss 1.372"."""
    facts = [
        f"{name} {value}"
        for name, value in (
            ("step", shown(checkpoint.step)),
            ("epoch", shown(checkpoint.epoch)),
            ("loss", shown(checkpoint.loss)),
            ("eval_loss", shown(checkpoint.eval_loss)),
        )
        if value != "-"
    ]
    return ", ".join(facts) or ("the final model" if checkpoint.final else checkpoint.path.name)


def shown(value: float | None) -> str:
    """Return a step as it is and other numbers in four digits; "-" for what is not known."""
    if value is None:
        return "-"
    return str(value) if isinstance(value, int) else f"{value:.4g}"


def _problem(path: Path) -> tuple[str | None, list[Path]]:
    """Return why model or adapter are not whole, or None, and the weight files that are there."""
    weights: list[Path] = []
    try:
        if is_adapter(path):
            weights = [adapter_file(path)]
            read_adapter(path)
        else:
            read_config(path)
            weights = [file for file in weight_files(path) if file.is_file()]
            read_headers(path)
    except WiseMergeError as error:
        return str(error), weights
    return None, weights


def _cut_short(path: Path, state: Mapping[str, Any], *, by_trainer: bool) -> str | None:
    """Return that trainer_state.json, which is written last, is not there or not whole, where one is to be expected."""
    file = path / "trainer_state.json"
    if state or not (by_trainer or any((path / name).is_file() for name in _OF_THE_TRAINER)):
        return None
    return f"{file} {'cannot be read' if file.is_file() else 'is missing'}, so saving was cut short"


def _last(values: Mapping[float, float], step: int | None) -> float | None:
    steps = [at for at in values if step is None or at <= step]
    return values[max(steps)] if steps else None


def _number(value: Any) -> float | None:
    return float(value) if isinstance(value, (int, float)) else None
