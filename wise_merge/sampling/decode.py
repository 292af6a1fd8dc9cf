"""The loop over tokens: each distinct prompt is read once, and every row draws from random numbers of its own.

transformers prepares everything (logits processors, stopping criteria, cache) and hands it to `_Loop`
as its `custom_generate`, so the distribution of each token is that of `generate` itself. Two things
are different: rows of one prompt share its prefill, and a row that is finished leaves the batch.

What it uses of transformers beyond its public interface is listed in `hosts.transformers_parts`.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from wise_merge.errors import WiseMergeError
from wise_merge.sampling import cache_rows, seeds

#: Random numbers made at a time for a row.
_BLOCK = 64
#: Steps between two searches for stop strings that are made of unusually many tokens.
_WIDE_EVERY = 32


#: Logits processors that use scores and lengths only, so that padding on the left does not matter to them.
_BLIND = {
    *("TemperatureLogitsWarper", "TopKLogitsWarper", "TopPLogitsWarper", "MinPLogitsWarper", "TopHLogitsWarper"),
    *("TypicalLogitsWarper", "EpsilonLogitsWarper", "EtaLogitsWarper", "LogitNormalization"),
    *("InfNanRemoveLogitsProcessor", "SuppressTokensLogitsProcessor", "MinNewTokensLengthLogitsProcessor"),
}
#: Logits processors that use the tokens of a row, padding included, but keep no state.
_LOOKING = {
    *("RepetitionPenaltyLogitsProcessor", "NoRepeatNGramLogitsProcessor", "NoBadWordsLogitsProcessor"),
    *("SequenceBiasLogitsProcessor", "MinLengthLogitsProcessor", "ExponentialDecayLengthPenalty"),
    *("ForcedBOSTokenLogitsProcessor", "ForcedEOSTokenLogitsProcessor", "SuppressTokensAtBeginLogitsProcessor"),
}


@dataclass(frozen=True, eq=False)
class Row:
    """One sample to draw; compared by identity.

    Attributes:
        prompt: its tokens.
        seed: of its random numbers.
        limit: the most new tokens.
    """

    prompt: tuple[int, ...]
    seed: int
    limit: int


@dataclass(frozen=True)
class Drawn:
    """A row that has been drawn.

    Attributes:
        tokens: the new ones, including the one that ended the row.
        logprob: mean log-probability of these under the model's own distribution, in nats.
        stopped: whether an end-of-sequence token or a stop string ended it, rather than the limit.
    """

    tokens: list[int]
    logprob: float
    stopped: bool


class StopStrings:
    """Finds which rows end with one of some strings, as lm-eval's criterion does, but for each row by itself.

    Empty strings are ignored; lm-eval's criterion ends every row at them after one token.
    """

    def __init__(self, tokenizer: Any, strings: Sequence[str]) -> None:
        self._tokenizer, self._strings = tokenizer, [string for string in strings if string]
        # As many tokens as lm-eval looks at: a few more than the string has, as it may be tokenized otherwise.
        spelt = [len(tokenizer.encode(string, add_special_tokens=False)) for string in self._strings]
        self._narrow = max(spelt, default=0) + 2
        # Every token stands for at least one byte.
        longest = max((len(string.encode("utf-8", "replace")) for string in self._strings), default=0)
        self._wide = max(self._narrow, longest + 2) + _WIDE_EVERY

    def reached(self, rows: Sequence[list[int]]) -> list[bool]:
        """Return for each row of new tokens, all of one length, whether a stop string has just ended it."""
        if not self._strings or not rows:
            return [False] * len(rows)
        window = self._wide if len(rows[0]) % _WIDE_EVERY == 0 else self._narrow
        texts = self._tokenizer.batch_decode([tokens[-window:] for tokens in rows])
        return [any(string in text for string in self._strings) for text in texts]


def draw(
    generate: Callable[..., Any],
    rows: Sequence[Row],
    finished: Callable[[Row, Drawn], None],
    *,
    stops: StopStrings,
    pad_token_id: int,
    device: torch.device | str = "cpu",
    share: bool = True,
    encoder_decoder: bool = False,
) -> None:
    """Draw all rows in one batch, and call `finished` with each row as soon as it has ended.

    Args:
        generate: `model.generate` with whatever settings; called with input_ids, attention_mask,
            max_length and custom_generate.
        rows: in any order.
        finished: called once per row.
        stops: the strings that end a row.
        pad_token_id: put before shorter prompts, and masked.
        device: where the model expects its input.
        share: read each distinct prompt once and let finished rows go. Otherwise every row is read by
            itself and stays to the end, which every model can do; what is drawn is the same.
        encoder_decoder: whether new tokens begin a sequence of their own.

    Raises:
        NotShareableError: this model or these settings need share=False.
        WiseMergeError: the settings ask for more than greedy decoding and sampling.
    """
    prompts = list(dict.fromkeys(row.prompt for row in rows)) if share else [row.prompt for row in rows]
    places = {prompt: place for place, prompt in enumerate(prompts)}
    origin = [places[row.prompt] for row in rows] if share else list(range(len(rows)))
    ids, mask = _padded(prompts, pad_token_id)
    loop = _Loop(rows, origin, finished, stops, padded=not bool(mask.all()), share=share)
    try:
        generate(
            input_ids=ids.to(device),
            attention_mask=mask.to(device),
            max_length=max(row.limit for row in rows) + (1 if encoder_decoder else ids.shape[1]),
            custom_generate=loop,
        )
    except (TypeError, ValueError) as error:
        if loop.begun:
            raise
        raise WiseMergeError(f"transformers refuses the generation settings: {' '.join(str(error).split())}") from error
    except _PaddingSeenError:
        for length in dict.fromkeys(map(len, prompts)):
            alike = [row for row in rows if len(row.prompt) == length]
            draw(
                generate,
                alike,
                finished,
                stops=stops,
                pad_token_id=pad_token_id,
                device=device,
                share=share,
                encoder_decoder=encoder_decoder,
            )


def _padded(prompts: Sequence[Sequence[int]], pad_token_id: int) -> tuple[Tensor, Tensor]:
    """Return tokens and mask of prompts, int64 [prompts, tokens of the longest], padded on the left."""
    width = max(map(len, prompts))
    ids = torch.tensor([[pad_token_id] * (width - len(prompt)) + list(prompt) for prompt in prompts])
    mask = torch.tensor([[0] * (width - len(prompt)) + [1] * len(prompt) for prompt in prompts])
    return ids, mask


class _PaddingSeenError(Exception):
    """The samples would depend on how far a prompt is padded."""


class _Loop:
    """The loop that `generate` calls in place of its own."""

    def __init__(
        self,
        rows: Sequence[Row],
        origin: Sequence[int],
        finished: Callable[[Row, Drawn], None],
        stops: StopStrings,
        *,
        padded: bool,
        share: bool,
    ) -> None:
        # Of the rows that are still in the batch, in their order.
        self._rows, self._tokens = list(rows), [[] for _ in rows]  # type: list[Row], list[list[int]]
        self._origin, self._finished, self._stops = origin, finished, stops
        self._padded, self._share = padded, share
        self._done = [False] * len(rows)
        self.begun = False

    def __call__(
        self,
        model: Any,
        input_ids: Tensor,
        logits_processor: Any,
        stopping_criteria: Any,
        generation_config: Any,
        **model_kwargs: Any,
    ) -> Tensor:
        self.begun = True
        _check_mode(generation_config)
        self._check_processors([type(processor).__name__ for processor in logits_processor])
        # Where softmax is in float32, as in Gemma 2, the mask of a model in float64 overflows: padding becomes NaN.
        if self._padded and model.dtype == torch.float64:
            raise _PaddingSeenError
        if self._share and model.config.is_encoder_decoder:
            raise cache_rows.NotShareableError("it is an encoder-decoder model")
        sampled = bool(generation_config.do_sample)
        ends = {token for criterion in stopping_criteria for token in _end_tokens(criterion)}
        input_ids, logits, model_kwargs = self._prefill(model, input_ids, generation_config, model_kwargs)
        device = input_ids.device
        # Apple's GPUs have no float64.
        wide = torch.float32 if device.type == "mps" else torch.float64
        total = torch.zeros(len(input_ids), dtype=wide, device=device)
        step = 0
        with model._optimize_model_for_decode():
            while True:
                if sampled and step % _BLOCK == 0:
                    numbers = self._numbers(step).to(device, wide)
                scores = logits_processor(input_ids, logits)
                if sampled:
                    new = _invert(torch.softmax(scores, dim=-1), numbers[:, step % _BLOCK], wide)
                else:
                    new = torch.argmax(scores, dim=-1)
                total += logits.gather(1, new[:, None])[:, 0] - torch.logsumexp(logits, dim=-1)
                input_ids = torch.cat([input_ids, new[:, None]], dim=-1)
                step += 1
                if self._finish_rows(new, stopping_criteria(input_ids, None), ends, total, step, sampled=sampled):
                    if all(self._done):
                        return input_ids
                    if self._share:
                        stay = cache_rows.filled(self._done)
                        index = torch.tensor(stay, device=device)
                        model_kwargs = cache_rows.pick(model_kwargs, index, len(input_ids))
                        input_ids, total = input_ids[index], total[index]
                        if sampled:
                            numbers = numbers[index]
                        self._keep(stay)
                inputs = model.prepare_inputs_for_generation(input_ids, next_sequence_length=1, **model_kwargs)
                logits, model_kwargs = _read(model, model(**inputs, return_dict=True), model_kwargs, device)

    def _prefill(
        self, model: Any, input_ids: Tensor, generation_config: Any, model_kwargs: dict[str, Any]
    ) -> tuple[Tensor, Tensor, dict[str, Any]]:
        """Read the prompts; return ids, scores of the next token, a row per sample, and the model's cache."""
        outputs = model._prefill(input_ids, generation_config, model_kwargs)
        logits, model_kwargs = _read(model, outputs, model_kwargs, input_ids.device)
        if not self._share:
            return input_ids, logits, model_kwargs
        cache_rows.check(model_kwargs)
        prompts = len(input_ids)
        if list(self._origin) != list(range(prompts)):
            index = torch.tensor(self._origin, device=input_ids.device)
            input_ids, logits = input_ids[index], logits[index]
            model_kwargs = cache_rows.pick(model_kwargs, index, prompts)
            cache_rows.check_expanded(model_kwargs, prompts, len(index))
        cache_rows.make_room(model_kwargs)
        return input_ids, logits, model_kwargs

    def _finish_rows(
        self, new: Tensor, ended: Tensor, ends: set[int], total: Tensor, step: int, *, sampled: bool
    ) -> bool:
        """Add a token to each row and hand over the rows that are finished by it; return whether there are any.

        Args:
            new: the tokens, [rows].
            ended: whether transformers' criteria end each row, [rows].
            ends: end-of-sequence tokens.
            total: sum of the log-probabilities of each row's tokens, [rows].
            step: how many tokens each row has.
            sampled: whether tokens are drawn, rather than the most probable ones taken.
        """
        new_tokens, has_ended = torch.stack([new, ended.to(new.dtype)]).tolist()
        for tokens, token in zip(self._tokens, new_tokens, strict=True):
            tokens.append(token)
        stopped = [
            at_stop_string or token in ends
            for at_stop_string, token in zip(self._stops.reached(self._tokens), new_tokens, strict=True)
        ]
        finished = [
            place
            for place, row in enumerate(self._rows)
            if not self._done[place] and (stopped[place] or has_ended[place] or step >= row.limit)
        ]
        sums = total.tolist() if finished else []
        for place in finished:
            self._done[place] = True
            if sampled and math.isnan(sums[place]):
                raise WiseMergeError(
                    "the model's scores are not numbers (NaN), so nothing can be drawn; its weights are "
                    "broken, or another dtype is needed (--model_args dtype=float32)"
                )
            drawn = Drawn(list(self._tokens[place]), sums[place] / step, stopped[place])
            self._finished(self._rows[place], drawn)
        return bool(finished)

    def _keep(self, stay: Sequence[int]) -> None:
        """Drop all rows but those at these places."""
        self._rows = [self._rows[place] for place in stay]
        self._tokens = [self._tokens[place] for place in stay]
        self._done = [False] * len(stay)

    def _check_processors(self, names: Sequence[str]) -> None:
        unknown = [name for name in names if name not in _BLIND | _LOOKING]
        if unknown and self._share:
            raise cache_rows.NotShareableError(f"{unknown[0]}, which the settings ask for, may remember rows")
        if self._padded and not _BLIND.issuperset(names):
            raise _PaddingSeenError

    def _numbers(self, step: int) -> Tensor:
        """Return the next random numbers of every row in the batch, [rows, _BLOCK]."""
        return torch.from_numpy(np.stack([seeds.uniforms(row.seed, step, _BLOCK) for row in self._rows]))


