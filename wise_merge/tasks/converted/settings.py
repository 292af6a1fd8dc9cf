"""How the completions of a converted task are sampled: what the original says, and what is changed of it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from wise_merge.hosts.lm_eval.messages import log
from wise_merge.tasks.generation import TOKEN_LIMITS
from wise_merge.text import counted

#: K where neither the user nor the original says, as in our own tasks.
REPEATS = 32

#: How our own tasks sample (lm_eval_tasks/_passk_base.yaml).
SAMPLING = {"do_sample": True, "temperature": 1.0, "top_p": 1.0, "top_k": 0}

#: New tokens where neither the original nor the model says: the default of lm-eval's `hf` and `vllm`.
MAX_TOKENS = 256


@dataclass(frozen=True)
class Settings:
    """The settings of a converted task.

    Attributes:
        generation: `generation_kwargs`; the longest completion is that of the model where the original does not say.
        original: those of the original.
        changed: those that differ, as they are now.
    """

    generation: dict[str, Any]
    original: dict[str, Any]
    changed: dict[str, Any]


def sampling_settings(original: Mapping[str, Any] | None, delimiter: str) -> Settings:
    """Return the settings with which K completions are sampled.

    An original that samples by itself keeps its temperature, top_p and top_k; a greedy one is sampled as our own tasks
    are. Stop strings and the longest completion stay.

    Args:
        original: its `generation_kwargs`, None = it has none.
        delimiter: between worked examples, which is what stops a completion where the original does not say.
    """
    before: dict[str, Any] = dict(original or {})
    samples = bool(before.get("do_sample", True)) and float(before.get("temperature") or 0) > 0
    drawn = ("temperature", "top_p", "top_k") if samples else ()
    own: dict[str, Any] = {name: before[name] for name in drawn if name in before}
    now: dict[str, Any] = {**before, **SAMPLING, **own}
    until = now.get("until", [delimiter])
    now["until"] = [until] if isinstance(until, str) else list(until or ())
    changed = {name: value for name, value in now.items() if before.get(name, _MISSING) != value}
    if isinstance(until, str) and until == before.get("until"):
        changed.pop("until", None)
    return Settings(now, before, changed)


def with_token_limit(settings: Mapping[str, Any], model: Any) -> dict[str, Any]:
    """Return generation settings with the longest completion: theirs, else that of a model of lm-eval."""
    if any(name in settings for name in TOKEN_LIMITS):
        return dict(settings)
    limit = getattr(model, "max_gen_toks", None)
    return {**settings, "max_gen_toks": limit if isinstance(limit, int) else MAX_TOKENS}


def announce(
    task: str, base: str, settings: Settings, now: Mapping[str, Any], *, judged_by: str, votes: str, fewshot: int
) -> None:
    """Log what the task was made from, and what is not as in the original.

    Args:
        task: its name.
        base: that of the original.
        settings: see there.
        now: the settings that are sent with every request.
        judged_by: the metric that says right or wrong.
        votes: what the completions vote with.
        fewshot: worked examples in a prompt.
    """
    drawn = [f"{name} {now[name]:g}" for name in ("temperature", "top_p", "top_k") if now.get(name) is not None]
    greedy = not now.get("do_sample") or now.get("temperature") == 0
    limit = next(now[name] for name in TOKEN_LIMITS if name in now)
    log.info(
        "%s is made from lm-eval's %s, with its prompts (%s), filters and metric.\n"
        "  right or wrong   by %s\n"
        "  votes            %s\n"
        "  sampled          %s, at most %s new tokens, up to %s\n"
        "  the original has %s",
        *(task, base, counted(fewshot, "worked example"), judged_by, votes, "greedy" if greedy else ", ".join(drawn)),
        *(limit, _stops(now.get("until")), _described(settings)),
    )


def _described(settings: Settings) -> str:
    kept = {name: value for name, value in settings.original.items() if name != "until"}
    return ", ".join(f"{name} {value}" for name, value in kept.items()) or "no settings of its own"


def _stops(until: Any) -> str:
    return " or ".join(map(repr, until)) if until else "the end-of-sequence token"


_MISSING = object()
