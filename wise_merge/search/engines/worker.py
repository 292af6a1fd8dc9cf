"""One engine that takes the weights of one point after another and samples each; outcomes are written at once."""

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from wise_merge.errors import WiseMergeError
from wise_merge.journal import problem_id
from wise_merge.points.folder import write_outcome
from wise_merge.points.outcome import Outcome, outcome_of_problem
from wise_merge.points.point import Point
from wise_merge.search.engines.memory import default_device
from wise_merge.search.engines.settings import EngineSettings
from wise_merge.tasks.completion import Completion
from wise_merge.tasks.requests import TaskRequests, TaskSettings, build
from wise_merge.text import counted


@dataclass(frozen=True)
class Order:
    """What a worker must know, on whatever machine it is.

    Attributes:
        settings: how points are sampled.
        first: name of the checkpoint that the engine loads.
        temperature: at which requests are built; any other may be sampled.
        folders: name of a checkpoint -> where it lies.
        dtype: that the engine loads unless `model_args` names one; None = its own choice.
        out: the folder of results.
        task_folders: of lm-eval, that tasks are made from.
        fewest: problems that a task must have.
        processes: that may judge answers, None = one per core.
        patience: seconds to wait for a journal that another process has not let go yet.
        shows: whether the engine has a bar of its own where somebody is watching.
    """

    settings: EngineSettings
    first: str
    temperature: float
    folders: Mapping[str, Path]
    dtype: str | None
    out: Path
    task_folders: tuple[str, ...] = ()
    fewest: int = 1
    processes: int | None = None
    patience: float = 0.0
    shows: bool = True


class Worker:
    """An engine and the tasks, loaded once and used for any number of points."""

    def __init__(self, order: Order) -> None:
        """Load the engine with the first checkpoint, and build the requests of all tasks."""
        self._order = order
        settings = order.settings
        self._engine = _engine(order)
        self._engine.patience = order.patience
        self._tasks = build(
            self._engine,
            settings.tasks,
            settings.samples,
            order.temperature,
            _task_settings(settings),
            order.task_folders,
        )
        for task in self._tasks:
            if len(task.instances) < order.fewest:
                raise WiseMergeError(
                    f"task {task.name} has {counted(len(task.instances), 'problem')}; two halves of the problems need "
                    f"at least {order.fewest}, so take more data, or another task"
                )
        self._model: str | None = None

    def sample(self, point: Point, n: int) -> list[Outcome]:
        """Return what comes of n samples of every problem at a point, one outcome per task; they are written, too.

        What the journal holds of them is not drawn again.
        """
        if self._model != point.model:
            self._model = None
            self._engine.replace_weights(
                [self._order.folders[checkpoint.name] for checkpoint in point.checkpoints],
                point.ingredients,
                point.recipe(),
                point.merge_title(short=False),
                point.model,
            )
            self._model = point.model
        requests = [request for task in self._tasks for request in task.at(point.temperature, n)]
        # A progress bar of the point below that of all points, on a terminal only.
        shows = self._order.shows and sys.stderr.isatty()
        completions: list[Completion] = self._engine.generate_until(requests, disable_tqdm=not shows)
        runs = dict(self._engine.runs)
        outcomes = []
        start = 0
        for task in self._tasks:
            end = start + n * len(task.instances)
            outcomes.append(self._outcome(point, task, completions[start:end], n, runs[task.name]))
            start = end
        for outcome in outcomes:
            write_outcome(self._order.out, outcome)
        return outcomes

    def _outcome(self, point: Point, task: TaskRequests, completions: list[Completion], n: int, run: str) -> Outcome:
        of_problem = [completions[start : start + n] for start in range(0, len(completions), n)]
        judged = task.judge(of_problem, processes=self._order.processes)
        problems = [
            outcome_of_problem(str(instance.doc_id), problem_id(str(instance.args[0])), gold, texts, verdicts)
            for instance, gold, texts, verdicts in zip(task.instances, task.golds, of_problem, judged, strict=True)
        ]
        limit, judged_by = self._order.settings.limit, task.task.judged_by
        return Outcome(point, task.name, run, task.max_tokens, None, tuple(problems), limit, judged_by)


def _engine(order: Order) -> Any:
    from wise_merge.sampling.merged import MergedHF, model_arguments

    settings, first = order.settings, order.folders[order.first]
    arguments = model_arguments(settings.model_args)
    if order.dtype is not None:
        arguments.setdefault("dtype", order.dtype)
    if settings.batch_size is not None:
        arguments["batch_size"] = settings.batch_size
    if settings.device is not None:
        arguments["device"] = settings.device
    elif settings.backend == "hf":
        # lm-eval's class defaults to a GPU even where there is none.
        arguments.setdefault("device", default_device())
    arguments |= {"journal": order.out / "journal", "seed": settings.seed}
    if settings.backend == "vllm":
        try:
            from wise_merge.sampling.merged_vllm import MergedVLLM
        except SystemExit as error:
            raise WiseMergeError(str(error)) from error
        return MergedVLLM(first, **arguments)
    return MergedHF(first, **arguments)


def _task_settings(settings: EngineSettings) -> TaskSettings:
    return TaskSettings(
        metadata=settings.metadata,
        gen_kwargs=settings.gen_kwargs,
        num_fewshot=settings.num_fewshot,
        apply_chat_template=settings.apply_chat_template,
        system_instruction=settings.system_instruction,
        fewshot_as_multiturn=settings.fewshot_as_multiturn,
        include_path=settings.include_path,
        limit=settings.limit,
    )
