"""The model card, written from facts; between two marked lines of it stands what a person wrote."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from wise_merge import __version__
from wise_merge.errors import WiseMergeError
from wise_merge.publish.entries import RESULTS, of_role, samples_text, shots_text
from wise_merge.publish.evidence import SHOWN, Evidence, Row, TaskEvidence
from wise_merge.publish.merged import RECIPE, ROLES, Merged
from wise_merge.publish.parents import LICENCE, Inherited
from wise_merge.publish.privacy import Privacy, is_hub_id
from wise_merge.results.summary import LEVEL

#: The file of the picture.
FIGURE = "pass_at_k.png"
BEGIN = "<!-- yours: what stands between these two lines is kept when the card is written again -->"
END = "<!-- yours: end -->"
_KEPT = re.compile(re.escape(BEGIN) + r"\n(.*?)" + re.escape(END), re.DOTALL)
#: A line of the card that mergekit-yaml writes, which says less.
_MERGEKITS = "This is a merge of pre-trained language models created using [mergekit]"


@dataclass(frozen=True)
class Facts:
    """All that a card is written from.

    Attributes:
        name: of the model, as its heading and in the lines that load it.
        merged: what it is made of.
        privacy: what stands for what.
        inherited: licence and languages.
        evidence: how it scored; None = nothing is known.
        results: for the model-index.
    """

    name: str
    merged: Merged
    privacy: Privacy
    inherited: Inherited
    evidence: Evidence | None
    results: Sequence[Any]


def card(facts: Facts, before: str | None) -> str:
    """Return the card: YAML for the Hub, then Markdown.

    Args:
        facts: see there.
        before: the card that is there already, of which the person's part is kept and so are the keys of its YAML that
            are not written here; None = none.
    """
    from huggingface_hub import ModelCard

    kept, metadata = _of_person(before)
    ours = _metadata(facts)
    # In one order, however often it is written: the Hub takes a card that has not changed for what is there already.
    data = {**ours, **{key: value for key, value in metadata.items() if key not in ours}}
    body = "\n\n".join(
        part
        for part in (
            f"# {facts.name.rpartition('/')[2]}",
            f"{BEGIN}\n{kept}{END}",
            facts.privacy.text(_introduction(facts.merged)),
            *(map(facts.privacy.text, _evaluation(facts.evidence)) if facts.evidence is not None else ()),
            facts.privacy.text(_made_of(facts.merged, facts.privacy)),
            facts.privacy.text(_again(facts)),
            f"## Citations\n\n```bibtex\n{_citations()}\n```",
        )
        if part
    )
    head = yaml.safe_dump(data, sort_keys=False, allow_unicode=True)
    text = f"---\n{head}---\n\n{body}\n"
    ModelCard(text)  # raises for metadata that huggingface_hub does not take
    return text


def _citations() -> str:
    return (Path(__file__).parent / "citations.bib").read_text(encoding="utf-8").strip()


def _of_person(before: str | None) -> tuple[str, dict[str, Any]]:
    """Return what a person wrote into a card: the marked part, and keys of the YAML."""
    from huggingface_hub import ModelCard

    if before is None:
        return "\n", {}
    kept = _KEPT.search(before)
    if kept is None and _MERGEKITS not in before:
        raise WiseMergeError(
            "the README.md that is there was written by somebody; to keep its text, put these two lines around it: "
            f"{BEGIN} and {END}. Otherwise delete it"
        )
    try:
        found = ModelCard(before, ignore_metadata_errors=True).data.to_dict()
    except (ValueError, yaml.YAMLError) as error:
        raise WiseMergeError(f"the YAML at the head of README.md cannot be read ({error}); correct it") from error
    # Anew each time, or gone with what they told of.
    ours = {"model-index", "eval_results", "base_model", "base_model_relation", *LICENCE, "language"}
    if kept is None:
        ours |= {"tags", "library_name"}
    return ("\n" if kept is None else kept[1]), {key: value for key, value in found.items() if key not in ours}


def _metadata(facts: Facts) -> dict[str, Any]:
    from huggingface_hub.repocard_data import eval_results_to_model_index

    merged = facts.merged
    shown = [facts.privacy.names[merged.name(role)] for role in ROLES]
    parents = [part.partition("@")[0] for name in shown for part in name.split("+")[-1:] if is_hub_id(part)]
    data: dict[str, Any] = {}
    if parents:
        data |= {"base_model": list(dict.fromkeys(parents)), "base_model_relation": "merge"}
    data |= {"library_name": "transformers", "tags": ["mergekit", "merge", merged.method.replace("_", "-")]}
    data |= facts.inherited.licence
    if facts.inherited.languages:
        data["language"] = list(facts.inherited.languages)
    data["pipeline_tag"] = "text-generation"
    if facts.results:
        data["model-index"] = eval_results_to_model_index(facts.name.rpartition("/")[2], list(facts.results))
    return data


def _introduction(merged: Merged) -> str:
    average = "(1 - alpha) * early + alpha * late"
    if merged.method == "bang":
        method = (
            "[BANG](https://arxiv.org/abs/2309.17230): two checkpoints of one training run, each divided by its "
            f"temperature so that none is more confident than the other, and then averaged, `{average}`"
        )
    else:
        method = (
            "[WiSE-FT](https://arxiv.org/abs/2504.10478): the average of an early and a late checkpoint of one "
            f"training run, `{average}`"
        )
    alpha = f" with alpha = {merged.alpha:g}" if isinstance(merged.alpha, (int, float)) else ""
    return (
        f"{method}{alpha}. Fine-tuning raises Pass@1 and costs diversity; the average gives diversity back. Made by "
        "[wise-merge](https://pypi.org/project/wise-merge/) for [mergekit](https://github.com/arcee-ai/mergekit)."
    )


def _evaluation(evidence: Evidence) -> list[str]:
    """Return the sections with the figures."""
    parts = [
        f"## Evaluation\n\n![Pass@k of early, late and this model]({FIGURE})\n\nPass@k is the unbiased estimate from "
        f"all samples, Maj@k that of a majority vote over k of them; in brackets the {LEVEL:.0%} interval over "
        "problems. "
        f"Every figure at every k, and the verdicts it is made of, are in [{RESULTS}]({RESULTS})."
    ]
    for task in evidence.tasks:
        parts.append(f"### {task.task}\n\n{_overview(evidence, task)}")
        parts.append(_curve_table(evidence, task))
    if evidence.chosen:
        parts.append(
            "### How it was chosen\n\n" + "\n\n".join(evidence.chosen) + "\n\nThe figures above are over all problems, "
            "those too by which it was chosen, and so flatter it a little; the line before this one does not."
        )
    return parts


def _overview(evidence: Evidence, task: TaskEvidence) -> str:
    """Return a line per model and temperature: how much was sampled, and the ends of the curves."""
    most = max(row.summary.reported[-1] for row in task.rows)
    lines = [
        f"| | T | problems | samples of each | Pass@1 | Pass@{most} | Maj@{most} |",
        "|---|---|---|---|---|---|---|",
    ]
    rows = sorted(task.rows, key=lambda row: (row.temperature != evidence.temperature, row.temperature))
    for row in rows:
        bold = "**" if row.role == "this model" and row.temperature == evidence.temperature else ""
        cells = [
            f"{bold}{row.role}{bold}",
            f"{row.temperature:g}",
            f"{row.summary.problems:,}",
            samples_text(row),
            *(_cell(row, name, k) for name, k in (("pass@k", 1), ("pass@k", most), ("maj@k", most))),
        ]
        lines.append(f"| {' | '.join(cells)} |")
    shots = shots_text(evidence)
    limits = [row.outcome.max_tokens for row in task.rows if row.outcome.max_tokens is not None]
    told = f"Completions of up to {max(limits):,} tokens{shots}." if limits else shots.removeprefix(", ").capitalize()
    if any(row.outcome.limit is not None for row in task.rows):
        told += f" Only the first {min(row.outcome.limit for row in task.rows if row.outcome.limit):,} problems."
    return "\n".join(lines) + (f"\n\n{told}" if told else "")


def _curve_table(evidence: Evidence, task: TaskEvidence) -> str:
    """Return the whole curves at the first temperature, a line per k."""
    rows = [row for role in SHOWN if (row := of_role(task, evidence.temperature, role)) is not None]
    names = [name for name in ("pass@k", "maj@k") if all(row.summary.curve(name) is not None for row in rows)]
    lines = [
        f"| k | {' | '.join(f'{name.capitalize()}, {row.role}' for name in names for row in rows)} |",
        f"|---|{'---|' * len(names) * len(rows)}",
    ]
    for k in sorted({k for row in rows for k in row.summary.reported}):
        lines.append(f"| {k} | {' | '.join(_cell(row, name, k) for name in names for row in rows)} |")
    head = f"The curves at T = {evidence.temperature:g}, n = {rows[0].summary.problems:,} problems"
    return f"<details><summary>{head}</summary>\n\n" + "\n".join(lines) + "\n\n</details>"


def _cell(row: Row, name: str, k: int) -> str:
    curve = row.summary.curve(name)
    if curve is None or k not in curve.k:
        return ""
    estimate = curve.at(k)
    return f"{estimate.value:.3f} [{estimate.low:.3f}, {estimate.high:.3f}]"


def _made_of(merged: Merged, privacy: Privacy) -> str:
    lines = ["| | early | late |", "|---|---|---|"]
    names = {role: privacy.names[merged.name(role)] for role in ROLES}
    lines.append(f"| model | {' | '.join(_link(names[role]) for role in ROLES)} |")
    if any(merged.step(role) is not None for role in ROLES):
        lines.append(f"| step of training | {' | '.join(_step(merged.step(role)) for role in ROLES)} |")
    lines.append("| share | 1 - alpha | alpha |")
    if merged.method == "bang" and all(merged.temperature(role) is not None for role in ROLES):
        lines.append(f"| temperature | {' | '.join(f'{merged.temperature(role):g}' for role in ROLES)} |")
    for name in dict.fromkeys(name for role in ROLES for name in merged.sha256(role)):
        digests = [f"`{merged.sha256(role)[name]}`" if name in merged.sha256(role) else "" for role in ROLES]
        lines.append(f"| SHA-256 of {name} | {' | '.join(digests)} |")
    alpha = f"{merged.alpha:g}" if isinstance(merged.alpha, (int, float)) else "by layer or tensor, see below"
    facts = [f"alpha: {alpha}", f"architecture: {merged.architecture}"]
    if merged.dtype:
        facts.append(f"dtype of the weights: {merged.dtype}")
    versions: Mapping[str, str] = merged.record.get("versions") or {}
    if versions:
        facts.append("made with " + ", ".join(f"{name} {version}" for name, version in versions.items()))
    if not all(any(map(is_hub_id, name.split("+"))) for name in names.values()):
        facts.append("a checkpoint that is named without an organisation was not published")
    return "## What it is made of\n\n" + "\n".join(lines) + "\n\n" + "\n".join(f"- {fact}" for fact in facts)


def _link(name: str) -> str:
    parts = []
    for part in name.split("+"):
        repository, _, revision = part.partition("@")
        url = f"https://huggingface.co/{repository}" + (f"/tree/{revision}" if revision else "")
        parts.append(f"[{part}]({url})" if is_hub_id(part) else f"`{part}`")
    return " + ".join(parts)


def _step(step: int | None) -> str:
    return "" if step is None else f"{step:,}"


def _again(facts: Facts) -> str:
    """Return how to make and to sample the model again."""
    recipe = yaml.safe_dump(facts.privacy.value(facts.merged.recipe), sort_keys=False, allow_unicode=True)
    versions = facts.merged.record.get("versions") or {}
    pins = [f"{name}=={versions[name]}" for name in ("wise-merge", "mergekit") if name in versions]
    install = "pip install " + " ".join(pins or [f"wise-merge=={__version__}"])
    lora = " --lora-merge-cache CACHE" if "+" in facts.merged.pair.late else ""
    text = (
        f"## Make it again\n\n`{RECIPE}`:\n\n```yaml\n{recipe}```\n\n```sh\n{install}\n"
        f"mergekit-yaml {RECIPE} out/{lora}\n"
    )
    if facts.evidence is not None:
        text += _sampled(facts, facts.evidence)
    return text + "```"


def _sampled(facts: Facts, evidence: Evidence) -> str:
    import json
    import shlex

    settings = evidence.settings
    row = next(row for task in evidence.tasks for row in task.at(evidence.temperature) if row.role == "this model")
    metadata = {**(settings.get("metadata") or {}), "repeats": row.summary.n_high}
    options = {
        key: value for key, value in (settings.get("gen_kwargs") or {}).items() if key not in ("temperature", "seed")
    }
    drawn = ",".join(f"{key}={value}" for key, value in {**options, "temperature": f"{row.temperature:g}"}.items())
    command = (
        f"lm_eval --model {settings.get('backend', 'hf')}-passk --model_args pretrained={facts.name} "
        f"--tasks {','.join(task.task for task in evidence.tasks)} "
        f"--metadata {shlex.quote(json.dumps(facts.privacy.value(metadata)))} --gen_kwargs {shlex.quote(drawn)}"
    )
    if settings.get("num_fewshot") is not None:
        command += f" --num_fewshot {settings['num_fewshot']}"
    if settings.get("apply_chat_template"):
        command += " --apply_chat_template"
    if settings.get("seed") is not None:
        command += f" --seed {settings['seed']}"
    return command + "\n"
