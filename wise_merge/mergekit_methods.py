"""The merge methods `wise_ft` and `bang` for mergekit 0.1.5: its kernels around `averaging`."""

import contextlib
import functools
from collections.abc import Callable, Iterator
from typing import Annotated, Any

import torch
from mergekit.common import ModelReference
from mergekit.config import MergeConfiguration
from mergekit.merge_methods.base import (
    BasePolicy,
    InputContract,
    MergeMethod,
    PerInput,
    TensorGroup,
)
from mergekit.merge_methods.easy_define import merge_method
from pydantic import Field

from wise_merge.averaging import first_non_finite, fold_temperature, interpolate
from wise_merge.errors import WiseMergeError
from wise_merge.final_norms import final_norm
from wise_merge.mergekit_checks import MergeInputError, check_configuration, config_of, one_line_errors

Alpha = Annotated[float, Field(ge=0, le=1)]
Temperature = Annotated[float, Field(gt=0, allow_inf_nan=False)]

EARLY_AND_LATE = InputContract(base=BasePolicy.REQUIRED, min_non_base=1, max_non_base=1)


#: Is told the name of a tensor, early and late as they are averaged, their average, and alpha.
Observer = Callable[[str, torch.Tensor, torch.Tensor, torch.Tensor, float], None]

_observers: list[Observer] = []


@contextlib.contextmanager
def observed(observer: Observer) -> Iterator[None]:
    """Tell `observer` of every tensor that our methods average within."""
    _observers.append(observer)
    try:
        yield
    finally:
        _observers.remove(observer)


@merge_method(
    name="wise_ft",
    pretty_name="WiSE-FT",
    reference_url="https://arxiv.org/abs/2504.10478",
    contract=EARLY_AND_LATE,
)
def _wise_ft(group: TensorGroup, alpha: Alpha) -> torch.Tensor:
    return _average(group, alpha, (1.0, 1.0))


@merge_method(
    name="bang", pretty_name="BANG", reference_url="https://arxiv.org/abs/2309.17230", contract=EARLY_AND_LATE
)
def _bang(group: TensorGroup, alpha: Alpha, temperature: PerInput[Temperature] = 1.0) -> torch.Tensor:
    return _average(group, alpha, (temperature[group.base.id], temperature[group.non_base[0].id]))


def _average(group: TensorGroup, alpha: float, temperatures: tuple[float, float]) -> torch.Tensor:
    # One group at a time, not a batch: it knows the name of its tensor, and mergekit hands over one anyway.
    _check_finite(group)
    early, late = group.base, group.non_base[0]
    name = group.metadata.name
    with one_line_errors():
        folded = [
            _folded(entry.tensor, name, entry.id, temperature)
            for entry, temperature in zip((early, late), temperatures, strict=True)
        ]
        merged = interpolate(*folded, alpha)
    for observer in _observers:
        observer(name or "", early.tensor, late.tensor, merged, alpha)
    return merged


METHODS: dict[str, MergeMethod] = {"wise_ft": _wise_ft, "bang": _bang}


def register() -> None:
    """Make the methods known to mergekit and have it check their configurations first."""
    from mergekit.merge_methods import registry

    for method in METHODS.values():
        if method not in registry.registered_methods():
            registry.register(method)
    if not hasattr(MergeConfiguration.referenced_models, "__wrapped__"):
        MergeConfiguration.referenced_models = _checking_first(MergeConfiguration.referenced_models)


def _checking_first(referenced_models: Any) -> Any:
    # mergekit offers no place for a check before it loads configs. This method is the first
    # thing that run_merge asks of a configuration, and nothing asks it before.
    @functools.wraps(referenced_models)
    def checked(self: MergeConfiguration) -> list[ModelReference]:
        if self.merge_method in METHODS:
            check_configuration(self)
        return list(referenced_models(self))

    return checked


def _check_finite(group: TensorGroup) -> None:
    for entry in group.entries:
        value = first_non_finite(entry.tensor)
        if value is not None:
            raise MergeInputError(
                f"tensor {group.metadata.name} of {entry.id} contains {value} in {entry.tensor.dtype}; every weight "
                "must be finite. Choose a checkpoint from before the training diverged, or a wider dtype"
            )


def _folded(tensor: torch.Tensor, name: str | None, model: Any, temperature: float) -> torch.Tensor:
    if temperature == 1.0:
        return tensor
    norm = final_norm(_architecture_of(model))
    if name not in norm.tensors:
        return tensor
    folded = fold_temperature(tensor, temperature, offset=norm.offset)
    if first_non_finite(folded) is not None:
        raise WiseMergeError(f"temperature {temperature} of {model} makes {name} overflow {tensor.dtype}; raise it")
    return folded


@functools.cache
def _architecture_of(model: Any) -> str:
    if not isinstance(model, ModelReference):
        raise WiseMergeError(
            "bang needs the config of a checkpoint to fold its temperature; merge by YAML, not from tensors in memory"
        )
    return str(config_of(model)["architectures"][0])


# Imported before mergekit, this module is not ready when the start-up hook calls (wise_merge/autoload.py).
register()
