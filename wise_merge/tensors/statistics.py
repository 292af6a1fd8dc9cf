"""What methods need to know of tensors beside their values, by the names that `Method.statistics` lists.

Those that are fitted to data by a command stand in files, which parameters name; others follow from the configs or
from the names of the tensors.
"""

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from wise_merge.checkpoints.final_norms import folds
from wise_merge.checkpoints.headers import TensorHeader, read_headers
from wise_merge.checkpoints.lookup_tables import is_looked_up
from wise_merge.methods import Method, TensorFile
from wise_merge.recipes.parameters import files_of, temperature_of
from wise_merge.recipes.schema import Recipe
from wise_merge.tensor_files import fisher, signature

#: The module of each kind of file.
_KINDS: dict[str, Any] = {fisher.KIND: fisher, signature.KIND: signature}


def statistics_of(
    recipe: Recipe, method: Method, models: Sequence[str], config: Mapping[str, Any], names: Collection[str]
) -> dict[str, dict[str, float]]:
    """Return the statistics of each tensor that has any.

    Args:
        recipe: without slices and modules.
        method: of the recipe.
        models: as the recipe names them.
        config: of the first of them.
        names: of all stored tensors.
    """
    statistics: dict[str, dict[str, float]] = {}
    if "logit_offset" in method.statistics and any(temperature_of(recipe, model) != 1.0 for model in models):
        for name, offset in folds(config, names).items():
            statistics.setdefault(name, {})["logit_offset"] = offset
    for name in names:
        if by_name := statistics_by_name(method, name):
            statistics.setdefault(name, {}).update(by_name)
    return statistics


def statistics_by_name(method: Method, name: str) -> dict[str, bool]:
    """Return the statistics of one tensor that follow from its name; an LM head goes by its own, tied or not."""
    return {"looked_up": True} if "looked_up" in method.statistics and is_looked_up(name) else {}


def statistics_in_files(method: Method, parameters: Mapping[str, Any], names: Sequence[str]) -> dict[str, Any]:
    """Return the statistics of one tensor that files hold, not read yet (`tensor_files.stored`).

    Args:
        method: that merges.
        parameters: of the kernel for this tensor.
        names: under which files may have the tensor; the first that is there counts.
    """
    statistics: dict[str, Any] = {}
    for parameter in method.files:
        assert isinstance(parameter.range, TensorFile)
        if parameters[parameter.name]:
            kind = _KINDS[parameter.range.kind]
            statistics |= kind.statistics(parameter.name, parameters[parameter.name], names)
    return statistics


def check_files(recipe: Recipe, folders: Mapping[str, Path]) -> None:
    """Raise `WiseMergeError` for a file of a recipe that is not of the model with which it stands, or holds no numbers.

    Reads the files and the weights that they belong to, once.

    Args:
        recipe: of one of our methods, checked and without slices and modules.
        folders: of each model, by its name in the recipe, in the order of the models.
    """
    first = next(iter(folders))
    headers: dict[str, Mapping[str, TensorHeader]] = {}
    for parameter, model, path in files_of(recipe, list(folders)):
        assert isinstance(parameter.range, TensorFile)
        of = first if model is None else model
        headers.setdefault(of, read_headers(folders[of]))
        _KINDS[parameter.range.kind].check(path, model=of, folder=folders[of], headers=headers[of])


def check_all_found(method: Method, parameters: Mapping[str, Any], planned: Collection[Sequence[str]]) -> None:
    """Raise `WiseMergeError` for a file of a model's changes of which a merge would pass over a part in silence.

    Args:
        method: that merges.
        parameters: of the whole merge, as the recipe has them.
        planned: of each tensor that is merged, the names under which files may have it.
    """
    for parameter in method.files:
        assert isinstance(parameter.range, TensorFile)
        if parameter.range.kind == signature.KIND and parameters.get(parameter.name):
            signature.check_all_found(parameters[parameter.name], planned)
