"""Whether the settings of a sweep can be meant together; everything is checked here that needs no checkpoint."""

import math
from pathlib import Path

from wise_merge.errors import WiseMergeError
from wise_merge.kernels.ranges import check_alpha
from wise_merge.methods import METHODS, Scope
from wise_merge.recipes.reading import FLOATING_DTYPES
from wise_merge.search.sweep.settings import SweepSettings
from wise_merge.text import enumeration

#: What the sweep sets itself within these mappings, and by which of its own keys.
_ELSEWHERE = (
    ("gen_kwargs", {"temperature": "temperatures", "do_sample": "temperatures", "seed": "seed", "repeats": "samples"}),
    ("metadata", {"temperature": "temperatures", "seed": "seed", "repeats": "samples"}),
    ("model_args", {"pretrained": "early and late", "seed": "seed", "journal": "journal in the folder of results"}),
)


def check(settings: SweepSettings) -> None:
    """Raise a `WiseMergeError` for the first thing that cannot be meant."""
    if settings.run is None and (settings.early is None or not settings.late):
        raise WiseMergeError(
            "no checkpoints to sweep: name early and late (--early, --late), or the folder of a training run (--run)"
        )
    _check_method(settings)
    _check_grid(settings)
    _check_engine(settings)
    for place, keys in _ELSEWHERE:
        for key, instead in keys.items():
            if key in getattr(settings, place):
                raise WiseMergeError(f"{place} names {key}, which is {instead} of the sweep; set it there alone")
    if settings.include_path is not None and not Path(settings.include_path).is_dir():
        raise WiseMergeError(f"include_path {settings.include_path} is no folder; name the one of your task files")
    _check_calibration(settings)


def _check_method(settings: SweepSettings) -> None:
    if settings.method not in METHODS:
        swept = [name for name, method in METHODS.items() if method.scope is Scope.ELEMENTWISE]
        raise WiseMergeError(f"method must be {enumeration(swept, 'or')}; got {settings.method!r}")
    method = METHODS[settings.method]
    if method.scope is not Scope.ELEMENTWISE:
        raise WiseMergeError(f"method {method.name} needs whole tensors at once, so it cannot be swept in an engine")
    if method.line and not settings.alphas:
        raise WiseMergeError("the grid is empty: alphas names none; give such as --alphas 0:1:0.125")
    if not method.line and settings.alphas:
        raise WiseMergeError(f"alphas is for methods of an early and a late checkpoint; {method.name} has none")


def _check_grid(settings: SweepSettings) -> None:
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
    if settings.until_ci is not None and not 0 < settings.until_ci < 1:
        raise WiseMergeError(f"until_ci must lie between 0 and 1, such as 0.02; got {settings.until_ci:g}")


def _check_engine(settings: SweepSettings) -> None:
    if settings.seed >= 1 << 32:
        raise WiseMergeError(f"seed must be less than 2^32, which engines and numpy take; got {settings.seed}")
    if settings.backend not in ("hf", "vllm"):
        raise WiseMergeError(f"backend must be hf or vllm; got {settings.backend!r}")
    for key in ("dtype", "out_dtype"):
        if getattr(settings, key) not in (None, *FLOATING_DTYPES):
            raise WiseMergeError(f"{key} must be one of {', '.join(FLOATING_DTYPES)}; got {getattr(settings, key)!r}")
    if settings.processes > 1 and (
        settings.ray is not None or settings.backend != "hf" or settings.device not in (None, "cpu")
    ):
        raise WiseMergeError(
            "processes is for tiny models on the CPUs of this machine; leave it out, or ray, and backend and device too"
        )
    if settings.gpus is not None and not 0 <= settings.gpus < math.inf:
        raise WiseMergeError(f"gpus must be at least 0; got {settings.gpus:g}")


def _check_calibration(settings: SweepSettings) -> None:
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
