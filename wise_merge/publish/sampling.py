"""The command that samples a published model as the sweep did."""

import json
import re
import shlex
from collections.abc import Mapping
from typing import Any

from wise_merge.publish.entries import of_role, published_settings
from wise_merge.publish.evidence import Evidence
from wise_merge.publish.privacy import Privacy

#: Texts that lm-eval reads as such between "=" and ",".
_PLAIN = re.compile(r"(?!(?:true|false|none|nan|inf|infinity)$)[A-Za-z_][\w./@:+-]*", re.IGNORECASE)


def sampling_command(evidence: Evidence, model: str, privacy: Privacy) -> str:
    """Return the command line of lm-eval that draws the samples of a model again, at the temperature of the evidence.

    Args:
        evidence: of the model.
        model: its id on the Hub, or its folder.
        privacy: keeps the machine's paths out.
    """
    settings = published_settings(evidence, privacy)
    rows = [row for task in evidence.tasks if (row := of_role(task, evidence.temperature, "this model")) is not None]
    arguments = {key: value for key, value in settings["model_args"].items() if key != "device"}
    metadata = {**(settings.get("metadata") or {}), "repeats": max(row.summary.n_high for row in rows)}
    sampling = {**(settings.get("gen_kwargs") or {}), "temperature": evidence.temperature}
    lines = [
        f"lm_eval --model {settings['backend'] or 'hf'}-passk "
        f"--model_args {_values({'pretrained': model, **arguments})} "
        f"--tasks {','.join(row.outcome.task for row in rows)}",
        f"--metadata {shlex.quote(json.dumps(metadata))}",
    ]
    options = [f"--gen_kwargs {_values(sampling)}"]
    limits = {row.outcome.limit for row in rows} - {None}
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
    if settings.get("seed") is not None:
        options.append(f"--seed {settings['seed']}")
    return " \\\n    ".join([*lines, " ".join(options)])


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
