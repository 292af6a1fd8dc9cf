"""The parameters of a recipe: whether they are in range and where mergekit looks, and the value for each tensor."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

from wise_merge.errors import WiseMergeError
from wise_merge.kernels.ranges import Range
from wise_merge.methods import Method, Parameter, Switch
from wise_merge.recipes.models import method_of
from wise_merge.recipes.reading import FLOATING_DTYPES, dtype_spelt
from wise_merge.recipes.schema import Recipe, holders, model_name, scopes
from wise_merge.text import hint


def check_settings(recipe: Recipe) -> None:
    """Raise `WiseMergeError` unless parameters and dtypes are there, in range, and where mergekit looks."""
    method = method_of(recipe)
    known = [parameter.name for parameter in method.parameters]
    shared, per_model = scopes(recipe)
    for place, settings in {**shared, **per_model}.items():
        for name, setting in settings.items():
            if name not in known:
                meant = hint(name, known, f"{method.name} knows {', '.join(known)}")
                raise WiseMergeError(f"unknown parameter {name} in {place}; {meant}")
            parameter = method.parameter(name)
            assert parameter is not None
            _check_conditions(parameter, setting, place)
            for value in _scalars(setting):
                _check_value(parameter, value, place)
    for parameter in method.parameters:
        _check_place(parameter, recipe, per_model)
    _check_vocabulary(method, recipe)
    for key in ("dtype", "out_dtype"):
        dtype = recipe.get(key)
        if dtype is not None and dtype_spelt(dtype) not in FLOATING_DTYPES:
            raise WiseMergeError(f"{key} must be one of {', '.join(FLOATING_DTYPES)}; got {dtype}")


def _check_place(parameter: Parameter, recipe: Recipe, per_model: Mapping[str, Recipe]) -> None:
    """Raise unless a parameter stands where mergekit looks for it and, without a default, covers every tensor."""
    name = parameter.name
    if not parameter.per_model:
        for place, settings in per_model.items():
            if name in settings:
                raise WiseMergeError(
                    f"{name} stands in {place}, where mergekit does not look for it; it belongs to the whole merge: "
                    "move it to the top-level parameters"
                )
    if parameter.of_file is not None:
        if not _names_file(parameter, recipe):
            return
    elif parameter.default is not None:
        return
    if parameter.per_model:
        _check_each_model(parameter, recipe)
        return
    for place, looked_at in _places(recipe):
        given = [scope[name] for scope in looked_at if scope and name in scope]
        if not given:
            ends = " from 0 (early) to 1 (late)" if name == "alpha" else ""
            example = "0.5" if parameter.is_number else f"{name}.safetensors"
            raise WiseMergeError(
                f"{name} is missing{place}; set it{ends} at the top level, such as `parameters: {{{name}: {example}}}`"
            )
        if not any(_covers_all_tensors(setting) for setting in given):
            raise WiseMergeError(
                f"{name} has values for some tensors only{place}; "
                "end its list with an entry without filter, such as `- value: 0.5`"
            )


def _names_file(parameter: Parameter, recipe: Recipe) -> bool:
    """Return whether a recipe names the file that a parameter is about; raise if it has the parameter alone."""
    file = parameter.of_file
    shared = [settings for settings in scopes(recipe)[0].values() if settings]
    if any(file in settings for settings in shared):
        return True
    if any(parameter.name in settings for settings in shared):
        raise WiseMergeError(
            f"{parameter.name} is given and {file}, the file that it is about, is not; name that under parameters, "
            f"such as `{file}: {file}.safetensors`"
        )
    return False


def _check_each_model(parameter: Parameter, recipe: Recipe) -> None:
    """Raise unless every model has a parameter that has no default, by itself or from the top level."""
    for _, holder in holders(recipe):
        shared = {**(recipe.get("parameters") or {}), **(holder.get("parameters") or {})}
        for entry in holder.get("models") or ():
            if parameter.name not in {**shared, **(entry.get("parameters") or {})}:
                example = "0.5" if parameter.is_number else f"{model_name(entry['model'])}.{parameter.name}.safetensors"
                raise WiseMergeError(
                    f"{parameter.name} is missing for model {model_name(entry['model'])}; give it there, such as "
                    f"`parameters: {{{parameter.name}: {example}}}`"
                )


def check_takes_parts(method: Method) -> None:
    """Raise `WiseMergeError` for a method that takes files: they belong to whole models, not to slices and modules."""
    if method.files:
        raise WiseMergeError(
            f"{method.name} takes {method.files[0].name} from a file, which belongs to whole models as they are; name "
            "them under models, not in slices or modules"
        )


def _check_vocabulary(method: Method, recipe: Recipe) -> None:
    """Raise for a recipe that changes the vocabulary, in which the embeddings of files have no place."""
    for key in ("tokenizer", "tokenizer_source"):
        if method.files and recipe.get(key):
            raise WiseMergeError(
                f"{method.name} takes {method.files[0].name} from a file, which belongs to whole models as they are; "
                f"leave {key} out"
            )


def _places(recipe: Recipe) -> Iterator[tuple[str, list[Recipe | None]]]:
    """Yield, for each part of the model, the parameters in which mergekit looks for one of the whole merge."""
    if not recipe.get("modules") and not recipe.get("slices"):
        yield "", [recipe.get("parameters")]
    for name, holder in holders(recipe):
        place = "" if holder is recipe else f" of {name}"
        if holder is not recipe and holder.get("models"):
            yield f" for the models{place}", [holder.get("parameters"), recipe.get("parameters")]
        for number, piece in enumerate(holder.get("slices") or ()):
            looked_at = [piece.get("parameters"), holder.get("parameters"), recipe.get("parameters")]
            yield f" for slice {number}{place}", looked_at


def _check_conditions(parameter: Parameter, setting: Any, place: str) -> None:
    if not parameter.by_tensor and not isinstance(setting, (int, float, str)):
        what = "one number" if parameter.is_number else "true or false" if _is_switch(parameter) else "one path"
        raise WiseMergeError(
            f"{parameter.name} in {place} must be {what}, which holds for the whole checkpoint; got {setting!r}"
        )
    conditions = [entry for entry in setting if isinstance(entry, Mapping)] if isinstance(setting, list) else []
    for number, condition in enumerate(conditions[:-1], start=1):
        if condition.get("filter") in (None, "*"):
            raise WiseMergeError(
                f"entry {number} of {parameter.name} in {place} has no filter (or a misspelt one), "
                "so it holds for every tensor and those after it are never used; put it last"
            )


def idle_filters(recipe: Recipe, names: Collection[str]) -> Iterator[str]:
    """Yield a warning for every filter of a parameter that occurs in none of the tensors' names."""
    shared, per_model = scopes(recipe)
    for place, settings in {**shared, **per_model}.items():
        for name, setting in settings.items():
            for condition in setting if isinstance(setting, list) else [setting]:
                text = condition.get("filter") if isinstance(condition, Mapping) else None
                if text not in (None, "*") and not any(text in tensor for tensor in names):
                    yield f"{name} in {place}: no tensor's name contains {text!r}, so its value is not used"


