"""The order of a merge: read the recipe, apply what the command line says, and choose what carries it out.

Full checkpoints of one layout are merged tensor by tensor by `plain`; adapters, slices, tokenizers that are laid over
all of them, and mergekit's own methods are mergekit's, called as a library by `through_mergekit`. Both check
everything first and publish a whole folder.
"""

from collections.abc import Mapping
from decimal import Decimal
from pathlib import Path
from typing import Any

from wise_merge.errors import WiseMergeError
from wise_merge.kernels.ranges import check_alpha
from wise_merge.merge.loading import without_garbage_collection
from wise_merge.merge.order import Order, Say
from wise_merge.methods import Scope
from wise_merge.recipes.edits import with_out_dtype, with_parameter
from wise_merge.recipes.models import every_model, ingredients, is_ours, method_of
from wise_merge.recipes.numbers import parse_numbers
from wise_merge.recipes.parameters import check_settings, check_takes_parts
from wise_merge.recipes.reading import read_recipe
from wise_merge.recipes.schema import model_name

#: Keys that change the layout of the model or its vocabulary.
_MERGEKIT_ONLY = ("slices", "modules", "tokenizer", "tokenizer_source", "chat_template")


def merge_recipe(
    path: Path,
    out: Path,
    *,
    alphas: str | None,
    out_dtype: str | None,
    force: bool,
    check: bool,
    say: Say,
    warn: Say,
) -> None:
    """Check the recipe at `path` and merge it into the new folder `out`.

    Args:
        path: of the YAML file.
        out: the model, or with `alphas` a folder of models.
        alphas: such as "0.1:0.9:0.1" or "0.3,0.5"; None takes the recipe's.
        out_dtype: see `recipes.edits.with_out_dtype`.
        force: replace what is at `out`, whole.
        check: stop after the checks.
        say: is given lines for standard output.
        warn: is given warnings.

    Raises `WiseMergeError` for whatever the user can mend; nothing is then at `out` that was not there before.
    """
    recipe = with_out_dtype(read_recipe(path), out_dtype)
    if alphas is None:
        recipes, names = [recipe], [""]
    else:
        chosen = parse_alphas(alphas)
        if not (is_ours(recipe) and method_of(recipe).line == "alpha"):
            raise WiseMergeError(f"--alphas is for methods with an alpha; {recipe['merge_method']} has none")
        recipes = [with_parameter(recipe, "alpha", float(alpha)) for alpha in chosen]
        names = [f"alpha-{alpha:f}" for alpha in chosen]
    if is_ours(recipe):
        check_settings(recipes[0])
        if recipe.get("slices") or recipe.get("modules"):
            check_takes_parts(method_of(recipe))
        sets = tuple(ingredients(recipe))
    else:
        sets = (every_model(recipe),)
    order = Order(tuple(recipes), sets, path, out, tuple(names), force, check, say, warn)
    if _is_plain(recipe):
        from wise_merge.merge.plain import carry_out
    else:
        with without_garbage_collection():
            from wise_merge.merge.through_mergekit import carry_out
    try:
        carry_out(order)
    except OSError as error:
        raise WiseMergeError(
            f"{error.filename or path} cannot be read or written: {error.strerror or error}"
        ) from error


def parse_alphas(text: str) -> tuple[Decimal, ...]:
    """Return the alphas of "FIRST:LAST:STEP" or "A,B,...", exactly as decimals: 0.1:0.9:0.1 are nine."""
    try:
        alphas = parse_numbers(text)
    except ValueError:
        raise WiseMergeError(
            f"--alphas must be FIRST:LAST:STEP, such as 0.1:0.9:0.1, or a list, such as 0.3,0.5; got {text}"
        ) from None
    for alpha in alphas:
        check_alpha(float(alpha))
    return alphas


def _is_plain(recipe: Mapping[str, Any]) -> bool:
    """Return whether a recipe merges full checkpoints, tensor by tensor, by one of our elementwise methods."""
    if not is_ours(recipe) or method_of(recipe).scope is not Scope.ELEMENTWISE:
        return False
    models = [recipe.get("base_model"), *(entry["model"] for entry in recipe.get("models") or ())]
    return not any(recipe.get(key) for key in _MERGEKIT_ONLY) and not any(
        "+" in model_name(model) or (isinstance(model, Mapping) and model.get("override_architecture"))
        for model in models
        if model is not None
    )
