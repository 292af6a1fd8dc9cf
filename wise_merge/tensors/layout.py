"""What a merge does to each tensor, from headers, configs and the recipe; no weight is read here."""

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from wise_merge.checkpoints.headers import FLOATING, TensorHeader
from wise_merge.errors import WiseMergeError
from wise_merge.methods import Method
from wise_merge.recipes.models import Ingredients, method_of
from wise_merge.recipes.parameters import values_for
from wise_merge.recipes.reading import dtype_spelt
from wise_merge.recipes.schema import Recipe
from wise_merge.tensors.statistics import check_all_found, statistics_in_files, statistics_of

_BYTES = {"float16": 2, "bfloat16": 2, "float32": 4, "float64": 8}
_LAYER = re.compile(r"\.(\d+)\.")


@dataclass(frozen=True)
class PlannedTensor:
    """One tensor of the output.

    Attributes:
        name: in all checkpoints.
        shape: of it.
        dtype: to which all are cast before they are merged, such as "bfloat16"; None: equal buffers are copied.
        out_dtype: of the output.
        method: that merges them.
        has_base: whether the first checkpoint is the base.
        parameters: of the kernel, by name, for each model that is written.
        statistics: of the kernel; what files hold is not read yet (`tensor_files.stored`).
    """

    name: str
    shape: tuple[int, ...]
    dtype: str | None
    out_dtype: str | None
    method: Method
    has_base: bool
    parameters: tuple[Mapping[str, Any], ...]
    statistics: Mapping[str, Any] = field(default_factory=dict)

    def place_on_line(self, number: int) -> float | None:
        """Return how far from the base to the one model a written model lies; None if on no such line."""
        return None if self.method.line is None else float(self.parameters[number][self.method.line])


def lay_out(
    recipes: Sequence[Recipe],
    ingredients: Ingredients,
    configs: Sequence[Mapping[str, Any]],
    headers: Sequence[Mapping[str, TensorHeader]],
) -> list[PlannedTensor]:
    """Return the tensors of the output, in the order of the first checkpoint.

    A tensor that not all of them have (a tied LM head, see `checkpoints.heads`) is left out. The recipes, one for
    each model that is written, differ in the values of parameters alone.

    Args:
        recipes: without slices and modules.
        ingredients: of each of them.
        configs: of the checkpoints, in the order of `ingredients.names`.
        headers: likewise.
    """
    recipe = recipes[0]
    method, models, has_base = method_of(recipe), ingredients.names, ingredients.base is not None
    first = headers[0]
    positions = _positions(first)
    statistics = statistics_of(recipe, method, models, configs[0], first)
    if method.files:
        check_all_found(method, recipe.get("parameters") or {}, [[name] for name in first])
    tensors = []
    for name, header in first.items():
        if not all(name in others for others in headers):
            continue
        dtypes = [others[name].dtype for others in headers]
        if not set(dtypes) <= FLOATING.keys():
            _check_copied(name, dtypes, models)
            tensors.append(PlannedTensor(name, header.shape, None, None, method, has_base, ()))
            continue
        parameters = tuple(values_for(one, method, models, name, positions[name]) for one in recipes)
        for one in parameters:
            _check_together(method, one, name)
        dtype = _dtype(recipe, "dtype") or _promoted({FLOATING[one] for one in dtypes})
        tensors.append(
            PlannedTensor(
                name,
                header.shape,
                dtype,
                _dtype(recipe, "out_dtype") or dtype,
                method,
                has_base,
                parameters,
                {**statistics.get(name, {}), **statistics_in_files(method, parameters[0], [name])},
            )
        )
    return tensors


def _check_together(method: Method, parameters: Mapping[str, Any], name: str) -> None:
    if method.check is None:
        return
    try:
        method.check(parameters)
    except WiseMergeError as error:
        raise WiseMergeError(f"tensor {name}: {error}") from None


def _check_copied(name: str, dtypes: Sequence[str], models: Sequence[str]) -> None:
    """Raise unless a tensor that is no floating-point one everywhere can be copied, if its values are equal."""
    for dtype, model in zip(dtypes, models, strict=True):
        if dtype != dtypes[0]:
            raise WiseMergeError(
                f"tensor {name} is {dtypes[0]} in {models[0]} and {dtype} in {model}; "
                "only bfloat16, float16, float32 and float64 can be averaged"
            )
    if dtypes[0].startswith(("F", "C")):
        *most, last = models
        raise WiseMergeError(
            f"tensor {name} of {', '.join(most)} and {last} is {dtypes[0]}, which cannot be averaged; if "
            "the checkpoints are quantised, merge the ones that they were made from"
        )


def size(tensors: Sequence[PlannedTensor]) -> int:
    """Return the bytes of one model in the output."""
    # Buffers are few; each is counted as if its integers were the widest.
    return sum(math.prod(tensor.shape) * (_BYTES[tensor.out_dtype] if tensor.out_dtype else 8) for tensor in tensors)


def _dtype(recipe: Recipe, key: str) -> str | None:
    name = recipe.get(key)
    return None if name is None else dtype_spelt(name)


def _promoted(names: set[str]) -> str:
    if len(names) == 1:
        return next(iter(names))
    return "float64" if "float64" in names else "float32"


def _positions(names: Mapping[str, TensorHeader]) -> dict[str, float]:
    """Return where each tensor lies from the first layer (0) to the last (1), as mergekit 0.1.5 counts it.

    Tensors outside of the layers have 0, a single layer 1. Towers (vision, text) count for themselves.
    """
    layers = {name: (name[: match.start()], int(match[1])) for name in names if (match := _LAYER.search(name))}
    numbers: dict[str, set[int]] = {}
    for prefix, number in layers.values():
        numbers.setdefault(prefix, set()).add(number)
    positions = dict.fromkeys(names, 0.0)
    for name, (prefix, number) in layers.items():
        count = len(numbers[prefix])
        # With gaps they are parts of something else, such as the linear layers 0 and 2 of a projector.
        if max(numbers[prefix]) == count - 1:
            positions[name] = number / (count - 1) if count > 1 else 1.0
    return positions
