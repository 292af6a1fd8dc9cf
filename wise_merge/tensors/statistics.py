"""What methods need to know of tensors beside their values, by the names that `Method.statistics` lists.

Those that are fitted to data by a command stand in files; those here follow from the configs.
"""

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from wise_merge.checkpoints.final_norms import folds
from wise_merge.methods import Method
from wise_merge.recipes.parameters import temperature_of
from wise_merge.recipes.schema import Recipe


def statistics_of(
    recipe: Recipe, method: Method, models: Sequence[str], config: Mapping[str, Any], names: Collection[str]
) -> dict[str, dict[str, float]]:
    """Return the statistics of each tensor that has any.

    Args:
        recipe: without slices and modules.
        method: of the recipe.
        models: as the recipe names them.
        config: of the first of them.
        names: of all stored tensors.
    """
    statistics: dict[str, dict[str, float]] = {}
    if "logit_offset" in method.statistics and any(temperature_of(recipe, model) != 1.0 for model in models):
        for name, offset in folds(config, names).items():
            statistics.setdefault(name, {})["logit_offset"] = offset
    return statistics
