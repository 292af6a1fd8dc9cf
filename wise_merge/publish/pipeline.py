"""The order of work of `wise-merge card` and `wise-merge push`."""

import datetime
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import yaml

from wise_merge.checkpoints.files import read_json
from wise_merge.errors import WiseMergeError
from wise_merge.publish.card import CardFacts, card, earlier_licence, is_ours
from wise_merge.publish.contents import Contents, contents_of
from wise_merge.publish.entries import RESULTS, benchmark_entries, model_index, results_file
from wise_merge.publish.evaluation import FIGURE
from wise_merge.publish.evaluations import evidence_of_evaluations
from wise_merge.publish.evidence import MODEL, Evidence
from wise_merge.publish.figure import draw
from wise_merge.publish.hub import Target, check_login, check_target, send
from wise_merge.publish.merged import Merged, read_merged
from wise_merge.publish.of_sweep import evidence_of_sweep, is_of_sweep
from wise_merge.publish.parents import inherited
from wise_merge.publish.privacy import Privacy, is_hub_id, privacy_of, published
from wise_merge.publish.whole import check_whole
from wise_merge.publish.whose import Known
from wise_merge.results.whole_file import write_whole
from wise_merge.text import bar, size, table

Say = Callable[[str], object]
#: Of the Hub, for entries of registered benchmarks.
ENTRIES = ".eval_results"


@dataclass(frozen=True)
class PublishSettings:
    """What the command line says: see `wise-merge push --help`."""

    results: Sequence[Path] = ()
    evaluated_as: Sequence[str] = ()
    sources: Mapping[str, str] = field(default_factory=dict)
    licence: str | None = None
    temperature: float | None = None
    include_samples: bool = False


def write_card(out: Path, name: str | None, settings: PublishSettings, *, say: Say = print, warn: Say = print) -> None:
    """Write the card and its files into a model's folder.

    Args:
        out: the folder.
        name: USER/NAME, for the lines that load the model; None = that of the folder.
        settings: see there.
        say: prints a line.
        warn: prints a line on stderr.
    """
    merged = read_merged(out, evaluated=bool(settings.results))
    before = _earlier_card(out)
    privacy = _privacy(merged, before, settings, warn)
    evidence = _evidence(merged, privacy, name, settings, warn)
    for path in _write(merged, _written(merged, privacy, name, before, settings, evidence, warn)):
        say(str(path))


def push(
    out: Path,
    target: Target,
    settings: PublishSettings,
    *,
    dry_run: bool = False,
    say: Say = print,
    warn: Say = print,
) -> None:
    """Write the card, check the model, and send both to the Hub; with `dry_run`, show what would be sent.

    Args:
        out: the model's folder.
        target: where to.
        settings: see there; without results, a card that has evidence already goes as it is.
        dry_run: write and send nothing.
        say: prints a line.
        warn: prints a line on stderr.
    """
    check_target(target)
    if settings.include_samples and not (len(settings.results) == 1 and is_of_sweep(settings.results[0])):
        raise WiseMergeError(
            "--include-samples needs --results with the folder of a sweep, which has the samples in its journal; those "
            "of lm_eval are sent by its own --hf_hub_log_args"
        )
    merged = read_merged(out, evaluated=bool(settings.results))
    if not dry_run:
        check_login(target)  # before what takes minutes on a large model
    check_whole(out, watch=bar)
    before = _earlier_card(out)
    privacy = _privacy(merged, before, settings, warn)
    evidence = _evidence(merged, privacy, target.repository, settings, warn)
    written = _kept(merged, before, settings, privacy) if evidence is None else None
    if written is None:
        written = _written(merged, privacy, target.repository, before, settings, evidence, warn)
        if not dry_run:
            _write(merged, written)
    samples = _samples(evidence, privacy) if evidence is not None and settings.include_samples else {}
    contents = contents_of(out, privacy, {**written, **samples})
    if dry_run:
        say(_shown(target, contents, written["README.md"].decode()))
        return
    say(_summary(contents))
    say(send(target, contents))


