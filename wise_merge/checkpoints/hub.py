"""Models of the Hub: from its cache, or fetched, with one question that does not wait long for an answer.

`huggingface_hub` alone tries for half a minute where there is no network, even for what it has in its cache, and then
raises an exception of its transport. Here the Hub is asked once, and where it does not answer, or refuses, what the
cache holds is used, with a line that says so.
"""

import re
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from wise_merge.checkpoints.files import weight_files
from wise_merge.errors import WiseMergeError, first_line

#: Files that a merge needs of a repository beside weights.
_COMPANIONS = ["*.json", "*.model", "*.txt", "*.jinja", "*.tiktoken", "*.py"]
#: Those of them that a model needs; the rest are settings of training, logs and the like.
_TOKENIZER = re.compile(r"(tokenizer|vocab|merges|special_tokens|added_tokens|chat_template|generation_config)[^/]*")
#: Timeouts in seconds: if a cached copy exists, and if none does.
_IF_CACHED, _ELSE = 3.0, 10.0
#: Packages by which huggingface_hub sends requests.
_TRANSPORTS = {"httpx", "httpx2", "httpcore", "httpcore2", "hf_xet", "requests"}

_OFFLINE = "HF_HUB_OFFLINE=1 is set"

#: Seconds for which the Hub is not asked again after a failure to answer.
_PAUSE = 60.0
#: Why the Hub has not answered this process, and until when it is left alone; None = it has, or was not asked.
_silence: tuple[str, float] | None = None


class NoAnswerError(Exception):
    """The Hub was not reached; says why."""


class RefusedError(Exception):
    """The Hub was reached and does not give a model; says why, and what to do."""


class AbsentError(RefusedError):
    """The Hub shows no such model or revision to anybody with this token."""


def snapshot(name: str, called: str, tell: Callable[[str], object]) -> Path:
    """Return the folder of the cache that holds ORG/NAME or ORG/NAME@REVISION, after fetching what is missing.

    Args:
        name: of the model, or of a LoRA adapter.
        called: what a person calls it, such as "the early checkpoint org/name".
        tell: is given a line where the cache was used without the Hub's answer.
    """
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HFValidationError

    repository, _, revision = name.partition("@")
    try:
        cached = _cached(repository, revision)
        commit, files = _ask(repository, revision, _ELSE if cached is None else _IF_CACHED)
    except HFValidationError as error:
        raise _refused(called, AbsentError(first_line(error))) from error
    except NoAnswerError as error:
        return _without_the_hub(name, called, cached, str(error), tell)
    except RefusedError as error:
        if cached is None:
            raise _refused(called, error) from error
        return _without_the_hub(name, called, cached, str(error), tell)
    patterns = [*_COMPANIONS, "*.safetensors" if any(file.endswith(".safetensors") for file in files) else "*.bin"]
    wanted = [file for file in files if any(fnmatch(file, pattern) for pattern in patterns)]
    if cached is not None and cached.name == commit and all((cached / file).exists() for file in wanted):
        return cached
    try:
        return Path(snapshot_download(repository, revision=revision or None, allow_patterns=patterns))
    except Exception as error:  # of the transport, which is huggingface_hub's own business
        if not is_of_the_hub(error):
            raise
        try:
            for cause in chain(error):
                _check_refusal(cause, name)
        except RefusedError as refusal:
            raise _refused(called, refusal) from error
        raise WiseMergeError(
            f"{called} cannot be fetched from the Hub: {_said(error)}; run the command again: it goes on where it was"
        ) from error


def card(name: str) -> tuple[Path | None, str | None]:
    """Return the card of ORG/NAME or ORG/NAME@REVISION, and what is to be said of it; None = there is none to be had.

    Where the Hub does not answer, it is that of the cache.
    """
    from huggingface_hub import hf_hub_download, try_to_load_from_cache

    repository, _, revision = name.partition("@")
    found = try_to_load_from_cache(repository, "README.md", revision=revision or None)
    cached = Path(found) if isinstance(found, str) else None
    try:
        _, files = _ask(repository, revision, _ELSE if cached is None else _IF_CACHED)
        if "README.md" not in files:
            return None, f"{name} has no card that could be read (it has no README.md)"
        return Path(hf_hub_download(repository, "README.md", revision=revision or None)), None
    except AbsentError:
        return None, f"the Hub shows no {name}"
    except (NoAnswerError, RefusedError) as error:
        reason = str(error)
    except Exception as error:  # of the transport, which is huggingface_hub's own business
        if not is_of_the_hub(error):
            raise
        reason = _said(error)
    if cached is None:
        return None, f"{name} has no card that could be read ({reason})"
    return cached, f"the card of {name} is taken from the Hub's cache, as {reason}"


