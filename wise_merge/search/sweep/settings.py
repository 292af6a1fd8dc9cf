"""The settings of a sweep: the keys of its YAML file, what each of them holds, and what that becomes.

Whether the settings go together is for `checks`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import field, fields
from pathlib import Path
from typing import Annotated, Any

from pydantic import BeforeValidator, ValidationInfo
from pydantic.dataclasses import dataclass

from wise_merge.errors import WiseMergeError
from wise_merge.recipes.numbers import parse_numbers
from wise_merge.recipes.reading import from_home, normalised, read_recipe
from wise_merge.recipes.schema import check_keys
from wise_merge.search.engines.fields import Folder, Names, Plain, folder, plain
from wise_merge.search.engines.settings import STRICT, EngineSettings


def numbers(key: str, value: Any) -> tuple[float, ...]:
    """Return the numbers of "FIRST:LAST:STEP", "A,B,..." or a list, ascending and each once; 0.1:0.9:0.1 are nine."""
    try:
        if isinstance(value, str):
            parsed = parse_numbers(value)
        else:
            listed = value if isinstance(value, Sequence) else [value]
            if any(isinstance(one, bool) for one in listed):
                raise ValueError
            parsed = tuple(number for one in listed for number in parse_numbers(str(one)))
    except ValueError:
        example = "0:1:0.125 or [0.3, 0.5]" if key == "alphas" else "[0.7, 1.0] or 1.0"
        raise WiseMergeError(f"{key} must be numbers, such as {example}; got {value!r}") from None
    return tuple(sorted({float(one) for one in parsed}))


def _by_checkpoint(value: Any, info: ValidationInfo) -> dict[str, Any]:
    mapping = plain(value, info)
    return {folder(name) if isinstance(name, str) else name: one for name, one in mapping.items()}


def _recipe(value: Any, info: ValidationInfo) -> dict[str, Any]:
    """Return the recipe of a file, or the one that stands in the sweep's file."""
    if isinstance(value, str):
        return read_recipe(Path(from_home(value)))
    if not isinstance(value, Mapping):
        raise WiseMergeError(f"recipe must be the path of a recipe, or a recipe as a mapping; got {value!r}")
    recipe = plain(value, info)
    try:
        check_keys(recipe)
    except WiseMergeError as error:
        raise WiseMergeError(f"recipe: {error}") from error
    return normalised(recipe)


_Numbers = Annotated[tuple[float, ...], BeforeValidator(lambda value, info: numbers(info.field_name, value))]
_ByCheckpoint = Annotated[Mapping[str, Any], BeforeValidator(_by_checkpoint)]
_Recipe = Annotated[Mapping[str, Any], BeforeValidator(_recipe)]


@dataclass(frozen=True, config=STRICT)
class SweepSettings(EngineSettings):
    """A sweep as the user wants it; the names are the keys of the YAML file.

    Attributes:
        early: the early checkpoint, or the first of a soup; None = the first one of `run`.
        late: the late ones, each against the early one, or the others of a soup; empty = all others of `run`.
        run: folder of a training run, None where `early` and `late` are named.
        recipe: in place of these and of `alphas` and `method`: the content of a recipe, of which `grid` varies numbers.
        grid: parameter -> its values, or model -> its values of that parameter; see `wise_merge.search.sweep.grid`.
        alphas: ascending, without the two ends, which are always sampled; empty for methods that have none.
        temperatures: of sampling, ascending.
        method: a name in `wise_merge.methods`.
        calibration: of methods that have temperatures: checkpoint, as named in `early` and `late` -> its own.
        until_ci: half the width of the interval of Pass@1 at which a point has samples enough, None = never.
        successive_halving: whether dominated points get no further samples.
    """

    early: Folder | None = None
    late: Names = ()
    run: Folder | None = None
    recipe: _Recipe | None = None
    grid: Plain = field(default_factory=dict)
    alphas: _Numbers = ()
    temperatures: _Numbers = (1.0,)
    method: str = "wise_ft"
    calibration: _ByCheckpoint = field(default_factory=dict)
    until_ci: float | None = None
    successive_halving: bool = False


KEYS = tuple(one.name for one in fields(SweepSettings))
