"""The part of the card with the figures: tables, whole curves, and how the samples were drawn."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from wise_merge.publish.entries import RESULTS, problems_text, samples_text, shots_text, temperature_text
from wise_merge.publish.evidence import MODEL, Evidence, OtherMetric, Row, TaskEvidence, place_of
from wise_merge.results.summary import LEVEL, Estimate
from wise_merge.text import enumeration

#: The file of the picture.
FIGURE = "pass_at_k.png"
#: What stands for a setting that no file tells.
_UNKNOWN = "not recorded"
#: More further metrics than this are folded away.
_FOLDED = 12


def evaluation(evidence: Evidence) -> list[str]:
    """Return the sections with the figures."""
    parts = [f"## Evaluation\n\n{_head(evidence)}"]
    for task in evidence.tasks:
        if not task.rows:
            continue
        parts.append(f"### {task.task}\n\n{_overview(task)}")
        if task.mine is not None and task.mine.summary.reported[-1] > 1:
            parts.append(_curve_table(task))
        if task.others:
            parts.append(f"Further metrics of the task:\n\n{_others_table([task])}")
    single = [task for task in evidence.tasks if not task.rows]
    if single:
        parts.append(
            f"### {'Other tasks' if len(single) < len(evidence.tasks) else 'Tasks'}\n\n{_others_table(single)}"
        )
    if not evidence.of_sweep:
        parts.append(_sampling_table(evidence))
    if evidence.unsampled:
        parts.append(f"The sweep has not sampled this model on {', '.join(evidence.unsampled)}.")
    if evidence.chosen:
        # In Markdown, what stands between two asterisks is emphasised, and 0.5*pass@1 has one.
        sentences = "\n\n".join(evidence.chosen).replace("*", r"\*")
        parts.append(
            f"### How it was chosen\n\n{sentences}\n\nThe figures above are over all problems, those too by which it "
            "was chosen, and so flatter it a little; those on the other problems do not."
        )
    return parts


def _head(evidence: Evidence) -> str:
    lines = []
    if evidence.has_curves:
        roles = {row.role for task in evidence.tasks for row in task.first}
        models = enumeration(sorted(roles, key=place_of), "and")
        lines += [f"![Pass@k of {models}]({FIGURE})", ""]
    some = [row for task in evidence.tasks for row in task.rows]
    counts = ", and how many samples of each problem were correct," if any(row.problems for row in some) else ""
    meaning = ""
    if evidence.has_curves:
        meaning = "Pass@k is the unbiased estimate from all samples, Maj@k that of a majority vote over k of them; "
    every = f"Every figure{' at every k' if some else ''}{counts} " + ("are" if counts else "is")
    brackets = f"in brackets the {LEVEL:.0%} interval over problems. {every} in [{RESULTS}]({RESULTS})."
    lines.append(meaning + brackets if meaning else brackets[0].upper() + brackets[1:])
    if evidence.sources:
        lines += ["", " ".join(evidence.sources)]
    return "\n".join(lines)


def _overview(task: TaskEvidence) -> str:
    """Return a line per model and temperature: how much was sampled, and the ends of the curves."""
    most = max(row.summary.reported[-1] for row in task.rows)
    shown = dict.fromkeys([("pass@k", 1), ("pass@k", most), *([("maj@k", most)] if most > 1 else [])])
    votes = any(row.summary.curve("maj@k") is not None for row in task.rows)
    shown = {(name, k): None for name, k in shown if name != "maj@k" or votes}
    lines = [
        f"| | T | problems | samples of each | {' | '.join(f'{name[:-1].capitalize()}{k}' for name, k in shown)} |",
        f"|---|---|---|---|{'---|' * len(shown)}",
    ]
    rows = sorted(task.rows, key=lambda row: (row.temperature != task.temperature, row.temperature or 0.0))
    for row in rows:
        bold = "**" if row.role == MODEL and row.temperature == task.temperature else ""
        cells = [
            f"{bold}{row.role}{bold}",
            temperature_text(row),
            f"{row.summary.problems:,}",
            samples_text(row),
            *(_cell(row, name, k) for name, k in shown),
        ]
        lines.append(f"| {' | '.join(cells)} |")
    shots = shots_text(task)
    longest = [row.max_tokens for row in task.rows if row.max_tokens is not None]
    remarks = []
    if longest or shots:
        remarks.append(f"Completions of up to {max(longest):,} tokens{shots}." if longest else f"{shots[2:]}.")
    if task.judge:
        remarks.append(f"A sample is right by {task.judge}.")
    limits = {row.limit for row in task.rows}
    parts = [row for row in task.rows if row.limit is not None and row.problems_of_task is not None]
    if parts:
        of = max(row.problems_of_task or 0 for row in parts)
        remarks.append(f"Not the whole task: {problems_text(parts)} of its {of:,} problems were sampled.")
    elif limits != {None}:
        some = " of some of these models" if len(limits) > 1 else ""
        remarks.append(f"Not the whole task: only its first problems were sampled{some}.")
    remarks += task.remarks
    return "\n".join(lines) + (f"\n\n{' '.join(remarks)}" if remarks else "")


def _curve_table(task: TaskEvidence) -> str:
    """Return the whole curves at the first temperature, a line per k."""
    rows = task.first
    names = [name for name in ("pass@k", "maj@k") if all(row.summary.curve(name) is not None for row in rows)]
    lines = [
        f"| k | {' | '.join(f'{name.capitalize()}, {row.role}' for name in names for row in rows)} |",
        f"|---|{'---|' * len(names) * len(rows)}",
    ]
    for k in sorted({k for row in rows for k in row.summary.reported}):
        lines.append(f"| {k} | {' | '.join(_cell(row, name, k) for name in names for row in rows)} |")
    known = "" if task.temperature is None else f" at T = {task.temperature:g}"
    head = f"The curves{known}, n = {problems_text(rows)} problems"
    return f"<details><summary>{head}</summary>\n\n" + "\n".join(lines) + "\n\n</details>"


def _cell(row: Row, name: str, k: int) -> str:
    curve = row.summary.curve(name)
    return "" if curve is None or k not in curve.k else _with_interval(curve.at(k))


def _with_interval(of: Estimate) -> str:
    if math.isnan(of.low):  # of a single problem
        return f"{of.value:.3f}"
    return f"{of.value:.3f} [{of.low:.3f}, {of.high:.3f}]"


def _others_table(tasks: Sequence[TaskEvidence]) -> str:
    """Return the further metrics of tasks, a line each: how lm-eval calls them, over how many problems, their value."""
    several = len(tasks) > 1 or not tasks[0].rows
    first = "| task " if several else ""
    lines = [f"{first}| metric | filter | problems | value |", f"{'|---' if several else ''}|---|---|---|---|"]
    lines += [_other_line(task, metric, named=several) for task in tasks for metric in task.others]
    if len(lines) - 2 <= _FOLDED:
        return "\n".join(lines)
    head = f"{len(lines) - 2} metrics of {len(tasks)} tasks"
    return f"<details><summary>{head}</summary>\n\n" + "\n".join(lines) + "\n\n</details>"


def _other_line(task: TaskEvidence, metric: OtherMetric, *, named: bool) -> str:
    problems = _UNKNOWN if metric.problems is None else f"{metric.problems:,}"
    cells = [_plain(task.task)] if named else []
    cells += [_plain(metric.name), _plain(metric.filter), problems, _with_interval(metric.estimate)]
    return f"| {' | '.join(cells)} |"


def _sampling_table(evidence: Evidence) -> str:
    """Return how the samples of this model were drawn, a line per setting and a column per way of drawing."""
    columns: dict[tuple[str, ...], list[str]] = {}
    for task in evidence.tasks:
        columns.setdefault(tuple(_settings(task).values()), []).append(task.task)
    names = [", ".join(map(_plain, tasks)) for tasks in columns.values()]
    lines = [f"| | {' | '.join(names)} |", f"|---|{'---|' * len(names)}"]
    for place, name in enumerate(_settings(evidence.tasks[0])):
        cells = [column[place] for column in columns]
        if any(cells):
            lines.append(f"| {name} | {' | '.join(cells)} |")
    return "### How it was sampled\n\n" + "\n".join(lines)


def _settings(task: TaskEvidence) -> dict[str, str]:
    """Return the settings of sampling this model in words, by their names."""
    settings: Mapping[str, Any] = task.settings
    sampling: Mapping[str, Any] = settings.get("gen_kwargs") or {}
    recorded = bool(settings.get("model"))
    template = settings.get("apply_chat_template")
    longest = task.mine.max_tokens if task.mine is not None else sampling.get("max_gen_toks")
    return {
        "model of lm-eval": _text(settings.get("model")),
        "its arguments": _pairs(settings.get("model_args"), recorded=recorded),
        "temperature": _text(task.temperature),
        "top_p": _text(sampling.get("top_p")),
        "top_k": "all tokens" if sampling.get("top_k") in (0, -1) else _text(sampling.get("top_k")),
        "longest completion": _UNKNOWN if longest is None else f"{longest:,} tokens",
        "worked examples": _text(settings.get("num_fewshot")),
        "chat template": _UNKNOWN if template is None else "yes" if template else "no",
        "seeds": _text(settings.get("seed")),
        "settings of the task": _pairs(settings.get("metadata"), recorded=recorded),
        # Of a converted task, such as greedy decoding.
        "where the original has": _pairs(settings["original"], recorded=True) if settings.get("original") else "",
    }


def _text(value: Any) -> str:
    return _UNKNOWN if value is None else f"{value:g}" if isinstance(value, float) else _plain(str(value))


def _pairs(values: Mapping[str, Any] | None, *, recorded: bool) -> str:
    if not values:
        return "none" if recorded else _UNKNOWN
    return _plain(", ".join(f"{key}={value}" for key, value in values.items()))


def _plain(text: str) -> str:
    """Return a text that Markdown shows in a table as it is."""
    for sign in ("\\", "|", "*", "_", "`", "<", "["):
        text = text.replace(sign, f"\\{sign}")
    return " ".join(text.split())
