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
from wise_merge.checkpoints.fingerprint import file_sha256
from wise_merge.geometry.distances import Distance, Step
from wise_merge.recipes.models import Ingredients, is_early_and_late, roles
from wise_merge.recipes.parameters import temperature_of
from wise_merge.recipes.schema import Recipe

NAME = "wise_merge.json"

#: Of each checkpoint, in the order of the recipe: the model, its step and its files.
Inputs = Sequence[Mapping[str, Any]]


@dataclass(frozen=True)
class Hashes:
    """The files of one checkpoint and their hashes, which are computed while the merge goes on."""

    files: Mapping[Path, "Future[bytes]"]

    def entries(self) -> dict[str, dict[str, Any]]:
        """Return sha256 (as the Hub shows it) and size in bytes of each file by name; waits for what is not done."""
        # The threads work from the first file on; what they have not begun is hashed here, from the last one back.
        digests = {
            path: file_sha256(path) if digest.cancel() else digest.result()
            for path, digest in reversed(list(self.files.items()))
        }
        return {path.name: {"sha256": digests[path].hex(), "bytes": path.stat().st_size} for path in self.files}


def hashing_threads() -> int:
    """Return how many threads hash files while another one is busy: one core is left to it."""
    return min(4, max(1, (os.cpu_count() or 1) - 1))


def start_hashing(threads: ThreadPoolExecutor, files: Iterable[Path]) -> Hashes:
    """Return the hashes of files, which `threads` will compute."""
    return Hashes({path: threads.submit(file_sha256, path) for path in files})


def versions() -> dict[str, str]:
    """Return the version of Python and of each package that has a part in a merge."""
    present = {"python": platform.python_version(), "wise-merge": __version__}
    for package in ("torch", "safetensors", "mergekit", "transformers", "peft"):
        try:
            present[package] = version(package)
        except PackageNotFoundError:
            continue
    return present


def figures(
    groups: Mapping[str, tuple[Distance, list[Step]]], number: int, *, on_line: bool
) -> dict[str, dict[str, Any]]:
    """Return what was measured of one model, by group of modules; `on_line`: see `geometry.distances.Measured`."""
    measured: dict[str, dict[str, Any]] = {}
    for group, (distance, steps) in groups.items():
        if not on_line:
            measured[group] = {
                "parameters": distance.elements,
                "relative_distance": _number(distance.relative),
                "changed": distance.changed,
            }
            continue
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
    ingredients: Ingredients,
    inputs: Sequence[Inputs],
    *,
    files: Sequence[Path],
    engine: str,
    tokenizer_from: str | None,
    started: float,
    measured: Mapping[str, Any],
    random_seed: int | None = None,
) -> None:
    """Write wise_merge.json and mergekit_config.yml, from which `mergekit-yaml` makes the same weights.

    Args:
        folder: of the model.
        recipe: of this model.
        ingredients: its checkpoints, as the recipe names them; the first where slices merge several sets.
        inputs: of each set.
        files: that the parameters name.
        engine: what did the arithmetic.
        tokenizer_from: the name of one of the checkpoints; None where none has a tokenizer.
        started: `time.monotonic()` at the beginning.
        measured: `figures`.
        random_seed: `--random-seed` for mergekit-yaml, None where nothing is drawn at random.
    """
    import yaml

    text = yaml.safe_dump(dict(recipe), sort_keys=False, allow_unicode=True)
    (folder / "mergekit_config.yml").write_text(text, encoding="utf-8")
    content = {
        "merge_method": recipe["merge_method"],
        **_parameters(recipe, ingredients),
        "dtype": recipe.get("dtype"),
        "out_dtype": recipe.get("out_dtype"),
        **_described(recipe, inputs),
        **({"parameter_files": [_facts_of(path) for path in files]} if files else {}),
        "config_and_tokenizer_from": _tokenizer_source(recipe, ingredients, tokenizer_from),
        "engine": engine,
        **({} if random_seed is None else {"random_seed": random_seed}),
        "versions": versions(),
        "seconds": round(time.monotonic() - started, 1),
        "measured": measured,
    }
    (folder / NAME).write_text(json.dumps(content, indent=1, allow_nan=False) + "\n", encoding="utf-8")


def _facts_of(path: Path) -> dict[str, Any]:
    return {"file": str(path), "sha256": file_sha256(path).hex(), "bytes": path.stat().st_size}


def _parameters(recipe: Recipe, ingredients: Ingredients) -> dict[str, Any]:
    if not is_early_and_late(recipe):
        return {"parameters": recipe.get("parameters") or {}}
    return {
        "alpha": (recipe.get("parameters") or {}).get("alpha"),
        "temperatures": {
            role: temperature_of(recipe, model)
            for role, model in zip(("early", "late"), ingredients.names, strict=True)
        },
    }


def _described(recipe: Recipe, inputs: Sequence[Inputs]) -> dict[str, Any]:
    if not is_early_and_late(recipe):
        return {"models": list(inputs[0]), **({"sets": [list(one) for one in inputs]} if len(inputs) > 1 else {})}
    pairs = [dict(zip(("early", "late"), one, strict=True)) for one in inputs]
    return {**pairs[0], **({"pairs": pairs} if len(pairs) > 1 else {})}


def _tokenizer_source(recipe: Recipe, ingredients: Ingredients, tokenizer_from: str | None) -> str:
    if recipe.get("tokenizer") or recipe.get("tokenizer_source"):
        return "the recipe's tokenizer section"
    called = dict(zip(ingredients.names, roles(recipe, ingredients), strict=True))
    if not is_early_and_late(recipe):
        called = {name: name for name in called}
    first = called[ingredients.names[0]]
    if tokenizer_from == ingredients.names[0]:
        return first
    return f"{first}, which has no tokenizer; that is from {called.get(str(tokenizer_from), 'nowhere')}"
