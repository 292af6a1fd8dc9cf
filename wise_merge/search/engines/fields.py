"""The types of what settings hold, and how each is read from a YAML file or from the command line."""

import json
from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, Field, ValidationInfo

from wise_merge.errors import WiseMergeError
from wise_merge.recipes.reading import dtype_spelt, from_home


def folder(name: str) -> str:
    """Return a name without the slash that shells put behind folders, and without `~`: one checkpoint has one name."""
    return from_home(name.rstrip("/") or name)


def listed(value: Any, info: ValidationInfo) -> tuple[str, ...]:
    """Return a list of names, or one name, as a tuple; names of tasks may stand in one text with commas."""
    values = value if isinstance(value, (list, tuple)) else [value]
    if info.field_name == "tasks" and isinstance(value, str):
        values = value.split(",")
    values = [one.strip() if isinstance(one, str) else one for one in values]
    # An empty tuple is the default, which `dataclasses.replace` hands on; a file has lists.
    if (not values and value != ()) or not all(isinstance(one, str) and one for one in values):
        what = {"tasks": "tasks", "run": "folders"}.get(str(info.field_name), "checkpoints")
        raise WiseMergeError(f"{info.field_name} must be the names of {what}; got {value!r}")
    return tuple(map(folder, values))


def plain(value: Any, info: ValidationInfo) -> dict[str, Any]:
    """Return a mapping that is the same after it has been written to the results and read from there."""
    key = info.field_name
    if not isinstance(value, Mapping):
        raise WiseMergeError(f"{key} must be a mapping; got {value!r}")
    mapping = dict(value)
    try:
        same = json.loads(json.dumps(mapping, allow_nan=False)) == mapping
    except (TypeError, ValueError):
        same = False
    if not same:
        raise WiseMergeError(
            f"{key} must map texts to texts, numbers, true, false, null, lists and mappings; got {value!r}: put other "
            "keys and values in quotes"
        )
    return mapping


def trackers(value: Any, info: ValidationInfo) -> tuple[str, ...]:
    """Return the names of trackers, each once, from a list or from a text with commas."""
    values = value.split(",") if isinstance(value, str) else value
    values = [one.strip() for text in _texts(values, info) for one in text.split(",")]
    return tuple(dict.fromkeys(one for one in values if one))


def _texts(value: Any, info: ValidationInfo) -> tuple[str, ...]:
    values = value if isinstance(value, (list, tuple)) else [value]
    if not all(isinstance(one, str) for one in values):
        raise WiseMergeError(f"{info.field_name} must be a text, or a list of texts; got {value!r}")
    return tuple(values)


def _template(value: Any) -> bool | str:
    if not isinstance(value, (bool, str)):
        raise WiseMergeError(f"apply_chat_template must be true, false or the name of a template; got {value!r}")
    return value


Folder = Annotated[str, AfterValidator(folder)]
#: Each once.
Names = Annotated[tuple[str, ...], BeforeValidator(lambda value, info: tuple(dict.fromkeys(listed(value, info))))]
#: As often as they were named.
AllNames = Annotated[tuple[str, ...], BeforeValidator(listed)]
Texts = Annotated[tuple[str, ...], BeforeValidator(_texts)]
TrackerNames = Annotated[tuple[str, ...], BeforeValidator(trackers)]
Plain = Annotated[Mapping[str, Any], BeforeValidator(plain)]
Dtype = Annotated[str, AfterValidator(dtype_spelt)]
Template = Annotated[bool | str, BeforeValidator(_template)]
Positive = Annotated[int, Field(ge=1)]
NotNegative = Annotated[int, Field(ge=0)]