def _check_mode(generation_config: Any) -> None:
    mode = generation_config.get_generation_mode()
    if mode.value not in ("sample", "greedy_search") or generation_config.num_return_sequences != 1:
        raise WiseMergeError(
            f"generation settings ask for {mode.value.replace('_', ' ')} with num_return_sequences="
            f"{generation_config.num_return_sequences}; hf-passk draws each sample by itself, greedily or at random: "
            "remove num_beams, num_return_sequences and the like, or use --model hf"
        )


def _end_tokens(criterion: Any) -> list[int]:
    tokens = getattr(criterion, "eos_token_id", None)
    return [] if tokens is None else torch.as_tensor(tokens).reshape(-1).tolist()


def _read(
    model: Any, outputs: Any, model_kwargs: dict[str, Any], device: torch.device
) -> tuple[Tensor, dict[str, Any]]:
    """Return the scores of the next token, float32 [rows, vocabulary], and what the next step needs."""
    model_kwargs = model._update_model_kwargs_for_generation(
        outputs, model_kwargs, is_encoder_decoder=model.config.is_encoder_decoder
    )
    # A copy, so that the scores of the whole prompt can be freed.
    return outputs.logits[:, -1].to(copy=True, dtype=torch.float32, device=device), model_kwargs


def _invert(probabilities: Tensor, numbers: Tensor, wide: torch.dtype) -> Tensor:
    """Return the token that each row's random number in [0, 1) falls on, [rows]; never one of probability 0."""
    cumulative = probabilities.cumsum(dim=-1, dtype=wide)
    whole = cumulative[:, -1:]
    # Rounding may lift the product to the total, at which there is no token.
    targets = torch.minimum(numbers[:, None] * whole, torch.nextafter(whole, torch.zeros_like(whole)))
    tokens = torch.searchsorted(cumulative, targets, right=True)[:, 0]
    # Only NaN leads beyond the vocabulary; `_finish_rows` refuses it.
    return tokens.clamp_(max=probabilities.shape[-1] - 1)
