"""The class behind every task: K completions per problem, all of them judged, the whole curve reported."""

import math
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import datasets
import numpy as np
from lm_eval.api.metrics import mean
from lm_eval.api.task import ConfigurableTask

from wise_merge.answers import benchmarks
from wise_merge.answers.benchmarks import Document, Gold, Judged
from wise_merge.errors import WiseMergeError
from wise_merge.estimators.best_at_k import best_at_k_curves
from wise_merge.estimators.majority import majority_at_n, majority_curves
from wise_merge.estimators.pass_at_k import pass_at_k_curves, reported_k
from wise_merge.estimators.uncertainty import standard_error
from wise_merge.hosts.lm_eval.registration import TaskInputError, log, watch_evaluation
from wise_merge.tasks import audit, problems, rescue
from wise_merge.tasks.ranking import Ranking

#: All that lm-eval understands as the number of new tokens; the first one wins.
TOKEN_LIMITS = ("max_gen_toks", "max_new_tokens", "max_tokens", "max_completion_tokens")

#: Set by torchrun and accelerate: how many processes on this machine evaluate a part of the problems each.
RANKS_HERE = "LOCAL_WORLD_SIZE"

#: lm-eval's models behind an API that has no `top_k` and refuses requests that name one.
WITHOUT_TOP_K = ("OpenAICompletionsAPI", "OpenAIChatCompletion")

#: The root of lm-eval's models behind an API, and those of them that send no seed and must not be given one.
API = "LocalCompletionsAPI"
API_WITHOUT_SEED = ("AnthropicChat", "SGLANGGENERATEAPI")

#: What they send unless told otherwise.
LM_EVAL_SEED = 1234

