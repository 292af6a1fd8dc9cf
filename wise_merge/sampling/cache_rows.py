"""Rows of a model's key-value cache: repeated for the samples of a prompt, dropped when they are finished.

transformers can pick rows of a cache (`reorder_cache`), for beam search; here a prompt's row becomes the
K rows of its samples. A cache whose rows cannot be picked is refused.
"""

import functools
import logging
from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor
from transformers import Cache, DynamicCache, cache_utils

from wise_merge.hosts import transformers_parts, versions
from wise_merge.hosts.part import first_fault

log = logging.getLogger("lm_eval.wise_merge")


class _Absent:
    """Stands for a class that this transformers does not have."""


# `transformers_parts` checks that both exist before they are used.
DynamicLayer: Any = getattr(cache_utils, "DynamicLayer", _Absent)
StaticLayer: Any = getattr(cache_utils, "StaticLayer", _Absent)

#: A cache is enlarged by room for so many tokens at a time.
_ROOM = 128


class NotShareableError(Exception):
    """Rows cannot share a prefill or leave the batch; says why. Nothing has been drawn yet."""


def check(model_kwargs: Mapping[str, Any]) -> None:
    """Raise unless rows can be picked from all that the model keeps between steps."""
    caches = [value for value in model_kwargs.values() if isinstance(value, Cache)]
    if not caches:
        raise NotShareableError("it keeps no cache of transformers' kind")
    for cache in caches:
        # A subclass may keep more than its layers, such as MiniMax's.
        if type(cache) is not DynamicCache or any(isinstance(layer, StaticLayer) for layer in cache.layers):
            raise NotShareableError(f"its cache, a {type(cache).__name__}, cannot be expanded")
    for name, value in model_kwargs.items():
        if not isinstance(value, Cache | Tensor | bool | int | float | str | None):
            raise NotShareableError(f"it keeps its {name} in a {type(value).__name__}")


def pick(model_kwargs: Mapping[str, Any], index: Tensor, rows: int) -> dict[str, Any]:
    """Return `model_kwargs` for the rows `index` out of `rows` rows; rows may be repeated."""
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


def check_expanded(model_kwargs: Mapping[str, Any], before: int, after: int) -> None:
    """Raise if a cache still has tensors of as many rows as there were prompts."""
    if before == after:
        return
    for cache in (value for value in model_kwargs.values() if isinstance(value, Cache)):
        for layer in cache.layers:
            for name, value in vars(layer).items():
                held = value.values() if isinstance(value, dict) else [value]
                if any(isinstance(each, Tensor) and each.dim() > 1 and each.shape[0] == before for each in held):
                    raise NotShareableError(f"its cache keeps {name} of {type(layer).__name__} by itself")


class _RoomyLayer(DynamicLayer):
    """A `DynamicLayer` with room for tokens to come, so that not every token costs a copy of all before it."""

    keys: Tensor
    values: Tensor

    def __init__(self, layer: Any) -> None:
        super().__init__()
        # All fields of the layer, which differ between versions: dtype is one until 5.23, not from 5.24 on.
        self.__dict__.update(layer.__dict__)
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
        """Keep the rows `beam_idx`: each stays in its place or comes from behind the rows that are kept."""
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


def make_room(model_kwargs: Mapping[str, Any]) -> None:
    """Give the caches room for tokens to come; see `_RoomyLayer`, which takes the place of each `DynamicLayer`."""
    if not _room_is_possible():
        return
    for cache in (value for value in model_kwargs.values() if isinstance(value, Cache)):
        if not getattr(cache, "offloading", False):
            cache.layers = [
                _RoomyLayer(layer) if type(layer) is DynamicLayer and layer.get_seq_length() else layer
                for layer in cache.layers
            ]


@functools.cache
def _room_is_possible() -> bool:
    fault = first_fault(transformers_parts.ROOM)
    if fault is not None:
        here = versions.described("transformers")
        log.warning("%s: every token copies the cache, which is slower, for %s", here, fault)
    return fault is None


def filled(done: Sequence[bool]) -> list[int]:
    """Return the places of the rows that are not done, in an order that leaves most of them where they are.

    Places of rows that are done are filled with the last of the others: 0, done, 2, 3 gives 0, 3, 2.
    """
    stay = [place for place, gone in enumerate(done) if not gone]
    last = [place for place in stay if place >= len(stay)]
    return [place if not done[place] else last.pop() for place in range(len(stay))]
