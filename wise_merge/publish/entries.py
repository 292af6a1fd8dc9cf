"""The figures in the forms that the Hub reads: entries of registered benchmarks, the older model-index, and a file."""

import json
import math
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from wise_merge import __version__
from wise_merge.publish.evidence import MODEL, Evidence, OtherMetric, Row, TaskEvidence
from wise_merge.publish.privacy import Privacy
from wise_merge.results.summary import LEVEL, Curve, Estimate

if TYPE_CHECKING:
    from huggingface_hub import EvalResult, EvalResultEntry

#: The results file of the repository.
RESULTS = "wise_merge_results.json"
_METRICS = ("pass@k", "maj@k")
#: Arguments of a model that are not published.
_SECRET = re.compile(r"(^|_)(token|key|password|secret)$", re.IGNORECASE)
#: Of the settings of sampling.
_SAMPLING = (
    *("backend", "model_args", "seed", "metadata", "gen_kwargs", "num_fewshot"),
    *("apply_chat_template", "system_instruction", "fewshot_as_multiturn", "include_path"),
)


@dataclass(frozen=True)
class Dataset:
    """The problems of a task.

    Attributes:
        id: on the Hub; None = they were generated, or came from a file.
        config: its configuration, None = the only one.
        split: of it.
    """

    id: str | None
    config: str | None = None
    split: str | None = None


#: Datasets that carry the Hub's "Benchmark" tag, as it evaluates them -> (task in its eval.yaml, problems).
REGISTERED = {
    Dataset("openai/gsm8k", "main", "test"): ("gsm8k", 1319),
    Dataset("MathArena/aime_2026", None, "train"): ("MathArena/aime_2026", 30),
    Dataset("MathArena/hmmt_feb_2026", None, "train"): ("MathArena/hmmt_feb_2026", 33),
}


def dataset_of(task: str, settings: Mapping[str, Any]) -> Dataset:
    """Return where the problems of a task of a sweep came from."""
    from wise_merge.hosts.lm_eval.registration import tasks_directory

    if (settings.get("metadata") or {}).get("data_file"):
        return Dataset(None)
    facts: dict[str, Any] = {}
    for folder in (settings.get("include_path"), tasks_directory()):
        path = Path(folder) / f"{task}.yaml" if folder else None
        if path is not None and path.is_file():
            facts = _facts(path)
            break
    if "dataset_path" not in facts:
        return Dataset(None)
    return Dataset(str(facts["dataset_path"]), facts.get("dataset_name"), facts.get("test_split"))


def _dataset(task: TaskEvidence) -> Dataset:
    """Return where the problems of a task came from: as its evaluation records it, else as the task's file says."""
    if task.dataset is None:
        return dataset_of(task.task, task.settings)
    if (task.settings.get("metadata") or {}).get("data_file") or not task.dataset.get("dataset_path"):
        return Dataset(None)
    known = {key: task.dataset.get(key) for key in ("dataset_path", "dataset_name", "test_split")}
    return Dataset(*(None if value is None else str(value) for value in known.values()))


def _facts(path: Path) -> dict[str, Any]:
    """Return the settings of a task file of lm-eval and of what it includes, without running code it names."""
    import yaml

    class Loader(yaml.SafeLoader):
        pass

    Loader.add_multi_constructor("!", lambda loader, suffix, node: None)
    own = yaml.load(path.read_text(encoding="utf-8"), Loader=Loader)
    included = own.pop("include", None) or []
    facts: dict[str, Any] = {}
    for name in included if isinstance(included, list) else [included]:
        facts |= _facts(path.parent / name)
    return {**facts, **own}


