"""The model card, written from facts; between two marked lines of it stands what a person wrote."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeGuard

import yaml

from wise_merge import __version__
from wise_merge.errors import WiseMergeError
from wise_merge.methods import METHODS
from wise_merge.publish.evaluation import evaluation
from wise_merge.publish.evidence import Evidence
from wise_merge.publish.merged import PAIR, RECIPE, Merged
from wise_merge.publish.parents import LICENCE, Inherited
from wise_merge.publish.privacy import Privacy, is_hub_id
from wise_merge.publish.sampling import sampling_commands
from wise_merge.text import counted

BEGIN = "<!-- yours: what stands between these two lines is kept when the card is written again -->"
END = "<!-- yours: end -->"
_KEPT = re.compile(re.escape(BEGIN) + r"[ \t]*\r?\n(.*?)" + re.escape(END), re.DOTALL)
#: The card that mergekit-yaml writes, which says less, as long as nobody has added to it.
_MERGEKITS = re.compile(
    r"---\n.*?\n---\n# [^\n]*\s+"
    r"This is a merge of pre-trained language models created using \[mergekit\][^\n]*\s+"
    r"## Merge Details\s+### Merge Method\s+This model was merged using [^\n]*\s+"
    r"### Models Merged\s+The following models were included in the merge:\s+(?:\* [^\n]*\s+)*"
    r"### Configuration\s+The following YAML configuration was used to produce this model:\s+"
    r"```yaml\n(?:(?!```).)*```\s*",
    re.DOTALL,
)
#: Entries of citations.bib by method.
_CITED = {
    **dict.fromkeys(("wise_ft", "bang"), ("dang2025weight", "lin2023spurious", "wortsman2021robust")),
    "uniform_soup": ("wortsman2022soups",),
    "fisher": ("matena2022merging",),
    "widen": ("yu2024extend",),
    "weight_signature": ("cai2023robust",),
}
#: Tags of the methods, of which a model has one.
_METHODS = tuple(name.replace("_", "-") for name in METHODS)


@dataclass(frozen=True)
class CardFacts:
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


def card(facts: CardFacts, before: str | None) -> str:
    """Return the card: YAML for the Hub, then Markdown.

    Args:
        facts: see there.
        before: the card that is there already, of which the person's part is kept and so are the keys of its YAML that
            are not written here; None = none.
    """
    from huggingface_hub import ModelCard

    kept, metadata = _of_person(before, facts.merged)
    ours = _metadata(facts)
    tags = list(dict.fromkeys([*ours.get("tags", ()), *_other_tags(metadata.get("tags"))]))
    if tags:
        ours["tags"] = tags
    # Always in one order: the Hub skips a card that has not changed.
    data = {**ours, **{key: value for key, value in metadata.items() if key not in ours}}
    body = "\n\n".join(
        part
        for part in (
            f"# {facts.name.rpartition('/')[2]}",
            f"{BEGIN}\n{kept}{END}",
            facts.privacy.text(_introduction(facts.merged, measured=facts.evidence is not None)),
            *(map(facts.privacy.text, evaluation(facts.evidence)) if facts.evidence is not None else ()),
            facts.privacy.text(_made_of(facts.merged, facts.privacy)),
            facts.privacy.text(_again(facts)),
            f"## Citations\n\n```bibtex\n{_citations(facts)}\n```",
        )
        if part
    )
    head = yaml.safe_dump(data, sort_keys=False, allow_unicode=True)
    text = f"---\n{head}---\n\n{body}\n"
    ModelCard(text)  # raises for metadata that huggingface_hub does not take
    return text


def _citations(facts: CardFacts) -> str:
    """Return whom to cite: for the method, for mergekit, and for what evaluated the model."""
    keys = _CITED.get(facts.merged.method, ())
    if facts.merged.recipe:
        keys = (*keys, "goddard2024mergekit")
    keys = (*keys, "eval-harness")
    text = (Path(__file__).parent / "citations.bib").read_text(encoding="utf-8")
    entries = re.findall(r"^@\w+\{([^,]+),\n.*?^\}", text, flags=re.MULTILINE | re.DOTALL)
    whole = dict(zip(entries, re.findall(r"^@.*?^\}", text, flags=re.MULTILINE | re.DOTALL), strict=True))
    return "\n".join(whole[key] for key in keys)


def _of_person(before: str | None, merged: Merged) -> tuple[str, dict[str, Any]]:
    """Return what a person wrote into a card: the marked part, and keys of the YAML."""
    if before is None:
        return "\n", {}
    kept = _KEPT.search(before)
    marks = before.count(BEGIN), before.count(END)
    if marks != (0, 0) and (marks != (1, 1) or kept is None):
        raise WiseMergeError(
            f"README.md must have each of these two lines once, in this order, with your text between them: {BEGIN} "
            f"and {END}; correct it"
        )
    if kept is None and _MERGEKITS.fullmatch(before.replace("\r\n", "\n")) is None:
        raise WiseMergeError(
            "the README.md that is there was written by somebody; to keep its text, put these two lines around it: "
            f"{BEGIN} and {END}. Otherwise delete it"
        )
    # These keys are written again each time, or removed with the results they describe.
    ours = {"model-index", "eval_results", *LICENCE}
    if merged.recipe:
        ours |= {"base_model", "base_model_relation"}
    if kept is None:
        ours |= {"tags", "library_name"}
    return ("\n" if kept is None else kept[1]), {key: value for key, value in _head(before).items() if key not in ours}


def _head(before: str) -> dict[str, Any]:
    from huggingface_hub import ModelCard

    try:
        metadata: dict[str, Any] = ModelCard(before, ignore_metadata_errors=True).data.to_dict()
    except (ValueError, yaml.YAMLError) as error:
        raise WiseMergeError(f"the YAML at the head of README.md cannot be read ({error}); correct it") from error
    return metadata


def is_ours(before: str | None) -> TypeGuard[str]:
    """Return whether a card has been written here, and not by a person or mergekit."""
    return before is not None and BEGIN in before


def earlier_licence(before: str | None) -> dict[str, str]:
    """Return what an earlier card of ours says of the licence; empty if there is none or it says nothing."""
    if not is_ours(before):
        return {}
    metadata = _head(before)
    return {key: str(metadata[key]) for key in LICENCE if metadata.get(key)} if metadata.get("license") else {}


def _other_tags(tags: Any) -> list[str]:
    """Return the tags that a card has beside that of a method, which may have been another one."""
    return [str(tag) for tag in (tags if isinstance(tags, list) else [tags] if tags else []) if tag not in _METHODS]


def _metadata(facts: CardFacts) -> dict[str, Any]:
    from huggingface_hub.repocard_data import eval_results_to_model_index

    merged = facts.merged
    shown = [facts.privacy.names[merged.name(role)] for role in merged.roles]
    parents = [part.partition("@")[0] for name in shown for part in name.split("+")[-1:] if is_hub_id(part)]
    data: dict[str, Any] = {}
    if parents:
        data |= {"base_model": list(dict.fromkeys(parents)), "base_model_relation": "merge"}
    tags = ["mergekit", "merge", merged.method.replace("_", "-")] if merged.recipe else []
    data |= {"library_name": "transformers", **({"tags": tags} if tags else {})}
    data |= facts.inherited.licence
    if facts.inherited.languages:
        data["language"] = list(facts.inherited.languages)
    data["pipeline_tag"] = "text-generation"
    if facts.results:
        data["model-index"] = eval_results_to_model_index(facts.name.rpartition("/")[2], list(facts.results))
    return data


def _introduction(merged: Merged, *, measured: bool) -> str:
    # The paper's result must not read as a claim about this model.
    here = (
        "How it turned out here is under [Evaluation](#evaluation)."
        if measured
        else "Of this model, no figures are known."
    )
    if not merged.recipe:
        return here.replace("it turned out here", "it scored")
    by = "Made by [wise-merge](https://pypi.org/project/wise-merge/) for [mergekit](https://github.com/arcee-ai/mergekit)."
    if merged.is_pair:
        return (
            f"{_pair(merged)}. [Dang et al.](https://arxiv.org/abs/2504.10478) found that fine-tuning raises Pass@1 "
            f"but lowers Pass@k, and that the average with an early checkpoint brings it back. {here} {by}"
        )
    contract = METHODS.get(merged.method)
    if contract is None:
        method = f"A merge of {counted(len(merged.roles), 'model')} by the method `{merged.method}` of"
        return f"{method} [mergekit](https://github.com/arcee-ai/mergekit). {here}"
    return f"[{contract.title}]({contract.paper}) of {counted(len(merged.roles), 'checkpoint')}. {here} {by}"


def _pair(merged: Merged) -> str:
    """Return what the average of an early and a late checkpoint is, by its method."""
    average = "(1 - alpha) * early + alpha * late"
    contract = METHODS[merged.method]
    if contract.parameter("temperature") is not None:
        method = (
            f"[{contract.title}]({contract.paper}): two checkpoints of one training run, the logits of each divided "
            f"by a temperature so that neither is more confident than the other, and then averaged, `{average}`"
        )
    else:
        method = (
            f"[{contract.title}]({contract.paper}): the average of an early and a late checkpoint of one "
            f"training run, `{average}`"
        )
    return method + (f" with alpha = {merged.alpha:g}" if isinstance(merged.alpha, (int, float)) else "")


def _made_of(merged: Merged, privacy: Privacy) -> str:
    facts = [f"architecture: {merged.architecture}"]
    if merged.is_pair:
        alpha = f"{merged.alpha:g}" if isinstance(merged.alpha, (int, float)) else "by layer or tensor, see below"
        facts.insert(0, f"alpha: {alpha}")
    if merged.dtype:
        facts.append(f"dtype of the weights: {merged.dtype}")
    versions: Mapping[str, str] = merged.record.get("versions") or {}
    if versions:
        facts.append("made with " + ", ".join(f"{name} {version}" for name, version in versions.items()))
    names = [privacy.names[merged.name(role)] for role in merged.roles]
    if not all(is_hub_id(part) for name in names for part in name.split("+")):
        facts.append("a checkpoint that is named without an organisation was not published")
    tables = [_pair_table(merged, privacy)] if merged.is_pair else _tables(merged, privacy) if merged.roles else []
    title = "What it is made of" if merged.recipe else "What it is"
    return "\n\n".join([f"## {title}", *tables, "\n".join(f"- {fact}" for fact in facts)])


def _pair_table(merged: Merged, privacy: Privacy) -> str:
    """Return what is known of early and late, a column each."""
    lines = ["| | early | late |", "|---|---|---|"]
    lines.append(f"| model | {' | '.join(_link(privacy.names[merged.name(role)]) for role in PAIR)} |")
    if any(merged.step(role) is not None for role in PAIR):
        lines.append(f"| step of training | {' | '.join(_step(merged.step(role)) for role in PAIR)} |")
    lines.append("| share | 1 - alpha | alpha |")
    balanced = METHODS[merged.method].parameter("temperature") is not None
    if balanced and all(merged.temperature(role) is not None for role in PAIR):
        lines.append(f"| logits divided by | {' | '.join(f'{merged.temperature(role):g}' for role in PAIR)} |")
    for name in dict.fromkeys(name for role in PAIR for name in merged.sha256(role)):
        digests = [f"`{merged.sha256(role)[name]}`" if name in merged.sha256(role) else "" for role in PAIR]
        lines.append(f"| SHA-256 of {name} | {' | '.join(digests)} |")
    return "\n".join(lines)


def _tables(merged: Merged, privacy: Privacy) -> list[str]:
    """Return what is known of any number of checkpoints, a line each, and the hashes of their weights below."""
    parameters = {role: merged.parameters(role) for role in merged.roles}
    columns = list(dict.fromkeys(name for own in parameters.values() for name in own))
    steps = any(merged.step(role) is not None for role in merged.roles)
    heads = ["", "model", *(["step of training"] if steps else []), *columns]
    lines = [f"| {' | '.join(heads)} |", f"|{'---|' * len(heads)}"]
    for role in merged.roles:
        cells = [role, _link(privacy.names[merged.name(role)]), *([_step(merged.step(role))] if steps else [])]
        cells += [_setting(parameters[role].get(name)) for name in columns]
        lines.append(f"| {' | '.join(cells)} |")
    digests = [(role, name, digest) for role in merged.roles for name, digest in merged.sha256(role).items()]
    if not digests:
        return ["\n".join(lines)]
    hashes = [
        "| | file | SHA-256 |",
        "|---|---|---|",
        *(f"| {role} | {name} | `{one}` |" for role, name, one in digests),
    ]
    folded = "<details><summary>SHA-256 of their weights</summary>\n\n" + "\n".join(hashes) + "\n\n</details>"
    return ["\n".join(lines), folded]


def _setting(value: Any) -> str:
    """Return a parameter of a checkpoint; numbers that vary by layer or tensor stand in the recipe."""
    if value is None:
        return ""
    return f"{value:g}" if isinstance(value, (int, float)) else "see below"


def _link(name: str) -> str:
    parts = []
    for part in name.split("+"):
        repository, _, revision = part.partition("@")
        url = f"https://huggingface.co/{repository}" + (f"/tree/{revision}" if revision else "")
        # In a table, a line stands between cells even within code.
        parts.append(f"[{part}]({url})" if is_hub_id(part) else f"`{part}`".replace("|", r"\|"))
    return " + ".join(parts)


def _step(step: int | None) -> str:
    return "" if step is None else f"{step:,}"


def _again(facts: CardFacts) -> str:
    """Return how to make and to sample the model again; empty if nothing is known of either."""
    merged = facts.merged
    # A name without an organisation is that of a folder, which others make by the recipe.
    model = facts.name if "/" in facts.name or not merged.recipe else "out"
    commands = sampling_commands(facts.evidence, model, facts.privacy) if facts.evidence is not None else []
    versions = merged.record.get("versions") or {}
    pins = [f"{name}=={versions[name]}" for name in ("wise-merge", "mergekit") if name in versions]
    install = "pip install " + " ".join(pins or [f"wise-merge=={__version__}"])
    if not merged.recipe:
        return "## Sample it again\n\n```sh\n" + "\n".join([install, *commands]) + "\n```" if commands else ""
    recipe = yaml.safe_dump(facts.privacy.value(merged.recipe), sort_keys=False, allow_unicode=True)
    lora = " --lora-merge-cache CACHE" if any("+" in merged.name(role) for role in merged.roles) else ""
    text = "\n".join([install, f"mergekit-yaml {RECIPE} out/{lora}", *commands])
    return f"## Make it again\n\n`{RECIPE}`:\n\n```yaml\n{recipe}```\n\n```sh\n{text}\n```"
