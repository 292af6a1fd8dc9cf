"""A recipe for mergekit as plain data: what its YAML may say, and what it says about each tensor.

The same checks serve `mergekit-yaml`, which hands over what it has parsed, and `wise-merge merge`,
which reads the file itself and finds misspelt keys too: mergekit ignores those in silence.
Knows neither mergekit nor a checkpoint; models are the strings of the recipe.
"""

import copy
import difflib
import os
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from wise_merge.errors import WiseMergeError
from wise_merge.ranges import check_alpha, check_temperature

Recipe = Mapping[str, Any]

#: What mergekit can cast weights to, as it spells it.
FLOATING_DTYPES = ("bfloat16", "float16", "float32", "float64")

#: The parameters of our merge methods.
PARAMETERS = {"wise_ft": ("alpha",), "bang": ("alpha", "temperature")}

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


@dataclass(frozen=True)
class Pair:
    """The two checkpoints that a recipe (or one of its slices) averages, as it names them."""

    early: str
    late: str


def read_recipe(path: Path) -> dict[str, Any]:
    """Return the content of a YAML file, `normalised`, after checking that mergekit knows every key of it."""
    recipe = load_yaml(path, "recipe")
    try:
        check_keys(recipe)
    except WiseMergeError as error:
        raise WiseMergeError(f"{path}: {error}") from error
    return normalised(recipe)


def normalised(recipe: Recipe) -> dict[str, Any]:
    """Return the recipe with one spelling of each dtype, and with paths in place of `~`."""
    changed = copy.deepcopy(dict(recipe))
    for key in ("dtype", "out_dtype"):
        if changed.get(key) is not None:
            changed[key] = dtype_spelt(changed[key])
    for _, holder in _holders(changed):
        pieces = holder.get("slices") or []
        for owner in (holder, *pieces):
            if owner.get("base_model") is not None:
                owner["base_model"] = _from_home(owner["base_model"])
        for entry in [*(holder.get("models") or ()), *(source for piece in pieces for source in piece["sources"])]:
            entry["model"] = _from_home(entry["model"])
    return changed


def dtype_spelt(dtype: Any) -> str:
    """Return a dtype as mergekit's documentation spells it: float32 for torch.float32."""
    return str(dtype).removeprefix("torch.")


def from_home(path: str) -> str:
    """Return a path with the home folder in place of a `~` at its beginning, which YAML files have from shells."""
    return os.path.expanduser(path)


def _from_home(model: Any) -> Any:
    if isinstance(model, str):
        return "+".join(map(from_home, model.split("+")))
    if not isinstance(model, Mapping):
        return model
    return {key: _from_home(part) if key in ("model", "lora", "path") else part for key, part in model.items()}


def load_yaml(path: Path, what: str, *, times: bool = True) -> dict[str, Any]:
    """Return the mapping of a YAML file, in which no key may stand twice.

    Args:
        path: of the file.
        what: it is called in errors.
        times: read 0:1:0.125 as YAML 1.1 does, as minutes and seconds (60.125), and not as a text.
    """
    import yaml

    class Loader(yaml.SafeLoader):
        pass

    if not times:
        Loader.yaml_implicit_resolvers = {
            first: [(tag, pattern) for tag, pattern in resolvers if not tag.endswith((":int", ":float"))]
            for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
        }
        Loader.add_implicit_resolver("tag:yaml.org,2002:int", re.compile(r"[-+]?\d+$"), list("-+0123456789"))
        decimal = re.compile(
            r"([-+]?(\d+\.\d*|\.\d+|\d+(?=[eE]))([eE][-+]?\d+)?|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN))$"
        )
        Loader.add_implicit_resolver("tag:yaml.org,2002:float", decimal, list("-+.0123456789"))
    try:
        text = path.read_text(encoding="utf-8")
        content = yaml.load(text, Loader=Loader)
        twice = _first_double(yaml.compose(text, Loader=yaml.SafeLoader))
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or error
        raise WiseMergeError(f"the {what} {path} cannot be read: {reason}") from error
    except yaml.YAMLError as error:
        raise WiseMergeError(f"the {what} {path} is not YAML: {' '.join(str(error).split())}") from error
    except RecursionError:
        raise WiseMergeError(f"the {what} {path} refers to itself, or is nested too deeply") from None
    if twice is not None:
        raise WiseMergeError(f"{path}: key {twice} stands twice in one mapping; YAML would keep the last one")
    if not isinstance(content, dict):
        keys = "merge_method, base_model and models" if what == "recipe" else "early, late, alphas and tasks"
        raise WiseMergeError(f"the {what} {path} must be a mapping with {keys}")
    return content


