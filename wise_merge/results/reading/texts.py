"""What a completion or a problem says: a text, a message, or a chat, of which it is what the assistant says last.

None stands for a completion that is not there: null, NaN as tables of numbers write it, a message without
content, a chat in which the assistant has not spoken.
"""

import math
from typing import Any

#: Roles in a chat that are not the model's; any other role may be the model under another name.
_ASKING = {"system", "developer", "user", "tool"}
#: Keys by which a message is recognised; one that calls a tool or refuses may have no content.
_CONTENTS = frozenset({"content", "tool_calls", "refusal"})


def is_missing(value: Any) -> bool:
    """Return whether a value is not there: null, or NaN."""
    return value is None or (isinstance(value, float) and math.isnan(value))


def as_texts(value: Any) -> Any:
    """Return a list of completions, or one, as texts: of a chat what the assistant says last; else as it is.

    [[a, b]] and [[a], [b]], as lm-eval has them, are [a, b], and [[a], null] and [[a], []] are [a, None].
    """
    if not isinstance(value, list) or (_is_chat(value) and any(turn["role"] != "assistant" for turn in value)):
        return _last_words(value)
    spoken = list(map(_last_words, value))
    inner = [entry for entry in spoken if isinstance(entry, list)]
    if len(inner) == len(spoken) == 1:
        return list(map(_last_words, inner[0]))
    if inner and all(isinstance(entry, list) or entry is None for entry in spoken):
        return [_last_words(text) for entry in spoken for text in entry or [None]]
    return spoken


def statement(value: Any) -> str | None:
    """Return the text of a problem, be it a text or the messages of a chat; None if it is neither."""
    if isinstance(value, str):
        return value
    if isinstance(value, list) and value and all(isinstance(message, dict) for message in value):
        contents = [message.get("content") for message in value]
        return "\n\n".join(contents) if all(isinstance(content, str) for content in contents) else None
    return None


def is_one_message(value: Any) -> bool:
    """Return whether it is a list of a single message."""
    return _is_chat(value) and len(value) == 1


def are_texts(value: Any) -> bool:
    """Return whether it is a completion, or a list of them, of which some may not be there."""
    value = as_texts(value)
    return isinstance(value, str) or (
        isinstance(value, list) and all(isinstance(text, str) or text is None for text in value)
    )


def _last_words(value: Any) -> Any:
    if isinstance(value, str):
        return value
    turns = value if _is_chat(value) else [value]
    if not all(map(_is_message, turns)):
        return None if is_missing(value) else value
    said = [turn.get("content") for turn in turns if turn["role"] == "assistant"]
    if said:
        return None if is_missing(said[-1]) else said[-1]
    return None if all(turn["role"] in _ASKING for turn in turns) else value


def _is_chat(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(map(_is_message, value))


def _is_message(value: Any) -> bool:
    if not isinstance(value, dict) or not isinstance(value.get("role"), str):
        return False
    return len(value) == 1 or not _CONTENTS.isdisjoint(value)
