"""A recipe and the values that a grid gives some of its parameters: what they say, and whether it can be meant.

Everything is checked here that needs no checkpoint.
"""

import copy
import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from wise_merge.errors import WiseMergeError
from wise_merge.kernels.ranges import Range
from wise_merge.methods import Method, Parameter
from wise_merge.recipes.models import ingredients, method_of
from wise_merge.recipes.numbers import parse_numbers
from wise_merge.recipes.parameters import check_settings, setting_of
from wise_merge.recipes.reading import from_home
from wise_merge.recipes.schema import Recipe, model_name
from wise_merge.text import enumeration, hint, shortened

#: Settings that stand in a recipe, where there is one.
_IN_RECIPES = ("early", "late", "run", "alphas", "method", "calibration", "dtype", "out_dtype")
#: Combinations in one grid: each is a model that is merged and sampled.
_MOST = 10_000


@dataclass(frozen=True)
class Axis:
    """A number of a recipe to which a grid gives several values.

    Attributes:
        parameter: its name.
        model: whose it is, as the recipe calls it; None = of the whole merge.
        values: ascending.
    """

    parameter: str
    model: str | None
    values: tuple[float, ...]

    def __str__(self) -> str:
        return self.parameter if self.model is None else f"{self.parameter} of {self.model}"


def check_alone(keys: Collection[str]) -> None:
    """Raise a `WiseMergeError` for settings beside a recipe that stand in the recipe, and for a grid without one."""
    if "recipe" not in keys:
        if "grid" in keys:
            raise WiseMergeError("grid is of parameters of a recipe, and none is named; add such as recipe: soup.yml")
        return
    beside = [key for key in _IN_RECIPES if key in keys]
    if beside:
        raise WiseMergeError(
            f"recipe stands beside {enumeration(beside, 'and')}; a recipe says itself which checkpoints are merged, "
            f"and how: leave {'that' if len(beside) == 1 else 'those'} out, or recipe and grid"
        )
    if "grid" not in keys:
        raise WiseMergeError("the grid is empty: name parameters of the recipe, such as grid: {alpha: 0:1:0.25}")


def check_recipe(recipe: Recipe, grid: Mapping[str, Any]) -> None:
    """Raise a `WiseMergeError` for a recipe that cannot be swept, and for a grid that is none of it."""
    method = method_of(recipe)
    for key in ("slices", "modules", "tokenizer", "tokenizer_source", "chat_template"):
        if recipe.get(key):
            raise WiseMergeError(
                f"the recipe has {key}, and a sweep takes whole models with the tokenizer and the template of the "
                "first one; leave it out"
            )
    axes = axes_of(recipe, grid)
    check_settings(_filled(recipe, axes))
    for parameter, _, setting in given(recipe, axes):
        if parameter.name == method.line and isinstance(setting, (list, Mapping)):
            raise WiseMergeError(
                f"{parameter.name} of the recipe varies by layer or tensor; give it values in the grid, or one number"
            )
    count = math.prod(len(axis.values) for axis in axes)
    if count > _MOST:
        raise WiseMergeError(
            f"the grid has {count:,} combinations of {enumeration(map(str, axes), 'and')}, and at most {_MOST:,} can "
            "be swept; name fewer values"
        )


def names_of(recipe: Recipe) -> tuple[str, ...]:
    """Return the models of a recipe without slices and modules, its base first."""
    (models,) = ingredients(recipe)
    return models.names


def axes_of(recipe: Recipe, grid: Mapping[str, Any]) -> tuple[Axis, ...]:
    """Return what a grid varies, in the order of the method's parameters and of the recipe's models."""
    method, names = method_of(recipe), names_of(recipe)
    axes = [axis for name, values in grid.items() for axis in _axes(method, names, str(name), values)]
    if not axes:
        raise WiseMergeError(
            f"the grid is empty: it names no parameter; give such as {_example(_numbers(method)[0], names)}"
        )
    places = [parameter.name for parameter in method.parameters]
    return tuple(
        sorted(axes, key=lambda axis: (places.index(axis.parameter), names.index(axis.model) if axis.model else 0))
    )


