"""Evaluations that `lm_eval --output_path` has left: of each task figures, settings and, if logged, every verdict.

The results name the model, so one folder may hold those of several.
"""

import datetime
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from wise_merge.checkpoints.files import read_json
from wise_merge.errors import WiseMergeError
from wise_merge.estimators.pass_at_k import reported_k
from wise_merge.estimators.uncertainty import interval_of_mean
from wise_merge.publish.evaluated import Evaluated, counts_of
from wise_merge.publish.evidence import OtherMetric
from wise_merge.publish.privacy import is_hub_id, last_part
from wise_merge.results.reading.problem import Problem
from wise_merge.results.reading.rows import read_rows
from wise_merge.results.summary import LEVEL, Curve, Estimate, Summary, summary_of
from wise_merge.results.verdicts import JudgedProblem, judged_problem

#: The date in the names that lm-eval gives its files.
_DATE = re.compile(r"_(\d{4}-\d\d-\d\dT[\d.:-]+)\.json$")
#: Of a model's arguments: which model it is, which the card says elsewhere, and what tells of the machine alone.
_MODEL = {"pretrained", "model", "peft", "delta", "path", "engine"}
_OF_MACHINE = {
    *("device", "journal", "base_url", "header", "cache_dir", "download_dir", "offload_folder", "cert_path"),
    *("verify_certificate", "num_concurrent", "timeout", "max_retries"),
}
#: Of a task's metadata: what is told elsewhere.
_NO_SETTINGS = {"version", "config_source", "repeats", "converted_from", "data_file_sha256"}
#: Metrics of our tasks that the tables have, or that the audit has.
_OURS = re.compile(r"(pass|maj|best)@\d+|answered|identical|cut_off|curve|audit")
#: Of a row of samples: the scorer whose scores are the model's own log-probabilities.
_LOGPROB = "logprob"
_LONGEST_SETTING = 120


@dataclass(frozen=True)
class Run:
    """A results file of lm-eval.

    Attributes:
        path: of the file.
        document: what it holds.
    """

    path: Path
    document: Mapping[str, Any]

    @property
    def model(self) -> str:
        """The model's name: a folder, or an id of the Hub; empty if the file does not say."""
        return str(self.document.get("model_name") or "")

    @property
    def revision(self) -> str | None:
        """Of an id of the Hub."""
        revision = _arguments(self.document).get("revision")
        return None if revision is None else str(revision)

    @property
    def started(self) -> float:
        """When the run began, in seconds since 1970; 0 = it is not recorded."""
        date = self.document.get("date")
        return float(date) if isinstance(date, (int, float)) else 0.0

    @property
    def tasks(self) -> list[str]:
        """The tasks and groups that have a figure."""
        return [task for task, figures in self.document["results"].items() if any(_figures(figures))]

    @property
    def places(self) -> list[Path]:
        """From where the model's folder may have been named: most likely from here, else from above the file."""
        return [Path(), *self.path.resolve().parents]


def is_run(document: Any) -> bool:
    """Return whether a JSON document is a results file of lm-eval."""
    results = document.get("results") if isinstance(document, dict) else None
    return (
        isinstance(results, dict) and "configs" in document and all(isinstance(one, dict) for one in results.values())
    )


def runs_in(path: Path) -> list[Run]:
    """Return the runs in a folder and those below it, or of one file."""
    files = [path] if path.is_file() else sorted(path.rglob("*.json"))
    runs = []
    for file in files:
        # Models and checkpoints lie in such folders, too.
        if path.is_file() or _DATE.search(file.name):
            document = read_json(file)
            if is_run(document):
                runs.append(Run(file, document))
    return runs


def evaluated(run: Run, task: str, role: str) -> Evaluated:
    """Return what a run says of a task.

    Args:
        run: that has it.
        task: its name.
        role: of the run's model.
    """
    document, figures = run.document, run.document["results"][task]
    config: Mapping[str, Any] = document.get("configs", {}).get(task) or {}
    metadata: Mapping[str, Any] = config.get("metadata") or {}
    effective, original = _sizes(document, task)
    curve = next((value for key, value in figures.items() if key.partition(",")[0] == "curve"), None)
    summary, problems = None, None
    if isinstance(curve, dict):
        audit = next((value for key, value in figures.items() if key.partition(",")[0] == "audit"), None)
        judged = _judged(run, task, metadata)
        summary = summary_of(judged) if judged else _summary(curve, audit if isinstance(audit, dict) else {})
        problems = counts_of(judged) if judged else None
        _check_one_run(run, task, summary, curve)
    sampling: Mapping[str, Any] = config.get("generation_kwargs") or {}
    longest = next((sampling[key] for key in ("max_gen_toks", "max_new_tokens", "max_tokens") if key in sampling), None)
    return Evaluated(
        source=run.path,
        role=role,
        model=run.model,
        task=task,
        summary=summary,
        problems=problems,
        temperature=_temperature(sampling),
        max_tokens=longest if isinstance(longest, int) else None,
        limit=effective if effective is not None and original is not None and effective < original else None,
        problems_of_task=original,
        settings=_settings(document, config),
        dataset={key: config.get(key) for key in ("dataset_path", "dataset_name", "test_split")},
        judge=_judge(metadata),
        others=tuple(_others(figures, effective)),
        remarks=() if summary is None or problems else ("The samples were not kept, so their counts are not known.",),
        made=_made(document),
        date=_date(run),
        golds={},
    )


