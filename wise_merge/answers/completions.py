r"""Finds the final answer within a completion: where it ends, and what its last box holds.

Everything here searches from the end and looks at a bounded stretch of text, so that a
million braces cost what a thousand do. What is found is read by the
module of each kind of answer.
"""

import re

from wise_merge.answers.marked import spoken

# How a base model begins the next problem of its prompt, or a chat model the user's next turn.
_NEXT_PROBLEM = re.compile(
    r"\n[ \t]{0,8}(?:\*\*|#{1,3} )?(?:Question|QUESTION|Problem|PROBLEM|Q|Human|User|Instruction|Exercise)(?: \d+)?:"
)
_HAS_ANSWER = re.compile(r"\\boxed|####|answer\s*(?:is|:)|\nA:", re.IGNORECASE)
_BRACE = re.compile(r"[{}]")
_BOX = re.compile(r"\\(?:boxed|fbox)\s*")
# How many boxes at the end of a text may be one list, and what may stand between two of them.
_MOST_JOINED = 10
_DRESSING = re.compile(r"\\(?:text|quad|qquad|textbf|mbox|,|;|:|!|\(|\)|\[|\])(?![a-zA-Z])|[\s${}*]")
_LEFT_SIDE = re.compile(r"(?:[a-zA-Z](?:_?\w)?|\\[a-z]+)=\Z")
_SPACED_LEFT_SIDE = re.compile(r"[a-zA-Z](?:_?\w)?\s*=\s*\Z")
_NEW_SENTENCE = re.compile(r"[.!?:](?:\s|\$|\\|\Z)|=")
_AND_AT_END = re.compile(r"(?:\A|\W)(?:and|or)\s*\Z")


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
    boxes: list[tuple[int, int, str | None]] = []
    if "\\boxed" not in text and "\\fbox" not in text:
        return boxes
    until = len(text)
    while len(boxes) < count:
        start = max(text.rfind("\\boxed", 0, until), text.rfind("\\fbox", 0, until))
        if start < 0:
            break
        opening = _BOX.match(text, start, start + 20)
        end, content = start, None
        if opening and text.startswith("{", opening.end()):
            closing = _closing_brace(text, opening.end(), limit)
            if closing is not None:
                end, content = closing + 1, text[opening.end() + 1 : closing]
        boxes.append((start, end, content))
        until = start
    return boxes


def joined_boxes(text: str, limit: int) -> tuple[int, str] | None:
    r"""Return where the last box ends and what it holds, with those before it if they are one list with it, or None.

    Boxes are a list if nothing but a comma, `and` or `or` is between them. What says more, as in the second example,
    goes on to another answer. `limit` is as above.

    >>> joined_boxes(r"$\boxed{1}$ and $\boxed{2}$", 100)
    (26, '1, 2')
    >>> joined_boxes(r"The side is $\boxed{3}$, so the perimeter is $\boxed{12}$.", 100)
    (56, '12')
    """
    boxes = last_boxes(text, limit, _MOST_JOINED)
    if not boxes or boxes[0][2] is None:
        return None
    start, end, content = boxes[0]
    contents = [content or ""]
    for previous, previous_end, previous_content in boxes[1:]:
        if previous_content is None or not previous_content.strip():
            break
        # A box within a box is an answer of its own.
        if previous_end > start or not _joins(text[previous_end:start]):
            break
        if previous_content != contents[0]:
            contents.insert(0, previous_content)
        start = previous
    return end, ", ".join(contents)


def _joins(between: str) -> bool:
    """Whether the text between two boxes makes one list of them."""
    bare = _LEFT_SIDE.sub("", _DRESSING.sub("", between))
    if bare in ("", ",", ";", "&", "\\\\"):
        # Two boxes on lines of their own, with no comma: the second corrects the first.
        return bare != "" or "\n" not in between
    words = _SPACED_LEFT_SIDE.sub("", re.sub(r"\\[a-zA-Z]+|[${}\\*]", " ", between).strip())
    # `for part (a) and`, but not `, so the perimeter is`.
    return len(between) < 70 and not _NEW_SENTENCE.search(words) and bool(_AND_AT_END.search(words))


def _closing_brace(text: str, opening: int, limit: int) -> int | None:
    depth = 0
    for brace in _BRACE.finditer(text, opening, opening + limit):
        depth += 1 if brace[0] == "{" else -1
        if depth == 0:
            return brace.start()
    return None
