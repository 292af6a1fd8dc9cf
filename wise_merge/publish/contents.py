"""Which files of a model's folder are published, and in what form; everything else stays on the machine."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from wise_merge.checkpoints.files import weight_files
from wise_merge.errors import WiseMergeError
from wise_merge.publish.merged import RECIPE, RECORD
from wise_merge.publish.privacy import Privacy

#: Beside the weights, from the top of the folder.
_NAMES = (
    *("config.json", "generation_config.json", "adapter_config.json", RECIPE, RECORD),
    *("added_tokens.json", "chat_template.jinja", "chat_template.json", "merges.txt", "special_tokens_map.json"),
    *("tekken.json", "tokenizer.json", "tokenizer_config.json", "vocab.json", "vocab.txt"),
    *("preprocessor_config.json", "processor_config.json", "video_preprocessor_config.json"),
    *("*.model", "*.tiktoken", "*.py", "chat_templates/*.jinja", "additional_chat_templates/*.jinja"),
    *("LICENSE*", "LICENCE*", "NOTICE*", "USE_POLICY*"),
    # What a person's part of the card may show.
    *(
        f"{folder}*.{suffix}"
        for folder in ("", "images/", "assets/")
        for suffix in ("png", "jpg", "jpeg", "svg", "gif")
    ),
)


@dataclass(frozen=True)
class Entry:
    """A file to be published.

    Attributes:
        name: in the repository, with "/" between folders.
        source: on this machine; None = `content` is all there is.
        content: what is sent instead of the source; None = the source as it is.
        bytes: its size.
        remark: what a person should know of it.
    """

    name: str
    source: Path | None
    content: bytes | None
    bytes: int
    remark: str = ""


@dataclass(frozen=True)
class Contents:
    """What is published of a folder.

    Attributes:
        weights: weight files, which are sent first.
        others: all other files; a model without them does not load, so none is there before the weights are.
        left: what stays, as names within the folder; folders end with "/".
    """

    weights: tuple[Entry, ...]
    others: tuple[Entry, ...]
    left: tuple[str, ...]

    @property
    def entries(self) -> tuple[Entry, ...]:
        """All files."""
        return (*self.weights, *self.others)


def contents_of(folder: Path, privacy: Privacy, written: Mapping[str, bytes]) -> Contents:
    """Return what is published of a model's folder.

    Args:
        folder: of the model.
        privacy: keeps the machine's paths out.
        written: what the card consists of, by name in the repository; it stands for what the folder has of that name.
    """
    weights = weight_files(folder)
    for path in weights:
        _check_metadata(path, privacy)
    index = [path for path in folder.glob("*.index.json") if path.name.removesuffix(".index.json") in _singles(weights)]
    published = {path for pattern in _NAMES for path in folder.glob(pattern) if path.is_file()}
    others = {path.relative_to(folder).as_posix(): path for path in sorted({*index, *published} - {*weights})}
    entries = [Entry(name, None, content, len(content), "written now") for name, content in written.items()]
    for name, path in others.items():
        if name in written:
            continue
        content = privacy.file(path)
        entries.append(
            Entry(name, path, content, path.stat().st_size if content is None else len(content))
            if content is None
            else Entry(name, path, content, len(content), "paths replaced")
        )
    sent = {entry.name for entry in entries} | {path.name for path in weights}
    left = sorted(
        f"{path.name}/" if path.is_dir() else path.name
        for path in folder.iterdir()
        if path.name not in sent and not any(name.startswith(f"{path.name}/") for name in sent)
    )
    return Contents(
        tuple(Entry(path.name, path, None, path.stat().st_size) for path in weights),
        tuple(sorted(entries, key=lambda entry: entry.name)),
        tuple(left),
    )


def _check_metadata(path: Path, privacy: Privacy) -> None:
    """Raise if the header of a weight file, which is sent as it is, tells of the machine."""
    from safetensors import safe_open

    if path.suffix != ".safetensors":
        return
    with safe_open(path, framework="np") as file:
        metadata = file.metadata() or {}
    for key, value in metadata.items():
        if privacy.value({key: value}) != {key: value}:
            raise WiseMergeError(
                f"the metadata of {path} holds a path ({key}: {value[:200]}), which would be published; save the model "
                "again without it"
            )


def _singles(weights: list[Path]) -> set[str]:
    """Return the names that an index of these files may be called after."""
    return {"model.safetensors"} if weights[0].suffix == ".safetensors" else {"pytorch_model.bin"}
