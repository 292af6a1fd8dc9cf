"""`<task>_passk` for any generation task that lm-eval knows, made when it is asked for.

lm-eval's index gets an entry for such a name only once somebody names it, so that listing its 14,000 tasks costs what
it cost before. Names of groups and tags stand for the tasks in them, patterns (`mmlu_pro_*_passk`) for all that
match.
"""

import fnmatch
import functools
import importlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from wise_merge.hosts.lm_eval.messages import TaskInputError, log
from wise_merge.text import counted, near

SUFFIX = "_passk"

#: The class of the tasks that are made, imported when the first one is; as a string, because it lies above this.
CONVERTED = "wise_merge.tasks.converted.task:ConvertedTask"

#: Names that have been made in this process: settings by task (`data_file`) may name them.
made: set[str] = set()

#: Metrics over all problems at once, of which a single completion has none.
OF_THE_CORPUS = ("bleu", "chrf", "chrf++", "ter", "mcc", "perplexity", "brier_score", "bits_per_byte", "pearsonr")

#: Why tasks of another output type have no samples.
_NOT_SAMPLED = {
    "multiple_choice": "it compares the log-likelihoods of given answers, so nothing is sampled",
    "loglikelihood": "it takes the log-likelihood of a given text, so nothing is sampled",
    "loglikelihood_rolling": "it takes the log-likelihood of a given text, so nothing is sampled",
}


def convert_on_demand(manager_module: Any) -> None:
    """Make every `TaskManager` of lm-eval know `<task>_passk` when such a name is looked up."""
    manager = manager_module.TaskManager
    match, load = manager.match_tasks, manager.load

    @functools.wraps(match)
    def match_tasks(self: Any, task_list: Any) -> Any:
        names = [task_list] if isinstance(task_list, str) else list(task_list)
        found = set(match(self, names))
        for name in names:
            found.update(add(self, name))
        return sorted(found)

    @functools.wraps(load)
    def load_with_ours(self: Any, task_list: Any) -> Any:
        for spec in task_list if isinstance(task_list, list) else [task_list]:
            if isinstance(spec, str) and not spec.endswith(".yaml"):
                add(self, spec)
        return load(self, task_list)

    manager.match_tasks, manager.load = match_tasks, load_with_ours


def add(manager: Any, pattern: str) -> list[str]:
    """Make the tasks of a name or pattern that ends in `_passk`, and return their names; none for any other.

    Raises a `TaskInputError` where no such task can be made, with the reason.

    Args:
        manager: of lm-eval; its index gets the entries.
        pattern: as the user wrote it.
    """
    index = manager.task_index
    if pattern in index or not pattern.endswith(SUFFIX):
        return []
    wanted = pattern.removesuffix(SUFFIX)
    bases = [name for name in fnmatch.filter(index, wanted) if f"{name}{SUFFIX}" not in index]
    if not bases:
        if any(fnmatch.filter(index, pattern)):
            return []
        likely = [*near(pattern, [name for name in index if name.endswith(SUFFIX)], most=2, cutoff=0.7)]
        likely += [f"{name}{SUFFIX}" for name in near(wanted, index, most=3, cutoff=0.6) if not name.endswith(SUFFIX)]
        raise TaskInputError(
            f"there is no task {pattern}, and lm-eval has no task {wanted} to make it from"
            + (f"; near it are {', '.join(likely)}" if likely else "")
        )
    names: list[str] = []
    refused: dict[str, str] = {}
    for base in bases:
        names += _convert(index, base, refused)
    if refused and not names:
        base, reason = next(iter(refused.items()))
        others = f" (nor {counted(len(refused) - 1, 'other')} of {pattern})" if len(refused) > 1 else ""
        raise TaskInputError(f"{base}{SUFFIX} cannot be made from {base}: {reason}{others}")
    if refused:
        log.warning(
            "%s leaves out %s, such as %s: %s",
            *(pattern, counted(len(refused), "task"), *next(iter(refused.items()))),
        )
    return names


