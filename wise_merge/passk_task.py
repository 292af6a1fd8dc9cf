"""Tasks of lm-eval that draw K completions per problem and score them all.

lm-eval 0.4.13 has `repeats`, but keeps one of the K completions unless told
otherwise, has no command-line flag for K, and reports no estimator over samples.
`PassKTask` is the class behind every YAML in `lm_eval_tasks/`. Only the format of
lm-eval is known here; estimators and answers are elsewhere.
"""

import functools
import logging
from collections.abc import Callable, Hashable, Sequence
from pathlib import Path
from typing import Any

import datasets
from lm_eval.api.metrics import mean
from lm_eval.api.task import ConfigurableTask

from wise_merge import countdown
from wise_merge.answers import numbers
from wise_merge.errors import WiseMergeError
from wise_merge.estimators.pass_at_k import majority_at_n, pass_at_k, reported_k

log = logging.getLogger(__name__)

#: Examples that are generated beside the problems of CountDown, so --num_fewshot goes up to this.
FEWSHOT_EXAMPLES = 16

Document = dict[str, Any]
#: From (document, completion) to (class of the answer or None, whether it is correct).
Reader = Callable[[Document, str], tuple[Hashable | None, bool]]


class TaskInputError(WiseMergeError, SystemExit):
    """A `WiseMergeError` that ends `lm_eval` with one line and exit code 1 instead of a traceback."""

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.code = message


def tasks_directory() -> str:
    """Return the folder of our task YAMLs: within the package if installed, beside it in a checkout."""
    package = Path(__file__).parent
    for directory in (package / "lm_eval_tasks", package.parent / "lm_eval_tasks"):
        if directory.is_dir():
            return str(directory)
    raise WiseMergeError(f"the task files are missing from {package}; reinstall wise-merge")


def add_tasks_directory(manager_module: Any) -> None:
    """Make every `TaskManager` of lm-eval look into `tasks_directory` too.

    As if `--include_path` had named it as well; a user's own include path comes
    later and wins. Where lm-eval finds our tasks by the `lm_eval.tasks` entry
    point, nothing is added.
    """
    directory = tasks_directory()
    original = manager_module.TaskManager.__init__

    @functools.cache
    def finds_them_by_itself() -> bool:
        manager = object.__new__(manager_module.TaskManager)
        original(manager, include_defaults=False)
        return "countdown_passk" in manager.all_tasks

    @functools.wraps(original)
    def with_our_tasks(self: Any, verbosity: Any = None, include_path: Any = None, *args: Any, **kwargs: Any) -> None:
        if not finds_them_by_itself():
            paths = include_path if isinstance(include_path, (list, tuple)) else [include_path] if include_path else []
            if Path(directory) not in map(Path, paths):
                include_path = [directory, *paths]
        original(self, verbosity, include_path, *args, **kwargs)

    manager_module.TaskManager.__init__ = with_our_tasks


def read_gsm8k(document: Document, completion: str) -> tuple[Hashable | None, bool]:
    """Read the final number and compare it with the one behind `####` in the reference solution."""
    number = numbers.read_number(completion)
    return number, number is not None and number == numbers.read_number(str(document["answer"]))


def unusable_gsm8k(row: Document) -> str | None:
    """Return what is wrong with a row of a GSM8K file, or None."""
    if numbers.read_number(str(row["answer"])) is None:
        return f"its answer must be or end in a number; got {row['answer']!r}"
    return None if isinstance(row["question"], str) else f"its question must be a text; got {row['question']!r}"


def read_countdown(document: Document, completion: str) -> tuple[Hashable | None, bool]:
    """Read the expression and check it against the rules of the game."""
    answer = countdown.read_answer(completion)
    # One vote has one verdict: forms that are equal have equal numbers and value.
    return answer and answer.form, countdown.is_solution(answer, tuple(document["numbers"]), document["target"])


def unusable_countdown(row: Document) -> str | None:
    """Return what is wrong with a row of a CountDown file, or None."""
    numbers, target = row["numbers"], row["target"]
    if not isinstance(numbers, list) or not numbers or not all(type(number) is int for number in numbers):
        return f"its numbers must be a list of integers; got {numbers!r}"
    return None if type(target) is int else f"its target must be an integer; got {target!r}"


