r"""Where a completion states its answer in words, and which formula, number or word of the sentence it is.

`The final answer is $x$.`, `**Answer:** (B)`, `so the area is 12 square feet.` The answer of a sentence is read as a
whole, up to the words around it; where it breaks off in the middle of a formula, there is none.
Everything here looks at a bounded stretch of text.
"""
# ruff: noqa: RUF001 - signs that look like letters are what is read here

import re
from collections.abc import Iterator

from wise_merge.answers import delimited
from wise_merge.answers.characters import ungrouped
from wise_merge.answers.completions import joined_boxes, last_boxes
from wise_merge.answers.prose import Cut, first_run, last_run, whole

#: How far behind its announcement an answer may end; without one, how much of the end of a text is read.
REACH = 500
# How many of the last announcements are tried.
_MARKERS = 20
_SHORT = 200

_EMPHASIS = re.compile(r"(?<![\w*])(\*{1,3})(?=[^\s*])([^*\n]*[^\s*])\1(?![\w*])(!?)")
# `</answer>` and its variants in models' texts. A closing tag is never mathematics.
_TAG = re.compile(
    r"</\w{0,20}[>,]?|<(?:reasoning|solution|output|result|strong|em|code|br|p|[biu](?=>[^<>\n]*</[biu]>))\s*/?>"
)

# Words that may stand between the announcement and the answer.
_FILLER = re.compile(
    r"(?:[\s:*_`>~≈\"“”„«‘]|'(?=\w)|\\text(?:bf)?\s*\{(?=[^}]*\Z)|\\\\|<[a-z]+>|=(?!=)|---+|#+"
    r"|(?:therefore|thus|hence|just|simply|only|exactly|approximately|about|approx\.?|roughly|indeed|then|now|equal to"
    r"|given by|as follows|clearly|option|choice)\b,?)*",
    re.IGNORECASE,
)
#: Verbs between `answer` and `is` make a sentence about the answer: `the answer assumes that it is 2`.
NO_PREDICATE = (
    r"(?:assum|depend|requir|us|mean|impl|suppos|consider|includ|reli|rely|hold|follow|show|might|must|would|could"
    r"|should|may|can|does|do|will|need|ignor|exclud|account|refer|differ|chang|vari|is|was|were|which|that|because"
    r"|since|if|when|where|there|here's|key|sheet|choices?|format)\w*"
)
_SAYS = re.compile(
    r"s?(?:[\s*_`\"')\]]*(?:[:=≈]|>(?!=)|\*{0,2}\s*\n|\\\\)"
    rf"|[*_`]*(?:[ \t]+(?!{NO_PREDICATE}\b)[^\s.:;!?]+){{0,6}}?[ \t]*\n?[ \t]*"
    r"\b(?:is|was|equals|are|becomes|(?:must|should|would|will|can) be)\b(?![ \t]+not\b))",
    re.IGNORECASE,
)
_MENTIONS_ONLY = re.compile(rf"s?\s+{NO_PREDICATE}\b|[a-rt-z]|s[a-z]", re.IGNORECASE)
_NOT_SAID = re.compile(r"\s*(?:not|n't|n’t)\b")

