"""The class of `<task>_passk`: the prompts, filters and metric of a task that lm-eval has, with K completions."""

import json
from collections.abc import Callable, Hashable, Mapping, Sequence
from copy import deepcopy
from dataclasses import replace
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
from wise_merge.tasks.converted import judging, metric, original, others, programs, settings, votes
from wise_merge.tasks.converted.judging import JudgedByTask, Scored
from wise_merge.tasks.converted.metric import Metric
from wise_merge.tasks.converted.programs import CodeEval
from wise_merge.tasks.permission import check_permission
from wise_merge.tasks.sampled import FILTER, SampledTask
from wise_merge.text import counted, enumeration

#: Problems on which the metrics are tried before the sampling: some metrics take a second for each completion.
_PROBED = 3

#: What `hosts.lm_eval.conversion` says of a task, and is no setting of it.
_OURS = ("class", "converted_from", "original", "runs_programs")

#: No task's answer, and not empty.
_MADE_UP = "The answer is x + 1."

#: Completions with a target of the task, as tasks ask for them in their prompts; a metric that is no verdict gives
#: something else than 0 and 1 to some of them.
_WITH_TARGET = (
    "{0}",
    "{0} and 1, 2, 3",
    "Let us think.\nThe answer is {0}.",
    "The best answer is ({0}).",
    "#### {0}",
    "\\boxed{{{0}}}",
    "Final Answer: The final answer is ${0}$. I hope it is correct.",
)