def _first_double(node: Any) -> str | None:
    """Return a key that a mapping of the YAML tree has twice, with its line; None if there is none."""
    if node is None or isinstance(node.value, str):
        return None
    seen = set()
    for item in node.value:
        key, *children = item if isinstance(item, tuple) else (None, item)
        if key is not None:
            if str(key.value) in seen:
                return f"{key.value} (line {key.start_mark.line + 1})"
            seen.add(str(key.value))
        for child in children:
            found = _first_double(child)
            if found is not None:
                return found
    return None


def check_keys(recipe: Recipe) -> None:
    """Raise `WiseMergeError` for a key that mergekit would ignore, and for a part that has the wrong form."""
    _known("the recipe", recipe, KEYS["recipe"])
    method = recipe.get("merge_method")
    if not isinstance(method, str) or method not in PARAMETERS:
        near = difflib.get_close_matches(str(method), PARAMETERS, n=1)
        hint = f"did you mean {near[0]}?" if near else "for other methods use mergekit-yaml"
        raise WiseMergeError(f"merge_method must be wise_ft or bang; got {method!r}; {hint}")
    given = [key for key in ("models", "slices", "modules") if recipe.get(key)]
    if len(given) != 1:
        raise WiseMergeError(
            f"exactly one of models, slices and modules must be there; got {', '.join(given) or 'none of them'}"
        )
    _check_model("base_model", recipe.get("base_model"))
    for place, holder in _holders(recipe):
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
    for place, settings in _all_scopes(recipe):
        if not isinstance(settings, Mapping):
            raise WiseMergeError(f"{place} must be a mapping such as {{alpha: 0.5}}; got {settings!r}")
        for name, setting in settings.items():
            _check_form(f"{name} in {place}", setting)


def _known(place: str, mapping: Any, keys: Collection[str], *, needed: str | None = None) -> None:
    if not isinstance(mapping, Mapping):
        raise WiseMergeError(f"{place} must be a mapping with {', '.join(keys)}; got {mapping!r}")
    for key in mapping:
        if key not in keys:
            near = difflib.get_close_matches(str(key), keys, n=1)
            stray = difflib.get_close_matches(str(key), PARAMETERS["bang"], n=1)
            hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(keys)}"
            if stray and "parameters" in keys:
                hint = f"did you mean {stray[0]}, which stands under parameters?"
            raise WiseMergeError(f"unknown key {key} in {place}; {hint}")
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


def _holders(recipe: Recipe) -> list[tuple[str, Any]]:
    """Return the parts that may hold models or slices: the recipe itself and its modules."""
    modules = recipe.get("modules") or {}
    if not isinstance(modules, Mapping):
        raise WiseMergeError(f"modules must be a mapping from names to their models or slices; got {modules!r}")
    return [("the recipe", recipe), *((f"module {name}", module) for name, module in modules.items())]


def pairs(recipe: Recipe) -> list[Pair]:
    """Return the different (early, late) that the recipe averages, from models, slices or modules."""
    base = recipe.get("base_model")
    if base is None:
        raise WiseMergeError(
            f"base_model is missing; {recipe['merge_method']} takes the early checkpoint from it, "
            "and the late one from models"
        )
    found = []
    for _, holder in _holders(recipe):
        if holder.get("models"):
            found.append(_pair(recipe, base, [entry["model"] for entry in holder["models"]]))
        for number, piece in enumerate(holder.get("slices") or ()):
            early = piece.get("base_model") or base
            names = [model_name(source["model"]) for source in piece["sources"]]
            if model_name(early) not in names:
                raise WiseMergeError(
                    f"slice {number} does not name the early checkpoint {model_name(early)} among its sources; add it"
                )
            if len({tuple(source["layer_range"]) for source in piece["sources"]}) > 1:
                raise WiseMergeError(
                    f"slice {number} averages different layers with each other; give its sources one layer_range"
                )
            found.append(_pair(recipe, early, [source["model"] for source in piece["sources"]]))
    return list(dict.fromkeys(found))


