"""What our tasks must know of lm-eval's model classes: which they are, how they count tokens, what they refuse.

The classes are recognised by name, so that none of them has to be imported.
"""

from typing import Any

#: Models behind an API that has no `top_k` and refuses requests that name one.
WITHOUT_TOP_K = ("OpenAICompletionsAPI", "OpenAIChatCompletion")

#: The root of the models behind an API, and those of them that send no seed and must not be given one.
API = "LocalCompletionsAPI"
API_WITHOUT_SEED = ("AnthropicChat", "SGLANGGENERATEAPI")

#: The seed that models behind an API send unless another is set.
LM_EVAL_SEED = 1234

#: Our models, whose samples have seeds of their own (wise_merge/sampling).
OURS = ("HFPassK", "VLLMPassK")


def is_a(model: Any, *names: str) -> bool:
    """Return whether the model's class, or one that it inherits from, has one of these names."""
    return any(base.__name__ in names for base in type(model).__mro__)


def tell_judge(model: Any, task: str, judged_by: str | None) -> None:
    """Tell one of our models what judges a task's completions, for the journal, if none of our benchmarks does."""
    if judged_by is not None and is_a(model, *OURS):
        model.judged_by = {**model.judged_by, task: judged_by}


def token_count(model: Any, text: str, *, special_tokens: bool | None = False) -> int | None:
    """Return how many tokens the model's tokenizer makes of a text, None if it has none to ask.

    Args:
        model: of lm-eval.
        text: to be counted.
        special_tokens: whether the tokenizer adds some; None = as it does to a prompt.
    """
    try:
        tokens = model.tok_encode(text, add_special_tokens=special_tokens)
    except Exception:
        # Each backend raises errors of its own here; hours of sampling must not end by one.
        return None
    # An API model without a tokenizer returns [text].
    return len(tokens) if all(isinstance(token, int) for token in tokens) else None


def context_that_cuts(model: Any) -> int | None:
    """Return the context length of a model that cuts a long prompt at its beginning, None for any other model.

    These backends cut down to nothing, if need be, and go on.
    """
    cuts = is_a(model, "VLLM") or (is_a(model, "HFLM") and model.backend == "causal")
    context = getattr(model, "max_length", None)
    return context if cuts and isinstance(context, int) else None