def benchmark_entries(evidence: Evidence, date: str) -> "dict[str, list[EvalResultEntry]]":
    """Return the entries for `.eval_results/` by the task in eval.yaml: Pass@1 on whole registered benchmarks.

    A leaderboard compares single answers; Pass@K for larger K would stand there as if it were one. The value is in
    percent, as that of others there.

    Args:
        evidence: of the model.
        date: of the evaluation, ISO 8601.
    """
    from huggingface_hub import EvalResultEntry

    entries: dict[str, list[EvalResultEntry]] = {}
    for task in evidence.tasks:
        dataset, row = _dataset(task), task.mine
        if row is not None and dataset in REGISTERED:
            name, problems = REGISTERED[dataset]
            if row.limit is not None or row.summary.problems != problems:
                continue
            one = _curve(row, "pass@k").at(1)
            notes = (
                f"Pass@1: mean over {samples_text(row)} sample{'s' if row.summary.n_high > 1 else ''} of each of "
                f"{problems:,} problems at temperature "
                f"{temperature_text(row)}, {LEVEL:.0%} interval [{100 * one.low:.1f}, {100 * one.high:.1f}]"
                f"{shots_text(task)}" + (f", judged by {task.judge}" if task.judge else "")
            )
            entries.setdefault(name, []).append(
                EvalResultEntry(
                    dataset_id=str(dataset.id), task_id=name, value=round(100 * one.value, 2), date=date, notes=notes
                )
            )
    return entries


def model_index(evidence: Evidence) -> "list[EvalResult]":
    """Return the results for the model-index: Pass@k at both ends of its curve and Maj@k at the far one, of 1."""
    from huggingface_hub import EvalResult

    results = []
    datasets = {task.task: _dataset(task) for task in evidence.tasks}
    # The Hub's form has one list of metrics per dataset, under the name of the first task.
    several = {dataset for dataset, count in Counter(datasets.values()).items() if dataset.id and count > 1}
    for task in evidence.tasks:
        dataset, row = datasets[task.task], task.mine
        of_task = f", {task.task}" if dataset in several else ""
        for kind, name, estimate, sampled in [
            *(_ends(row) if row is not None else ()),
            *(_other(metric) for metric in task.others),
        ]:
            results.append(
                EvalResult(
                    task_type="text-generation",
                    dataset_type=dataset.id or task.task,
                    dataset_name=task.task,
                    dataset_config=dataset.config,
                    dataset_split=dataset.split,
                    metric_type=kind,
                    metric_name=f"{name}{of_task}",
                    metric_value=round(estimate.value, 4),
                    metric_args={**sampled, **_interval(estimate)},
                )
            )
    return results


#: A figure of the model-index: its type, its name, its value, and what it was made from.
_Figure = tuple[str, str, Estimate, dict[str, Any]]


def _ends(row: Row) -> list[_Figure]:
    """Return Pass@k at both ends of its curve, and Maj@k at the far one."""
    figures: list[_Figure] = []
    for name in _METRICS:
        curve = row.summary.curve(name)
        last = row.summary.reported[-1]
        ends = (1, last) if name == "pass@k" else (last,)
        for k in dict.fromkeys(ends) if curve is not None else ():
            sampled: dict[str, Any] = {
                "k": k,
                "problems": row.summary.problems,
                "samples_per_problem": row.summary.n_low,
            }
            if row.temperature is not None:
                sampled["temperature"] = row.temperature
            figures.append((name, f"{name[:-1]}{k}", _curve(row, name).at(k), sampled))
    return figures


def _other(metric: OtherMetric) -> _Figure:
    known = {"filter": metric.filter, "problems": metric.problems}
    name = f"{metric.name}, {metric.filter}"
    return metric.name, name, metric.estimate, {key: value for key, value in known.items() if value is not None}


def _interval(estimate: Estimate) -> dict[str, Any]:
    """Return the interval of a figure; empty for a single problem, which has none."""
    if math.isnan(estimate.low):
        return {}
    return {"interval": [round(estimate.low, 4), round(estimate.high, 4)], "level": LEVEL}


def results_file(evidence: Evidence, names: Mapping[str, str], privacy: Privacy) -> bytes:
    """Return the results file: every figure at every k, and how many samples of each problem were correct.

    Args:
        evidence: of the model.
        names: of the roles, as they may be published.
        privacy: keeps the machine's paths out of the settings.
    """
    document = {
        "wise_merge": __version__,
        "level": LEVEL,
        **_sampling(evidence, privacy),
        "models": {role: name for role, name in names.items() if role != MODEL},
        "chosen": list(evidence.chosen),
        "temperature": evidence.temperature,
        "tasks": {task.task: [_row(row, names) for row in task.rows] for task in evidence.tasks},
        "unsampled": list(evidence.unsampled),
    }
    return (json.dumps(document, allow_nan=False, separators=(",", ":"), ensure_ascii=False) + "\n").encode()


