"""The settings of a sweep: the keys of its YAML file, what each of them holds, and what that becomes.

Whether the settings go together is for `checks`.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import field, fields
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, ConfigDict, Field, ValidationInfo
from pydantic.dataclasses import dataclass

from wise_merge.errors import WiseMergeError
from wise_merge.recipes.numbers import parse_numbers
from wise_merge.recipes.reading import dtype_spelt, from_home, normalised, read_recipe
from wise_merge.recipes.schema import check_keys


def _folder(name: str) -> str:
    """Return a name without the slash that shells put behind folders, and without `~`: one checkpoint has one name."""
    return from_home(name.rstrip("/") or name)


def _names(value: Any, info: ValidationInfo) -> tuple[str, ...]:
    values = value if isinstance(value, (list, tuple)) else [value]
    if info.field_name == "tasks" and isinstance(value, str):
        values = value.split(",")
    values = [one.strip() if isinstance(one, str) else one for one in values]
    # An empty tuple is the default, which `dataclasses.replace` hands on; a file has lists.
    if (not values and value != ()) or not all(isinstance(one, str) and one for one in values):
        what = "tasks" if info.field_name == "tasks" else "checkpoints"
        raise WiseMergeError(f"{info.field_name} must be the names of {what}; got {value!r}")
    return tuple(dict.fromkeys(map(_folder, values)))


def _plain(value: Any, info: ValidationInfo) -> dict[str, Any]:
    """Return a mapping that is the same after it has been written to the results and read from there."""
    key = info.field_name
    if not isinstance(value, Mapping):
        raise WiseMergeError(f"{key} must be a mapping; got {value!r}")
    mapping = {_folder(name) if key == "calibration" and isinstance(name, str) else name: value[name] for name in value}
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


def _template(value: Any) -> bool | str:
    if not isinstance(value, (bool, str)):
        raise WiseMergeError(f"apply_chat_template must be true, false or the name of a template; got {value!r}")
    return value


def _recipe(value: Any, info: ValidationInfo) -> dict[str, Any]:
    """Return the recipe of a file, or the one that stands in the sweep's file."""
    if isinstance(value, str):
        return read_recipe(Path(from_home(value)))
    if not isinstance(value, Mapping):
        raise WiseMergeError(f"recipe must be the path of a recipe, or a recipe as a mapping; got {value!r}")
    recipe = _plain(value, info)
    try:
        check_keys(recipe)
    except WiseMergeError as error:
        raise WiseMergeError(f"recipe: {error}") from error
    return normalised(recipe)


_Folder = Annotated[str, AfterValidator(_folder)]
_Names = Annotated[tuple[str, ...], BeforeValidator(_names)]
_Numbers = Annotated[tuple[float, ...], BeforeValidator(lambda value, info: numbers(info.field_name, value))]
_Plain = Annotated[Mapping[str, Any], BeforeValidator(_plain)]
_Dtype = Annotated[str, AfterValidator(dtype_spelt)]
_Template = Annotated[bool | str, BeforeValidator(_template)]
_Recipe = Annotated[Mapping[str, Any], BeforeValidator(_recipe)]
_Positive = Annotated[int, Field(ge=1)]
_NotNegative = Annotated[int, Field(ge=0)]


@dataclass(frozen=True, config=ConfigDict(strict=True))
class SweepSettings:
    """A sweep as the user wants it; the names are the keys of the YAML file.

    Attributes:
        early: the early checkpoint, or the first of a soup; None = the first one of `run`.
        late: the late ones, each against the early one, or the others of a soup; empty = all others of `run`.
        run: folder of a training run, None where `early` and `late` are named.
        recipe: in place of these and of `alphas` and `method`: the content of a recipe, of which `grid` varies numbers.
        grid: parameter -> its values, or model -> its values of that parameter; see `wise_merge.search.sweep.grid`.
        alphas: ascending, without the two ends, which are always sampled; empty for methods that have none.
        temperatures: of sampling, ascending.
        tasks: of lm-eval, ours.
        samples: K, per problem.
        limit: only the first so many problems of each task.
        method: a name in `wise_merge.methods`.
        calibration: of methods that have temperatures: checkpoint, as named in `early` and `late` -> its own.
        dtype: to which the checkpoints are cast before they are merged.
        out_dtype: of the merge.
        backend: "hf" or "vllm".
        model_args: of that model of lm-eval.
        batch_size: the most samples that are drawn together, None = the model's own choice.
        device: None = the model's own choice.
        seed: of all samples.
        metadata: of the tasks.
        gen_kwargs: settings of sampling, beside the temperature.
        num_fewshot: see lm-eval.
        apply_chat_template: see lm-eval.
        system_instruction: see lm-eval.
        fewshot_as_multiturn: see lm-eval.
        include_path: see lm-eval.
        until_ci: half the width of the interval of Pass@1 at which a point has samples enough, None = never.
        successive_halving: whether dominated points get no further samples.
        processes: of this machine, each with an engine of its own and one thread; for tiny models on CPUs.
        ray: "auto" or the address of a cluster, None = this process alone.
        cores: of an engine on a cluster, where it has no GPU.
        gpus: of an engine on a cluster, None = one where there are any.
    """

    early: _Folder | None = None
    late: _Names = ()
    run: _Folder | None = None
    recipe: _Recipe | None = None
    grid: _Plain = field(default_factory=dict)
    alphas: _Numbers = ()
    temperatures: _Numbers = (1.0,)
    tasks: _Names = ()
    samples: _Positive = 32
    limit: _Positive | None = None
    method: str = "wise_ft"
    calibration: _Plain = field(default_factory=dict)
    dtype: _Dtype | None = None
    out_dtype: _Dtype | None = None
    backend: str = "hf"
    model_args: _Plain = field(default_factory=dict)
    batch_size: _Positive | None = None
    device: str | None = None
    seed: _NotNegative = 1234
    metadata: _Plain = field(default_factory=dict)
    gen_kwargs: _Plain = field(default_factory=dict)
    num_fewshot: _NotNegative | None = None
    apply_chat_template: _Template = False
    system_instruction: str | None = None
    fewshot_as_multiturn: bool | None = None
    include_path: str | None = None
    until_ci: float | None = None
    successive_halving: bool = False
    processes: _Positive = 1
    ray: str | None = None
    cores: _Positive = 1
    gpus: float | None = None


KEYS = tuple(one.name for one in fields(SweepSettings))
