"""The requests of our tasks, built once and used for every model of a sweep, and the verdicts on the answers.

Prompts, settings and checks are those of `lm_eval --tasks ...`, for the same code of lm-eval makes them; only its loop
around one model and one temperature is left out.
"""

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lm_eval.tasks import TaskManager

from wise_merge.answers.benchmarks import Judged
from wise_merge.errors import WiseMergeError
from wise_merge.hosts.lm_eval import conversion
from wise_merge.hosts.lm_eval.conversion import SUFFIX
from wise_merge.hosts.lm_eval.registration import leaves, tasks_directory
from wise_merge.tasks.sampled import SampledTask
from wise_merge.text import excerpt, near

#: lm-eval's default seed for choosing the examples of a few-shot prompt.
_FEWSHOT_SEED = 1234
#: Kinds of entries in lm-eval's index that stand for several tasks.
_MANY = ("GROUP", "TAG")


@dataclass(frozen=True)
class TaskSettings:
    """What `lm_eval` takes besides the model: see its own help.

    Attributes:
        metadata: of the tasks; K (`repeats`) is given apart.
        gen_kwargs: settings of sampling but for the temperature.
        num_fewshot: None = the task's.
        apply_chat_template: to every prompt; a name chooses one of several.
        system_instruction: before every prompt, None = none.
        fewshot_as_multiturn: None = lm-eval's default.
        include_path: a folder of further task files.
        limit: only the first so many problems, None = all.
    """

    metadata: Mapping[str, Any]
    gen_kwargs: Mapping[str, Any]
    num_fewshot: int | None = None
    apply_chat_template: bool | str = False
    system_instruction: str | None = None
    fewshot_as_multiturn: bool | None = None
    include_path: str | None = None
    limit: int | None = None


@dataclass(frozen=True)
class FoundTasks:
    """Tasks that there are.

    Attributes:
        names: of the tasks, those of a group in its place.
        folders: of lm-eval, with the files that some of them are made from: to index these alone takes no time, to
            index all of lm-eval's takes ten seconds.
    """

    names: tuple[str, ...]
    folders: tuple[str, ...]


@dataclass(frozen=True)
class TaskRequests:
    """A task whose requests have been built.

    Attributes:
        name: of the task.
        task: that judges the completions.
        instances: of lm-eval, one per problem.
        golds: what the answers to each problem are compared with, as text; of a long one the beginning.
        max_tokens: of the longest completion allowed.
    """

    name: str
    task: SampledTask
    instances: Sequence[Any]
    golds: Sequence[str]
    max_tokens: int

    def at(self, temperature: float, n: int) -> list[Any]:
        """Return requests for n samples of every problem at a temperature: those of the first, of the second, ..."""
        requests: list[Any] = []
        for instance in self.instances:
            prompt, settings, *rest = instance.arguments
            settings = {**settings, "temperature": temperature, "do_sample": temperature > 0}
            again = dataclasses.replace(instance, arguments=(prompt, settings, *rest), resps=[], filtered_resps={})
            again.repeats = n
            requests += [again] * n
        return requests

    def judge(self, completions: Sequence[Sequence[str]], *, processes: int | None = None) -> Sequence[Judged]:
        """Return the verdicts on the completions of each problem, in the order of the problems."""
        docs = (instance.doc for instance in self.instances)
        return self.task.judge(list(zip(docs, completions, strict=True)), processes=processes)


def find_tasks(names: Sequence[str], include_path: str | None = None) -> FoundTasks:
    """Return the tasks that these names and patterns stand for.

    Raises a `WiseMergeError` for one that does not exist, with names that are near it.
    """
    manager = _manager({}, include_path, names)
    index = manager.task_index
    found: list[str] = []
    for name in names:
        some = [name] if name in index else conversion.add(manager, name)
        if not some:
            ours = sorted(one for one in index if one.endswith(SUFFIX))
            likely = near(name, [one.removesuffix(SUFFIX) for one in ours], most=3, cutoff=0.5)
            raise WiseMergeError(
                f"there is no task {name} with K samples per problem; "
                + (
                    f"near it are {', '.join(f'{one}{SUFFIX}' for one in likely)}"
                    if likely
                    else f"ours are {', '.join(ours)}"
                )
                + f"; a generation task of lm-eval is one with {SUFFIX} behind its name"
            )
        found += some
    tasks = tuple(dict.fromkeys(one for name in found for one in _within(name, index)))
    for name in tasks:
        # Our tasks have a class of their own; those of lm-eval's class score one answer per problem.
        if name in index and index[name].kind.name == "TASK":
            raise _no_verdicts(name)
    files = [Path(file) for name in tasks if name in index and (file := _made_from(index[name]))]
    own = Path(include_path).resolve() if include_path else None
    folders = [str(file.parent) for file in files if own is None or own not in file.resolve().parents]
    return FoundTasks(tasks, tuple(dict.fromkeys(folders)))


