"""Our merge methods for mergekit 0.1.5: its kernels around `tensors.apply`, made from the methods' contracts."""

import contextlib
import functools
import inspect
import math
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

from wise_merge import methods
from wise_merge.checkpoints.final_norms import folds
from wise_merge.errors import WiseMergeError
from wise_merge.hosts import versions
from wise_merge.hosts.mergekit import parts
from wise_merge.hosts.mergekit.checks import MergeInputError, check_configuration, config_of, one_line_errors
from wise_merge.hosts.mergekit.plan import cannot_plan, check_plan, inputs_of, plan_heads
from wise_merge.hosts.part import Part, first_fault
from wise_merge.kernels.finite import first_non_finite
from wise_merge.kernels.ranges import Range
from wise_merge.methods import Base, Method
from wise_merge.tensors.apply import apply, check_equal, check_finite, check_result

#: Is told the name of a tensor, its inputs (the base first) by their models, their merge, and the shared parameters.
Observer = Callable[[str, Mapping[Any, torch.Tensor], torch.Tensor, Mapping[str, Any]], None]

_observers: list[Observer] = []


@contextlib.contextmanager
def observed(observer: Observer) -> Iterator[None]:
    """Tell `observer` of every floating tensor that mergekit merges within, by whatever method."""
    _observers.append(observer)
    try:
        yield
    finally:
        _observers.remove(observer)


#: How often `checking_every_method` is open.
_open: list[None] = []


@contextlib.contextmanager
def checking_every_method() -> Iterator[None]:
    """Have what is checked for our methods checked for mergekit's own ones, too, within."""
    _open.append(None)
    try:
        yield
    finally:
        _open.pop()


def _is_checked(method: str) -> bool:
    return method in METHODS or bool(_open)


def _for_mergekit(method: Method) -> MergeMethod:
    """Return a method as mergekit wants it: a function whose annotations say what it takes."""

    def kernel(group: TensorGroup, **given: Any) -> torch.Tensor:
        # One group at a time, not a batch: it knows the name of its tensor, and mergekit hands over one anyway.
        entries = [*filter(None, [group.base]), *group.non_base]
        parameters = {
            parameter.name: tuple(given[parameter.name][entry.id] for entry in entries)
            if parameter.per_model
            else given[parameter.name]
            for parameter in method.parameters
        }
        with one_line_errors():
            return _merged(method, group, [entry.id for entry in entries], parameters)

    arguments = [inspect.Parameter("group", inspect.Parameter.POSITIONAL_ONLY, annotation=TensorGroup)]
    for parameter in method.parameters:
        number = Annotated[float, _field(parameter.range)]
        arguments.append(
            inspect.Parameter(
                parameter.name,
                inspect.Parameter.KEYWORD_ONLY,
                annotation=PerInput[number] if parameter.per_model else number,
                default=inspect.Parameter.empty if parameter.default is None else parameter.default,
            )
        )
    kernel.__signature__ = inspect.Signature(arguments, return_annotation=torch.Tensor)  # type: ignore[attr-defined]
    kernel.__annotations__ = {one.name: one.annotation for one in arguments} | {"return": torch.Tensor}
    return merge_method(
        kernel,
        name=method.name,
        pretty_name=method.title,
        reference_url=method.paper,
        contract=_contract(method),
    )


def _field(range_: Range) -> Any:
    most = range_.most if math.isfinite(range_.most) else None
    if range_.above:
        return Field(allow_inf_nan=False, gt=range_.least, le=most)
    return Field(allow_inf_nan=False, ge=range_.least, le=most)


def _contract(method: Method) -> InputContract:
    if method.base is Base.REQUIRED:
        return InputContract(base=BasePolicy.REQUIRED, min_non_base=method.fewest, max_non_base=method.most)
    policy = BasePolicy.OPTIONAL if method.base is Base.OPTIONAL else BasePolicy.FORBIDDEN
    return InputContract(base=policy, min_inputs=method.fewest, max_inputs=method.most)


def _merged(method: Method, group: TensorGroup, models: Sequence[Any], parameters: Mapping[str, Any]) -> torch.Tensor:
    """Return the merge of one tensor whose inputs have one dtype, after looking for what is not finite."""
    name = group.metadata.name or ""
    by_model = {entry.id: entry.tensor for entry in group.entries}
    inputs = [by_model[model] for model in models]
    statistics = _statistics(method, name, models, parameters)
    merged = apply(method, inputs, parameters, statistics, has_base=group.base is not None)
    place = None if method.line is None else parameters[method.line]
    # On a line, a NaN or infinity in a checkpoint is one in the merge, too, unless its share is 0.
    if place is None or place in (0.0, 1.0):
        check_finite(name, inputs, models)
    if first_non_finite(merged) is not None:
        check_finite(name, inputs, models)
        check_result(name, merged, parameters, statistics)
    return merged


def _statistics(method: Method, name: str, models: Sequence[Any], parameters: Mapping[str, Any]) -> dict[str, float]:
    found = {}
    if "logit_offset" in method.statistics:
        folded = [model for model, one in zip(models, parameters["temperature"], strict=True) if one != 1.0]
        # Every model is asked, for the config of each must be known.
        offsets = [_folds(model).get(name) for model in folded]
        if offsets and offsets[-1] is not None:
            found["logit_offset"] = offsets[-1]
    return found


