"""Whether an early and a late checkpoint are what their names say: of one run, in this order, and different."""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from wise_merge.checkpoints.equality import same_weights
from wise_merge.checkpoints.folder import losses, read_state, step_of


def pair_warnings(early: Path, late: Path) -> list[str]:
    """Return what is odd about averaging these two folders, a sentence each; empty if nothing is.

    Odd are equal weights, an early checkpoint of a later step, and logs that disagree on the steps that both have
    behind them. Of a LoRA checkpoint, give the folder of the adapter. Both must be whole.
    """
    warnings = []
    states = [read_state(early), read_state(late)]
    steps = [step_of(folder, state) for folder, state in zip((early, late), states, strict=True)]
    early_name, late_name = (
        f"{folder}" if step is None else f"{folder} (step {step})"
        for folder, step in zip((early, late), steps, strict=True)
    )
    if same_weights(early, late):
        warnings.append(
            f"early and late hold the same weights, so every alpha gives them again: {early_name}, {late_name}"
        )
    if steps[0] is not None and steps[1] is not None and steps[0] > steps[1]:
        warnings.append(
            f"early and late look swapped: {early_name} is named as early (alpha 0) and {late_name} as late (alpha 1)"
        )
    disagreement = first_disagreement(*states)
    if disagreement is not None:
        step, early_loss, late_loss = disagreement
        warnings.append(
            f"{early_name} and {late_name} are of different runs: at step {step} one logged a loss of {early_loss:g}, "
            f"the other {late_loss:g}"
        )
    return warnings


def first_disagreement(one: Mapping[str, Any], other: Mapping[str, Any]) -> tuple[float, float, float] | None:
    """Return the first step at which two logs have different losses, and these; None if there is none.

    A later checkpoint of a run holds the log of an earlier one, number for number.
    """
    first, second = losses(one), losses(other)
    for step in sorted(first.keys() & second.keys()):
        if first[step] != second[step] and not (math.isnan(first[step]) and math.isnan(second[step])):
            return step, first[step], second[step]
    return None
