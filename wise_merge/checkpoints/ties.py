"""Which tensors are tied, by their names and by what a config says: an LM head and the embeddings that it shares.

Knows no file; whether the two are equal in a checkpoint, `heads` finds out.
"""

import re
from collections.abc import Collection, Mapping
from typing import Any

_HEAD = re.compile(r"(?:^|\.)(?:lm_head|embed_out)\.weight$")
_EMBEDDINGS = re.compile(r"(?:^|\.)(?:embed_tokens|embed_in|wte|word_embeddings|tok_embeddings|shared)\.weight$")
#: Within a layer they are those of something else, such as DeepSeek-V3's prediction of further tokens.
_IN_LAYER = re.compile(r"\.\d+\.")


def is_head(name: str) -> bool:
    """Return whether a tensor is the weight of an LM head that models tie."""
    return bool(_HEAD.search(name)) and not _IN_LAYER.search(name)


def counterpart(name: str, names: Collection[str]) -> str | None:
    """Return what a head or embeddings would be tied to among the tensors of a model; None if that is not one."""
    if _IN_LAYER.search(name):
        return None
    wanted = _EMBEDDINGS if _HEAD.search(name) else _HEAD if _EMBEDDINGS.search(name) else None
    candidates = [other for other in names if wanted and wanted.search(other) and not _IN_LAYER.search(other)]
    return candidates[0] if len(candidates) == 1 else None


def tied(config: Mapping[str, Any]) -> bool | None:
    """Return whether a config ties the LM head to the embeddings; None if it leaves that to the architecture."""
    for holder in (config, config.get("text_config")):
        if isinstance(holder, Mapping) and holder.get("tie_word_embeddings") is not None:
            return bool(holder["tie_word_embeddings"])
    return None


def without_tie(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return the config of a model whose LM head has a weight of its own."""
    changed = {**config, "tie_word_embeddings": False}
    if isinstance(config.get("text_config"), Mapping) and "tie_word_embeddings" in config["text_config"]:
        changed["text_config"] = {**config["text_config"], "tie_word_embeddings": False}
    return changed
