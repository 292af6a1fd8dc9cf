"""The configuration of the task that another is made from, with its functions, as lm-eval reads it."""

from collections.abc import Mapping
from copy import deepcopy
from pathlib import Path
from typing import Any

from lm_eval.tasks._yaml_loader import load_yaml

from wise_merge.tasks.converted.programs import CodeEval

#: Keys of a file that are for lm-eval's index, not for a task.
_OF_THE_INDEX = ("tag", "group", "task_list")


def configuration(original: Mapping[str, Any], code_eval: CodeEval | None = None) -> dict[str, Any]:
    """Return the configuration of a task.

    Args:
        original: either `yaml_path`, the file that describes it, or `config`, the configuration itself.
        code_eval: what its functions get as `code_eval`, None = what they ask for.
    """
    if "yaml_path" not in original:
        config = deepcopy(dict(original["config"]))
    elif code_eval is None:
        config = deepcopy(load_yaml(original["yaml_path"], resolve_func=True))
    else:
        with code_eval.in_its_place(Path(original["yaml_path"]).parent):
            config = deepcopy(load_yaml(original["yaml_path"], resolve_func=True))
        code_eval.forget()
    return {key: value for key, value in config.items() if key not in _OF_THE_INDEX}
