"""Prompts that are too long beside their completions: backends cut them at their beginning and go on."""

from collections.abc import Sequence

from wise_merge.hosts.lm_eval.messages import TaskInputError, log


def too_long(lengths: Sequence[int], *, context: int, max_tokens: int, task: str) -> list[bool]:
    """Return which prompts will be cut, with a warning if some are; refuses the run if all of them are.

    Args:
        lengths: of the prompts, in tokens.
        context: how many tokens the model reads.
        max_tokens: the most new tokens of a completion.
        task: its name, for messages.
    """
    if not lengths:
        # A process of a data-parallel run may have no problems.
        return []
    room = context - max_tokens
    cut = [length > room for length in lengths]
    situation = (
        f"{task}: completions of max_gen_toks={max_tokens} leave {max(room, 0)} tokens of the "
        f"model's context of {context} to the prompt, and {sum(cut)} of {len(lengths)} prompts are longer "
        f"(up to {max(lengths)} tokens)"
    )
    if all(cut):
        raise TaskInputError(f"{situation}; lower --gen_kwargs max_gen_toks=... or --num_fewshot")
    if any(cut):
        log.warning("%s: those LOSE THEIR BEGINNING; a lower max_gen_toks or --num_fewshot helps", situation)
    return cut
