"""Fisher files: the diagonal of a model's Fisher information, float32, a tensor for each floating one of the model.

Beside the tensors stand the digest of the weights that it is of, and `norm`, the root of the sum of the squares of all
entries. `wise-merge fit fisher` makes them.
"""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from wise_merge.checkpoints import fingerprint
from wise_merge.checkpoints.headers import COMPUTED, FLOATING, TensorHeader
from wise_merge.errors import WiseMergeError
from wise_merge.tensor_files.contents import Contents, mapped, read_contents
from wise_merge.tensor_files.stored import StoredTensor

KIND = "fisher"


def norm_of(contents: Contents) -> float:
    """Return the root of the sum of the squares of all entries of a file, as it says."""
    try:
        norm = float(contents.metadata.get("norm", "nan"))
    except ValueError:
        norm = math.nan
    if not 0 < norm < math.inf:
        raise WiseMergeError(
            f"the Fisher file {contents.path} has the norm {contents.metadata.get('norm')}, and a positive number was "
            "expected; fit it again, on sequences from which the model learns something"
        )
    return norm


def check(path: str, *, model: str, folder: Path, headers: Mapping[str, TensorHeader]) -> None:
    """Raise `WiseMergeError` unless a file is the Fisher of a model: of these very weights, finite, not negative.

    Args:
        path: as the recipe has it.
        model: as the recipe calls it.
        folder: of the model.
        headers: of the model's tensors.
    """
    contents = read_contents(path, KIND)
    norm_of(contents)
    floating = {
        name: header for name, header in headers.items() if header.dtype in FLOATING and not COMPUTED.search(name)
    }
    for name in sorted(contents.headers.keys() ^ floating.keys()):
        whose, other = (path, model) if name in contents.headers else (model, path)
        raise WiseMergeError(
            f"the Fisher file {path} is not of {model}: {whose} has tensor {name}, and {other} has not; fit it to "
            "this checkpoint"
        )
    for name, header in contents.headers.items():
        if header.shape != floating[name].shape or header.dtype != "F32":
            raise WiseMergeError(
                f"the Fisher file {path} is not of {model}: tensor {name} is {header.dtype} of shape {header.shape}, "
                f"and F32 of {floating[name].shape} was expected; fit it to this checkpoint"
            )
    digest = fingerprint.of_weights(folder)
    if contents.metadata.get("digest") != digest:
        raise WiseMergeError(
            f"the Fisher file {path} is of other weights (digest {contents.metadata.get('digest', 'none')[:8]}) than "
            f"{model} has (digest {digest[:8]}); fit it to this checkpoint"
        )
    for name, tensor in mapped(contents).items():
        least, most = (float(one) for one in tensor.aminmax()) if tensor.numel() else (0.0, 0.0)
        if not (least >= 0 and most < math.inf):
            raise WiseMergeError(
                f"tensor {name} of the Fisher file {path} contains {most if least >= 0 else least}; every entry is a "
                "mean of squares: fit it again"
            )


def statistics(parameter: str, paths: Sequence[str], names: Sequence[str]) -> dict[str, Any]:
    """Return what a kernel gets of one tensor: that of each model's file, and each model's norm.

    Args:
        parameter: that names the files.
        paths: a model each.
        names: under which the tensor may be stored; the first that is there counts.
    """
    files = [read_contents(path, KIND) for path in paths]
    stored = []
    for contents in files:
        name = next((name for name in names if name in contents.headers), None)
        if name is None:
            raise WiseMergeError(f"the Fisher file {contents.path} has no tensor {names[0]}; fit it to the checkpoint")
        stored.append(StoredTensor(contents, name))
    return {parameter: tuple(stored), f"{parameter}_norm": tuple(map(norm_of, files))}