def _sampling(evidence: Evidence, privacy: Privacy) -> dict[str, Any]:
    """Return how the samples were drawn: in a sweep alike on all tasks, elsewhere by task."""
    if evidence.of_sweep:
        return {"sampling": published_settings(evidence.tasks[0], privacy)}
    by_task = {
        task.task: {
            **published_settings(task, privacy),
            "dataset": None if task.dataset is None else privacy.value(task.dataset),
            "judge": task.judge,
            "other_metrics": [_other_as_json(metric) for metric in task.others],
            "remarks": list(task.remarks),
        }
        for task in evidence.tasks
    }
    return {"sources": list(evidence.sources), "sampling_by_task": by_task}


def _other_as_json(metric: OtherMetric) -> dict[str, Any]:
    one = metric.estimate
    figures = {"value": one.value, "standard_error": one.standard_error, "low": one.low, "high": one.high}
    known = {"metric": metric.name, "filter": metric.filter, "problems": metric.problems}
    return {**known, **{key: _number(value) for key, value in figures.items()}}


def published_settings(task: TaskEvidence, privacy: Privacy) -> dict[str, Any]:
    """Return the settings of sampling, without paths, tokens and passwords; what is not recorded is null."""
    settings = {key: task.settings.get(key) for key in _SAMPLING}
    arguments = task.settings.get("model_args") or {}
    settings["model_args"] = {key: value for key, value in arguments.items() if not _SECRET.search(key)}
    if task.settings.get("model") is not None:
        settings["model"] = task.settings["model"]
    published: dict[str, Any] = privacy.value(settings)
    return published


def _row(row: Row, names: Mapping[str, str]) -> dict[str, Any]:
    return {
        "role": row.role,
        "model": names[row.role],
        "temperature": row.temperature,
        "max_tokens": row.max_tokens,
        "limit": row.limit,
        "stopped": row.stopped,
        "problems": row.summary.problems,
        "samples_per_problem": [row.summary.n_low, row.summary.n_high],
        "bias": _number(row.summary.bias),
        "variance": _number(row.summary.variance),
        "curves": {
            curve.title: {
                "k": curve.k,
                "value": [_number(value) for value in curve.value],
                "standard_error": [_number(value) for value in curve.standard_error],
                "low": [_number(value) for value in curve.low],
                "high": [_number(value) for value in curve.high],
            }
            for curve in row.summary.curves
        },
        "by_problem": None
        if row.problems is None
        else [{"id": problem.id, "n": problem.n, "c": problem.c} for problem in row.problems],
    }


def _number(value: float) -> float | None:
    # JSON has no NaN, which the variance over a single sample is.
    return round(float(value), 6) if value == value and abs(value) != float("inf") else None


def samples_text(row: Row) -> str:
    """Return how many samples there are of each problem: "32", or "8 to 32" where they differ."""
    return _range_text([row.summary.n_low, row.summary.n_high])


def problems_text(rows: Sequence[Row]) -> str:
    """Return how many problems these figures are means over: "500", or "100 to 500" where they differ."""
    return _range_text([row.summary.problems for row in rows])


def _range_text(counts: Sequence[int]) -> str:
    low, high = min(counts), max(counts)
    return f"{low:,}" if low == high else f"{low:,} to {high:,}"


def shots_text(task: TaskEvidence) -> str:
    """Return how many worked examples the prompt had, if that is known: ", 8-shot"."""
    shots = task.settings.get("num_fewshot")
    return "" if shots is None else f", {shots}-shot"


def temperature_text(row: Row) -> str:
    """Return the temperature of sampling in words."""
    return "not recorded" if row.temperature is None else f"{row.temperature:g}"


def _curve(row: Row, name: str) -> Curve:
    curve = row.summary.curve(name)
    assert curve is not None
    return curve
