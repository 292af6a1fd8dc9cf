"""`<task>_passk` for any generation task that lm-eval knows, made when it is asked for.

lm-eval's index gets an entry for such a name only once somebody names it, so that listing its 14,000 tasks costs what
it cost before. Groups and tags are converted with what is in them; a pattern (`mmlu_pro_*_passk`) stands for all tasks
that match.
"""

import fnmatch
import functools
import importlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from wise_merge.hosts import versions
from wise_merge.hosts.lm_eval import parts
from wise_merge.hosts.lm_eval.messages import TaskInputError, log
from wise_merge.hosts.part import first_fault
from wise_merge.text import counted, enumeration, near

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
#: Kinds of entries in lm-eval's index that stand for several tasks.
_MANY = ("GROUP", "TAG")
#: What of a group's configuration is about the group; all else are settings of the tasks in it.
_OF_THE_GROUP = ("group", "group_alias", "task", "tag", "aggregate_metric_list", "metadata")


def convert_on_demand(manager_module: Any) -> None:
    """Make every `TaskManager` of lm-eval know `<task>_passk` when such a name is looked up."""
    manager = manager_module.TaskManager
    match, load = getattr(manager, "match_tasks", None), getattr(manager, "load", None)
    if match is None or load is None:
        return

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
            _add_named(self, spec)
        return load(self, task_list)

    manager.match_tasks, manager.load = match_tasks, load_with_ours


