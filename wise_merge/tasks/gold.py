"""The problems of a task of lm-eval with their gold solutions, as texts for a model to read."""

import ast
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lm_eval.tasks import TaskManager
from lm_eval.utils import apply_template

from wise_merge.errors import WiseMergeError
from wise_merge.hosts.lm_eval import conversion
from wise_merge.hosts.lm_eval.registration import tasks_directory
from wise_merge.tasks.problems import variables
from wise_merge.tasks.task import PassKTask
from wise_merge.text import shortened

#: `lm_eval`'s default seed for choosing few-shot examples.
_FEWSHOT_SEED = 1234
#: A comma between two settings; other commas belong to values, such as lists and names of files.
_NEXT_NAME = re.compile(r",(?=\s*\w+\s*=)")


@dataclass(frozen=True)
class GoldSolution:
    """A problem and its solution.

    Attributes:
        place: where it stands, such as `problem 7`.
        prompt: as the task shows it to a model, with the worked examples.
        solution: what is to follow the prompt.
        chat: whether they are a user's turn and the answer to it, rather than one text.
    """

    place: str
    prompt: str
    solution: str
    chat: bool


def gold_solutions(
    name: str, *, metadata: dict[str, Any], num_fewshot: int | None = None, limit: int | None = None
) -> list[GoldSolution]:
    """Return the problems of a task, at most `limit`, with their solutions; see `solutions_of`.

    Args:
        name: of the task.
        metadata: as for `lm_eval --metadata`, such as `data_file` or `problem_seed`.
        num_fewshot: worked examples in the prompt; None = as the task has it.
        limit: how many problems; None = all.
    """
    return solutions_of(_load(name, metadata), num_fewshot=num_fewshot, limit=limit)


def solutions_of(task: Any, *, num_fewshot: int | None = None, limit: int | None = None) -> list[GoldSolution]:
    """Return the problems of a loaded task with their solutions.

    Of our own tasks, the solution is written as that of the worked examples in the prompt; of others, and of those made
    from others, it is the target.
    """
    name = task.config.task
    ours = isinstance(task, PassKTask)
    if num_fewshot is not None:
        task.set_config("num_fewshot", num_fewshot)
    if ours:
        task.choose_prompt(has_chat_template=False)
    task.set_fewshot_seed(_FEWSHOT_SEED)
    chat = ours and task.config.metadata["prompt"] == "instruct"
    solutions: list[GoldSolution] = []
    for number, document in enumerate(task.eval_docs, start=1):
        if limit is not None and len(solutions) == limit:
            break
        solution = _written_solution(task, document) if ours else task.doc_to_target(document)
        if not isinstance(solution, str):
            raise WiseMergeError(
                f"{name}: the target of problem {number} is no text but {shortened(solution)}; "
                "give prompts and completions by --data instead"
            )
        prompt = task.fewshot_context(document, task.config.num_fewshot or 0)
        delimiter = "" if chat else task.config.target_delimiter
        solutions.append(GoldSolution(f"problem {number}", prompt, delimiter + solution, chat))
    return solutions


def parse_metadata(settings: Sequence[str]) -> dict[str, Any]:
    """Return settings such as `problem_seed=1` or `{"problem_seed": 1}` as one mapping, as lm-eval reads them.

    One text may name several, as in `problem_seed=1,problems=20`.
    """
    metadata: dict[str, Any] = {}
    for setting in settings:
        if not setting.lstrip().startswith("{") and "=" in setting:
            pairs = [pair.partition("=") for pair in _NEXT_NAME.split(setting)]
            metadata |= {name.strip(): _literal(value) for name, _, value in pairs}
            continue
        mapping = _literal(setting)
        if not isinstance(mapping, dict):
            raise WiseMergeError(f'--metadata takes name=value or {{"name": value}}; got {shortened(setting)}')
        metadata |= mapping
    return metadata


def _literal(text: str) -> Any:
    for read in (json.loads, ast.literal_eval):
        try:
            return read(text)
        except (ValueError, SyntaxError):
            continue
    return text


def _load(name: str, metadata: dict[str, Any]) -> Any:
    directory = tasks_directory()
    # For one of our tasks, lm-eval's own 14,000 are left out, as indexing them takes seconds.
    ours = (Path(directory) / f"{name}.yaml").is_file()
    manager = TaskManager(include_defaults=not ours, include_path=directory, metadata=metadata)
    made = conversion.add(manager, name)
    if len(made) > 1:
        raise WiseMergeError(f"{name} stands for {len(made)} tasks, such as {made[0]}; name one of them")
    # Its lists of names are made before names are added.
    if name not in manager.task_index:
        raise WiseMergeError(f"lm-eval has no task {name!r}; `lm_eval ls tasks` lists them")
    if manager.task_index[name].kind.name in ("GROUP", "TAG"):
        raise WiseMergeError(f"{name} is a group of tasks; name one of them")
    return manager.load([name])["tasks"][name]


def _written_solution(task: Any, document: dict[str, Any]) -> str:
    template = task.fewshot_cfg.doc_to_target
    missing = sorted(variables(template) - document.keys())
    if missing:
        raise WiseMergeError(
            f"{task.config.task} has no written solutions: it lacks the column {', '.join(missing)} (it has "
            f"{', '.join(document)}); give prompts and completions by --data instead"
        )
    return str(apply_template(template, document))
