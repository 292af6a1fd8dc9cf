"""The audit of an evaluation: what may be wrong with its samples, and how they were drawn.

Copies instead of samples, completions without an answer, completions and prompts that
were cut. Counts are made per problem, so that those of several processes add up.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any

from wise_merge.hosts.lm_eval.messages import TaskInputError, log
from wise_merge.tasks.completion import Completion

#: The counts of one problem, see `counts_of`.
Counts = dict[str, int | None]
#: From a completion to its number of tokens, or None where that cannot be known.
TokenCount = Callable[[str], int | None]


def with_details(completions: Sequence[str]) -> list[Completion] | None:
    """Return the completions if each of them knows how it was drawn, None if one is only a text."""
    detailed = [completion for completion in completions if isinstance(completion, Completion)]
    return detailed if len(detailed) == len(completions) else None


def sampling_details(completions: Sequence[str]) -> dict[str, list[Any]]:
    """Return how completions were drawn, as it is logged: parallel lists, none at all from plain texts.

    Returns:
        `finish_reason`, `tokens` and `logprob`, the mean log-probability of these tokens (None = unknown).
    """
    known = with_details(completions)
    if not known:
        return {}
    # NaN and infinity are not JSON.
    logprobs = [one.logprob if one.logprob is not None and math.isfinite(one.logprob) else None for one in known]
    return {
        "finish_reason": [one.finish_reason for one in known],
        "tokens": [one.tokens for one in known],
        "logprob": logprobs,
    }


def counts_of(
    completions: Sequence[str],
    *,
    answered: int,
    received: int,
    prompt_cut: bool | None,
    max_tokens: int,
    token_count: TokenCount,
) -> Counts:
    """Return the counts of one problem.

    Args:
        completions: the n that are scored.
        answered: how many of them hold an answer.
        received: how many the backend gave; more than n where lm-eval padded a data-parallel run.
        prompt_cut: whether the prompt lost its beginning, None = unknown.
        max_tokens: after how many tokens generation ends.
        token_count: of a text, asked where completions do not know how they ended. Text that was
            generated can be written in fewer tokens than it took, never in more, so `cut_off` is
            a lower bound then.
    """
    known = with_details(completions)
    return {
        "n": len(completions),
        "received": received,
        "distinct": len(set(completions)),
        "answered": answered,
        "prompt_cut": prompt_cut,
        "cut_off": _reached_the_limit(completions, max_tokens, token_count)
        if known is None
        else sum(completion.finish_reason == "length" for completion in known),
        "cut_off_exact": known is not None,
    }


def _reached_the_limit(completions: Sequence[str], max_tokens: int, token_count: TokenCount) -> int | None:
    counts = {text: token_count(text) for text in set(completions)}
    if None in counts.values():
        return None
    return sum((counts[text] or 0) >= max_tokens for text in completions)


def warn_of_copies(completions: Sequence[Sequence[str]], *, task: str, temperature: Any, from_server: bool) -> None:
    """Warn if all completions of some problem are identical; end the run if a server gave nothing else.

    Args:
        completions: of each problem.
        task: its name, for messages.
        temperature: of the sampling, for messages.
        from_server: whether a server behind an API gave them, which may have a cache.
    """
    identical = sum(len(texts) > 1 and len(set(texts)) == 1 for texts in completions)
    if not identical:
        return
    n = len(completions[0])
    if from_server and identical == len(completions) > 1:
        raise TaskInputError(
            f"{task}: the server gave {n} identical completions for each of {identical} "
            f"problems, at temperature {temperature}: these are copies, not samples. Turn off its cache and any "
            "seed or greedy decoding that it is set to, or raise the temperature"
        )
    log.warning(
        "%s\n%s: ALL %d COMPLETIONS ARE IDENTICAL in %d of %d problems, at temperature %s.\n"
        "Pass@k of such a problem is that of a single completion. Either the model has collapsed onto one "
        "completion, or the backend returned copies, as a server with a seed or a cache of its own does. "
        "--model hf-passk and --model vllm-passk give each sample a seed of its own.\n%s",
        "!" * 80,
        task,
        n,
        identical,
        len(completions),
        temperature,
        "!" * 80,
    )


def summary(problems: Sequence[Counts]) -> dict[str, int | float | None]:
    """Return the audit of all problems.

    Returns:
        `problems`; `n`, completions of each; `padded`, problems for which more than n came
        and the rest was dropped; `identical`, problems whose n > 1 completions are one text;
        `cut_prompts`, problems whose prompt lost its beginning (None = unknown); and shares of all
        completions: `repeated` (equal to an earlier one of the same problem), `unanswered`,
        `cut_off` (None = unknown), which is a lower bound unless `cut_off_exact`.
    """
    total = sum(_int(problem["n"]) for problem in problems)
    cut_off = [problem["cut_off"] for problem in problems]
    cut_prompts = [problem["prompt_cut"] for problem in problems]
    return {
        "problems": len(problems),
        "n": max(_int(problem["n"]) for problem in problems),
        "padded": sum(_int(problem["received"]) > _int(problem["n"]) for problem in problems),
        "identical": sum(problem["distinct"] == 1 < _int(problem["n"]) for problem in problems),
        "cut_prompts": None if None in cut_prompts else sum(map(_int, cut_prompts)),
        "repeated": (total - sum(_int(problem["distinct"]) for problem in problems)) / total,
        "unanswered": (total - sum(_int(problem["answered"]) for problem in problems)) / total,
        "cut_off": None if None in cut_off else sum(map(_int, cut_off)) / total,
        "cut_off_exact": all(problem["cut_off_exact"] for problem in problems),
    }


def describe(task: str, figures: dict[str, Any], max_tokens: int) -> str:
    """Return the block of text that is logged."""
    n, problems = figures["n"], figures["problems"]
    copies = f"{figures['repeated']:.1%} repeat an earlier one of their problem"
    cut_off = "unknown how many, as the model shows no tokenizer"
    if figures["cut_off_exact"]:
        cut_off = f"exactly {figures['cut_off']:.1%}, as the model says of each"
    elif figures["cut_off"] is not None:
        cut_off = f"at least {figures['cut_off']:.1%}, counted by tokenising the texts again"
    lines = [
        f"Audit of {task}: {problems} problems, {n} completions of each",
        f"  identical   all {n} in {figures['identical']} problems; {copies}" if n > 1 else "",
        f"  no answer   {figures['unanswered']:.1%}",
        f"  cut off     at max_gen_toks={max_tokens}: {cut_off}",
        f"  cut prompts {figures['cut_prompts']}, at their beginning, to leave room for completions"
        if figures["cut_prompts"]
        else "",
        f"  padded      {figures['padded']} problems got more; only the first {n} count" if figures["padded"] else "",
    ]
    return "\n".join(line for line in lines if line)


def _int(count: int | None) -> int:
    return count or 0
