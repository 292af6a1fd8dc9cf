"""What a model's logits say of the completions, computed in batches that never hold all logits at once."""

import inspect
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from wise_merge.calibrate.data import Encoded
from wise_merge.errors import WiseMergeError
from wise_merge.estimators.calibration import Tokens, concatenate, select, tokens_of
from wise_merge.verifiers.models import batches

#: Logits held at once, 128 MB in float32: 660 tokens at a vocabulary of 50,000.
_LOGITS = 2**25
#: Tokens of the first sequence on which the LM head is tried out.
_TRIED = 16


def read(
    model: Any,
    sequences: Sequence[Encoded],
    *,
    batch_size: int,
    progress: Callable[[int], object] = lambda done: None,
    logits_at_once: int = _LOGITS,
) -> list[Tokens]:
    """Return what the model says of each sequence's completion, in order.

    Args:
        model: a causal language model of transformers.
        sequences: at least one.
        batch_size: sequences per forward pass, the longest first.
        progress: called with the number of completion tokens of each batch.
        logits_at_once: bounds the memory, see `_logits`.

    Raises:
        WiseMergeError: naming the sequence, for logits that are not finite.
    """
    by_sequence: list[Tokens | None] = [None] * len(sequences)
    # No attention mask: padding is on the right, where no token of a causal model sees it.
    everything = batches([sequence.ids for sequence in sequences], size=batch_size, padding=0, device=model.device)
    head: Any = None
    for number, batch in enumerate(everything):
        rows = [sequences[row] for row in batch.rows]
        # The position before a token is the one that predicts it.
        predicting = torch.zeros_like(batch.mask, dtype=torch.bool)
        for i, row in enumerate(rows):
            predicting[i, row.first - 1 : len(row.ids) - 1] = True
        targets = batch.ids.roll(-1, dims=1)[predicting]
        parts, start = [], 0
        with torch.inference_mode():
            if number == 0:
                head = _plain_head(model, batch.ids[:1, :_TRIED])
            for logits in _logits(model, head, batch.ids, predicting, logits_at_once):
                parts.append(tokens_of(logits, targets[start : start + len(logits)].to(logits.device)))
                start += len(logits)
        tokens, start = concatenate(parts), 0
        for place, row in zip(batch.rows, rows, strict=True):
            stop = start + len(row.ids) - row.first
            by_sequence[place] = one = select(tokens, slice(start, stop))
            _check(one, row)
            start = stop
        progress(start)
    return [tokens for tokens in by_sequence if tokens is not None]


def _plain_head(model: Any, ids: Tensor) -> Any:
    """Return the LM head if the logits are what it makes of the last hidden state and nothing else, else None.

    Tried out rather than looked up: some architectures scale or cap their logits afterwards.
    """
    body, head = model.base_model, model.get_output_embeddings()
    if body is model or head is None:
        return None
    hidden = getattr(body(input_ids=ids, use_cache=False), "last_hidden_state", None)
    if hidden is None:
        return None
    made, meant = head(hidden), model(input_ids=ids, use_cache=False).logits
    # NaN is equal to NaN here: it is found, and named, later.
    same = made.shape == meant.shape and np.array_equal(
        made.float().cpu().numpy(), meant.float().cpu().numpy(), equal_nan=True
    )
    return head if same else None


def _logits(model: Any, head: Any, ids: Tensor, predicting: Tensor, at_once: int) -> Iterator[Tensor]:
    """Yield the logits at the wanted positions, row by row, as (tokens, vocabulary) blocks.

    A block holds `at_once` numbers if the head can be called by itself, otherwise the completion of one sequence.
    """
    if head is not None:
        hidden = model.base_model(input_ids=ids, use_cache=False).last_hidden_state[predicting]
        vocabulary = head(hidden[:1]).shape[-1]
        for block in hidden.split(max(at_once // vocabulary, 1)):
            yield head(block)
        return
    kept = "logits_to_keep" in inspect.signature(model.forward).parameters
    for row, mask in zip(ids, predicting, strict=True):
        positions = mask.nonzero()[:, 0]
        read = row[None, : int(positions[-1]) + 1]
        if kept:
            yield model(input_ids=read, use_cache=False, logits_to_keep=positions).logits[0]
        else:
            yield model(input_ids=read, use_cache=False).logits[0, positions]


def _check(tokens: Tokens, sequence: Encoded) -> None:
    if not (np.isfinite(tokens.curves).all() and np.isfinite(tokens.distances).all()):
        raise WiseMergeError(
            f"{sequence.place}: the logits contain NaN or infinity; choose a checkpoint from before the training "
            "diverged, or a wider --dtype"
        )
