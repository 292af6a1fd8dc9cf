"""Whether checkpoints fit each other: different ones, of one architecture, with the same tensors."""

from collections.abc import Sequence
from pathlib import Path

from wise_merge.checkpoints.architecture import check_same_model
from wise_merge.checkpoints.equality import same_weights
from wise_merge.checkpoints.pairs import pair_warnings
from wise_merge.errors import WiseMergeError


def check_fit(
    folders: Sequence[Path], names: Sequence[str], roles: Sequence[str], *, ignore_vocabulary: bool = False
) -> list[str]:
    """Return what is odd about merging these checkpoints, a sentence each; raise if they cannot be merged.

    Args:
        folders: of the checkpoints, whole.
        names: what the recipe calls them.
        roles: "early" and "late", or other words; see `recipes.models.roles`.
        ignore_vocabulary: see `check_same_model`.
    """
    for number, folder in enumerate(folders):
        for before in range(number):
            if folders[before].samefile(folder):
                if tuple(roles) == ("early", "late"):
                    raise WiseMergeError(
                        f"early {names[0]} and late {names[1]} are one folder; name the late checkpoint in models"
                    )
                raise WiseMergeError(f"models {names[before]} and {names[number]} are one folder; name it once")
    for folder, role in zip(folders[1:], roles[1:], strict=True):
        pair = ("early", "late") if role == "late" else (str(folders[0]), str(folder))
        check_same_model(folders[0], folder, pair, ignore_vocabulary=ignore_vocabulary)
    if tuple(roles) == ("early", "late"):
        return pair_warnings(*folders)
    return [
        f"{names[0]} and {names[number]} hold the same weights"
        for number in range(1, len(folders))
        if same_weights(folders[0], folders[number])
    ]