def model_name(model: Any) -> str:
    """Return a model of a recipe as mergekit writes it: `path`, `path@revision` or `path+adapter`."""
    if not isinstance(model, Mapping):
        return str(model)
    if "path" in model:
        return f"{model['path']}@{model['revision']}" if model.get("revision") else str(model["path"])
    adapter = model.get("lora")
    return model_name(model.get("model")) + (f"+{model_name(adapter)}" if adapter else "")


def _pair(recipe: Recipe, early: Any, models: Sequence[Any]) -> Pair:
    early, names = model_name(early), [model_name(model) for model in models]
    for name in (early, *names):
        if name.count("+") > 1 or not all(name.split("+")):
            raise WiseMergeError(f"{name} is no checkpoint; write PATH, or BASE+ADAPTER with one + for mergekit")
    late = [name for name in names if name != early]
    if not late:
        raise WiseMergeError(
            f"early and late are both {early}: models names base_model alone; name the late checkpoint there"
        )
    if len(late) > 1:
        raise WiseMergeError(
            f"models must name exactly one late checkpoint for {recipe['merge_method']}; it names {', '.join(late)}. "
            "For several models use mergekit's linear"
        )
    if len(names) - len(late) > 1:
        raise WiseMergeError(f"the early checkpoint {early} is named twice; name it once")
    return Pair(early, late[0])


def check_settings(recipe: Recipe) -> None:
    """Raise `WiseMergeError` unless alpha, temperatures and dtypes are there, in range, and where mergekit looks."""
    method = recipe["merge_method"]
    known = PARAMETERS[method]
    shared, per_model = _scopes(recipe)
    for place, settings in {**shared, **per_model}.items():
        for name, setting in settings.items():
            if name not in known:
                near = difflib.get_close_matches(name, known, n=1)
                hint = f"did you mean {near[0]}?" if near else f"{method} knows {', '.join(known)}"
                raise WiseMergeError(f"unknown parameter {name} in {place}; {hint}")
            for value in _scalars(setting):
                _check_value(name, value, place)
            _check_conditions(name, setting, place)
    for place, settings in per_model.items():
        if "alpha" in settings:
            raise WiseMergeError(
                f"alpha stands in {place}, where mergekit does not look for it; it belongs to the whole merge: "
                "move it to the top-level parameters"
            )
    for place, scopes in _alpha_scopes(recipe):
        alphas = [scope["alpha"] for scope in scopes if scope and "alpha" in scope]
        if not alphas:
            raise WiseMergeError(
                f"alpha is missing{place}; set it from 0 (early) to 1 (late) at the top level, "
                "such as `parameters: {alpha: 0.5}`"
            )
        if not any(_covers_all_tensors(alpha) for alpha in alphas):
            raise WiseMergeError(
                f"alpha has values for some tensors only{place}; "
                "end its list with an entry without filter, such as `- value: 0.5`"
            )
    for key in ("dtype", "out_dtype"):
        dtype = recipe.get(key)
        if dtype is not None and dtype_spelt(dtype) not in FLOATING_DTYPES:
            raise WiseMergeError(f"{key} must be one of {', '.join(FLOATING_DTYPES)}; got {dtype}")


def _alpha_scopes(recipe: Recipe) -> Iterator[tuple[str, list[Recipe | None]]]:
    """Yield, for each part of the model, the parameters in which mergekit looks for alpha."""
    if not recipe.get("modules") and not recipe.get("slices"):
        yield "", [recipe.get("parameters")]
    for name, holder in _holders(recipe):
        place = "" if holder is recipe else f" of {name}"
        if holder is not recipe and holder.get("models"):
            yield f" for the models{place}", [holder.get("parameters"), recipe.get("parameters")]
        for number, piece in enumerate(holder.get("slices") or ()):
            scopes = [piece.get("parameters"), holder.get("parameters"), recipe.get("parameters")]
            yield f" for slice {number}{place}", scopes