def _privacy(merged: Merged, before: str | None, settings: PublishSettings, warn: Say) -> Privacy:
    sources = {_role(merged, called, source): source for called, source in settings.sources.items()}
    folders = [merged.folder, *settings.results]
    earlier = _earlier_sources(merged) if is_ours(before) else {}
    privacy, warnings = privacy_of(merged, {**earlier, **sources}, tuple(folders))
    for warning in warnings:
        warn(f"warning: {warning}")
    return privacy


def _role(merged: Merged, called: str, source: str) -> str:
    """Return the role of the checkpoint that a --source is of, by role, by name in the recipe, or by its last part."""
    named = {role: merged.name(role) for role in merged.roles}
    meant = [role for role, name in named.items() if called in (role, name)]
    meant = meant or [role for role, name in named.items() if called == published(name)]
    if len(meant) == 1 and is_hub_id(source):
        return meant[0]
    if merged.is_pair:
        raise WiseMergeError(
            f"--source takes early=ORG/MODEL or late=ORG/MODEL@REVISION, ids on the Hub; got {called}={source}"
        )
    if not named:
        raise WiseMergeError(f"--source says where checkpoints are, and {merged.folder} is no merge; leave it out")
    raise WiseMergeError(
        f"--source takes CHECKPOINT=ORG/MODEL@REVISION, a checkpoint of {merged.folder} and its id on the Hub; got "
        f"{called}={source}; its checkpoints are {', '.join(named.values())}"
    )


def _evidence(
    merged: Merged, privacy: Privacy, name: str | None, settings: PublishSettings, warn: Say
) -> Evidence | None:
    """Return what the results say of the model; None if there are none."""
    sweeps = [path for path in settings.results if is_of_sweep(path)]
    if settings.evaluated_as and (sweeps or not settings.results):
        raise WiseMergeError("--evaluated-as is how results of lm_eval call this model; give them too (--results)")
    if not settings.results:
        return None
    if sweeps:
        if len(settings.results) > 1:
            raise WiseMergeError(
                f"{sweeps[0]} is the folder of a sweep, beside which no other results can stand: a sweep samples all "
                "models alike; give it alone, or leave it out"
            )
        return evidence_of_sweep(merged, sweeps[0], temperature=settings.temperature, watch=bar)
    if settings.temperature is not None:
        raise WiseMergeError("--temperature chooses among those of a sweep, and --results has none; leave it out")
    known = Known(merged, privacy, [name] if name else [], settings.evaluated_as)
    return evidence_of_evaluations(known, settings.results, warn)


def _written(
    merged: Merged,
    privacy: Privacy,
    name: str | None,
    before: str | None,
    settings: PublishSettings,
    evidence: Evidence | None,
    warn: Say,
) -> dict[str, bytes]:
    """Return the card and the files that it consists of, by their names in the repository."""
    parents = inherited(merged, privacy, settings.licence, earlier_licence(before))
    for warning in parents.warnings:
        warn(f"warning: {warning}")
    facts = CardFacts(
        name or merged.folder.resolve().name,
        merged,
        privacy,
        parents,
        evidence,
        model_index(evidence) if evidence is not None else (),
    )
    text = card(facts, before)
    privacy.refuse("README.md", text)
    files = {"README.md": text.encode()}
    if evidence is not None:
        files |= _evidence_files(evidence, merged, privacy)
    return files


