"""How lm-eval 0.4.13 finds our tasks and models, tells a task its model, and prints figures by k.

It has no way of its own for any of this. Without these changes (an lm-eval that has
been rebuilt inside, or `WISE_MERGE_AUTOLOAD=0`) all figures stay as they are.
"""

import atexit
import functools
import importlib
import re
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from wise_merge.errors import WiseMergeError
from wise_merge.hosts.lm_eval import conversion
from wise_merge.hosts.lm_eval.loggers import mend_wandb_logger
from wise_merge.hosts.lm_eval.messages import log

#: Metrics with more than one number: for the JSON, not for the table.
NOT_IN_THE_TABLE = ("curve", "audit")

PACKAGE = Path(__file__).parents[2]

#: Our models by their names for --model, imported when they are asked for; as strings, because they lie above this.
MODELS = {
    "hf-passk": "wise_merge.sampling.hf:HFPassK",
    "vllm-passk": "wise_merge.sampling.vllm:VLLMPassK",
}


def tasks_directory() -> str:
    """Return the folder of our task YAMLs: within the package if installed, beside it in a checkout."""
    for directory in (PACKAGE / "lm_eval_tasks", PACKAGE.parent / "lm_eval_tasks"):
        if directory.is_dir():
            return str(directory)
    raise WiseMergeError(f"the task files are missing from {PACKAGE}; reinstall wise-merge")


def register(manager_module: Any) -> None:
    """Make lm-eval find our tasks and models and print by k, from when `lm_eval.tasks.manager` has been imported.

    The command line imports it before it looks the table's function or a model up.
    """
    add_tasks_directory(manager_module)
    conversion.convert_on_demand(manager_module)
    add_models(importlib.import_module("lm_eval.api.registry"))
    sort_table(importlib.import_module("lm_eval.utils"))


def add_tasks_directory(manager_module: Any) -> None:
    """Make every `TaskManager` of lm-eval look into `tasks_directory` too.

    As if `--include_path` had named it as well; a user's own include path comes
    later and wins. Where lm-eval finds our tasks by the `lm_eval.tasks` entry
    point, nothing is added.
    """
    directory = tasks_directory()
    original = manager_module.TaskManager.__init__

    @functools.cache
    def finds_them_by_itself() -> bool:
        manager = object.__new__(manager_module.TaskManager)
        original(manager, include_defaults=False)
        return "countdown_passk" in manager.all_tasks

    @functools.wraps(original)
    def with_our_tasks(self: Any, verbosity: Any = None, include_path: Any = None, *args: Any, **kwargs: Any) -> None:
        if not finds_them_by_itself():
            paths = include_path if isinstance(include_path, (list, tuple)) else [include_path] if include_path else []
            if Path(directory) not in map(Path, paths):
                include_path = [directory, *paths]
        original(self, verbosity, include_path, *args, **kwargs)

    manager_module.TaskManager.__init__ = with_our_tasks


def add_models(registry_module: Any) -> None:
    """Make lm-eval find `MODELS` by name, unless it does so by the `lm_eval.models` entry points already."""
    registry = getattr(registry_module, "model_registry", None)
    if registry is None:
        return
    # It fills its registry when the first model is looked up, but only if it is empty then.
    importlib.import_module("lm_eval.models")
    for name, target in MODELS.items():
        if name not in registry:
            registry.register(name, target=target)


def sort_table(utils_module: Any) -> None:
    """Make lm-eval's table list pass@k by k as a number, and leave out what only the JSON can hold.

    It sorts names as strings, so pass@16 would come before pass@2. Tasks that are
    not ours are printed as ever.
    """
    original = getattr(utils_module, "make_table", None)
    if original is None:
        return

    @functools.wraps(original)
    def make_table(result_dict: Any, *args: Any, **kwargs: Any) -> Any:
        return original(for_the_table(result_dict), *args, **kwargs)

    utils_module.make_table = make_table


def for_the_table(results: Any) -> Any:
    """Return lm-eval's results with our metrics as the table shall show them; `results` stays as it is."""
    if not isinstance(results, Mapping) or not isinstance(results.get("results"), Mapping):
        return results
    shown: dict[str, Any] = {}
    directions = dict(results.get("higher_is_better") or {})
    for task, metrics in results["results"].items():
        names = {key.partition(",")[0] for key in metrics}
        if not set(NOT_IN_THE_TABLE) <= names:
            continue
        width = max(len(k) for name in names for k in re.findall(r"^pass@(\d+)$", name))
        pad = functools.partial(re.sub, r"^pass@(\d+)", lambda match, width=width: f"pass@{match[1]:>{width}}")
        shown[task] = {
            pad(key): value
            for key, value in metrics.items()
            if key.partition(",")[0].removesuffix("_stderr") not in NOT_IN_THE_TABLE
        }
        directions[task] = {pad(name): direction for name, direction in directions.get(task, {}).items()}
    return {**results, "results": {**results["results"], **shown}, "higher_is_better": directions} if shown else results


def watch_evaluation(ours: type[Any]) -> None:
    """Make lm-eval's `evaluate` call our tasks: `set_model` first, `report` last, `rescue` if it fails.

    lm-eval tells a task in no other way which model completes its prompts. `simple_evaluate`, and so the command
    line, looks `evaluate` up when it has loaded the tasks, which is soon enough.
    """
    evaluator: Any = importlib.import_module("lm_eval.evaluator")
    original = getattr(evaluator, "evaluate", None)
    if original is None or getattr(original, "watched_by_wise_merge", False):
        return

    @functools.wraps(original)
    def evaluate(*args: Any, **kwargs: Any) -> Any:
        given = dict(zip(("lm", "task_dict"), args, strict=False)) | kwargs
        tasks: list[Any] = [task for task in leaves(given.get("task_dict") or {}) if isinstance(task, ours)]
        for task in tasks:
            task.set_model(given.get("lm"))
        leave_process_group_at_exit()
        try:
            results = original(*args, **kwargs)
            # None on all ranks but the first.
            for task in tasks if results is not None else []:
                task.report(results)
        except BaseException:
            for path in filter(None, [task.rescue() for task in tasks]):
                log.error("all that was sampled is in %s, which `wise-merge score` reads", path)
            raise
        return results

    mend_wandb_logger()
    evaluate.watched_by_wise_merge = True  # type: ignore[attr-defined]
    evaluator.evaluate = evaluate


def leave_process_group_at_exit() -> None:
    """Have this process leave torch's process group, if it is in one, before Python ends.

    One that is still in it may abort then, upon which `torchrun` ends the others, the one that still scores included.
    """
    atexit.unregister(_leave_process_group)
    atexit.register(_leave_process_group)


def _leave_process_group() -> None:
    distributed: Any = sys.modules.get("torch.distributed")
    if distributed is not None and distributed.is_available() and distributed.is_initialized():
        distributed.destroy_process_group()


def leaves(nested: Mapping[Any, Any]) -> Iterator[Any]:
    """Yield the tasks of groups within groups."""
    for value in nested.values():
        if isinstance(value, Mapping):
            yield from leaves(value)
        else:
            yield value