def _check_conditions(name: str, setting: Any, place: str) -> None:
    if name == "temperature" and not isinstance(setting, (int, float, str)):
        raise WiseMergeError(f"temperature in {place} must be one number, which holds for the whole checkpoint")
    conditions = [entry for entry in setting if isinstance(entry, Mapping)] if isinstance(setting, list) else []
    for number, condition in enumerate(conditions[:-1], start=1):
        if condition.get("filter") in (None, "*"):
            raise WiseMergeError(
                f"entry {number} of {name} in {place} has no filter (or a misspelt one), "
                "so it holds for every tensor and those after it are never used; put it last"
            )


def idle_filters(recipe: Recipe, names: Collection[str]) -> Iterator[str]:
    """Yield a warning for every filter of alpha that occurs in none of the tensors' names."""
    for place, settings in _scopes(recipe)[0].items():
        setting = settings.get("alpha")
        for condition in setting if isinstance(setting, list) else [setting]:
            text = condition.get("filter") if isinstance(condition, Mapping) else None
            if text not in (None, "*") and not any(text in name for name in names):
                yield f"alpha in {place}: no tensor's name contains {text!r}, so its value is not used"


def _all_scopes(recipe: Recipe) -> Iterator[tuple[str, Any]]:
    for scopes in _scopes(recipe):
        yield from scopes.items()


def _scopes(recipe: Recipe) -> tuple[dict[str, Recipe], dict[str, Recipe]]:
    """Return the parameters by where they stand: those of the whole merge and those of one model."""
    shared: dict[str, Recipe] = {}
    per_model: dict[str, Recipe] = {}
    for name, holder in _holders(recipe):
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


def _scalars(setting: Any) -> Iterator[Any]:
    if isinstance(setting, Mapping):
        yield from _scalars(setting["value"])
    elif isinstance(setting, list):
        for item in setting:
            yield from _scalars(item)
    else:
        yield setting


def _check_value(name: str, value: Any, place: str) -> None:
    try:
        if isinstance(value, bool):
            raise ValueError
        number = float(value)
    except (TypeError, ValueError):
        raise WiseMergeError(f"{name} in {place} must be a number; got {value!r}") from None
    {"alpha": check_alpha, "temperature": check_temperature}[name](number)


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


def temperature_of(recipe: Recipe, model: str) -> float:
    """Return the temperature of one checkpoint of a recipe without slices and modules; 1 if it has none."""
    for entry in recipe.get("models") or ():
        if model_name(entry["model"]) == model and "temperature" in (entry.get("parameters") or {}):
            return float(entry["parameters"]["temperature"])
    return float((recipe.get("parameters") or {}).get("temperature", 1.0))


def with_alpha(recipe: Recipe, alpha: float | None) -> dict[str, Any]:
    """Return the recipe with this alpha for every tensor; as it is where alpha is None."""
    if alpha is None:
        return dict(recipe)
    changed = copy.deepcopy(dict(recipe))
    # What stands closer to a tensor would win.
    for _, holder in _holders(changed):
        for scope in (holder, *(holder.get("slices") or ())):
            (scope.get("parameters") or {}).pop("alpha", None)
    changed["parameters"] = {**(changed.get("parameters") or {}), "alpha": alpha}
    return changed


def with_out_dtype(recipe: Recipe, out_dtype: str | None) -> dict[str, Any]:
    """Return the recipe with another dtype of the output; as it is where that is None.

    A wide one is computed in as well, where the recipe names none as wide: mergekit would round the average to the
    checkpoints' dtype first, and widen what rounding has left.
    """
    if out_dtype is None:
        return dict(recipe)
    out_dtype = dtype_spelt(out_dtype)
    if out_dtype not in FLOATING_DTYPES:
        raise WiseMergeError(f"the output's dtype must be one of {', '.join(FLOATING_DTYPES)}; got {out_dtype}")
    wide = ("float32", "float64")
    named = dtype_spelt(recipe.get("dtype") or "")
    narrower = out_dtype in wide and (named not in wide or wide.index(named) < wide.index(out_dtype))
    return {**recipe, "out_dtype": out_dtype, **({"dtype": out_dtype} if narrower else {})}
