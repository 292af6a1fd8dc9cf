"""A point of a sweep: checkpoints, where among them the merge lies, and a temperature of sampling."""

import dataclasses
import hashlib
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from wise_merge.methods import METHODS, Base, Method
from wise_merge.recipes.models import Ingredients

#: Characters of a file's name that are spent on coordinates, at most.
_LONGEST = 100


@dataclass(frozen=True)
class PointCheckpoint:
    """One of the checkpoints of a point.

    Attributes:
        name: as the user wrote it: a folder, or a model of the Hub.
        step: of training, None = unknown.
        digest: of its weights, tokenizer and settings; see `wise_merge.checkpoints.fingerprint`.
        temperature: that is folded into it before averaging (`bang`); 1 = none, or a coordinate says it.
    """

    name: str
    step: int | None
    digest: str
    temperature: float = 1.0


@dataclass(frozen=True)
class Coordinate:
    """The value of one number that a merge method is given; together they tell the point from others of its sweep.

    Attributes:
        parameter: its name, such as alpha or weight.
        value: of it.
        checkpoint: the place of the one that it holds for among `Point.checkpoints`; None = for the whole merge.
        varies: whether it is one that a grid gives several values; titles name those alone.
    """

    parameter: str
    value: float
    checkpoint: int | None = None
    varies: bool = field(default=False, compare=False)


