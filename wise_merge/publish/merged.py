"""What a merged model is made of, as the files beside its weights say."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from wise_merge.checkpoints.files import read_config, read_json
from wise_merge.errors import WiseMergeError
from wise_merge.methods import METHODS
from wise_merge.recipes.models import Ingredients, ingredients, is_ours
from wise_merge.recipes.parameters import temperature_of
from wise_merge.recipes.reading import load_yaml, normalised
from wise_merge.recipes.schema import check_keys

#: What mergekit and `wise-merge merge` leave beside the weights.
RECIPE, RECORD = "mergekit_config.yml", "wise_merge.json"
ROLES = ("early", "late")


@dataclass(frozen=True)
class Merged:
    """A merged model.

    Attributes:
        folder: of its files.
        recipe: from which it was made.
        ingredients: its early and its late checkpoint, as the recipe names them.
        record: wise_merge.json, empty if mergekit-yaml made the model.
        architecture: such as "LlamaForCausalLM".
        dtype: of its weights, as its config says; None = it does not.
    """

    folder: Path
    recipe: Mapping[str, Any]
    ingredients: Ingredients
    record: Mapping[str, Any]
    architecture: str
    dtype: str | None

    @property
    def method(self) -> str:
        """`wise_ft` or `bang`."""
        return str(self.recipe["merge_method"])

    @property
    def alpha(self) -> Any:
        """A number from 0 (early) to 1 (late), or what the recipe has for values by layer or by tensor."""
        return _numbers((self.recipe.get("parameters") or {}).get("alpha"))

    def name(self, role: str) -> str:
        """Return how the recipe calls early or late."""
        return self.ingredients.early if role == "early" else self.ingredients.late

    def step(self, role: str) -> int | None:
        """Return the step of training of early or late; None if it is not known."""
        step = (self.record.get(role) or {}).get("step")
        return step if isinstance(step, int) else None

    def temperature(self, role: str) -> float | None:
        """Return by what the logits of early or late were divided before averaging; None if it varies by slices."""
        if self.recipe.get("models") is None:
            return None
        return temperature_of(self.recipe, self.name(role))

    def sha256(self, role: str) -> dict[str, str]:
        """Return the hash of each weight file of early or late, by its name; empty if it is not known."""
        files = (self.record.get(role) or {}).get("files") or {}
        return {name: str(entry["sha256"]) for name, entry in files.items() if "sha256" in entry}


def read_merged(folder: Path) -> Merged:
    """Return what is known of the model in a folder that `wise-merge merge` or mergekit-yaml has written."""
    config = read_config(folder)
    path = folder / RECIPE
    if not path.is_file():
        raise WiseMergeError(
            f"{folder} has no {RECIPE}, so nothing says what it was merged from; give a folder that `wise-merge merge` "
            "or mergekit-yaml has written"
        )
    recipe = load_yaml(path, "recipe")
    try:
        check_keys(recipe)
        recipe = normalised(recipe)
        _check_method(recipe)
        pairs = ingredients(recipe)
    except WiseMergeError as error:
        raise WiseMergeError(f"{path}: {error}") from error
    if len(pairs) != 1:
        raise WiseMergeError(
            f"{path} averages {len(pairs)} pairs of checkpoints; a card tells of one early and one late checkpoint"
        )
    record = read_json(folder / RECORD) if (folder / RECORD).is_file() else {}
    dtype = config.get("dtype") or config.get("torch_dtype")
    return Merged(
        folder,
        recipe,
        pairs[0],
        record,
        str((config.get("architectures") or ["unknown"])[0]),
        str(dtype) if dtype else None,
    )


def _check_method(recipe: Mapping[str, Any]) -> None:
    if not is_ours(recipe) or not METHODS[recipe["merge_method"]].early_and_late:
        known = " and ".join(name for name, method in METHODS.items() if method.early_and_late)
        raise WiseMergeError(
            f"merge_method is {recipe['merge_method']}; a card tells of one early and one late checkpoint, which "
            f"{known} have"
        )


def same_recipe(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    """Return whether two recipes of one pair make the same model: method, pair, alpha, temperatures and dtypes."""
    return _essence(one) == _essence(other)


def _essence(recipe: Mapping[str, Any]) -> str:
    recipe = normalised(recipe)
    (two,) = ingredients(recipe)
    facts = [
        recipe["merge_method"],
        _place(two.early),
        _place(two.late),
        _numbers((recipe.get("parameters") or {}).get("alpha")),
        [temperature_of(recipe, name) for name in two.names],
        recipe.get("dtype"),
        recipe.get("out_dtype"),
    ]
    return json.dumps(facts, sort_keys=True, default=str)


def _numbers(setting: Any) -> Any:
    """Return a setting with its numbers as floats: 1, 1.0 and "1" are one alpha."""
    if isinstance(setting, list):
        return [_numbers(entry) for entry in setting]
    if isinstance(setting, Mapping):
        return {key: _numbers(entry) if key == "value" else entry for key, entry in setting.items()}
    try:
        return float(setting)
    except (TypeError, ValueError):
        return setting


def _place(name: str) -> str:
    """Return a name under which a folder is known however it was written."""
    return str(Path(name).resolve()) if Path(name).is_dir() else str(Path(name))
