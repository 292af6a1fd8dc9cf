"""`hf-passk` whose weights are replaced while it runs: by any average of an early and a late checkpoint.

No merged model is written. What stands in the module after `become` equals, bit for bit, what `mergekit-yaml` writes
for the recipe and transformers loads from there.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from wise_merge.checkpoints.headers import COMPUTED, read_headers
from wise_merge.errors import WiseMergeError
from wise_merge.interpolation.layout import FLOATING
from wise_merge.interpolation.pair import OpenPair, in_memory
from wise_merge.passk_models.hf import HFPassK
from wise_merge.recipe import Recipe


class MergedHF(HFPassK):
    """One model in memory that becomes one average after the other."""

    _bar_stays = False

    def __init__(self, early: Path, **model_args: Any) -> None:
        """Load the early checkpoint; `model_args` are those of `hf-passk` but for `pretrained`."""
        self._merged: tuple[str, str] | None = None
        self._unchanging: dict[str, Any] | None = None
        self._pairs: dict[tuple[Path, Path], OpenPair] = {}
        super().__init__(pretrained=str(early), **model_args)
        self._places = in_memory(self.model.state_dict())
        for name, tensor in self._places.items():
            if tensor.is_meta:
                raise WiseMergeError(
                    f"{name} is not in memory, so it cannot be replaced there; a sweep needs the whole model in memory "
                    "(no offloading): take more or larger devices, or a narrower dtype"
                )

    def become(self, early: Path, late: Path, names: tuple[str, str], recipe: Recipe, model: str) -> None:
        """Replace the weights by an average of two checkpoints, computed anew from them.

        Args:
            early: folder of the early checkpoint.
            late: folder of the late one.
            names: as the recipe calls them.
            recipe: for mergekit, of these two.
            model: digest that tells this average from all other models; it identifies the samples in the journal.

        Raises a `WiseMergeError` for weights that are not finite; until the next success no sample can be drawn then.
        """
        self._merged = None
        if (early, late) not in self._pairs:
            self._pairs[early, late] = self._open(early, late, names)
        self._pairs[early, late].average_into(recipe, self._place_of)
        self._merged = (f"{names[1]}, alpha {recipe['parameters']['alpha']}", model)

    def _open(self, early: Path, late: Path, names: tuple[str, str]) -> OpenPair:
        pair = OpenPair(early, late, names)
        if pair.has_separate_head:
            self._untie()
        absent = {name for name in pair.names() - self._places.keys() if not COMPUTED.search(name)}
        # A tied LM head may be stored nowhere, or in one of the files.
        missing = {name for name in self._places.keys() - pair.names() if not self._is_tied(name, pair.names())}
        if not absent and not missing:
            return pair
        # The files have another layout than the module, such as one tensor per expert: transformers converts them.
        states = tuple(self._state(folder) for folder in (early, late))
        pair = OpenPair(early, late, names, states=(states[0], states[1]))
        if pair.names() != self._places.keys():
            different = min(pair.names() ^ self._places.keys())
            raise WiseMergeError(
                f"tensor {different} is not in both, the model in memory and the checkpoint {late}; load both by the "
                "same class"
            )
        return pair

    def _untie(self) -> None:
        """Give the LM head memory of its own, where it shares that of the embeddings."""
        head, embeddings = self.model.get_output_embeddings(), self.model.get_input_embeddings()
        if head is None or head.weight is not embeddings.weight:
            return
        head.weight = torch.nn.Parameter(embeddings.weight.detach().clone(), requires_grad=False)
        self.model.config.tie_word_embeddings = False
        self._places = in_memory(self.model.state_dict())
        # Those of tied checkpoints leave the head out, which is no longer written with the embeddings.
        self._pairs.clear()

    def _is_tied(self, name: str, stored: set[str]) -> bool:
        memory = self._places[name].data_ptr()
        return any(
            other in stored and tensor.data_ptr() == memory for other, tensor in self._places.items() if other != name
        )

    def _state(self, folder: Path) -> dict[str, torch.Tensor]:
        """Return the tensors of a checkpoint as transformers converts them, in the widest dtype of its files."""
        found = {header.dtype for header in read_headers(folder).values()}
        stored = [getattr(torch, name) for code, name in FLOATING.items() if code in found]
        dtype = max(stored, key=lambda dtype: dtype.itemsize, default=torch.float32)
        model = type(self.model).from_pretrained(folder, dtype=dtype)
        return in_memory(model.state_dict())

    def _place_of(self, name: str) -> torch.Tensor | None:
        place = self._places.get(name)
        if place is not None and place.is_floating_point() and place.dtype.itemsize == 1:
            raise WiseMergeError(f"{name} is {place.dtype} in memory; no average fits there: load it wider")
        return place

    def _weights(self) -> str:
        if self._merged is None:
            raise WiseMergeError("the model in memory is no average yet, so nothing can be sampled")
        return self._merged[1]

    def _identity(self) -> dict[str, Any]:
        weights = self._weights()
        if self._unchanging is None:
            # The vocabulary of a tokenizer takes as long to write down as many averages to compute.
            self._unchanging = super()._identity()
        assert self._merged is not None
        return {**json.loads(json.dumps(self._unchanging)), "name": self._merged[0], "weights": weights}


def model_arguments(given: Mapping[str, Any]) -> dict[str, Any]:
    """Return arguments of a model after refusing those under which its weights are no plain tensors of a checkpoint."""
    for name in ("pretrained", "peft", "delta", "gguf_file", "autogptq", "gptqmodel", "load_in_4bit", "load_in_8bit"):
        if given.get(name):
            raise WiseMergeError(
                f"model_args {name} cannot be used in a sweep: the weights are those of the two checkpoints, in "
                "floating point; leave it out"
            )
    return dict(given)
