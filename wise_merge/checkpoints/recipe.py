"""The recipe that averages checkpoints of a run: two of them, or many."""

import json
import re
from collections.abc import Sequence
from pathlib import Path

from wise_merge.checkpoints.adapters import read_adapter
from wise_merge.checkpoints.folder import Checkpoint, label
from wise_merge.errors import WiseMergeError
from wise_merge.kernels.moving_average import moving_average_weights
from wise_merge.kernels.ranges import check_alpha

_RUN_IT = "# Run it where the paths below lead to them: wise-merge merge THIS_FILE OUT\n"


def recipe(early: Checkpoint, late: Checkpoint, alpha: float) -> str:
    """Return the recipe that averages two checkpoints; paths are as seen from the current folder."""
    check_alpha(alpha)
    return (
        f"# early: {label(early)}\n"
        f"# late:  {label(late)}\n"
        f"{_RUN_IT}"
        "merge_method: wise_ft\n"
        f"base_model: {_scalar(_reference(early))}\n"
        "models:\n"
        f"  - model: {_scalar(_reference(late))}\n"
        "parameters:\n"
        f"  alpha: {alpha:g}  # 0 = early, 1 = late\n"
    )


def soup_recipe(checkpoints: Sequence[Checkpoint], decay: float | None = None) -> str:
    """Return the recipe of the mean of checkpoints; given a decay, of their moving average in this order."""
    n = len(checkpoints)
    head = f"# The mean of {n} checkpoints of a run.\n"
    weights: Sequence[float | None] = [None] * n
    if decay is not None:
        head = f"# The exponential moving average of {n} checkpoints of a run, decay {decay:g}, as weights.\n"
        weights = moving_average_weights(n, decay)
    lines = [head, _RUN_IT, "merge_method: uniform_soup\n", "models:\n"]
    for checkpoint, weight in zip(checkpoints, weights, strict=True):
        lines.append(f"  - model: {_scalar(_reference(checkpoint))}  # {label(checkpoint)}\n")
        if weight is not None:
            lines.append(f"    parameters:\n      weight: {_number(weight)}\n")
    return "".join(lines)


def _number(value: float) -> str:
    """Return a number with all its digits, as YAML reads it back: without a point, 1e-05 would be a text."""
    digits, exponent, power = repr(value).partition("e")
    return digits + ("" if "." in digits else ".0") + exponent + power


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
