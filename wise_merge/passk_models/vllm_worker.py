"""What a sweep adds to each of vLLM's workers: its weights become an average of two checkpoints, in place.

Every worker reads both checkpoints and computes the averages itself; between processes go names and numbers, no
weights. From there on vLLM's own `reload_weights` does what it does when it loads a checkpoint: it finds the
parameter, fused or not, takes the worker's share of it, and packs it for the processor.
"""

import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from vllm.platforms import current_platform

from wise_merge.errors import WiseMergeError
from wise_merge.interpolation.deferred import DeferredAverage
from wise_merge.interpolation.layout import Tensor as Planned
from wise_merge.interpolation.pair import OpenPair, average_of

#: The pair that this process opened last, by the folders and names of the two; one late checkpoint has many alphas.
_open: dict[tuple[str, ...], OpenPair] = {}


class AveragingWorker:
    """The method that `worker_extension_cls` adds to a worker of vLLM, which must have none of that name."""

    reload_weights: Any
    get_model: Any

    def wise_merge_become(self, folders: list[str], names: list[str], recipe: dict[str, Any]) -> str | None:
        """Give this worker's share of the model the weights of an average.

        Args:
            folders: of the early and the late checkpoint.
            names: what the recipe calls them.
            recipe: for mergekit.

        Returns:
            what is wrong with the checkpoints or the average, None = nothing. The weights are of no use then.
        """
        try:
            pair = _opened(folders, names)
            if pair.has_separate_head:
                return (
                    "one of the checkpoints stores an LM head other than its embeddings, though its config ties them "
                    "(tie_word_embeddings), and vLLM loads no such head; use hf-passk"
                )
            weights = _Averages(pair, recipe)
        except WiseMergeError as error:
            return str(error)
        unpack_experts(self.get_model())
        with torch.no_grad(), _unwarned():
            self.reload_weights(weights_iterator=iter(weights))
        repack_tied(self.get_model())
        return weights.error


class _Averages:
    """The weights of an average as vLLM wants them: names and tensors, without an error on the way.

    After one, vLLM would keep what it has read of the current layer and count it as a part of the next model's. So
    weights of early follow then.

    Attributes:
        error: what was wrong, None = nothing so far.
    """

    def __init__(self, pair: OpenPair, recipe: Mapping[str, Any]) -> None:
        self.error: str | None = None
        self._pair, self._planned = pair, pair.planned(recipe)

    def __iter__(self) -> Iterator[tuple[str, Tensor]]:
        for tensor in self._planned:
            early, late = self._pair.tensors(tensor.name)
            self._try(partial(self._pair.check, tensor))
            if self.error is not None or tensor.out_dtype is None:
                yield tensor.name, early
            elif early.stride() != late.stride():
                yield tensor.name, self._average(tensor, early, late)
            else:
                # The worker's share alone is computed, once, where it is written; of a tied LM head nothing.
                dtype = getattr(torch, tensor.out_dtype)
                yield tensor.name, DeferredAverage(early, late, dtype, partial(self._average, tensor))

    def _average(self, tensor: Planned, early: Tensor, late: Tensor, place: Tensor | None = None) -> Tensor:
        average = self._try(partial(average_of, tensor, early, late, place))
        return early if average is None else average

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


def _opened(folders: list[str], names: list[str]) -> OpenPair:
    key = (*folders, *names)
    if key not in _open:
        _open.clear()
        _open[key] = OpenPair(Path(folders[0]), Path(folders[1]), (names[0], names[1]))
    return _open[key]
