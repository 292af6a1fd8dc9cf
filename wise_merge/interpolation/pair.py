"""Two mapped checkpoints and any recipe between them: the averaged weights, anew for each, without a file.

What comes of a recipe equals, bit for bit, what `mergekit-yaml` writes for it: `layout` follows the same order of
casts, and `averaging` holds the arithmetic.
"""

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from wise_merge.averaging import first_non_finite, interpolate, interpolate_balanced
from wise_merge.checkpoints.headers import read_config, read_headers
from wise_merge.checkpoints.weights import open_tensors
from wise_merge.errors import WiseMergeError
from wise_merge.interpolation.layout import Tensor as Planned
from wise_merge.interpolation.layout import lay_out
from wise_merge.recipe import Pair, Recipe


class OpenPair:
    """An early and a late checkpoint, mapped from their files: nothing is read until it is needed."""

    def __init__(self, early: Path, late: Path, names: tuple[str, str] | None = None) -> None:
        """Map two checkpoints that fit each other (`checkpoints.headers.check_same_model`).

        Args:
            early: its folder.
            late: its folder.
            names: as recipes call them; their folders unless given.
        """
        self._names = names or (str(early), str(late))
        self._configs = (read_config(early), read_config(late))
        self._headers = (read_headers(early), read_headers(late))
        self._early, self._late = open_tensors(early), open_tensors(late)
        self._whole: set[str] = set()

    def planned(self, recipe: Recipe) -> list[Planned]:
        """Return what a recipe does to each tensor, in the order of the early checkpoint."""
        return lay_out([recipe], Pair(*self._names), self._configs, self._headers)

    def averages(self, recipe: Recipe) -> Iterator[tuple[str, Tensor]]:
        """Yield (name, average) of every tensor as the files have them; each is computed when it is asked for.

        Raises a `WiseMergeError` for a NaN or infinity in a checkpoint, and for an average that its dtype cannot hold.
        """
        for tensor in self.planned(recipe):
            yield tensor.name, self._average(tensor, None)

    def average_into(self, recipe: Recipe, place_of: Callable[[str], Tensor | None]) -> None:
        """Write the averages over the tensors of a model in memory; two names of one memory (tied) are computed once.

        Args:
            recipe: see there.
            place_of: from the name in the files to the tensor to write to, of the same shape and of any floating
                dtype and device; None leaves it out.
        """
        written: set[tuple[torch.device, int]] = set()
        for tensor in self.planned(recipe):
            place = place_of(tensor.name)
            if place is None:
                continue
            memory = (place.device, place.data_ptr())
            if memory in written and place.numel():
                continue
            written.add(memory)
            average = self._average(tensor, place)
            if average is not place:
                place.copy_(average)

    def _average(self, tensor: Planned, place: Tensor | None) -> Tensor:
        """Return the average of one tensor, in `place` where that has its dtype and lies in memory."""
        early, late = self._early[tensor.name], self._late[tensor.name]
        if tensor.dtype is None or tensor.out_dtype is None:
            if not torch.equal(early, late):
                raise WiseMergeError(
                    f"buffer {tensor.name} differs between {self._names[0]} and {self._names[1]}; only floating-point "
                    "tensors can be averaged"
                )
            return early
        dtype, out_dtype = getattr(torch, tensor.dtype), getattr(torch, tensor.out_dtype)
        self._check_finite(tensor.name)
        early, late = early.to(dtype), late.to(dtype)
        (alpha,) = tensor.alphas
        # Inputs are finite, so averages are; what may not hold them is a narrower dtype, or a temperature below 1.
        risky = tensor.offset is not None or torch.finfo(out_dtype).max < torch.finfo(dtype).max
        if tensor.offset is None:
            fits = place is not None and place.device == early.device and place.is_contiguous()
            out = place if fits and place is not None and place.dtype == dtype == out_dtype else None
            average = interpolate(early, late, alpha, out=out)
        else:
            average = interpolate_balanced(
                early, late, alpha, temperatures=tensor.temperatures, offset=tensor.offset
            )
        average = average.to(out_dtype)
        if risky and first_non_finite(average) is not None:
            raise WiseMergeError(
                f"the average of tensor {tensor.name} does not fit into {average.dtype}; take a wider out_dtype"
                + ("" if tensor.offset is None else f", or a temperature above {min(tensor.temperatures)}")
            )
        return average

    def _check_finite(self, name: str) -> None:
        """Raise unless a tensor of both checkpoints is finite; each is looked at once."""
        if name in self._whole:
            return
        for tensor, checkpoint in zip((self._early[name], self._late[name]), self._names, strict=True):
            value = first_non_finite(tensor)
            if value is not None:
                raise WiseMergeError(
                    f"tensor {name} of {checkpoint} contains {value} in {tensor.dtype}; every weight must be finite. "
                    "Choose a checkpoint from before the training diverged"
                )
        self._whole.add(name)


def in_memory(state: Mapping[str, Any]) -> dict[str, Tensor]:
    """Return the tensors of a module's state by name, detached: what is written to them changes the module."""
    return {name: tensor.detach() for name, tensor in state.items() if isinstance(tensor, Tensor)}