def countdown_problems(
    *, numbers: int, largest: int, problems: int, problem_seed: int, **_: Any
) -> dict[str, datasets.Dataset]:
    """Return the problems of `countdown_passk` and a few others for the few-shot examples."""
    for name, value in {"numbers": numbers, "largest": largest, "problems": problems}.items():
        _positive_integer(value, name)
    # The examples are drawn together with the problems, so that none of them is a problem too.
    try:
        generated = countdown.generate_problems(
            problems + FEWSHOT_EXAMPLES, numbers=numbers, largest=largest, seed=problem_seed
        )
    except WiseMergeError as error:
        raise WiseMergeError(f"{problems} problems and {FEWSHOT_EXAMPLES} few-shot examples: {error}") from error
    rows = [{"numbers": list(p.numbers), "target": p.target, "solution": p.solution} for p in generated]
    return {
        "test": datasets.Dataset.from_list(rows[:problems]),
        "train": datasets.Dataset.from_list(rows[problems:]),
    }


class PassKTask(ConfigurableTask):
    """K completions per problem, all of them scored: unbiased pass@k and the majority vote.

    Understands in the YAML's metadata, and so in `--metadata` of the command line:
    `repeats` (K, how many completions per problem) and `data_file` (a JSON Lines
    file of problems to take instead, or a mapping from task names to such files).
    The YAML also names `read_answer`, a `Reader`, the `columns` it needs, and
    `unusable_row`, which says what is wrong with a row of a data file, or None.
    """

    def __init__(self, config: dict[str, Any]) -> None:
        config = {key: value for key, value in config.items() if key != "class"}
        metadata = config.get("metadata") or {}
        config["repeats"] = _positive_integer(metadata.get("repeats", config.get("repeats", 1)), "repeats")
        self._reader: Reader = config.pop("read_answer")
        self._columns: list[str] = config.pop("columns")
        self._unusable: Callable[[Document], str | None] = config.pop("unusable_row")
        self._data_file = _data_file(metadata.get("data_file"), config["task"])
        try:
            super().__init__(config=config)
        except TaskInputError:
            raise
        except WiseMergeError as error:
            raise TaskInputError(f"{config['task']}: {error}") from error

    def download(self, dataset_kwargs: dict[str, Any] | None = None, **kwargs: Any) -> None:
        """Load the data as the YAML says, with the problems from `data_file` if one is given."""
        if self._data_file is None:
            super().download(dataset_kwargs, **kwargs)
            return
        self.dataset = {}
        if self.config.custom_dataset is not None:
            self.dataset = self.config.custom_dataset(**(self.config.metadata or {}))
        self.dataset["test"] = _load_problems(self._data_file, self.config.task, self._columns, self._unusable)
        log.info("%s: %d problems from %s", self.config.task, len(self.dataset["test"]), self._data_file)

    def build_all_requests(self, **kwargs: Any) -> None:
        """Refuse settings under which the K completions would be copies of one, then go on as usual."""
        settings = self.config.generation_kwargs
        temperature = settings.get("temperature", 1.0)
        if isinstance(temperature, bool) or not isinstance(temperature, (int, float)) or temperature < 0:
            raise TaskInputError(
                f"{self.config.task}: temperature must be a number of at least 0 (0 = greedy); got {temperature!r}"
            )
        if temperature == 0:
            # What everybody means by it; the hf backend would refuse to sample at 0.
            settings["do_sample"] = False
        if not settings.get("do_sample") and self.config.repeats > 1:
            raise TaskInputError(
                f"{self.config.task}: {self.config.repeats} greedy completions of a problem are one and the same; "
                "for greedy decoding add --metadata repeats=1, for sampling leave do_sample and temperature > 0"
            )
        if kwargs.get("cache_requests"):
            raise TaskInputError(
                f"{self.config.task}: --cache_requests is refused, because its key holds neither K nor the sampling "
                "settings: a second run would silently use those of the first"
            )
        super().build_all_requests(**kwargs)

    def apply_filters(self) -> Any:
        """Warn if problems got K identical completions, then filter as usual."""
        settings = self.config.generation_kwargs or {}
        completions = [instance.resps for instance in self._instances]
        identical = sum(len(texts) > 1 and len(set(texts)) == 1 for texts in completions)
        if identical:
            log.warning(
                "%s\n%s: ALL %d COMPLETIONS ARE IDENTICAL in %d of %d problems, at temperature %s.\n"
                "Pass@k of such a problem is that of a single completion. Either the model has collapsed onto one "
                "completion, or the backend returned copies: a `seed` in --gen_kwargs, an API server that is sent "
                "the same seed each time (--gen_kwargs seed=None), --use_cache, or vLLM's data_parallel_size.\n%s",
                "!" * 80,
                self.config.task,
                self.config.repeats,
                identical,
                len(completions),
                settings.get("temperature"),
                "!" * 80,
            )
        return super().apply_filters()

    def process_results(self, doc: Document, results: Sequence[Any]) -> dict[str, float]:
        """Return the scores of one problem from its K completions."""
        if self._predict_only:
            return {"bypass": 0.0}
        # lm-eval 0.4 hands over [[first, ..., Kth]], 0.5 will hand over [first, ..., Kth].
        completions = list(results[0] if len(results) == 1 and isinstance(results[0], (list, tuple)) else results)
        k_drawn = self.config.repeats
        if len(completions) < k_drawn:
            raise TaskInputError(
                f"{self.config.task}: a problem has {len(completions)} completions where {k_drawn} were asked for; "
                "the model backend lost some"
            )
        # Data-parallel padding appends a second set of K to the last problem of a short rank.
        completions = completions[:k_drawn]
        read = [self._reader(doc, completion) for completion in completions]
        correct = [verdict for _, verdict in read]
        scores = {f"pass@{k}": pass_at_k(k_drawn, sum(correct), k) for k in reported_k(k_drawn)}
        scores[f"maj@{k_drawn}"] = majority_at_n([answer for answer, _ in read], correct)
        scores["answered"] = sum(answer is not None for answer, _ in read) / k_drawn
        scores["identical"] = float(k_drawn > 1 and len(set(completions)) == 1)
        return scores

    @property
    def _predict_only(self) -> bool:
        return "bypass" in self._metric_fn_list

    def _metrics(self) -> list[str]:
        k_drawn = self.config.repeats
        return [*(f"pass@{k}" for k in reported_k(k_drawn)), f"maj@{k_drawn}", "answered", "identical"]

    def aggregation(self) -> dict[str, Callable[..., float]]:
        """Return the mean over problems for every metric; lm-eval knows its standard error."""
        return dict(super().aggregation()) if self._predict_only else dict.fromkeys(self._metrics(), mean)

    def higher_is_better(self) -> dict[str, bool]:
        """Return the direction of every metric: only identical completions are bad."""
        return {metric: metric != "identical" for metric in self._metrics()}


