"""Removes this machine's paths from what is published: checkpoints get ids of the Hub, other paths their last part."""

import json
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

import yaml

from wise_merge.checkpoints.places import is_path
from wise_merge.errors import WiseMergeError
from wise_merge.publish.merged import Merged
from wise_merge.text import enumeration

#: A whole text that is a path from the root, of the home, of a drive or of a share, with two parts or more, or climbs.
_PATH = re.compile(
    r"(file://)?(/|[A-Za-z]:[\\/]|\\\\)[^\s/\\][^\n]*[/\\][^\n]*|~([A-Za-z_][\w.-]*)?/[^\n]+|file://[^\n]+|\.\.?[/\\][^\n]*"
)
#: In these a text that begins with a slash is a token; a tokenizer with another one would be broken.
_VOCABULARIES = {
    *("tokenizer.json", "vocab.json", "merges.txt", "vocab.txt", "added_tokens.json", "special_tokens_map.json"),
    "tekken.json",
}
_BINARY = {".model", ".tiktoken", ".png", ".jpg", ".jpeg", ".gif"}
_TOKENS = {"added_tokens_decoder", "vocab", "merges", "stop_strings"}
#: Of a recipe: what may name a model.
_MODELS = {"base_model", "model", "path", "lora", "source", "tokenizer_source"}
#: Within a text, what a known folder is followed by.
_REST = r"(?:[/\\][\w.+@=-]*)*"
_HUB_ID = re.compile(r"[\w.-]+/[\w.-]+(@.+)?")
#: What trainers write has the form of an id too.
_RUN = re.compile(r"[\w.-]+/checkpoint-\d+")


@dataclass(frozen=True)
class Privacy:
    """What stands for what in everything that leaves the machine.

    Attributes:
        names: of a checkpoint as the recipe has it -> as the world may see it.
        folders: of this machine; no text that leaves it may hold one of them.
    """

    names: Mapping[str, str]
    folders: tuple[str, ...]

    def text(self, text: str) -> str:
        """Return a text of our own in which names stand for checkpoints, and last parts for paths.

        Names of a single part stay: they do not identify the machine, and may be words such as "late".
        """
        names = [name for name, shown in self.names.items() if name != shown and re.search(r"[/\\]", name)]
        if names:
            # In one pass with the longest first: a replacement may itself be a name, or the beginning of one.
            either = "|".join(re.escape(name) for name in sorted(names, key=len, reverse=True))
            text = re.sub(rf"(?<![\w./-])(?:{either})(?![\w-]|\.\w)", lambda match: self.names[match.group()], text)
        while any(folder in text for folder in self.folders):  # a replacement may complete another one
            for folder in self.folders:
                text = re.sub(rf"(?:file://)?{re.escape(folder)}{_REST}", lambda match: last_part(match.group()), text)
        return text

    def file(self, path: Path) -> bytes | None:
        """Return the content of a file as it may leave; None if that is the file as it is.

        JSON and YAML are rewritten where they hold a path. Any other text is somebody's own: one with a folder of this
        machine in it is an error that names the line.
        """
        if path.name in _VOCABULARIES or path.suffix in _BINARY:
            return None
        if path.suffix == ".json":
            # In ASCII, as a token may hold half a character, which nothing else can write.
            return _rewritten(path, self, json.loads, lambda content: json.dumps(content, indent=2))
        if path.suffix in (".yml", ".yaml"):
            return _rewritten(
                path,
                self,
                yaml.safe_load,
                lambda content: yaml.safe_dump(content, sort_keys=False, allow_unicode=True),
            )
        self.refuse(path.name, path.read_text(encoding="utf-8", errors="replace"))
        return None

    def refuse(self, name: str, text: str) -> None:
        """Raise `WiseMergeError` if a text holds a folder of this machine."""
        for number, line in enumerate(text.splitlines(), start=1):
            for folder in self.folders:
                if re.search(re.escape(folder) + r"(?![\w-])", line):
                    raise WiseMergeError(
                        f"line {number} of {name} holds {folder}, a folder of this machine; change it, as it would be "
                        "published"
                    )

    def value(self, value: Any) -> Any:
        """Return the value of a JSON or YAML document with no path in it."""
        if isinstance(value, Mapping):
            return {
                self.text(key) if isinstance(key, str) else key: self._entry(key, entry) for key, entry in value.items()
            }
        if isinstance(value, list):
            return [self.value(entry) for entry in value]
        if not isinstance(value, str):
            return value
        if value in self.names:
            return self.names[value]
        return last_part(value) if _PATH.fullmatch(value) else self.text(value)

    def _entry(self, key: Any, entry: Any) -> Any:
        name = str(key)
        if name in _TOKENS or name.endswith(("_token", "_tokens")):
            return entry
        if name == "chat_template":
            self.refuse("chat_template", entry if isinstance(entry, str) else json.dumps(entry, ensure_ascii=False))
            return entry
        if name.endswith("name_or_path") and isinstance(entry, str) and entry and entry not in self.names:
            return published(entry)
        return self.value(entry)