def _figures(figures: Mapping[str, Any]) -> Iterator[tuple[str, str, Any]]:
    """Yield the name, the filter and the value of each metric of a task."""
    for key, value in figures.items():
        name, comma, filtered = key.partition(",")
        if comma and not name.endswith("_stderr"):
            yield name, filtered, value


def _others(figures: Mapping[str, Any], problems: int | None) -> Iterator[OtherMetric]:
    """Yield the metrics that are no curves, with the interval that their standard error gives."""
    ours = any(name == "curve" for name, _, _ in _figures(figures))
    for name, filtered, value in _figures(figures):
        if isinstance(value, bool) or not isinstance(value, (int, float)) or (ours and _OURS.fullmatch(name)):
            continue
        error = figures.get(f"{name}_stderr,{filtered}")
        known = float(error) if isinstance(error, (int, float)) else math.nan
        low, high = interval_of_mean(value, known, problems or 0, level=LEVEL)
        yield OtherMetric(name, filtered, Estimate(float(value), known, low, high), problems)


def _sizes(document: Mapping[str, Any], task: str) -> tuple[int | None, int | None]:
    """Return how many problems of a task were sampled, and how many it has; of a group those of its tasks."""
    counts = (document.get("n-samples") or {}).get(task)
    if isinstance(counts, dict):
        return counts.get("effective"), counts.get("original")
    parts = [_sizes(document, part) for part in (document.get("group_subtasks") or {}).get(task) or ()]
    if not parts or any(None in part for part in parts):
        return None, None
    return sum(part[0] or 0 for part in parts), sum(part[1] or 0 for part in parts)


def _temperature(sampling: Mapping[str, Any]) -> float | None:
    if sampling.get("do_sample") is False:
        return 0.0
    temperature = sampling.get("temperature")
    return float(temperature) if isinstance(temperature, (int, float)) else None


def _judge(metadata: Mapping[str, Any]) -> str | None:
    """Return what judges the samples of a task that was converted from one of lm-eval."""
    original = metadata.get("converted_from")
    if original is None:
        return None
    metric = metadata.get("metric")
    return f"the metric{f' {metric}' if metric else ''} of lm-eval's {original}"


# --- figures --------------------------------------------------------------------------------------


def _judged(run: Run, task: str, metadata: Mapping[str, Any]) -> tuple[JudgedProblem, ...]:
    """Return the problems of a task as the run judged them; empty if their samples were not logged."""
    date = _DATE.search(run.path.name)
    path = run.path.with_name(f"samples_{task}_{date[1]}.jsonl") if date else None
    if path is None or not path.is_file():
        return ()
    problems: dict[str, JudgedProblem] = {}
    damaged: list[str] = []
    for place, row in read_rows(path, lambda *line: damaged.append(": ".join(line)), progress=True):
        # A row per problem and filter, of which the first with verdicts on the samples counts.
        if str(row.get("doc_id")) not in problems and "curve" in row:
            try:
                problem = _problem(row, str(metadata.get("scorer")))
            except (KeyError, TypeError, ValueError) as error:
                raise WiseMergeError(
                    f"{path}: {place} has no verdicts as our tasks write them ({error}); evaluate again"
                ) from error
            problems[problem.id] = problem
    if damaged:
        raise WiseMergeError(f"{path} is damaged at {damaged[0]}; copy it again, or evaluate again")
    return tuple(problems.values())


def _problem(row: Mapping[str, Any], scorer: str) -> JudgedProblem:
    curve, audit = row["curve"], row.get("audit") or {}
    correct, answers = [bool(right) for right in curve["correct"]], curve.get("answers")
    scores: dict[str, tuple[float, ...]] = {}
    for name, values in ((_LOGPROB, curve.get("logprob")), (scorer, curve.get("scores"))):
        # Infinity, the score of what a scorer cannot read, is no JSON; a sample may not know its log-probability.
        if values and (name != _LOGPROB or None not in values):
            scores[name] = tuple(-math.inf if value is None else float(value) for value in values)
    as_read = Problem(
        str(row["doc_id"]),
        str(row.get("target")),
        "",
        len(correct),
        None if answers is None else tuple(answers),
        None,
        scores,
        None,
        audit.get("distinct"),
        None,
        audit.get("cut_off"),
    )
    return judged_problem(as_read, as_read.answers, correct)


