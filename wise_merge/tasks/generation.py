"""The generation settings of a task as a model gets them; refused where K completions would be copies of one."""

from collections.abc import Mapping
from typing import Any

from wise_merge.hosts.lm_eval.messages import TaskInputError, log
from wise_merge.tasks import backend

#: All that lm-eval understands as the number of new tokens; the first one counts.
TOKEN_LIMITS = ("max_gen_toks", "max_new_tokens", "max_tokens", "max_completion_tokens")


def max_tokens(settings: Mapping[str, Any]) -> int:
    """Return the most new tokens of a completion."""
    return int(next(settings[name] for name in TOKEN_LIMITS if name in settings))


def checked(settings: Mapping[str, Any], *, task: str, n: int, model: Any) -> dict[str, Any]:
    """Return the settings as they are sent with every request.

    Args:
        settings: of the task and the user.
        task: its name, for messages.
        n: how many completions of a problem are drawn.
        model: of lm-eval.
    """
    sent = dict(settings)
    temperature = sent.get("temperature", 1.0)
    if isinstance(temperature, bool) or not isinstance(temperature, (int, float)) or temperature < 0:
        raise TaskInputError(f"{task}: temperature must be a number of at least 0 (0 = greedy); got {temperature!r}")
    if temperature == 0:
        # Everybody means greedy decoding by it; the hf backend would refuse to sample at 0.
        sent["do_sample"] = False
    if not sent.get("do_sample") and n > 1:
        raise TaskInputError(
            f"{task}: {n} greedy completions of a problem are one and the same; "
            "for greedy decoding add --metadata repeats=1, for sampling leave do_sample and temperature > 0"
        )
    # Off is the default. None, or 0 where that would be refused, means not to mention it.
    if sent.get("top_k") is None or (sent["top_k"] == 0 and backend.is_a(model, *backend.WITHOUT_TOP_K)):
        sent.pop("top_k", None)
    return _with_seed_of_its_own(sent, task=task, n=n, model=model)


def _with_seed_of_its_own(settings: dict[str, Any], *, task: str, n: int, model: Any) -> dict[str, Any]:
    """Return settings under which each completion has another seed; refuses those that give all of them one."""
    seed, ours = settings.get("seed"), backend.is_a(model, *backend.OURS)
    if seed is not None and (n > 1 or ours):
        raise TaskInputError(
            f"{task}: seed={seed} in --gen_kwargs is refused, because it would be that of each of the "
            f"{n} completions of a problem; a run is reproducible with --seed {seed} (hf, "
            f"hf-passk, vllm-passk) or --model_args seed={seed} (vllm), and not with a model behind an API"
        )
    if ours or (backend.is_a(model, "HFLM") and seed is None):
        # These models know no such setting.
        settings = {name: value for name, value in settings.items() if name != "seed"}
    if n == 1 or not settings.get("do_sample"):
        return settings
    replicas = getattr(model, "data_parallel_size", 1)
    if backend.is_a(model, "VLLM") and not ours and isinstance(replicas, int) and replicas > 1:
        raise TaskInputError(
            f"{task}: data_parallel_size={replicas} of --model vllm is refused, because its replicas share a seed "
            "and repeat each other's completions; use --model vllm-passk, which takes the same --model_args"
        )
    if backend.is_a(model, backend.API) and not backend.is_a(model, *backend.API_WITHOUT_SEED):
        # Without this, lm-eval sends the same seed with each of the K requests of a problem.
        settings = {**settings, "seed": None}
        given = getattr(model, "_seed", backend.LM_EVAL_SEED)
        if given != backend.LM_EVAL_SEED:
            log.warning("%s: seed=%s of --model_args is not sent, so that the server gives K samples", task, given)
    return settings
