"""Into which tensors of a checkpoint a temperature is folded, as mergekit names tensors and checkpoints."""

import functools
from collections.abc import Mapping
from typing import Any

from mergekit.common import ModelReference
from mergekit.io.tasks import LoaderCache

from wise_merge.checkpoints.final_norms import folds
from wise_merge.errors import WiseMergeError
from wise_merge.hosts.mergekit.places import config_of


@functools.cache
def folds_of(model: Any) -> Mapping[str, float]:
    """Return the tensors to fold a temperature into, by all their names: mergekit may have another than the file."""
    if not isinstance(model, ModelReference):
        raise WiseMergeError(
            "bang needs the config of a checkpoint to fold its temperature; merge by YAML, not from tensors in memory"
        )
    config = config_of(model)
    folds(config, LoaderCache().get(model).index.tensor_paths)
    return folds(config)
