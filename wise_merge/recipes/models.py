"""Which checkpoints a recipe merges, as it names them, and whether they are what its method takes."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from wise_merge.errors import WiseMergeError
from wise_merge.methods import METHODS, Base, Method
from wise_merge.recipes.schema import Recipe, holders, model_name
from wise_merge.text import enumeration, hint


@dataclass(frozen=True)
class Ingredients:
    """The checkpoints that a recipe (or one of its slices) merges, as it names them.

    Attributes:
        base: the `base_model`; None = none.
        models: the others, in the order of the recipe.
    """

    base: str | None
    models: tuple[str, ...]

    @property
    def names(self) -> tuple[str, ...]:
        """All of them, the base first: the first one gives config and tokenizer."""
        return self.models if self.base is None else (self.base, *self.models)

    @property
    def early(self) -> str:
        """The base of a method of an early and a late checkpoint."""
        return self.names[0]

    @property
    def late(self) -> str:
        """The last checkpoint; of a method of an early and a late one, the late one."""
        return self.names[-1]


def is_ours(recipe: Recipe) -> bool:
    """Return whether the merge method of a recipe is one of ours; mergekit may know others."""
    return recipe.get("merge_method") in METHODS


def is_early_and_late(recipe: Recipe) -> bool:
    """Return whether the merge method of a recipe is one of ours that merges an early and a late checkpoint."""
    return is_ours(recipe) and method_of(recipe).early_and_late


def roles(recipe: Recipe, ingredients: Ingredients) -> tuple[str, ...]:
    """Return what messages call the checkpoints, in the order of `names`: early and late, or base and model."""
    if is_early_and_late(recipe):
        return ("early", "late")
    return tuple("base" if name == ingredients.base else "model" for name in ingredients.names)


def every_model(recipe: Recipe) -> Ingredients:
    """Return all checkpoints that a recipe of any method names, its `base_model` as the base."""
    base = None if recipe.get("base_model") is None else model_name(recipe["base_model"])
    named: dict[str, None] = {}
    for _, holder in holders(recipe):
        for entry in holder.get("models") or ():
            named[model_name(entry["model"])] = None
        for piece in holder.get("slices") or ():
            if piece.get("base_model") is not None:
                named[model_name(piece["base_model"])] = None
            named |= dict.fromkeys(model_name(source["model"]) for source in piece["sources"])
    named.pop(str(base), None)
    return Ingredients(base, tuple(named))


def method_of(recipe: Recipe) -> Method:
    """Return the merge method of a recipe; raises for one that is not ours."""
    name = recipe.get("merge_method")
    if isinstance(name, str) and name in METHODS:
        return METHODS[name]
    meant = hint(name, METHODS, otherwise="")
    raise WiseMergeError(
        f"merge_method must be {enumeration(METHODS, 'or')}; got {name!r}" + (f"; {meant}" if meant else "")
    )


def ingredients(recipe: Recipe) -> list[Ingredients]:
    """Return the different sets of checkpoints that the recipe merges, from models, slices or modules."""
    method = method_of(recipe)
    base = recipe.get("base_model")
    if base is None and method.base is Base.REQUIRED:
        if not method.early_and_late:
            raise WiseMergeError(
                f"base_model is missing; {method.name} merges what the models have changed of it: name the checkpoint "
                "from which they were trained"
            )
        raise WiseMergeError(
            f"base_model is missing; {method.name} takes the early checkpoint from it, and the late one from models"
        )
    if base is not None and method.base is Base.NONE:
        raise WiseMergeError(
            f"base_model is {model_name(base)}, and {method.name} takes none; leave it out, and name the model under "
            "models"
        )
    sets = []
    for _, holder in holders(recipe):
        if holder.get("models"):
            sets.append(_ingredients(method, base, [entry["model"] for entry in holder["models"]]))
        for number, piece in enumerate(holder.get("slices") or ()):
            first = piece.get("base_model") or base
            names = [model_name(source["model"]) for source in piece["sources"]]
            if first is not None and model_name(first) not in names:
                role = "early checkpoint" if method.early_and_late else "base_model"
                raise WiseMergeError(
                    f"slice {number} does not name the {role} {model_name(first)} among its sources; add it"
                )
            if len({tuple(source["layer_range"]) for source in piece["sources"]}) > 1:
                raise WiseMergeError(
                    f"slice {number} averages different layers with each other; give its sources one layer_range"
                )
            sets.append(_ingredients(method, first, [source["model"] for source in piece["sources"]]))
    return list(dict.fromkeys(sets))


def _ingredients(method: Method, base: Any, models: Sequence[Any]) -> Ingredients:
    first, names = None if base is None else model_name(base), [model_name(model) for model in models]
    for name in (*([] if first is None else [first]), *names):
        if name.count("+") > 1 or not all(name.split("+")):
            raise WiseMergeError(f"{name} is no checkpoint; write PATH, or BASE+ADAPTER with one + for mergekit")
    others = tuple(name for name in names if name != first)
    if method.early_and_late:
        _check_early_and_late(method, str(first), others, names)
        return Ingredients(first, others)
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise WiseMergeError(f"model {twice} is named twice; name it once, with a larger weight if it is to count more")
    if method.base is Base.REQUIRED:
        # It counts for none of them, whether it is named among them or not.
        _check_number(method, others, " beside base_model")
        return Ingredients(first, others)
    if first is not None and first not in names:
        raise WiseMergeError(
            f"base_model {first} is not among the models, all of which {method.name} merges; add it there, or leave "
            "base_model out"
        )
    _check_number(method, names)
    return Ingredients(first, others)


def _check_number(method: Method, names: Sequence[str], beside: str = "") -> None:
    if len(names) < method.fewest or (method.most is not None and len(names) > method.most):
        count = f"at least {method.fewest}" + ("" if method.most is None else f" and at most {method.most}")
        merges = "changes one model" if method.most == 1 else f"merges {count} models{beside}"
        named = f" ({', '.join(names)})" if names else ""
        raise WiseMergeError(f"{method.name} {merges}; models names {len(names)}{named}")


def _check_early_and_late(method: Method, early: str, late: Sequence[str], names: Sequence[str]) -> None:
    if not late:
        raise WiseMergeError(
            f"early and late are both {early}: models names base_model alone; name the late checkpoint there"
        )
    if len(late) > 1:
        raise WiseMergeError(
            f"models must name exactly one late checkpoint for {method.name}; it names {', '.join(late)}. "
            "For several models use uniform_soup"
        )
    if len(names) - len(late) > 1:
        raise WiseMergeError(f"the early checkpoint {early} is named twice; name it once")
