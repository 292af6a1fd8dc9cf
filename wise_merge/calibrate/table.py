"""What `wise-merge fit temperature` prints, and the recipe for mergekit that it writes."""

import json
import math
import re
from collections.abc import Sequence

from wise_merge import text
from wise_merge.calibrate.result import Calibrated
from wise_merge.calibrate.sequences import Data, described
from wise_merge.estimators.calibration import BINS, Fit


def table(data: Data, calibrated: Sequence[Calibrated]) -> str:
    """Return the figures of both checkpoints, a line each, under a line about the data."""
    head = ["", "checkpoint", "temperature", "NLL", "after", "ECE", "after"]
    rows = [
        [
            one.role,
            one.name,
            uncertain(one.fit),
            f"{one.before.nll:.4f}",
            f"{one.after.nll:.4f}",
            f"{one.before.error:.4f}",
            f"{one.after.error:.4f}",
        ]
        for one in calibrated
    ]
    return "\n".join(
        [
            described(data),
            "",
            *text.table([head, *rows]),
            "",
            "NLL: nats per token. ECE: expected calibration error per token, "
            f"{BINS} bins. Each at temperature 1, then at the fitted one.",
            "± one standard error and [95 % interval], both over sequences.",
        ]
    )


def uncertain(fit: Fit) -> str:
    """Return a temperature with its standard error and interval; alone where a single sequence tells of none."""
    if math.isnan(fit.standard_error):
        return f"{fit.temperature:.4f}"
    return f"{fit.temperature:.4f} ± {fit.standard_error:.4f} [{fit.low:.4f}, {fit.high:.4f}]"


def recipe(data: Data, calibrated: Sequence[Calibrated], alpha: float, dtype: str | None) -> str:
    """Return the YAML for mergekit that folds both temperatures and averages; `calibrated` is early, then late."""
    early, late = calibrated
    lines = [
        "# Balanced averaging: each checkpoint is first calibrated by its own temperature (above 1: less confident).",
        "# Temperatures fitted by wise-merge fit temperature, each ± its standard error, on",
        f"# {_one_line(described(data))}.",
        "merge_method: bang",
        f"base_model: {_scalar(early.name)}  # early",
        "models:",
    ]
    for one in (early, late):
        error = "" if math.isnan(one.fit.standard_error) else f"  # ± {one.fit.standard_error:.4f}"
        lines += [
            f"  - model: {_scalar(one.name)}",
            "    parameters:",
            f"      temperature: {one.fit.temperature:.4f}{error}",
        ]
    lines += ["parameters:", f"  alpha: {alpha:g}  # 0 = early, 1 = late"]
    if dtype is not None:
        lines.append(f"dtype: {dtype}")
    return "\n".join(lines) + "\n"


def _scalar(text: str) -> str:
    """Return a string of YAML: as it stands where nothing else can be meant, else quoted as in JSON."""
    plain = "/" in text and re.fullmatch(r"[\w./][\w./+@-]*", text)
    return text if plain else json.dumps(text, ensure_ascii=False)


def _one_line(text: str) -> str:
    return " ".join(text.split())