_NEGATIVE = re.compile(r"\b(?:negative|minus)\s+(?=[\d$]|\\(?:d?frac|sqrt|pi|\())", re.IGNORECASE)
# Of a formula that is not closed: `$\frac{1}{2}.`
_STRAY_DELIMITER = re.compile(r"\A\$(?=\s*[\\a-zA-Z({\[])|\A\\[(\[]\s*")
_STYLED = re.compile(r"\\(?:text\w*|mathrm|mathbf|mathit|mbox)\s*\{[^{}]*\}(?=[\s*_`\"'”’).,;!]*(?:\Z|\n|[.,;!]\s))")
_CHOICE = re.compile(
    r"(?:\\text(?:bf)?\{)?\(?([A-Z])\)(?!\s*[-+/^=\d]|\s+\*)|([A-Z])(?=[*_`\"'”’}]*(?:[.:,;!]+(?:\s|\Z)|\s*\Z|\s*\n))"
)
_OPTION = re.compile(r"\b(?:option|choice)\s+(?:is\s+)?\W{0,4}([A-Z])\b(?=[^a-zA-Z]*\Z)")
_SPEAKER = re.compile(r"\A\s*[A-Z]:\s")
_WORD = r"[A-Za-z]+(?:['’-][A-Za-z]+)*"
_WORDS = re.compile(
    rf"(?:(?:an?|the)\s+)?({_WORD}(?: {_WORD}){{0,2}}"
    r"|(?:Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec)[a-z]*\s\d{1,2})"
    r"(?=[*_`\"'”’)}]*\s?(?:[.,;!\n](?:\s|\Z)|\s*\Z|\n))"
)
# Words that are no answer: `the answer is correct`, `the answer is in the table`.
_NO_ANSWER = re.compile(
    r"(?:(?:in)?correct|right|wrong|(?:un)?clear|unknown|obvious|given|found|obtained|boxed|shown|based|below|above|not|it"
    r"|this|that|these|those|there|what|which|therefore|thus|so|hence|because|since|we|i|you|he|she|they|answer|as|in|by|to"
    r"|with|for|from|of|follows|i'm|sorry|simply|just|reasonable|complete|final)(?![a-z])",
    re.IGNORECASE,
)
_NUMBER_WORD = re.compile(
    r"(?:zero|one|two|three|four|five|six|seven|eight|nine|ten|eleven|twelve|twenty|thirty|forty|fifty|hundred)\b",
    re.IGNORECASE,
)
_SENTENCE_END = re.compile(r"[.!?](?=\s+[A-Z*\\$(]|[\s*]*\Z)|\n")
_HAS_MATHEMATICS = re.compile(r"\d|\$.*\$|\\\)|\\\]")


def without_emphasis(text: str) -> str:
    """Return the text without the asterisks of bold and slanted type.

    >>> without_emphasis("The **answer** is *5*, that is 2*3 - 1")
    'The answer is 5, that is 2*3 - 1'
    """
    # An exclamation mark after emphasis is no factorial.
    return _EMPHASIS.sub(lambda match: match[2] + ("." if match[3] else ""), text) if "*" in text else text


def without_tags(text: str) -> str:
    """Return the text without closing tags and without tags of formatting."""
    return _TAG.sub(" ", text) if "<" in text else text


def announced(text: str, *, directly: bool = False) -> str | None:
    """Return what follows the last `the answer is` or `Answer:` of the text, or None.

    A sentence that speaks of the answer without saying it, `the final answer assumes 2 eggs`, is passed over.

    Args:
        text: see above.
        directly: whether it must be a formula, a number or a letter, with no other words before it.

    Raises:
        Cut: if the completion ends within the answer.
    """
    for at in _last_answers(text):
        if text[at - 1 : at] == "/":  # a tag
            continue
        says = _SAYS.match(text, at + 6, at + 6 + REACH)
        if not says or _NOT_SAID.match(text, says.end()) or (directly and "would" in says[0]):
            continue
        until = says.end() + REACH
        if statement := stated(text[says.end() : until], directly=directly, is_end=until >= len(text)):
            return statement
    return None


def mentioned(text: str) -> str | None:
    """Return the mathematics that comes after the last `answer` which any follows, in its sentence, or None."""
    for at in _last_answers(text):
        reach = text[at + 6 : at + 6 + REACH]
        if re.search(r"[\d$]|\\\(|\\\[", reach[:150]) and not _MENTIONS_ONLY.match(reach):
            statement = of_sentence(_first_statement(reach), is_end=at + 6 + REACH >= len(text))
            if statement:
                return statement
    return None


