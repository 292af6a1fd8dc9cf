"""The class behind every task: K completions per problem, all of them judged, the whole curve reported.

What lm-eval calls is here; settings, prompts that are too long, scores and the audit are modules of their own.
"""

import os
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import datasets
from lm_eval.api.metrics import mean
from lm_eval.api.task import ConfigurableTask

from wise_merge.answers import benchmarks
from wise_merge.answers.benchmarks import Document, Gold, Judged
from wise_merge.errors import WiseMergeError
from wise_merge.hosts.lm_eval.registration import TaskInputError, log, watch_evaluation
from wise_merge.tasks import audit, backend, generation, problems, prompt_lengths, rescue, scores
from wise_merge.tasks.ranking import Ranking

#: Set by torchrun and accelerate: how many processes on this machine evaluate a part of the problems each.
RANKS_HERE = "LOCAL_WORLD_SIZE"


class PassKTask(ConfigurableTask):
    """K completions per problem, all of them scored: unbiased pass@k and maj@k for every k up to K.

    Understands in the YAML's metadata, and so in `--metadata` of the command line:
    `repeats` (K, how many completions per problem), `prompt` (`fewshot` or
    `instruct`), `scorer` (what ranks the completions for best@k), `data_file` (a JSON
    Lines file of problems to take instead) and `max_gen_toks`, each of the last two also
    as a mapping from task names. The YAML also names the `benchmark`, the `prompts`, for
    each of them `max_gen_toks`, and where need be: `defaults`, settings that depend on
    where the problems are from; the function that will `prepare` the row of a file for
    the prompts; and a `key` from the gold of a problem to what makes two the same one.
    """

    def __init__(self, config: dict[str, Any]) -> None:
        config = {key: value for key, value in config.items() if key != "class"}
        metadata = config["metadata"] = dict(config.get("metadata") or {})
        config["repeats"] = problems.positive_integer(metadata.get("repeats", config.get("repeats", 1)), "repeats")
        self.benchmark = benchmarks.find(config.pop("benchmark"))
        self._prepare: Callable[..., dict[str, Any]] | None = config.pop("prepare", None)
        self._key: Callable[[Gold], Gold] = config.pop("key", lambda gold: gold)
        limits = config.pop("max_gen_toks")
        limit = problems.of_task(metadata.pop("max_gen_toks", None), "max_gen_toks", config["task"])
        if limit is not None:
            limits = dict.fromkeys(limits, problems.positive_integer(limit, "max_gen_toks"))
        self._prompts: dict[str, dict[str, Any]] = {
            name: {**prompt, "max_gen_toks": limits[name]} for name, prompt in config.pop("prompts").items()
        }
        self._prompt: str | None = metadata.get("prompt")
        if self._prompt not in [None, *self._prompts]:
            raise TaskInputError(f"{config['task']}: prompt must be {' or '.join(self._prompts)}; got {self._prompt!r}")
        # Taken out of the metadata: this task's results do not name the files of other tasks.
        self._data_file = problems.data_file(metadata.pop("data_file", None), config["task"])
        defaults = config.pop("defaults", {}).get("data_file" if self._data_file else "generated", {})
        config["metadata"] = metadata = {**defaults, **metadata}
        #: Generation settings of the YAML and the user, which win over those of the prompt.
        self._settings: dict[str, Any] = dict(config["generation_kwargs"])
        self._num_fewshot: int | None = config.get("num_fewshot")
        self._model: Any = None
        # lm-eval sets them when it builds the requests.
        self._instances: list[Any] = []
        #: The problems, as `doc_to_text` gives them, whose prompts are cut; None = unknown.
        self._cut_prompts: set[str] | None = None
        self._judged: dict[tuple[Gold, tuple[str, ...]], Judged] = {}
        self._ranking = Ranking.of(metadata.get("scorer"), config["task"])
        # Until the evaluation says whether there is a chat template. lm-eval ignores --num_fewshot
        # where it finds a 0, so the number of the few-shot prompt is set first.
        prompt = self._prompts[self._prompt or "fewshot"]
        config["num_fewshot"] = self._num_fewshot or self._prompts["fewshot"]["num_fewshot"]
        config["doc_to_text"] = prompt["doc_to_text"]
        config["fewshot_config"] = {**(config.get("fewshot_config") or {}), "doc_to_target": prompt["doc_to_target"]}
        config["generation_kwargs"] = self._generation_settings(prompt)
        try:
            super().__init__(config=config)
        except TaskInputError:
            raise
        except WiseMergeError as error:
            raise TaskInputError(f"{config['task']}: {error}") from error
        watch_evaluation(PassKTask)

    # --- problems ---------------------------------------------------------------------------------

    def download(self, dataset_kwargs: dict[str, Any] | None = None, **kwargs: Any) -> None:
        """Load the problems as the YAML says or from `data_file`, and refuse those whose gold cannot be read."""
        config, metadata = self.config, self.config.metadata
        origin = config.dataset_path or "the generator"
        if config.custom_dataset is not None:
            self.dataset = config.custom_dataset(**metadata)
        elif self._data_file is None:
            self._load_from_hub(dataset_kwargs, **kwargs)
        else:
            self.dataset = {}
        if self._data_file is not None:
            origin = metadata["data_file"] = str(self._data_file)
            self.dataset[config.test_split] = problems.read_file(self._data_file, config.task)
            metadata["data_file_sha256"] = problems.sha256(self._data_file)
            log.info("%s: %d problems from %s", config.task, len(self.dataset[config.test_split]), self._data_file)
        asked = set().union(*(problems.variables(prompt["doc_to_text"]) for prompt in self._prompts.values()))
        own = [name for name in sorted(asked) if name not in self.benchmark.columns]
        # The prompts may name settings, such as the size of a Sudoku; the data need not repeat them.
        constants = {name: metadata[name] for name in own if name in metadata}
        for split in filter(None, (config.test_split, config.fewshot_split)):
            self.dataset[split] = problems.with_columns(
                self.dataset[split], [*self.benchmark.columns, *own], constants, origin
            )
        rows: list[dict[str, Any]] = []
        known: set[Gold] = set()
        # Checked before the sampling: a problem that cannot be judged would lower every figure.
        for number, row in enumerate(self.dataset[config.test_split], start=1):
            try:
                rows.append(self._prepare(row, **metadata) if self._prepare else row)
                known.add(self._key(self.benchmark.gold(rows[-1])))
            except WiseMergeError as error:
                raise WiseMergeError(f"problem {number} of {origin} cannot be used: {error}") from error
        if self._prepare:
            self.dataset[config.test_split] = datasets.Dataset.from_list(rows)
        if config.fewshot_split:
            # Generated examples may be among the problems of a file: these are left out.
            examples = [
                row for row in self.dataset[config.fewshot_split] if self._key(self.benchmark.gold(row)) not in known
            ]
            self.dataset[config.fewshot_split] = datasets.Dataset.from_list(examples)

    def _load_from_hub(self, dataset_kwargs: dict[str, Any] | None, **kwargs: Any) -> None:
        try:
            super().download(dataset_kwargs, **kwargs)
        except OSError as error:
            reason = " ".join(str(error).split())
            raise WiseMergeError(
                f"{self.config.dataset_path} cannot be loaded ({reason}); "
                f'for a copy of yours add --metadata \'{{"data_file": {{"{self.config.task}": "path.jsonl"}}}}\''
            ) from error

    # --- prompts and settings ---------------------------------------------------------------------

    def set_config(self, key: str, value: Any, update: bool = False) -> None:
        """Set a value of the configuration, and remember those of the user, which win over the prompt's."""
        if key == "generation_kwargs":
            self._settings = {**(self._settings if update else {}), **value}
        elif key == "num_fewshot":
            self._num_fewshot = value
        super().set_config(key, value, update)

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
        self._judge_one_each()
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

    def _judge_one_each(self) -> None:
        """Judge one made-up completion per problem, so that errors in judging appear before the sampling, not after."""
        rows = self.dataset[self.config.test_split]
        self._judge([(self.benchmark.gold(row), (r"\boxed{x + 1}",)) for row in rows])

    def choose_prompt(self, has_chat_template: bool) -> None:
        """Set what depends on the prompt: text, examples, stop strings, longest completion."""
        config = self.config
        name = self._prompt or ("instruct" if has_chat_template else "fewshot")
        if self._prompt is None and has_chat_template:
            log.info("%s: --apply_chat_template selects --metadata prompt=instruct; an explicit one wins", config.task)
        prompt = self._prompts[name]
        config.metadata["prompt"] = name
        config.doc_to_text = self.fewshot_cfg.doc_to_text = prompt["doc_to_text"]
        self.fewshot_cfg.doc_to_target = prompt["doc_to_target"]
        config.num_fewshot = prompt["num_fewshot"] if self._num_fewshot is None else self._num_fewshot
        config.generation_kwargs = self._generation_settings(prompt)
        if config.num_fewshot > len(self.sampler.df):
            raise TaskInputError(
                f"{config.task} has {len(self.sampler.df)} worked examples; got --num_fewshot {config.num_fewshot}"
            )

    def _generation_settings(self, prompt: dict[str, Any]) -> dict[str, Any]:
        own: dict[str, Any] = {"until": list(prompt["until"])}
        if not any(name in self._settings for name in generation.TOKEN_LIMITS):
            own["max_gen_toks"] = prompt["max_gen_toks"]
        return {**own, **self._settings}

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
            golds = [self.benchmark.gold(instance.doc) for instance in self._instances]
            self._judge(list(zip(golds, completions, strict=True)))
            if self._ranking:
                self._ranking.score(
                    (self._statement(instance.doc), instance.args[0], texts)
                    for instance, texts in zip(self._instances, completions, strict=True)
                )
        audit.warn_of_copies(
            completions,
            task=self.config.task,
            temperature=self.config.generation_kwargs.get("temperature"),
            from_server=backend.is_a(self._model, backend.API),
        )
        return super().apply_filters()

    def _statement(self, doc: Document) -> str:
        """Return the problem's own text, as `wise-merge score` shows it to a scorer; CountDown has its prompt only."""
        text = doc[self.benchmark.columns[0]]
        return text if isinstance(text, str) else str(self.doc_to_text(doc))

    def rescue(self) -> Path | None:
        """Write all completions to a file, as `--log_samples` would have; None if there are none."""
        rows = [
            {
                "doc_id": instance.doc_id,
                "doc": instance.doc,
                "target": self.doc_to_target(instance.doc),
                "arguments": {"gen_args_0": {"arg_0": instance.args[0], "arg_1": instance.args[1]}},
                "resps": [self._texts(instance.resps)],
                "filter": self.config.filter_list[0]["name"],
                **({"curve": details} if (details := audit.sampling_details(self._texts(instance.resps))) else {}),
            }
            for instance in self._instances
            if instance.resps
        ]
        return rescue.save(self.config.task, rows, getattr(self._model, "rank", 0)) if rows else None

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

    def _judge(self, answered: Sequence[tuple[Gold, tuple[str, ...]]]) -> None:
        """Judge all at once, which is fastest, and keep the verdicts for `process_results`."""
        try:
            judged = benchmarks.judge(self.benchmark, answered, processes=self._processes)
        except WiseMergeError as error:
            raise TaskInputError(f"{self.config.task}: {error}") from error
        self._judged.update(zip(answered, judged, strict=True))

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
        problem = (self.benchmark.gold(doc), completions)
        if problem not in self._judged:
            self._judge([problem])
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
        if self._ranking:
            ranked = self._ranking.scores(self._statement(doc), completions)
            scores.add_best_at_k(problem_scores, ranked, judged)
        return {**problem_scores, "audit": counts}

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
        return {**dict.fromkeys(self._metrics(), mean), "curve": scores.whole_curve, "audit": audit.summary}

    def higher_is_better(self) -> dict[str, bool]:
        """Return the direction of every metric: identical and cut-off completions are bad."""
        return {metric: metric not in ("identical", "cut_off") for metric in self._metrics()}

    def report(self, results: dict[str, Any]) -> None:
        """Log the audit that stands in lm-eval's results."""
        for metric, figures in results["results"].get(self.config.task, {}).items():
            if metric.partition(",")[0] == "audit":
                log.info("%s", audit.describe(self.config.task, figures, self.max_tokens))
