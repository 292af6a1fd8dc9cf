"""Sends a model to the Hub: a repository, two uploads, and errors that say what to do."""

import contextlib
import glob
import os
import re
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from wise_merge import __version__
from wise_merge.checkpoints.hub_answers import chain, is_of_transport
from wise_merge.errors import WiseMergeError, first_line
from wise_merge.publish.contents import Contents, Entry

#: Weight files of an earlier model in the repository, which might be loaded instead of the new ones.
_STALE = re.compile(r"[^/]*\.safetensors(\.index\.json)?|pytorch_model[^/]*\.bin(\.index\.json)?|adapter_model\.bin")


@dataclass(frozen=True)
class Target:
    """Where a model goes.

    Attributes:
        repository: USER/NAME.
        private: whether a new repository is private.
        revision: branch, made if it is not there; None = main.
    """

    repository: str
    private: bool = False
    revision: str | None = None


def check_target(target: Target) -> None:
    """Raise `WiseMergeError` unless the name is one that the Hub can have."""
    from huggingface_hub.errors import HFValidationError
    from huggingface_hub.utils import validate_repo_id

    try:
        validate_repo_id(target.repository)
    except HFValidationError as error:
        raise WiseMergeError(
            f"{target.repository} is no name of a repository on the Hub: {first_line(error)}"
        ) from error
    if target.repository.count("/") != 1:
        raise WiseMergeError(f"give the repository as USER/NAME or ORGANISATION/NAME; got {target.repository}")


def check_login(target: Target) -> None:
    """Raise `WiseMergeError` unless the Hub can be reached and knows the token."""
    with _explained(target, "nothing was sent"):
        _api().whoami()


def _api() -> Any:
    from huggingface_hub import HfApi

    return HfApi(library_name="wise-merge", library_version=__version__)


def send(target: Target, contents: Contents) -> str:
    """Send a model and return its address.

    Weights go first; without the rest nobody takes them for a model. What has arrived is not sent again when the
    command is run again: `huggingface_hub` drops files that are there, and the storage the parts of a file.

    Args:
        target: where to.
        contents: what.
    """
    api = _api()
    with _explained(target, "nothing was sent"):
        for entry in contents.others:
            if entry.name == "README.md" and entry.content is not None:
                _validate(api, entry.content.decode())
        api.create_repo(target.repository, private=target.private or None, exist_ok=True)
        if target.private and not api.repo_info(target.repository).private:
            raise WiseMergeError(
                f"{target.repository} is there already and public, and nothing was sent; make it private on its page, "
                "or leave out --private"
            )
        if target.revision is not None:
            api.create_branch(target.repository, branch=target.revision, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="wise-merge-push-") as name:
        for part, entries in (("weights", contents.weights), ("others", contents.others)):
            _lay(Path(name) / part, entries)
        with _explained(target, "run the command again: what has arrived is not sent again"):
            _upload(api, target, Path(name) / "weights", "Weights", [])
            there = api.list_repo_files(target.repository, revision=target.revision)
            sent = {entry.name for entry in contents.entries}
            stale = [glob.escape(file) for file in there if _STALE.fullmatch(file) and file not in sent]
            _upload(api, target, Path(name) / "others", "Config, tokenizer, card and evidence", stale)
    address = f"{api.endpoint}/{target.repository}"
    return address if target.revision is None else f"{address}/tree/{target.revision}"


def _validate(api: Any, card: str) -> None:
    """Raise if the Hub would refuse the card, which it does otherwise after the weights have been sent.

    `ModelCard.validate` of huggingface_hub up to 2.0 asks huggingface.co, whatever Hub the model goes to.
    """
    from huggingface_hub.utils import get_session, hf_raise_for_status

    asked = {"repoType": "model", "content": card}
    answer = get_session().post(f"{api.endpoint}/api/validate-yaml", json=asked, headers={"Accept": "text/plain"})
    if answer.status_code == 400:
        raise WiseMergeError(
            f"the Hub refuses the card's YAML ({first_line(answer.text)}), and nothing was sent; correct README.md"
        )
    hf_raise_for_status(answer)


def _upload(api: Any, target: Target, folder: Path, what: str, stale: Sequence[str]) -> None:
    """Make one commit of a folder, and no second one where the answer to the first is lost.

    `huggingface_hub` sends a commit again when it has no answer. With the parent named, the Hub refuses what is there.
    """
    from huggingface_hub.errors import HfHubHTTPError

    title = f"{what}, with wise-merge {__version__}"
    parent = api.repo_info(target.repository, revision=target.revision).sha
    try:
        api.upload_folder(
            repo_id=target.repository,
            folder_path=folder,
            revision=target.revision,
            commit_message=title,
            delete_patterns=list(stale) or None,
            parent_commit=parent,
        )
    except HfHubHTTPError as error:
        if error.response.status_code != 412:
            raise
        commits = api.list_repo_commits(target.repository, revision=target.revision)
        if [commits[0].title, *(commit.commit_id for commit in commits[1:2])] != [title, parent]:
            raise


def _lay(folder: Path, entries: Sequence[Entry]) -> None:
    """Lay files into a folder for `upload_folder`: links to those that go as they are, and the others' new content."""
    folder.mkdir()
    for entry in entries:
        place = folder / entry.name
        place.parent.mkdir(parents=True, exist_ok=True)
        if entry.content is not None:
            place.write_bytes(entry.content)
        else:
            assert entry.source is not None
            os.symlink(entry.source.resolve(), place)


@contextlib.contextmanager
def _explained(target: Target, remedy: str) -> Iterator[None]:
    """Turn what the Hub and the network answer into one line that says what to do."""
    from huggingface_hub.errors import HfHubHTTPError, LocalTokenNotFoundError, OfflineModeIsEnabled

    try:
        yield
    except LocalTokenNotFoundError as error:
        raise WiseMergeError("you are not logged in to the Hub; run `hf auth login`, or set HF_TOKEN") from error
    except OfflineModeIsEnabled as error:
        raise WiseMergeError("HF_HUB_OFFLINE is set, so nothing can be sent; unset it") from error
    except WiseMergeError:
        raise
    except Exception as error:  # of the transport, which is huggingface_hub's own business: httpx, hf_xet
        causes = list(chain(error))
        for cause in causes:
            if isinstance(cause, HfHubHTTPError):
                raise WiseMergeError(_status(cause, target, remedy)) from error
        if not any(map(is_of_transport, causes)):
            raise
        raise WiseMergeError(f"the connection to the Hub broke off ({first_line(error)}); {remedy}") from error


def _status(error: Any, target: Target, remedy: str) -> str:
    code = error.response.status_code if error.response is not None else None
    said = first_line(getattr(error, "server_message", None) or error)
    if code == 401:
        return f"the Hub does not know this token (401); run `hf auth login`, or correct HF_TOKEN; {remedy}"
    if code == 403:
        return (
            f"this token may not write to {target.repository} (403: {said}); take a token with write access, or a name "
            f"below your own; {remedy}"
        )
    if code == 404:
        return f"the Hub has no {target.repository} that this token may see (404); {remedy}"
    if code in (409, 412):
        return f"{target.repository} was changed by somebody else meanwhile ({code}: {said}); {remedy}"
    if code == 429:
        wait = error.response.headers.get("Retry-After")
        after = f"wait {wait} seconds and " if wait else "wait a while and "
        return f"the Hub takes no more requests for now (429); {after}{remedy}"
    if code is not None and code >= 500:
        return f"the Hub has trouble of its own ({code}: {said}); wait a while and {remedy}"
    return f"the Hub refuses ({code}: {said}); {remedy}"
