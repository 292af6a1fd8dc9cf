"""Whether two checkpoints mean the same by each row of their embeddings.

Shapes cannot tell: vocabularies of one size may number their tokens differently, and embeddings are often longer
than the vocabulary. Reads tokenizer.json as it stands; builds no tokenizer.
"""

import filecmp
from pathlib import Path
from typing import Any

from wise_merge.checkpoints.files import read_json
from wise_merge.errors import WiseMergeError

#: Advice for checkpoints whose tokens differ.
REMEDY = "lay one tokenizer over both with `tokenizer: {source: union}`"
#: Files of which a tokenizer has at least one.
VOCABULARIES = ("tokenizer.json", "vocab.json", "vocab.txt", "tekken.json", "*.model", "*.tiktoken")
#: Tokenizers that number bytes or code points, and need no file for that.
_OF_BYTES = {"ByT5Tokenizer", "CanineTokenizer", "PerceiverTokenizer"}


def has_tokenizer(directory: Path) -> bool:
    """Return whether a checkpoint has a tokenizer: a vocabulary, or settings of one that needs none."""
    if any(path.is_file() for pattern in VOCABULARIES for path in directory.glob(pattern)):
        return True
    path = directory / "tokenizer_config.json"
    config = read_json(path) if path.is_file() else {}
    return bool(config.get("auto_map")) or config.get("tokenizer_class") in _OF_BYTES


def token_ids(directory: Path) -> dict[str, int] | None:
    """Return the id of every token of a checkpoint's tokenizer, added ones too; None if it is in no form known here."""
    path = directory / "tokenizer.json"
    if path.is_file():
        content = read_json(path)
        model, added = content.get("model"), content.get("added_tokens")
        vocabulary = model.get("vocab") if isinstance(model, dict) else None
        try:
            if isinstance(vocabulary, list):  # Unigram: a list of token and score
                vocabulary = {entry[0]: number for number, entry in enumerate(vocabulary)}
            if not isinstance(vocabulary, dict):
                return None
            return _numbered(path, {**vocabulary, **{token["content"]: token["id"] for token in added or ()}})
        except (LookupError, TypeError):
            raise WiseMergeError(f"{path} is not a tokenizer's file; copy or save it again") from None
    if (directory / "vocab.json").is_file():
        path, added_file = directory / "vocab.json", directory / "added_tokens.json"
        return _numbered(path, {**read_json(path), **(read_json(added_file) if added_file.is_file() else {})})
    return None


def _numbered(path: Path, ids: dict[str, Any]) -> dict[str, int]:
    for token, number in ids.items():
        if not isinstance(number, int):
            raise WiseMergeError(f"{path} gives token {token!r} the number {number!r}; copy or save it again")
    return ids


def compare_tokens(first: Path, other: Path) -> list[str]:
    """Return warnings about tokens that one checkpoint lacks; raise if one token has two ids.

    For checkpoints whose embeddings are merged row by row, without mergekit's tokenizer section.
    """
    if all((folder / "tokenizer.json").is_file() for folder in (first, other)) and filecmp.cmp(
        first / "tokenizer.json", other / "tokenizer.json", shallow=False
    ):
        return []
    first_ids, other_ids = token_ids(first), token_ids(other)
    if first_ids is None or other_ids is None:
        return []
    for token in sorted(first_ids.keys() & other_ids.keys(), key=first_ids.__getitem__):
        if first_ids[token] != other_ids[token]:
            raise WiseMergeError(
                f"token {token!r} is number {first_ids[token]} in {first} but {other_ids[token]} in {other}, so rows "
                f"of different tokens would be averaged; {REMEDY}"
            )
    warnings = []
    for have, lack, ids, others in ((first, other, first_ids, other_ids), (other, first, other_ids, first_ids)):
        extra = sorted(ids.keys() - others.keys(), key=ids.__getitem__)
        if extra:
            more = f" and {len(extra) - 1} more" if len(extra) > 1 else ""
            warnings.append(
                f"token {extra[0]!r} (number {ids[extra[0]]}){more} of {have} is unknown to {lack}; "
                f"the merge has the tokenizer of {first}. To keep the tokens of both, {REMEDY}"
            )
    return warnings