class ConvertedTask(SampledTask):
    """K completions per problem of a task that lm-eval has, each judged as that task judges its one.

    Understands in the metadata, beside what `SampledTask` does, `metric`: the one that says right or wrong, `NAME` or
    `NAME,FILTER`, also as a mapping from task names. A `data_file` may be a folder with `<split>.jsonl` for each split.
    """

    def __init__(self, config: dict[str, Any]) -> None:
        """Read the original's configuration.

        Args:
            config: `task`, `converted_from`, `original` (see `original.configuration`), `runs_programs`, `metadata`,
                and settings of a group or user that win over the original's.
        """
        given = {key: value for key, value in config.items() if key not in _OURS}
        self._base: str = config["converted_from"]
        task = config["task"]
        #: What runs the programs of a task that does so; None = it does not.
        self._code_eval: CodeEval | None = None
        if config["runs_programs"]:
            check_permission(task, given["metadata"])
            self._code_eval = CodeEval()
        try:
            read = original.configuration(config["original"], self._code_eval)
        except WiseMergeError as error:
            raise TaskInputError(f"{task} cannot be made from lm-eval's {self._base}: {error}") from error
        whole = read | given
        if self._code_eval and not self._code_eval.is_used:
            raise TaskInputError(
                f"{task} cannot be made from {self._base}: it runs what the model writes by code of its own, rather "
                "than by code_eval, so nothing of ours would keep that in a sandbox"
            )
        metadata = dict(given["metadata"]) | read["metadata"] | _without_source(given["metadata"])
        self._asked: str | None = problems.of_task(metadata.pop("metric", None), "metric", task)
        if not isinstance(self._asked, (str, type(None))):
            raise TaskInputError(f"{task}: metric must be NAME or NAME,FILTER; got {self._asked!r}")
        self._sampling = settings.sampling_settings(
            whole.get("generation_kwargs"), whole.get("fewshot_delimiter", "\n\n")
        )
        # lm-eval need not be asked as well: what it would run by itself is run by ours.
        whole |= {"unsafe_code": False, "metadata": metadata, "generation_kwargs": dict(self._sampling.generation)}
        listed = whole.get("filter_list")
        if listed and all(map(votes.of_several, listed)):
            raise TaskInputError(
                f"{task} cannot be made from {self._base}: each of its filters takes several completions at once"
            )
        #: Filters that are left out: lm-eval's votes over several completions, for which there is maj@k here.
        self._left_out = [entry["name"] for entry in listed or () if votes.of_several(entry)]
        if self._left_out:
            whole["filter_list"] = [entry for entry in listed or () if not votes.of_several(entry)]
        #: The targets of problems, by `key`.
        self._target_of: dict[Hashable, Any] = {}
        #: The metric that says right or wrong, once it is known.
        self._metric: Metric | None = None
        #: All others, and whether each is there of every completion.
        self._others: dict[Metric, bool] = {}
        self._docs: dict[str | None, Any] = {}
        # It would show the name of the original.
        whole.pop("task_alias", None)
        repeats = whole.get("repeats", 1)
        with original.seeded():
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
        further = {config.training_split, config.validation_split, config.fewshot_split, self.fewshot_cfg.split}
        if not path.is_dir():
            self.dataset = {split: self.read_data_file()}
        else:
            files = {name: path / f"{name}.jsonl" for name in (split, *sorted(filter(None, further - {split})))}
            self._data_file = files.pop(split)
            self.dataset = {split: self.read_data_file()}
            self.dataset |= {
                name: problems.read_file(file, config.task) for name, file in files.items() if file.is_file()
            }
        for name in filter(None, further):
            # Without worked examples; whether there must be some is known later.
            self.dataset.setdefault(name, self.dataset[split].select([]))

    def training_docs(self) -> Any:
        """Return the problems of the training split."""
        return self._once(self.config.training_split, super().training_docs)

    def validation_docs(self) -> Any:
        """Return the problems of the validation split."""
        return self._once(self.config.validation_split, super().validation_docs)

    def test_docs(self) -> Any:
        """Return the problems of the test split."""
        return self._once(self.config.test_split, super().test_docs)

    def _once(self, split: str | None, prepared: Callable[[], Any]) -> Any:
        """Return problems of a split as the task prepares them, always the same: some shuffle choices each time."""
        if split not in self._docs:
            self._docs[split] = prepared()
        return self._docs[split]

    def choose_prompt(self, has_chat_template: bool) -> None:
        """Refuse a run that lacks the worked examples it asks for; take the model's longest completion if need be."""
        self.config.generation_kwargs = settings.with_token_limit(self.config.generation_kwargs, self._model)
        wanted = self.config.num_fewshot or 0
        there = len(self.sampler.df) if hasattr(self, "sampler") else 0
        # A problem is not shown as its own example.
        spare = bool(wanted) and self.fewshot_cfg.split == self.config.test_split
        if wanted + spare > there:
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

    def doc_to_target(self, doc: Document, doc_to_target: Any = None) -> Any:
        """Return the target of a problem, or what a template given makes of it, as the original does.

        That of a problem is made once: lm-eval asks for it per completion and filter, and compiles the template anew.
        """
        if doc_to_target is not None:
            return super().doc_to_target(doc, doc_to_target)
        key = self.key(doc)
        if key not in self._target_of:
            self._target_of[key] = super().doc_to_target(doc)
        # Metrics may change what they are given.
        return deepcopy(self._target_of[key])

    def gold_text(self, doc: Document) -> str:
        """Return the targets of the original, as text."""
        return enumeration(self._targets(doc) or [""], "or")

    def _targets(self, doc: Document) -> list[str]:
        target: Any = self.doc_to_target(doc)
        if isinstance(target, int) and self.config.doc_to_choice is not None:
            target = self.doc_to_choice(doc)[target]
        return [str(one) for one in (target if isinstance(target, (list, tuple)) else [target])]

    def check_judging(self) -> None:
        """Find the metric that says right or wrong by what all of them say of made-up completions."""
        if self._predict_only:
            return
        task, config = self.config.task, self.config
        told = self._score(self._made_up(), None)
        probed = [one for one in told if isinstance(one, Scored)]
        if not probed:
            (first, *_) = (original.reason(one) for one in told if isinstance(one, Exception))
            raise TaskInputError(
                f"{task}: the filters or metrics of lm-eval's {self._base} fail on all made-up completions ({first})"
            )
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
        said = [scored.values.get(self._metric) for scored in probed]
        if not any(said) and not self._code_eval and not all(isinstance(value, bool) for value in said):
            log.warning(
                "%s: no made-up completion is right by %s; should it turn out to give anything but 0 and 1, the run "
                "ends after the sampling, with all completions kept",
                *(task, self._metric),
            )
        self._others = {
            other: all(other in scored.values for scored in probed)
            for other in dict.fromkeys(other for scored in probed for other in scored.values)
            if other != self._metric
        }
        ballot = programs.VOTES if self._code_eval else votes.described(self._metric, config.filter_list)
        config.metadata |= {
            "converted_from": self._base,
            "metric": str(self._metric),
            "votes": ballot,
            "original_generation_kwargs": self._sampling.original,
            "changed_generation_kwargs": self._sampling.changed,
        }
        if self._left_out:
            config.metadata["filters_left_out"] = self._left_out
            ballot += f"; lm-eval's {enumeration(self._left_out, 'and')} left out, maj@k is reported instead"
        settings.announce(
            *(task, self._base, self._sampling, config.generation_kwargs),
            judged_by=str(self._metric),
            votes=ballot,
            fewshot=config.num_fewshot or 0,
        )

    def _made_up(self) -> list[tuple[Document, str]]:
        """Return completions that no model wrote: an empty one, nonsense, and of some problems right ones too."""
        pairs = []
        for doc in islice(self.eval_docs, _PROBED):
            target = next(iter(self._targets(doc)), "")
            texts = ["", _MADE_UP, target[: len(target) // 2], *(form.format(target) for form in _WITH_TARGET)]
            pairs += [(doc, text) for text in texts]
        return pairs

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
        scored = dict(zip(distinct, self._known(self._score(list(distinct.values()), processes)), strict=True))
        samples = [
            [scored[key, text] for text in map(str, texts)] for key, (_, texts) in zip(keys, answered, strict=True)
        ]
        judged = [self._judged_problem(of_one) for of_one in samples]
        if self._code_eval is None:
            return judged
        by = self._metric.filter
        sources = [[None if one is None else votes.as_text(one.responses[by]) for one in some] for some in samples]
        by_behaviour = programs.votes(list(zip((doc for doc, _ in answered), sources, strict=True)), processes)
        return [replace(one, answers=tuple(answers)) for one, answers in zip(judged, by_behaviour, strict=True)]

    def _judged_problem(self, samples: Sequence[Scored | None]) -> JudgedByTask:
        assert self._metric is not None
        by, no_answer = self._metric, votes.fallbacks(self.config.filter_list)
        equal = votes.settings_of(by, self.config.metric_list)
        correct = [one is not None and metric.verdict(by, one.values.get(by)) for one in samples]
        answers = [
            None if one is None else votes.vote(one.responses[by.filter], right=right, no_answer=no_answer, equal=equal)
            for one, right in zip(samples, correct, strict=True)
        ]
        said = {
            other: tuple(None if one is None else one.values.get(other) for one in samples) for other in self._others
        }
        return JudgedByTask(tuple(answers), tuple(correct), said)

    def _score(self, pairs: Sequence[tuple[Document, str]], processes: int | None) -> list[Scored | Exception]:
        process_results = partial(ConfigurableTask.process_results, self)
        scored = judging.score(pairs, filters=self._task_filters, process_results=process_results)
        if self._code_eval and self._code_eval.run_noted(processes):
            scored = judging.score(pairs, filters=self._task_filters, process_results=process_results)
        return scored

    def _known(self, scored: Sequence[Scored | Exception]) -> list[Scored | None]:
        """Return what the task says of each completion; None where its own code fails on one, which is logged."""
        errors = [one for one in scored if isinstance(one, Exception)]
        if errors:
            log.warning(
                "%s: the filters or metrics of lm-eval's %s fail on %s, which %s as wrong (%s)",
                *(self.config.task, self._base, counted(len(errors), "completion")),
                *("counts" if len(errors) == 1 else "count", original.reason(errors[0])),
            )
        return [None if isinstance(one, Exception) else one for one in scored]

    # --- what else the task says ------------------------------------------------------------------

    def further_scores(self, judged: Judged) -> dict[str, Any]:
        """Return the mean of each other metric over the completions, or all values where it is no mean of problems."""
        assert isinstance(judged, JudgedByTask)
        return {
            self._title(other): others.mean_of_known(values) if self._is_mean(other) else list(values)
            for other, values in judged.others.items()
        }

    def further_metrics(self) -> dict[str, tuple[Callable[..., Any], bool]]:
        """Return how the other metrics are aggregated, see `SampledTask.further_metrics`."""
        return {
            self._title(other): (self._aggregate(other, everywhere), self._higher_is_better.get(other.name, True))
            for other, everywhere in self._others.items()
        }

    def _aggregate(self, other: Metric, everywhere: bool) -> Callable[..., Any]:
        if self._is_mean(other):
            # lm-eval knows the standard error of its own mean.
            return mean if everywhere else others.mean_of_known
        return others.of_one_completion_each(self._aggregation_list[other.name])

    def _is_mean(self, other: Metric) -> bool:
        return metric.is_mean(self._aggregation_list.get(other.name, mean))

    def _title(self, other: Metric) -> str:
        title = other.title([pipeline.name for pipeline in self._task_filters])
        ours = {*scores.metric_names(self.config.repeats, ranked=True), "curve", "audit"}
        return f"{title}[{self._base}]" if title in ours else title


def _without_source(metadata: Mapping[str, Any]) -> dict[str, Any]:
    """Return metadata without what lm-eval says of their source: that of the original is told."""
    return {key: value for key, value in metadata.items() if key != "config_source"}
