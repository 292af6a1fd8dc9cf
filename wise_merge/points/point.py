"""A point of a sweep: two checkpoints, how far to go from the first to the second, and a temperature of sampling."""

import hashlib
import json
import re
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Checkpoint:
    """One of the two checkpoints of a point.

    Attributes:
        name: as the user wrote it: a folder, or a model of the Hub.
        step: of training, None = unknown.
        digest: of its weights, tokenizer and settings; see `wise_merge.fingerprint`.
        balance: the temperature that is folded into it before averaging (`bang`); 1 = none.
    """

    name: str
    step: int | None
    digest: str
    balance: float = 1.0


@dataclass(frozen=True)
class Point:
    """A model of the sweep and the temperature at which it is sampled.

    Attributes:
        early: the checkpoint at alpha = 0.
        late: the checkpoint at alpha = 1.
        method: "wise_ft" or "bang".
        alpha: in [0, 1].
        temperature: of sampling; 0 = greedy.
        dtype: to which both checkpoints are cast before they are averaged, None = theirs.
        out_dtype: of the average, None = `dtype`.
    """

    early: Checkpoint
    late: Checkpoint
    method: str
    alpha: float
    temperature: float
    dtype: str | None = None
    out_dtype: str | None = None

    @cached_property
    def model(self) -> str:
        """32 hex digits that tell the model from all others; alpha = 0 is one model whatever the late checkpoint."""
        facts: dict[str, Any] = {"alpha": self.alpha, "method": self.method, "dtypes": [self.dtype, self.out_dtype]}
        for role, checkpoint, share in (("early", self.early, self.alpha < 1), ("late", self.late, self.alpha > 0)):
            if share:
                facts[role] = [checkpoint.digest, checkpoint.balance]
        if self.alpha in (0, 1):
            # An end is the same model in either role.
            facts |= {"alpha": None, "early": facts.get("early", facts.get("late")), "late": None}
        return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:32]

    @property
    def name(self) -> str:
        """What files are called after the point: late checkpoint, alpha and temperature, and no two points alike."""
        late = re.sub(r"[^A-Za-z0-9_.+-]+", "_", Path(self.late.name).name).lstrip(".")[:60] or "late"
        balance = "" if self.late.balance == 1 else f"-balance-{_exact(self.late.balance)}"
        return f"{late}-{self.late.digest[:8]}{balance}-alpha-{_exact(self.alpha)}-T-{_exact(self.temperature)}"

    @property
    def title(self) -> str:
        """What people read: such as checkpoint-800, alpha 0.3, T 1."""
        return f"{Path(self.late.name).name}, alpha {_exact(self.alpha)}, T {_exact(self.temperature)}"

    def recipe(self) -> dict[str, Any]:
        """Return the model as a recipe for mergekit, with checkpoints called as the user wrote them."""
        models: list[dict[str, Any]] = [{"model": self.late.name}]
        if self.method == "bang":
            models = [
                {"model": checkpoint.name, "parameters": {"temperature": checkpoint.balance}}
                for checkpoint in (self.early, self.late)
            ]
        found: dict[str, Any] = {
            "merge_method": self.method,
            "base_model": self.early.name,
            "models": models,
            "parameters": {"alpha": self.alpha},
        }
        for key, value in (("dtype", self.dtype), ("out_dtype", self.out_dtype)):
            if value is not None:
                found[key] = value
        return found


def _exact(number: float) -> str:
    """Return a number as short as it can be told from all others: 0.3, 1, 0.30000000000000004."""
    return f"{number:g}" if float(f"{number:g}") == number else repr(number)
