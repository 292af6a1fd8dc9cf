"""Evaluations as `wise-merge score --json` writes them: verdicts and votes of files of samples.

Such a file does not say which model was sampled, nor how. Where samples of lm-eval still have its results beside them,
these do; else the card says that it is not recorded.
"""

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from wise_merge.errors import WiseMergeError
from wise_merge.publish.evaluated import Evaluated, counts_of
from wise_merge.publish.evidence import judge_in_words
from wise_merge.publish.of_lm_eval import Run, evaluated, runs_in
from wise_merge.publish.privacy import last_part, published
from wise_merge.results.export import ReadAgain, read_json
from wise_merge.results.summary import summary_of
from wise_merge.results.verdicts import JudgedProblem
from wise_merge.text import counted

_SAMPLES = re.compile(r"samples_(?P<task>.+)_(?P<date>\d{4}-\d\d-\d\dT[\d.:-]+)\.jsonl(\.gz)?")


def are_scores(document: Any) -> bool:
    """Return whether a JSON document is one of `wise-merge score --json`."""
    return isinstance(document, dict) and "wise_merge" in document and isinstance(document.get("files"), list)


def scores_in(path: Path, role_of: Callable[[Run], str | None]) -> list[Evaluated]:
    """Return the evaluations in a file of `wise-merge score --json`.

    Args:
        path: of the file.
        role_of: tells whose a run of lm-eval is.
    """
    files = read_json(path)
    if not files:
        raise WiseMergeError(f"{path} holds no figures of any file; write it again with `wise-merge score --json`")
    return [_evaluated(path, file, role_of) for file in files]


def _evaluated(path: Path, file: ReadAgain, role_of: Callable[[Run], str | None]) -> Evaluated:
    problems = tuple(_with_public_scorers(problem) for problem in file.problems)
    run = _run_of(path, file)
    role = None if run is None else role_of(run)
    if run is not None and role is None:
        raise WiseMergeError(
            f"{file.path}, of which {path} has the figures, is an evaluation of {run.model}, which is neither the "
            "model to be published nor one of its checkpoints; if it is the model, say so: --evaluated-as "
            f"{run.model}"
        )
    task = file.task or last_part(file.name)
    judge = judge_in_words(file.judged_by) if file.judged_by else "the verdicts of the file of samples"
    if not file.by_file:
        judge = f"`wise-merge score`, with answers read as those of {file.benchmark}"
    # Notes, which the first files of this kind do not have, tell of samples that lack something, too.
    remarks = list(file.notes) or [f"{counted(count, 'sample')} had no {what}" for what, count in file.missing.items()]
    if file.rejected:
        remarks.append(f"{counted(file.rejected, 'row')} of the file could not be used and counted for nothing")
    if run is None:
        remarks.insert(0, "which model was sampled is not recorded in the file of samples")
    about: dict[str, Any] = {
        "source": path,
        "task": task,
        "summary": summary_of(problems),
        "problems": counts_of(problems),
        "judge": judge,
        "remarks": tuple(f"{sentence[0].upper()}{sentence[1:].removesuffix('.')}." for sentence in remarks),
        "others": (),
    }
    if run is not None and role is not None:
        known = evaluated(run, task, role)
        return replace(known, **{**about, "made": f"{known.made} and `wise-merge score`"})
    return Evaluated(
        **about,
        role=None,
        model=None,
        temperature=None,
        max_tokens=None,
        limit=None,
        problems_of_task=None,
        settings={},
        dataset={},
        made="`wise-merge score`",
        date=None,
        golds={problem.id: problem.gold for problem in problems},
    )


def _run_of(path: Path, file: ReadAgain) -> Run | None:
    """Return the run of lm-eval that has left a file of samples, if its results are still beside it."""
    name = _SAMPLES.fullmatch(file.path.name)
    if name is None:
        return None
    for folder in (file.path.parent, path.parent / file.path.parent):
        for results in folder.glob(f"*_{name['date']}.json"):
            for run in runs_in(results):
                if name["task"] in run.document["results"]:
                    return run
    return None


def _with_public_scorers(problem: JudgedProblem) -> JudgedProblem:
    """Return a problem whose scorers are named as the world may see them: some are models in folders."""
    scores: dict[str, tuple[float, ...]] = {}
    for name, values in problem.scores.items():
        kind, colon, model = name.partition(":")
        called = f"{kind}:{published(model)}" if colon else last_part(name)
        scores[f"{called} ({len(scores) + 1})" if called in scores else called] = values
    return replace(problem, scores=scores)