def _made_from(entry: Any) -> str | None:
    """Return the file of lm-eval that a task is made from, None if it is not."""
    original = (entry.cfg or {}).get("original")
    return original.get("yaml_path") if isinstance(original, Mapping) else None


def _within(name: str, index: Mapping[str, Any]) -> list[str]:
    """Return the names of the tasks of a group or tag, without reading their problems; of a task its own name."""
    kind = index[name].kind.name if name in index else "TASK"
    if kind == "TAG":
        return [other for other, entry in index.items() if entry.kind.name not in _MANY and name in entry.tags]
    if kind == "GROUP":
        return [one for part in _named_in(index[name].cfg) for one in _within(part, index)]
    return [name]


def _named_in(group: Mapping[str, Any]) -> Iterator[str]:
    """Yield the names of the tasks and groups that a group lists, and those of groups that it describes itself."""
    for part in group["task"]:
        if isinstance(part, str):
            yield part
        elif isinstance(part.get("task"), list):
            yield from _named_in(part)
        else:
            yield part.get("task") or part["group"]


def _no_verdicts(name: str) -> WiseMergeError:
    return WiseMergeError(f"task {name} has no verdict on each of K samples; take one whose name ends in _passk")


def build(
    model: Any,
    names: Sequence[str],
    n: int,
    temperature: float,
    settings: TaskSettings,
    folders: Sequence[str] = (),
) -> list[TaskRequests]:
    """Return the tasks of these names with their requests, as `lm_eval` asks them of a model.

    Args:
        model: of lm-eval; its tokenizer and context length are consulted.
        names: of tasks or groups of tasks.
        n: K, how many samples of each problem.
        temperature: of sampling; requests at any other can be had (`TaskRequests.at`).
        settings: see there.
        folders: see `FoundTasks`.
    """
    manager = _manager({**settings.metadata, "repeats": n}, settings.include_path, names, folders)
    built: dict[str, TaskRequests] = {}
    index = manager.task_index
    known = [one for name in names for one in ([name] if name in index else conversion.add(manager, name) or [name])]
    for name, task in _named(manager.load(known)["tasks"]):
        if name in built:
            continue
        if not isinstance(task, SampledTask):
            raise _no_verdicts(name)
        built[name] = _build(model, name, task, temperature, settings)
    return list(built.values())


def _manager(
    metadata: Mapping[str, Any], include_path: str | None, names: Sequence[str], folders: Sequence[str] = ()
) -> Any:
    """Return lm-eval's manager with our tasks and the user's, and its own only where a name is made from one of these.

    Args:
        metadata: of the tasks.
        include_path: the user's folder.
        names: that are to be found.
        folders: of lm-eval where it is known that these suffice, see `FoundTasks`.
    """
    # The last one counts, should two have a task of one name.
    paths = [*folders, tasks_directory(), *([include_path] if include_path else [])]
    manager = TaskManager(include_path=paths, include_defaults=False, metadata=dict(metadata))
    index = manager.task_index
    if any(name.endswith(SUFFIX) and name not in index and name.removesuffix(SUFFIX) not in index for name in names):
        manager = TaskManager(include_path=paths, metadata=dict(metadata))
    return manager


def _named(tasks: Mapping[Any, Any]) -> list[tuple[str, Any]]:
    return [(task.config.task, task) for task in leaves(tasks)]


def _build(model: Any, name: str, task: Any, temperature: float, settings: TaskSettings) -> TaskRequests:
    task.set_config("generation_kwargs", {**settings.gen_kwargs, "temperature": temperature}, update=True)
    if settings.num_fewshot is not None:
        task.set_config("num_fewshot", settings.num_fewshot)
    task.set_fewshot_seed(seed=_FEWSHOT_SEED)
    task.set_model(model)
    templated = settings.apply_chat_template
    multiturn = {} if settings.fewshot_as_multiturn is None else {"fewshot_as_multiturn": settings.fewshot_as_multiturn}
    if templated:
        model.chat_template(templated)
    task.build_all_requests(
        limit=settings.limit,
        rank=0,
        world_size=1,
        cache_requests=False,
        rewrite_requests_cache=False,
        system_instruction=settings.system_instruction,
        apply_chat_template=bool(templated),
        chat_template=model.apply_chat_template if templated else None,
        tokenizer_name=model.tokenizer_name if templated else "",
        **multiturn,
    )
    return TaskRequests(
        name, task, task.instances, [excerpt(task.gold_text(one.doc)) for one in task.instances], task.max_tokens
    )