def privacy_of(merged: Merged, sources: Mapping[str, str], folders: tuple[Path, ...]) -> tuple[Privacy, list[str]]:
    """Return what stands for what, and warnings about checkpoints that nobody else can find.

    Args:
        merged: the model.
        sources: role of a checkpoint -> id on the Hub, `ORG/MODEL` or `ORG/MODEL@REVISION`.
        folders: that the command was given.
    """
    names = {name: published(name) for name in _models(merged.recipe)}
    warnings = []
    shown = _shown(merged, sources)
    names |= {merged.name(role): called for role, called in shown.items()}
    unknown = [role for role, called in shown.items() if not any(is_hub_id(part) for part in called.split("+"))]
    if merged.is_pair:
        warnings += [
            f"{role} is called {shown[role]} in what is published, which nobody else can find; if it is on the "
            f"Hub, say where: --source {role}=ORG/MODEL@REVISION"
            for role in unknown
        ]
    elif unknown:
        warnings.append(
            f"checkpoints are called {', '.join(shown[role] for role in unknown)} in what is published, which nobody "
            "else can find; if they are on the Hub, say where, for each: "
            f"--source {shown[unknown[0]]}=ORG/MODEL@REVISION"
        )
    local = [Path.home(), Path.cwd(), *folders]
    parts = [Path(part) for name in names for part in name.split("+")]
    local += [part for part in parts if part.is_absolute() or part.exists()]
    known = {str(form) for path in local for form in (path.resolve(), path.absolute())}
    known |= {str(form.parent) for path in local if path != Path.home() for form in (path.resolve(), path.absolute())}
    # A single part, such as /tmp, does not identify a machine, and occurs in many texts.
    kept = {path for path in known if len(Path(path).parts) > 2 or path == str(Path.home()) != "/"}
    kept |= {json.dumps(path)[1:-1] for path in kept}  # as JSON spells what is not ASCII
    return Privacy(names, tuple(sorted(kept, key=lambda path: (-len(path), path)))), warnings


def _shown(merged: Merged, sources: Mapping[str, str]) -> dict[str, str]:
    """Return how the checkpoints are called in public, by their roles; no two of them alike."""
    shown = {role: sources.get(role) or published(merged.name(role)) for role in merged.roles}
    twice = {name for name, count in Counter(shown.values()).items() if count > 1}
    for name in twice:
        alike = [role for role, called in shown.items() if called == name]
        if all(role in sources for role in alike):
            raise WiseMergeError(
                f"{enumeration(alike, 'and')} are {'both' if len(alike) == 2 else 'all'} {name} by --source; name what "
                f"differs, such as the revision: --source {alike[0]}=ORG/MODEL@REVISION"
            )
        shown |= {role: f"{name}-{role.replace(' ', '-')}" for role in alike if role not in sources}
    return shown


def _models(recipe: Any) -> Iterator[str]:
    """Yield every model that a part of a recipe names, and each part of BASE+ADAPTER."""
    if isinstance(recipe, Mapping):
        for key, entry in recipe.items():
            if key in _MODELS and isinstance(entry, str):
                yield from {entry, *entry.split("+")}
            yield from _models(entry)
    elif isinstance(recipe, list):
        for entry in recipe:
            yield from _models(entry)


def published(name: str) -> str:
    """Return how a model of a recipe is called in public: an id of the Hub as it is, a path by its last part."""
    return "+".join(
        part if is_hub_id(part) and not (_RUN.fullmatch(part) or Path(part).exists()) else last_part(part)
        for part in name.split("+")
    )


def is_hub_id(name: str) -> bool:
    """Return whether a name has the form of a model's on the Hub, ORG/MODEL or ORG/MODEL@REVISION."""
    return _HUB_ID.fullmatch(name) is not None and not is_path(name.partition("@")[0])


def last_part(path: str) -> str:
    """Return the last part of a path of any system."""
    text = path.removeprefix("file://")
    windows = "\\" in text or re.match(r"[A-Za-z]:", text)
    name = (PureWindowsPath(text) if windows else PurePosixPath(text)).name
    return "_" if name in ("", "..") else name


def _rewritten(path: Path, privacy: Privacy, read: Callable[[str], Any], write: Callable[[Any], str]) -> bytes | None:
    try:
        text = path.read_text(encoding="utf-8")
        content = read(text)
    except (ValueError, yaml.YAMLError) as error:
        raise WiseMergeError(f"{path} cannot be read ({error}), so nobody could use it; copy it again") from error
    cleaned = privacy.value(content)
    # Comments and duplicate keys are not in the parsed content.
    if cleaned == content and not any(folder in text for folder in privacy.folders):
        return None
    return (write(cleaned).rstrip("\n") + "\n").encode()
