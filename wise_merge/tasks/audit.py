"""What could make the figures of an evaluation worth less than they look, and what completions say of themselves.

Copies instead of samples, completions without an answer, completions and prompts that
were cut. Facts are gathered per problem, so that those of several processes add up.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any

from wise_merge.tasks.completion import Completion

Facts = dict[str, int | None]
#: From a completion to its number of tokens, or None where that cannot be known.
TokenCount = Callable[[str], int | None]


def telling(completions: Sequence[str]) -> list[Completion] | None:
    """Return the completions if each of them tells how it was drawn, None if one is but a text."""
    found = [completion for completion in completions if isinstance(completion, Completion)]
    return found if len(found) == len(completions) else None


def told(completions: Sequence[str]) -> dict[str, list[Any]]:
    """Return what completions tell of themselves as it is logged: parallel lists, none at all from plain texts.

    Returns:
        `finish_reason`, `tokens` and `logprob`, the mean log-probability of these tokens (None = unknown).
    """
    known = telling(completions)
    if not known:
        return {}
    # NaN and infinity are not JSON.
    logprobs = [one.logprob if one.logprob is not None and math.isfinite(one.logprob) else None for one in known]
    return {
        "finish_reason": [one.finish_reason for one in known],
        "tokens": [one.tokens for one in known],
        "logprob": logprobs,
    }


def facts(
    completions: Sequence[str],
    *,
    answered: int,
    received: int,
    prompt_cut: bool | None,
    max_tokens: int,
    token_count: TokenCount,
) -> Facts:
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
    known = telling(completions)
    return {
        "n": len(completions),
        "received": received,
        "distinct": len(set(completions)),
        "answered": answered,
        "prompt_cut": prompt_cut,
        "cut_off": _counted(completions, max_tokens, token_count)
        if known is None
        else sum(completion.finish_reason == "length" for completion in known),
        "cut_off_exact": known is not None,
    }


def _counted(completions: Sequence[str], max_tokens: int, token_count: TokenCount) -> int | None:
    counts = {text: token_count(text) for text in set(completions)}
    if None in counts.values():
        return None
    return sum((counts[text] or 0) >= max_tokens for text in completions)


def summary(problems: Sequence[Facts]) -> dict[str, int | float | None]:
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
