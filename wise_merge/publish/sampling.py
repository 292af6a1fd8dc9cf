"""The commands that sample a published model as its evaluation did."""

import json
import re
import shlex
from collections.abc import Mapping, Sequence
from typing import Any

from wise_merge.publish.entries import published_settings
from wise_merge.publish.evidence import Evidence, TaskEvidence
from wise_merge.publish.privacy import Privacy

#: Models of lm-eval that take a folder or an id of the Hub as `pretrained`.
_TAKE_A_FOLDER = ("hf", "hf-auto", "huggingface", "vllm", "hf-passk", "vllm-passk")
#: What lm-eval takes for --seed if it is not given: of Python, numpy, torch, and for the choice of worked examples.
DEFAULT_SEEDS = "0,1234,1234,1234"
#: Texts that lm-eval reads as such between "=" and ",".
_PLAIN = re.compile(r"(?!(?:true|false|none|nan|inf|infinity)$)[A-Za-z_][\w./@:+-]*", re.IGNORECASE)


def sampling_commands(evidence: Evidence, model: str, privacy: Privacy) -> list[str]:
    """Return the command lines of lm-eval that draw the samples of a model again: one for all tasks sampled alike.

    A task whose settings are not recorded has none.

    Args:
        evidence: of the model.
        model: its id on the Hub, or its folder.
        privacy: keeps the machine's paths out.
    """
    alike: dict[str, list[TaskEvidence]] = {}
    for task in evidence.tasks:
        known = evidence.of_sweep or task.settings.get("model") in _TAKE_A_FOLDER
        if known and (task.mine is not None or task.others):
            key = json.dumps([published_settings(task, privacy), task.temperature], sort_keys=True, default=str)
            alike.setdefault(key, []).append(task)
    return [_command(tasks, model, privacy) for tasks in alike.values()]


def _command(tasks: Sequence[TaskEvidence], model: str, privacy: Privacy) -> str:
    """Return the command line for tasks that were sampled with the same settings, but for how many samples."""
    settings, temperature = published_settings(tasks[0], privacy), tasks[0].temperature
    rows = [task.mine for task in tasks if task.mine is not None]
    arguments = {key: value for key, value in settings["model_args"].items() if key != "device"}
    metadata, sampling = dict(settings.get("metadata") or {}), dict(settings.get("gen_kwargs") or {})
    if rows:
        metadata["repeats"] = max(row.summary.n_high for row in rows)
        if temperature is not None:
            sampling["temperature"] = temperature
    program = settings.get("model") or f"{settings['backend'] or 'hf'}-passk"
    lines = [
        f"lm_eval --model {program} "
        f"--model_args {_values({'pretrained': model, **arguments})} "
        f"--tasks {','.join(task.task for task in tasks)}",
    ]
    if metadata:
        lines.append(f"--metadata {shlex.quote(json.dumps(metadata))}")
    options = [f"--gen_kwargs {_values(sampling)}"] if sampling else []
    limits = {row.limit for row in rows} - {None}
    if limits:
        options.append(f"--limit {max(limit for limit in limits if limit is not None)}")
    if settings.get("num_fewshot") is not None:
        options.append(f"--num_fewshot {settings['num_fewshot']}")
    template = settings.get("apply_chat_template")
    if template:
        options.append("--apply_chat_template" + (f" {shlex.quote(template)}" if isinstance(template, str) else ""))
    if settings.get("system_instruction") is not None:
        options.append(f"--system_instruction {shlex.quote(settings['system_instruction'])}")
    if settings.get("fewshot_as_multiturn") is not None:
        options.append(f"--fewshot_as_multiturn {str(settings['fewshot_as_multiturn']).lower()}")
    if settings.get("include_path") is not None:
        options.append(f"--include_path {shlex.quote(settings['include_path'])}")
    if settings.get("seed") not in (None, DEFAULT_SEEDS):
        options.append(f"--seed {settings['seed']}")
    return " \\\n    ".join([*lines, *([" ".join(options)] if options else [])])


def _values(values: Mapping[str, Any]) -> str:
    """Return a mapping as an argument of the shell: "a=1,b=2" if lm-eval reads the same from it, else as JSON."""
    plain = all(
        _PLAIN.fullmatch(value) if isinstance(value, str) else isinstance(value, (bool, int, float))
        for value in values.values()
    )
    if not plain:
        return shlex.quote(json.dumps(values))
    return shlex.quote(",".join(f"{key}={_short(value)}" for key, value in values.items()))


def _short(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) and float(f"{value:g}") == value else str(value)