def _earlier_card(out: Path) -> str | None:
    """Return the card that is there, with its line ends as they are; None if there is none."""
    path = out / "README.md"
    if not path.is_file():
        return None
    try:
        return path.read_bytes().decode("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise WiseMergeError(f"{path} cannot be read ({error}); save it as UTF-8, or delete it") from error


def _evidence_files(evidence: Evidence, merged: Merged, privacy: Privacy) -> dict[str, bytes]:
    from huggingface_hub import eval_result_entries_to_yaml

    names = {MODEL: MODEL, **{role: privacy.names[merged.name(role)] for role in merged.roles}}
    files = {RESULTS: privacy.text(results_file(evidence, names, privacy).decode()).encode()}
    if evidence.has_curves:
        files[FIGURE] = draw(evidence)
    date = evidence.date or datetime.datetime.now(datetime.timezone.utc).date().isoformat()
    for name, entries in benchmark_entries(evidence, date).items():
        content = yaml.safe_dump(eval_result_entries_to_yaml(entries), sort_keys=False, allow_unicode=True)
        # MathArena names the files of its own entries so: MathArena--aime_2026.yaml.
        files[f"{ENTRIES}/{name.replace('/', '--')}.yaml"] = content.encode()
    return files


def _earlier_sources(merged: Merged) -> dict[str, str]:
    """Return where the checkpoints are on the Hub, as an earlier card of this model was told."""
    if not (merged.folder / RESULTS).is_file():
        return {}
    models = read_json(merged.folder / RESULTS).get("models")
    named = models if isinstance(models, dict) else {}
    return {role: named[role] for role in merged.roles if isinstance(named.get(role), str) and is_hub_id(named[role])}


def _kept(merged: Merged, before: str | None, settings: PublishSettings, privacy: Privacy) -> dict[str, bytes] | None:
    """Return the card that `wise-merge card` has written with its evidence; None if there is none."""
    if not is_ours(before) or not (merged.folder / RESULTS).is_file():
        return None
    if settings.sources or settings.licence or settings.temperature is not None:
        raise WiseMergeError(
            f"the card in {merged.folder} has evidence and is sent as it is; give --results too, for a card with other "
            "--source, --license or --temperature"
        )
    privacy.refuse("README.md", before)
    paths = [merged.folder / name for name in ("README.md", FIGURE, RESULTS)]
    paths += (merged.folder / ENTRIES).glob("*.yaml")
    return {path.relative_to(merged.folder).as_posix(): path.read_bytes() for path in paths if path.is_file()}


def _write(merged: Merged, files: Mapping[str, bytes]) -> list[Path]:
    """Write the card's files, and remove entries and the picture of an earlier one that are no longer true."""
    for stale in (merged.folder / ENTRIES).glob("*.yaml"):
        if f"{ENTRIES}/{stale.name}" not in files:
            stale.unlink()
    if RESULTS in files and FIGURE not in files:
        (merged.folder / FIGURE).unlink(missing_ok=True)
    paths = []
    for name, content in files.items():
        write_whole(merged.folder / name, content)
        paths.append(merged.folder / name)
    return paths


def _samples(evidence: Evidence, privacy: Privacy) -> dict[str, bytes]:
    """Return every sample of the model at its temperature, a file per task in the form of lm-eval."""
    from wise_merge.journal import read_runs
    from wise_merge.journal.contents import Contents as Runs
    from wise_merge.journal.export import export

    assert evidence.journal is not None
    runs = read_runs(evidence.journal).runs
    files = {}
    for task, run in evidence.runs.items():
        chosen = tuple(kept for kept in runs if kept.fingerprint == run)
        if not chosen:
            raise WiseMergeError(
                f"{evidence.journal} no longer holds the samples of {task}; leave out --include-samples"
            )
        with tempfile.TemporaryDirectory() as folder:
            exported = export(Runs(chosen, {}), Path(folder))[0]
            text = exported.path.read_text(encoding="utf-8")
        files[f"samples/{task}.jsonl"] = privacy.text(text).encode()
    return files


def _shown(target: Target, contents: Contents, readme: str) -> str:
    """Return what would be sent; the list comes last, where it is seen: a card has hundreds of lines."""
    where = target.repository + (f", branch {target.revision}" if target.revision else "")
    rows = [[entry.name, size(entry.bytes), entry.remark] for entry in contents.entries]
    lines = ["--- README.md", readme.rstrip(), ""]
    for entry in contents.others:
        if entry.remark == "paths replaced" and entry.content is not None:
            lines += [f"--- {entry.name}", entry.content.decode().rstrip(), ""]
    lines += [f"--- would be sent to {where}:"]
    lines += [f"  {line}" for line in table(rows, "<><")]
    return "\n".join([*lines, f"{_summary(contents)}; nothing was sent"])


def _summary(contents: Contents) -> str:
    whole = size(sum(entry.bytes for entry in contents.entries))
    left = f"; stays here: {', '.join(contents.left)}" if contents.left else ""
    return f"{len(contents.entries)} files, {whole}{left}"