METHODS: dict[str, MergeMethod] = {name: _for_mergekit(method) for name, method in methods.METHODS.items()}


def register() -> None:
    """Make the methods known to mergekit and have it check their configurations first.

    Raises a `WiseMergeError` where mergekit is not as expected inside: without the checks it could write wrong models.
    """
    from mergekit.merge_methods import registry

    _check_parts(parts.METHODS)
    for method in METHODS.values():
        if method not in registry.registered_methods():
            registry.register(method)
    if not hasattr(MergeConfiguration.referenced_models, "__wrapped__"):
        MergeConfiguration.referenced_models = _checking_first(MergeConfiguration.referenced_models)
        ExecuteMergeMethodTask.arguments = _without_cast(ExecuteMergeMethodTask.arguments)
        ExecuteMergeMethodTask.execute = _with_buffers(ExecuteMergeMethodTask.execute)
        SaveTensor.execute = _saving_buffers(SaveTensor.execute)


def _check_parts(needed: Sequence[Part]) -> None:
    fault = first_fault(needed)
    if fault is not None:
        raise WiseMergeError(
            f"{versions.described('mergekit')} is not as expected inside ({fault}); install a tested version, or use "
            "`wise-merge merge`, which merges full checkpoints without mergekit"
        )


def _checking_first(referenced_models: Any) -> Any:
    # mergekit offers no place for a check before it loads configs. This method is the first
    # thing that run_merge asks of a configuration, and nothing asks it before.
    @functools.wraps(referenced_models)
    def checked(self: MergeConfiguration) -> list[ModelReference]:
        if _is_checked(self.merge_method):
            check_configuration(self)
            _guard_plan()
            _folds.cache_clear()  # other checkpoints may lie there by now
            return in_order(self, list(referenced_models(self)))
        return list(referenced_models(self))

    return checked


def in_order(config: MergeConfiguration, models: list[ModelReference]) -> list[ModelReference]:
    """Return the models of a configuration as it names them, the base first.

    mergekit keeps them in a set, and without a base takes config and tokenizer from the first: by chance.
    """
    named = [str(model) for model in [config.base_model, *_entries(config)] if model is not None]
    return sorted(models, key=lambda model: named.index(str(model)) if str(model) in named else len(named))


def _entries(config: MergeConfiguration) -> Iterator[ModelReference]:
    for holder in (config, *(config.modules or {}).values()):
        yield from (entry.model for entry in holder.models or ())
        yield from (source.model for piece in holder.slices or () for source in piece.sources)


def _guard_plan() -> None:
    """Have plans for our methods checked, once: mergekit goes on where it knows only some of the tensors."""
    with one_line_errors():
        _check_parts(parts.PLAN)
    from mergekit.plan import MergePlanner  # which imports the registry, that is, us

    plan = MergePlanner._plan
    if hasattr(plan, "__wrapped__"):
        return

    @functools.wraps(plan)
    def checked(self: MergePlanner) -> None:
        if not _is_checked(self.config.merge_method):
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
# rounded and then averaged. In what we check, buffers stay what they are.


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
        base_first = dict(sorted(tensors.items(), key=lambda entry: entry[0] != self.base_model))
        if _is_checked(self.method_name):
            with one_line_errors():
                _check_buffer(self.output_weight.name, base_first)
        if _casts_late(self) and self.output_weight.force_dtype is None:
            dtype = dtype_from_name(self.gather_tensors.dtype)
            tensors = {
                model: tensor.to(dtype) if tensor.is_floating_point() else tensor for model, tensor in tensors.items()
            }
            base_first = {model: tensors[model] for model in base_first}
        merged = execute(self, tensors=tensors, **arguments)
        if merged is not None and all(tensor.is_floating_point() for tensor in base_first.values()):
            for observer in _observers:
                observer(self.output_weight.name, base_first, merged, dict(self.parameters.items()))
        return merged

    return checked


def _saving_buffers(execute: Any) -> Any:
    @functools.wraps(execute)
    def saved(self: SaveTensor, writer: Any, tensor: torch.Tensor | None) -> None:
        ours = isinstance(self.tensor_task, ExecuteMergeMethodTask) and _is_checked(self.tensor_task.method_name)
        if ours and tensor is not None and not tensor.is_floating_point():
            self = self.model_copy(update={"dtype": None})
        execute(self, writer=writer, tensor=tensor)

    return saved


def _casts_late(task: ExecuteMergeMethodTask) -> bool:
    return (
        _is_checked(task.method_name)
        and isinstance(task.gather_tensors, GatherTensors)
        and task.gather_tensors.dtype is not None
    )


def _check_buffer(name: str, tensors: Mapping[Any, torch.Tensor]) -> None:
    for model, tensor in tensors.items():
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
    if not all(tensor.is_floating_point() for tensor in tensors.values()):
        check_equal(name, list(tensors.values()), list(tensors))


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
