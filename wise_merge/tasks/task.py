"""The class behind every task of ours: the problems, the prompts, and a benchmark that judges the completions.

What all tasks with K completions per problem have in common is in `sampled`.
"""

from collections.abc import Callable, Hashable, Sequence
from typing import Any

import datasets

from wise_merge.answers import benchmarks
from wise_merge.answers.benchmarks import Benchmark, Document, Gold, Judged
from wise_merge.errors import WiseMergeError
from wise_merge.hosts.lm_eval.messages import TaskInputError, log
from wise_merge.tasks import generation, problems
from wise_merge.tasks.sampled import SampledTask


class PassKTask(SampledTask):
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
        benchmark = config.pop("benchmark")
        self.benchmark = benchmark if isinstance(benchmark, Benchmark) else benchmarks.find(benchmark)
        self._prepare: Callable[..., dict[str, Any]] | None = config.pop("prepare", None)
        self._identity: Callable[[Gold], Gold] = config.pop("key", lambda gold: gold)
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
        own_file = problems.of_task(metadata.get("data_file"), "data_file", config["task"]) is not None
        defaults = config.pop("defaults", {}).get("data_file" if own_file else "generated", {})
        config["metadata"] = {**defaults, **metadata}
        #: Generation settings of the YAML and the user, which win over those of the prompt.
        self._settings: dict[str, Any] = dict(config["generation_kwargs"])
        self._num_fewshot: int | None = config.get("num_fewshot")
        # Until the evaluation says whether there is a chat template. lm-eval ignores --num_fewshot
        # where it finds a 0, so the number of the few-shot prompt is set first.
        prompt = self._prompts[self._prompt or "fewshot"]
        config["num_fewshot"] = self._num_fewshot or self._prompts["fewshot"]["num_fewshot"]
        config["doc_to_text"] = prompt["doc_to_text"]
        config["fewshot_config"] = {**(config.get("fewshot_config") or {}), "doc_to_target": prompt["doc_to_target"]}
        config["generation_kwargs"] = self._generation_settings(prompt)
        super().__init__(config, repeats=config.get("repeats", 1))

    # --- judging ----------------------------------------------------------------------------------

    def key(self, doc: Document) -> Hashable:
        """Return the gold of the problem."""
        return self.benchmark.gold(doc)

    def gold_text(self, doc: Document) -> str:
        """Return the gold of the problem as text."""
        return str(self.benchmark.gold(doc))

    def judge(
        self, answered: Sequence[tuple[Document, Sequence[str]]], *, processes: int | None = None
    ) -> list[Judged]:
        """Return the verdicts of the benchmark, see `SampledTask.judge`."""
        golds = [(self.benchmark.gold(doc), completions) for doc, completions in answered]
        return benchmarks.judge(self.benchmark, golds, processes=processes)

    def check_judging(self) -> None:
        """Judge one made-up completion per problem, which starts the processes that read mathematics."""
        self._judge([(row, (r"\boxed{x + 1}",)) for row in self.dataset[self.config.test_split]])

    def statement(self, doc: Document) -> str:
        """Return the problem's own text, as `wise-merge score` shows it to a scorer; CountDown has its prompt only."""
        text = doc[self.benchmark.columns[0]]
        return text if isinstance(text, str) else super().statement(doc)

    # --- problems ---------------------------------------------------------------------------------

    def download(self, dataset_kwargs: dict[str, Any] | None = None, **kwargs: Any) -> None:
        """Load the problems as the YAML says or from `data_file`, and refuse those whose gold cannot be read."""
        config, metadata = self.config, self.config.metadata
        origin = config.dataset_path or "the generator"
        if config.custom_dataset is not None:
            self.dataset = config.custom_dataset(**metadata)
        elif self._data_file is None:
            self.load_from_hub(dataset_kwargs, **kwargs)
        else:
            self.dataset = {}
        if (rows := self.read_data_file()) is not None:
            origin = metadata["data_file"]
            self.dataset[config.test_split] = rows
        asked = set().union(*(problems.variables(prompt["doc_to_text"]) for prompt in self._prompts.values()))
        own = [name for name in sorted(asked) if name not in self.benchmark.columns]
        # The prompts may name settings, such as the size of a Sudoku; the data need not repeat them.
        constants = {name: metadata[name] for name in own if name in metadata}
        for split in filter(None, (config.test_split, config.fewshot_split)):
            self.dataset[split] = problems.with_columns(
                self.dataset[split], [*self.benchmark.columns, *own], constants, origin
            )
        prepared: list[dict[str, Any]] = []
        known: set[Gold] = set()
        # Checked before the sampling: a problem that cannot be judged would lower every figure.
        for number, row in enumerate(self.dataset[config.test_split], start=1):
            try:
                prepared.append(self._prepare(row, **metadata) if self._prepare else row)
                known.add(self._identity(self.benchmark.gold(prepared[-1])))
            except WiseMergeError as error:
                raise WiseMergeError(f"problem {number} of {origin} cannot be used: {error}") from error
        if self._prepare:
            self.dataset[config.test_split] = datasets.Dataset.from_list(prepared)
        if config.fewshot_split:
            # Generated examples may be among the problems of a file: these are left out.
            examples = [
                row
                for row in self.dataset[config.fewshot_split]
                if self._identity(self.benchmark.gold(row)) not in known
            ]
            self.dataset[config.fewshot_split] = datasets.Dataset.from_list(examples)

    # --- prompts and settings ---------------------------------------------------------------------

    def set_config(self, key: str, value: Any, update: bool = False) -> None:
        """Set a value of the configuration, and remember those of the user, which win over the prompt's."""
        if key == "generation_kwargs":
            self._settings = {**(self._settings if update else {}), **value}
        elif key == "num_fewshot":
            self._num_fewshot = value
        super().set_config(key, value, update)

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