def _data_file(setting: Any, task: str) -> Path | None:
    """Return the file that the metadata names for a task: one path for all, or a mapping from tasks to paths."""
    if isinstance(setting, dict):
        ours = {path.stem for path in Path(tasks_directory()).glob("*_passk.yaml")}
        unknown = sorted(set(setting) - ours)
        if unknown:
            raise TaskInputError(
                f"data_file names {', '.join(unknown)}, which is no task; the tasks are {', '.join(sorted(ours))}"
            )
        setting = setting.get(task)
    if setting is not None and not isinstance(setting, str):
        raise TaskInputError(f"{task}: data_file must be the path of a JSON Lines file; got {setting!r}")
    return None if setting is None else Path(setting).expanduser()


def _load_problems(
    path: Path, task: str, columns: Sequence[str], unusable: Callable[[Document], str | None]
) -> datasets.Dataset:
    if not path.is_file():
        raise TaskInputError(f"{task}: data_file {str(path)!r} does not exist; give the path of a JSON Lines file")
    if not path.read_text(encoding="utf-8", errors="replace").strip():
        raise TaskInputError(f"{task}: {path} is empty")
    try:
        rows = datasets.load_dataset("json", data_files={"test": str(path.resolve())}, split="test")
    except datasets.exceptions.DatasetGenerationError as error:
        raise TaskInputError(f"{task}: {path} is not a JSON Lines file: {error.__cause__}") from error
    missing = [column for column in columns if column not in rows.column_names]
    if missing:
        raise TaskInputError(
            f"{task}: {path} lacks the column {', '.join(missing)}; it has {', '.join(rows.column_names)}"
        )
    # Before the sampling: a problem that nothing can solve would only lower every figure.
    for number, row in enumerate(rows, start=1):
        problem = unusable(row)
        if problem:
            raise TaskInputError(f"{task}: problem {number} of {path} cannot be used: {problem}")
    return rows


def _positive_integer(value: Any, name: str) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise TaskInputError(f"{name} must be a positive integer; got {value!r}")
    return value
