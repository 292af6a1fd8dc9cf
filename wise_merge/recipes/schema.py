"""What mergekit's YAML may say: its keys, and the form of what stands under them.

The same checks serve `mergekit-yaml`, which hands over what it has parsed, and `wise-merge merge`,
which reads the file itself and finds misspelt keys too: mergekit ignores those in silence.
Knows neither mergekit nor a checkpoint; models are the strings of the recipe.
"""

from collections.abc import Collection, Mapping
from typing import Any

from wise_merge.errors import WiseMergeError
from wise_merge.methods import METHODS
from wise_merge.text import hint, near

Recipe = Mapping[str, Any]

#: The names of the parameters of all our merge methods.
PARAMETERS = tuple({parameter.name: None for method in METHODS.values() for parameter in method.parameters})

# The keys of mergekit 0.1.5's configuration; a test compares them with its own classes.
KEYS = {
    "recipe": [
        *("merge_method", "base_model", "models", "slices", "modules", "parameters"),
        *("dtype", "out_dtype", "tokenizer", "tokenizer_source", "chat_template"),
    ],
    "model": ["model", "parameters"],
    "slice": ["sources", "base_model", "residual_weight", "parameters"],
    "source": ["model", "layer_range", "parameters"],
    "module": ["slices", "models", "parameters"],
    "tokenizer": ["source", "tokens", "pad_to_multiple_of"],
    "condition": ["value", "filter"],
}


def check_keys(recipe: Recipe) -> None:
    """Raise `WiseMergeError` for a key that mergekit would ignore, and for a part that has the wrong form."""
    _known("the recipe", recipe, KEYS["recipe"])
    if not isinstance(recipe.get("merge_method"), str):
        raise WiseMergeError(
            f"merge_method must be a method's name, such as {', '.join(METHODS)}; got {recipe.get('merge_method')!r}"
        )
    given = [key for key in ("models", "slices", "modules") if recipe.get(key)]
    if len(given) != 1:
        raise WiseMergeError(
            f"exactly one of models, slices and modules must be there; got {', '.join(given) or 'none of them'}"
        )
    _check_model("base_model", recipe.get("base_model"))
    for place, holder in holders(recipe):
        if holder is not recipe:
            _known(place, holder, KEYS["module"])
        for number, model in enumerate(_list(f"models of {place}", holder.get("models"))):
            _known(f"models[{number}] of {place}", model, KEYS["model"], needed="model")
            _check_model(f"model of models[{number}] of {place}", model["model"])
        for number, piece in enumerate(_list(f"slices of {place}", holder.get("slices"))):
            _known(f"slices[{number}] of {place}", piece, KEYS["slice"], needed="sources")
            for source in _list(f"slices[{number}].sources of {place}", piece["sources"]):
                where = f"a source of slices[{number}] of {place}"
                _known(where, source, KEYS["source"], needed="layer_range")
                _known(where, source, KEYS["source"], needed="model")
                _check_model(f"model of {where}", source["model"])
                _check_layers(where, source["layer_range"])
    if recipe.get("tokenizer") is not None:
        _known("tokenizer", recipe["tokenizer"], KEYS["tokenizer"])
    for place, settings in [entry for scope in scopes(recipe) for entry in scope.items()]:
        if not isinstance(settings, Mapping):
            raise WiseMergeError(f"{place} must be a mapping such as {{alpha: 0.5}}; got {settings!r}")
        for name, setting in settings.items():
            _check_form(f"{name} in {place}", setting)


def _known(place: str, mapping: Any, keys: Collection[str], *, needed: str | None = None) -> None:
    if not isinstance(mapping, Mapping):
        raise WiseMergeError(f"{place} must be a mapping with {', '.join(keys)}; got {mapping!r}")
    for key in mapping:
        if key not in keys:
            stray = near(key, PARAMETERS) if "parameters" in keys else []
            meant = f"did you mean {stray[0]}, which stands under parameters?" if stray else hint(key, keys)
            raise WiseMergeError(f"unknown key {key} in {place}; {meant}")
    if needed is not None and mapping.get(needed) is None:
        raise WiseMergeError(f"{place} has no {needed}")


