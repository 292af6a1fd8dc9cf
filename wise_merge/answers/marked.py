r"""Where a completion says that its final answer is: `<answer>` tags and `\boxed{}`.

Everything here reads the text once, however long or broken it is.
"""

import re

# As tokenizers spell them when they are not skipped: <|eot_id|>, <|endoftext|>, <|im_end|>, </s>, <eos>, <end_of_turn>.
_SPECIAL = re.compile(r"<[|｜][\w▁]{1,40}[|｜]>|</s>|<eos>|<end_of_turn>")  # noqa: RUF001
_LEADING = re.compile(rf"(?:\s*(?:<s>|{_SPECIAL.pattern}))*")
# The backslash gets lost, or becomes a backspace with its b, where it is taken for an escape.
_BOXED = re.compile(r"[b\x08]oxed\s*\{")
_UNCLOSED_END = re.compile(r"[\n<>]")
_BRACES = re.compile(r"\\[{}\\]|[{}]")


def before_special_tokens(completion: str) -> str:
    """Return the completion up to its first special token, where the text ends; those before any text are dropped."""
    begins = _LEADING.match(completion)
    return _SPECIAL.split(completion[begins.end() if begins else 0 :], maxsplit=1)[0]


def last_tagged(text: str) -> str | None:
    """Return what stands in the last `<answer>...</answer>`, to the end if it is not closed.

    None if there is no such tag or nothing in it.
    """
    _, tag, rest = text.rpartition("<answer>")
    content = rest.partition("</answer")[0]
    return content if tag and content.strip() else None


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
