"""Whether the settings of a sweep can be meant together; everything is checked here that needs no checkpoint."""

import math

from wise_merge.errors import WiseMergeError
from wise_merge.kernels.ranges import check_alpha
from wise_merge.methods import METHODS, Scope
from wise_merge.search.engines.checks import check_engine, check_mappings, check_temperatures
from wise_merge.search.sweep.combinations import check_combinations
from wise_merge.search.sweep.grid import check_recipe
from wise_merge.search.sweep.settings import SweepSettings
from wise_merge.text import enumeration

#: What a sweep calls what every engine must be told.
_OWN = {"temperature": "temperatures", "pretrained": "early and late"}


def check(settings: SweepSettings) -> None:
    """Raise a `WiseMergeError` for the first thing that cannot be meant."""
    if settings.recipe is None and settings.run is None and (settings.early is None or not settings.late):
        raise WiseMergeError(
            "no checkpoints to sweep: name early and late (--early, --late), or the folder of a training run (--run)"
        )
    _check_method(settings)
    _check_grid(settings)
    check_engine(settings)
    check_mappings(settings, what="sweep", own=_OWN)
    if settings.recipe is None:
        _check_calibration(settings)
        return
    check_recipe(settings.recipe, settings.grid)
    check_combinations(settings)


def _check_method(settings: SweepSettings) -> None:
    if settings.method not in METHODS:
        swept = [name for name, method in METHODS.items() if method.scope is Scope.ELEMENTWISE]
        raise WiseMergeError(f"method must be {enumeration(swept, 'or')}; got {settings.method!r}")
    method = METHODS[settings.method]
    if method.scope is not Scope.ELEMENTWISE:
        raise WiseMergeError(f"method {method.name} needs whole tensors at once, so it cannot be swept in an engine")
    if settings.recipe is not None:
        return
    if method.files:
        raise WiseMergeError(
            f"method {method.name} takes files, which a recipe names; give recipe and grid in place of checkpoints, "
            "alphas and method"
        )
    if method.line and not settings.alphas:
        raise WiseMergeError("the grid is empty: alphas names none; give such as --alphas 0:1:0.125")
    if not method.line and settings.alphas:
        raise WiseMergeError(f"alphas is for methods of an early and a late checkpoint; {method.name} has none")


def _check_grid(settings: SweepSettings) -> None:
    for alpha in settings.alphas:
        check_alpha(alpha)
    if not settings.temperatures:
        raise WiseMergeError("the grid is empty: temperatures names none; give such as --temperatures 0.7,1.0")
    check_temperatures("temperatures", settings.temperatures, settings.samples)
    if not settings.tasks:
        raise WiseMergeError("the grid is empty: tasks names none; give such as --tasks gsm8k_passk")
    if settings.until_ci is not None and not 0 < settings.until_ci < 1:
        raise WiseMergeError(f"until_ci must lie between 0 and 1, such as 0.02; got {settings.until_ci:g}")


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
