"""Two mapped checkpoints and any recipe between them: the averaged weights, anew for each, without a file.

What comes of a recipe equals, bit for bit, what `mergekit-yaml` writes for it: `layout` follows the same order of
casts, and `averaging` holds the arithmetic.
"""

from collections.abc import Callable, Iterator, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from wise_merge.averaging import first_non_finite, interpolate, interpolate_balanced
from wise_merge.checkpoints.headers import TensorHeader, dtype_name, read_config, read_headers
from wise_merge.checkpoints.heads import completed, separate_head, stand_ins
from wise_merge.checkpoints.ties import tied
from wise_merge.checkpoints.weights import open_tensors
from wise_merge.errors import WiseMergeError
from wise_merge.interpolation.layout import Tensor as Planned
from wise_merge.interpolation.layout import lay_out
from wise_merge.recipe import Pair, Recipe


class OpenPair:
    """An early and a late checkpoint, mapped from their files: nothing is read until it is needed."""

    def __init__(
        self,
        early: Path,
        late: Path,
        names: tuple[str, str] | None = None,
        states: tuple[Mapping[str, Tensor], Mapping[str, Tensor]] | None = None,
    ) -> None:
        """Map two checkpoints that fit each other (`checkpoints.headers.check_same_model`).

        Args:
            early: its folder.
            late: its folder.
            names: as recipes call them; their folders unless given.
            states: the tensors of both under other names and in another layout than the files have, as of
                modules that a loader has made of them; None maps the files.
        """
        self._names = names or (str(early), str(late))
        self._configs = (read_config(early), read_config(late))
        self._folders = (early, late)
        if states is None:
            lacking = stand_ins((early, late), (read_headers(early), read_headers(late)))
            states = (completed(open_tensors(early), lacking[0]), completed(open_tensors(late), lacking[1]))
        self._early, self._late = states
        self._headers = (_headers(self._early), _headers(self._late))
        self._whole: set[str] = set()

    def names(self) -> set[str]:
        """Return the names of the tensors that are averaged."""
        return self._early.keys() & self._late.keys()

    @cached_property
    def has_separate_head(self) -> bool:
        """Whether a checkpoint has an LM head of its own although its config ties it to the embeddings."""
        return any(
            tied(config) is not False and separate_head(folder) is not None
            for config, folder in zip(self._configs, self._folders, strict=True)
        )

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

    def tensors(self, name: str) -> tuple[Tensor, Tensor]:
        """Return a tensor of early and of late, mapped; not to be written to."""
        return self._early[name], self._late[name]

    def check(self, tensor: Planned) -> None:
        """Raise a `WiseMergeError` unless a tensor can be averaged: finite in both; an equal buffer."""
        if tensor.dtype is not None:
            self._check_finite(tensor.name)
        elif not torch.equal(*self.tensors(tensor.name)):
            raise WiseMergeError(
                f"buffer {tensor.name} differs between {self._names[0]} and {self._names[1]}; only floating-point "
                "tensors can be averaged"
            )

    def _average(self, tensor: Planned, place: Tensor | None) -> Tensor:
        """Return the average of one tensor, in `place` where that has its dtype and lies in memory."""
        self.check(tensor)
        return average_of(tensor, *self.tensors(tensor.name), place)

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


def average_of(tensor: Planned, early: Tensor, late: Tensor, place: Tensor | None = None) -> Tensor:
    """Return the average of a tensor, or of equal parts of it, in `place` where that has its dtype and lies in memory.

    Args:
        tensor: how it is averaged.
        early: of the early checkpoint, finite.
        late: of the late one.
        place: a tensor of that shape that may be written to; the result is this very tensor then, or another.

    Raises a `WiseMergeError` for an average that its dtype cannot hold.
    """
    if tensor.dtype is None or tensor.out_dtype is None:
        return early
    dtype, out_dtype = getattr(torch, tensor.dtype), getattr(torch, tensor.out_dtype)
    early, late = early.to(dtype), late.to(dtype)
    (alpha,) = tensor.alphas
    # Inputs are finite, so averages are; what may not hold them is a narrower dtype, or a temperature below 1.
    risky = tensor.offset is not None or torch.finfo(out_dtype).max < torch.finfo(dtype).max
    if tensor.offset is None:
        fits = place is not None and place.device == early.device and place.is_contiguous()
        if fits and place is not None and place.dtype == dtype == out_dtype:
            interpolate(early, late, alpha, out=place)
            return place
        average = interpolate(early, late, alpha)
    else:
        average = interpolate_balanced(early, late, alpha, temperatures=tensor.temperatures, offset=tensor.offset)
    average = average.to(out_dtype)
    if risky and first_non_finite(average) is not None:
        raise WiseMergeError(
            f"the average of tensor {tensor.name} does not fit into {average.dtype}; take a wider out_dtype"
            + ("" if tensor.offset is None else f", or a temperature above {min(tensor.temperatures)}")
        )
    return average


def _headers(tensors: Mapping[str, Tensor]) -> dict[str, TensorHeader]:
    return {name: TensorHeader(tuple(tensor.shape), dtype_name(tensor.dtype)) for name, tensor in tensors.items()}


def in_memory(state: Mapping[str, Any]) -> dict[str, Tensor]:
    """Return the tensors of a module's state by name, detached: what is written to them changes the module."""
    return {name: tensor.detach() for name, tensor in state.items() if isinstance(tensor, Tensor)}
