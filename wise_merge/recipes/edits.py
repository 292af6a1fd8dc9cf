"""Recipes with one thing changed: another parameter for every tensor, another dtype of the output."""

import copy
from typing import Any

from wise_merge.errors import WiseMergeError
from wise_merge.recipes.reading import FLOATING_DTYPES, dtype_spelt
from wise_merge.recipes.schema import Recipe, holders


def with_parameter(recipe: Recipe, name: str, value: float) -> dict[str, Any]:
    """Return the recipe with this value of a parameter for every tensor of every model."""
    changed = copy.deepcopy(dict(recipe))
    # A setting of a slice or module would take precedence.
    for _, holder in holders(changed):
        for scope in (holder, *(holder.get("slices") or ())):
            (scope.get("parameters") or {}).pop(name, None)
    changed["parameters"] = {**(changed.get("parameters") or {}), name: value}
    return changed


def with_out_dtype(recipe: Recipe, out_dtype: str | None) -> dict[str, Any]:
    """Return the recipe with another dtype of the output; as it is where that is None.

    A wide one is computed in as well, where the recipe names none as wide: mergekit would round the average to the
    checkpoints' dtype first, and widen it only then.
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
