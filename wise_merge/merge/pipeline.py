"""The order of a merge: read the recipe, apply what the command line says, and hand over to who can carry it out.

Two full checkpoints of one layout are averaged by `plain`; adapters, slices and tokenizers that are laid over both
are mergekit's, called as a library by `through_mergekit`. Both check everything first and publish a whole folder.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

from wise_merge.errors import WiseMergeError
from wise_merge.loading import no_garbage
from wise_merge.ranges import check_alpha, parse_numbers
from wise_merge.recipe import Pair, check_settings, model_name, pairs, read_recipe, with_alpha, with_out_dtype

Say = Callable[[str], object]

#: Keys that change the layout of the model or its vocabulary.
_MERGEKIT_ONLY = ("slices", "modules", "tokenizer", "tokenizer_source", "chat_template")


@dataclass(frozen=True)
class Order:
    """What is to be merged, and where to.

    Attributes:
        recipes: of each model that is written; they differ in alpha alone.
        pairs: the different (early, late) of each of them.
        path: of the file they come from.
        out: the model, or a folder of models.
        names: of each model's folder within `out`; one empty name where `out` is the model.
        force: replace what is at `out`, whole.
        check: stop after the checks.
        say: is given lines for standard output.
        warn: is given warnings.
    """

    recipes: tuple[dict[str, Any], ...]
    pairs: tuple[Pair, ...]
    path: Path
    out: Path
    names: tuple[str, ...]
    force: bool
    check: bool
    say: Say
    warn: Say

    @property
    def labels(self) -> list[str]:
        """How the models are called in messages."""
        return [name or str(self.out) for name in self.names]


def run(
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
        out_dtype: see `recipe.with_out_dtype`.
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
        recipes = [with_alpha(recipe, float(alpha)) for alpha in chosen]
        names = [f"alpha-{alpha:f}" for alpha in chosen]
    check_settings(recipes[0])
    found = pairs(recipe)
    order = Order(tuple(recipes), tuple(found), path, out, tuple(names), force, check, say, warn)
    if _is_plain(recipe, found):
        from wise_merge.merge.plain import carry_out
    else:
        with no_garbage():
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


def _is_plain(recipe: Mapping[str, Any], found: Sequence[Pair]) -> bool:
    """Return whether a recipe averages two full checkpoints, tensor by tensor."""
    models = [recipe["base_model"], *(entry["model"] for entry in recipe.get("models") or ())]
    return (
        len(found) == 1
        and not any(recipe.get(key) for key in _MERGEKIT_ONLY)
        and not any(
            "+" in model_name(model) or (isinstance(model, Mapping) and model.get("override_architecture"))
            for model in models
        )
    )
