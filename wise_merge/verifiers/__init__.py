"""Scorers, which rank the completions of one problem, and the one way to run them over many problems.

A scorer is any callable from (problem, completions) to one score per completion; higher is
better, and the score of a completion must not depend on the others. Those shipped are named
by a spec such as `reward:ORG/MODEL` (docs/scorers.md). Best@k and weighted votes are computed
from the scores elsewhere (wise_merge/estimators).
"""

import hashlib
import importlib
import importlib.util
import json
import math
import os
import re
import sys
import warnings
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import cast

from wise_merge.errors import WiseMergeError
from wise_merge.verifiers.models import Place, Scorer

#: What a spec can start with, and what follows the colon.
KINDS = {
    "reward": "MODEL",
    "prm-product": "MODEL",
    "prm-min": "MODEL",
    "prm-last": "MODEL",
    "logprob": "MODEL",
    "logprob-chat": "MODEL",
    "python": "MODULE:FUNCTION",
}


def find(
    spec: str,
    *,
    device: str | None = None,
    dtype: str = "auto",
    batch_size: int = 16,
    trust_remote_code: bool = False,
) -> Scorer:
    """Return the scorer that `spec` names; a model is loaded here, once.

    Args:
        spec: one of
            `reward:MODEL`: the reward of a sequence classifier with one label, or of Qwen2.5-Math-RM;
            `prm-product:MODEL`, `prm-min:MODEL`, `prm-last:MODEL`: the step rewards of Qwen2.5-Math-PRM,
            taken together as their product, their minimum or the last of them;
            `logprob:MODEL`, `logprob-chat:MODEL`: the mean log-probability of the completion's tokens
            after the problem as it stands, or after the problem as a user's turn;
            `python:MODULE:FUNCTION`: a function of (problem, completions), importable from here.
            MODEL is a folder or a Hub id, with `@REVISION` behind it if need be.
        device: "cpu", "cuda", "cuda:1", or "auto" to spread a large model; None is a GPU if there is one.
        dtype: of the model's weights, e.g. "bfloat16"; "auto" is as they are stored.
        batch_size: completions per forward pass; it changes the speed only (and rounding in low precision).
        trust_remote_code: whether the Python code of a model's repository may run.
    """
    kind, name = _parts(spec)
    if batch_size < 1:
        raise WiseMergeError(f"the batch size must be at least 1; got {batch_size}")
    if kind == "python":
        return _function(name)
    from wise_merge.verifiers import log_probability, reward_models

    place = Place(device, dtype, batch_size, trust_remote_code)
    if kind == "reward":
        return reward_models.outcome_scorer(name, place)
    if kind.startswith("prm-"):
        return reward_models.process_scorer(name, place, aggregate=kind.removeprefix("prm-"))
    return log_probability.scorer(name, place, chat=kind == "logprob-chat")


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
        spec: see `find`, as for `device`, `dtype`, `batch_size` and `trust_remote_code`.
        problems: (id, problem text, completions); ids are unique; read once.
        cache: JSON Lines file, made if it does not exist; see `cache_path`.
        progress: called with the number of problems done after each.
    """
    identity = _identity(spec, dtype)
    known = _read(cache)
    scores: dict[str, list[float]] = {}
    scorer: Scorer | None = None
    for done, (problem_id, problem, completions) in enumerate(problems, start=1):
        if problem_id in scores:
            raise WiseMergeError(f"problem id {problem_id!r} occurs twice; scores could not be told apart")
        keys = {completion: _key(identity, problem, completion) for completion in dict.fromkeys(completions)}
        missing = [completion for completion, key in keys.items() if key not in known]
        if missing:
            where = f"scorer {spec}, problem {problem_id!r}"
            try:
                scorer = scorer or find(
                    spec, device=device, dtype=dtype, batch_size=batch_size, trust_remote_code=trust_remote_code
                )
                found = scorer(problem, missing)
            except Exception as error:
                # A user's function may fail in any way; a model's failure is a bug and keeps its traceback.
                if not spec.startswith("python:") or isinstance(error, WiseMergeError):
                    raise
                raise WiseMergeError(f"{where}: it raised {error!r}") from error
            values = _checked(found, missing, where)
            new = {keys[completion]: value for completion, value in zip(missing, values, strict=True)}
            _append(cache, identity, problem_id, new)
            known.update(new)
        scores[problem_id] = [known[keys[completion]] for completion in completions]
        if progress:
            progress(done)
    unread = sum(score == -math.inf for of_problem in scores.values() for score in of_problem)
    if unread:
        warnings.warn(
            f"{unread} of {sum(map(len, scores.values()))} completions cannot be read by {spec} "
            "(empty, or too long for it); they rank last",
            stacklevel=2,
        )
    return scores


def check_spec(spec: str) -> None:
    """Refuse a spec that names no scorer, without loading a model; see `find`."""
    _identity(spec, "auto")


def cache_path(samples: Path, spec: str) -> Path:
    """Return where the scores of a samples file are kept: beside it, the scorer in the name.

    >>> cache_path(Path("runs/late.jsonl"), "reward:ORG/MODEL").as_posix()
    'runs/late.jsonl.reward-ORG-MODEL.scores.jsonl'
    """
    slug = re.sub(r"[^A-Za-z0-9._]+", "-", spec).strip("-")
    # File systems end names at 255 bytes. Scores of two specs with one slug share a file, which does no harm.
    return samples.with_name(f"{samples.name}.{slug[-80:]}.scores.jsonl")


def _parts(spec: str) -> tuple[str, str]:
    kind, _, name = spec.partition(":")
    if spec == "logprob":
        raise WiseMergeError(
            "the scorer logprob without a model is for evaluations (--metadata scorer=logprob with --model hf-passk or "
            "vllm-passk), whose samples then have the column logprob, which needs no scorer; another model's "
            "log-probabilities are logprob:MODEL"
        )
    if kind not in KINDS or not name:
        forms = ", ".join(f"{kind}:{what}" for kind, what in KINDS.items())
        raise WiseMergeError(f"a scorer must be one of {forms}; got {spec!r}")
    return kind, name


def _function(name: str) -> Scorer:
    """Return the function that `module:function` names."""
    source = _source(name)
    module_name, _, function_name = name.partition(":")
    function = getattr(importlib.import_module(module_name), function_name, None)
    if not callable(function):
        raise WiseMergeError(
            f"scorer python:{name}: {source or module_name} has no function {function_name!r}; "
            "it must take (problem, completions) and return one number per completion"
        )
    return cast(Scorer, function)


def _source(name: str) -> str | None:
    """Return the file of the module in `module:function`, which need not be imported for that."""
    module_name, _, function_name = name.partition(":")
    if not module_name or not function_name:
        raise WiseMergeError(f"a Python scorer is named python:MODULE:FUNCTION; got python:{name}")
    # Console scripts, unlike `python -m`, do not search the current directory.
    if os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())
    importlib.invalidate_caches()
    try:
        found = importlib.util.find_spec(module_name)
    except ModuleNotFoundError:
        found = None
    if found is None:
        raise WiseMergeError(
            f"scorer python:{name}: there is no module {module_name!r} in {os.getcwd()} or among the installed packages"
        )
    return found.origin


def _identity(spec: str, dtype: str) -> str:
    """Return what a score's validity depends on beside the texts: the spec, the dtype, and local files as they are."""
    kind, name = _parts(spec)
    state = ""
    if kind == "python":
        source = _source(name)
        if source and os.path.isfile(source):
            state = hashlib.sha256(Path(source).read_bytes()).hexdigest()[:16]
    elif Path(name).is_dir():
        files = sorted((path.name, path.stat()) for path in Path(name).iterdir() if path.is_file())
        state = hashlib.sha256(repr([(file, s.st_size, s.st_mtime_ns) for file, s in files]).encode()).hexdigest()[:16]
    return " ".join(filter(None, [spec, "" if dtype == "auto" else dtype, state]))


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
