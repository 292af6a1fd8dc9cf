r"""Answers in mathematical notation (MATH): found here, read and compared by `math-verify`.

Calling math-verify on every completion reads the whole text with it each time. Here the final
answer is found first, by the rules by which math-verify finds it but from the end of the text and
without parsing; then each distinct answer of a problem is read and compared once, in processes
that can be lost (`workers`). Where math-verify reads an answer, its verdict is ours.
"""

import re
from collections.abc import Hashable, Sequence

from wise_merge.answers import workers
from wise_merge.answers.completions import finished, last_boxes

#: A longer "answer" is none: nobody's final answer, and the usual size of what hangs a parser.
MAX_CHARACTERS = 500

# Of the boxes at the end, how many may be one answer together.
_BOXES = 10
_PLACEHOLDER = re.compile(r"[\s._?…]*")
_UNCLOSED = re.compile(r"\\(?:boxed|fbox)(?:\s*\{?([^\n<]*)[\n<]|\s+([-+]?[\d.,]*\d)[\s$.]*\Z)")
_BETWEEN_BOXES = re.compile(r"\b(?:and|or)\b|[,;]")
_MATHEMATICS = re.compile(r"(?<!\\)\$|\\boxed|\\fbox|\\\(|\\\[")
_COMMAND = re.compile(r"\\(?:text|textbf|textit|mathrm|mbox)\s*\{[^{}]*\}|\\[a-zA-Z]+")
_ANNOUNCEMENT = re.compile(r"(?i:(?:final )?answer)(?:[^\w+(-]|[+-](?!\d))*(?:(?i:is)\b:?)?\s*")
_LAST_FORMULA = re.compile(r"(?<![\\$\d])\$[^$]+\$(?=[\s.*]*\Z)|\\\((?:(?!\\\)).)+\\\)(?=[\s.*]*\Z)")
_PERCENT = re.compile(r"\s*(?:\$\$?|\\\)|\\\])\s*(?:\\?%|[Pp]ercent|[Pp]ct)")
_WORD = re.compile(r"[^\W\d_]{2,}|[^\x00-\x7f]")
# What math-verify reads as one number or expression where it stands without dollars.
_PLAIN_NUMBER = re.compile(r"-?[$€£]?[\d., ]*\d(?:\s*(?:%|percent|pct))?")
# `The answer is Evelyn.`, `Final Answer: **(E)**`: math-verify reads words in a box only.
_WORD_ANSWER = re.compile(r"(?i:answer\W*?(?:\bis\b|:)|\banswer\W*\s)[\s:*\"]*([A-Za-z]{2,20}|\([A-Z]\))[*\".]*\s*\Z")
# Of a price, `**\$18.90**`, it reads the number only.
_PRICE = re.compile(r"\\\$(?=\d)")
_BOXED_INTEGER = re.compile(r"\\boxed\{(-?\d{1,15})\}")
_INTEGER = re.compile(r"-?\d{1,15}")
_MARKERS = 20


def extract(completion: str) -> str | None:
    r"""Return the text of the final answer, in a form that math-verify reads, or None.

    In this order: `The final answer is $x$. I hope it is correct`; the last box, or the last boxes if they
    are joined by `and` and the like, as `\boxed{x}`; what follows the last `final answer is` or `answer`; the
    last line with mathematics or a number in it. Linear in the length of the completion.

    >>> extract(r"so that $x = \boxed{ \frac{1}{2} }$.")
    '\\boxed{\\frac{1}{2}}'
    """
    text = finished(completion)
    for start, _, content in last_boxes(text, MAX_CHARACTERS, _BOXES):
        if content is None:
            # Where its line ends, a brace was forgotten. Where the text ends, the answer is not all there.
            unclosed = _UNCLOSED.match(text, start, start + MAX_CHARACTERS)
            inside = (unclosed[1] or unclosed[2] or "").strip() if unclosed else ""
            if inside and inside.count("{") == inside.count("}"):
                return f"\\boxed{{{_tidy(inside)}}}"
            if len(text) - start > MAX_CHARACTERS:
                return None
        elif not _PLACEHOLDER.fullmatch(content):
            break
        text = text[:start]  # the answer is still the one before
    answer = _hoped(text) or _boxed(text)
    if answer is None:
        answer = _announced(text) or _last_line(text)
    if not answer or len(answer) > MAX_CHARACTERS:
        return None
    if _MATHEMATICS.search(answer):
        return _last_formula(answer)
    if word := _WORD_ANSWER.search(answer):
        return f"\\boxed{{\\text{{{word[1]}}}}}"
    # Without dollars, math-verify finds numbers only.
    formula = _ANNOUNCEMENT.sub("", answer).rstrip(". ")
    if _PLAIN_NUMBER.fullmatch(formula):
        return formula
    if formula and not _WORD.search(_COMMAND.sub("", formula)):
        return f"${formula}$"
    return _PRICE.sub("", answer) if re.search(r"\d", answer) else None


