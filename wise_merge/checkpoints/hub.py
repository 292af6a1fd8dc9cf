"""Models and cards of the Hub: from its cache, or fetched.

The Hub is asked once what there is (`hub_answers`). Where it does not answer, or refuses, what the cache holds is
used, with a line that says so.
"""

import re
from collections.abc import Callable, Sequence
from fnmatch import fnmatch
from pathlib import Path

from wise_merge.checkpoints.files import weight_files
from wise_merge.checkpoints.hub_answers import (
    OFFLINE,
    AbsentError,
    NoAnswerError,
    RefusedError,
    ask,
    chain,
    check_refusal,
    is_of_the_hub,
    quoted,
)
from wise_merge.errors import WiseMergeError, first_line

#: Files that a merge needs of a repository beside weights.
_BESIDE_WEIGHTS = ["*.json", "*.model", "*.txt", "*.jinja", "*.tiktoken", "*.py"]
#: Those of them that a model needs; the rest are settings of training, logs and the like.
_TOKENIZER = re.compile(r"(tokenizer|vocab|merges|special_tokens|added_tokens|chat_template|generation_config)[^/]*")
#: Timeouts in seconds: if a cached copy exists, and if none does.
_IF_CACHED, _ELSE = 3.0, 10.0


def snapshot(name: str, called: str, warn: Callable[[str], object]) -> Path:
    """Return the folder of the cache that holds ORG/NAME or ORG/NAME@REVISION, after fetching what is missing.

    Args:
        name: of the model, or of a LoRA adapter.
        called: what a person calls it, such as "the early checkpoint org/name".
        warn: is given a line where the cache was used without the Hub's answer.
    """
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HFValidationError

    repository, _, revision = name.partition("@")
    try:
        cached = _cached(repository, revision)
        commit, files = ask(repository, revision, _ELSE if cached is None else _IF_CACHED)
    except HFValidationError as error:
        raise _refused(called, AbsentError(first_line(error))) from error
    except NoAnswerError as error:
        return _without_the_hub(name, called, cached, str(error), warn)
    except RefusedError as error:
        if cached is None:
            raise _refused(called, error) from error
        return _without_the_hub(name, called, cached, str(error), warn)
    patterns = [*_BESIDE_WEIGHTS, "*.safetensors" if any(file.endswith(".safetensors") for file in files) else "*.bin"]
    wanted = [file for file in files if any(fnmatch(file, pattern) for pattern in patterns)]
    if cached is not None and cached.name == commit and all((cached / file).exists() for file in wanted):
        return cached
    try:
        return Path(snapshot_download(repository, revision=revision or None, allow_patterns=patterns))
    except Exception as error:  # of any library by which huggingface_hub sends
        if not is_of_the_hub(error):
            raise
        try:
            for cause in chain(error):
                check_refusal(cause, name)
        except RefusedError as refusal:
            raise _refused(called, refusal) from error
        raise WiseMergeError(
            f"{called} cannot be fetched from the Hub: {quoted(error)}; run the command again: it goes on where it was"
        ) from error


def card(name: str) -> tuple[Path | None, str | None]:
    """Return the card of ORG/NAME or ORG/NAME@REVISION, and what is to be said of it; None = there is none to be had.

    Where the Hub does not answer, it is that of the cache.
    """
    from huggingface_hub import hf_hub_download, try_to_load_from_cache

    repository, _, revision = name.partition("@")
    path = try_to_load_from_cache(repository, "README.md", revision=revision or None)
    cached = Path(path) if isinstance(path, str) else None
    try:
        _, files = ask(repository, revision, _ELSE if cached is None else _IF_CACHED)
        if "README.md" not in files:
            return None, f"{name} has no card that could be read (it has no README.md)"
        return Path(hf_hub_download(repository, "README.md", revision=revision or None)), None
    except AbsentError:
        return None, f"the Hub shows no {name}"
    except (NoAnswerError, RefusedError) as error:
        reason = str(error)
    except Exception as error:  # of any library by which huggingface_hub sends
        if not is_of_the_hub(error):
            raise
        reason = quoted(error)
    if cached is None:
        return None, f"{name} has no card that could be read ({reason})"
    return cached, f"the card of {name} is taken from the Hub's cache, as {reason}"


def _cached(repository: str, revision: str) -> Path | None:
    """Return the folder of the cache with a model or adapter as it was when it was last fetched; None if none is."""
    from huggingface_hub import try_to_load_from_cache

    for file in ("config.json", "adapter_config.json"):
        path = try_to_load_from_cache(repository, file, revision=revision or None)
        if isinstance(path, str):
            return Path(path).parent
    return None


def _without_the_hub(name: str, called: str, cached: Path | None, reason: str, warn: Callable[[str], object]) -> Path:
    """Return the folder of the cache, if the model is whole there, and tell of it."""
    from huggingface_hub import constants

    offline = reason == OFFLINE
    fetch = f"`hf download {name.replace('@', ' --revision ')}`"
    remedy = (
        f"unset it, or bring a cache that has it (from {fetch} elsewhere)"
        if offline
        else f"fetch it by {fetch} where there is a network, bring its cache here and set HF_HUB_OFFLINE=1"
    )
    if cached is None:
        raise WiseMergeError(
            f"{called} is neither a directory here nor in the Hub's cache ({constants.HF_HUB_CACHE}), and {reason}; "
            f"correct the path, or {remedy}"
        )
    lacks = _missing_weights(cached)
    if lacks:
        raise WiseMergeError(
            f"{called} is in the Hub's cache only in part: {_listed(lacks)} is missing in {cached}, and {reason}; "
            f"{remedy}"
        )
    others = _missing_others(name, cached)
    more = f"; {_listed(others)} of it is not there" if others else ""
    spare = "" if offline else "; HF_HUB_OFFLINE=1 spares the question"
    warn(f"{called} is taken from the Hub's cache, commit {cached.name[:8]}, as {reason}{spare}{more}")
    return cached


def _missing_weights(folder: Path) -> list[str]:
    """Return which weights of a model or adapter are not there; what is odd about those that are is for the checks."""
    if not (folder / "config.json").is_file():
        names = ["adapter_model.safetensors", "adapter_model.bin"]
        return [] if any((folder / name).is_file() for name in names) else names[:1]
    try:
        files = weight_files(folder)
    except WiseMergeError:
        there = (path for pattern in ("*.safetensors", "*.bin") for path in folder.glob(pattern) if path.is_file())
        return [] if any(there) else ["model.safetensors"]
    return [file.name for file in files if not file.is_file()]


def _missing_others(name: str, folder: Path) -> list[str]:
    """Return which other files of the model are not there, as far as the cache has noted what there should be."""
    try:
        from huggingface_hub import get_cached_repo_tree
        from huggingface_hub.errors import CachedRepoTreeNotFoundError
    except ImportError:  # before huggingface_hub 2
        return []
    try:
        tree = get_cached_repo_tree(name.partition("@")[0], revision=folder.name)
    except (CachedRepoTreeNotFoundError, ValueError):
        return []
    return [file.path for file in tree if _TOKENIZER.fullmatch(file.path) and not (folder / file.path).exists()]


def _refused(called: str, reason: RefusedError) -> WiseMergeError:
    if not isinstance(reason, AbsentError):
        return WiseMergeError(f"{called} cannot be fetched: {reason}")
    return WiseMergeError(f"{called} is neither a directory here nor a model on the Hub ({reason}); correct the path")


def _listed(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{names[0]} and {len(names) - 1} more"
