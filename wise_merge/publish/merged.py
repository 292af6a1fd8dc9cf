"""What a merged model is made of, as the files beside its weights say."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from wise_merge.checkpoints.files import read_config, read_json
from wise_merge.errors import WiseMergeError
from wise_merge.methods import METHODS, Base, Parameter
from wise_merge.recipes.models import Ingredients, every_model, ingredients, is_early_and_late, is_ours
from wise_merge.recipes.parameters import setting_of, temperature_of
from wise_merge.recipes.reading import load_yaml, normalised
from wise_merge.recipes.schema import check_keys, model_name

#: What mergekit and `wise-merge merge` leave beside the weights.
RECIPE, RECORD = "mergekit_config.yml", "wise_merge.json"
#: The roles of the two checkpoints of a method that has an early and a late one.
PAIR = ("early", "late")


@dataclass(frozen=True)
class Merged:
    """A model that is published: a merge, or one of which nothing says what it was made from.

    Attributes:
        folder: of its files.
        recipe: from which it was made; empty if it is no merge.
        ingredients: its checkpoints, as the recipe names them; None if it is no merge.
        record: wise_merge.json, empty if `wise-merge merge` did not make the model.
        architecture: such as "LlamaForCausalLM".
        dtype: of its weights, as its config says; None = it does not.
    """

    folder: Path
    recipe: Mapping[str, Any]
    ingredients: Ingredients | None
    record: Mapping[str, Any]
    architecture: str
    dtype: str | None

    @property
    def is_pair(self) -> bool:
        """Whether it is the average of an early and a late checkpoint."""
        return is_early_and_late(self.recipe)

    @property
    def roles(self) -> tuple[str, ...]:
        """What its checkpoints are called: early and late, or base, model 1, model 2, ...; none if it is no merge."""
        if self.ingredients is None:
            return ()
        if self.is_pair:
            return PAIR
        names = self.ingredients.names
        apart = int(self.ingredients.base is not None and not self._base_is_a_model)
        return (*["base"][:apart], *(f"model {number + 1}" for number in range(len(names) - apart)))

    @property
    def _base_is_a_model(self) -> bool:
        return is_ours(self.recipe) and METHODS[self.method].base is Base.OPTIONAL

    @property
    def method(self) -> str:
        """The merge method, such as `wise_ft`; empty if it is no merge."""
        return str(self.recipe.get("merge_method", ""))

    @property
    def alpha(self) -> Any:
        """A number from 0 (early) to 1 (late), or what the recipe has for values by layer or by tensor."""
        return _numbers((self.recipe.get("parameters") or {}).get("alpha"))

    def name(self, role: str) -> str:
        """Return how the recipe calls a checkpoint."""
        assert self.ingredients is not None
        # The late one is the last, whatever stands between.
        return self.ingredients.late if role == "late" else self.ingredients.names[self.roles.index(role)]

    def step(self, role: str) -> int | None:
        """Return the step of training of a checkpoint; None if it is not known."""
        step = self._recorded(role).get("step")
        return step if isinstance(step, int) else None

    def temperature(self, role: str) -> float | None:
        """Return by what the logits of early or late were divided before averaging; None if it varies by slices."""
        if self.recipe.get("models") is None:
            return None
        return temperature_of(self.recipe, self.name(role))

    def parameters(self, role: str) -> dict[str, Any]:
        """Return what holds for a checkpoint by itself, such as its weight; empty if that varies by slices."""
        entries = self.recipe.get("models") or ()
        own = next((one.get("parameters") for one in entries if model_name(one["model"]) == self.name(role)), None)
        if not entries or not is_ours(self.recipe):
            return dict(own or {})
        known = [one for one in METHODS[self.method].parameters if one.per_model and one.is_number]
        return {one.name: _given(setting_of(self.recipe, one, self.name(role)), one) for one in known}

    def sha256(self, role: str) -> dict[str, str]:
        """Return the hash of each weight file of a checkpoint, by its name; empty if it is not known."""
        files = self._recorded(role).get("files") or {}
        return {name: str(entry["sha256"]) for name, entry in files.items() if "sha256" in entry}

    def _recorded(self, role: str) -> Mapping[str, Any]:
        if self.is_pair:
            return self.record.get(role) or {}
        return next((one for one in self.record.get("models") or () if one.get("model") == self.name(role)), {})


def read_merged(folder: Path, *, evaluated: bool = False) -> Merged:
    """Return what is known of the model in a folder, by what `wise-merge merge` or mergekit-yaml has left there.

    Args:
        folder: of the model.
        evaluated: whether there are figures of it, of which a card can tell even if it is no merge.
    """
    config = read_config(folder)
    path = folder / RECIPE
    if not path.is_file() and not evaluated:
        raise WiseMergeError(
            f"{folder} has no {RECIPE}, so nothing says what it was merged from; give a folder that `wise-merge merge` "
            "or mergekit-yaml has written, or an evaluation too (--results), of which the card of any model can tell"
        )
    recipe, made_of = _recipe(path) if path.is_file() else ({}, None)
    record = read_json(folder / RECORD) if made_of is not None and (folder / RECORD).is_file() else {}
    dtype = config.get("dtype") or config.get("torch_dtype")
    return Merged(
        folder,
        recipe,
        made_of,
        record,
        str((config.get("architectures") or ["unknown"])[0]),
        str(dtype) if dtype else None,
    )


def _recipe(path: Path) -> tuple[dict[str, Any], Ingredients]:
    """Return a recipe, and the checkpoints that it merges."""
    recipe = load_yaml(path, "recipe")
    try:
        check_keys(recipe)
        recipe = normalised(recipe)
        if not is_ours(recipe):
            return recipe, every_model(recipe)
        sets = ingredients(recipe)
    except WiseMergeError as error:
        raise WiseMergeError(f"{path}: {error}") from error
    if len(sets) == 1:
        return recipe, sets[0]
    if is_early_and_late(recipe):
        raise WiseMergeError(
            f"{path} averages {len(sets)} pairs of checkpoints; a card tells of one early and one late checkpoint"
        )
    return recipe, every_model(recipe)


def same_recipe(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    """Return whether two recipes of ours make the same model: method, checkpoints, their parameters and dtypes."""
    return _essence(one) == _essence(other)


def _essence(recipe: Mapping[str, Any]) -> str:
    recipe = normalised(recipe)
    (models,) = ingredients(recipe)
    shared = recipe.get("parameters") or {}
    parameters = {
        parameter.name: [_given(setting_of(recipe, parameter, name), parameter) for name in models.names]
        if parameter.per_model
        else _given(shared.get(parameter.name), parameter)
        for parameter in METHODS[recipe["merge_method"]].parameters
    }
    places = [_place(name) for name in models.names]
    facts = [recipe["merge_method"], places, parameters, recipe.get("dtype"), recipe.get("out_dtype")]
    return json.dumps(facts, sort_keys=True, default=str)


def _given(setting: Any, parameter: Parameter) -> Any:
    """Return what a parameter is, given or by default."""
    return _numbers(parameter.default if setting is None else setting)


def _numbers(setting: Any) -> Any:
    """Return a setting with its numbers as floats, as 1, 1.0 and "1" are one alpha, and its files by their places."""
    if isinstance(setting, list):
        return [_numbers(entry) for entry in setting]
    if isinstance(setting, Mapping):
        return {key: _numbers(entry) if key == "value" else entry for key, entry in setting.items()}
    try:
        return float(setting)
    except (TypeError, ValueError):
        return _place(setting) if isinstance(setting, str) else setting


def _place(name: str) -> str:
    """Return a name under which a folder or a file is known however it was written."""
    return str(Path(name).resolve() if Path(name).exists() else Path(name))
