"""What a merge does to each tensor, from headers, configs and the recipe; no weight is read here."""

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from wise_merge.checkpoints.headers import TensorHeader
from wise_merge.errors import WiseMergeError
from wise_merge.final_norms import folds
from wise_merge.recipe import Pair, Recipe, dtype_spelt, temperature_of, value_of

#: As safetensors spells them, from narrow to wide.
FLOATING = {"F16": "float16", "BF16": "bfloat16", "F32": "float32", "F64": "float64"}
_BYTES = {"float16": 2, "bfloat16": 2, "float32": 4, "float64": 8}
_LAYER = re.compile(r"\.(\d+)\.")


@dataclass(frozen=True)
class Tensor:
    """One tensor of the output.

    Attributes:
        name: in both checkpoints.
        shape: of it.
        dtype: to which both are cast before they are averaged, such as "bfloat16"; None: equal buffers are copied.
        out_dtype: of the output.
        alphas: one for each model that is written.
        offset: of a folded temperature (see `final_norms`); None where none is folded.
        temperatures: of early and late.
    """

    name: str
    shape: tuple[int, ...]
    dtype: str | None
    out_dtype: str | None
    alphas: tuple[float, ...]
    offset: float | None = None
    temperatures: tuple[float, float] = (1.0, 1.0)


def lay_out(
    recipes: Sequence[Recipe],
    pair: Pair,
    configs: tuple[Mapping[str, Any], Mapping[str, Any]],
    headers: tuple[Mapping[str, TensorHeader], Mapping[str, TensorHeader]],
) -> list[Tensor]:
    """Return the tensors of the output, in the order of the early checkpoint.

    A tensor that only one of the two has (a tied LM head, see `checkpoints.heads`) is left out. The recipes, one for
    each model, differ in alpha alone.
    """
    recipe = recipes[0]
    early, late = headers
    positions = _positions(early)
    temperatures = (temperature_of(recipe, pair.early), temperature_of(recipe, pair.late))
    folded = _folded(recipe, configs, early, temperatures)
    tensors = []
    for name, header in early.items():
        if name not in late:
            continue
        both = {header.dtype, late[name].dtype}
        if not both <= FLOATING.keys():
            if len(both) > 1:
                raise WiseMergeError(
                    f"tensor {name} is {header.dtype} in {pair.early} and {late[name].dtype} in {pair.late}; "
                    "only bfloat16, float16, float32 and float64 can be averaged"
                )
            if header.dtype.startswith(("F", "C")):
                raise WiseMergeError(
                    f"tensor {name} of {pair.early} and {pair.late} is {header.dtype}, which cannot be averaged; if "
                    "the checkpoints are quantised, merge the ones that they were made from"
                )
            tensors.append(Tensor(name, header.shape, None, None, alphas=()))
            continue
        dtype = _dtype(recipe, "dtype") or _promoted({FLOATING[one] for one in both})
        alphas = [value_of(one["parameters"]["alpha"], name, positions[name]) for one in recipes]
        tensors.append(
            Tensor(
                name,
                header.shape,
                dtype,
                _dtype(recipe, "out_dtype") or dtype,
                tuple(alpha for alpha in alphas if alpha is not None),
                folded.get(name),
                temperatures,
            )
        )
    return tensors


def size(tensors: Sequence[Tensor]) -> int:
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


def _folded(
    recipe: Recipe,
    configs: tuple[Mapping[str, Any], Mapping[str, Any]],
    names: Mapping[str, TensorHeader],
    temperatures: tuple[float, float],
) -> Mapping[str, float]:
    if recipe["merge_method"] != "bang" or temperatures == (1.0, 1.0):
        return {}
    return folds(configs[0], names)
