r"""Where a completion says that its final answer is: after its thinking, in `<answer>` tags, in `\boxed{}`.

Everything here reads the text once, however long or broken it is.
"""

import re

# As tokenizers spell them when they are not skipped: <|eot_id|>, <|endoftext|>, <|im_end|>, </s>, <eos>, <end_of_turn>.
_SPECIAL = re.compile(r"<[|｜][\w▁]{1,40}[|｜]>|</s>|<eos>|<end_of_turn>")  # noqa: RUF001
_LEADING = re.compile(rf"(?:\s*(?:<s>|{_SPECIAL.pattern}))*")
_OPENING_TAG = re.compile("<answer>", re.IGNORECASE)
_CLOSING_TAG = re.compile("</answer", re.IGNORECASE)
_DIGIT = re.compile(r"\d")
# Where `\b` was taken for an escape, the backslash is lost, or `\b` became a backspace.
_BOXED = re.compile(r"[b\x08]oxed\s*\{")
_UNCLOSED_END = re.compile(r"[\n<>]")
_BRACES = re.compile(r"\\[{}\\]|[{}]")


def spoken(completion: str) -> str:
    r"""Return what a model says after its thinking: no `<think>...</think>`, and nothing after a special token.

    The text begins after the last `</think>`, whose opening tag is often a part of the prompt, and ends at the first
    special token, those before any text left aside. Thinking that is not closed says nothing; where nothing
    follows the thinking, it is all that was said.

    >>> spoken("<think>\n5? No.\n</think>\n\n6<|eot_id|>")
    '\n\n6'
    """
    begins = _LEADING.match(completion)
    text = _SPECIAL.split(completion[begins.end() if begins else 0 :], maxsplit=1)[0]
    thought, closed, after = text.rpartition("</think>")
    if closed and not after.strip():
        return thought.replace("<think>", "").replace("</think>", "")
    return after.partition("<think>")[0]


def ends_itself(completion: str) -> bool:
    """Return whether an end-of-text token follows what the model said: then no limit of tokens cut it off."""
    begins = _LEADING.match(completion)
    return _SPECIAL.search(completion, begins.end() if begins else 0) is not None


def last_tagged(text: str) -> str | None:
    """Return what stands in the last `<answer>...</answer>`, to the end if it is not closed.

    Tags around text without a digit are passed over, as in `I put it between <answer> and </answer>`, if there are
    others. None if there is no such tag or nothing in it.
    """
    contents = [_CLOSING_TAG.split(part, maxsplit=1)[0] for part in _OPENING_TAG.split(text)[1:]]
    filled = [content for content in reversed(contents) if content.strip()]
    return next((content for content in filled if _DIGIT.search(content)), next(iter(filled), None))


def last_boxed(text: str) -> str | None:
    r"""Return what stands in the last `\boxed{...}`, braces matched.

    If it is not closed, it ends with its line or at an angle bracket, which some models type for the brace.

    >>> last_boxed(r"so \boxed{1}, no: \boxed{\frac{6}{2} \times 3}.")
    '\\frac{6}{2} \\times 3'
    """
    start = None
    for opening in _BOXED.finditer(text):
        start = opening.end()
    if start is None:
        return None
    depth = 1
    for brace in _BRACES.finditer(text, start):
        depth += {"{": 1, "}": -1}.get(brace[0], 0)
        if depth == 0:
            return text[start : brace.start()]
    return _UNCLOSED_END.split(text[start:].lstrip(), maxsplit=1)[0]
