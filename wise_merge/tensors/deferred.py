"""A tensor that is a merge, but computed only where it is written, and only the part of it that is.

For programs that load checkpoints their own way: they take a row of it, a share, a transpose, and copy that into a
parameter. It works for elementwise methods: a part of the merge is the merge of the parts.
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_map

_aten = torch.ops.aten

#: What takes a part of a tensor, or lays out its numbers in another way, without computing anything.
_VIEWS = {
    *(_aten.slice.Tensor, _aten.select.int, _aten.split.Tensor, _aten.split_with_sizes.default, _aten.unbind.int),
    *(_aten.view.default, _aten._unsafe_view.default, _aten.t.default, _aten.transpose.int, _aten.permute.default),
    *(_aten.unsqueeze.default, _aten.squeeze.default, _aten.squeeze.dim, _aten.expand.default),
    *(_aten.detach.default, _aten.alias.default),
}

#: From equal parts of the inputs to that part of their merge, perhaps in the given place of its shape and dtype.
Merge = Callable[[Sequence[Tensor], Tensor | None], Tensor]


class DeferredMerge(Tensor):
    """A merge of tensors of one shape in memory; whatever is done with it other than copying computes it."""

    _inputs: Sequence[Tensor]
    _merge: Merge

    @staticmethod
    def __new__(cls, inputs: Sequence[Tensor], dtype: torch.dtype, merge: Merge) -> "DeferredMerge":
        """Return the merge.

        Args:
            inputs: of one shape, with the same strides.
            dtype: of the merge.
            merge: computes it.
        """
        first = inputs[0]
        made: DeferredMerge = Tensor._make_wrapper_subclass(
            cls, first.shape, strides=first.stride(), dtype=dtype, device=first.device
        )
        made._inputs, made._merge = inputs, merge
        return made

    __torch_function__ = torch._C._disabled_torch_function_impl  # type: ignore[assignment]

    def __repr__(self) -> str:  # type: ignore[override]
        """Return what it is, without computing it."""
        return f"{type(self).__name__}({tuple(self.shape)}, {self.dtype})"

    def computed(self) -> Tensor:
        """Return the merge as an ordinary tensor."""
        return self._merge(self._inputs, None)

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:  # type: ignore[override]
        """Carry out one of torch's operations."""
        kwargs = kwargs or {}
        if func in _VIEWS:
            own, *others = args
            parts = [func(tensor, *others, **kwargs) for tensor in own._inputs]
            if isinstance(parts[0], Tensor):
                return cls(parts, own.dtype, own._merge)
            return [cls(inputs, own.dtype, own._merge) for inputs in zip(*parts, strict=True)]
        if func is _aten.copy_.default and isinstance(args[1], cls) and not isinstance(args[0], cls):
            place, own = args[:2]
            if not place.is_meta:
                fits = (place.shape, place.dtype) == (own.shape, own.dtype)
                merged = own._merge(own._inputs, place if fits else None)
                if merged is not place:
                    place.copy_(merged)
            return place
        return func(*tree_map(_plain, args), **tree_map(_plain, kwargs))


def _plain(value: Any) -> Any:
    return value.computed() if isinstance(value, DeferredMerge) else value
