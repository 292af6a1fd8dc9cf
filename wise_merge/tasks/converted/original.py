"""The configuration of the task that another is made from, with its functions, as lm-eval reads it."""

import contextlib
import random
import re
from collections.abc import Iterator, Mapping
from copy import deepcopy
from importlib.metadata import PackageNotFoundError, requires
from pathlib import Path
from typing import Any

import datasets
from lm_eval.tasks._yaml_loader import load_yaml
from packaging.requirements import Requirement

from wise_merge.errors import WiseMergeError
from wise_merge.tasks.converted.programs import CodeEval

#: The seed that lm-eval's defaults start a run with.
_SEED = 0

#: Keys of a file that are for lm-eval's index, not for a task.
_OF_THE_INDEX = ("tag", "group", "task_list")


def configuration(original: Mapping[str, Any], code_eval: CodeEval | None = None) -> dict[str, Any]:
    """Return the configuration of a task; its `metadata` are a dict.

    Raises a `WiseMergeError` if its file or the functions it names cannot be had, as where a package is not installed.

    Args:
        original: either `yaml_path`, the file that describes it, or `config`, the configuration itself.
        code_eval: what its functions get as `code_eval`, None = what they ask for.
    """
    path = original.get("yaml_path")
    try:
        if not path:
            config = deepcopy(dict(original["config"]))
        else:
            with code_eval.in_its_place(Path(path).parent) if code_eval else contextlib.nullcontext():
                config = deepcopy(load_yaml(path, resolve_func=True))
    # Some tasks of lm-eval end the program where a package is missing.
    except (Exception, SystemExit) as error:
        raise WiseMergeError(f"it cannot be read ({reason(error)}){_remedy(error)}") from error
    metadata = config.get("metadata") or {}
    config["metadata"] = dict(metadata) if isinstance(metadata, Mapping) else {"_metadata": metadata}
    if path:
        config["metadata"]["config_source"] = str(path)
    return {key: value for key, value in config.items() if key not in _OF_THE_INDEX}


@contextlib.contextmanager
def seeded() -> Iterator[None]:
    """Have a task that shuffles choices while it loads its problems shuffle them in one way, on every machine.

    lm-eval seeds once, for all tasks of a run; a sweep has many processes, whose prompts must be the same. The cache of
    `datasets` is not asked either, as it may hold another shuffle.
    """
    state, cached = random.getstate(), datasets.is_caching_enabled()
    random.seed(_SEED)
    datasets.disable_caching()
    try:
        yield
    finally:
        random.setstate(state)
        if cached:
            datasets.enable_caching()


def reason(error: BaseException) -> str:
    """Return an error as one line."""
    return " ".join(f"{type(error).__name__}: {error}".split())


def _remedy(error: BaseException) -> str:
    """Return what to install where one of lm-eval's extras has the package that is missing, else an empty text."""
    module = error.name if isinstance(error, ModuleNotFoundError) else None
    if not module:
        return ""
    package = module.partition(".")[0].replace("_", "-").lower()
    try:
        asked_for = map(Requirement, requires("lm_eval") or ())
    except PackageNotFoundError:
        return ""
    for requirement in asked_for:
        extra = re.search(r"""extra == ['"]([^'"]+)""", str(requirement.marker or ""))
        if extra and requirement.name.replace("_", "-").lower() == package:
            return f"; install lm-eval[{extra[1]}]"
    return ""
