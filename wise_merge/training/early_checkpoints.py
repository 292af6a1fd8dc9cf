"""A callback of transformers' Trainer that keeps early checkpoints, dense at first, where nothing deletes them.

The Trainer saves them itself, so whatever it can train it can keep: LoRA adapters, sharded models. What is kept is the
model, in `early/` within the run's folder: out of reach of `save_total_limit`, found by `wise-merge checkpoints`.
"""

import fnmatch
import json
import math
import os
import shutil
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from transformers import TrainerCallback

from wise_merge.checkpoints.folder import losses, read_state
from wise_merge.checkpoints.replacing import put_in_order, replace_folder
from wise_merge.errors import WiseMergeError

#: Files of a checkpoint that only resuming needs.
_NOT_THE_MODEL = (
    *("optimizer*", "scheduler.pt", "scaler.pt", "rng_state*", "training_args.bin"),
    *("global_step*", "latest", "zero_to_fp32.py"),  # DeepSpeed
)
_WEIGHTS = ("*.safetensors", "*.bin")
#: A folder that is not finished yet, or one that a newer one is about to replace. Neither matches checkpoint-*.
_PARTIAL, _OLD = "partial-", "old-"


class KeepEarlyCheckpoints(TrainerCallback):
    """Callback that saves and keeps the checkpoints of steps 25, 50, 100, 200 and so on.

    At these steps it has the Trainer save, whatever `save_strategy` says. Then the model part of the new
    `checkpoint-N` appears in `OUTPUT_DIR/early/checkpoint-N`, all at once: weight files as hard links, which take no
    space of their own until the Trainer deletes its checkpoint, the others as copies. `checkpoints.json` beside them
    lists what is there.

    Args:
        first: the first step that is kept.
        ratio: each further one is this many times the one before, rounded; above 1.
        steps: exactly these steps instead.
    """

    def __init__(self, first: int = 25, ratio: float = 2.0, *, steps: Sequence[int] | None = None) -> None:
        if steps is None and (first < 1 or not (math.isfinite(ratio) and ratio > 1)):
            raise WiseMergeError(f"early checkpoints need first >= 1 and ratio > 1; got first={first}, ratio={ratio}")
        if steps is not None and (not steps or min(steps) < 1):
            raise WiseMergeError(f"steps of early checkpoints must be positive, and at least one; got {list(steps)}")
        self.first, self.ratio, self.steps = first, ratio, steps
        self._due = False

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Put in order what a killed run left; refuse the early checkpoints of another run."""
        self._due = False
        early = _folder(args)
        if not args.should_save or not early.is_dir():
            return
        _tidy(early)
        kept = kept_checkpoints(early)
        if kept and state.global_step == 0:
            raise WiseMergeError(
                f"{early} holds {', '.join(path.name for path in kept)} of an earlier run, and this one starts at "
                "step 0; resume that run (resume_from_checkpoint), delete the folder, or choose another output_dir"
            )
        write_index(early)

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Ask the Trainer to save if this step is one to keep."""
        self._due = self._due or self._is_kept(state.global_step)
        # Still due at the next step where the Trainer did not save: save_strategy="best" overrules callbacks at a step
        # at which it evaluates.
        if self._due:
            control.should_save = True

    def on_save(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Keep what the Trainer has just saved, if it is due."""
        if not self._due:
            return
        self._due = False
        if args.should_save:
            keep_checkpoint(Path(args.output_dir) / f"checkpoint-{state.global_step}", _folder(args))

    def _is_kept(self, step: int) -> bool:
        if self.steps is not None:
            return step in self.steps
        return step in early_steps(self.first, self.ratio, last=step)


def early_steps(first: int, ratio: float, *, last: int) -> list[int]:
    """Return first, first * ratio, first * ratio^2, ... up to `last`, rounded, each step once.

    >>> early_steps(25, 2, last=300)
    [25, 50, 100, 200]
    """
    steps: list[int] = []
    exact = float(first)
    while round(exact) <= last:
        if round(exact) not in steps:
            steps.append(round(exact))
        exact *= ratio
    return steps


def keep_checkpoint(checkpoint: Path, early: Path) -> Path | None:
    """Return the folder within `early` that now holds the model part of a checkpoint that the Trainer saved.

    It replaces one of the same step whole, and is listed in `early`/checkpoints.json. None, with a warning, if the
    checkpoint has no weights that transformers or peft could load.
    """
    if not checkpoint.is_dir():
        raise WiseMergeError(
            f"{checkpoint} is not there right after it was saved; KeepEarlyCheckpoints needs the Trainer to save into "
            "output_dir (a hyperparameter search does not)"
        )
    files = [path for path in sorted(checkpoint.rglob("*")) if path.is_file() and _is_of_the_model(path, checkpoint)]
    if not any(fnmatch.fnmatch(path.name, pattern) for path in files for pattern in _WEIGHTS):
        warnings.warn(
            f"{checkpoint} holds no *.safetensors or *.bin, so it is not kept: a sharded run must save whole models "
            "(DeepSpeed ZeRO-3: stage3_gather_16bit_weights_on_model_save; FSDP: FULL_STATE_DICT)",
            stacklevel=2,
        )
        return None
    early.mkdir(exist_ok=True)
    partial, old, kept = (early / f"{prefix}{checkpoint.name}" for prefix in (_PARTIAL, _OLD, ""))
    shutil.rmtree(partial, ignore_errors=True)
    for path in files:
        target = partial / path.relative_to(checkpoint)
        target.parent.mkdir(parents=True, exist_ok=True)
        if any(fnmatch.fnmatch(path.name, pattern) for pattern in _WEIGHTS):
            _link(path, target)
        else:
            # Not linked: the Trainer rewrites these in place when it comes to the same step again.
            shutil.copy2(path, target)
    replaced = replace_folder(partial, kept, old)
    if replaced is not None:
        shutil.rmtree(replaced, ignore_errors=True)
    write_index(early)
    return kept


def kept_checkpoints(early: Path) -> list[Path]:
    """Return the folders of whole checkpoints within `early`, by step."""
    folders = [path for path in early.glob("checkpoint-*") if path.name.removeprefix("checkpoint-").isdigit()]
    return sorted(folders, key=_step)


def write_index(early: Path) -> None:
    """Write `early`/checkpoints.json from the folders in it: step, epoch, last logged training loss, path of each."""
    entries = []
    for path in kept_checkpoints(early):
        state = read_state(path)
        logged = losses(state)
        loss = logged[max(logged)] if logged else None
        # JSON has no NaN.
        loss = loss if loss is not None and math.isfinite(loss) else None
        entries.append({"step": _step(path), "epoch": state.get("epoch"), "loss": loss, "path": path.name})
    partial = early / f"{_PARTIAL}checkpoints.json"
    partial.write_text(json.dumps({"checkpoints": entries}, indent=1) + "\n")
    partial.replace(early / "checkpoints.json")


def _folder(args: Any) -> Path:
    return Path(args.output_dir) / "early"


def _step(folder: Path) -> int:
    return int(folder.name.removeprefix("checkpoint-"))


def _is_of_the_model(path: Path, checkpoint: Path) -> bool:
    # The first part: DeepSpeed and sharded optimizers have folders.
    name = path.relative_to(checkpoint).parts[0]
    return not any(fnmatch.fnmatch(name, pattern) for pattern in _NOT_THE_MODEL)


def _link(source: Path, target: Path) -> None:
    try:
        os.link(source, target)
    except OSError:
        # Some file systems have no hard links.
        shutil.copy2(source, target)


def _tidy(early: Path) -> None:
    """Finish or undo what a kill interrupted: drop what was half built, put back what was to be replaced."""
    for old in early.glob(f"{_OLD}checkpoint-*"):
        name = old.name.removeprefix(_OLD)
        if not put_in_order(early / f"{_PARTIAL}{name}", early / name, old):
            raise WiseMergeError(
                f"{old} holds the early checkpoint that was to be replaced when a run was killed, and {early / name} "
                "has come from elsewhere since; move one of the two away"
            )
    for partial in early.glob(f"{_PARTIAL}*"):
        if partial.is_dir():
            shutil.rmtree(partial)
        else:
            partial.unlink()
