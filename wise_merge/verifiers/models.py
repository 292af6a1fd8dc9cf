"""How the models of scorers are loaded and fed: devices, padding and errors.

Sequences are padded on the right and masked, longest first, so that a batch that does not fit
fails at once and not after an hour.
"""

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from wise_merge.errors import WiseMergeError

#: From (problem, completions) to one score per completion, in order.
Scorer = Callable[[str, Sequence[str]], Sequence[float]]


@dataclass(frozen=True)
class ModelOptions:
    """Where and how a model runs; the fields are the arguments of `wise_merge.verifiers.find`."""

    device: str | None
    dtype: str
    batch_size: int
    trust_remote_code: bool


@dataclass(frozen=True)
class Batch:
    """Some of the sequences, as (batch, tokens) int64 tensors on the model's device.

    Attributes:
        rows: the indices of the sequences in the list they came from.
        ids: token ids, padded on the right.
        mask: 1 at tokens, 0 at padding.
    """

    rows: list[int]
    ids: Any
    mask: Any


def load(loader: Callable[..., Any], name: str, **settings: Any) -> Any:
    """Return `loader(name, **settings)` for a folder or a Hub id with an optional `@revision`."""
    if not Path(name).exists() and "@" in name:
        name, _, settings["revision"] = name.partition("@")
    try:
        return loader(name, **settings)
    except (OSError, ValueError, ImportError) as error:
        said = " ".join(str(error).split())
        if "trust_remote_code" in said:
            raise WiseMergeError(
                f"{name!r} brings Python code of its own; read it, then allow it with trust_remote_code"
            ) from error
        offline = os.environ.get("HF_HUB_OFFLINE", "0") not in ("", "0")
        searched = (
            "a folder or a model in the local cache (HF_HUB_OFFLINE is set)" if offline else "a folder or a Hub id"
        )
        raise WiseMergeError(f"cannot load {name!r}; it must be {searched}: {said[:300]}") from error


def load_weights(loader: Callable[..., Any], name: str, options: ModelOptions, **settings: Any) -> Any:
    """Return the model for inference on its device; weights that the checkpoint lacks are an error."""
    import torch

    if options.dtype != "auto" and not isinstance(getattr(torch, options.dtype, None), torch.dtype):
        raise WiseMergeError(f"dtype must be auto, float32, bfloat16, float16 or float64; got {options.dtype!r}")
    device = options.device or ("cuda" if torch.cuda.is_available() else "cpu")
    model, info = load(
        loader,
        name,
        dtype=options.dtype,
        device_map=device,
        trust_remote_code=options.trust_remote_code,
        output_loading_info=True,
        **settings,
    )
    # transformers fills them with random numbers and only warns; the scores would look like any others.
    if info["missing_keys"]:
        raise WiseMergeError(
            f"{name!r} lacks the weights {', '.join(sorted(info['missing_keys'])[:3])} of a "
            f"{type(model).__name__}; it was trained for something else"
        )
    return model.eval()


def well_formed(text: str) -> str:
    """Return the text with "?" for lone surrogates, which no tokenizer takes."""
    return text.encode("utf-8", errors="replace").decode("utf-8")


def longest_sequence(config: Any, tokenizer: Any) -> int:
    """Return how many tokens the model reads."""
    positions = getattr(config.get_text_config(), "max_position_embeddings", None)
    return int(min(positions or tokenizer.model_max_length, tokenizer.model_max_length))


def batches(sequences: Sequence[Sequence[int]], *, size: int, padding: int, device: Any) -> Iterator[Batch]:
    """Yield all sequences (none empty) in batches of similar length, the longest first."""
    import torch

    order = sorted(range(len(sequences)), key=lambda row: -len(sequences[row]))
    for start in range(0, len(order), size):
        rows = order[start : start + size]
        shape = (len(rows), len(sequences[rows[0]]))
        ids, mask = torch.full(shape, padding), torch.zeros(shape, dtype=torch.int64)
        for i, row in enumerate(rows):
            ids[i, : len(sequences[row])] = torch.tensor(sequences[row])
            mask[i, : len(sequences[row])] = 1
        yield Batch(rows, ids.to(device), mask.to(device))
