"""The merge methods `wise_ft` and `bang` for mergekit 0.1.5: its kernels around `averaging`."""

import contextlib
import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Annotated, Any

import torch
from mergekit.common import ModelReference, dtype_from_name
from mergekit.config import MergeConfiguration
from mergekit.io.tasks import GatherTensors, LoaderCache, SaveTensor
from mergekit.merge_methods.base import (
    BasePolicy,
    InputContract,
    MergeMethod,
    PerInput,
    TensorGroup,
)
from mergekit.merge_methods.easy_define import merge_method
from mergekit.merge_methods.task_adapter import ExecuteMergeMethodTask
from pydantic import Field

from wise_merge.averaging import first_non_finite, interpolate, interpolate_balanced
from wise_merge.errors import WiseMergeError
from wise_merge.final_norms import folds
from wise_merge.hosts import mergekit_parts, versions
from wise_merge.hosts.part import Part, first_fault
from wise_merge.mergekit_checks import MergeInputError, check_configuration, config_of, one_line_errors
from wise_merge.mergekit_plan import cannot_plan, check_plan, inputs_of, plan_heads

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
    early, late = group.base, group.non_base[0]
    name = group.metadata.name or ""
    with one_line_errors():
        offset = _offset(name, ((early.id, temperatures[0]), (late.id, temperatures[1])))
        if offset is None:
            merged = interpolate(early.tensor, late.tensor, alpha)
        else:
            merged = interpolate_balanced(early.tensor, late.tensor, alpha, temperatures=temperatures, offset=offset)
        # A NaN or infinity in a checkpoint is one in the average, too, unless its share is 0.
        if alpha in (0.0, 1.0):
            _check_finite(group)
        if (offset is not None or 0.0 < alpha < 1.0) and first_non_finite(merged) is not None:
            _check_finite(group)
            raise _overflow(name, merged.dtype, offset, temperatures)
    for observer in _observers:
        observer(name, early.tensor, late.tensor, merged, alpha)
    return merged


METHODS: dict[str, MergeMethod] = {"wise_ft": _wise_ft, "bang": _bang}


def register() -> None:
    """Make the methods known to mergekit and have it check their configurations first.

    Raises a `WiseMergeError` where mergekit is not as expected inside: without the checks it could write wrong models.
    """
    from mergekit.merge_methods import registry

    _check_parts(mergekit_parts.METHODS)
    for method in METHODS.values():
        if method not in registry.registered_methods():
            registry.register(method)
    if not hasattr(MergeConfiguration.referenced_models, "__wrapped__"):
        MergeConfiguration.referenced_models = _checking_first(MergeConfiguration.referenced_models)
        ExecuteMergeMethodTask.arguments = _without_cast(ExecuteMergeMethodTask.arguments)
        ExecuteMergeMethodTask.execute = _with_buffers(ExecuteMergeMethodTask.execute)
        SaveTensor.execute = _saving_buffers(SaveTensor.execute)


def _check_parts(parts: Sequence[Part]) -> None:
    fault = first_fault(parts)
    if fault is not None:
        raise WiseMergeError(
            f"{versions.described('mergekit')} is not as expected inside ({fault}); install a tested version, or use "
            "`wise-merge merge`, which averages two full checkpoints without mergekit"
        )


def _checking_first(referenced_models: Any) -> Any:
    # mergekit offers no place for a check before it loads configs. This method is the first
    # thing that run_merge asks of a configuration, and nothing asks it before.
    @functools.wraps(referenced_models)
    def checked(self: MergeConfiguration) -> list[ModelReference]:
        if self.merge_method in METHODS:
            check_configuration(self)
            _guard_plan()
            _folds.cache_clear()  # other checkpoints may lie there by now
        return list(referenced_models(self))

    return checked


def _guard_plan() -> None:
    """Have plans for our methods checked, once: mergekit goes on where it knows only some of the tensors."""
    with one_line_errors():
        _check_parts(mergekit_parts.PLAN)
    from mergekit.plan import MergePlanner  # which imports the registry, that is, us

    plan = MergePlanner._plan
    if hasattr(plan, "__wrapped__"):
        return

    @functools.wraps(plan)
    def checked(self: MergePlanner) -> None:
        if self.config.merge_method not in METHODS:
            plan(self)
            return
        whole = bool(self.config.models)  # before it is spelt out as slices
        # Not by the method that checks first: the configuration was checked, and is about to change its form.
        models = list(MergeConfiguration.referenced_models.__wrapped__(self.config))
        with one_line_errors():
            try:
                plan(self)
            except RuntimeError as error:
                raise cannot_plan(error) from error
            for model in models:
                check_plan(model, inputs_of(model, self._tensors), whole=whole)
            self._tensors, separate_head = plan_heads(models, self._tensors, whole=whole)
            if separate_head:
                # vLLM and transformers 4 go by the config alone.
                for config in (self.out_model_config, self.out_model_config.get_text_config()):
                    config.tie_word_embeddings = False

    MergePlanner._plan = checked


