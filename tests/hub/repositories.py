"""What the Hub keeps: repositories, their branches and every commit with all its files, in memory."""

import hashlib
import json
from dataclasses import dataclass, field
from datetime import datetime, timezone
from functools import cached_property

from hub.wire import Refusal

# The suffixes of the .gitattributes that the Hub puts into a new model repository; figures are large files too.
LARGE = ["bin", "ckpt", "gguf", "gz", "h5", "jpg", "model", "msgpack", "npy", "npz", "onnx", "parquet", "pickle"]
LARGE += ["pkl", "png", "pt", "pth", "safetensors", "tar", "webp", "zip", "zst"]
GITATTRIBUTES = "".join(f"*.{suffix} filter=lfs diff=lfs merge=lfs -text\n" for suffix in LARGE).encode()
LARGE_SIZE = 10 * 1024 * 1024  # bytes; the Hub takes larger files as large files, whatever they hold


@dataclass(frozen=True)
class StoredFile:
    """The content of one file in one commit; `large` ones are known by SHA-256, and to Xet by `xet_hash`."""

    content: bytes
    large: bool = False
    xet_hash: str | None = None

    @cached_property
    def sha256(self) -> str:
        """SHA-256 of the content, hexadecimal."""
        return hashlib.sha256(self.content).hexdigest()

    @cached_property
    def pointer(self) -> bytes:
        """What git itself stores for a large file."""
        text = f"version https://git-lfs.github.com/spec/v1\noid sha256:{self.sha256}\nsize {len(self.content)}\n"
        return text.encode()

    @cached_property
    def blob(self) -> str:
        """SHA-1 by which git knows the file (of its pointer, if it is large)."""
        content = self.pointer if self.large else self.content
        return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()

    @property
    def etag(self) -> str:
        """The name of this content in the client's cache."""
        return self.sha256 if self.large else self.blob


@dataclass(frozen=True)
class Commit:
    """One commit: its message, who made it, and all files of the repository after it."""

    title: str
    description: str
    author: str
    files: dict[str, StoredFile]
    parent: "Commit | None" = None
    date: str = field(default_factory=lambda: datetime.now(timezone.utc).isoformat(timespec="milliseconds")[:23] + "Z")

    @cached_property
    def oid(self) -> str:
        """40 hexadecimal digits that name this commit."""
        names = {path: file.blob for path, file in sorted(self.files.items())}
        parts = [self.parent and self.parent.oid, self.title, self.description, self.author, self.date, names]
        return hashlib.sha1(json.dumps(parts).encode()).hexdigest()

    @property
    def line(self) -> "list[Commit]":
        """This commit and all before it, newest first."""
        return [self, *(self.parent.line if self.parent else [])]


@dataclass
class Repository:
    """A repository with its branches; a new one has one commit, as on the Hub."""

    id: str  # OWNER/NAME
    type: str  # model, dataset or space
    private: bool
    branches: dict[str, Commit] = field(default_factory=dict)

    def __post_init__(self):
        files = {".gitattributes": StoredFile(GITATTRIBUTES)}
        self.branches["main"] = Commit("initial commit", "", "system", files)

    @property
    def owner(self) -> str:
        """The namespace that the repository is in."""
        return self.id.split("/")[0]

    def at(self, revision: str) -> Commit:
        """The commit that a branch or 40 digits name; refused as the Hub does if there is none."""
        branch = revision.removeprefix("refs/heads/")
        if branch in self.branches:
            return self.branches[branch]
        for head in self.branches.values():
            for commit in head.line:
                if commit.oid == revision:
                    return commit
        raise Refusal(404, f"Invalid rev id: {revision}", "RevisionNotFound")

    def commit(self, branch: str, title: str, description: str, author: str, files: dict[str, StoredFile]) -> Commit:
        """Put `files` on top of a branch and return the new commit."""
        self.branches[branch] = Commit(title, description, author, files, parent=self.at(branch))
        return self.branches[branch]


def is_large(path: str, size: int, sample: bytes) -> bool:
    """Whether the Hub takes this file as a large one: by name, by size, or because it is no text."""
    return path.rsplit(".", 1)[-1] in LARGE or size > LARGE_SIZE or b"\0" in sample


def file_entry(path: str, file: StoredFile) -> dict:
    """One file as the tree and paths-info answers list it."""
    entry = {"type": "file", "path": path, "size": len(file.content), "oid": file.blob}
    if file.large:
        entry["lfs"] = {"oid": file.sha256, "size": len(file.content), "pointerSize": len(file.pointer)}
    if file.xet_hash:
        entry["xetHash"] = file.xet_hash
    return entry


def folder_entry(path: str) -> dict:
    """One folder as the tree and paths-info answers list it."""
    return {"type": "directory", "path": path, "size": 0, "oid": hashlib.sha1(path.encode()).hexdigest()}


def folders_of(files: dict[str, StoredFile]) -> list[str]:
    """All folders that the paths of `files` go through, sorted."""
    parts = [path.split("/")[:-1] for path in files]
    return sorted({"/".join(part[: depth + 1]) for part in parts for depth in range(len(part))})
