"""The recipe that averages two checkpoints of a run."""

import json
import re
from pathlib import Path

from wise_merge.checkpoints.adapters import read_adapter
from wise_merge.checkpoints.folder import Checkpoint, label
from wise_merge.errors import WiseMergeError
from wise_merge.kernels.ranges import check_alpha


def recipe(early: Checkpoint, late: Checkpoint, alpha: float) -> str:
    """Return the recipe that averages two checkpoints; paths are as seen from the current folder."""
    check_alpha(alpha)
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