def _axes(method: Method, names: Sequence[str], name: str, values: Any) -> list[Axis]:
    """Return what a key of a grid varies: one number, or one of each model that is named."""
    parameter, known = method.parameter(name), [one.name for one in _numbers(method)]
    if parameter is None:
        raise WiseMergeError(f"grid: {method.name} has no parameter {name}; {hint(name, known)}")
    if name not in known:
        raise WiseMergeError(f"grid: {name} is no number; set it in the recipe, and vary {enumeration(known, 'or')}")
    if not parameter.per_model:
        if isinstance(values, Mapping):
            raise WiseMergeError(
                f"grid: {name} is one number for the whole merge, and has no models; give such as {name}: 0:1:0.25"
            )
        return [_axis(parameter, None, values)]
    if not isinstance(values, Mapping):
        raise WiseMergeError(f"grid: each model has its own {name}; say whose, such as {_example(parameter, names)}")
    if not values:
        raise WiseMergeError(f"the grid is empty: {name} names no model; give such as {_example(parameter, names)}")
    spelt = {_spelt(one): one for one in names}
    axes = []
    for model, listed in values.items():
        if _spelt(model) not in spelt:
            raise WiseMergeError(
                f"grid: {name} names {model}, which is none of the recipe's models; {hint(model, names)}"
            )
        axes.append(_axis(parameter, spelt[_spelt(model)], listed))
    for axis in axes:
        if sum(axis.model == one.model for one in axes) > 1:
            raise WiseMergeError(f"grid: {axis} stands there twice; name it once, with all its values")
    return axes


def _spelt(model: Any) -> str:
    """Return a model's name without what does not tell it from others: `~`, and a slash at its end."""
    name = from_home(str(model))
    return name.rstrip("/") or name


def _axis(parameter: Parameter, model: str | None, values: Any) -> Axis:
    axis = Axis(parameter.name, model, ())
    listed = values if isinstance(values, Sequence) and not isinstance(values, str) else [values]
    try:
        if any(isinstance(one, bool) for one in listed):
            raise ValueError
        numbers = [float(number) for one in listed for number in parse_numbers(str(one))]
    except ValueError:
        raise WiseMergeError(
            f"grid: {axis} must be numbers, such as 0:1:0.25 or [0, 0.5, 2]; got {shortened(values)}"
        ) from None
    if not numbers:
        raise WiseMergeError(f"the grid is empty: {axis} names no value; give such as 0:1:0.25 or [0, 0.5, 2]")
    assert isinstance(parameter.range, Range)
    for number in numbers:
        parameter.range.check(f"grid: {axis}", number)
    return Axis(parameter.name, model, tuple(sorted(set(numbers))))


def _numbers(method: Method) -> list[Parameter]:
    return [parameter for parameter in method.parameters if parameter.is_number]


def _example(parameter: Parameter, names: Sequence[str]) -> str:
    return f"{parameter.name}: {{{names[-1]}: [0.5, 1]}}" if parameter.per_model else f"{parameter.name}: 0:1:0.25"


def _filled(recipe: Recipe, axes: Sequence[Axis]) -> dict[str, Any]:
    """Return the recipe with the first value of each axis in its place."""
    filled = copy.deepcopy(dict(recipe))
    for axis in axes:
        if axis.model is None:
            filled["parameters"] = {**(filled.get("parameters") or {}), axis.parameter: axis.values[0]}
            continue
        for entry in filled["models"]:
            if model_name(entry["model"]) == axis.model:
                entry["parameters"] = {**(entry.get("parameters") or {}), axis.parameter: axis.values[0]}
    return filled


def given(recipe: Recipe, axes: Sequence[Axis]) -> list[tuple[Parameter, str | None, Any]]:
    """Return what a method is given: the parameter, the model (None = the whole merge), and the axis or the setting.

    In the order of the method's parameters and of the models. What the recipe does not name is left out; a weight
    is there in any case, as one model by itself is told from the others by it. Single numbers are floats.
    """
    method, names = method_of(recipe), names_of(recipe)
    varied = {(axis.parameter, axis.model): axis for axis in axes}
    found: list[tuple[Parameter, str | None, Any]] = []
    for parameter in method.parameters:
        for model in names if parameter.per_model else (None,):
            setting = varied.get((parameter.name, model)) or setting_of(recipe, parameter, model or "")
            if setting is None and parameter.name == method.weight:
                setting = parameter.default
            if parameter.is_number and isinstance(setting, (int, float, str)):
                setting = float(setting)
            if setting not in (None, ""):
                found.append((parameter, model, setting))
    return found


def in_common(recipe: Recipe, grid: Mapping[str, Any]) -> dict[str, Any]:
    """Return what all points of a sweep have in common, in JSON's types: models, what is varied, all other settings."""
    found: dict[str, Any] = {"models": list(names_of(recipe))}
    for parameter, model, setting in given(recipe, axes_of(recipe, grid)):
        label = parameter.name if model is None else f"{parameter.name} of {model}"
        found[label] = "in the grid" if isinstance(setting, Axis) else setting
    return found
