"""LM heads that are stored, or left to the embeddings, whatever the config says of them.

transformers ties the two where a checkpoint stores one of them, or both with equal values; a head of other values it
loads as it is, and warns that the config is wrong. So where a checkpoint lacks one of the two,
the other stands for it. Of weights only these two are read, byte by byte up to the first difference.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TypeVar

from wise_merge.checkpoints.equality import equal_tensors
from wise_merge.checkpoints.headers import TensorHeader, read_headers
from wise_merge.checkpoints.ties import counterpart, is_head

T = TypeVar("T")


def separate_head(directory: Path) -> str | None:
    """Return the LM head of a checkpoint that also stores embeddings, if their values differ; None otherwise."""
    headers = read_headers(directory)
    for name in filter(is_head, headers):
        embeddings = counterpart(name, headers)
        if embeddings is not None and not equal_tensors(directory, name, embeddings):
            return name
    return None


def stand_ins(folders: Sequence[Path], headers: Sequence[Mapping[str, TensorHeader]]) -> list[dict[str, str]]:
    """Return what each checkpoint lacks and another has, with the name of the stored tensor that it is tied to.

    A head that equals the embeddings beside it wherever it is stored is not among them: the models are tied, and it
    can be left out. For checkpoints that fit each other (`architecture.check_same_model`).
    """
    stand_ins_of_each: list[dict[str, str]] = []
    for number, own in enumerate(headers):
        others = [other for other in range(len(headers)) if other != number]
        lacking: dict[str, str] = {}
        for name in sorted({name for other in others for name in headers[other]} - own.keys()):
            tie = counterpart(name, own)
            if tie is not None and (not is_head(name) or _owner(name, others, folders, headers) is not None):
                lacking[name] = tie
        stand_ins_of_each.append(lacking)
    return stand_ins_of_each


def _owner(
    head: str, candidates: Sequence[int], folders: Sequence[Path], headers: Sequence[Mapping[str, TensorHeader]]
) -> int | None:
    """Return the first checkpoint that stores an LM head of other values than its embeddings; None if there is none."""
    for number in candidates:
        if head in headers[number]:
            beside = counterpart(head, headers[number])
            if beside is None or not equal_tensors(folders[number], head, beside):
                return number
    return None


def head_warnings(
    names: Sequence[str],
    folders: Sequence[Path],
    headers: Sequence[Mapping[str, TensorHeader]],
    lacking: Sequence[Mapping[str, str]],
) -> list[str]:
    """Return a sentence for each tensor that `stand_ins` has found.

    Args:
        names: what the checkpoints are called.
        folders: of each.
        headers: of each.
        lacking: `stand_ins` of these.
    """
    warnings = []
    for number, stand_in in enumerate(lacking):
        others = [other for other in range(len(names)) if other != number]
        for name, tie in stand_in.items():
            if is_head(name):
                owner = _owner(name, others, folders, headers)
                assert owner is not None
                warnings.append(
                    f"{names[owner]} has its own {name}, though its config ties it (tie_word_embeddings); "
                    f"{names[number]} has none, so its {tie} counts as that, and the merge has its own head, with "
                    "tie_word_embeddings: false"
                )
            else:
                warnings.append(f"{names[number]} stores {tie} alone, which counts as its {name}, too")
    return warnings


def completed(stored: Mapping[str, T], stand_in: Mapping[str, str]) -> dict[str, T]:
    """Return what a checkpoint stores, by name, with what stands for the tensors that it lacks."""
    return {**stored, **{name: stored[tie] for name, tie in stand_in.items()}}
