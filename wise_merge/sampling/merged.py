"""`hf-passk` whose weights are replaced while it runs: by any elementwise merge of checkpoints.

No merged model is written. The weights of the module after `replace_weights` equal, bit for bit, what
`mergekit-yaml` writes for the recipe and transformers loads from there.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from wise_merge.checkpoints.headers import COMPUTED, FLOATING, read_headers
from wise_merge.errors import WiseMergeError
from wise_merge.recipes.models import Ingredients
from wise_merge.recipes.schema import Recipe
from wise_merge.sampling.hf import HFPassK
from wise_merge.tensors.in_memory import OpenCheckpoint, OpenModels, in_memory


class MergedHF(HFPassK):
    """One model in memory whose weights are replaced by one merge after the other."""

    _bar_stays = False

    def __init__(self, first: Path, **model_args: Any) -> None:
        """Load the first checkpoint; `model_args` are those of `hf-passk` except `pretrained`."""
        self._merged: tuple[str, str] | None = None
        self._unchanging: dict[str, Any] | None = None
        self._models: dict[tuple[Path, ...], OpenModels] = {}
        self._files: dict[Path, OpenCheckpoint] = {}
        self._converted: dict[Path, OpenCheckpoint] = {}
        super().__init__(pretrained=str(first), **model_args)
        self._places = in_memory(self.model.state_dict())
        for name, tensor in self._places.items():
            if tensor.is_meta:
                raise WiseMergeError(
                    f"{name} is not in memory, so it cannot be replaced there; a sweep needs the whole model in memory "
                    "(no offloading): take more or larger devices, or a narrower dtype"
                )

    def replace_weights(
        self, folders: Sequence[Path], ingredients: Ingredients, recipe: Recipe, name: str, digest: str
    ) -> None:
        """Replace the weights by a merge of checkpoints, computed anew from them.

        Args:
            folders: of the checkpoints, in the order of `ingredients.names`.
            ingredients: as the recipe calls them.
            recipe: for mergekit, of an elementwise method.
            name: of the merge, for people.
            digest: that tells this merge from all other models; it identifies the samples in the journal.

        Raises a `WiseMergeError` for weights that are not finite; until the next success no sample can be drawn then.
        """
        self._merged = None
        key = tuple(folders)
        if key not in self._models:
            self._models[key] = self._open(folders, ingredients)
        self._models[key].merge_into(recipe, self._place_of)
        self._merged = (name, digest)

    def _open(self, folders: Sequence[Path], ingredients: Ingredients) -> OpenModels:
        for folder in folders:
            if folder not in self._files:
                self._files[folder] = OpenCheckpoint(folder)
        models = OpenModels([self._files[folder] for folder in folders], ingredients)
        if models.has_separate_head:
            self._untie()
        absent = {name for name in models.names() - self._places.keys() if not COMPUTED.search(name)}
        # A tied LM head may be stored in some of the checkpoints or in none.
        missing = {name for name in self._places.keys() - models.names() if not self._is_tied(name, models.names())}
        if not absent and not missing:
            return models
        # The files have another layout than the module, such as one tensor per expert: transformers converts them.
        for folder in folders:
            if folder not in self._converted:
                self._converted[folder] = OpenCheckpoint(folder, self._state(folder))
        models = OpenModels([self._converted[folder] for folder in folders], ingredients)
        if models.names() != self._places.keys():
            different = min(models.names() ^ self._places.keys())
            raise WiseMergeError(
                f"tensor {different} is not in both, the model in memory and the checkpoint {folders[-1]}; load both "
                "by the same class"
            )
        return models

    def _untie(self) -> None:
        """Give the LM head memory of its own, where it shares that of the embeddings."""
        head, embeddings = self.model.get_output_embeddings(), self.model.get_input_embeddings()
        if head is None or head.weight is not embeddings.weight:
            return
        head.weight = torch.nn.Parameter(embeddings.weight.detach().clone(), requires_grad=False)
        self.model.config.tie_word_embeddings = False
        self._places = in_memory(self.model.state_dict())
        # Opened again: for tied checkpoints the head was left out, and now it has its own memory to be written.
        self._models.clear()

    def _is_tied(self, name: str, stored: set[str]) -> bool:
        memory = self._places[name].data_ptr()
        return any(
            other in stored and tensor.data_ptr() == memory for other, tensor in self._places.items() if other != name
        )

    def _state(self, folder: Path) -> dict[str, torch.Tensor]:
        """Return the tensors of a checkpoint as transformers converts them, in the widest dtype of its files."""
        codes = {header.dtype for header in read_headers(folder).values()}
        stored = [getattr(torch, name) for code, name in FLOATING.items() if code in codes]
        dtype = max(stored, key=lambda dtype: dtype.itemsize, default=torch.float32)
        model = type(self.model).from_pretrained(folder, dtype=dtype)
        return in_memory(model.state_dict())

    def _place_of(self, name: str) -> torch.Tensor | None:
        place = self._places.get(name)
        if place is not None and place.is_floating_point() and place.dtype.itemsize == 1:
            raise WiseMergeError(f"{name} is {place.dtype} in memory; no merge fits there: load it wider")
        return place

    def _weights(self) -> str:
        if self._merged is None:
            raise WiseMergeError("the model in memory is no merge yet, so nothing can be sampled")
        return self._merged[1]

    def _identity(self) -> dict[str, Any]:
        weights = self._weights()
        if self._unchanging is None:
            # Kept, as serialising a tokenizer's vocabulary takes as long as many merges.
            self._unchanging = super()._identity()
        assert self._merged is not None
        return {**json.loads(json.dumps(self._unchanging)), "name": self._merged[0], "weights": weights}


def model_arguments(given: Mapping[str, Any]) -> dict[str, Any]:
    """Return model arguments after refusing those under which the weights are not the tensors of a checkpoint."""
    for name in ("pretrained", "peft", "delta", "gguf_file", "autogptq", "gptqmodel", "load_in_4bit", "load_in_8bit"):
        if given.get(name):
            raise WiseMergeError(
                f"model_args {name} cannot be used in a sweep: the weights are those of the checkpoints, in "
                "floating point; leave it out"
            )
    return dict(given)
