"""From the name of a model, as a recipe has it, to the folder that holds it."""

from pathlib import Path

from wise_merge.errors import WiseMergeError, first_line

#: What a merge needs of a repository.
_PATTERNS = ["*.json", "*.safetensors", "*.model", "*.txt", "*.jinja", "*.tiktoken", "*.py"]


def is_path(name: str) -> bool:
    """Return whether a name can only be a path: the Hub has `NAME` and `ORGANISATION/NAME`."""
    path = Path(name)
    return path.is_absolute() or name.startswith((".", "~")) or len(path.parts) > 2


def folder_of(role: str, name: str) -> Path:
    """Return the folder of a model: `name` itself, or the snapshot of `ORG/NAME` or `ORG/NAME@REVISION` on the Hub.

    `role` (early or late) is for the error. What is not in the Hub's cache yet is downloaded.
    """
    if Path(name).is_dir():
        return Path(name)
    reason = "the name has the form of a path, and nothing is there"
    repository, _, revision = name.partition("@")
    if not is_path(repository):
        from huggingface_hub import list_repo_files, snapshot_download
        from huggingface_hub.errors import (
            HfHubHTTPError,
            HFValidationError,
            LocalEntryNotFoundError,
            OfflineModeIsEnabled,
        )

        try:
            patterns = list(_PATTERNS)
            try:
                files = list_repo_files(repository, revision=revision or None)
                if not any(file.endswith(".safetensors") for file in files):
                    patterns.append("*.bin")
            except (OfflineModeIsEnabled, OSError):
                patterns.append("*.bin")  # only what the cache holds is found, then
            return Path(snapshot_download(repository, revision=revision or None, allow_patterns=patterns))
        except (HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, OSError) as error:
            reason = first_line(error)
    raise WiseMergeError(
        f"the {role} checkpoint {name} is neither a directory here nor a model on the Hub ({reason}); correct the path"
    )
