"""One question to the Hub that does not wait long, and what its answers and exceptions mean.

`huggingface_hub` alone tries for half a minute where there is no network, even for what it has in its cache, and then
raises an exception of its transport.
"""

import threading
import time
from collections.abc import Iterator
from typing import Any

from wise_merge.errors import first_line

#: Packages by which huggingface_hub sends requests.
_TRANSPORTS = {"httpx", "httpx2", "httpcore", "httpcore2", "hf_xet", "requests"}

#: The reason of a `NoAnswerError` where the user has asked for it.
OFFLINE = "HF_HUB_OFFLINE=1 is set"

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


def ask(repository: str, revision: str, seconds: float) -> tuple[str, list[str]]:
    """Return the commit of a revision on the Hub, and the files that it has.

    Raises `NoAnswerError` or `RefusedError`, after little more than `seconds`, and after no time at all where the Hub
    has not answered this process shortly before.
    """
    from huggingface_hub import HfApi, constants
    from huggingface_hub.errors import HFValidationError, OfflineModeIsEnabled

    global _silence
    if constants.HF_HUB_OFFLINE:
        raise NoAnswerError(OFFLINE)
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
        raise NoAnswerError(OFFLINE) from answer
    if isinstance(answer, BaseException):
        check_refusal(answer, f"{repository}@{revision}" if revision else repository)
        if isinstance(answer, HFValidationError) or not is_of_the_hub(answer):
            raise answer
        reason = f"{HfApi().endpoint} cannot be reached ({quoted(answer)})"
        _silence = reason, time.monotonic() + _PAUSE
        raise NoAnswerError(reason) from answer
    return str(answer.sha), [file.rfilename for file in answer.siblings or []]


def check_refusal(error: BaseException, name: str) -> None:
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
    message = first_line(error.server_message or error)
    if code in (401, 403):
        raise RefusedError(f"the Hub does not take this token ({code}: {message})") from error
    raise RefusedError(f"the Hub has trouble of its own ({code}: {message}): try again later") from error


def quoted(error: BaseException) -> str:
    """Return what an exception says, to be quoted within a sentence."""
    return first_line(error).rstrip(".")


def chain(error: BaseException | None) -> Iterator[BaseException]:
    """Yield an exception and those that it was raised from, as a failed upload is a RuntimeError at first."""
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
    file = ""
    while trace is not None:
        file = trace.tb_frame.f_code.co_filename
        trace = trace.tb_next
    return file
