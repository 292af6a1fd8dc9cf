"""What a sweep's YAML file and the command line may say; everything is checked here that needs no checkpoint."""

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from wise_merge.errors import WiseMergeError
from wise_merge.kernels.ranges import check_alpha
from wise_merge.methods import METHODS, Scope
from wise_merge.recipes.numbers import parse_numbers
from wise_merge.recipes.reading import FLOATING_DTYPES, dtype_spelt, from_home, load_yaml
from wise_merge.text import hint


@dataclass(frozen=True)
class Settings:
    """A sweep as the user wants it; the names are the keys of the YAML file.

    Attributes:
        early: the early checkpoint; None = the first one of `run`.
        late: the late ones, each against the early one; empty = all others of `run`.
        run: folder of a training run, None where `early` and `late` are named.
        alphas: ascending, without the two ends, which are always sampled.
        temperatures: of sampling, ascending.
        tasks: of lm-eval, ours.
        samples: K, per problem.
        limit: only the first so many problems of each task.
        method: a name in `wise_merge.methods`.
        calibration: of `bang`: checkpoint, as named in `early` and `late` -> temperature to fold into it.
        dtype: to which both checkpoints are cast before they are averaged.
        out_dtype: of the average.
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

    early: str | None = None
    late: tuple[str, ...] = ()
    run: str | None = None
    alphas: tuple[float, ...] = ()
    temperatures: tuple[float, ...] = (1.0,)
    tasks: tuple[str, ...] = ()
    samples: int = 32
    limit: int | None = None
    method: str = "wise_ft"
    calibration: Mapping[str, float] = field(default_factory=dict)
    dtype: str | None = None
    out_dtype: str | None = None
    backend: str = "hf"
    model_args: Mapping[str, Any] = field(default_factory=dict)
    batch_size: int | None = None
    device: str | None = None
    seed: int = 1234
    metadata: Mapping[str, Any] = field(default_factory=dict)
    gen_kwargs: Mapping[str, Any] = field(default_factory=dict)
    num_fewshot: int | None = None
    apply_chat_template: bool | str = False
    system_instruction: str | None = None
    fewshot_as_multiturn: bool | None = None
    include_path: str | None = None
    until_ci: float | None = None
    successive_halving: bool = False
    processes: int = 1
    ray: str | None = None
    cores: int = 1
    gpus: float | None = None


KEYS = tuple(one.name for one in fields(Settings))
_LISTS = {"late": "checkpoints", "tasks": "tasks"}
_NUMBERS = {"alphas": "0:1:0.125 or [0.3, 0.5]", "temperatures": "[0.7, 1.0] or 1.0"}
_MAPPINGS = ("calibration", "model_args", "metadata", "gen_kwargs")
#: What the sweep sets itself within these mappings, and by which of its own keys.
_ELSEWHERE = (
    ("gen_kwargs", {"temperature": "temperatures", "do_sample": "temperatures", "seed": "seed", "repeats": "samples"}),
    ("metadata", {"temperature": "temperatures", "seed": "seed", "repeats": "samples"}),
    ("model_args", {"pretrained": "early and late", "seed": "seed", "journal": "journal in the folder of results"}),
)
_WHOLE = ("samples", "limit", "batch_size", "seed", "num_fewshot", "processes", "cores")
_TEXTS = (
    "early",
    "run",
    "method",
    "dtype",
    "out_dtype",
    "backend",
    "device",
    "system_instruction",
    "include_path",
    "ray",
)


def read_settings(path: Path | None, given: Mapping[str, Any]) -> Settings:
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
    settings = Settings(**{key: _read(key, value) for key, value in {**content, **given}.items() if value is not None})
    _check(settings)
    return replace(settings, alphas=_without_ends(settings.alphas))


def _read(key: str, value: Any) -> Any:
    if key in _LISTS:
        values = value if isinstance(value, (list, tuple)) else [value]
        if key == "tasks" and isinstance(value, str):
            values = value.split(",")
        values = [one.strip() if isinstance(one, str) else one for one in values]
        if not values or not all(isinstance(one, str) and one for one in values):
            raise WiseMergeError(f"{key} must be the names of {_LISTS[key]}; got {value!r}")
        return tuple(dict.fromkeys(map(_folder, values)))
    if key in _NUMBERS:
        return numbers(key, value)
    if key in _MAPPINGS:
        if not isinstance(value, Mapping):
            raise WiseMergeError(f"{key} must be a mapping; got {value!r}")
        return _plain(key, value)
    if key in _WHOLE:
        if isinstance(value, bool) or not isinstance(value, int):
            raise WiseMergeError(f"{key} must be a whole number; got {value!r}")
        return value
    if key in _TEXTS:
        if not isinstance(value, str):
            raise WiseMergeError(f"{key} must be a text; got {value!r}")
        if key in ("dtype", "out_dtype"):
            return dtype_spelt(value)
        return _folder(value) if key in ("early", "run") else value
    if key in ("until_ci", "gpus"):
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            raise WiseMergeError(f"{key} must be a number; got {value!r}")
        return float(value)
    if key in ("successive_halving", "fewshot_as_multiturn") and not isinstance(value, bool):
        raise WiseMergeError(f"{key} must be true or false; got {value!r}")
    if key == "apply_chat_template" and not isinstance(value, (bool, str)):
        raise WiseMergeError(f"{key} must be true, false or the name of a template; got {value!r}")
    return value


def _folder(name: str) -> str:
    """Return a name without the slash that shells put behind folders, and without `~`: one checkpoint has one name."""
    return from_home(name.rstrip("/") or name)


def _plain(key: str, value: Mapping[Any, Any]) -> dict[str, Any]:
    """Return a mapping that is the same after it has been written to the results and read from there."""
    found = {_folder(name) if key == "calibration" and isinstance(name, str) else name: value[name] for name in value}
    try:
        same = json.loads(json.dumps(found, allow_nan=False)) == found
    except (TypeError, ValueError):
        same = False
    if not same:
        raise WiseMergeError(
            f"{key} must map texts to texts, numbers, true, false, null, lists and mappings; got {value!r}: put other "
            "keys and values in quotes"
        )
    return found


def numbers(key: str, value: Any) -> tuple[float, ...]:
    """Return the numbers of "FIRST:LAST:STEP", "A,B,..." or a list, ascending and each once; 0.1:0.9:0.1 are nine."""
    try:
        if isinstance(value, str):
            found = parse_numbers(value)
        else:
            listed = value if isinstance(value, Sequence) else [value]
            if any(isinstance(one, bool) for one in listed):
                raise ValueError
            found = tuple(number for one in listed for number in parse_numbers(str(one)))
    except ValueError:
        raise WiseMergeError(f"{key} must be numbers, such as {_NUMBERS[key]}; got {value!r}") from None
    return tuple(sorted({float(one) for one in found}))


def _without_ends(alphas: Sequence[float]) -> tuple[float, ...]:
    return tuple(alpha for alpha in alphas if alpha not in (0.0, 1.0))


def _check(settings: Settings) -> None:
    if settings.run is None and (settings.early is None or not settings.late):
        raise WiseMergeError(
            "no checkpoints to sweep: name early and late (--early, --late), or the folder of a training run (--run)"
        )
    if settings.method not in METHODS:
        raise WiseMergeError(f"method must be {_one_of(METHODS)}; got {settings.method!r}")
    method = METHODS[settings.method]
    if method.scope is not Scope.ELEMENTWISE:
        raise WiseMergeError(f"method {method.name} needs whole tensors at once, so it cannot be swept in an engine")
    if method.line and not settings.alphas:
        raise WiseMergeError("the grid is empty: alphas names none; give such as --alphas 0:1:0.125")
    if not method.line and settings.alphas:
        raise WiseMergeError(f"alphas is for methods of an early and a late checkpoint; {method.name} has none")
    for alpha in settings.alphas:
        check_alpha(alpha)
    if not settings.temperatures:
        raise WiseMergeError("the grid is empty: temperatures names none; give such as --temperatures 0.7,1.0")
    for temperature in settings.temperatures:
        if temperature < 0 or not math.isfinite(temperature):
            raise WiseMergeError(f"temperatures must be at least 0 (0 = greedy) and finite; got {temperature:g}")
    if not settings.tasks:
        raise WiseMergeError("the grid is empty: tasks names none; give such as --tasks gsm8k_passk")
    if settings.temperatures[0] == 0 and settings.samples > 1:
        raise WiseMergeError(
            f"temperature 0 is greedy: {settings.samples} completions of a problem would be one and the same; leave 0 "
            "out of temperatures, or set samples to 1"
        )
    for key, least in (
        ("samples", 1),
        ("limit", 1),
        ("batch_size", 1),
        ("processes", 1),
        ("cores", 1),
        ("num_fewshot", 0),
        ("seed", 0),
    ):
        value = getattr(settings, key)
        if value is not None and value < least:
            raise WiseMergeError(f"{key} must be at least {least}; got {value}")
    if settings.seed >= 1 << 32:
        raise WiseMergeError(f"seed must be less than 2^32, which engines and numpy take; got {settings.seed}")
    if settings.backend not in ("hf", "vllm"):
        raise WiseMergeError(f"backend must be hf or vllm; got {settings.backend!r}")
    for key in ("dtype", "out_dtype"):
        if getattr(settings, key) not in (None, *FLOATING_DTYPES):
            raise WiseMergeError(f"{key} must be one of {', '.join(FLOATING_DTYPES)}; got {getattr(settings, key)!r}")
    if settings.until_ci is not None and not 0 < settings.until_ci < 1:
        raise WiseMergeError(f"until_ci must lie between 0 and 1, such as 0.02; got {settings.until_ci:g}")
    if settings.processes > 1 and (
        settings.ray is not None or settings.backend != "hf" or settings.device not in (None, "cpu")
    ):
        raise WiseMergeError(
            "processes is for tiny models on the CPUs of this machine; leave it out, or ray, and backend and device too"
        )
    if settings.gpus is not None and not 0 <= settings.gpus < math.inf:
        raise WiseMergeError(f"gpus must be at least 0; got {settings.gpus:g}")
    for place, keys in _ELSEWHERE:
        for key, instead in keys.items():
            if key in getattr(settings, place):
                raise WiseMergeError(f"{place} names {key}, which is {instead} of the sweep; set it there alone")
    if settings.include_path is not None and not Path(settings.include_path).is_dir():
        raise WiseMergeError(f"include_path {settings.include_path} is no folder; name the one of your task files")
    _check_calibration(settings)


def _check_calibration(settings: Settings) -> None:
    if METHODS[settings.method].parameter("temperature") is None:
        if settings.calibration:
            raise WiseMergeError(
                f"calibration has temperatures, which {settings.method} does not use; set method to bang"
            )
        return
    if not settings.calibration:
        raise WiseMergeError(
            f"method {settings.method} needs calibration, a mapping from each checkpoint to its temperature; "
            "`wise-merge fit temperature` finds them"
        )
    for name, temperature in settings.calibration.items():
        number = isinstance(temperature, (int, float)) and not isinstance(temperature, bool)
        if not number or not 0 < temperature < math.inf:
            raise WiseMergeError(f"calibration of {name} must be a positive number; got {temperature!r}")


def _one_of(names: Iterable[str]) -> str:
    *most, last = names
    return f"{', '.join(most)} or {last}"
