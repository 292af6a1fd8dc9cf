"""Mapped checkpoints and the merged weights of any recipe of them, without a file.

What comes of a recipe equals, bit for bit, what `mergekit-yaml` writes for it: `layout` follows the same order of
casts, and the methods' kernels hold the arithmetic.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from wise_merge.checkpoints.files import read_config
from wise_merge.checkpoints.headers import TensorHeader, dtype_name, read_headers
from wise_merge.checkpoints.heads import completed, separate_head, stand_ins
from wise_merge.checkpoints.ties import tied
from wise_merge.checkpoints.weights import open_tensors
from wise_merge.recipes.models import Ingredients
from wise_merge.recipes.schema import Recipe
from wise_merge.tensors.apply import apply_planned, check_equal, check_finite, check_result, may_overflow
from wise_merge.tensors.layout import PlannedTensor, lay_out


class OpenCheckpoint:
    """A checkpoint, mapped from its files: nothing is read until it is needed, and finite tensors are known as such."""

    def __init__(self, folder: Path, state: Mapping[str, Tensor] | None = None) -> None:
        """Map a checkpoint.

        Args:
            folder: where it lies.
            state: its tensors under other names and in another layout than the files have, as of a module that a
                loader has made of them; None maps the files.
        """
        self.folder = folder
        self.config = read_config(folder)
        self.from_files = state is None
        if state is None:
            read_headers(folder)  # raises unless every file is there and whole
            state = open_tensors(folder)
        self.state = state
        self.headers = {
            name: TensorHeader(tuple(tensor.shape), dtype_name(tensor.dtype)) for name, tensor in state.items()
        }
        #: Names of the tensors that have been looked at.
        self.finite: set[str] = set()

    @cached_property
    def has_separate_head(self) -> bool:
        """Whether it has an LM head of its own although its config ties it to the embeddings."""
        return tied(self.config) is not False and separate_head(self.folder) is not None


class OpenModels:
    """The checkpoints of a recipe. Any number of these may be made of the same open checkpoints."""

    def __init__(self, checkpoints: Sequence[OpenCheckpoint], ingredients: Ingredients) -> None:
        """Put checkpoints together that fit each other (`checkpoints.architecture.check_same_model`).

        Args:
            checkpoints: in the order of `ingredients.names`.
            ingredients: as recipes call them.
        """
        self._ingredients = ingredients
        self._checkpoints = tuple(checkpoints)
        lacking: Sequence[Mapping[str, str]] = [{} for _ in checkpoints]
        if all(one.from_files for one in checkpoints):
            lacking = stand_ins([one.folder for one in checkpoints], [one.headers for one in checkpoints])
        self._states = [completed(one.state, ties) for one, ties in zip(checkpoints, lacking, strict=True)]
        self._headers = [completed(one.headers, ties) for one, ties in zip(checkpoints, lacking, strict=True)]

    def names(self) -> set[str]:
        """Return the names of the tensors that are merged."""
        return set.intersection(*(set(state) for state in self._states))

    @property
    def has_separate_head(self) -> bool:
        """Whether a checkpoint has an LM head of its own although its config ties it to the embeddings."""
        return any(one.has_separate_head for one in self._checkpoints)

    def planned(self, recipe: Recipe) -> list[PlannedTensor]:
        """Return what a recipe does to each tensor, in the order of the first checkpoint."""
        configs = [one.config for one in self._checkpoints]
        return lay_out([recipe], self._ingredients, configs, self._headers)

    def merged(self, recipe: Recipe) -> Iterator[tuple[str, Tensor]]:
        """Yield (name, tensor) of the merge as the files have them; each is computed when it is asked for.

        Raises a `WiseMergeError` for a NaN or infinity in a checkpoint, and for a merge that its dtype cannot hold.
        """
        for tensor in self.planned(recipe):
            yield tensor.name, self._merge(tensor, None)

    def merge_into(self, recipe: Recipe, place_of: Callable[[str], Tensor | None]) -> None:
        """Write the merge over the tensors of a model in memory; two names of one memory (tied) are computed once.

        Args:
            recipe: without slices and modules.
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
            merged = self._merge(tensor, place)
            if merged is not place:
                place.copy_(merged)

    def tensors(self, name: str) -> list[Tensor]:
        """Return a tensor of each checkpoint, mapped; not to be written to."""
        return [state[name] for state in self._states]

    def check(self, tensor: PlannedTensor) -> None:
        """Raise a `WiseMergeError` unless a tensor can be merged: finite in all (looked at once), or equal."""
        name, names = tensor.name, self._ingredients.names
        if tensor.dtype is None:
            check_equal(name, self.tensors(name), names)
            return
        for checkpoint, own, model in zip(self._checkpoints, self.tensors(name), names, strict=True):
            if name not in checkpoint.finite:
                check_finite(name, [own], [model])
                checkpoint.finite.add(name)

    def _merge(self, tensor: PlannedTensor, place: Tensor | None) -> Tensor:
        """Return one tensor of the merge, in `place` where that has its dtype and lies in memory."""
        self.check(tensor)
        return merge_of(tensor, self.tensors(tensor.name), place)


def merge_of(tensor: PlannedTensor, inputs: Sequence[Tensor], place: Tensor | None = None) -> Tensor:
    """Return a tensor of the merge, or a part of it, in `place` where that has its dtype and lies in memory.

    Args:
        tensor: how it is merged.
        inputs: of each checkpoint, finite.
        place: a tensor of that shape that may be written to; the result is this very tensor then, or another.

    Raises a `WiseMergeError` for a merge that its dtype cannot hold.
    """
    merged = apply_planned(tensor, inputs, out=place)
    if may_overflow(tensor):
        check_result(tensor.name, merged, tensor.parameters[0], tensor.statistics)
    return merged


def in_memory(state: Mapping[str, Any]) -> dict[str, Tensor]:
    """Return the tensors of a module's state by name, detached: what is written to them changes the module."""
    return {name: tensor.detach() for name, tensor in state.items() if isinstance(tensor, Tensor)}
