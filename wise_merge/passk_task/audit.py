"""What could make the figures of an evaluation worth less than they look.

Copies instead of samples, completions without an answer, completions and prompts that
were cut. Facts are gathered per problem, so that those of several processes add up.
"""

from collections.abc import Callable, Sequence
from typing import Any

Facts = dict[str, int | None]
#: From a completion to its number of tokens, or None where that cannot be known.
TokenCount = Callable[[str], int | None]


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
        token_count: of a text. Text that was generated can be written in fewer tokens
            than it took, never in more, so `cut_off` is a lower bound.
    """
    counts = {text: token_count(text) for text in set(completions)}
    known = all(count is not None for count in counts.values())
    return {
        "n": len(completions),
        "received": received,
        "distinct": len(counts),
        "answered": answered,
        "prompt_cut": prompt_cut,
        "cut_off": sum((counts[text] or 0) >= max_tokens for text in completions) if known else None,
    }


def summary(problems: Sequence[Facts]) -> dict[str, int | float | None]:
    """Return the audit of all problems.

    Returns:
        `problems`; `n`, completions of each; `padded`, problems for which more than n came
        and the rest was dropped; `identical`, problems whose n > 1 completions are one text;
        `cut_prompts`, problems whose prompt lost its beginning (None = unknown); and shares of all
        completions: `repeated` (equal to an earlier one of the same problem), `unanswered`,
        `cut_off` (a lower bound; None = unknown).
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
    }


def describe(task: str, figures: dict[str, Any], max_tokens: int) -> str:
    """Return the block of text that is logged."""
    n, problems = figures["n"], figures["problems"]
    copies = f"{figures['repeated']:.1%} repeat an earlier one of their problem"
    cut_off = "unknown how many, as the model shows no tokenizer"
    if figures["cut_off"] is not None:
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