@dataclass(frozen=True)
class Fixed:
    """What a recipe gives a merge method beside single numbers, which is the same at all points of its sweep.

    Attributes:
        parameter: its name.
        setting: in JSON: numbers by layer or by the tensors' names, true or false, the path of a file.
        checkpoint: see `Coordinate`.
        digest: of the content of the file, where it is one.
    """

    parameter: str
    setting: str
    checkpoint: int | None = None
    digest: str | None = None

    @property
    def by_tensor(self) -> bool:
        """Whether it is a number that varies by layer or by the tensors' names."""
        return self.setting.startswith(("[", "{"))


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
        fixed: what the method is given beside coordinates.
    """

    checkpoints: tuple[PointCheckpoint, ...]
    method: str
    coordinates: tuple[Coordinate, ...]
    temperature: float
    dtype: str | None = None
    out_dtype: str | None = None
    fixed: tuple[Fixed, ...] = ()

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
    def varied(self) -> tuple[Coordinate, ...]:
        """The coordinates that a grid varies, in the order of the grid; along a line without a grid, alpha."""
        varied = tuple(one for one in self.coordinates if one.varies)
        line = METHODS[self.method].line
        return varied or tuple(one for one in self.coordinates if one.parameter == line)

    @property
    def unmerged(self) -> int | None:
        """The place of the checkpoint whose weights the point has as they are; None for a true merge."""
        if self.alpha is not None:
            return {0.0: 0, 1.0: len(self.checkpoints) - 1}.get(self.alpha)
        deciding = _deciding(METHODS[self.method])
        counting = [one.checkpoint for one in self.coordinates if one.parameter in deciding and one.value != 0]
        counting += [one.checkpoint for one in self.fixed if one.parameter in deciding]
        if METHODS[self.method].weight is None:
            return 0 if not counting and len(self.checkpoints) == 1 else None
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
        deciding = _deciding(METHODS[self.method])

        def value(checkpoint: int | None) -> float:
            return float(number > 0 if checkpoint is None else checkpoint == number)

        moved = [
            dataclasses.replace(one, value=value(one.checkpoint)) if one.parameter in deciding else one
            for one in self.coordinates
        ]
        # One that varies by layer is a single number here, too.
        by_layer = [one for one in self.fixed if one.parameter in deciding]
        moved += [Coordinate(one.parameter, value(one.checkpoint), one.checkpoint) for one in by_layer]
        fixed = tuple(one for one in self.fixed if one not in by_layer)
        return dataclasses.replace(self, coordinates=in_order(self.method, moved), fixed=fixed)

    @property
    def called(self) -> tuple[str, ...]:
        """What people read of the checkpoints: the last part of each name, or what tells them apart."""
        if len(self.checkpoints) == 1:
            # One by itself, which others of its sweep may share the last part with: such as sft/checkpoint-800.
            return ("/".join(Path(self.early.name).parts[-2:]),)
        # Along alpha the other words tell early from late.
        if self.alpha is not None:
            return tuple(Path(checkpoint.name).name or checkpoint.name for checkpoint in self.checkpoints)
        return tuple(unlike_parts([checkpoint.name for checkpoint in self.checkpoints]))

    @cached_property
    def model(self) -> str:
        """32 hex digits that tell the model from all others; one checkpoint is one model whatever it is merged with."""
        facts: dict[str, Any] = {"method": self.method, "dtypes": [self.dtype, self.out_dtype]}
        content = [[one.digest, self._temperature(place)] for place, one in enumerate(self.checkpoints)]
        if self.unmerged is not None:
            facts |= {"alpha": None, "early": content[self.unmerged], "late": None}
        elif self.alpha is not None:
            facts |= {"alpha": self.alpha, "early": content[0], "late": content[-1]}
            beside = [
                one for one in self.coordinates if one.parameter not in (METHODS[self.method].line, "temperature")
            ]
            if beside:
                facts["coordinates"] = [[one.parameter, one.value, one.checkpoint] for one in beside]
        else:
            facts["coordinates"] = [[one.parameter, one.value, one.checkpoint] for one in self.coordinates]
            facts["checkpoints"] = content
        if self.unmerged is None and self.fixed:
            facts["fixed"] = [[one.parameter, one.digest or one.setting, one.checkpoint] for one in self.fixed]
        return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:32]

    def _temperature(self, number: int) -> float:
        """Return the temperature that is folded into a checkpoint."""
        own = (one.value for one in self.coordinates if (one.parameter, one.checkpoint) == ("temperature", number))
        return next(own, self.checkpoints[number].temperature)

    @property
    def name(self) -> str:
        """What files are called after the point: checkpoint, coordinates and temperature, and no two points alike."""
        beside = [one for one in self.varied if one.parameter != METHODS[self.method].line]
        # Cut off, or with what file names cannot have left out, they may be alike.
        values = f"-{_for_files(self._values(beside))[:_LONGEST]}-{self.model[:16]}" if beside else ""
        if self.alpha is None and self.unmerged is None:
            merge = f"{self.method}{values}" if beside else f"{self.method}-of-{len(self.checkpoints)}-{self.model[:8]}"
            return f"{merge}-T-{_exact(self.temperature)}"
        number = len(self.checkpoints) - 1 if self.unmerged is None or self.alpha is not None else self.unmerged
        checkpoint, temperature = self.checkpoints[number], self._temperature(number)
        called = _for_files(Path(checkpoint.name).name).lstrip(".")[:60] or "late"
        # Their name in files of results from the first version on.
        balance = "" if temperature == 1 else f"-balance-{_exact(temperature)}"
        place = "" if self.alpha is None else f"-alpha-{_exact(self.alpha)}{values}"
        return f"{called}-{checkpoint.digest[:8]}{balance}{place}-T-{_exact(self.temperature)}"

    @property
    def title(self) -> str:
        """What people read: such as checkpoint-800, alpha 0.3, T 1."""
        return f"{self.merge_title(short=True)}, T {_exact(self.temperature)}"

    def merge_title(self, *, short: bool) -> str:
        """Return the title of the model alone, with the last part of a checkpoint's name or all of it."""
        names = self.called if short else tuple(checkpoint.name for checkpoint in self.checkpoints)
        if self.alpha is not None:
            beside = [one for one in self.varied if one.parameter != METHODS[self.method].line]
            further = f", {self._values(beside, short=short)}" if beside else ""
            return f"{names[-1]}, alpha {_exact(self.alpha) if short else self.alpha}{further}"
        if self.unmerged is not None:
            return names[self.unmerged]
        return self.place(short=short) or f"{self.method} of {len(names)}"

    def place(self, *, short: bool) -> str:
        """Return where the point lies in a grid, such as weight of b 0.5, weight of c 2; empty if there is none."""
        return self._values(self.varied, short=short)

    def label(self, one: Coordinate, *, short: bool = True) -> str:
        """Return what people read of a coordinate's parameter: alpha, or whose weight."""
        if one.checkpoint is None:
            return one.parameter
        names = [checkpoint.name for checkpoint in self.checkpoints]
        return f"{one.parameter} of {(unlike_parts(names) if short else names)[one.checkpoint]}"

    def _values(self, some: Sequence[Coordinate], *, short: bool = True) -> str:
        return ", ".join(f"{self.label(one, short=short)} {_exact(one.value)}" for one in some)

    @property
    def ingredients(self) -> Ingredients:
        """The checkpoints as `recipe` names them."""
        names = tuple(checkpoint.name for checkpoint in self.checkpoints)
        return Ingredients(None, names) if METHODS[self.method].base is Base.NONE else Ingredients(names[0], names[1:])

    def recipe(self) -> dict[str, Any]:
        """Return the model as a recipe for mergekit, with checkpoints called as the user wrote them."""
        method = METHODS[self.method]
        per_model: list[dict[str, Any]] = [{} for _ in self.checkpoints]
        shared: dict[str, Any] = {}
        given = [(one.parameter, one.checkpoint, one.value) for one in self.coordinates]
        given += [(one.parameter, one.checkpoint, json.loads(one.setting)) for one in self.fixed]
        order = [parameter.name for parameter in method.parameters]
        for name, number, setting in sorted(given, key=lambda one: order.index(one[0])):
            (shared if number is None else per_model[number])[name] = setting
        if method.parameter("temperature") is not None:
            for own, checkpoint in zip(per_model, self.checkpoints, strict=True):
                own.setdefault("temperature", checkpoint.temperature)
        models = [
            {"model": checkpoint.name, **({"parameters": own} if own else {})}
            for checkpoint, own in zip(self.checkpoints, per_model, strict=True)
        ]
        if method.early_and_late and not any(per_model):
            del models[0]
        content: dict[str, Any] = {"merge_method": self.method, "base_model": self.early.name, "models": models}
        if method.base is Base.NONE:
            del content["base_model"]
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