def last_stated(text: str) -> str | None:
    """Return the last formula or number of the text, from its last line with any, or None.

    Raises:
        Cut: if the completion ends within it.
    """
    reach = text[-REACH:].rstrip()
    if len(text) > REACH and (sentence := re.search(r"\.\s|\n", reach)):
        reach = reach[sentence.end() :] or reach
    if option := _OPTION.search(reach[-80:]):
        return f"\\text{{{option[1]}}}"
    if len(text) < _SHORT and (formula := whole(_SPEAKER.sub("", text))):
        return formula
    position = len(reach)
    while position > 0:
        position = reach.rfind("\n", 0, position)
        lines = reach[position + 1 :]
        if _HAS_MATHEMATICS.search(lines) and delimited.is_balanced(lines):
            return of_sentence(lines)
    return of_sentence(reach)


def stated(text: str, *, directly: bool = False, is_end: bool = True) -> str | None:
    """Return the answer that the text begins with, or, unless `directly`, the one of its first sentence, or None.

    Args:
        text: what follows an announcement.
        directly: see `announced`.
        is_end: whether the completion ends with the text.

    Raises:
        Cut: if the completion ends within the answer.
    """
    text = ungrouped(without_tags(text))
    filler = _FILLER.match(text)
    rest = _NEGATIVE.sub("-", text[filler.end() if filler else 0 :])
    for opened in (rest, rest.removeprefix("(")):
        formulas = delimited.groups(opened)
        if formulas and formulas[0][0] == 0:
            return formulas[0][2]
    if rest.startswith(("\\boxed", "\\fbox")) and (boxes := joined_boxes(rest.split("\n\n", 1)[0], REACH)):
        return boxes[1]
    if styled := _STYLED.match(rest):
        return styled[0]
    if choice := _CHOICE.match(rest):
        return f"\\text{{{choice[1] or choice[2]}}}"
    line = rest.split("\n", 1)[0]
    is_end_of_line = is_end and len(line.rstrip()) == len(rest.rstrip())
    if is_end_of_line and delimited.ends_within(line):
        raise Cut
    if run := first_run(_STRAY_DELIMITER.sub("", line), is_end=is_end_of_line):
        return run
    if directly:
        return None
    sentence = _first_statement(rest)
    words = _WORDS.match(rest)
    # `The answer is five, i.e. $5$.`
    is_number = words and _NUMBER_WORD.match(words[1]) and re.search(r"\d", sentence)
    if words and not is_number and not _NO_ANSWER.match(words[1]):
        return f"\\text{{{words[1]}}}"
    return of_sentence(sentence, is_end=is_end)


def of_sentence(sentence: str, *, is_end: bool = True) -> str | None:
    """Return the last formula or number of a sentence, or None.

    Raises:
        Cut: if the completion ends within it.
    """
    sentence = _NEGATIVE.sub("-", ungrouped(without_tags(sentence)))
    formulas = delimited.groups(sentence)
    rest = delimited.masked(sentence, formulas, "\0")[formulas[-1][1] if formulas else 0 :]
    if is_end and delimited.ends_within(rest):
        raise Cut
    boxes = last_boxes(rest, REACH)
    if boxes and boxes[0][2] is not None:
        return boxes[0][2]
    return last_run(rest, is_end=is_end) or (formulas[-1][2] if formulas else None)


def of_gold(gold: str) -> str:
    """Return the formula of a gold: its boxes, the last of what it marks as mathematics, or all of it."""
    text = gold.strip()
    if boxes := joined_boxes(text, REACH):
        return boxes[1]
    formulas = delimited.groups(text)
    return formulas[-1][2] if formulas else text


def _last_answers(text: str) -> Iterator[int]:
    """Yield where the word `answer` begins, the last one first."""
    lower = text.lower()
    if len(lower) != len(text):  # some capitals have two small letters
        lower = text
    at = len(lower)
    for _ in range(_MARKERS):
        at = lower.rfind("answer", 0, at)
        if at < 0:
            return
        yield at


def _first_statement(text: str) -> str:
    """Return the text to the end of its first sentence with mathematics in it."""
    shown = delimited.masked(text, delimited.groups(text), "0")
    for end in _SENTENCE_END.finditer(shown):
        before = text[: end.start()]
        if re.search(r"\d|\\[a-z]", shown[: end.start()]) and delimited.is_balanced(before):
            return before
    return text
