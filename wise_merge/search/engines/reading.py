"""From a YAML file and the command line to settings."""

from collections.abc import Callable, Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any, TypeVar

from pydantic import ValidationError

from wise_merge.errors import WiseMergeError
from wise_merge.recipes.reading import load_yaml
from wise_merge.search.engines.settings import EngineSettings
from wise_merge.text import hint

Settings = TypeVar("Settings", bound=EngineSettings)

#: What pydantic calls the mistake -> what was wanted.
_WANTED = {
    "int_type": "a whole number",
    "float_type": "a number",
    "string_type": "a text",
    "bool_type": "true or false",
    "greater_than_equal": "at least {ge}",
}


def read(
    kind: type[Settings],
    path: Path | None,
    given: Mapping[str, Any],
    *,
    what: str,
    replacing: Mapping[str, tuple[str, ...]],
    check: Callable[[Mapping[str, Any]], object] = lambda named: None,
) -> Settings:
    """Return what a YAML file says and the command line changes of it; whether it goes together is not checked.

    Args:
        kind: of the settings.
        path: of the file, None = none.
        given: key -> value of each option that was given.
        what: the file is of, for messages.
        replacing: key -> keys whose values in the file it takes the place of when it is given.
        check: looks at what is named, before it is read.
    """
    content: dict[str, Any] = {} if path is None else load_yaml(path, what, times=False)
    keys = [one.name for one in fields(kind)]
    for key in content:
        if key not in keys:
            raise WiseMergeError(f"{path}: unknown key {key}; {hint(key, keys)}")
    for key, replaced in replacing.items():
        if key in given:
            content = {other: value for other, value in content.items() if other not in replaced}
    named = {key: value for key, value in {**content, **given}.items() if value is not None}
    check(named)
    try:
        return kind(**named)
    except ValidationError as error:
        first = error.errors()[0]
        wanted = _WANTED.get(first["type"], "something else").format(**first.get("ctx", {}))
        raise WiseMergeError(f"{first['loc'][0]} must be {wanted}; got {first['input']!r}") from None
