"""wise_merge.json: from what a model was merged, how, and what was measured; enough to make it again."""

import json
import math
import os
import platform
import time
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from wise_merge import __version__
from wise_merge.fingerprint import file_sha256
from wise_merge.geometry import Distance, Step
from wise_merge.recipe import Pair, Recipe, temperature_of

NAME = "wise_merge.json"


#: Of "early" and "late": the model, its step and its files.
Inputs = Mapping[str, Mapping[str, Any]]


@dataclass(frozen=True)
class Hashes:
    """The files of one checkpoint and their sums, which are computed while the merge goes on."""

    files: Mapping[Path, "Future[bytes]"]

    def entries(self) -> dict[str, dict[str, Any]]:
        """Return sha256 (as the Hub shows it) and size in bytes of each file by name; waits for what is not done."""
        # Whoever waits takes over from the other end what no thread has begun.
        digests = {
            path: file_sha256(path) if digest.cancel() else digest.result()
            for path, digest in reversed(list(self.files.items()))
        }
        return {path.name: {"sha256": digests[path].hex(), "bytes": path.stat().st_size} for path in self.files}


def hashing_threads() -> int:
    """Return how many threads hash files while another one is busy: one core is left to it."""
    return min(4, max(1, (os.cpu_count() or 1) - 1))


def start_hashing(threads: ThreadPoolExecutor, files: Iterable[Path]) -> Hashes:
    """Return the sums of the files to come."""
    return Hashes({path: threads.submit(file_sha256, path) for path in files})


def versions() -> dict[str, str]:
    """Return the version of Python and of each package that has a part in a merge."""
    found = {"python": platform.python_version(), "wise-merge": __version__}
    for package in ("torch", "safetensors", "mergekit", "transformers", "peft"):
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def figures(groups: Mapping[str, tuple[Distance, list[Step]]], number: int) -> dict[str, dict[str, Any]]:
    """Return what was measured of one model, by group of modules."""
    measured = {}
    for group, (distance, steps) in groups.items():
        step = steps[number]
        measured[group] = {
            "parameters": distance.elements,
            "relative_distance": _number(distance.relative),
            "rounded_back": step.rounded_back(distance),
            "rounding_error": _number(step.rounding_error),
            "effective_alpha": _number(step.effective_alpha(distance)),
        }
    return measured


def _number(value: float | None) -> float | None:
    # JSON has no infinity, which a distance to zeros is.
    return value if value is not None and math.isfinite(value) else None


def write_facts(
    folder: Path,
    recipe: Recipe,
    pair: Pair,
    inputs: Sequence[Inputs],
    *,
    engine: str,
    tokenizer_from: str | None,
    started: float,
    measured: Mapping[str, Any],
) -> None:
    """Write wise_merge.json and mergekit_config.yml, from which `mergekit-yaml` makes the same weights.

    Args:
        folder: of the model.
        recipe: of this model.
        pair: its checkpoints, as the recipe names them; the first where slices average several.
        inputs: of each pair.
        engine: what did the arithmetic.
        tokenizer_from: the name of a checkpoint of the pair; None where neither has a tokenizer.
        started: `time.monotonic()` at the beginning.
        measured: `figures`.
    """
    import yaml

    one_tokenizer = recipe.get("tokenizer") or recipe.get("tokenizer_source")
    if one_tokenizer:
        source = "the recipe's tokenizer section"
    elif tokenizer_from == pair.early:
        source = "early"
    else:
        source = "early, which has no tokenizer; that is from " + ("nowhere" if tokenizer_from is None else "late")
    text = yaml.safe_dump(dict(recipe), sort_keys=False, allow_unicode=True)
    (folder / "mergekit_config.yml").write_text(text, encoding="utf-8")
    content = {
        "merge_method": recipe["merge_method"],
        "alpha": (recipe.get("parameters") or {}).get("alpha"),
        "temperatures": {
            role: temperature_of(recipe, model) for role, model in (("early", pair.early), ("late", pair.late))
        },
        "dtype": recipe.get("dtype"),
        "out_dtype": recipe.get("out_dtype"),
        **inputs[0],
        **({"pairs": list(inputs)} if len(inputs) > 1 else {}),
        "config_and_tokenizer_from": source,
        "engine": engine,
        "versions": versions(),
        "seconds": round(time.monotonic() - started, 1),
        "measured": measured,
    }
    (folder / NAME).write_text(json.dumps(content, indent=1, allow_nan=False) + "\n", encoding="utf-8")