def _scalars(setting: Any) -> Iterator[Any]:
    if isinstance(setting, Mapping):
        yield from _scalars(setting["value"])
    elif isinstance(setting, list):
        for item in setting:
            yield from _scalars(item)
    else:
        yield setting


def _is_switch(parameter: Parameter) -> bool:
    return isinstance(parameter.range, Switch)


def _check_value(parameter: Parameter, value: Any, place: str) -> None:
    if _is_switch(parameter):
        if not isinstance(value, bool):
            raise WiseMergeError(f"{parameter.name} in {place} must be true or false; got {value!r}")
        return
    if not isinstance(parameter.range, Range):
        if not isinstance(value, str) or not value.strip():
            raise WiseMergeError(f"{parameter.name} in {place} must be the path of a file; got {value!r}")
        return
    try:
        if isinstance(value, bool):
            raise ValueError
        number = float(value)
    except (TypeError, ValueError):
        raise WiseMergeError(f"{parameter.name} in {place} must be a number; got {value!r}") from None
    parameter.range.check(parameter.name, number)


def _covers_all_tensors(setting: Any) -> bool:
    conditions = setting if isinstance(setting, list) else [setting]
    return any(not isinstance(condition, Mapping) or condition.get("filter") in (None, "*") for condition in conditions)


