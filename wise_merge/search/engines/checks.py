"""Whether the settings of engines can be meant together; everything is checked here that needs no checkpoint."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

from wise_merge.errors import WiseMergeError
from wise_merge.recipes.reading import FLOATING_DTYPES
from wise_merge.search.engines.settings import EngineSettings
from wise_merge.trackers.contract import check_trackers


def check_temperatures(key: str, temperatures: Sequence[float], samples: int) -> None:
    """Raise a `WiseMergeError` for temperatures at which nothing can be sampled, or not so many samples."""
    for temperature in temperatures:
        if temperature < 0 or not math.isfinite(temperature):
            raise WiseMergeError(f"{key} must be at least 0 (0 = greedy) and finite; got {temperature:g}")
    if 0 in temperatures and samples > 1:
        raise WiseMergeError(
            f"temperature 0 is greedy: {samples} completions of a problem would be one and the same; leave 0 "
            f"out of {key}, or set samples to 1"
        )


def check_engine(settings: EngineSettings) -> None:
    """Raise a `WiseMergeError` for an engine or a tracker that cannot be had."""
    check_trackers(settings.report_to)
    if settings.seed >= 1 << 32:
        raise WiseMergeError(f"seed must be less than 2^32, which engines and numpy take; got {settings.seed}")
    if settings.backend not in ("hf", "vllm"):
        raise WiseMergeError(f"backend must be hf or vllm; got {settings.backend!r}")
    for key in ("dtype", "out_dtype"):
        if getattr(settings, key) not in (None, *FLOATING_DTYPES):
            raise WiseMergeError(f"{key} must be one of {', '.join(FLOATING_DTYPES)}; got {getattr(settings, key)!r}")
    if settings.processes > 1 and (
        settings.ray is not None or settings.backend != "hf" or settings.device not in (None, "cpu")
    ):
        raise WiseMergeError(
            "processes is for tiny models on the CPUs of this machine; leave it out, or ray, and backend and device too"
        )
    if settings.gpus is not None and not 0 <= settings.gpus < math.inf:
        raise WiseMergeError(f"gpus must be at least 0; got {settings.gpus:g}")


def check_mappings(settings: EngineSettings, *, what: str, own: Mapping[str, str]) -> None:
    """Raise a `WiseMergeError` for what stands in a mapping and is set elsewhere, and for a folder that is none.

    Args:
        settings: to check.
        what: they are of, for messages.
        own: what it calls the temperature of sampling and the checkpoints ("pretrained").
    """
    shared = {"temperature": own["temperature"], "seed": "seed", "repeats": "samples"}
    elsewhere = {
        "gen_kwargs": {**shared, "do_sample": own["temperature"]},
        "metadata": shared,
        "model_args": {
            "pretrained": own["pretrained"],
            "seed": "seed",
            "journal": "journal in the folder of results",
        },
    }
    for place, keys in elsewhere.items():
        for key, instead in keys.items():
            if key in getattr(settings, place):
                raise WiseMergeError(f"{place} names {key}, which is {instead} of the {what}; set it there alone")
    if settings.include_path is not None and not Path(settings.include_path).is_dir():
        raise WiseMergeError(f"include_path {settings.include_path} is no folder; name the one of your task files")
