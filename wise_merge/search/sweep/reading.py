"""From a sweep's YAML file and the command line to its settings; everything is checked that needs no checkpoint."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from wise_merge.recipes.models import method_of
from wise_merge.search.engines.reading import read
from wise_merge.search.sweep.checks import check
from wise_merge.search.sweep.grid import check_alone
from wise_merge.search.sweep.settings import SweepSettings

#: A run, or late checkpoints, on the command line take the place of what the file has of both.
_REPLACING = {"run": ("early", "late"), "late": ("run",)}


def read_settings(path: Path | None, given: Mapping[str, Any]) -> SweepSettings:
    """Return what a YAML file says and the command line changes of it.

    Args:
        path: of the file, None = none.
        given: key -> value of each option that was given.
    """
    settings = read(SweepSettings, path, given, what="sweep", replacing=_REPLACING, check=check_alone)
    if settings.recipe is not None:
        recipe = settings.recipe
        settings = replace(
            settings,
            method=method_of(recipe).name,
            dtype=recipe.get("dtype"),
            out_dtype=recipe.get("out_dtype"),
        )
    check(settings)
    return replace(settings, alphas=tuple(alpha for alpha in settings.alphas if alpha not in (0.0, 1.0)))