def value_of(setting: Any, tensor: str, position: float) -> float | None:
    """Return what a setting says of a tensor, as mergekit 0.1.5 reads it; None if no filter of it matches.

    `position` runs from 0 at the first layer to 1 at the last; tensors outside of the layers have 0.
    A list of numbers is interpolated over it; of a list with filters the first that occurs in the
    tensor's name counts.
    """
    if isinstance(setting, Mapping):
        setting = [setting]
    if not isinstance(setting, list):
        return float(setting)
    if not any(isinstance(entry, Mapping) for entry in setting):
        values = [float(entry) for entry in setting]
        place = position * (len(values) - 1)
        first = int(place)
        share = place - first
        return (1 - share) * values[first] + share * values[min(len(values) - 1, first + 1)]
    for condition in setting:
        if condition.get("filter") in (None, "*") or condition["filter"] in tensor:
            return value_of(condition["value"], tensor, position)
    return None


def setting_of(recipe: Recipe, parameter: Parameter, model: str) -> Any:
    """Return what a recipe without slices and modules says of a per-model parameter of a model; None = nothing."""
    for entry in recipe.get("models") or ():
        if model_name(entry["model"]) == model and parameter.name in (entry.get("parameters") or {}):
            return entry["parameters"][parameter.name]
    return (recipe.get("parameters") or {}).get(parameter.name)


def values_for(recipe: Recipe, method: Method, models: Sequence[str], tensor: str, position: float) -> dict[str, Any]:
    """Return the parameters of a kernel for one tensor: see `methods.Kernel`.

    Args:
        recipe: without slices and modules, and checked (`check_settings`).
        method: of the recipe.
        models: all of them, the base first.
        tensor: its name.
        position: see `value_of`.
    """
    values: dict[str, Any] = {}
    for parameter in method.parameters:
        if parameter.per_model:
            values[parameter.name] = tuple(
                _value(parameter, setting_of(recipe, parameter, model), tensor, position) for model in models
            )
        else:
            setting = (recipe.get("parameters") or {}).get(parameter.name)
            values[parameter.name] = _value(parameter, setting, tensor, position)
    return values


def _value(parameter: Parameter, setting: Any, tensor: str, position: float) -> Any:
    if not parameter.is_number:
        return parameter.default if setting is None else setting
    value: Any = None if setting is None else value_of(setting, tensor, position)
    if value is None:
        value = parameter.default
    assert value is not None, "check_settings has seen to it"
    return value


def files_of(recipe: Recipe, models: Sequence[str]) -> list[tuple[Parameter, str | None, str]]:
    """Return the files that a recipe without slices and modules names: the parameter, the model (None = all), the path.

    Args:
        recipe: of one of our methods, and checked (`check_settings`).
        models: all of them.
    """
    files: list[tuple[Parameter, str | None, str]] = []
    for parameter in method_of(recipe).files:
        if parameter.per_model:
            files += [(parameter, model, str(setting_of(recipe, parameter, model) or "")) for model in models]
        else:
            files.append((parameter, None, str((recipe.get("parameters") or {}).get(parameter.name) or "")))
    return [(parameter, model, path) for parameter, model, path in files if path]


def temperature_of(recipe: Recipe, model: str) -> float:
    """Return the temperature of one checkpoint of a recipe without slices and modules; 1 if it has none."""
    parameter = method_of(recipe).parameter("temperature")
    setting = None if parameter is None else setting_of(recipe, parameter, model)
    return 1.0 if setting is None else float(setting)