def _summary(curve: Mapping[str, Any], audit: Mapping[str, Any]) -> Summary:
    """Return the figures of a task whose samples were not logged: its curves with their standard errors."""
    n, problems = int(curve["n"]), int(curve["problems"])
    reported = tuple(reported_k(n))
    curves = []
    for name in ("pass@k", "maj@k", "best@k"):
        values = curve.get(name)
        if values is None:
            continue
        errors = [math.nan if error is None else error for error in curve[f"{name}_stderr"]]
        ends = [
            interval_of_mean(value, error, problems, n=n, level=LEVEL)
            for value, error in zip(values, errors, strict=True)
        ]
        low, high = zip(*ends, strict=True)
        # A figure of best@k is of whatever ranked the samples, which the settings of the task name.
        scorer = "scorer" if name == "best@k" else None
        k = tuple(range(1, n + 1))
        curves.append(Curve(name, scorer, k, tuple(values), tuple(errors), low, high, None))
    return Summary(
        problems=problems,
        n_low=n,
        n_high=n,
        reported=reported,
        curves=tuple(curves),
        bias=1 - curves[0].at(1).value,
        variance=math.nan,
        bound=(),
        histogram=(),
        reliability=(),
        unanswered=audit.get("unanswered"),
        cut_off=audit.get("cut_off"),
        identical=audit.get("identical"),
        detectable=(),
        notes=(),
    )


def _check_one_run(run: Run, task: str, summary: Summary, curve: Mapping[str, Any]) -> None:
    """Raise if the samples give other figures than the results: they are not of one run."""
    passed = summary.curve("pass@k")
    assert passed is not None
    if abs(passed.at(1).value - curve["pass@k"][0]) > 1e-6 or summary.problems != curve["problems"]:
        raise WiseMergeError(
            f"the samples of {task} beside {run.path} give pass@1 {passed.at(1).value:.4f} over {summary.problems} "
            f"problems, and the results {curve['pass@k'][0]:.4f} over {curve['problems']}: one of the two was changed; "
            "evaluate again"
        )


# --- settings -------------------------------------------------------------------------------------


def _settings(document: Mapping[str, Any], config: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings of sampling that a run records, without what tells of the machine."""
    run: Mapping[str, Any] = document.get("config") or {}
    arguments = _arguments(document)
    metadata: Mapping[str, Any] = config.get("metadata") or {}
    sampling: Mapping[str, Any] = config.get("generation_kwargs") or {}
    original: Mapping[str, Any] = metadata.get("original_generation_kwargs") or {}
    return {
        "model": run.get("model"),
        "model_args": {
            key: value
            for key, value in arguments.items()
            if key not in _MODEL | _OF_MACHINE and value is not None and _is_public(value)
        },
        "gen_kwargs": {key: value for key, value in sampling.items() if key != "temperature"},
        "original": {key: value for key, value in original.items() if sampling.get(key) != value},
        "metadata": {
            key: last_part(str(value)) if key == "data_file" else value
            for key, value in metadata.items()
            if key not in {*_NO_SETTINGS, *arguments} and _is_setting(value)
        },
        "num_fewshot": (document.get("n-shot") or {}).get(str(config.get("task")), config.get("num_fewshot")),
        "apply_chat_template": None if "chat_template" not in document else document["chat_template"] is not None,
        "system_instruction": document.get("system_instruction"),
        "fewshot_as_multiturn": document.get("fewshot_as_multiturn"),
        "seed": _seeds(run),
    }


def _arguments(document: Mapping[str, Any]) -> dict[str, Any]:
    """Return the arguments of the model, which older versions write as one text."""
    arguments = (document.get("config") or {}).get("model_args") or {}
    if isinstance(arguments, str):
        return dict(part.partition("=")[::2] for part in arguments.split(",") if part)
    return dict(arguments)


def _is_public(value: Any) -> bool:
    """Return whether an argument of the model tells nothing of the machine: no path, and no address."""
    if isinstance(value, str):
        return not re.search(r"[/\\]", value) or (is_hub_id(value) and not Path(value).exists())
    return isinstance(value, (bool, int, float))


def _is_setting(value: Any) -> bool:
    return isinstance(value, (bool, int, float)) or (isinstance(value, str) and len(value) <= _LONGEST_SETTING)


def _seeds(run: Mapping[str, Any]) -> int | str | None:
    """Return the seeds as lm-eval takes them: one number, or four; None if they are not recorded."""
    seeds: Sequence[Any] = [run.get(f"{name}_seed") for name in ("random", "numpy", "torch", "fewshot")]
    if None in seeds:
        return None
    return int(seeds[0]) if len(set(seeds)) == 1 else ",".join(map(str, seeds))


def _made(document: Mapping[str, Any]) -> str:
    version = document.get("lm_eval_version")
    return f"[lm-eval](https://github.com/EleutherAI/lm-evaluation-harness){f' {version}' if version else ''}"


def _date(run: Run) -> str | None:
    if not run.started:
        return None
    return datetime.datetime.fromtimestamp(run.started, datetime.timezone.utc).date().isoformat()
