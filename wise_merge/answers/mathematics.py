r"""Answers in mathematical notation (MATH): found here, read and compared by `math-verify`.

Calling math-verify on every completion reads the whole text with it each time, and where it cannot read an
answer it takes some number nearby. Here the final answer is found first, from the end of the text and
without parsing; then each distinct answer of a problem is read and compared once, as a whole, in processes
that can be lost (`workers`).
"""

import re
from collections.abc import Hashable, Sequence

from wise_merge.answers import statements, workers
from wise_merge.answers.characters import plain
from wise_merge.answers.completions import finished, joined_boxes, last_boxes
from wise_merge.answers.formulas import is_cut
from wise_merge.answers.marked import ends_itself
from wise_merge.answers.prose import Cut

#: A longer text is no final answer; texts of this size are what usually hangs a parser.
MAX_CHARACTERS = 500

# How many of the last boxes are searched for one with an answer in it.
_BOXES = 10
_PLACEHOLDER = re.compile(r"[\s._?…]*")
# What a box holds that does not close: to the end of its line, or to an angle bracket, which some type for the brace.
_UNCLOSED = re.compile(r"\\(?:boxed|fbox)\s*(?:\{\s*([^\n<>]*)|([-+]?[\d.,]*\d)(?=[\s$.]*\Z))")
# Where `\b` was taken for an escape, the backslash is lost, or `\b` became a backspace.
_LOST_BACKSLASH = re.compile(r"(?<![\\a-z])(?:b|\x08)oxed(?=\s*\{)")
_PERCENT = re.compile(r"\s*(?:\$\$?|\\\)|\\\])\s*(?:\\?%|[Pp]er ?cent|[Pp]ct)")
_BOXED_INTEGER = re.compile(r"\\boxed\{(-?\d{1,15})\}")
_INTEGER = re.compile(r"-?\d{1,15}")


def extract(completion: str) -> str | None:
    r"""Return the final answer as `\boxed{x}`, as it was written, or None.

    In this order: `The final answer is $x$. I hope it is correct`; the last box, or the last boxes if they
    are one list; what follows the last `the answer is` or `Answer:`; the last line with mathematics or a number in
    it. Where that breaks off in the middle of a formula, there is no answer. Linear in the length of the completion.

    >>> extract(r"so that $x = \boxed{ \frac{1}{2} }$.")
    '\\boxed{\\frac{1}{2}}'
    >>> extract("The answer is **Evelyn**.")
    '\\boxed{\\text{Evelyn}}'
    """
    text = plain(finished(completion))
    if text.count("oxed") > text.count("\\boxed"):
        text = _LOST_BACKSLASH.sub(r"\\boxed", text)
    try:
        answer = _found(text, completion)
    except Cut:
        return None
    answer = " ".join(statements.without_tags(answer).split()) if answer else ""
    return f"\\boxed{{{answer}}}" if 0 < len(answer) <= MAX_CHARACTERS else None


def _found(text: str, completion: str) -> str | None:
    for start, _, content in last_boxes(text, MAX_CHARACTERS, _BOXES):
        if content is None:
            unclosed = _UNCLOSED.match(text, start, start + MAX_CHARACTERS)
            if not unclosed or unclosed.end() == start + MAX_CHARACTERS:
                return None
            held = unclosed[1] or unclosed[2] or ""
            goes_on = unclosed[2] or unclosed.end() < len(text.rstrip()) or ends_itself(completion)
            if held.strip() and goes_on:  # a brace was forgotten
                held += "}" * (held.count("{") - held.count("}"))
                return None if is_cut(held) else held
            # The text ends within the box. If the box has begun to repeat an answer, the answer was that.
            before = _stated(text[:start])
            return before if before and before.startswith(held.strip()) else None
        if not _PLACEHOLDER.fullmatch(content):
            break
        text = text[:start]  # the answer is still the one before
    return _stated(text)


def _stated(text: str) -> str | None:
    answer = _hoped(text) or _boxed(text)
    if answer:
        return answer
    text = statements.without_emphasis(statements.without_tags(text))
    return statements.announced(text) or statements.mentioned(text) or statements.last_stated(text)


def _hoped(text: str) -> str | None:
    hope = text.rfind("I hope")
    if hope < 0:
        return None
    start = text.lower().rfind("final answer is", max(0, hope - MAX_CHARACTERS), hope)
    return None if start < 0 else statements.stated(statements.without_emphasis(text[start + 15 : hope]), is_end=False)


def _boxed(text: str) -> str | None:
    joined = joined_boxes(text, MAX_CHARACTERS)
    if joined is None:
        return None
    end, content = joined
    later = text.lower().rfind("final answer", end)
    if later >= 0:
        # A box outranks a sentence that only speaks of the final answer.
        try:
            announced = statements.announced(statements.without_emphasis(text[max(end, later - 3) :]), directly=True)
        except Cut:
            announced = None
        if announced:
            return announced
    return f"{content}\\%" if _PERCENT.match(text, end) else content


def classify(
    questions: Sequence[tuple[Hashable, Sequence[str]]], processes: int | None = None
) -> list[list[tuple[str | None, bool]]]:
    """Return the class and the verdict of each distinct answer, see `wise_merge.answers.benchmarks`.

    The class of the right answers is named by the gold; wrong answers that math-verify takes for
    equal are one class. An answer that cannot be read in `worker.CPU_SECONDS` has none; one that math-verify cannot
    parse as a whole is compared as text.
    """
    results: list[list[tuple[str | None, bool]]] = []
    hard: list[int] = []
    for gold, texts in questions:
        easy = _all_easy(str(gold), texts)
        if easy is None:
            hard.append(len(results))
        results.append(easy or [])
    if hard:
        problems = [(str(gold), texts) for gold, texts in (questions[i] for i in hard)]
        for i, judged in zip(hard, workers.judge_all(problems, processes), strict=True):
            results[i] = judged
    return results


def _all_easy(gold: str, texts: Sequence[str]) -> list[tuple[str | None, bool]] | None:
    """Return the verdicts where no mathematics is needed: all of them are the gold's own text or plain integers."""
    verdicts: list[tuple[str | None, bool]] = []
    right = int(gold) if _INTEGER.fullmatch(gold) else None
    for text in texts:
        if text == f"\\boxed{{{gold}}}" and gold:
            verdicts.append((gold, True))
            continue
        integer = _BOXED_INTEGER.fullmatch(text) or _INTEGER.fullmatch(text)
        if right is None or not integer:
            return None
        number = int(integer[integer.lastindex or 0])
        verdicts.append((gold, True) if number == right else (str(number), False))
    return verdicts
