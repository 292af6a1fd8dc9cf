"""What a sweep adds to each of vLLM's workers: its weights are replaced by a merge of checkpoints, in place.

Every worker reads the checkpoints and computes the merge itself; processes exchange names and numbers, no
weights. From there on vLLM's own `reload_weights` does what it does when it loads a checkpoint: it finds the
parameter, fused or not, takes the worker's share of it, and packs it for the processor.
"""

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from vllm.platforms import current_platform

from wise_merge.errors import WiseMergeError
from wise_merge.recipes.models import Ingredients
from wise_merge.tensor_files.stored import are_read
from wise_merge.tensors.deferred import DeferredMerge
from wise_merge.tensors.in_memory import OpenCheckpoint, OpenModels, merge_of
from wise_merge.tensors.layout import PlannedTensor

#: The checkpoints that this process has opened, by folder, as many merges are made of one set.
_open: dict[str, OpenCheckpoint] = {}


class MergingWorker:
    """The method that `worker_extension_cls` adds to a worker of vLLM, which must have none of that name."""

    reload_weights: Any
    get_model: Any

    def wise_merge_replace(
        self, folders: list[str], base: str | None, models: list[str], recipe: dict[str, Any]
    ) -> str | None:
        """Give this worker's share of the model the weights of a merge.

        Args:
            folders: of the checkpoints, the base first.
            base: what the recipe calls it, None = none.
            models: what it calls the others.
            recipe: for mergekit.

        Returns:
            what is wrong with the checkpoints or the merge, None = nothing. The weights are of no use then.
        """
        try:
            models_open = _opened(folders, Ingredients(base, tuple(models)))
            if models_open.has_separate_head:
                return (
                    "one of the checkpoints stores an LM head other than its embeddings, though its config ties them "
                    "(tie_word_embeddings), and vLLM loads no such head; use hf-passk"
                )
            weights = _Merge(models_open, recipe)
        except WiseMergeError as error:
            return str(error)
        unpack_experts(self.get_model())
        with torch.no_grad(), _unwarned():
            self.reload_weights(weights_iterator=iter(weights))
        repack_tied(self.get_model())
        return weights.error


class _Merge:
    """Yields the weights of a merge to vLLM as names and tensors, and raises no error while it does.

    After an error, vLLM would keep the part of the current layer that it has read, and add it to the next model's. So
    the weights of the first checkpoint follow instead.

    Attributes:
        error: what was wrong, None = nothing so far.
    """

    def __init__(self, models: OpenModels, recipe: Mapping[str, Any]) -> None:
        self.error: str | None = None
        self._models, self._planned = models, models.planned(recipe)

    def __iter__(self) -> Iterator[tuple[str, Tensor]]:
        for tensor in self._planned:
            inputs = self._models.tensors(tensor.name)
            self._try(partial(self._models.check, tensor))
            if self.error is not None or tensor.out_dtype is None:
                yield tensor.name, inputs[0]
            elif are_read(tensor.statistics) or any(other.stride() != inputs[0].stride() for other in inputs):
                # What files hold is read for whole tensors here.
                yield tensor.name, self._merged(tensor, inputs)
            else:
                # Only this worker's shard is computed, as it is written; a tied LM head is not computed at all.
                dtype = getattr(torch, tensor.out_dtype)
                yield tensor.name, DeferredMerge(inputs, dtype, partial(self._merged, tensor))

    def _merged(self, tensor: PlannedTensor, inputs: Sequence[Tensor], place: Tensor | None = None) -> Tensor:
        merged = self._try(partial(merge_of, tensor, inputs, place))
        return inputs[0] if merged is None else merged

    def _try(self, compute: Callable[[], Tensor | None]) -> Tensor | None:
        try:
            return compute()
        except WiseMergeError as error:
            self.error = self.error or str(error)
            return None


def repack_tied(model: nn.Module) -> None:
    """Have every layer that shares its weight with another make its own form of it, as after loading a checkpoint.

    On a processor a tied LM head multiplies with a packed copy of the embeddings, which `reload_weights` leaves as it
    was (vLLM 0.32: "tied parameters will only reflect processing from one of the parent layers").
    """
    owners: dict[int, list[nn.Module]] = {}
    for layer in model.modules():
        weight = layer._parameters.get("weight")
        if weight is not None and hasattr(getattr(layer, "quant_method", None), "process_weights_after_loading"):
            owners.setdefault(id(weight), []).append(layer)
    for layers in owners.values():
        for layer in layers if len(layers) > 1 else ():
            layer.quant_method.process_weights_after_loading(layer)  # type: ignore[operator, union-attr]


def unpack_experts(model: nn.Module) -> None:
    """Have the experts of a mixture packed anew when their weights are replaced.

    On a processor vLLM (0.32) packs them only while it has no kernel for them, and afterwards reads plain weights as
    packed ones. On other devices their layout is made anew every time.
    """
    if not current_platform.is_cpu():
        return
    for layer in model.modules():
        method = getattr(layer, "quant_method", None)
        if getattr(method, "moe_kernel", None) is not None:
            method.moe_kernel = None  # type: ignore[union-attr]


@contextmanager
def _unwarned() -> Iterator[None]:
    """Keep vLLM from warning, at every average, of layers whose tensors are in no checkpoint (rotary embeddings).

    Of parameters that were not loaded it warns elsewhere.
    """
    logger = logging.getLogger("vllm.model_executor.model_loader.reload.layerwise")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)


def _opened(folders: list[str], ingredients: Ingredients) -> OpenModels:
    for folder in folders:
        if folder not in _open:
            _open[folder] = OpenCheckpoint(Path(folder))
    return OpenModels([_open[folder] for folder in folders], ingredients)
