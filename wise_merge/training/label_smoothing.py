"""Label smoothing of a causal language model, as the WiSE-FT code has it: (1 - eps) NLL + eps mean_c(-log p_c).

Of each logit row only what is learned is computed, in float32 and a piece at a time, so that no second copy of all
logits in float32 is ever held. BANG trains with it (arXiv 2309.17230); the formula is that of arXiv 2109.01903's code.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import nll_loss, pad
from torch.utils.checkpoint import checkpoint

from wise_merge.errors import WiseMergeError

#: Label of a token that is not learned, as `transformers` has it.
NOT_LEARNED = -100

#: Logits that are held in float32 at once: 64 MB.
_BLOCK = 1 << 24


def label_smoothing_loss(smoothing: float) -> Callable[..., Tensor]:
    """Return a loss for `compute_loss_func` of transformers' Trainer and TRL's SFTTrainer.

    It is the mean over the learned tokens of (1 - smoothing) * NLL + smoothing * mean_c(-log p_c), c over the
    vocabulary; over those of all accumulated batches where the Trainer counts them (`num_items_in_batch`). 0 gives
    the plain cross entropy, 1 ignores the labels. The evaluation's loss is smoothed, too, as it is with the Trainer's
    own `label_smoothing_factor`.
    """
    check_smoothing(smoothing)

    def loss(outputs: Any, labels: Tensor | None, num_items_in_batch: Tensor | int | None = None) -> Tensor:
        if labels is None:
            raise WiseMergeError("label smoothing needs labels in every batch; got none. Check the data collator")
        logits = outputs["logits"] if isinstance(outputs, dict) else outputs[0]
        targets = next_tokens(labels).unsqueeze(-1)
        return summed_loss(logits, targets, [1.0], smoothing) / token_count(labels, num_items_in_batch)

    return loss


def check_smoothing(smoothing: float) -> None:
    """Raise `WiseMergeError` unless the amount of label smoothing is a number from 0 to 1."""
    if not 0.0 <= smoothing <= 1.0:
        raise WiseMergeError(f"label smoothing must lie in [0, 1] (0 = none, the paper's usual 0.1); got {smoothing}")


def next_tokens(labels: Tensor) -> Tensor:
    """Return what each position predicts: the labels (..., T), one place to the left, the last not learned."""
    return pad(labels[..., 1:], (0, 1), value=NOT_LEARNED)


def token_count(labels: Tensor, num_items_in_batch: Tensor | int | None) -> Tensor | int:
    """Return by how many tokens a summed loss is divided: the Trainer's count, else those of this batch, at least 1."""
    if num_items_in_batch is None:
        return (labels[..., 1:] != NOT_LEARNED).sum().clamp(min=1)
    return num_items_in_batch.to(labels.device) if isinstance(num_items_in_batch, Tensor) else num_items_in_batch


def summed_loss(logits: Tensor, targets: Tensor, weights: list[float], smoothing: float) -> Tensor:
    """Return the sum of the smoothed losses of every position for each of its targets, times the target's weight.

    Args:
        logits: (..., T, V), of any floating dtype; position t predicts `targets[..., t, :]`.
        targets: (..., T, K), K >= 1 kinds of targets; -100 is not learned.
        weights: K numbers. Targets of weight 0 cost nothing and change no bit.
        smoothing: eps in (1 - eps) * NLL + eps * mean_c(-log p_c).

    Returns:
        A float32 scalar (float64 for float64 logits).
    """
    if logits.shape[:-1] != targets.shape[:-1]:
        raise WiseMergeError(
            f"there must be a label for every position; the logits are {tuple(logits.shape)} and the labels "
            f"{tuple(targets.shape[:-1])}. Prompt tuning and logits_to_keep are not supported"
        )
    kinds = [k for k, weight in enumerate(weights) if weight]
    targets = targets[..., kinds].to(logits.device)
    learned = (targets != NOT_LEARNED).any(dim=-1)
    rows, targets = logits[learned], targets[learned]
    wide = torch.promote_types(logits.dtype, torch.float32)
    total = rows.new_zeros((), dtype=wide)
    size = max(1, _BLOCK // logits.shape[-1])
    for block, block_targets in zip(torch.split(rows, size), torch.split(targets, size), strict=True):

        def of_block(block: Tensor, block_targets: Tensor = block_targets) -> Tensor:
            log_p = block.to(wide).log_softmax(dim=-1)
            part = log_p.new_zeros(())
            for column, k in enumerate(kinds):
                target = block_targets[:, column]
                loss = (1.0 - smoothing) * nll_loss(log_p, target, ignore_index=NOT_LEARNED, reduction="sum")
                # Without smoothing not even 0 times it: a logit of -inf would make that NaN.
                if smoothing:
                    loss = loss - smoothing * log_p[target != NOT_LEARNED].mean(dim=-1).sum()
                part = part + weights[k] * loss
            return part

        # Computed again in the backward pass, instead of keeping float32 probabilities of all blocks until then.
        total = total + checkpoint(of_block, block, use_reentrant=False, preserve_rng_state=False)
    return total
