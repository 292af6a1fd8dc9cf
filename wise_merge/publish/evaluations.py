"""Puts evaluations together to the evidence of a model: each task once, and only of models that it is made of."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from wise_merge.checkpoints.files import read_json
from wise_merge.errors import WiseMergeError
from wise_merge.publish.evaluated import Evaluated
from wise_merge.publish.evidence import MODEL, Evidence, Row, TaskEvidence, place_of
from wise_merge.publish.of_lm_eval import Run, evaluated, runs_in
from wise_merge.publish.of_scores import are_scores, scores_in
from wise_merge.publish.privacy import published
from wise_merge.publish.whose import Known
from wise_merge.text import enumeration

#: Settings that must be the same for figures of two models to be compared.
_ALIKE = ("gen_kwargs", "metadata", "num_fewshot", "apply_chat_template", "system_instruction", "fewshot_as_multiturn")


def evidence_of_evaluations(known: Known, paths: Sequence[Path], warn: Callable[[str], object]) -> Evidence:
    """Return what evaluations say of a model, and of the checkpoints that it is made of where they have any.

    Args:
        known: whose evaluations count.
        paths: folders and results files of lm-eval, and files of `wise-merge score --json`.
        warn: prints a line.
    """

    def role_of(run: Run) -> str | None:
        return known.role_of(run.model, run.revision, run.places)

    found = [one for path in paths for one in _of_path(path, known, role_of, warn)]
    for one in found:
        if one.role is None:
            warn(f"warning: {one.source} does not record which model was sampled on {one.task}; the card says so")
    _check_distinct(found)
    mine = {one.task: one for one in found if one.role in (MODEL, None)}
    if not mine:
        others = enumeration(dict.fromkeys(str(one.role) for one in found), "and")
        raise WiseMergeError(
            f"{enumeration(map(str, paths), 'and')} holds figures of {others} alone, and none of "
            f"{known.merged.folder}; evaluate it too"
        )
    beside: dict[str, list[Evaluated]] = {task: [] for task in mine}
    for one in found:
        if one.role in (MODEL, None) or one.task not in mine or one.summary is None:
            continue
        difference = _difference(mine[one.task], one)
        if difference is None:
            beside[one.task].append(one)
        else:
            warn(f"warning: {one.role} on {one.task} is left out, as it was sampled otherwise: {difference}")
    tasks = tuple(_task(one, beside[one.task]) for one in mine.values())
    temperatures = {task.temperature for task in tasks}
    return Evidence(
        temperatures.pop() if len(temperatures) == 1 else None,
        tasks,
        sources=_sources(list(mine.values()), known),
        date=max((one.date for one in mine.values() if one.date), default=None),
    )


def _of_path(
    path: Path, known: Known, role_of: Callable[[Run], str | None], warn: Callable[[str], object]
) -> list[Evaluated]:
    if path.is_file():
        document = read_json(path)
        if are_scores(document):
            return scores_in(path, role_of)
    runs = runs_in(path)
    if not runs:
        what = "does not exist" if not path.exists() else "holds no such results"
        raise WiseMergeError(
            f"{path} {what}; --results takes the folder of `wise-merge sweep`, a folder or results file of `lm_eval "
            "--output_path`, or a file of `wise-merge score --json`"
        )
    roles = {run.path: role_of(run) for run in runs}
    others = dict.fromkeys(run.model or "a model without a name" for run in runs if roles[run.path] is None)
    if not any(roles.values()):
        raise WiseMergeError(
            f"{path} holds evaluations of {enumeration(others, 'and')} alone, and none of {known.merged.folder}; if "
            "one of them is this model, say so: --evaluated-as NAME"
        )
    for other in others:
        warn(f"evaluations of {other} in {path} are left out: it is neither this model nor one of its checkpoints")
    newest: dict[tuple[str, str], Run] = {}
    for run in sorted(runs, key=lambda run: (run.started, run.path.name)):
        role = roles[run.path]
        for task in run.tasks if role is not None else ():
            earlier = newest.get((str(role), task))
            if earlier is not None:
                warn(f"{role} on {task}: {run.path.name} counts, which is newer than {earlier.path.name}")
            newest[str(role), task] = run
    _check_age(known, [run for (role, _), run in newest.items() if role == MODEL], warn)
    return [_read(run, task, role) for (role, task), run in newest.items()]


def _read(run: Run, task: str, role: str) -> Evaluated:
    try:
        return evaluated(run, task, role)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        reason = f"{error} is missing" if isinstance(error, KeyError) else error
        raise WiseMergeError(
            f"{run.path} has figures of {task} that are not as lm-eval writes them ({reason}); evaluate it again"
        ) from error


def _check_age(known: Known, runs: Sequence[Run], warn: Callable[[str], object]) -> None:
    """Warn if the weights are younger than an evaluation of theirs; copying them makes them younger, too."""
    files = [path for pattern in ("*.safetensors", "*.bin") for path in known.merged.folder.glob(pattern)]
    changed = max((path.stat().st_mtime for path in files), default=0.0)
    for path in dict.fromkeys(run.path for run in runs if 0 < run.started < changed):
        warn(
            f"warning: the weights in {known.merged.folder} are younger than {path}; if they are others now, evaluate "
            "them again"
        )


def _check_distinct(found: Sequence[Evaluated]) -> None:
    """Raise if a task comes twice, under one name or, from files that do not name their model, under two."""
    seen: dict[tuple[str, str], Evaluated] = {}
    for one in found:
        key = (one.role or MODEL, one.task)
        if key in seen:
            raise WiseMergeError(
                f"{key[0]} on {one.task} is in {seen[key].source} and in {one.source}; give one of them"
                if seen[key].source != one.source
                else f"{one.source} has two files of {one.task}; a card tells of one: score one of them alone"
            )
        seen[key] = one
    unnamed = [one for one in found if one.golds]
    for number, one in enumerate(unnamed):
        for other in unnamed[:number]:
            shared = one.golds.items() & other.golds.items()
            if 2 * len(shared) > min(len(one.golds), len(other.golds)):
                raise WiseMergeError(
                    f"{other.task} and {one.task} have the same problems, and nothing says of which models they are; a "
                    "card tells of one: give the file of this model alone"
                )


def _difference(mine: Evaluated, other: Evaluated) -> str | None:
    """Return by what two models were sampled differently on a task, None if they can be compared."""
    facts: dict[str, tuple[Any, Any]] = {
        "temperature": (mine.temperature, other.temperature),
        "dataset": (mine.dataset, other.dataset),
        "judge": (mine.judge, other.judge),
        **{name: (mine.settings.get(name), other.settings.get(name)) for name in _ALIKE},
    }
    for name, (ours, theirs) in facts.items():
        if ours != theirs:
            return f"{name} {theirs}, and this model {ours}"
    return None


def _task(mine: Evaluated, beside: Sequence[Evaluated]) -> TaskEvidence:
    rows = [_row(one) for one in (mine, *beside) if one.summary is not None]
    rows.sort(key=lambda row: place_of(row.role))
    return TaskEvidence(
        mine.task,
        tuple(rows),
        mine.temperature,
        mine.settings,
        dataset=mine.dataset,
        judge=mine.judge,
        others=mine.others,
        remarks=mine.remarks,
    )


def _row(one: Evaluated) -> Row:
    assert one.summary is not None
    return Row(
        role=one.role or MODEL,
        temperature=one.temperature,
        summary=one.summary,
        problems=one.problems,
        max_tokens=one.max_tokens,
        limit=one.limit,
        problems_of_task=one.problems_of_task,
    )


def _sources(mine: Sequence[Evaluated], known: Known) -> tuple[str, ...]:
    """Return by what, and when, this model was evaluated, and under which name; a sentence each."""
    ways: dict[tuple[str, str | None], list[str]] = {}
    for one in mine:
        ways.setdefault((one.made, one.date), []).append(one.task)
    sentences = []
    for (made, date), tasks in ways.items():
        on = f" on {date}" if date else "; when is not recorded"
        which = f" ({', '.join(tasks)})" if len(ways) > 1 else ""
        sentences.append(f"Evaluated with {made}{on}{which}.")
    for name in dict.fromkeys(one.model for one in mine if one.model in known.said):
        sentences.append(
            f"The results call the model `{published(str(name))}`; that it is this one, the publisher says."
        )
    return tuple(sentences)
