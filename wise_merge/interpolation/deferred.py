"""A tensor that is an average, but computed only where it is written, and only the part of it that is.

For programs that load checkpoints their own way: they take a row of it, a share, a transpose, and copy that into a
parameter. It works since an average is one number at a time: a part of the average is the average of the parts.
"""

from collections.abc import Callable
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

#: From equal parts of early and late to that part of their average, perhaps in the given place of its shape and dtype.
Average = Callable[[Tensor, Tensor, Tensor | None], Tensor]


class DeferredAverage(Tensor):
    """An average of two tensors of one shape in memory; whatever is done with it other than copying computes it."""

    _early: Tensor
    _late: Tensor
    _average: Average

    @staticmethod
    def __new__(cls, early: Tensor, late: Tensor, dtype: torch.dtype, average: Average) -> "DeferredAverage":
        """Return the average.

        Args:
            early: with the shape and the strides of `late`.
            late: see there.
            dtype: of the average.
            average: computes it.
        """
        made: DeferredAverage = Tensor._make_wrapper_subclass(
            cls, early.shape, strides=early.stride(), dtype=dtype, device=early.device
        )
        made._early, made._late, made._average = early, late, average
        return made

    __torch_function__ = torch._C._disabled_torch_function_impl  # type: ignore[assignment]

    def __repr__(self) -> str:  # type: ignore[override]
        """Return what it is, without computing it."""
        return f"{type(self).__name__}({tuple(self.shape)}, {self.dtype})"

    def computed(self) -> Tensor:
        """Return the average as an ordinary tensor."""
        return self._average(self._early, self._late, None)

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:  # type: ignore[override]
        """Carry out one of torch's operations."""
        kwargs = kwargs or {}
        if func in _VIEWS:
            own, *others = args
            parts = func(own._early, *others, **kwargs), func(own._late, *others, **kwargs)
            if isinstance(parts[0], Tensor):
                return cls(*parts, own.dtype, own._average)
            return [cls(*pair, own.dtype, own._average) for pair in zip(*parts, strict=True)]
        if func is _aten.copy_.default and isinstance(args[1], cls) and not isinstance(args[0], cls):
            place, own = args[:2]
            if not place.is_meta:
                fits = (place.shape, place.dtype) == (own.shape, own.dtype)
                average = own._average(own._early, own._late, place if fits else None)
                if average is not place:
                    place.copy_(average)
            return place
        return func(*tree_map(_plain, args), **tree_map(_plain, kwargs))


def _plain(value: Any) -> Any:
    return value.computed() if isinstance(value, DeferredAverage) else value
