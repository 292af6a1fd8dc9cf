"""Scores of the completions of many problems, computed once and kept in a file."""

import hashlib
import json
import math
import re
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

from wise_merge.errors import WiseMergeError
from wise_merge.verifiers.models import Scorer
from wise_merge.verifiers.specs import find, identity


def score_samples(
    spec: str,
    problems: Iterable[tuple[str, str, Sequence[str]]],
    *,
    cache: Path,
    device: str | None = None,
    dtype: str = "auto",
    batch_size: int = 16,
    trust_remote_code: bool = False,
    progress: Callable[[int], None] | None = None,
) -> dict[str, list[float]]:
    """Return {problem id: one score per completion, in order}, scoring only what `cache` lacks.

    Each distinct completion of a problem is scored once. After each problem its new scores are
    appended to `cache`, so that a killed run loses the current problem at most; a line that was
    cut off is dropped and its problem scored again. A score belongs to (scorer, problem text,
    completion): whatever changes is scored anew, and several scorers can share a file. If nothing
    is missing, the model is not even loaded.

    A score may be -inf: the completion could not be read (empty, or too long for the model) and
    ranks last. A warning says how many there are.

    Args:
        spec: see `specs.find`, as for `device`, `dtype`, `batch_size` and `trust_remote_code`.
        problems: (id, problem text, completions); ids are unique; read once.
        cache: JSON Lines file, made if it does not exist; see `cache_path`.
        progress: called with the number of problems done after each.
    """
    scorer_identity = identity(spec, dtype)
    known = _read(cache)
    scores: dict[str, list[float]] = {}
    scorer: Scorer | None = None
    for done, (problem_id, problem, completions) in enumerate(problems, start=1):
        if problem_id in scores:
            raise WiseMergeError(f"problem id {problem_id!r} occurs twice; scores could not be told apart")
        keys = {completion: _key(scorer_identity, problem, completion) for completion in dict.fromkeys(completions)}
        missing = [completion for completion, key in keys.items() if key not in known]
        if missing:
            where = f"scorer {spec}, problem {problem_id!r}"
            try:
                scorer = scorer or find(
                    spec, device=device, dtype=dtype, batch_size=batch_size, trust_remote_code=trust_remote_code
                )
                values = scorer(problem, missing)
            except Exception as error:
                # A user's function may fail in any way; a model's failure is a bug and keeps its traceback.
                if not spec.startswith("python:") or isinstance(error, WiseMergeError):
                    raise
                raise WiseMergeError(f"{where}: it raised {error!r}") from error
            checked = _checked(values, missing, where)
            new = {keys[completion]: value for completion, value in zip(missing, checked, strict=True)}
            _append(cache, scorer_identity, problem_id, new)
            known.update(new)
        scores[problem_id] = [known[keys[completion]] for completion in completions]
        if progress:
            progress(done)
    _warn_of_unread(scores, spec)
    return scores


def _warn_of_unread(scores: Mapping[str, Sequence[float]], spec: str) -> None:
    unread = sum(score == -math.inf for of_problem in scores.values() for score in of_problem)
    if unread:
        warnings.warn(
            f"{unread} of {sum(map(len, scores.values()))} completions cannot be read by {spec} "
            "(empty, or too long for it); they rank last",
            stacklevel=3,
        )


def cache_path(samples: Path, spec: str) -> Path:
    """Return where the scores of a samples file are kept: beside it, the scorer in the name.

    >>> cache_path(Path("runs/late.jsonl"), "reward:ORG/MODEL").as_posix()
    'runs/late.jsonl.reward-ORG-MODEL.scores.jsonl'
    """
    slug = re.sub(r"[^A-Za-z0-9._]+", "-", spec).strip("-")
    # File names have at most 255 bytes. Two specs with one slug share a file, which does no harm.
    return samples.with_name(f"{samples.name}.{slug[-80:]}.scores.jsonl")


def _key(identity: str, problem: str, completion: str) -> str:
    # Surrogates, which broken completions hold, have no UTF-8; JSON escapes them.
    return hashlib.sha256(json.dumps([identity, problem, completion]).encode()).hexdigest()[:32]


def _checked(values: Sequence[float], completions: Sequence[str], where: str) -> list[float]:
    try:
        scores = [float(value) for value in values]
    except (TypeError, ValueError, OverflowError) as error:
        raise WiseMergeError(f"{where}: expected one number per completion; {error}") from error
    if len(scores) != len(completions):
        raise WiseMergeError(f"{where}: expected {len(completions)} scores, one per completion; got {len(scores)}")
    for score, completion in zip(scores, completions, strict=True):
        if math.isnan(score):
            raise WiseMergeError(f"{where}: NaN is not a score; it is that of the completion {completion[:60]!r}")
    return scores


def _read(cache: Path) -> dict[str, float]:
    """Return all kept scores, and cut off a last line that was not finished."""
    if not cache.exists():
        return {}
    known: dict[str, float] = {}
    with cache.open("rb+") as file:
        whole = 0
        for number, line in enumerate(file, start=1):
            if not line.endswith(b"\n"):
                file.truncate(whole)
                break
            whole += len(line)
            try:
                known.update({key: float(score) for key, score in json.loads(line)["scores"].items()})
            except (ValueError, KeyError, TypeError, AttributeError) as error:
                raise WiseMergeError(
                    f"{cache}, line {number}: not a line of scores ({error}); delete the line or the file"
                ) from error
    return known


def _append(cache: Path, identity: str, problem_id: str, new: dict[str, float]) -> None:
    # Infinity is not JSON; as a string it is, and float() reads it back.
    scores = {key: score if math.isfinite(score) else str(score) for key, score in new.items()}
    with cache.open("a", encoding="utf-8") as file:
        file.write(json.dumps({"scorer": identity, "problem": problem_id, "scores": scores}) + "\n")
