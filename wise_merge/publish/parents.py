"""What the cards of the checkpoints say that holds for their average too: licence and languages."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from wise_merge.checkpoints.hub import card
from wise_merge.errors import WiseMergeError, first_line
from wise_merge.publish.merged import PAIR, Merged
from wise_merge.publish.privacy import Privacy, is_hub_id
from wise_merge.text import enumeration

#: What belongs to a licence that is not one of the Hub's list.
LICENCE = ("license", "license_name", "license_link")


@dataclass(frozen=True)
class Inherited:
    """What an average has from its parents.

    Attributes:
        licence: `license`, and `license_name` and `license_link` if it is not one of the Hub's list; empty = unknown.
        languages: as the Hub spells them.
        warnings: sentences for the person who publishes.
    """

    licence: dict[str, str]
    languages: tuple[str, ...]
    warnings: tuple[str, ...]


def inherited(
    merged: Merged, privacy: Privacy, licence: str | None, earlier: Mapping[str, str] | None = None
) -> Inherited:
    """Return licence and languages of a model, from the cards of its parents.

    Args:
        merged: the model.
        privacy: knows where its parents are on the Hub.
        licence: overrules theirs.
        earlier: keys of the licence in an earlier card of this model, which hold where the parents say nothing.
    """
    metadata: dict[str, dict[str, Any]] = {}
    doubtful: dict[str, list[str]] = {}
    for role in merged.roles:
        own, reason = _metadata(merged.name(role), privacy.names[merged.name(role)])
        metadata[role] = own
        if reason:
            unknown = "" if own else ", so neither its licence nor its languages are known"
            doubtful.setdefault(f"{reason}{unknown}", []).append(role)
    # Of many checkpoints, most have no card for one reason; of two, each has a line of its own.
    warnings = [
        f"{called}: {text}"
        for text, roles in doubtful.items()
        for called in (roles if merged.is_pair or len(roles) == 1 else [f"each of {enumeration(roles, 'and')}"])
    ]
    languages = _languages(list(metadata.values()))
    if licence is not None:
        return Inherited({"license": licence}, languages, tuple(warnings))
    common, doubts = _common_licence(metadata, earlier or {})
    return Inherited(common, languages, (*warnings, *doubts))


def _common_licence(
    metadata: Mapping[str, dict[str, Any]], earlier: Mapping[str, str]
) -> tuple[dict[str, str], list[str]]:
    """Return the licence of all parents, and warnings about it."""
    licences = {role: _licence(role, own) for role, own in metadata.items()}
    known = {role: own for role, own in licences.items() if "license" in own}
    # One of each; of many checkpoints, most have the same.
    different = {tuple(own.items()): role for role, own in reversed(known.items())}
    if len(different) > 1:
        roles = [role for role in known if role in different.values()]
        first, *others = (f"{', '.join(known[role].values())}" for role in roles)
        rest = "".join(f", {role} {licence}" for role, licence in zip(roles[1:], others, strict=True))
        raise WiseMergeError(
            f"{roles[0]} has the licence {first}{rest}; decide which holds for their average, and say so by --license"
        )
    if not known:
        nothing = "no licence is known, and the card has none; say which by --license, such as --license mit"
        return dict(earlier), [] if earlier else [nothing]
    licence, warnings = next(iter(known.values())), []
    if len(known) < len(metadata):
        of = "that of the other is" if len(metadata) == len(PAIR) else "those of the others are"
        warnings.append(f"the licence, {licence['license']}, is that of {enumeration(known, 'and')}; {of} not known")
    if earlier and earlier != licence:
        was = earlier["license"]
        warnings.append(f"the card had the licence {was}, and now has {licence['license']}; --license {was} keeps it")
    return licence, warnings


def _licence(role: str, metadata: dict[str, Any]) -> dict[str, str]:
    """Return what a card says of its licence, of which it may have a list; empty if it says nothing."""
    value = metadata.get("license")
    names = [str(name).lower() for name in value] if isinstance(value, list) else [str(value or "").lower()]
    if len(names) > 1:
        raise WiseMergeError(
            f"{role} has several licences, {' and '.join(names)}; decide which holds for the average, and say so by "
            "--license"
        )
    if not names or not names[0]:
        return {}
    return {key: str(metadata[key]) for key in LICENCE if metadata.get(key)} | {"license": names[0]}


def _metadata(name: str, shown: str) -> tuple[dict[str, Any], str | None]:
    """Return the metadata of a checkpoint's card, and why there is none, or where else it comes from.

    That of the Hub adds what the card of a local folder does not say: trainers write cards without a licence.
    """
    local, reason = _local_metadata(Path(name.split("+")[-1]))
    identity = shown.split("+")[-1]
    if "license" in local or not is_hub_id(identity):
        return local, reason
    remote, reason = _hub_metadata(identity)
    return {**remote, **local}, None if local and not remote else reason


def _local_metadata(folder: Path) -> tuple[dict[str, Any], str | None]:
    from huggingface_hub import ModelCard

    # Trainers write the card of a run beside its checkpoints.
    beside = [folder.resolve().parent] if folder.resolve().name.startswith("checkpoint-") else []
    for place in [folder, *beside] if folder.is_dir() else []:
        path = place / "README.md"
        if path.is_file():
            try:
                own = ModelCard(path.read_text(encoding="utf-8"), ignore_metadata_errors=True)
            except (OSError, ValueError, yaml.YAMLError) as error:
                return {}, f"{path} cannot be read ({first_line(error)})"
            return own.data.to_dict(), None
    return {}, "it has no card"


def _hub_metadata(identity: str) -> tuple[dict[str, Any], str | None]:
    from huggingface_hub import ModelCard

    try:
        path, doubt = card(identity)
        if path is None:
            return {}, doubt
        return ModelCard(path.read_text(encoding="utf-8"), ignore_metadata_errors=True).data.to_dict(), doubt
    except (OSError, ValueError, yaml.YAMLError) as error:
        return {}, f"the card of {identity} cannot be read ({first_line(error)})"


def _languages(metadata: Sequence[dict[str, Any]]) -> tuple[str, ...]:
    spelt: list[str] = []
    for entry in metadata:
        languages = entry.get("language", [])
        # YAML takes Norwegian for "no".
        spelt += [
            "no" if language is False else str(language)
            for language in (languages if isinstance(languages, list) else [languages])
            if language is not None
        ]
    return tuple(dict.fromkeys(spelt))