# mergekit casts all that it reads to `dtype`, and all that it writes to `out_dtype`: as bfloat16, integers are
# rounded and then averaged. For our methods, buffers stay what they are.


def _without_cast(arguments: Any) -> Any:
    @functools.wraps(arguments)
    def uncast(self: ExecuteMergeMethodTask) -> dict[str, Any]:
        found: dict[str, Any] = arguments(self)
        if _casts_late(self):
            found["tensors"] = self.gather_tensors.model_copy(update={"dtype": None})
        return found

    return uncast


def _with_buffers(execute: Any) -> Any:
    @functools.wraps(execute)
    def checked(self: ExecuteMergeMethodTask, tensors: dict[Any, torch.Tensor], **arguments: Any) -> Any:
        if self.method_name in METHODS:
            early_first = sorted(tensors.items(), key=lambda entry: entry[0] != self.base_model)
            _check_buffer(self.output_weight.name, early_first)
        if _casts_late(self) and self.output_weight.force_dtype is None:
            dtype = dtype_from_name(self.gather_tensors.dtype)
            tensors = {
                model: tensor.to(dtype) if tensor.is_floating_point() else tensor for model, tensor in tensors.items()
            }
        return execute(self, tensors=tensors, **arguments)

    return checked


def _saving_buffers(execute: Any) -> Any:
    @functools.wraps(execute)
    def saved(self: SaveTensor, writer: Any, tensor: torch.Tensor | None) -> None:
        ours = isinstance(self.tensor_task, ExecuteMergeMethodTask) and self.tensor_task.method_name in METHODS
        if ours and tensor is not None and not tensor.is_floating_point():
            self = self.model_copy(update={"dtype": None})
        execute(self, writer=writer, tensor=tensor)

    return saved


def _casts_late(task: ExecuteMergeMethodTask) -> bool:
    return (
        task.method_name in METHODS
        and isinstance(task.gather_tensors, GatherTensors)
        and task.gather_tensors.dtype is not None
    )


def _check_buffer(name: str, tensors: Sequence[tuple[Any, torch.Tensor]]) -> None:
    if not tensors:  # an optional one
        return
    for model, tensor in tensors:
        if tensor.is_meta:
            raise MergeInputError(
                f"tensor {name} of {model} has a shape and no content (meta); save the checkpoint again"
            )
        if tensor.is_floating_point() and tensor.dtype.itemsize == 1:
            # Before it is cast, which would pass for a number that it is not.
            raise MergeInputError(
                f"tensor {name} of {model} is {tensor.dtype}, whose scales are stored elsewhere; quantised checkpoints "
                "cannot be averaged: merge the ones that they were made from"
            )
    (one, first), *others = tensors
    for other, tensor in others:
        if first.is_floating_point() and tensor.is_floating_point():
            continue
        if first.dtype != tensor.dtype or not torch.equal(first, tensor):
            raise MergeInputError(
                f"buffer {name} ({str(tensor.dtype).removeprefix('torch.')}) differs between {one} and {other}; only "
                "floating-point tensors can be averaged, and a choice between the two would be a guess"
            )


def _check_finite(group: TensorGroup) -> None:
    for entry in group.entries:
        value = first_non_finite(entry.tensor)
        if value is not None:
            raise MergeInputError(
                f"tensor {group.metadata.name} of {entry.id} contains {value} in {entry.tensor.dtype}; every weight "
                "must be finite. Choose a checkpoint from before the training diverged, or a wider dtype"
            )


def _overflow(name: str, dtype: torch.dtype, offset: float | None, temperatures: tuple[float, float]) -> WiseMergeError:
    if offset is None:
        return WiseMergeError(f"the average of tensor {name} overflows {dtype}; merge in a wider dtype")
    return WiseMergeError(f"temperature {min(temperatures)} makes {name} overflow {dtype}; raise it")


def _offset(name: str, checkpoints: Sequence[tuple[Any, float]]) -> float | None:
    """Return the offset with which temperatures are folded into a tensor, None where none is."""
    offset = None
    for model, temperature in checkpoints:
        if temperature != 1.0:
            offset = _folds(model).get(name)
    return offset


@functools.cache
def _folds(model: Any) -> Mapping[str, float]:
    """Return the tensors to fold a temperature into, by all their names: mergekit may have another than the file."""
    if not isinstance(model, ModelReference):
        raise WiseMergeError(
            "bang needs the config of a checkpoint to fold its temperature; merge by YAML, not from tensors in memory"
        )
    config = config_of(model)
    folds(config, LoaderCache().get(model).index.tensor_paths)
    return folds(config)


# Imported before mergekit, this module is not ready when the start-up hook calls (wise_merge/autoload.py).
register()