def _deciding(method: Method) -> set[str]:
    """Return the parameters by which a merge is one of its checkpoints as it is, and else is not.

    Those are the line between two checkpoints, the weights of several, or all numbers by which a single one is changed.
    """
    one = method.line or method.weight
    return {parameter.name for parameter in method.parameters if parameter.is_number} if one is None else {one}


def in_order(method: str, coordinates: Sequence[Coordinate]) -> tuple[Coordinate, ...]:
    """Return coordinates in the order of the method's parameters, and within one of the checkpoints."""
    places = {parameter.name: place for place, parameter in enumerate(METHODS[method].parameters)}
    return tuple(sorted(coordinates, key=lambda one: (places[one.parameter], one.checkpoint or 0)))


def unlike_parts(names: Sequence[str]) -> list[str]:
    """Return what tells names from each other: their last parts, or all between the parts that all of them share.

    >>> unlike_parts(["run/checkpoint-100", "run/checkpoint-800"])
    ['checkpoint-100', 'checkpoint-800']
    >>> unlike_parts(["runs/a/checkpoint-800", "runs/b/checkpoint-800", "runs/b/old/checkpoint-800"])
    ['a', 'b', 'b/old']
    """
    parts = [[part for part in name.split("/") if part] or [name] for name in names]
    last = [one[-1] for one in parts]
    if len(set(last)) == len(last):
        return last
    while all(len(one) > 1 for one in parts) and len({one[0] for one in parts}) == 1:
        parts = [one[1:] for one in parts]
    while all(len(one) > 1 for one in parts) and len({one[-1] for one in parts}) == 1:
        parts = [one[:-1] for one in parts]
    short = ["/".join(one) for one in parts]
    return short if len(set(short)) == len(short) else list(names)


def _for_files(text: str) -> str:
    return re.sub(r"[^A-Za-z0-9_.+-]+", "_", text)


def _exact(number: float) -> str:
    """Return a number as short as it can be told from all others: 0.3, 1, 0.30000000000000004."""
    return f"{number:g}" if float(f"{number:g}") == number else repr(number)
