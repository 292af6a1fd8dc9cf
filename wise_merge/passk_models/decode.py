"""The loop over tokens: each distinct prompt is read once, and every row draws from random numbers of its own.

transformers prepares everything (logits processors, stopping criteria, cache) and hands it to `_Loop`
as its `custom_generate`, so what is drawn from is what `generate` itself would draw from. Two things
are different: rows of one prompt share its prefill, and a row that is finished leaves the batch.

Used of transformers beyond its public interface: `_prefill`, `_update_model_kwargs_for_generation`,
`_optimize_model_for_decode`, and the `layers` of a cache, of which `DynamicLayer` is put in our own way.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from transformers import Cache, EncoderDecoderCache, StaticCache
from transformers.cache_utils import DynamicLayer, StaticLayer
from transformers.generation import GenerationMode

from wise_merge import seeds
from wise_merge.errors import WiseMergeError

#: Random numbers made at a time for a row.
_BLOCK = 64
#: Steps between two looks for stop strings in tokens that a tokenizer would not have made of them.
_WIDE_EVERY = 32

#: Tokens for which a cache has room beyond those that it holds.
_ROOM = 128

#: Logits processors that look at scores and lengths only, so that padding on the left is nothing to them.
_BLIND = {
    *("TemperatureLogitsWarper", "TopKLogitsWarper", "TopPLogitsWarper", "MinPLogitsWarper", "TopHLogitsWarper"),
    *("TypicalLogitsWarper", "EpsilonLogitsWarper", "EtaLogitsWarper", "LogitNormalization"),
    *("InfNanRemoveLogitsProcessor", "SuppressTokensLogitsProcessor", "MinNewTokensLengthLogitsProcessor"),
}
#: Those that look at the tokens of a row, padding included, but remember nothing of it.
_LOOKING = {
    *("RepetitionPenaltyLogitsProcessor", "NoRepeatNGramLogitsProcessor", "NoBadWordsLogitsProcessor"),
    *("SequenceBiasLogitsProcessor", "MinLengthLogitsProcessor", "ExponentialDecayLengthPenalty"),
    *("ForcedBOSTokenLogitsProcessor", "ForcedEOSTokenLogitsProcessor", "SuppressTokensAtBeginLogitsProcessor"),
}


class NotShareableError(Exception):
    """Rows cannot share a prefill or leave the batch; says why. Nothing has been drawn yet."""


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
    """What came of a row.

    Attributes:
        tokens: the new ones, with that which ended the row.
        logprob: mean log-probability of these under the model's own distribution, in nats.
        stopped: whether an end-of-sequence token or a stop string ended it, rather than the limit.
    """

    tokens: list[int]
    logprob: float
    stopped: bool


class StopStrings:
    """Tells which rows end with one of some strings, as lm-eval's criterion does, but of each row by itself.

    Empty strings, at which that ends everything after a token, are passed over.
    """

    def __init__(self, tokenizer: Any, strings: Sequence[str]) -> None:
        self._tokenizer, self._strings = tokenizer, [string for string in strings if string]
        # As many tokens as lm-eval looks at; a few more than the string has, for it may be spelt otherwise.
        spelt = [len(tokenizer.encode(string, add_special_tokens=False)) for string in self._strings]
        self._narrow = max(spelt, default=0) + 2
        # A token stands for a byte at least.
        longest = max((len(string.encode("utf-8", "replace")) for string in self._strings), default=0)
        self._wide = max(self._narrow, longest + 2) + _WIDE_EVERY

    def found(self, rows: Sequence[list[int]]) -> list[bool]:
        """Return for each row of new tokens, all of one length, whether it has just come to an end."""
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
    """Draw all rows in one batch and call `finished` with each as soon as it is.

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
    width = max(map(len, prompts))
    padded = any(len(prompt) < width for prompt in prompts)
    ids = torch.tensor([[pad_token_id] * (width - len(prompt)) + list(prompt) for prompt in prompts])
    mask = torch.tensor([[0] * (width - len(prompt)) + [1] * len(prompt) for prompt in prompts])
    loop = _Loop(rows, origin, finished, stops, padded=padded, share=share)
    try:
        generate(
            input_ids=ids.to(device),
            attention_mask=mask.to(device),
            max_length=max(row.limit for row in rows) + (1 if encoder_decoder else width),
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


class _PaddingSeenError(Exception):
    """What is drawn would depend on how far a prompt was padded."""


class _Loop:
    """What `generate` calls in place of its own loop."""

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
        # What belongs to the rows that are still there, in their order.
        self._rows, self._tokens = list(rows), [[] for _ in rows]  # type: list[Row], list[list[int]]
        self._origin, self._finished, self._stops = origin, finished, stops
        self._padded, self._share = padded, share
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
            raise NotShareableError("it is an encoder-decoder model")
        sampled = bool(generation_config.do_sample)
        ends = {token for criterion in stopping_criteria for token in _end_tokens(criterion)}
        logits, model_kwargs = _read(
            model, model._prefill(input_ids, generation_config, model_kwargs), model_kwargs, input_ids.device
        )
        if self._share:
            _check_state(model_kwargs)
            if list(self._origin) != list(range(len(input_ids))):
                index = torch.tensor(self._origin, device=input_ids.device)
                prompts = len(input_ids)
                input_ids, logits = input_ids[index], logits[index]
                model_kwargs = _pick(model_kwargs, index, prompts)
                _check_expanded(model_kwargs, prompts, len(index))
            _make_room(model_kwargs)
        # float64 is not to be had on Apple's GPUs.
        wide = torch.float32 if input_ids.device.type == "mps" else torch.float64
        total = torch.zeros(len(input_ids), dtype=wide, device=input_ids.device)
        done = [False] * len(self._rows)
        step = 0
        with model._optimize_model_for_decode():
            while True:
                if sampled and step % _BLOCK == 0:
                    numbers = self._numbers(step).to(input_ids.device, wide)
                scores = logits_processor(input_ids, logits)
                if sampled:
                    new = _invert(torch.softmax(scores, dim=-1), numbers[:, step % _BLOCK], wide)
                else:
                    new = torch.argmax(scores, dim=-1)
                total += logits.gather(1, new[:, None])[:, 0] - torch.logsumexp(logits, dim=-1)
                input_ids = torch.cat([input_ids, new[:, None]], dim=-1)
                step += 1
                new_tokens, ended = torch.stack([new, stopping_criteria(input_ids, None).to(new.dtype)]).tolist()
                for tokens, token in zip(self._tokens, new_tokens, strict=True):
                    tokens.append(token)
                stopped = [
                    found or token in ends
                    for found, token in zip(self._stops.found(self._tokens), new_tokens, strict=True)
                ]
                leaving = [
                    place
                    for place, row in enumerate(self._rows)
                    if not done[place] and (stopped[place] or ended[place] or step >= row.limit)
                ]
                if leaving:
                    sums = total.tolist()
                    for place in leaving:
                        done[place] = True
                        if sampled and sums[place] != sums[place]:
                            raise WiseMergeError(
                                "the model's scores are not numbers (NaN), so nothing can be drawn; its weights are "
                                "broken, or another dtype is needed (--model_args dtype=float32)"
                            )
                        drawn = Drawn(list(self._tokens[place]), sums[place] / step, stopped[place])
                        self._finished(self._rows[place], drawn)
                    if all(done):
                        return input_ids
                    if self._share:
                        stay = _filled(done)
                        index = torch.tensor(stay, device=input_ids.device)
                        model_kwargs = _pick(model_kwargs, index, len(input_ids))
                        input_ids, total = input_ids[index], total[index]
                        if sampled:
                            numbers = numbers[index]
                        self._rows = [self._rows[place] for place in stay]
                        self._tokens = [self._tokens[place] for place in stay]
                        done = [False] * len(stay)
                inputs = model.prepare_inputs_for_generation(input_ids, next_sequence_length=1, **model_kwargs)
                logits, model_kwargs = _read(model, model(**inputs, return_dict=True), model_kwargs, input_ids.device)

    def _check_processors(self, names: Sequence[str]) -> None:
        unknown = [name for name in names if name not in _BLIND | _LOOKING]
        if unknown and self._share:
            raise NotShareableError(f"{unknown[0]}, which the settings ask for, may remember rows")
        if self._padded and not _BLIND.issuperset(names):
            raise _PaddingSeenError

    def _numbers(self, step: int) -> Tensor:
        """Return the next random numbers of every row that is there, [rows, _BLOCK]."""
        return torch.from_numpy(np.stack([seeds.uniforms(row.seed, step, _BLOCK) for row in self._rows]))


class _RoomyLayer(DynamicLayer):
    """A `DynamicLayer` with room for tokens to come, so that not every token costs a copy of all before it."""

    def __init__(self, layer: DynamicLayer) -> None:
        super().__init__()
        self.dtype, self.device, self.is_initialized = layer.dtype, layer.device, True
        self.keys, self.values = layer.keys, layer.values
        # [rows, heads, tokens and room, channels]; what is in use are views of them.
        self._room = self.keys, self.values

    def update(self, key_states: Tensor, value_states: Tensor, *_: Any, **__: Any) -> tuple[Tensor, Tensor]:
        """Append keys and values, [rows, heads, new tokens, channels each], and return them all."""
        before = self.keys.shape[-2]
        after = before + key_states.shape[-2]
        if after > self._room[0].shape[-2]:
            self._room = _wider(self.keys, after + _ROOM), _wider(self.values, after + _ROOM)
        for room, new in zip(self._room, (key_states, value_states), strict=True):
            room[:, :, before:after] = new
        self.keys, self.values = (room[:, :, :after] for room in self._room)
        return self.keys, self.values

    def reorder_cache(self, beam_idx: Tensor) -> None:
        """Keep the rows `beam_idx`, each of which is in its place or comes from beyond those that are kept."""
        tokens, rows = self.keys.shape[-2], len(beam_idx)
        for place, origin in enumerate(beam_idx.tolist()):
            if place != origin:
                for room in self._room:
                    room[place, :, :tokens] = room[origin, :, :tokens]
        self._room = self._room[0][:rows], self._room[1][:rows]
        self.keys, self.values = (room[:, :, :tokens] for room in self._room)


def _wider(states: Tensor, tokens: int) -> Tensor:
    rows, heads, before, channels = states.shape
    wider = states.new_empty(rows, heads, tokens, channels)
    wider[:, :, :before] = states
    return wider


def _make_room(model_kwargs: Mapping[str, Any]) -> None:
    for cache in (value for value in model_kwargs.values() if isinstance(value, Cache)):
        if not getattr(cache, "offloading", False):
            cache.layers = [
                _RoomyLayer(layer) if type(layer) is DynamicLayer and layer.get_seq_length() else layer
                for layer in cache.layers
            ]


def _filled(done: Sequence[bool]) -> list[int]:
    """Return the places of the rows that are not done, in an order that leaves most of them where they are.

    Places of rows that are done are filled with the last of the others: 0, done, 2, 3 gives 0, 3, 2.
    """
    stay = [place for place, gone in enumerate(done) if not gone]
    last = [place for place in stay if place >= len(stay)]
    return [place if not done[place] else last.pop() for place in range(len(stay))]


def _check_mode(generation_config: Any) -> None:
    mode = generation_config.get_generation_mode()
    if mode not in (GenerationMode.SAMPLE, GenerationMode.GREEDY_SEARCH) or generation_config.num_return_sequences != 1:
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
    # A copy, or the scores of the whole prompt would be kept.
    return outputs.logits[:, -1].to(copy=True, dtype=torch.float32, device=device), model_kwargs


def _invert(probabilities: Tensor, numbers: Tensor, wide: torch.dtype) -> Tensor:
    """Return the token that each row's random number in [0, 1) falls on, [rows]; never one of probability 0."""
    cumulative = probabilities.cumsum(dim=-1, dtype=wide)
    whole = cumulative[:, -1:]
    # The product may be rounded up to the whole, beyond which there is no token.
    targets = torch.minimum(numbers[:, None] * whole, torch.nextafter(whole, torch.zeros_like(whole)))
    found = torch.searchsorted(cumulative, targets, right=True)[:, 0]
    # Only scores that are not numbers lead beyond; these are found out later.
    return found.clamp_(max=probabilities.shape[-1] - 1)


def _check_state(model_kwargs: Mapping[str, Any]) -> None:
    """Raise unless the rows of all that a model has kept of the prompts can be picked."""
    caches = [value for value in model_kwargs.values() if isinstance(value, Cache)]
    if not caches:
        raise NotShareableError("it keeps no cache of transformers' kind")
    for cache in caches:
        if isinstance(cache, EncoderDecoderCache | StaticCache) or any(
            isinstance(layer, StaticLayer) for layer in getattr(cache, "layers", [])
        ):
            raise NotShareableError(f"its cache, a {type(cache).__name__}, cannot be expanded")
    for name, value in model_kwargs.items():
        if not isinstance(value, Cache | Tensor | bool | int | float | str | None):
            raise NotShareableError(f"it keeps its {name} in a {type(value).__name__}")


def _pick(model_kwargs: Mapping[str, Any], index: Tensor, rows: int) -> dict[str, Any]:
    """Return what the next step needs of the rows `index` out of so many; rows may be repeated."""
    return {name: _picked(name, value, index, rows) for name, value in model_kwargs.items()}


def _picked(name: str, value: Any, index: Tensor, rows: int) -> Any:
    if isinstance(value, Cache):
        value.reorder_cache(index)
    elif isinstance(value, Tensor) and value.dim():
        # Position ids may come in three kinds: [3, rows, length].
        dimension = value.dim() - 2 if name == "position_ids" else 0
        if value.shape[dimension] != rows:
            raise NotShareableError(f"its {name} have the shape {tuple(value.shape)} for {rows} rows")
        return value.index_select(dimension, index.to(value.device))
    return value


def _check_expanded(model_kwargs: Mapping[str, Any], before: int, after: int) -> None:
    """Raise if a cache still has tensors of as many rows as there were prompts."""
    if before == after:
        return
    for cache in (value for value in model_kwargs.values() if isinstance(value, Cache)):
        for layer in cache.layers:
            for name, value in vars(layer).items():
                held = value.values() if isinstance(value, dict) else [value]
                if any(isinstance(each, Tensor) and each.dim() > 1 and each.shape[0] == before for each in held):
                    raise NotShareableError(f"its cache keeps {name} of {type(layer).__name__} by itself")
