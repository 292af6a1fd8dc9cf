"""What every task with K completions per problem does, whoever judges them: settings checked, figures, audit, rescue.

lm-eval calls it. Two kinds of tasks are built on it: our own (`task`), whose answers a benchmark of ours judges, and
those made from a task that lm-eval has (`converted`), which judges them itself.
"""

import os
from abc import abstractmethod
from collections.abc import Callable, Hashable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from lm_eval.api.metrics import mean
from lm_eval.api.task import ConfigurableTask

from wise_merge.answers.benchmarks import Document, Judged
from wise_merge.errors import WiseMergeError
from wise_merge.hosts.lm_eval.messages import TaskInputError, log
from wise_merge.hosts.lm_eval.registration import watch_evaluation
from wise_merge.tasks import audit, backend, generation, problems, prompt_lengths, rescue, scores
from wise_merge.tasks.ranking import Ranking

#: Set by torchrun and accelerate: how many processes on this machine evaluate a part of the problems each.
RANKS_HERE = "LOCAL_WORLD_SIZE"

#: What lm-eval calls our one filter, through which all K completions pass.
FILTER = "samples"


class SampledTask(ConfigurableTask):
    """K completions per problem, all of them scored: unbiased pass@k and maj@k for every k up to K.

    Understands in the metadata, and so in `--metadata` of the command line: `repeats` (K, how many completions per
    problem), `scorer` (what ranks the completions for best@k) and `data_file` (a JSON Lines file of problems to take
    instead, or a mapping from task names to such files).
    """

    def __init__(self, config: dict[str, Any], *, repeats: int) -> None:
        """Check what the metadata say, then load the problems.

        Args:
            config: of the task, as lm-eval's own class takes it; its `metadata` are a dict.
            repeats: K where the metadata do not say.
        """
        metadata = config["metadata"]
        config["repeats"] = problems.positive_integer(metadata.get("repeats", repeats), "repeats")
        # Taken out of the metadata: this task's results do not name the files of other tasks.
        self._data_file = problems.data_file(metadata.pop("data_file", None), config["task"])
        self._model: Any = None
        # lm-eval sets them when it builds the requests.
        self._instances: list[Any] = []
        #: The problems, as `doc_to_text` gives them, whose prompts are cut; None = unknown.
        self._cut_prompts: set[str] | None = None
        self._judged: dict[tuple[Hashable, tuple[str, ...]], Judged] = {}
        self._ranking = Ranking.of(metadata.get("scorer"), config["task"])
        try:
            super().__init__(config=config)
        except TaskInputError:
            raise
        except WiseMergeError as error:
            raise TaskInputError(f"{config['task']}: {error}") from error
        watch_evaluation(SampledTask)

    # --- what a kind of task says -----------------------------------------------------------------

    @abstractmethod
    def key(self, doc: Document) -> Hashable:
        """Return what the verdict on a completion depends on beside its text: equal for equal problems."""

    @abstractmethod
    def gold_text(self, doc: Document) -> str:
        """Return what answers to the problem are compared with, for people to read."""

    @abstractmethod
    def judge(
        self, answered: Sequence[tuple[Document, Sequence[str]]], *, processes: int | None = None
    ) -> Sequence[Judged]:
        """Return the answers and verdicts of the completions of each problem.

        Args:
            answered: pairs of a problem and its completions.
            processes: that may be used; None means one per core.
        """

    @abstractmethod
    def check_judging(self) -> None:
        """Judge made-up completions, so that errors in judging appear before the sampling, not after."""

    def statement(self, doc: Document) -> str:
        """Return the problem's own text, as `wise-merge score` shows it to a scorer."""
        return str(self.doc_to_text(doc))

    def choose_prompt(self, has_chat_template: bool) -> None:
        """Set what depends on the prompt, where a task has several."""

    @property
    def judged_by(self) -> str | None:
        """What says right or wrong, such as a metric of a task of lm-eval; None where one of our benchmarks does."""
        return None

    def further_scores(self, judged: Judged) -> dict[str, Any]:
        """Return what else is reported of a problem, by metric."""
        return {}

    def further_metrics(self) -> dict[str, tuple[Callable[..., Any], bool]]:
        """Return how each of these is aggregated over problems, and whether higher is better."""
        return {}

    # --- problems ---------------------------------------------------------------------------------

    def read_data_file(self) -> Any:
        """Return the problems of the user's file, None if there is none; the results name it and its digest."""
        path, config = self._data_file, self.config
        if path is None:
            return None
        rows = problems.read_file(path, config.task)
        config.metadata |= {"data_file": str(path), "data_file_sha256": problems.sha256(path)}
        log.info("%s: %d problems from %s", config.task, len(rows), path)
        return rows

    def load_from_hub(self, dataset_kwargs: dict[str, Any] | None, **kwargs: Any) -> None:
        """Load the problems as lm-eval does; an error says how a copy is taken instead."""
        try:
            super().download(dataset_kwargs, **kwargs)
        except OSError as error:
            reason = " ".join(str(error).split())
            raise WiseMergeError(
                f"{self.config.dataset_path} cannot be loaded ({reason}); "
                f'for a copy of yours add --metadata \'{{"data_file": {{"{self.config.task}": "path.jsonl"}}}}\''
            ) from error

    # --- requests ---------------------------------------------------------------------------------

    def build_all_requests(self, **kwargs: Any) -> None:
        """Choose the prompt, refuse settings under which K completions would be copies, then go on as usual."""
        task = self.config.task
        if kwargs.get("cache_requests"):
            raise TaskInputError(
                f"{task}: --cache_requests is refused, because its key holds neither K nor the sampling "
                "settings: a second run would silently use those of the first"
            )
        self.choose_prompt(bool(kwargs.get("apply_chat_template")))
        self.config.generation_kwargs = generation.checked(
            self.config.generation_kwargs, task=task, n=self.config.repeats, model=self._model
        )
        if self._ranking and self._ranking.own and type(self._model).__module__.startswith("lm_eval."):
            raise TaskInputError(
                f"{task}: scorer logprob needs a model that says how probable its completions are; "
                "use --model hf-passk or --model vllm-passk, or another model as scorer: logprob:MODEL"
            )
        self.check_judging()
        backend.tell_judge(self._model, task, self.judged_by)
        super().build_all_requests(**kwargs)
        self._cut_prompts = self._find_cut_prompts()

    def _find_cut_prompts(self) -> set[str] | None:
        """Return the problems, as `doc_to_text` gives them, whose prompts will be cut; None = unknown."""
        context = backend.context_that_cuts(self._model)
        if context is None:
            return None
        counts = [backend.token_count(self._model, one.args[0], special_tokens=None) for one in self._instances]
        lengths = [count for count in counts if count is not None]
        if len(lengths) < len(counts):
            return None
        cut = prompt_lengths.too_long(lengths, context=context, max_tokens=self.max_tokens, task=self.config.task)
        return {self.doc_to_text(one.doc) for one, is_cut in zip(self._instances, cut, strict=True) if is_cut}

    @property
    def max_tokens(self) -> int:
        """The most new tokens of a completion."""
        return generation.max_tokens(self.config.generation_kwargs)

    # --- completions ------------------------------------------------------------------------------

    def set_model(self, model: Any) -> None:
        """Remember which model of lm-eval completes the prompts; refuse one with lm-eval's cache of completions."""
        if hasattr(model, "cache_db"):
            raise TaskInputError(
                f"{self.config.task}: --use_cache is refused, because it keeps one of the K completions of a prompt "
                "and can only give copies of that one back; leave it out (what resumes is --model hf-passk or "
                "vllm-passk with --model_args journal=FOLDER)"
            )
        self._model = model

    def apply_filters(self) -> Any:
        """Judge all problems at once, warn of copies, then filter as usual."""
        completions = [self._first_k(instance.resps, f"problem {instance.doc_id}") for instance in self._instances]
        if not self._predict_only:
            docs = [instance.doc for instance in self._instances]
            self._judge(list(zip(docs, completions, strict=True)))
            if self._ranking:
                self._ranking.score(
                    (self.statement(instance.doc), instance.args[0], texts)
                    for instance, texts in zip(self._instances, completions, strict=True)
                )
        audit.warn_of_copies(
            completions,
            task=self.config.task,
            temperature=self.config.generation_kwargs.get("temperature"),
            from_server=backend.is_a(self._model, backend.API),
        )
        return super().apply_filters()

    def rescue(self) -> Path | None:
        """Write all completions to a file, as `--log_samples` would have; None if there are none."""
        rows = [
            {
                "doc_id": instance.doc_id,
                "doc": instance.doc,
                "target": self.doc_to_target(instance.doc),
                "arguments": {"gen_args_0": {"arg_0": instance.args[0], "arg_1": instance.args[1]}},
                "resps": [self._texts(instance.resps)],
                "filter": FILTER,
                **({"curve": curve} if (curve := self._curve(instance.doc, self._texts(instance.resps))) else {}),
            }
            for instance in self._instances
            if instance.resps
        ]
        return rescue.save(self.config.task, rows, getattr(self._model, "rank", 0)) if rows else None

    def _curve(self, doc: Document, completions: tuple[str, ...]) -> dict[str, Any]:
        """Return what a logged row says of the samples themselves; verdicts only where no other can judge them."""
        judged = None if self.judged_by is None else self._judged.get((self.key(doc), completions))
        return {
            **({} if judged is None else {"answers": list(judged.answers), "correct": list(judged.correct)}),
            **audit.sampling_details(completions),
            **({} if self.judged_by is None else {"judged_by": self.judged_by}),
        }

    def _first_k(self, completions: Sequence[Any], problem: str) -> tuple[str, ...]:
        """Return exactly K texts, and refuse fewer."""
        texts = self._texts(completions)
        if len(texts) < self.config.repeats:
            raise TaskInputError(
                f"{self.config.task}: {problem} has {len(texts)} completions where {self.config.repeats} were asked "
                "for; the model backend lost some"
            )
        return texts

    def _texts(self, completions: Sequence[Any]) -> tuple[str, ...]:
        """Return the first K texts: data-parallel padding appends a second set to the last problem of a short rank."""
        # Some API servers answer an empty completion with null.
        return tuple(text if isinstance(text, str) else "" for text in completions[: self.config.repeats])

    def _judge(self, answered: Sequence[tuple[Document, tuple[str, ...]]]) -> None:
        """Judge all at once, which is fastest, and keep the verdicts for `process_results`."""
        try:
            judged = self.judge(answered, processes=self._processes)
        except TaskInputError:
            raise
        except WiseMergeError as error:
            raise TaskInputError(f"{self.config.task}: {error}") from error
        self._judged.update(
            ((self.key(doc), completions), verdicts)
            for (doc, completions), verdicts in zip(answered, judged, strict=True)
        )

    @property
    def _processes(self) -> int:
        return max(1, (os.cpu_count() or 1) // int(os.environ.get(RANKS_HERE, 1)))

    def process_results(self, doc: Document, results: Sequence[Any]) -> dict[str, Any]:
        """Return the scores of one problem from its K completions, and what they were computed from."""
        if self._predict_only:
            return {"bypass": 0.0}
        # lm-eval 0.4 hands over [[first, ..., Kth]], 0.5 will hand over [first, ..., Kth].
        received = results[0] if len(results) == 1 and isinstance(results[0], (list, tuple)) else results
        completions = self._first_k(received, "a problem")
        problem = (self.key(doc), completions)
        if problem not in self._judged:
            self._judge([(doc, completions)])
        judged = self._judged[problem]
        counts = audit.counts_of(
            completions,
            answered=sum(answer is not None for answer in judged.answers),
            received=len(received),
            prompt_cut=None if self._cut_prompts is None else self.doc_to_text(doc) in self._cut_prompts,
            max_tokens=self.max_tokens,
            token_count=partial(backend.token_count, self._model),
        )
        problem_scores = scores.of_problem(completions, judged, counts)
        if self.judged_by is not None:
            # `wise-merge score` takes the verdicts of such rows as they are.
            problem_scores["curve"]["judged_by"] = self.judged_by
        if self._ranking:
            ranked = self._ranking.scores(self.statement(doc), completions)
            scores.add_best_at_k(problem_scores, ranked, judged)
        return {**problem_scores, **self.further_scores(judged), "audit": counts}

    # --- aggregation ------------------------------------------------------------------------------

    @property
    def _predict_only(self) -> bool:
        return "bypass" in self._metric_fn_list

    def _metrics(self) -> list[str]:
        return scores.metric_names(self.config.repeats, ranked=self._ranking is not None)

    def aggregation(self) -> dict[str, Callable[..., Any]]:
        """Return how each metric is aggregated over problems: by the mean, whose standard error lm-eval knows."""
        if self._predict_only:
            return dict(super().aggregation())
        further = {name: aggregate for name, (aggregate, _) in self.further_metrics().items()}
        return {**dict.fromkeys(self._metrics(), mean), **further, "curve": scores.whole_curve, "audit": audit.summary}

    def higher_is_better(self) -> dict[str, bool]:
        """Return the direction of every metric: identical and cut-off completions are bad."""
        further = {name: higher for name, (_, higher) in self.further_metrics().items()}
        return {metric: metric not in ("identical", "cut_off") for metric in self._metrics()} | further

    def report(self, results: dict[str, Any]) -> None:
        """Log the audit that stands in lm-eval's results."""
        for metric, figures in results["results"].get(self.config.task, {}).items():
            if metric.partition(",")[0] == "audit":
                log.info("%s", audit.describe(self.config.task, figures, self.max_tokens))