def _check_model(place: str, model: Any) -> None:
    """Raise unless a model is a name, or a mapping as mergekit has it: of model (with path) and perhaps lora."""
    if model is None:
        return
    path = model
    while isinstance(path, Mapping):
        path = path.get("path") or path.get("model")
    if not isinstance(path, str) or not path.strip():
        raise WiseMergeError(f"{place} must be the name of a checkpoint, a number in quotes; got {model!r}")


def _check_layers(place: str, layers: Any) -> None:
    whole = isinstance(layers, list) and len(layers) == 2 and all(type(layer) is int for layer in layers)
    if not whole or not 0 <= layers[0] < layers[1]:
        raise WiseMergeError(
            f"layer_range of {place} must be [FIRST, END], two whole numbers with 0 <= FIRST < END; got {layers!r}"
        )


def _check_form(place: str, setting: Any) -> None:
    """Raise unless a setting is a number, a list of numbers, or conditions with a value (and a filter) each."""
    conditions = setting if isinstance(setting, list) else [setting]
    if not any(isinstance(condition, Mapping) for condition in conditions):
        _check_gradient(place, setting)
        return
    for condition in conditions:
        if not isinstance(condition, Mapping):
            raise WiseMergeError(
                f"{place} mixes conditions with {condition!r}; write what holds for all other tensors as "
                f"`- value: {condition!r}`, last"
            )
        _known(place, condition, KEYS["condition"], needed="value")
        _check_gradient(place, condition["value"])
        if not isinstance(condition.get("filter"), (str, type(None))):
            raise WiseMergeError(
                f"{place}: a filter is text that stands in the names of tensors; got {condition['filter']!r}, write "
                f"such as '.{condition['filter']}.' in quotes"
            )


def _check_gradient(place: str, value: Any) -> None:
    values = value if isinstance(value, list) else [value]
    if not values or not all(isinstance(one, (int, float, str)) for one in values):
        raise WiseMergeError(f"{place} must be a number or a list of numbers; got {value!r}")


def _list(place: str, value: Any) -> list[Any]:
    if value is not None and not isinstance(value, list):
        raise WiseMergeError(f"{place} must be a list; got {value!r}")
    return value or []


def holders(recipe: Recipe) -> list[tuple[str, Any]]:
    """Return the parts that may hold models or slices: the recipe itself and its modules."""
    modules = recipe.get("modules") or {}
    if not isinstance(modules, Mapping):
        raise WiseMergeError(f"modules must be a mapping from names to their models or slices; got {modules!r}")
    return [("the recipe", recipe), *((f"module {name}", module) for name, module in modules.items())]


def scopes(recipe: Recipe) -> tuple[dict[str, Recipe], dict[str, Recipe]]:
    """Return the parameters by where they stand: those of the whole merge and those of one model."""
    shared: dict[str, Recipe] = {}
    per_model: dict[str, Recipe] = {}
    for name, holder in holders(recipe):
        path = "" if holder is recipe else f"modules.{name.removeprefix('module ')}"
        shared[f"{path}.parameters".lstrip(".")] = holder.get("parameters") or {}
        within = f"{path}: " if path else ""
        for entry in holder.get("models") or ():
            per_model[f"{within}parameters of model {model_name(entry['model'])}"] = entry.get("parameters") or {}
        for number, piece in enumerate(holder.get("slices") or ()):
            place = f"{path}.slices[{number}]".lstrip(".")
            shared[f"{place}.parameters"] = piece.get("parameters") or {}
            for source in piece["sources"]:
                per_model[f"{place}: parameters of model {model_name(source['model'])}"] = (
                    source.get("parameters") or {}
                )
    return shared, per_model


def model_name(model: Any) -> str:
    """Return a model of a recipe as mergekit writes it: `path`, `path@revision` or `path+adapter`."""
    if not isinstance(model, Mapping):
        return str(model)
    if "path" in model:
        return f"{model['path']}@{model['revision']}" if model.get("revision") else str(model["path"])
    adapter = model.get("lora")
    return model_name(model.get("model")) + (f"+{model_name(adapter)}" if adapter else "")
