"""The configuration of the task that another is made from, with its functions, as lm-eval reads it."""

from collections.abc import Mapping
from copy import deepcopy
from typing import Any

from lm_eval.tasks._yaml_loader import load_yaml

#: Keys of a file that are for lm-eval's index, not for a task.
_OF_THE_INDEX = ("tag", "group", "task_list")


def configuration(original: Mapping[str, Any]) -> dict[str, Any]:
    """Return the configuration of a task.

    Args:
        original: either `yaml_path`, the file that describes it, or `config`, the configuration itself.
    """
    if "yaml_path" in original:
        config = deepcopy(load_yaml(original["yaml_path"], resolve_func=True))
    else:
        config = deepcopy(dict(original["config"]))
    return {key: value for key, value in config.items() if key not in _OF_THE_INDEX}