#: Our models, whose samples have seeds of their own (wise_merge/sampling).
OURS = ("HFPassK", "VLLMPassK")


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
        # The files of other tasks have no place in this one's results.
        self._data_file = problems.data_file(metadata.pop("data_file", None), config["task"])
        defaults = config.pop("defaults", {}).get("data_file" if self._data_file else "generated", {})
        config["metadata"] = metadata = {**defaults, **metadata}
        #: What is not the prompt's but the YAML's or the user's to say.
        self._settings: dict[str, Any] = dict(config["generation_kwargs"])
        self._num_fewshot: int | None = config.get("num_fewshot")
        self._model: Any = None
        # lm-eval sets them when it builds the requests.
        self._instances: list[Any] = []
        #: The problems, as `doc_to_text` gives them, whose prompts are cut; None = unknown.
        self._cut_prompts: set[str] | None = None
        self._judged: dict[tuple[Gold, tuple[str, ...]], Judged] = {}
        self._ranking = Ranking.of(metadata.get("scorer"), config["task"])
        # Until the evaluation says whether there is a chat template. lm-eval would ignore
        # --num_fewshot where it finds a 0, so the number of the few-shot prompt stands first.
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
        # Before the sampling: a problem that cannot be judged would only lower every figure.
        for number, row in enumerate(self.dataset[config.test_split], start=1):
            try:
                rows.append(self._prepare(row, **metadata) if self._prepare else row)
                known.add(self._key(self.benchmark.gold(rows[-1])))
            except WiseMergeError as error:
                raise WiseMergeError(f"problem {number} of {origin} cannot be used: {error}") from error
        if self._prepare:
            self.dataset[config.test_split] = datasets.Dataset.from_list(rows)
        if config.fewshot_split:
            # The generator keeps its examples from its own problems, not from those of a file.
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
        """Note what the user sets and the prompt shall not, and set it."""
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
        self._choose_prompt(bool(kwargs.get("apply_chat_template")))
        settings = self.config.generation_kwargs
        temperature = settings.get("temperature", 1.0)
        if isinstance(temperature, bool) or not isinstance(temperature, (int, float)) or temperature < 0:
            raise TaskInputError(
                f"{task}: temperature must be a number of at least 0 (0 = greedy); got {temperature!r}"
            )
        if temperature == 0:
            # What everybody means by it; the hf backend would refuse to sample at 0.
            settings["do_sample"] = False
        if not settings.get("do_sample") and self.config.repeats > 1:
            raise TaskInputError(
                f"{task}: {self.config.repeats} greedy completions of a problem are one and the same; "
                "for greedy decoding add --metadata repeats=1, for sampling leave do_sample and temperature > 0"
            )
        # Off is the default. None, or 0 where that would be refused, means not to mention it.
        if settings.get("top_k") is None or (settings["top_k"] == 0 and self._model_is(*WITHOUT_TOP_K)):
            settings.pop("top_k", None)
        self._choose_seed(settings)
        if self._ranking and self._ranking.own and type(self._model).__module__.startswith("lm_eval."):
            raise TaskInputError(
                f"{task}: scorer logprob needs a model that says how probable its completions are; "
                "use --model hf-passk or --model vllm-passk, or another model as scorer: logprob:MODEL"
            )
        self._rehearse()
        super().build_all_requests(**kwargs)
        self._check_prompts()

    def _choose_seed(self, settings: dict[str, Any]) -> None:
        """Refuse what would give the K completions of a problem one seed, and keep lm-eval from doing that itself."""
        task, seed = self.config.task, settings.get("seed")
        if self._model_is(*OURS) or (self._model_is("HFLM") and seed is None):
            # They know no such setting.
            settings.pop("seed", None)
        if seed is not None and (self.config.repeats > 1 or self._model_is(*OURS)):
            raise TaskInputError(
                f"{task}: seed={seed} in --gen_kwargs is refused, because it would be that of each of the "
                f"{self.config.repeats} completions of a problem; a run is reproducible with --seed {seed} (hf, "
                f"hf-passk, vllm-passk) or --model_args seed={seed} (vllm), and not with a model behind an API"
            )
        if self.config.repeats == 1 or not settings.get("do_sample"):
            return
        replicas = getattr(self._model, "data_parallel_size", 1)
        if self._model_is("VLLM") and not self._model_is(*OURS) and isinstance(replicas, int) and replicas > 1:
            raise TaskInputError(
                f"{task}: data_parallel_size={replicas} of --model vllm is refused, because its replicas share a seed "
                "and repeat each other's completions; use --model vllm-passk, which takes the same --model_args"
            )
        if self._model_is(API) and not self._model_is(*API_WITHOUT_SEED):
            # Left to themselves, they send the same seed with each of the K requests of a problem.
            settings["seed"] = None
            given = getattr(self._model, "_seed", LM_EVAL_SEED)
            if given != LM_EVAL_SEED:
                log.warning("%s: seed=%s of --model_args is not sent, so that the server gives K samples", task, given)

    def _check_prompts(self) -> None:
        """Count the prompts that are too long beside their completions, and refuse the run if all of them are.

        These backends cut a prompt at its beginning then, down to nothing, and go on.
        """
        context = getattr(self._model, "max_length", None)
        cuts = self._model_is("VLLM") or (self._model_is("HFLM") and self._model.backend == "causal")
        if not cuts or not isinstance(context, int):
            return
        counts = [self._token_count(instance.args[0], special_tokens=None) for instance in self._instances]
        lengths = [count for count in counts if count is not None]
        if len(lengths) < len(counts):
            return
        room = context - self.max_tokens
        self._cut_prompts = {
            self.doc_to_text(instance.doc)
            for instance, length in zip(self._instances, lengths, strict=True)
            if length > room
        }
        too_long = sum(length > room for length in lengths)
        situation = (
            f"{self.config.task}: completions of max_gen_toks={self.max_tokens} leave {max(room, 0)} tokens of the "
            f"model's context of {context} to the prompt, and {too_long} of {len(lengths)} prompts are longer "
            f"(up to {max(lengths)} tokens)"
        )
        if too_long == len(lengths):
            raise TaskInputError(f"{situation}; lower --gen_kwargs max_gen_toks=... or --num_fewshot")
        if too_long:
            log.warning("%s: those LOSE THEIR BEGINNING; a lower max_gen_toks or --num_fewshot helps", situation)

    def _model_is(self, *names: str) -> bool:
        """Return whether the model is of one of these classes of lm-eval, which need not be imported for that."""
        return any(base.__name__ in names for base in type(self._model).__mro__)

    def _rehearse(self) -> None:
        """Judge one made-up completion per problem: what cannot be judged must show before the sampling, not after."""
        rows = self.dataset[self.config.test_split]
        self._judge([(self.benchmark.gold(row), (r"\boxed{x + 1}",)) for row in rows])

    def _choose_prompt(self, has_chat_template: bool) -> None:
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
        if not any(name in self._settings for name in TOKEN_LIMITS):
            own["max_gen_toks"] = prompt["max_gen_toks"]
        return {**own, **self._settings}

    @property
    def max_tokens(self) -> int:
        """The most new tokens of a completion."""
        settings = self.config.generation_kwargs
        return int(next(settings[name] for name in TOKEN_LIMITS if name in settings))

    # --- completions ------------------------------------------------------------------------------

    def meet(self, model: Any) -> None:
        """Take note of the model, and refuse lm-eval's cache of its answers."""
        if hasattr(model, "cache_db"):
            raise TaskInputError(
                f"{self.config.task}: --use_cache is refused, because it keeps one of the K completions of a prompt "
                "and can only give copies of that one back; leave it out (what resumes is --model hf-passk or "
                "vllm-passk with --model_args journal=FOLDER)"
            )
        self._model = model

    def apply_filters(self) -> Any:
        """Judge all problems at once, look for K identical completions, then filter as usual."""
        completions = [self._first_k(instance.resps, f"problem {instance.doc_id}") for instance in self._instances]
        if not self._predict_only:
            golds = [self.benchmark.gold(instance.doc) for instance in self._instances]
            self._judge(list(zip(golds, completions, strict=True)))
            if self._ranking:
                self._ranking.score(
                    (self._statement(instance.doc), instance.args[0], texts)
                    for instance, texts in zip(self._instances, completions, strict=True)
                )
        self._look_for_copies(completions)
        return super().apply_filters()

    def _look_for_copies(self, completions: Sequence[tuple[str, ...]]) -> None:
        """Warn if some problems got K identical completions, and end the run if an API gave nothing else."""
        identical = sum(len(texts) > 1 and len(set(texts)) == 1 for texts in completions)
        if not identical:
            return
        task, temperature = self.config.task, self.config.generation_kwargs.get("temperature")
        if self._model_is(API) and identical == len(completions) > 1:
            raise TaskInputError(
                f"{task}: the server gave {self.config.repeats} identical completions for each of {identical} "
                f"problems, at temperature {temperature}: these are copies, not samples. Turn off its cache and any "
                "seed or greedy decoding that it is set to, or raise the temperature"
            )
        log.warning(
            "%s\n%s: ALL %d COMPLETIONS ARE IDENTICAL in %d of %d problems, at temperature %s.\n"
            "Pass@k of such a problem is that of a single completion. Either the model has collapsed onto one "
            "completion, or the backend returned copies, as a server with a seed or a cache of its own does. "
            "--model hf-passk and --model vllm-passk give each sample a seed of its own.\n%s",
            "!" * 80,
            task,
            self.config.repeats,
            identical,
            len(completions),
            temperature,
            "!" * 80,
        )

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
                **({"curve": told} if (told := audit.told(self._texts(instance.resps))) else {}),
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
        """Judge in one go, which costs least, and keep the verdicts for `process_results`."""
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
        k_drawn = len(completions)
        curve = pass_at_k_curves(k_drawn, np.array([sum(judged.correct)]))[0]
        answered = sum(answer is not None for answer in judged.answers)
        facts = audit.facts(
            completions,
            answered=answered,
            received=len(received),
            prompt_cut=None if self._cut_prompts is None else self.doc_to_text(doc) in self._cut_prompts,
            max_tokens=self.max_tokens,
            token_count=self._token_count,
        )
        scores: dict[str, Any] = {f"pass@{k}": float(curve[k - 1]) for k in reported_k(k_drawn)}
        scores[f"maj@{k_drawn}"] = majority_at_n(judged.answers, judged.correct)
        scores["answered"] = answered / k_drawn
        scores["identical"] = float(facts["distinct"] == 1 < k_drawn)
        if facts["cut_off"] is not None:
            scores["cut_off"] = facts["cut_off"] / k_drawn
        scores["curve"] = {
            "answers": list(judged.answers),
            "correct": list(judged.correct),
            **audit.told(completions),
        }
        if self._ranking:
            ranked = self._ranking.scores(self._statement(doc), completions)
            # Not left out: the processes of one run must have the same metrics.
            scores[f"best@{k_drawn}"] = math.nan
            if ranked is not None:
                curve = best_at_k_curves(np.array([ranked]), np.array([judged.correct]))[0]
                scores[f"best@{k_drawn}"] = float(curve[-1])
                # Infinity is not JSON.
                scores["curve"]["scores"] = [score if math.isfinite(score) else None for score in ranked]
        scores["audit"] = facts
        return scores

    def _token_count(self, text: str, *, special_tokens: bool | None = False) -> int | None:
        """Return how many tokens the model's tokenizer makes of a text, None if it shows none.

        Args:
            text: to be counted.
            special_tokens: whether the tokenizer adds some; None = as it does to a prompt.
        """
        try:
            tokens = self._model.tok_encode(text, add_special_tokens=special_tokens)
        except Exception:
            # What a backend raises here is its own; hours of sampling must not end by it.
            return None
        # An API model without a tokenizer answers [text].
        return len(tokens) if all(isinstance(token, int) for token in tokens) else None

    # --- aggregation ------------------------------------------------------------------------------

    @property
    def _predict_only(self) -> bool:
        return "bypass" in self._metric_fn_list

    def _metrics(self) -> list[str]:
        k_drawn = self.config.repeats
        votes = [f"maj@{k_drawn}", *([f"best@{k_drawn}"] if self._ranking else [])]
        return [*(f"pass@{k}" for k in reported_k(k_drawn)), *votes, "answered", "identical", "cut_off"]

    def aggregation(self) -> dict[str, Callable[..., Any]]:
        """Return how each metric is aggregated over problems: by the mean, whose standard error lm-eval knows."""
        if self._predict_only:
            return dict(super().aggregation())
        return {**dict.fromkeys(self._metrics(), mean), "curve": whole_curve, "audit": audit.summary}

    def higher_is_better(self) -> dict[str, bool]:
        """Return the direction of every metric: identical and cut-off completions are bad."""
        return {metric: metric not in ("identical", "cut_off") for metric in self._metrics()}

    def report(self, results: dict[str, Any]) -> None:
        """Log the audit that stands in lm-eval's results."""
        for metric, figures in results["results"].get(self.config.task, {}).items():
            if metric.partition(",")[0] == "audit":
                log.info("%s", audit.describe(self.config.task, figures, self.max_tokens))


