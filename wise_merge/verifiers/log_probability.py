"""The mean log-probability of a completion's tokens under a causal language model."""

import inspect
import math
from collections.abc import Sequence
from typing import Any

from wise_merge.errors import WiseMergeError
from wise_merge.kernels.threads import fitting
from wise_merge.verifiers import models
from wise_merge.verifiers.models import ModelOptions, Scorer

#: Logits held at once: 1 GB in float32; 1,700 tokens of a batch for a vocabulary of 152,000.
_LOGITS = 2**28


def scorer(name: str, options: ModelOptions, *, chat: bool, logits_at_once: int = _LOGITS) -> Scorer:
    """Return the scorer that gives each completion its mean log-probability per token, in nats, at most 0.

    log p(completion | problem) / number of the completion's tokens; the end-of-text token is not
    one of them, since completions come without it. The texts are tokenized together; a token that
    holds characters of both belongs to the completion. A completion without tokens has no mean
    and scores -inf, as does one that together with its problem is longer than the model reads.

    Args:
        name: folder or Hub id of the model.
        options: device, dtype and batch size.
        chat: whether the problem is a user's turn in the tokenizer's chat template; otherwise the
            completion follows the problem's text as it stands.
        logits_at_once: bounds the memory; longer batches are read in pieces that share a cache.
    """
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = models.load(AutoTokenizer.from_pretrained, name, trust_remote_code=options.trust_remote_code)
    if not tokenizer.is_fast:
        raise WiseMergeError(f"the tokenizer of {name!r} does not tell which characters a token holds (it is not fast)")
    if chat and tokenizer.chat_template is None:
        raise WiseMergeError(f"the tokenizer of {name!r} has no chat template; use logprob:{name}")
    model = models.load_weights(AutoModelForCausalLM.from_pretrained, name, options)
    limit = models.longest_sequence(model.config, tokenizer)
    vocabulary = model.config.get_text_config().vocab_size

    def score(problem: str, completions: Sequence[str]) -> list[float]:
        prompt = models.well_formed(problem)
        if chat:
            message = {"role": "user", "content": prompt}
            prompt = tokenizer.apply_chat_template([message], tokenize=False, add_generation_prompt=True)
        tokens = [
            _split(tokenizer, prompt, models.well_formed(completion), special=not chat) for completion in completions
        ]
        readable = [i for i, (ids, first) in enumerate(tokens) if first < len(ids) <= limit]
        scores = [-math.inf] * len(completions)
        sequences = [tokens[i][0] for i in readable]
        for batch in models.batches(sequences, size=options.batch_size, padding=0, device=model.device):
            piece = max(logits_at_once // (len(batch.rows) * vocabulary), 1)
            with fitting(model), torch.inference_mode():
                log_probabilities = _of_next_tokens(model, batch, piece)
            for row, sequence in enumerate(batch.rows):
                ids, first = tokens[readable[sequence]]
                scores[readable[sequence]] = log_probabilities[row, first - 1 : len(ids) - 1].mean().item()
        return scores

    return score


def _split(tokenizer: Any, prompt: str, completion: str, *, special: bool) -> tuple[list[int], int]:
    """Return the tokens of prompt and completion, and the index of the completion's first one (at least 1)."""
    encoded = tokenizer(
        prompt + completion, add_special_tokens=special, return_offsets_mapping=True, return_special_tokens_mask=True
    )
    # A token that the tokenizer adds behind the text (end-of-text) is not part of the completion.
    length = max((i + 1 for i, added in enumerate(encoded["special_tokens_mask"]) if not added), default=0)
    ids, offsets = encoded["input_ids"][:length], encoded["offset_mapping"][:length]
    first = next((i for i, (_, end) in enumerate(offsets) if end > len(prompt)), length)
    if first == 0 and ids:
        # Without a prompt the first token is predicted from the token that starts or separates texts.
        start = tokenizer.bos_token_id if tokenizer.bos_token_id is not None else tokenizer.eos_token_id
        if start is None:
            raise WiseMergeError("the problem is empty and the tokenizer has no token that starts a text")
        return [start, *ids], 1
    return ids, first


def _of_next_tokens(model: Any, batch: models.Batch, piece: int) -> Any:
    """Return (batch, tokens - 1) float64 on the CPU: the log-probability of each token but the first."""
    import torch

    last = batch.ids.shape[1] - 1
    cache_name = _cache_name(model)
    if cache_name is None:
        piece = last
    parts, cache = [], None
    for start in range(0, last, piece):
        stop = min(start + piece, last)
        shared = {cache_name: cache, "use_cache": True} if cache_name and piece < last else {"use_cache": False}
        output = model(input_ids=batch.ids[:, start:stop], attention_mask=batch.mask[:, :stop], **shared)
        cache = output.get(cache_name) if cache_name else None
        if cache is None and stop < last:
            return _of_next_tokens(model, batch, last)
        targets = batch.ids[:, start + 1 : stop + 1, None].to(output.logits.device)
        picked = [
            # Row by row: the copy in higher precision is as large as the logits.
            torch.log_softmax(logits.to(torch.promote_types(logits.dtype, torch.float32)), -1).gather(-1, target)
            for logits, target in zip(output.logits, targets, strict=True)
        ]
        parts.append(torch.stack(picked).squeeze(-1).double().cpu())
    return torch.cat(parts, dim=1)


def _cache_name(model: Any) -> str | None:
    """Return what the model calls the cache that goes from piece to piece; None = it must read a batch as a whole.

    That is so for a model with states that are no keys and values (Mamba and hybrids of it): not all of these go on
    from a state with more than one token.
    """
    if getattr(model, "_is_stateful", False):
        return None
    known = inspect.signature(model.forward).parameters
    # Since transformers 5.24 by the first name.
    return next((name for name in ("cache", "past_key_values") if name in known), None)
