r"""Finding the final answer within a completion: where it ends, and what its last box holds.

Everything here searches from the end and looks at a bounded stretch of text, so that a
million braces cost what a thousand do. No reading of what was found: that is for the
module of each kind of answer.
"""

import re

from wise_merge.answers.marked import spoken

# How a base model goes on with the next problem of its prompt, or a chat model with the other's turn.
_NEXT_PROBLEM = re.compile(
    r"\n[ \t]{0,8}(?:\*\*|#{1,3} )?(?:Question|QUESTION|Problem|PROBLEM|Q|Human|User|Instruction|Exercise)(?: \d+)?:"
)
_HAS_ANSWER = re.compile(r"\\boxed|####|answer\s*(?:is|:)|\nA:", re.IGNORECASE)
_BRACE = re.compile(r"[{}]")
_BOX = re.compile(r"\\(?:boxed|fbox)\s*")


def finished(completion: str) -> str:
    r"""Return the completion up to where the model ended its answer.

    Without its thinking (see `marked.spoken`), cut at the first end-of-text token, and where a model
    that has given an answer goes on with another problem.

    >>> finished("#### 18<|eot_id|><|endoftext|>")
    '#### 18'
    >>> finished("The answer is 18.\n\nQuestion: How many apples? The answer is 5.")
    'The answer is 18.\n'
    """
    if "<" in completion:
        completion = spoken(completion)
    turn = _NEXT_PROBLEM.search(completion)
    answer = turn and _HAS_ANSWER.search(completion)
    turn = answer and _NEXT_PROBLEM.search(completion, answer.end())
    return completion[: turn.start()] if turn else completion


def last_boxes(text: str, limit: int, count: int = 1) -> list[tuple[int, int, str | None]]:
    r"""Return up to `count` last boxes of the text, last first, as (start, end, content).

    The content of `\boxed{...}` or `\fbox{...}` is what its balanced braces hold. It is None, and
    the end is the start, if they do not close within `limit` characters or if there are none.

    >>> last_boxes(r"so \boxed{\frac{1}{2}}.", 100)
    [(3, 22, '\\frac{1}{2}')]
    """
    found: list[tuple[int, int, str | None]] = []
    if "\\boxed" not in text and "\\fbox" not in text:
        return found
    until = len(text)
    while len(found) < count:
        start = max(text.rfind("\\boxed", 0, until), text.rfind("\\fbox", 0, until))
        if start < 0:
            break
        opening = _BOX.match(text, start, start + 20)
        end, content = start, None
        if opening and text.startswith("{", opening.end()):
            closing = _closing_brace(text, opening.end(), limit)
            if closing is not None:
                end, content = closing + 1, text[opening.end() + 1 : closing]
        found.append((start, end, content))
        until = start
    return found


def _closing_brace(text: str, opening: int, limit: int) -> int | None:
    depth = 0
    for brace in _BRACE.finditer(text, opening, opening + limit):
        depth += 1 if brace[0] == "{" else -1
        if depth == 0:
            return brace.start()
    return None