def whole_curve(judged: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Return pass@k and maj@k for k = 1, ..., n with standard errors, means over problems.

    Args:
        judged: `answers` (labels, None = no answer) and `correct` of each problem's n completions,
            and their `scores` if there is a scorer (None = could not be read). What else there is
            (see `audit.told`) is for the samples that are logged.

    Returns:
        `n`, `problems`, and lists of n numbers each: `pass@k`, `pass@k_stderr`, `maj@k`,
        `maj@k_stderr`, with scores `best@k` and `best@k_stderr` too. A single problem has no
        standard error (None).
    """
    n = len(judged[0]["correct"])
    correct = np.array([sum(problem["correct"]) for problem in judged])
    curves = {
        "pass@k": pass_at_k_curves(n, correct),
        "maj@k": majority_curves((problem["answers"], problem["correct"]) for problem in judged),
    }
    if all("scores" in problem for problem in judged):
        scores = [[-math.inf if score is None else score for score in problem["scores"]] for problem in judged]
        curves["best@k"] = best_at_k_curves(np.array(scores), np.array([problem["correct"] for problem in judged]))
    result: dict[str, Any] = {"n": n, "problems": len(judged)}
    for name, values in curves.items():
        result[name] = values.mean(axis=0).tolist()
        errors = standard_error(values).tolist()
        result[f"{name}_stderr"] = errors if len(judged) > 1 else [None] * n
    return result
