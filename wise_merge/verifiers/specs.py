"""Which scorer a spec such as `reward:ORG/MODEL` names."""

import hashlib
import importlib
import importlib.util
import os
import sys
from pathlib import Path
from typing import cast

from wise_merge.errors import WiseMergeError
from wise_merge.verifiers.models import ModelOptions, Scorer

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

    options = ModelOptions(device, dtype, batch_size, trust_remote_code)
    if kind == "reward":
        return reward_models.outcome_scorer(name, options)
    if kind.startswith("prm-"):
        return reward_models.process_scorer(name, options, aggregate=kind.removeprefix("prm-"))
    return log_probability.scorer(name, options, chat=kind == "logprob-chat")


def check_spec(spec: str) -> None:
    """Refuse a spec that names no scorer, without loading a model; see `find`."""
    identity(spec, "auto")


def _parts(spec: str) -> tuple[str, str]:
    """Return the kind of a spec and what follows the colon."""
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
        module = importlib.util.find_spec(module_name)
    except ModuleNotFoundError:
        module = None
    if module is None:
        raise WiseMergeError(
            f"scorer python:{name}: there is no module {module_name!r} in {os.getcwd()} or among the installed packages"
        )
    return module.origin


def identity(spec: str, dtype: str) -> str:
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
