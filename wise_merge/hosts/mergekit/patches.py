"""What is changed within mergekit: a check before it starts, a check of its plan, buffers that stay what they are.

mergekit offers no place for any of it. Other methods than ours are left alone, but for `checking_every_method`.
"""

import contextlib
import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import torch
from mergekit.common import ModelReference, dtype_from_name
from mergekit.config import MergeConfiguration
from mergekit.io.tasks import GatherTensors, SaveTensor
from mergekit.merge_methods.task_adapter import ExecuteMergeMethodTask

from wise_merge import methods
from wise_merge.errors import WiseMergeError
from wise_merge.hosts import versions
from wise_merge.hosts.mergekit import parts
from wise_merge.hosts.mergekit.checks import check_configuration
from wise_merge.hosts.mergekit.errors import MergeInputError, one_line_errors
from wise_merge.hosts.mergekit.folded import folds_of
from wise_merge.hosts.mergekit.plan import cannot_plan, check_plan, inputs_of, plan_heads
from wise_merge.hosts.part import Part, first_fault
from wise_merge.recipes.parameters import check_takes_parts
from wise_merge.tensors.apply import check_equal
from wise_merge.tensors.statistics import check_all_found

#: Called with a tensor's name, its inputs (the base first) by their models, their merge, and the shared parameters.
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


#: An entry for each `checking_every_method` that is open.
_checking: list[None] = []


@contextlib.contextmanager
def checking_every_method() -> Iterator[None]:
    """Have what is checked for our methods checked for mergekit's own ones, too, within."""
    _checking.append(None)
    try:
        yield
    finally:
        _checking.pop()


def _is_checked(method: str) -> bool:
    return method in methods.METHODS or bool(_checking)


def install() -> None:
    """Have mergekit check configurations and plans of our methods first, and keep buffers whole; once per process.

    Raises a `WiseMergeError` where mergekit is not as expected inside: without the checks it could write wrong models.
    """
    check_parts(parts.METHODS)
    if not hasattr(MergeConfiguration.referenced_models, "__wrapped__"):
        MergeConfiguration.referenced_models = _checking_first(MergeConfiguration.referenced_models)
        ExecuteMergeMethodTask.arguments = _without_cast(ExecuteMergeMethodTask.arguments)
        ExecuteMergeMethodTask.execute = _with_buffers(ExecuteMergeMethodTask.execute)
        SaveTensor.execute = _saving_buffers(SaveTensor.execute)


def check_parts(needed: Sequence[Part]) -> None:
    """Raise `WiseMergeError` unless mergekit is as expected inside."""
    fault = first_fault(needed)
    if fault is not None:
        raise WiseMergeError(
            f"{versions.not_as_expected('mergekit', fault)}; install a tested version, or use `wise-merge merge`, "
            "which merges full checkpoints without mergekit"
        )


def _checking_first(referenced_models: Any) -> Any:
    # mergekit offers no place for a check before it loads configs. This method is the first
    # thing that run_merge asks of a configuration, and nothing asks it before.
    @functools.wraps(referenced_models)
    def checked(self: MergeConfiguration) -> list[ModelReference]:
        if _is_checked(self.merge_method):
            check_configuration(self)
            _guard_plan()
            folds_of.cache_clear()  # other checkpoints may lie there by now
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


#: From mergekit's name of each tensor of its last plan to all names under which files may have it, that one first.
_names: dict[str, tuple[str, ...]] = {}


def names_of(tensor: str) -> tuple[str, ...]:
    """Return the names under which files may have a tensor of the plan, mergekit's own first."""
    return _names.get(tensor, (tensor,))


def _guard_plan() -> None:
    """Have plans for our methods checked, once: mergekit goes on where it knows only some of the tensors."""
    with one_line_errors():
        check_parts(parts.PLAN)
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
            if not whole and self.config.merge_method in methods.METHODS:
                check_takes_parts(methods.METHODS[self.config.merge_method])
            try:
                plan(self)
            except RuntimeError as error:
                raise cannot_plan(error) from error
            for model in models:
                check_plan(model, inputs_of(model, self._tensors), whole=whole)
            self._tensors, separate_head = plan_heads(models, self._tensors, whole=whole)
            _names.clear()
            for weight, _ in self._tensors:
                _names[weight.name] = (weight.name, *(weight.aliases or ()), *(weight.tied_names or ()))
            if self.config.merge_method in methods.METHODS:
                method = methods.METHODS[self.config.merge_method]
                check_all_found(method, self.config.parameters or {}, _names.values())
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
        tasks: dict[str, Any] = arguments(self)
        if _casts_late(self):
            tasks["tensors"] = self.gather_tensors.model_copy(update={"dtype": None})
        return tasks

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
