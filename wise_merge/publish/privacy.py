"""No path of the machine leaves it: names of checkpoints become ids of the Hub, and other paths their last part."""

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

import yaml

from wise_merge.checkpoints.places import is_path
from wise_merge.errors import WiseMergeError
from wise_merge.publish.merged import ROLES, Merged

#: A whole text that is a path from the root, of the home or of a drive, with two parts or more.
_ABSOLUTE = re.compile(r"(file://)?(/|~[\w.-]*/|[A-Za-z]:[\\/]|\\\\)[^\s/\\][^\n]*[/\\][^\n]*|~/[^\n]+|file://[^\n]+")
#: In these a text that begins with a slash is a token or a template.
_VOCABULARIES = {"tokenizer.json", "vocab.json", "merges.txt", "vocab.txt", "added_tokens.json", "tekken.json"}
_NO_PATHS_BELOW = {"added_tokens_decoder", "chat_template", "vocab", "merges"}
#: Within a text, what a known folder is followed by.
_REST = r"(?:[/\\][\w.+@=-]*)*"


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
        """Return a text of our own in which names stand for checkpoints, and last parts for paths."""
        for name, shown in sorted(self.names.items(), key=lambda item: -len(item[0])):
            if name != shown:
                text = re.sub(rf"(?<![\w./-]){re.escape(name)}(?![\w/-])", shown.replace("\\", r"\\"), text)
        for folder in self.folders:
            text = re.sub(re.escape(folder) + _REST, lambda match: last_part(match.group()), text)
        return text

    def file(self, path: Path) -> bytes | None:
        """Return the content of a file as it may leave; None if that is the file as it is.

        JSON and YAML are rewritten where they hold a path. Any other text is somebody's own: one with a path in it is
        an error that names the line.
        """
        if path.name in _VOCABULARIES:
            return None
        if path.suffix == ".json":
            return _rewritten(path, self, json.loads, lambda content: json.dumps(content, indent=2, ensure_ascii=False))
        if path.suffix in (".yml", ".yaml"):
            return _rewritten(
                path,
                self,
                yaml.safe_load,
                lambda content: yaml.safe_dump(content, sort_keys=False, allow_unicode=True),
            )
        if path.suffix in (".py", ".md", ".txt", ".jinja") or path.suffix == "":
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
                self.text(key) if isinstance(key, str) else key: entry if key in _NO_PATHS_BELOW else self.value(entry)
                for key, entry in value.items()
            }
        if isinstance(value, list):
            return [self.value(entry) for entry in value]
        if not isinstance(value, str):
            return value
        if value in self.names:
            return self.names[value]
        return last_part(value) if _ABSOLUTE.fullmatch(value) else self.text(value)


def privacy_of(merged: Merged, sources: Mapping[str, str], folders: tuple[Path, ...]) -> tuple[Privacy, list[str]]:
    """Return what stands for what, and warnings about checkpoints that nobody else can find.

    Args:
        merged: the model.
        sources: "early" or "late" -> id on the Hub, `ORG/MODEL` or `ORG/MODEL@REVISION`.
        folders: that the command was given.
    """
    names, warnings = {}, []
    for role in ROLES:
        name = merged.name(role)
        names[name] = sources.get(role) or published(name)
        if not any(is_hub_id(part) for part in names[name].split("+")):
            warnings.append(
                f"{role} is called {names[name]} in what is published, which nobody else can find; if it is on the "
                f"Hub, say where: --source {role}=ORG/MODEL@REVISION"
            )
    local = [Path.home(), Path.cwd(), *folders]
    local += [Path(part) for name in names for part in name.split("+") if Path(part).exists()]
    known = {str(form) for path in local for form in (path.resolve(), path.absolute())}
    known |= {str(path.resolve().parent) for path in local if path.resolve() != Path.home()}
    # A single part, such as /tmp, says nothing of a machine, and stands in many a text.
    kept = {path for path in known if len(Path(path).parts) > 2 or path == str(Path.home()) != "/"}
    return Privacy(names, tuple(sorted(kept, key=lambda path: (-len(path), path)))), warnings


def published(name: str) -> str:
    """Return how a model of a recipe is called in public: an id of the Hub as it is, a path by its last part."""
    return "+".join(part if is_hub_id(part) else last_part(part) for part in name.split("+"))


def is_hub_id(name: str) -> bool:
    """Return whether a name is one of a model on the Hub, with or without @REVISION, rather than of a folder here."""
    repository = name.partition("@")[0]
    return "/" in repository and not is_path(repository) and not Path(name).exists()


def last_part(path: str) -> str:
    """Return the last part of a path of any system."""
    text = path.removeprefix("file://")
    windows = "\\" in text or re.match(r"[A-Za-z]:", text)
    return (PureWindowsPath(text) if windows else PurePosixPath(text)).name or "_"


def _rewritten(path: Path, privacy: Privacy, read: Callable[[str], Any], write: Callable[[Any], str]) -> bytes | None:
    try:
        content = read(path.read_text(encoding="utf-8"))
    except (ValueError, yaml.YAMLError) as error:
        raise WiseMergeError(f"{path} cannot be read ({error}), so nobody could use it; copy it again") from error
    cleaned = privacy.value(content)
    return None if cleaned == content else (write(cleaned).rstrip("\n") + "\n").encode()
