"""Whose evaluation one is: that of the model that is published, of one of its checkpoints, or of another model."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

from wise_merge.publish.evidence import MODEL
from wise_merge.publish.merged import Merged
from wise_merge.publish.privacy import Privacy


@dataclass(frozen=True)
class Known:
    """The models that an evaluation may be of.

    Attributes:
        merged: the model that is published.
        privacy: knows how its checkpoints are called on the Hub.
        names: what the model itself is called on the Hub.
        said: names that evaluations have for it, by the word of the user.
    """

    merged: Merged
    privacy: Privacy
    names: Collection[str]
    said: Collection[str] = ()

    def role_of(self, name: str, revision: str | None, places: Sequence[Path]) -> str | None:
        """Return the role of the model that an evaluation names; None if it is another one.

        Args:
            name: as the evaluation has it: a folder, or an id of the Hub.
            revision: of an id; None = main.
            places: from where a folder may have been named, the likeliest first.
        """
        if not name:
            return None
        if name in (*self.names, *self.said):
            return MODEL
        folder = next((place / name for place in places if _is_model(place / name)), None)
        if folder is not None and _same(folder, self.merged.folder):
            return MODEL
        for role in self.merged.roles:
            # lm-eval names an adapter alone, a recipe with its base.
            called = self.merged.name(role)
            own = called.split("+")[-1]
            if folder is not None and Path(own).is_dir() and _same(folder, Path(own)):
                return role
            ids = {own, self.privacy.names[called].split("+")[-1]}
            if folder is None and (name if revision in (None, "main") else f"{name}@{revision}") in ids:
                return role
        return None


def _is_model(folder: Path) -> bool:
    """Return whether a folder holds a model or an adapter; lm-eval calls folders of its own after the model."""
    return any((folder / name).is_file() for name in ("config.json", "adapter_config.json"))


def _same(one: Path, other: Path) -> bool:
    return one.resolve() == other.resolve()