def add(manager: Any, pattern: str) -> list[str]:
    """Make the tasks of a name or pattern that ends in `_passk`, and return all names it stands for; none for others.

    Raises a `TaskInputError` where no such task can be made, with the reason.

    Args:
        manager: of lm-eval; its index gets the entries.
        pattern: as the user wrote it.
    """
    if not pattern.endswith(SUFFIX):
        return []
    index: Any = getattr(manager, "task_index", {})
    if pattern in index:
        return [pattern]
    bases = _bases(index, pattern)
    fault = first_fault(parts.CONVERSION) if bases else None
    if fault is not None:
        raise TaskInputError(
            f"{versions.not_as_expected('lm_eval', fault)}, so {pattern} cannot be made from "
            f"{pattern.removesuffix(SUFFIX)}; wise-merge's own tasks can be run"
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
    return list(dict.fromkeys(names))


def _bases(index: Any, pattern: str) -> list[str]:
    """Return the names that a pattern is about: one as it is written, else of all tasks that match.

    Groups and tags that match a pattern are left out where tasks do, as lm-eval refuses a task that is named twice.
    """
    wanted = pattern.removesuffix(SUFFIX)
    if wanted in index:
        return [wanted]
    if not wanted.strip("*?"):
        # All there are: those which are there, not one of each task of lm-eval.
        return []
    matching = [name for name in fnmatch.filter(index, wanted) if not name.endswith(SUFFIX)]
    tasks = [name for name in matching if index[name].kind.name not in _MANY]
    if matching or any(fnmatch.filter(index, pattern)):
        return tasks or matching
    likely = near(pattern, [name for name in index if name.endswith(SUFFIX)], most=2, cutoff=0.7)
    others = near(wanted, [name for name in index if not name.endswith(SUFFIX)], most=3, cutoff=0.6)
    likely = list(dict.fromkeys([*likely, *(f"{name}{SUFFIX}" for name in others)]))
    raise TaskInputError(
        f"there is no task {pattern}, and lm-eval has no task {wanted} to make it from"
        + (f"; near it are {', '.join(likely)}" if likely else "")
    )


def _add_named(manager: Any, spec: Any) -> None:
    """Make the tasks that something to be loaded names: itself, or the members of a group of the user's."""
    if isinstance(spec, str) and not spec.endswith(".yaml"):
        add(manager, spec)
    index = getattr(manager, "task_index", {})
    entry = index.get(spec) if isinstance(spec, str) else None
    config = spec if isinstance(spec, Mapping) else entry.cfg if entry is not None else None
    members = (config or {}).get("task")
    for member in members if isinstance(members, list) else []:
        if isinstance(member, Mapping) and "group" not in member:
            name = member.get("task")
            # One that is not made from anything is described right here.
            if isinstance(name, str) and name.removesuffix(SUFFIX) in index:
                add(manager, name)
        elif member != spec:
            _add_named(manager, member)


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
        members = [
            name for member in sorted(entry.tags) if member in index for name in _convert(index, member, refused)
        ]
        return [_add_entry(index, base, "TAG", tags=set(members))] if members else []
    if kind == "GROUP":
        return _convert_group(index, entry, refused)
    reason = _why_not(entry.cfg or {})
    if reason is not None:
        refused[base] = reason
        return []
    tags = {f"{tag}{SUFFIX}" for tag in entry.tags}
    return [_add_task(index, base, {"yaml_path": entry.yaml_path} if entry.yaml_path else {"config": entry.cfg}, tags)]


def _add_task(index: Any, base: str, original: Mapping[str, Any], tags: Iterable[str] = ()) -> str:
    """Add the entry of a task; `original` says where its configuration is."""
    module, _, attribute = CONVERTED.partition(":")
    made_by = getattr(importlib.import_module(module), attribute)
    unsafe = bool((index[base].cfg if base in index else original["config"]).get("unsafe_code"))
    cfg = {
        **{"task": f"{base}{SUFFIX}", "class": made_by, "converted_from": base},
        **{"original": dict(original), "runs_programs": unsafe},
    }
    return _add_entry(index, base, "PY_TASK", cfg=cfg, tags=set(tags))


def _add_entry(index: Any, base: str, kind: str, **fields: Any) -> str:
    kinds: Any = importlib.import_module("lm_eval.tasks.manager")
    name = f"{base}{SUFFIX}"
    index[name] = kinds.Entry(name=name, kind=kinds.Kind[kind], yaml_path=None, **fields)
    if kind == "PY_TASK":
        made.add(name)
    return name


def _convert_group(index: Any, entry: Any, refused: dict[str, str]) -> list[str]:
    """Add the tasks of a group, and a group of them; its means are lm-eval's own, weighted by problems."""
    # The index has functions by their names only.
    config = _resolved(entry.yaml_path) if entry.yaml_path else entry.cfg
    cfg = _group(index, config, refused)
    return [_add_entry(index, entry.name, "GROUP", cfg={**cfg, "group": f"{entry.name}{SUFFIX}"})] if cfg else []


def _group(index: Any, config: Mapping[str, Any], refused: dict[str, str]) -> dict[str, Any]:
    """Return the configuration of a group with its tasks, and those of groups in it, converted; empty without any."""
    members: list[Any] = []
    listed = config.get("task")
    for member in [listed] if isinstance(listed, str) else listed or ():
        if isinstance(member, str):
            members += _convert(index, member, refused) if member in index else []
            continue
        kind = "group" if "group" in member else "task"
        name = member.get(kind)
        settings = {key: value for key, value in member.items() if key not in ("task", "group")}
        if name in index:
            members += [
                {**settings, _spoken_of(index, one): one} if settings else one for one in _convert(index, name, refused)
            ]
        elif kind == "group":
            inner = _group(index, member, refused)
            members += [inner] if inner else []
        elif name is not None and (reason := _why_not(member)) is not None:
            refused[name] = reason
        elif name is not None:
            members.append(_add_task(index, name, {"config": dict(member)}))
    if not members:
        return {}
    whole = {key: value for key, value in config.items() if key != "tag"} | {"task": members}
    if whole.pop("aggregate_metric_list", None):
        whole["aggregate_metric_list"] = [
            {"metric": "pass@1", "aggregation": "mean", "weight_by_size": True, "filter_list": "samples"}
        ]
    return whole


def _spoken_of(index: Any, name: str) -> str:
    """Return by which key a group names one of its members."""
    return "group" if index[name].kind.name == "GROUP" else "task"


def _resolved(path: Any) -> dict[str, Any]:
    """Return what stands in a file of lm-eval, with its functions."""
    loader: Any = importlib.import_module("lm_eval.tasks._yaml_loader")
    return dict(loader.load_yaml(path, resolve_func=True))


def _why_not(cfg: Mapping[str, Any]) -> str | None:
    """Return why no task of K samples can be made from one that is so configured; None if nothing speaks against it."""
    if "class" in cfg:
        return "it is a Python class, and only tasks that a YAML file describes can be taken"
    output = cfg.get("output_type") or "generate_until"
    if output != "generate_until":
        return _NOT_SAMPLED.get(output, f"its output type is {output}")
    metrics = metric_names(cfg.get("metric_list") or ())
    if metrics and all(metric in OF_THE_CORPUS for metric in metrics):
        verb = "is" if len(metrics) == 1 else "are"
        return f"{enumeration(metrics, 'and')} {verb} of all problems at once, so no completion alone is right or wrong"
    return None


def metric_names(metric_list: Iterable[Mapping[str, Any]]) -> Sequence[str]:
    """Return the names of a task's metrics, of functions the part behind the last dot."""
    return [str(getattr(entry["metric"], "__name__", entry["metric"])).rpartition(".")[2] for entry in metric_list]
