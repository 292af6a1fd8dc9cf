"""Our merge methods for mergekit 0.1.5: its kernels around `tensors.apply`, made from the methods' contracts."""

import inspect
import math
from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import torch
from mergekit.merge_methods.base import (
    BasePolicy,
    InputContract,
    MergeMethod,
    PerInput,
    TensorGroup,
)
from mergekit.merge_methods.easy_define import merge_method
from pydantic import Field

from wise_merge import methods
from wise_merge.hosts.mergekit import patches
from wise_merge.hosts.mergekit.errors import one_line_errors
from wise_merge.hosts.mergekit.folded import folds_of
from wise_merge.kernels.finite import first_non_finite
from wise_merge.kernels.ranges import Range
from wise_merge.methods import Base, Method, Parameter, Switch
from wise_merge.tensors.apply import apply, check_finite, check_result
from wise_merge.tensors.statistics import statistics_by_name, statistics_in_files


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
            if method.check is not None:
                method.check(parameters)
            return _merged(method, group, [entry.id for entry in entries], parameters)

    arguments = [inspect.Parameter("group", inspect.Parameter.POSITIONAL_ONLY, annotation=TensorGroup)]
    for parameter in method.parameters:
        kind = _kind(parameter)
        arguments.append(
            inspect.Parameter(
                parameter.name,
                inspect.Parameter.KEYWORD_ONLY,
                annotation=PerInput[kind] if parameter.per_model else kind,
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


def _kind(parameter: Parameter) -> Any:
    if isinstance(parameter.range, Range):
        return Annotated[float, _field(parameter.range)]
    return bool if isinstance(parameter.range, Switch) else str


def _field(range_: Range) -> Any:
    least, most = (limit if math.isfinite(limit) else None for limit in (range_.least, range_.most))
    if range_.least_excluded:
        return Field(allow_inf_nan=False, gt=least, le=most)
    return Field(allow_inf_nan=False, ge=least, le=most)


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


def _statistics(method: Method, name: str, models: Sequence[Any], parameters: Mapping[str, Any]) -> dict[str, Any]:
    statistics = statistics_by_name(method, name) | statistics_in_files(method, parameters, patches.names_of(name))
    if "logit_offset" in method.statistics:
        folded = [model for model, one in zip(models, parameters["temperature"], strict=True) if one != 1.0]
        # Of all models, not only of the last one: it is an error if one has no config that is known.
        offsets = [folds_of(model).get(name) for model in folded]
        if offsets and offsets[-1] is not None:
            statistics["logit_offset"] = offsets[-1]
    return statistics


METHODS: dict[str, MergeMethod] = {name: _for_mergekit(method) for name, method in methods.METHODS.items()}


def register() -> None:
    """Make the methods known to mergekit, with what they need changed within it; see `patches.install`."""
    from mergekit.merge_methods import registry

    patches.install()
    for method in METHODS.values():
        if method not in registry.registered_methods():
            registry.register(method)


# Imported before mergekit, this module is not ready when the start-up hook calls (wise_merge/autoload.py).
register()
