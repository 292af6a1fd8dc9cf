"""From a sweep's YAML file and the command line to its settings; everything is checked that needs no checkpoint."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from wise_merge.errors import WiseMergeError
from wise_merge.recipes.models import method_of
from wise_merge.recipes.reading import load_yaml
from wise_merge.search.sweep.checks import check
from wise_merge.search.sweep.grid import check_alone
from wise_merge.search.sweep.settings import KEYS, SweepSettings
from wise_merge.text import hint

#: What pydantic calls the mistake -> what was wanted.
_WANTED = {
    "int_type": "a whole number",
    "float_type": "a number",
    "string_type": "a text",
    "bool_type": "true or false",
    "greater_than_equal": "at least {ge}",
}


def read_settings(path: Path | None, given: Mapping[str, Any]) -> SweepSettings:
    """Return what a YAML file says and the command line changes of it.

    Args:
        path: of the file, None = none.
        given: key -> value of each option that was given.
    """
    content: dict[str, Any] = {} if path is None else load_yaml(path, "sweep", times=False)
    for key in content:
        if key not in KEYS:
            raise WiseMergeError(f"{path}: unknown key {key}; {hint(key, KEYS)}")
    # A run, or late checkpoints, on the command line take the place of what the file has of both.
    for key, replaced in (("run", ("early", "late")), ("late", ("run",))):
        if key in given:
            content = {other: value for other, value in content.items() if other not in replaced}
    named = {key: value for key, value in {**content, **given}.items() if value is not None}
    check_alone(named)
    try:
        settings = SweepSettings(**named)
    except ValidationError as error:
        first = error.errors()[0]
        wanted = _WANTED.get(first["type"], "something else").format(**first.get("ctx", {}))
        raise WiseMergeError(f"{first['loc'][0]} must be {wanted}; got {first['input']!r}") from None
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
