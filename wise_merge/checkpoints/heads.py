"""LM heads that are stored, or left to the embeddings, whatever the config says of them.

transformers ties the two where a checkpoint stores one of them, or both with equal values; a head of other values it
loads as it is, and warns that the config is wrong. So a checkpoint that lacks one of the two has it all the same: it
is the other. Of weights only these two are read, byte by byte up to the first difference.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import TypeVar

from wise_merge.checkpoints.headers import TensorHeader, read_headers
from wise_merge.checkpoints.pairs import equal_tensors
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


def stand_ins(
    folders: tuple[Path, Path], headers: tuple[Mapping[str, TensorHeader], Mapping[str, TensorHeader]]
) -> tuple[dict[str, str], dict[str, str]]:
    """Return what early and late lack and the other has, each with the name of the stored tensor that it is tied to.

    A head that equals the embeddings beside it is not among them: the two models are tied, and it can be left out.
    For checkpoints that fit each other (`headers.check_same_model`).
    """
    found: tuple[dict[str, str], dict[str, str]] = ({}, {})
    for lacking in (0, 1):
        have, lack = headers[1 - lacking], headers[lacking]
        for name in sorted(have.keys() - lack.keys()):
            tie = counterpart(name, lack)
            if tie is None:
                continue
            beside = counterpart(name, have)
            if is_head(name) and (beside is None or equal_tensors(folders[1 - lacking], name, beside)):
                continue
            found[lacking][name] = tie
    return found


def head_warnings(names: tuple[str, str], lacking: tuple[Mapping[str, str], Mapping[str, str]]) -> list[str]:
    """Return a sentence for each tensor that `stand_ins` has found; `names` are those of early and late."""
    return [
        f"{names[1 - side]} has its own {name}, though its config ties it (tie_word_embeddings); {names[side]} has "
        f"none, so its {tie} counts as that, and the merge has its own head, with tie_word_embeddings: false"
        if is_head(name)
        else f"{names[side]} stores {tie} alone, which counts as its {name}, too"
        for side in (0, 1)
        for name, tie in lacking[side].items()
    ]


def completed(stored: Mapping[str, T], stand_in: Mapping[str, str]) -> dict[str, T]:
    """Return what a checkpoint stores, by name, with what stands for the tensors that it lacks."""
    return {**stored, **{name: stored[tie] for name, tie in stand_in.items()}}
