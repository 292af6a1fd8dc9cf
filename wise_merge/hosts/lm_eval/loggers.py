"""What lm-eval 0.4.13's own logger of W&B needs to take tasks like ours with `--log_samples`, and groups of any tasks.

It looks the names of a task's metrics up in its configuration, where tasks that are classes have none, and every name
of the results among the configurations, where groups are not: it then logs nothing of the samples, and says so.
"""

import functools
import importlib
from collections.abc import Mapping
from typing import Any

from wise_merge.hosts.lm_eval.parts import LOGGERS
from wise_merge.hosts.part import first_fault

#: Keys of results that are no metric: how lm-eval calls the task, and how many samples it has.
_NO_METRIC = {"name", "alias", "sample_len", "samples"}


def mend_wandb_logger() -> None:
    """Make `--wandb_args` take our samples; where the logger is not as expected, it stays as it is."""
    if first_fault(LOGGERS) is not None:
        return
    logger: Any = importlib.import_module("lm_eval.loggers.wandb_logger").WandbLogger
    original = logger.post_init
    if getattr(original, "mended_by_wise_merge", False):
        return

    @functools.wraps(original)
    def post_init(self: Any, results: Mapping[str, Any]) -> None:
        original(self, with_metric_names(results))
        self.group_names += [name for name in self.task_names if name not in results.get("configs", {})]

    post_init.mended_by_wise_merge = True  # type: ignore[attr-defined]
    logger.post_init = post_init


def with_metric_names(results: Mapping[str, Any]) -> dict[str, Any]:
    """Return lm-eval's results with the names of all metrics that are numbers in each configuration that has others."""
    configs = {}
    for task, config in results.get("configs", {}).items():
        found = _metrics(results["results"].get(task, {}))
        named = [one.get("metric") for one in config.get("metric_list") or ()]
        right = named and all(name in found for name in named)
        configs[task] = config if right else {**config, "metric_list": [{"metric": name} for name in found]}
    return {**results, "configs": configs}


def _metrics(found: Mapping[str, Any]) -> list[str]:
    """Return the metrics among the keys of a task's results, each once."""
    names = {
        key.partition(",")[0]: None
        for key, value in found.items()
        if isinstance(value, (int, float)) and "_stderr" not in key
    }
    return [name for name in names if name not in _NO_METRIC]