def _ask(repository: str, revision: str, seconds: float) -> tuple[str, list[str]]:
    """Return the commit of a revision on the Hub, and the files that it has.

    Raises `NoAnswerError` or `RefusedError`, after little more than `seconds`, and after no time at all where the Hub
    has not answered this process shortly before.
    """
    from huggingface_hub import HfApi, constants
    from huggingface_hub.errors import HFValidationError, OfflineModeIsEnabled

    global _silence
    if constants.HF_HUB_OFFLINE:
        raise NoAnswerError(_OFFLINE)
    if _silence is not None and time.monotonic() < _silence[1]:
        raise NoAnswerError(_silence[0])
    answers: list[Any] = []

    def question() -> None:
        try:
            answers.append(HfApi().model_info(repository, revision=revision or None, timeout=seconds))
        except BaseException as error:
            answers.append(error)

    # In a thread, since name resolution obeys no timeout.
    thread = threading.Thread(target=question, daemon=True)
    thread.start()
    thread.join(seconds + 1)
    answer = answers[0] if answers else TimeoutError(f"no answer within {seconds:g} seconds")
    if isinstance(answer, OfflineModeIsEnabled):
        raise NoAnswerError(_OFFLINE) from answer
    if isinstance(answer, BaseException):
        _check_refusal(answer, f"{repository}@{revision}" if revision else repository)
        if isinstance(answer, HFValidationError) or not is_of_the_hub(answer):
            raise answer
        reason = f"{HfApi().endpoint} cannot be reached ({_said(answer)})"
        _silence = reason, time.monotonic() + _PAUSE
        raise NoAnswerError(reason) from answer
    return str(answer.sha), [file.rfilename for file in answer.siblings or []]


def _check_refusal(error: BaseException, name: str) -> None:
    """Raise `RefusedError` if the error is an answer of the Hub."""
    from huggingface_hub.errors import (
        GatedRepoError,
        HfHubHTTPError,
        LocalTokenNotFoundError,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    if isinstance(error, LocalTokenNotFoundError):
        raise RefusedError("you are not logged in: run `hf auth login`") from error
    if not isinstance(error, HfHubHTTPError):
        return
    if isinstance(error, GatedRepoError):
        reason = f"{name} is gated: ask for access on its page, and log in by `hf auth login`"
        raise RefusedError(reason) from error
    if isinstance(error, RevisionNotFoundError):
        repository, _, revision = name.partition("@")
        raise AbsentError(f"the Hub has {repository}, but no revision {revision}") from error
    if isinstance(error, RepositoryNotFoundError):
        reason = f"the Hub shows no {name}; for a private one, log in by `hf auth login`"
        raise AbsentError(reason) from error
    code = error.response.status_code
    said = first_line(error.server_message or error)
    if code in (401, 403):
        raise RefusedError(f"the Hub does not take this token ({code}: {said})") from error
    raise RefusedError(f"the Hub has trouble of its own ({code}: {said}): try again later") from error


def _cached(repository: str, revision: str) -> Path | None:
    """Return the folder of the cache with a model or adapter as it was when it was last fetched; None if none is."""
    from huggingface_hub import try_to_load_from_cache

    for file in ("config.json", "adapter_config.json"):
        found = try_to_load_from_cache(repository, file, revision=revision or None)
        if isinstance(found, str):
            return Path(found).parent
    return None


def _without_the_hub(name: str, called: str, cached: Path | None, reason: str, tell: Callable[[str], object]) -> Path:
    """Return the folder of the cache, if the model is whole there, and tell of it."""
    from huggingface_hub import constants

    offline = reason == _OFFLINE
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
    tell(f"{called} is taken from the Hub's cache, commit {cached.name[:8]}, as {reason}{spare}{more}")
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


def _said(error: BaseException) -> str:
    return first_line(error).rstrip(".")


def chain(error: BaseException | None) -> Iterator[BaseException]:
    """Yield an exception and those that it was raised from: a file that cannot be sent is a RuntimeError at first."""
    while error is not None:
        yield error
        error = error.__cause__


def is_of_transport(error: BaseException) -> bool:
    """Return whether an exception comes from a connection, or from what sends and fetches over it."""
    modules = {kind.__module__.partition(".")[0] for kind in type(error).__mro__}
    return (
        bool(modules & _TRANSPORTS)
        or isinstance(error, (ConnectionError, TimeoutError))
        or (type(error) is RuntimeError and "xet" in _origin(error))
    )


def is_of_the_hub(error: BaseException) -> bool:
    """Return whether an exception comes from the Hub, its client, its cache or the connection."""
    # A proxy may answer with a page that is not JSON.
    return isinstance(error, (OSError, ValueError)) or any(map(is_of_transport, chain(error)))


def _origin(error: BaseException) -> str:
    """Return the file in which an exception was raised."""
    trace = error.__traceback__
    found = ""
    while trace is not None:
        found = trace.tb_frame.f_code.co_filename
        trace = trace.tb_next
    return found
