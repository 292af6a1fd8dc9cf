"""Checks of mergekit's plan of a merge: which tensors of a checkpoint it leaves out, and which are not there.

mergekit 0.1.5 knows architectures by lists of tensors, or infers one from transformers. What its list does not
name is left out of the merged model without a warning (the experts of DeepSeek-V3, the text model of LLaVA), which
then loads with random weights in their place; what the list names and the checkpoint lacks ends the merge halfway.
"""

import functools
import re
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

import torch
from mergekit.architecture.conversion import convert_checkpoint_tensors
from mergekit.common import ModelReference
from mergekit.io.tasks import LoaderCache

from wise_merge.checkpoints.headers import COMPUTED, read_headers
from wise_merge.checkpoints.heads import separate_head
from wise_merge.checkpoints.ties import counterpart, is_head
from wise_merge.errors import WiseMergeError

#: What no loader reads of a model whose head is tied.
_UNREAD_IF_TIED = re.compile(rf"{COMPUTED.pattern}|lm_head\.weight$")

#: The way out in every case.
_OTHERWISE = "`wise-merge merge` averages full checkpoints tensor by tensor, whatever their architecture"


def check_plan(model: ModelReference, weights: Sequence[Any], *, whole: bool) -> None:
    """Raise `WiseMergeError` unless the weights that mergekit plans to read of `model` are there, and are all of it.

    Args:
        model: a checkpoint whose files mergekit has found.
        weights: the `WeightInfo` of each tensor that is read of it.
        whole: whether the output is the whole model; slices leave layers out on purpose.
    """
    index = LoaderCache().get(model).index
    config = model.config(trust_remote_code=LoaderCache().trust_remote_code)
    stored = index.tensor_paths.keys()
    used: set[str] = set()
    missing = []
    for weight in weights:
        names = [weight.name, *(weight.aliases or ()), *(weight.tied_names or ())]
        name = next((name for name in names if name in stored), None)
        if name is None:
            missing.append(weight)
        else:
            used.add(name)
    if missing:
        sources = _Sources(Path(index.base_path), stored)
        for weight in missing:
            read = sources.of(config.model_type, [weight.name, *(weight.aliases or ())])
            if not read and not weight.optional:
                if not whole:
                    raise WiseMergeError(f"{model} has no {weight.name}; correct the layer_range of its slices")
                raise WiseMergeError(
                    f"mergekit takes a checkpoint of this architecture to have a tensor {weight.name}, which {model} "
                    f"does not hold; {_OTHERWISE}"
                )
            used |= read
    # A head that is tied to the embeddings may be stored beside them.
    tied = any(getattr(part, "tie_word_embeddings", False) for part in (config, config.get_text_config()))
    unread = _UNREAD_IF_TIED if tied else COMPUTED
    left_out = sorted(name for name in stored - used if not unread.search(name))
    if whole and left_out:
        more = f" and {len(left_out) - 1} more" if len(left_out) > 1 else ""
        raise WiseMergeError(
            f"mergekit would leave {left_out[0]}{more} of {model} out of the merged model, because it does not know "
            f"all tensors of this architecture; {_OTHERWISE}"
        )


def inputs_of(model: ModelReference, plan: Sequence[tuple[Any, Any]]) -> list[Any]:
    """Return the `WeightInfo` of each tensor that a plan reads of a model; with slices, layers have other numbers."""
    return [inputs[model] for _, task in plan if model in (inputs := _inputs(task))]


def _inputs(task: Any) -> dict[ModelReference, Any]:
    """Return the `WeightInfo` of what a task reads of each model."""
    # A task that lays a tokenizer over embeddings has the other one within.
    gather = getattr(task.gather_tensors, "gather_tensors", task.gather_tensors)
    return dict(gather.weight_info.items())


def plan_heads(
    models: Sequence[ModelReference], plan: Sequence[tuple[Any, Any]], *, whole: bool
) -> tuple[list[tuple[Any, Any]], bool]:
    """Return the plan for models that may be tied, and whether the output has a head apart from its embeddings.

    mergekit takes the embeddings where a head is not stored, if its list of the architecture says so. A head that it
    does not know that of is left out of the plan where it is tied in all models; `WiseMergeError` where it is not.

    Args:
        models: of the merge; mergekit has found their files.
        plan: its `WeightInfo` of each tensor of the output, and the task.
        whole: see `check_plan`.
    """
    indexes = {model: LoaderCache().get(model).index for model in models}
    separate = [(model, head) for model in models if (head := separate_head(Path(indexes[model].base_path)))]
    kept = []
    for weight, task in plan:
        inputs = _inputs(task) if weight.optional else {}
        lacking = [model for model in inputs if not _names(inputs[model]) & indexes[model].tensor_paths.keys()]
        if not is_head(weight.name):
            if 0 < len(lacking) < len(inputs) and counterpart(weight.name, indexes[lacking[0]].tensor_paths):
                raise WiseMergeError(f"{lacking[0]} stores an LM head in place of {weight.name}; {_OTHERWISE}")
        elif lacking and separate:
            raise WiseMergeError(
                f"{separate[0][0]} has its own {separate[0][1]} and {lacking[0]} has none, and mergekit does not "
                f"know that it is tied to the embeddings there; {_OTHERWISE}"
            )
        elif lacking:
            continue
        kept.append((weight, task))
    planned = any(is_head(weight.name) for weight, _ in kept)
    if separate and whole and not planned:
        raise WiseMergeError(
            f"{separate[0][0]} has its own {separate[0][1]}, other than its embeddings, and mergekit would leave it "
            f"out; {_OTHERWISE}"
        )
    return kept, bool(separate) and planned


def _names(weight: Any) -> set[str]:
    return {weight.name, *(weight.aliases or ()), *(weight.tied_names or ())}


def cannot_plan(error: RuntimeError) -> WiseMergeError:
    """Return what to say when mergekit gives up on a configuration for reasons of its own."""
    reason = " ".join(str(error).split())
    # It begins with the whole config where a setting is missing in it.
    reason = reason if len(reason) < 200 else f"... {reason[-100:]}"
    return WiseMergeError(f"mergekit cannot plan this merge: {reason}; {_OTHERWISE}")


class _Sources:
    """The stored tensors as shapes without data, for transformers' conversions to work on."""

    def __init__(self, directory: Path, stored: Collection[str]):
        headers = read_headers(directory)
        self.shapes = {name: headers[name].shape for name in stored if name in headers}

    def of(self, kind: str, targets: Sequence[str]) -> set[str]:
        """Return the stored tensors from which one of the targets is made; none if none can be."""
        for target in targets:
            read: set[str] = set()
            sources = {name: functools.partial(self._shape, name, read) for name in self.shapes}
            if convert_checkpoint_tensors(kind, sources, target) is not None:
                return read
        return set()

    def _shape(self, name: str, read: set[str]) -> torch.Tensor:
        read.add(name)
        return torch.empty(self.shapes[name], device="meta")