def _convert(index: Any, base: str, refused: dict[str, str]) -> list[str]:
    """Add the entries for a task, group or tag of lm-eval; return the names to be run.

    Args:
        index: of lm-eval, from names to entries.
        base: name in the index.
        refused: gets the reason for each task that cannot be made.
    """
    entry = index[base]
    kind = entry.kind.name
    if f"{base}{SUFFIX}" in index:
        return [f"{base}{SUFFIX}"]
    if kind == "TAG":
        return [name for member in sorted(entry.tags) if member in index for name in _convert(index, member, refused)]
    if kind == "GROUP":
        return _convert_group(index, entry, refused)
    reason = _why_not(entry)
    if reason is not None:
        refused[base] = reason
        return []
    return [_add_task(index, base, {"yaml_path": entry.yaml_path} if entry.yaml_path else {"config": entry.cfg})]


def _add_task(index: Any, base: str, original: Mapping[str, Any]) -> str:
    """Add the entry of a task; `original` says where its configuration is."""
    name = f"{base}{SUFFIX}"
    kinds: Any = importlib.import_module("lm_eval.tasks.manager")
    module, _, attribute = CONVERTED.partition(":")
    made_by = getattr(importlib.import_module(module), attribute)
    unsafe = bool((index[base].cfg if base in index else original["config"]).get("unsafe_code"))
    cfg = {
        **{"task": name, "class": made_by, "converted_from": base},
        **{"original": dict(original), "runs_programs": unsafe},
    }
    index[name] = kinds.Entry(name=name, kind=kinds.Kind.PY_TASK, yaml_path=None, cfg=cfg)
    made.add(name)
    return name


def _convert_group(index: Any, entry: Any, refused: dict[str, str]) -> list[str]:
    """Add the tasks of a group, and a group of them; its means are lm-eval's own, weighted by problems."""
    members: list[Any] = []
    for member in entry.cfg["task"] if isinstance(entry.cfg.get("task"), list) else []:
        if isinstance(member, str):
            members += _convert(index, member, refused) if member in index else []
            continue
        base = member.get("task")
        if not isinstance(base, str):
            # A group within the group, written out in its place.
            inner = index.get(member.get("group"))
            members += _convert(index, inner.name, refused) if inner is not None else []
        elif base in index:
            settings = {key: value for key, value in member.items() if key != "task"}
            members += [{"task": name, **settings} for name in _convert(index, base, refused)]
        else:
            members.append(_add_task(index, base, {"config": dict(member)}))
    if not members:
        return []
    name = f"{entry.name}{SUFFIX}"
    kinds: Any = importlib.import_module("lm_eval.tasks.manager")
    cfg: dict[str, Any] = {"group": name, "task": members}
    if entry.cfg.get("aggregate_metric_list"):
        cfg["aggregate_metric_list"] = [
            {"metric": "pass@1", "aggregation": "mean", "weight_by_size": True, "filter_list": "samples"}
        ]
    index[name] = kinds.Entry(name=name, kind=kinds.Kind.GROUP, yaml_path=None, cfg=cfg)
    return [name]


def _why_not(entry: Any) -> str | None:
    """Return why no task of K samples can be made from one of lm-eval; None if nothing speaks against it yet."""
    cfg = entry.cfg or {}
    if entry.kind.name != "TASK":
        return "it is a Python class of its own, and only tasks that a YAML file describes can be taken"
    output = cfg.get("output_type") or "generate_until"
    if output != "generate_until":
        return _NOT_SAMPLED.get(output, f"its output type is {output}")
    metrics = metric_names(cfg.get("metric_list") or ())
    if metrics and all(metric in OF_THE_CORPUS for metric in metrics):
        return f"{' and '.join(metrics)} is of all problems at once, so no completion is right or wrong by itself"
    return None


def metric_names(metric_list: Iterable[Mapping[str, Any]]) -> Sequence[str]:
    """Return the names of a task's metrics, of functions the part behind the last dot."""
    return [str(getattr(entry["metric"], "__name__", entry["metric"])).rpartition(".")[2] for entry in metric_list]