def _hoped(text: str) -> str | None:
    hope = text.rfind("I hope")
    if hope < 0:
        return None
    start = text.lower().rfind("final answer is", max(0, hope - MAX_CHARACTERS), hope)
    return None if start < 0 else _tidy(text[start + 15 : hope].strip().lstrip(":").rstrip().removesuffix("."))


def _boxed(text: str) -> str | None:
    boxes = last_boxes(text, MAX_CHARACTERS, _BOXES)
    if not boxes:
        return None
    start, end, content = boxes[0]
    if content is None:
        return None
    later = text.lower().rfind("final answer", end)
    if later >= 0 and (announced := _from(text, later)):
        return announced
    for previous, previous_end, previous_content in boxes[1:]:
        between = text[previous_end:start]
        joined = len(between) < 10 or (len(between) < 70 and _BETWEEN_BOXES.search(between))
        if previous_content is None or previous_content == content or not joined:
            break
        start = previous
    if start != boxes[0][0]:
        return _tidy(text[start:end])
    content = _tidy(content)
    return f"$\\boxed{{{content}}}$ percent" if _PERCENT.match(text, end) else f"\\boxed{{{content}}}"


def _last_formula(line: str) -> str:
    """Return the formula that ends the line, if it stands for itself; else the line."""
    found = _LAST_FORMULA.search(line)
    if not found:
        return line
    before = line[: found.start()].rstrip()
    joined = before.endswith((",", "and", "or", "$", ")")) or before.count("$") % 2
    return line if joined else found[0]


def _announced(text: str) -> str | None:
    lower = text.lower()
    at = len(lower)
    for _ in range(_MARKERS):
        at = lower.rfind("answer", 0, at)
        if at < 0:
            return None
        start = at - 6 if lower.startswith("final ", at - 6) else at
        found = _from(text, start)
        if found:
            return found
    return None


def _from(text: str, start: int) -> str | None:
    """Return the text from there to the end of the line on which its mathematics ends, if any comes soon."""
    reach = text[start : start + MAX_CHARACTERS]
    if not re.search(r"[\d$]|\\\(|\\\[", reach[:150]):
        return None
    position = 0
    while True:
        position = reach.find("\n", position + 1)
        if position < 0:
            return _tidy(reach)
        line = reach[:position]
        if re.search(r"\d|[$)\]]", line[6:]) and _balanced(line):
            return _tidy(line)


def _last_line(text: str) -> str | None:
    reach = text[-MAX_CHARACTERS:].rstrip()
    position = len(reach)
    while position > 0:
        position = reach.rfind("\n", 0, position)
        lines = reach[position + 1 :]
        if re.search(r"\d|\$.*\$|\\\)|\\\]", lines) and _balanced(lines):
            return _tidy(lines)
    return _tidy(reach)


def _balanced(text: str) -> bool:
    return (
        text.count("\\[") == text.count("\\]") and text.count("\\(") == text.count("\\)") and not text.count("$$") % 2
    )


def _tidy(text: str) -> str:
    return " ".join(text.split())


def classify(
    questions: Sequence[tuple[Hashable, Sequence[str]]], processes: int | None = None
) -> list[list[tuple[str | None, bool]]]:
    """Return the class and the verdict of each distinct answer, see `wise_merge.answers.benchmarks`.

    The class of the right answers is called like the gold; wrong answers that math-verify takes for
    equal are one class. An answer that math-verify cannot read, or not in `worker.CPU_SECONDS`, has none.
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
