"""Recipes as files: YAML without duplicate keys, with one spelling of each dtype, and with paths in place of `~`."""

import copy
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from wise_merge.errors import WiseMergeError
from wise_merge.methods import METHODS
from wise_merge.recipes.schema import Recipe, check_keys, holders, scopes

#: What mergekit can cast weights to, as it spells it.
FLOATING_DTYPES = ("bfloat16", "float16", "float32", "float64")


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
    for _, holder in holders(changed):
        pieces = holder.get("slices") or []
        for owner in (holder, *pieces):
            if owner.get("base_model") is not None:
                owner["base_model"] = _from_home(owner["base_model"])
        for entry in [*(holder.get("models") or ()), *(source for piece in pieces for source in piece["sources"])]:
            entry["model"] = _from_home(entry["model"])
    files = METHODS[changed["merge_method"]].files if changed.get("merge_method") in METHODS else ()
    for scope in scopes(changed):
        for settings in scope.values():
            for parameter in files:
                if isinstance(settings.get(parameter.name), str):
                    settings[parameter.name] = from_home(settings[parameter.name])  # type: ignore[index]
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
        twice = _first_duplicate(yaml.compose(text, Loader=yaml.SafeLoader))
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


def _first_duplicate(node: Any) -> str | None:
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
            duplicate = _first_duplicate(child)
            if duplicate is not None:
                return duplicate
    return None
