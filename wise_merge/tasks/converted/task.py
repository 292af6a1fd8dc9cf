"""The class of `<task>_passk`: the prompts, filters and metric of a task that lm-eval has, with K completions."""

import json
from collections.abc import Callable, Hashable, Sequence
from functools import partial
from itertools import islice
from typing import Any

from lm_eval.api.metrics import mean
from lm_eval.api.task import ConfigurableTask
from lm_eval.filters import build_filter_ensemble

from wise_merge.answers.benchmarks import Document, Judged
from wise_merge.errors import WiseMergeError
from wise_merge.hosts.lm_eval.messages import TaskInputError, log
from wise_merge.tasks import problems, scores
from wise_merge.tasks.converted import judging, metric, original, settings, votes
from wise_merge.tasks.converted.judging import JudgedByTask, Scored
from wise_merge.tasks.converted.metric import Metric
from wise_merge.tasks.sampled import FILTER, SampledTask
from wise_merge.text import counted

#: Problems on which the metrics are tried before the sampling; all of them with one completion each would take long
#: where a metric is slow.
_PROBED = 20

#: No task's answer, and not empty.
_MADE_UP = "The answer is x + 1."


class ConvertedTask(SampledTask):
    """K completions per problem of a task that lm-eval has, each judged as that task judges its one.

    Understands in the metadata, beside what `SampledTask` does, `metric`: the one that says right or wrong, `NAME` or
    `NAME,FILTER`, also as a mapping from task names. A `data_file` may be a folder with `<split>.jsonl` for each split.
    """

    def __init__(self, config: dict[str, Any]) -> None:
        """Read the original's configuration.

        Args:
            config: `task`, `converted_from`, `original` (see `original.configuration`), `metadata`, and settings of
                a group or user that win over the original's.
        """
        given = {key: value for key, value in config.items() if key not in ("class", "converted_from", "original")}
        self._base: str = config["converted_from"]
        task = config["task"]
        try:
            whole = original.configuration(config["original"]) | given
        except Exception as error:
            raise TaskInputError(f"{task}: lm-eval's {self._base} cannot be read ({_reason(error)})") from error
        if whole.get("unsafe_code"):
            raise TaskInputError(f"{task} cannot be made from {self._base}: it runs what the model writes")
        metadata = dict(original.configuration(config["original"]).get("metadata") or {}) | dict(given["metadata"])
        self._asked: str | None = problems.of_task(metadata.pop("metric", None), "metric", task)
        self._sampling = settings.sampling_settings(
            whole.get("generation_kwargs"), whole.get("fewshot_delimiter", "\n\n")
        )
        whole |= {"metadata": metadata, "generation_kwargs": dict(self._sampling.generation)}
        #: The metric that says right or wrong, once it is known.
        self._metric: Metric | None = None
        #: All others.
        self._others: tuple[Metric, ...] = ()
        # It would show the name of the original.
        whole.pop("task_alias", None)
        repeats = whole.get("repeats", 1)
        super().__init__(whole, repeats=repeats if repeats > 1 else settings.REPEATS)
        self._task_filters: list[Any] = self._filters
        self._filters: list[Any] = [build_filter_ensemble(FILTER, [])]

    # --- problems ---------------------------------------------------------------------------------

    def download(self, dataset_kwargs: dict[str, Any] | None = None, **kwargs: Any) -> None:
        """Load the problems as the original does, or from the user's file or folder."""
        path, config = self._data_file, self.config
        if path is None:
            self.load_from_hub(dataset_kwargs, **kwargs)
            return
        split = config.test_split or config.validation_split
        others = {config.training_split, config.validation_split, config.fewshot_split, self.fewshot_cfg.split}
        if not path.is_dir():
            self.dataset = {split: self.read_data_file()}
        else:
            files = {name: path / f"{name}.jsonl" for name in (split, *sorted(filter(None, others - {split})))}
            self._data_file = files.pop(split)
            self.dataset = {split: self.read_data_file()}
            self.dataset |= {
                name: problems.read_file(file, config.task) for name, file in files.items() if file.is_file()
            }
        for name in filter(None, others):
            # Without worked examples; whether there must be some is known later.
            self.dataset.setdefault(name, self.dataset[split].select([]))

    def choose_prompt(self, has_chat_template: bool) -> None:
        """Refuse a run that lacks the worked examples it asks for."""
        wanted = self.config.num_fewshot or 0
        there = len(self.sampler.df) if hasattr(self, "sampler") else 0
        if wanted > there:
            split = self.fewshot_cfg.split or self.config.training_split or "train"
            raise TaskInputError(
                f"{self.config.task} shows {counted(wanted, 'worked example')} and has {there}; let data_file be a "
                f"folder with {split}.jsonl beside the problems, or add --num_fewshot 0"
            )

    # --- judging ----------------------------------------------------------------------------------

    @property
    def judged_by(self) -> str:
        """The metric that says right or wrong, once it is known, and the task that has it."""
        return f"lm-eval's {self._base}" if self._metric is None else f"{self._metric} of lm-eval's {self._base}"

    def key(self, doc: Document) -> Hashable:
        """Return the whole problem as text: the task's metric may look at any of its columns."""
        return json.dumps(doc, sort_keys=True, default=str)

    def gold_text(self, doc: Document) -> str:
        """Return the target of the original, as text."""
        return str(self.doc_to_target(doc))

    def check_judging(self) -> None:
        """Find the metric that says right or wrong by what all of them say of made-up completions."""
        if self._predict_only:
            return
        task, config = self.config.task, self.config
        docs = list(islice(self.eval_docs, _PROBED))
        targets = [self.gold_text(doc) for doc in docs]
        pairs = [
            (doc, text)
            for doc, target in zip(docs, targets, strict=True)
            for text in (_MADE_UP, target, target[: len(target) // 2])
        ]
        try:
            probed = self._score(pairs)
        except Exception as error:
            raise TaskInputError(
                f"{task}: the filters or metrics of lm-eval's {self._base} fail on a made-up completion "
                f"({_reason(error)})"
            ) from error
        try:
            self._metric = metric.choose(
                (scored.values for scored in probed),
                asked=self._asked,
                aggregations=self._aggregation_list,
                higher_is_better=self._higher_is_better,
            )
        except WiseMergeError as error:
            raise TaskInputError(f"{task} cannot be made from {self._base}: {error}") from error
        responses = [scored.responses[self._metric.filter] for scored in probed]
        if odd := [response for response in responses if votes.as_text(response) is None]:
            raise TaskInputError(
                f"{task} cannot be made from {self._base}: its filter {self._metric.filter} makes {odd[0]!r} of a "
                "completion, which is no text to vote with"
            )
        self._others = tuple({other: None for scored in probed for other in scored.values if other != self._metric})
        config.metadata |= {
            "converted_from": self._base,
            "metric": str(self._metric),
            "original_generation_kwargs": self._sampling.original,
            "changed_generation_kwargs": self._sampling.changed,
        }
        settings.announce(
            *(task, self._base, self._sampling, config.generation_kwargs, str(self._metric), config.num_fewshot or 0)
        )

    def judge(
        self, answered: Sequence[tuple[Document, Sequence[str]]], *, processes: int | None = None
    ) -> list[JudgedByTask]:
        """Return the task's own verdicts, see `SampledTask.judge`; equal completions of a problem are judged once."""
        assert self._metric is not None
        keys = [self.key(doc) for doc, _ in answered]
        distinct = {
            (key, text): (doc, text)
            for key, (doc, completions) in zip(keys, answered, strict=True)
            for text in map(str, completions)
        }
        scored = dict(zip(distinct, self._score_each(list(distinct.values())), strict=True))
        return [
            self._judged_problem([scored[key, str(text)] for text in completions])
            for key, (_, completions) in zip(keys, answered, strict=True)
        ]

    def _judged_problem(self, samples: Sequence[Scored | None]) -> JudgedByTask:
        assert self._metric is not None
        by, no_answer = self._metric, votes.fallbacks(self.config.filter_list)
        equal = votes.settings_of(by, self.config.metric_list)
        correct = [one is not None and metric.verdict(by, one.values[by]) for one in samples]
        answers = [
            None if one is None else votes.vote(one.responses[by.filter], right=right, no_answer=no_answer, equal=equal)
            for one, right in zip(samples, correct, strict=True)
        ]
        others = {
            other: tuple(None if one is None else one.values.get(other) for one in samples) for other in self._others
        }
        return JudgedByTask(tuple(answers), tuple(correct), others)

    def _score(self, pairs: Sequence[tuple[Document, str]]) -> list[Scored]:
        process_results = partial(ConfigurableTask.process_results, self)
        return judging.score(pairs, filters=self._task_filters, process_results=process_results)

    def _score_each(self, pairs: Sequence[tuple[Document, str]]) -> Sequence[Scored | None]:
        """Return what the task says of each completion; None where its own code fails on one, which is logged."""
        try:
            return self._score(pairs)
        except Exception:
            scored: list[Scored | None] = []
            errors: list[str] = []
        for pair in pairs:
            try:
                scored += self._score([pair])
            except Exception as error:
                scored.append(None)
                errors.append(_reason(error))
        log.warning(
            "%s: the filters or metrics of lm-eval's %s fail on %s, which %s as wrong (%s)",
            *(self.config.task, self._base, counted(len(errors), "completion")),
            *("counts" if len(errors) == 1 else "count", errors[0]),
        )
        return scored

    # --- what else the task says ------------------------------------------------------------------

    def further_scores(self, judged: Judged) -> dict[str, Any]:
        """Return the mean of each other metric over the completions, or all values where it is no mean of problems."""
        assert isinstance(judged, JudgedByTask)
        result: dict[str, Any] = {}
        for other, values in judged.others.items():
            known = [value for value in values if value is not None]
            averaged = self._is_mean(other)
            result[self._title(other)] = float(sum(known) / len(known)) if averaged and known else list(values)
        return result

    def further_metrics(self) -> dict[str, tuple[Callable[..., Any], bool]]:
        """Return how the other metrics are aggregated, see `SampledTask.further_metrics`."""
        return {
            self._title(other): (
                mean if self._is_mean(other) else _of_one_completion_each(self._aggregation_list[other.name]),
                self._higher_is_better.get(other.name, True),
            )
            for other in self._others
        }

    def _is_mean(self, other: Metric) -> bool:
        return metric.is_mean(self._aggregation_list.get(other.name, mean))

    def _title(self, other: Metric) -> str:
        title = other.title([pipeline.name for pipeline in self._task_filters])
        ours = {*scores.metric_names(self.config.repeats, ranked=True), "curve", "audit"}
        return f"{title}[{self._base}]" if title in ours else title


def _of_one_completion_each(aggregation: Callable[[list[Any]], float]) -> Callable[[Sequence[Sequence[Any]]], float]:
    """Return how other metrics are aggregated: the mean of their figures for the first, second, ... completions."""

    def aggregate(problems: Sequence[Sequence[Any]]) -> float:
        draws = [[value for value in draw if value is not None] for draw in zip(*problems, strict=True)]
        return float(sum(aggregation(draw) for draw in draws if draw) / max(1, sum(map(bool, draws))))

    return aggregate


def _reason(error: Exception) -> str:
    return " ".join(f"{type(error).__name__}: {error}".split())
