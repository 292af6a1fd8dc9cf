"""A point of a sweep: checkpoints, where among them the merge lies, and a temperature of sampling."""

import dataclasses
import hashlib
import json
import re
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from wise_merge.methods import METHODS
from wise_merge.recipes.models import Ingredients


@dataclass(frozen=True)
class PointCheckpoint:
    """One of the checkpoints of a point.

    Attributes:
        name: as the user wrote it: a folder, or a model of the Hub.
        step: of training, None = unknown.
        digest: of its weights, tokenizer and settings; see `wise_merge.checkpoints.fingerprint`.
        temperature: that is folded into it before averaging (`bang`); 1 = none.
    """

    name: str
    step: int | None
    digest: str
    temperature: float = 1.0


@dataclass(frozen=True)
class Coordinate:
    """The value of one parameter of a merge method, which tells the point from others of its sweep.

    Attributes:
        parameter: its name, such as alpha or weight.
        value: of it.
        checkpoint: the place of the one that it holds for among `Point.checkpoints`; None = for the whole merge.
    """

    parameter: str
    value: float
    checkpoint: int | None = None


@dataclass(frozen=True)
class Point:
    """A model of the sweep and the temperature at which it is sampled.

    Attributes:
        checkpoints: that are merged; the first is the reference "early", the last the reference "late".
        method: a name in `wise_merge.methods`.
        coordinates: of the merge.
        temperature: of sampling; 0 = greedy.
        dtype: to which the checkpoints are cast before they are merged, None = theirs.
        out_dtype: of the merge, None = `dtype`.
    """

    checkpoints: tuple[PointCheckpoint, ...]
    method: str
    coordinates: tuple[Coordinate, ...]
    temperature: float
    dtype: str | None = None
    out_dtype: str | None = None

    @property
    def early(self) -> PointCheckpoint:
        """The first checkpoint."""
        return self.checkpoints[0]

    @property
    def late(self) -> PointCheckpoint:
        """The last checkpoint."""
        return self.checkpoints[-1]

    @property
    def alpha(self) -> float | None:
        """Where on the line from early to late the merge lies, in [0, 1]; None for methods without such a line."""
        line = METHODS[self.method].line
        return None if line is None else next(one.value for one in self.coordinates if one.parameter == line)

    @property
    def unmerged(self) -> int | None:
        """The place of the checkpoint whose weights the point has as they are; None for a true merge."""
        if self.alpha is not None:
            return {0.0: 0, 1.0: len(self.checkpoints) - 1}.get(self.alpha)
        counting = [one.checkpoint for one in self.coordinates if one.checkpoint is not None and one.value != 0]
        return counting[0] if len(counting) == 1 else None

    @property
    def reference(self) -> str | None:
        """ "early" or "late" for a point that is the first or the last checkpoint as it is, None for all others."""
        if self.unmerged is None:
            return None
        return {0: "early", len(self.checkpoints) - 1: "late"}.get(self.unmerged)

    def at_reference(self, reference: str) -> "Point":
        """Return the point of the same sweep that is "early" or "late" as it is, at the same temperature."""
        return self.alone({"early": 0, "late": len(self.checkpoints) - 1}[reference])

    def alone(self, number: int) -> "Point":
        """Return the point of the same sweep that is one of its checkpoints as it is, at the same temperature."""
        if self.alpha is not None:
            moved = [dataclasses.replace(one, value=float(number > 0)) for one in self.coordinates]
        else:
            moved = [
                one if one.checkpoint is None else dataclasses.replace(one, value=float(one.checkpoint == number))
                for one in self.coordinates
            ]
        return dataclasses.replace(self, coordinates=tuple(moved))

    @property
    def called(self) -> tuple[str, ...]:
        """What people read of the checkpoints: the last part of each name, or all of it where those are not enough."""
        if len(self.checkpoints) == 1:
            # One by itself, which others of its sweep may share the last part with: such as sft/checkpoint-800.
            return ("/".join(Path(self.early.name).parts[-2:]),)
        short = tuple(Path(checkpoint.name).name or checkpoint.name for checkpoint in self.checkpoints)
        # Along alpha the other words tell early from late.
        if self.alpha is not None or len(set(short)) == len(short):
            return short
        return tuple(checkpoint.name for checkpoint in self.checkpoints)

    @cached_property
    def model(self) -> str:
        """32 hex digits that tell the model from all others; one checkpoint is one model whatever it is merged with."""
        facts: dict[str, Any] = {"method": self.method, "dtypes": [self.dtype, self.out_dtype]}
        if self.unmerged is not None:
            checkpoint = self.checkpoints[self.unmerged]
            facts |= {"alpha": None, "early": [checkpoint.digest, checkpoint.temperature], "late": None}
        elif self.alpha is not None:
            facts["alpha"] = self.alpha
            for role, checkpoint in (("early", self.early), ("late", self.late)):
                facts[role] = [checkpoint.digest, checkpoint.temperature]
        else:
            facts["coordinates"] = [dataclasses.astuple(one) for one in self.coordinates]
            facts["checkpoints"] = [[checkpoint.digest, checkpoint.temperature] for checkpoint in self.checkpoints]
        return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:32]

    @property
    def name(self) -> str:
        """What files are called after the point: checkpoint, coordinates and temperature, and no two points alike."""
        if self.alpha is None and self.unmerged is None:
            return f"{self.method}-of-{len(self.checkpoints)}-{self.model[:8]}-T-{_exact(self.temperature)}"
        checkpoint = self.late if self.unmerged is None or self.alpha is not None else self.checkpoints[self.unmerged]
        called = re.sub(r"[^A-Za-z0-9_.+-]+", "_", Path(checkpoint.name).name).lstrip(".")[:60] or "late"
        # Their name in files of results from the first version on.
        balance = "" if checkpoint.temperature == 1 else f"-balance-{_exact(checkpoint.temperature)}"
        place = "" if self.alpha is None else f"-alpha-{_exact(self.alpha)}"
        return f"{called}-{checkpoint.digest[:8]}{balance}{place}-T-{_exact(self.temperature)}"

    @property
    def title(self) -> str:
        """What people read: such as checkpoint-800, alpha 0.3, T 1."""
        return f"{self.merge_title(short=True)}, T {_exact(self.temperature)}"

    def merge_title(self, *, short: bool) -> str:
        """Return the title of the model alone, with the last part of a checkpoint's name or all of it."""
        names = self.called if short else tuple(checkpoint.name for checkpoint in self.checkpoints)
        if self.alpha is not None:
            return f"{names[-1]}, alpha {_exact(self.alpha) if short else self.alpha}"
        return f"{self.method} of {len(names)}" if self.unmerged is None else names[self.unmerged]

    @property
    def ingredients(self) -> Ingredients:
        """The checkpoints as `recipe` names them."""
        names = tuple(checkpoint.name for checkpoint in self.checkpoints)
        return Ingredients(names[0], names[1:])

    def recipe(self) -> dict[str, Any]:
        """Return the model as a recipe for mergekit, with checkpoints called as the user wrote them."""
        method = METHODS[self.method]
        per_model: list[dict[str, float]] = [{} for _ in self.checkpoints]
        shared: dict[str, float] = {}
        for one in self.coordinates:
            (shared if one.checkpoint is None else per_model[one.checkpoint])[one.parameter] = one.value
        if method.parameter("temperature") is not None:
            for own, checkpoint in zip(per_model, self.checkpoints, strict=True):
                own["temperature"] = checkpoint.temperature
        models = [
            {"model": checkpoint.name, **({"parameters": own} if own else {})}
            for checkpoint, own in zip(self.checkpoints, per_model, strict=True)
        ]
        if method.early_and_late and not any(per_model):
            del models[0]
        content: dict[str, Any] = {"merge_method": self.method, "base_model": self.early.name, "models": models}
        if shared:
            content["parameters"] = shared
        for key, value in (("dtype", self.dtype), ("out_dtype", self.out_dtype)):
            if value is not None:
                content[key] = value
        return content


def on_line(
    early: PointCheckpoint,
    late: PointCheckpoint,
    method: str,
    alpha: float,
    temperature: float,
    dtype: str | None = None,
    out_dtype: str | None = None,
) -> Point:
    """Return the point of a method of an early and a late checkpoint at an alpha in [0, 1]."""
    return Point((early, late), method, (Coordinate("alpha", alpha),), temperature, dtype, out_dtype)


def _exact(number: float) -> str:
    """Return a number as short as it can be told from all others: 0.3, 1, 0.30000000000000004."""
    return f"{number:g}" if float(f"{number:g}") == number else repr(number)
