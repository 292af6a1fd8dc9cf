"""The checkpoints that a training run has left: which there are, which belong to it, and which to merge.

Knows the folders of transformers' Trainer, the early checkpoints that `wise_merge.training` keeps beside them, and
folders named by step or epoch, such as torchtune's. What one checkpoint is, `folder` says.
"""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from wise_merge.checkpoints.equality import same_weights
from wise_merge.checkpoints.folder import Checkpoint, label, read_checkpoint, read_state
from wise_merge.checkpoints.pairs import first_disagreement
from wise_merge.errors import WiseMergeError

#: What folders of checkpoints are called, such as checkpoint-25, step_100, epoch_0, global_step50, epoch_1-step_9.
_NAME = re.compile(r"(?:(?:checkpoint|ckpt|global|step|iter|epoch)[-_=]?\d*[-_]?)+", re.IGNORECASE)


def find_checkpoints(run: Path) -> list[Checkpoint]:
    """Return the checkpoints of a run in the order of their steps, those that are not whole among them.

    Looks into `run` and into `run`/early. Where both have a step, the one in early is returned, which no
    `save_total_limit` deletes; if their weights differ, it is of another run, and both are returned.
    """
    if not run.is_dir():
        raise WiseMergeError(f"{run} does not exist or is not a directory; name the output_dir of a training run")
    folders = sorted(path for path in run.iterdir() if path.is_dir() and _is_named_as_checkpoint(path.name))
    early_folder = run / "early"
    early = sorted(path for path in early_folder.iterdir() if path.is_dir()) if early_folder.is_dir() else []
    early = [path for path in early if _is_named_as_checkpoint(path.name)]
    records = _records(early_folder / "checkpoints.json")
    by_trainer = any((path / "trainer_state.json").is_file() for path in (*folders, *early))
    checkpoints = [read_checkpoint(path, records, by_trainer=by_trainer) for path in (*early, *folders)]
    if any((run / name).is_file() for name in ("config.json", "adapter_config.json")):
        checkpoints.append(read_checkpoint(run, {}, by_trainer=False, final=True))
    if not checkpoints:
        raise WiseMergeError(
            f"{run} holds no checkpoints: no folders such as checkpoint-25 or step_25, and no model of its own; "
            "name the output_dir of a training run"
        )
    return sorted(_without_duplicates(_with_other_runs_marked(checkpoints), early_folder), key=_order)


def choose(
    checkpoints: Sequence[Checkpoint], early: str | None = None, late: str | None = None
) -> tuple[Checkpoint, Checkpoint]:
    """Return the early and the late checkpoint by step or by name of folder; else the first and the last whole one.

    A run's final model is the late one only where it is named ("final") or there is no other.
    """
    whole = _whole(checkpoints)
    first = whole[0] if early is None else _named(checkpoints, early)
    last = _without_final(whole)[-1] if late is None else _named(checkpoints, late)
    if first == last:
        raise WiseMergeError(f"early and late are both {first.path}; a merge needs two checkpoints")
    if _order(first) > _order(last):
        raise WiseMergeError(f"early must come before late; got {label(first)} and {label(last)}")
    if first.kind != last.kind:
        raise WiseMergeError(
            f"{first.path} is a {first.kind} checkpoint and {last.path} is {last.kind}; name two alike"
        )
    return first, last


def choose_many(
    checkpoints: Sequence[Checkpoint], *, last: int | None = None, start: str | None = None, every: int | None = None
) -> list[Checkpoint]:
    """Return at least two whole checkpoints of a run, in the order of their steps.

    A run's final model is among them only where there is no other second one.

    Args:
        checkpoints: all of the run.
        last: take that many, the latest, of what the others leave.
        start: take those of this step or later; or a name of a folder, that one and later.
        every: take the last, and before it each checkpoint of that number.
    """
    chosen = whole = _without_final(_whole(checkpoints))
    if start is not None:
        if start.isdigit() and all(one.step is not None for one in whole):
            chosen = [one for one in whole if one.step is not None and one.step >= int(start)]
        else:
            first = _order(_named(checkpoints, start))
            chosen = [one for one in whole if _order(one) >= first]
    if every is not None:
        chosen = chosen[::-every][::-1]
    if last is not None:
        if last > len(chosen):
            raise WiseMergeError(
                f"the last {last} checkpoints are wanted, and there are {len(chosen)} whole ones to choose from; "
                "ask for fewer"
            )
        chosen = chosen[-last:]
    if len(chosen) < 2:
        raise WiseMergeError(
            f"an average needs two checkpoints or more; of the {len(whole)} whole ones "
            f"{'1 is' if chosen else '0 are'} chosen. Choose more"
        )
    for one in chosen[1:]:
        if one.kind != chosen[0].kind:
            raise WiseMergeError(
                f"{chosen[0].path} is a {chosen[0].kind} checkpoint and {one.path} is {one.kind}; choose some alike"
            )
    return chosen


def _whole(checkpoints: Sequence[Checkpoint]) -> list[Checkpoint]:
    """Return those that can be merged, at least two."""
    whole = [checkpoint for checkpoint in checkpoints if checkpoint.problem is None]
    if len(whole) < 2:
        raise WiseMergeError(
            f"a merge needs two whole checkpoints; there {'is 1' if whole else 'are 0'} of {len(checkpoints)}. "
            "Train with save_strategy and without a save_total_limit that deletes the early ones"
        )
    return whole


def _without_final(whole: Sequence[Checkpoint]) -> list[Checkpoint]:
    """Return those with a number, which a final model mostly repeats; all if that would leave fewer than two."""
    numbered = [checkpoint for checkpoint in whole if not checkpoint.final]
    return numbered if len(numbered) > 1 else list(whole)


def _is_named_as_checkpoint(name: str) -> bool:
    return bool(_NAME.fullmatch(name)) and any(letter.isdigit() for letter in name)


def _with_other_runs_marked(checkpoints: Sequence[Checkpoint]) -> list[Checkpoint]:
    """Return the checkpoints with a problem noted in those whose log is not that of the last one."""
    whole = [checkpoint for checkpoint in checkpoints if checkpoint.problem is None and not checkpoint.final]
    if not whole:
        return list(checkpoints)
    last = max(whole, key=_order)
    log = read_state(last.path)
    marked = []
    for checkpoint in checkpoints:
        disagreement = first_disagreement(read_state(checkpoint.path), log)
        if checkpoint.problem is None and disagreement is not None:
            step, loss, last_loss = disagreement
            checkpoint = replace(
                checkpoint,
                problem=f"{checkpoint.path} is of another run than {last.path}: at step {step} its log has a loss of "
                f"{loss:g}, the other {last_loss:g}",
            )
        marked.append(checkpoint)
    return marked


def _without_duplicates(checkpoints: Sequence[Checkpoint], early_folder: Path) -> list[Checkpoint]:
    """Return one checkpoint of each step that is both in the run's folder and in `early_folder`, and all others."""
    result = list(checkpoints)
    in_run = [one for one in checkpoints if one.path.parent != early_folder and not one.final]
    for early in [checkpoint for checkpoint in checkpoints if checkpoint.path.parent == early_folder]:
        for other in in_run:
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


def _records(path: Path) -> dict[int, Mapping[str, Any]]:
    """Return what the training callback noted of the early checkpoints, by step."""
    try:
        entries = json.loads(path.read_text(encoding="utf-8"))["checkpoints"]
        return {entry["step"]: entry for entry in entries}
    except (OSError, ValueError, KeyError, TypeError):
        return {}
