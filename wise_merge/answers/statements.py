r"""Where a completion states its answer in words, and which formula, number or word of the sentence it is.

`The final answer is $x$.`, `**Answer:** (B)`, `so the area is 12 square feet.` The answer of a sentence is read as a
whole, up to the words around it; where it breaks off in the middle of a formula, there is none.
Everything here looks at a bounded stretch of text.
"""

import re
from collections.abc import Iterator

from wise_merge.answers.characters import ungrouped
from wise_merge.answers.completions import last_boxes
from wise_merge.answers.formulas import is_cut

#: How far from its announcement an answer may end, and how much of the end of a text is looked at without one.
REACH = 500
_MARKERS = 20
# Of the boxes at the end, how many may be one answer together.
_BOXES = 10

# Words that may stand before an answer, as it were in its place.
_FILLER = re.compile(
    r"(?:[\s:*_`>~≈\"“”„«‘]|'(?=\w)|\\text(?:bf)?\s*\{(?=[^}]*\Z)|\\\\|<[a-z]+>|=(?!=)|---+|#+"
    r"|(?:therefore|thus|hence|just|simply|only|exactly|approximately|about|approx\.?|roughly|indeed|then|now|equal to"
    r"|given by|as follows|clearly|option|choice)\b,?)*",
    re.IGNORECASE,
)  # fmt: skip
#: Verbs between `answer` and `is` make a sentence about the answer: `the answer assumes that it is 2`.
NO_PREDICATE = (
    r"(?:assum|depend|requir|us|mean|impl|suppos|consider|includ|reli|rely|hold|follow|show|might|must|would|could|should"
    r"|may|can|does|do|will|need|ignor|exclud|account|refer|differ|chang|vari|is|was|were|which|that|because|since|if"
    r"|when|where|there|here's|key|sheet|choices?|format)\w*"
)
_SAYS = re.compile(
    rf"s?(?:[\s*_`\"')\]]*(?:[:=≈]|>(?!=)|\*{{0,2}}\s*\n|\\\\)"
    rf"|[*_`]*(?:[ \t]+(?!{NO_PREDICATE}\b)[^\s.:;!?]+){{0,6}}?[ \t]*\n?[ \t]*\b(?:is|was|equals|are|becomes|must be|should be|would be|will be|can be)\b(?![ \t]+not\b))",
    re.IGNORECASE,
)
_NOT_SAID = re.compile(r"\s*(?:not|n't|n’t)\b")  # noqa: RUF001

_FORMULA = re.compile(
    r"(?<!\\)\$\$(?P<display>.+?)(?<!\\)\$\$|(?<!\\)\\\[(?P<bracket>.+?)(?<!\\)\\\]"
    r"|(?<!\\)\\\((?P<parenthesis>.+?)(?<!\\)\\\)|(?<!\\)\$(?P<inline>(?:\\.|[^$\\\n])+?)\$"
    r"|(?P<lines>\\begin\{(?P<kind>align\*?|equation\*?|gather\*?)\}.+?\\end\{(?P=kind)\})",
    re.DOTALL,
)
_NUMBER_FIRST = re.compile(r"\s*[-+]?[\d.,]*\d")
_FORMULA_FIRST = re.compile(r"\s*(?:\\[a-zA-Z]|[a-zA-Z]\s*[=+*/^<>(_-]|[({\[-])")
# The dollar of `$18 and $20` opens no formula.
_PRICE = re.compile(r"\s*[\d.,]+(?:\s*\Z|\s+[^$\\]*\b[a-zA-Z]{2,}|[.;:]\s|\s*[-+*/=×]\s*\Z)")  # noqa: RUF001
_WORD = re.compile(r"(?<![\\a-zA-Z])[a-zA-Z]{2,}")
_JOINT = re.compile(r"[\s*]*(?:,|;|&|,?\s*\\text\s*\{\s*(?:and|or)\s*\}|(?:,\s*)?(?:and|or)\b)[\s*]*")
_PERCENT = re.compile(r"\s*(?:\\?%|per ?cent\b|pct\b|percentage\b)", re.IGNORECASE)
_GLUED = re.compile(r"(?:[\\^_√π°²³]|\d)\S*")
_OPERAND_BEFORE = re.compile(r"(?<![\w.])\d+(?:\.\d+)?\s*\Z")
_GLUED_BEFORE = re.compile(r"[-+]?\d+\Z|(?:(?<=[\s:=(*])|\A)-\Z")

# Of a formula that is not closed: `$\\frac{1}{2}.`
_STRAY_DOLLAR = re.compile(r"\A\$(?=\s*[\\a-zA-Z({\[])|\A\\[(\[]\s*")
# A stretch of text that may be mathematics: no words, but letters that stand alone.
_NAMES = r"sqrt|pi|sin|cos|tan|log|ln|and|or|infinity"
_RUN = re.compile(
    rf"(?:\\[a-zA-Z]+\*?(?:\s*\{{[^{{}}]*\}})?|\\.|[-+*/=^_(){{}}\[\]<>|,.;:!%\s\d]|(?<![a-zA-Z]{{2}})(?<=[a-zA-Z)])'|[€£¥₹$°º√∛π∞×·⋅∙÷±≤≥≠∪∩∈∅ℝθ–—²³⁰¹⁴-⁹₀-₉…]"  # noqa: RUF001
    rf"|(?<![a-zA-Z])(?:{_NAMES})(?![a-zA-Z])|(?<=\d)(?:pi|sqrt)(?![a-zA-Z])|(?<![a-zA-Z'’])[a-zA-Z](?![a-zA-Z]|['’][a-z]))+"  # noqa: RUF001
)
_UNIT = re.compile(
    r"(?:mm|cm|dm|km|kg|mg|mi|ft|in|yd|lbs?|oz|hrs?|min|mins|sec|mph|kph|ml|st|nd|rd|th|am|pm|usd)(?:\^?\{?[23²³]\}?)?(?![a-zA-Z])",
    re.IGNORECASE,
)
_HAS_VALUE = re.compile(r"[\d½-⅞]|\\(?!text|[a-z]*box|left|right|[(\[])[a-zA-Z]|[π∞∅√]|[a-zA-Z]\s*[-+*/^=(]")
_ARTICLE = re.compile(r"\s(?:a|A|I)\s*\Z")
_LEADING = re.compile(r"\A(?:[\s,;:)\]}|>=_]|\.(?!\d)|(?:and|or)\b|[a-zA-Z]\s+(?=[\d$])|[-–—*+/]\s+)+")  # noqa: RUF001
_TRAILING = re.compile(
    r"(?:[\s,;:.('’\[|{_<]|\*\*|\*\Z|(?<=\s)[-–—]|\b(?:and|or)\b|\s[a-zA-Z](?=\s*\Z)(?<=\s[aAI]))+\Z"
)
# `1000,99` in prose is no list.
_DECIMAL_COMMA = re.compile(r"\A(-?\d{3,}),(\d\d?)\Z")
_AT_END = re.compile(r"[\s_`\"”.!]+\Z")

_CHOICE = re.compile(
    r"(?:\\text(?:bf)?\{)?\(?([A-Z])\)(?!\s*[-+/^=\d]|\s+\*)|([A-Z])(?=[*_`\"'”’}]*(?:[.:,;!]+(?:\s|\Z)|\s*\Z|\s*\n))"
)
_NEGATIVE = re.compile(r"\b(?:negative|minus)\s+(?=[\d$]|\\(?:d?frac|sqrt|pi|\())", re.IGNORECASE)
_OPTION = re.compile(r"\b(?:option|choice)\s+(?:is\s+)?\W{0,4}([A-Z])\b(?!\w)(?=[^a-zA-Z]*\Z)")
_NUMBER_WORDS = re.compile(
    r"(?:zero|one|two|three|four|five|six|seven|eight|nine|ten|eleven|twelve|twenty|thirty|forty|fifty|hundred)\b"
)
_STYLED = re.compile(
    r"\\(?:text\w*|mathrm|mathbf|mathit|mbox)\s*\{[^{}]*\}(?=[\s*_`\"'”’).,;!]*(?:\Z|\n|[.,;!]\s))"  # noqa: RUF001
)
_ONE_WORD = r"[A-Za-z]+(?:['’-][A-Za-z]+)*"  # noqa: RUF001
_WORDS = re.compile(
    rf"(?:(?:an?|the)\s+)?({_ONE_WORD}(?:[ ]{_ONE_WORD}){{0,2}}|(?:Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec)[a-z]*\s\d{{1,2}})"
    r"(?=[*_`\"'”’)}]*\s?(?:[.,;!\n](?:\s|\Z)|\s*\Z|\n))"  # noqa: RUF001
)
# Of what is no answer: `the answer is correct`, `the answer is as follows`.
_NO_ANSWER = frozenset(
    [
        "correct",
        "right",
        "wrong",
        "incorrect",
        "clear",
        "unclear",
        "unknown",
        "obvious",
        "given",
        "found",
        "obtained",
        "boxed",
        "shown",
        "based",
        "below",
        "above",
        "not",
        "it",
        "this",
        "that",
        "these",
        "those",
        "there",
        "what",
        "which",
        "therefore",
        "thus",
        "so",
        "hence",
        "because",
        "since",
        "we",
        "i",
        "you",
        "he",
        "she",
        "they",
        "answer",
        "in",
        "by",
        "to",
        "with",
        "for",
        "from",
        "of",
        "follows",
        "i'm",
        "sorry",
        "simply",
        "just",
        "reasonable",
        "complete",
        "final",
    ]
)
_SENTENCE_END = re.compile(r"[.!?](?=\s+[A-Z*\\$(]|[\s*]*\Z)|\n")
_IS = re.compile(r"\b(?:is|are|equals?|was|be|becomes|gives|get|have|has|to)\b|=|≈|:")


_EMPHASIS = re.compile(r"(?<![\w*])(\*{1,3})(?=[^\s*])([^*\n]*[^\s*])\1(?![\w*])")
# `</answer>` and what models make of it. A closing tag is never mathematics.
_TAG = re.compile(
    r"</\w{0,20}[>,]?|<(?:reasoning|solution|output|result|strong|em|code|br|p|[biu](?=>[^<>\n]*</[biu]>))\s*/?>"
)


class Cut(Exception):
    """The answer that was announced breaks off in the middle."""


def without_emphasis(text: str) -> str:
    """Return the text without the asterisks of bold and slanted type.

    >>> without_emphasis("The **answer** is *5*, that is 2*3 - 1")
    'The answer is 5, that is 2*3 - 1'
    """
    return _EMPHASIS.sub(r"\2", text) if "*" in text else text


def without_tags(text: str) -> str:
    """Return the text without closing tags, and without those that only say how it looks."""
    return _TAG.sub(" ", text) if "<" in text else text


def announced(text: str, *, directly: bool = False) -> str | None:
    """Return what follows the last `the answer is` or `Answer:` of the text, or None.

    A sentence that speaks of the answer without saying it, `the final answer assumes 2 eggs`, is passed over.

    Args:
        text: see above.
        directly: whether it must be a formula, a number or a letter, with no other words before it.
    """
    lower = text.lower()
    if len(lower) != len(text):  # some capitals have two small letters
        lower = text
    for at in _last_places(lower, "answer"):
        if at and lower[at - 1] == "/":
            continue
        says = _SAYS.match(text, at + 6, at + 6 + REACH)
        if says and not _NOT_SAID.match(text, says.end()) and not (directly and "would" in says[0]):
            found = stated(text[says.end() : says.end() + REACH], directly=directly)
            if found:
                return found
    return None


def mentioned(text: str) -> str | None:
    """Return the mathematics that comes after the last `answer` which any follows, on its line, or None."""
    lower = text.lower()
    for at in _last_places(lower if len(lower) == len(text) else text, "answer"):
        reach = text[at + 6 : at + 6 + REACH]
        if re.search(r"[\d$]|\\\(|\\\[", reach[:150]) and not re.match(
            rf"s?\s+{NO_PREDICATE}\b|[a-rt-z]|s[a-z]", reach, re.IGNORECASE
        ):
            found = of_sentence(_first_statement(reach))
            if found:
                return found
    return None


def last_stated(text: str) -> str | None:
    """Return the last formula or number of the text, from its last line with any, or None."""
    reach = text[-REACH:].rstrip()
    if len(text) > REACH and (sentence := re.search(r"\.\s|\n", reach)):
        reach = reach[sentence.end() :] or reach
    if option := _OPTION.search(reach[-80:]):
        return f"\\text{{{option[1]}}}"
    text = re.sub(r"\A\s*[A-Z]:\s", "", text)
    if len(text) < 200 and (run := _RUN.fullmatch(text.strip())) and not is_cut(run[0]):
        return _DECIMAL_COMMA.sub(r"\1.\2", run[0])
    position = len(reach)
    while position > 0:
        position = reach.rfind("\n", 0, position)
        lines = reach[position + 1 :]
        if re.search(r"\d|\$.*\$|\\\)|\\\]", lines) and _balanced(lines):
            return of_sentence(lines)
    return of_sentence(reach)


def stated(text: str, *, directly: bool = False) -> str | None:
    """Return the answer that the text begins with, or, unless `directly`, the one of its first sentence, or None.

    Raises:
        Cut: if the answer is a formula that breaks off.
    """
    text = ungrouped(without_tags(text))
    begin = _FILLER.match(text)
    start = begin.end() if begin else 0
    rest = text[start:]
    if not rest.strip():
        return None
    opening = rest.lstrip("(")
    for offset, candidate in ((0, rest), (len(rest) - len(opening), opening)):
        groups = _groups(candidate[:REACH])
        if groups and groups[0][0] == 0:
            return groups[0][2]
        if not offset and opening == rest:
            break
    if re.match(r"\\(?:boxed|fbox)", rest):
        boxes = last_boxes(rest[: rest.find("\n\n") if "\n\n" in rest else len(rest)], REACH, _BOXES)
        if boxes and boxes[-1][2] is not None:
            return boxes[-1][2]
    rest = _NEGATIVE.sub("-", rest)
    if styled := _STYLED.match(rest):
        return styled[0]
    if choice := _CHOICE.match(rest):
        return f"\\text{{{choice[1] or choice[2]}}}"
    line = rest.split("\n", 1)[0]
    if line.rstrip() == rest.rstrip() and _opens(line):
        raise Cut
    line = _STRAY_DOLLAR.sub("", line)
    run = _RUN.match(line)
    if run and _HAS_VALUE.search(run[0]):
        answer = _trimmed(
            line, run.start(), run.end(), at_end=run.end() == len(line) and len(line) >= len(rest.rstrip())
        )
        if answer:
            return answer
    if directly:
        return None
    word = _WORDS.match(rest)
    if word and _NUMBER_WORDS.match(word[1].lower()) and re.search(r"\d", _first_statement(rest)):
        word = None
    if word and word[1].split()[0].lower() not in _NO_ANSWER and word[1].lower() not in _NO_ANSWER:
        return f"\\text{{{word[1]}}}"
    return of_sentence(_first_statement(rest))


def of_sentence(sentence: str) -> str | None:
    """Return the answer that a sentence ends in: what follows its last `is`, or its last formula or number.

    Raises:
        Cut: if the sentence breaks off within a formula.
    """
    sentence = _NEGATIVE.sub("-", ungrouped(without_tags(sentence)))
    groups = _groups(sentence)
    masked = sentence
    for begin, end, _ in groups:
        masked = f"{masked[:begin]}{chr(0) * (end - begin)}{masked[end:]}"
    last_end, last = (groups[-1][1], groups[-1][2]) if groups else (0, None)
    rest = masked[last_end:]
    if _opens(rest):
        raise Cut
    boxes = last_boxes(rest, REACH)
    if boxes and boxes[0][2] is not None:
        return boxes[0][2]
    number = _last_run(rest)
    return number if number is not None else last


def of_gold(gold: str) -> str:
    """Return the formula of a gold: its boxes, what it marks as mathematics, or all of it."""
    text = gold.strip()
    boxes = joined_boxes(text)
    if boxes:
        return boxes[1]
    groups = _groups(text) if "$" in text or "\\(" in text or "\\[" in text else []
    return groups[-1][2] if groups else text


def joined_boxes(text: str) -> tuple[int, str] | None:
    r"""Return where the last box ends and what it holds, with those before it if they are one list with it.

    Boxes are a list if nothing but a comma, `and` or `or` is between them: `$\boxed{1}$ and $\boxed{2}$`. What says
    more, `$\boxed{3}$, so the perimeter is $\boxed{12}$`, goes on to another answer.
    """
    boxes = last_boxes(text, REACH, _BOXES)
    if not boxes or boxes[0][2] is None:
        return None
    start, end, content = boxes[0]
    contents = [content]
    for previous, previous_end, previous_content in boxes[1:]:
        if previous_content is None or not previous_content.strip() or not _joins(text[previous_end:start]):
            break
        if previous_content != contents[0]:
            contents.insert(0, previous_content)
        start = previous
    return end, ", ".join(contents)


_DRESSING = re.compile(r"\\(?:text|quad|qquad|textbf|mbox|,|;|:|!|\(|\)|\[|\])(?![a-zA-Z])|[\s${}*]")
_LEFT_SIDE = re.compile(r"(?:[a-zA-Z](?:_?\w)?|\\[a-z]+)=\Z")
_NO_SENTENCE = re.compile(r"[.!?:](?:\s|\$|\\|\Z)|=")


def _joins(between: str) -> bool:
    """Whether the text between two boxes makes one list of them."""
    bare = _LEFT_SIDE.sub("", _DRESSING.sub("", between))
    if bare in ("", ",", ";", "&", "\\\\"):
        # Two boxes on lines of their own, with no comma: the second corrects the first.
        return bare != "" or "\n" not in between
    words = re.sub(r"\\[a-zA-Z]+|[${}\\*]", " ", between)
    words = re.sub(r"[a-zA-Z](?:_?\w)?\s*=\s*\Z", "", words.strip())
    # `for part (a) and`, but not `, so the perimeter is`.
    return len(between) < 70 and not _NO_SENTENCE.search(words) and bool(re.search(r"(?:\A|\W)(?:and|or)\s*\Z", words))


def _last_places(text: str, marker: str) -> Iterator[int]:
    at = len(text)
    for _ in range(_MARKERS):
        at = text.rfind(marker, 0, at)
        if at < 0:
            return
        yield at


def _groups(text: str) -> list[tuple[int, int, str]]:
    """Return the formulas of the text as (start, end, content), those that commas, `and` or `or` join as one."""
    found: list[tuple[int, int, str]] = []
    position = 0
    while formula := _FORMULA.search(text, position):
        position = formula.end()
        start, end = formula.span()
        content = next(group for group in formula.groups() if group is not None).strip()
        if (
            formula["inline"] is not None
            and _PRICE.match(formula["inline"])
            and (
                text[end : end + 1].isdigit()
                or formula["inline"][-1].isspace()
                or _WORD.search(re.sub(r"\\\w+\s*(?:\{[^{}]*\})?", "", formula["inline"]))
            )
        ):
            position = start + 1
            continue
        before = _GLUED_BEFORE.search(text, max(0, start - 20), start)
        if content[:1] in "*/^×÷" or content.startswith(("\\times", "\\cdot", "\\div")):  # noqa: RUF001
            before = _OPERAND_BEFORE.search(text, max(0, start - 20), start)
        elif before and before[0] != "-" and not content.startswith(("\\frac", "\\dfrac", "\\tfrac", "\\sqrt", "\\pi")):
            before = None
        if before:
            content, start = before[0] + content, before.start()
        after = _GLUED.match(text, end)
        if after:
            content, end = content + after[0], after.end()
            position = end
        if percent := _PERCENT.match(text, end):
            content, end = f"{content}\\%", percent.end()
        joint = _JOINT.fullmatch(text, found[-1][1], start) if found else None
        if joint:
            content, start = f"{found[-1][2]}, {content}", found.pop()[0]
        found.append((start, end, content))
    return found


def _opens(text: str) -> bool:
    """Whether the text ends within a formula: one is opened, not closed, and no sentence ends after it."""
    for opening, closing in (("\\(", "\\)"), ("\\[", "\\]"), ("$$", "$$")):
        at = text.rfind(opening)
        if at >= 0 and text.find(closing, at + 2) < 0 and (opening != "$$" or text.count("$$") % 2):
            return bool(text[at + 2 :].strip()) and _ends_open(text[at + 2 :])
    at = text.rfind("$")
    if at < 0 or (at and text[at - 1] == "\\"):
        return False
    rest = text[at + 1 :]
    if _NUMBER_FIRST.match(rest):  # `$18` is a price, `$18 +` is none
        return is_cut(rest) and not _WORD.search(rest)
    return bool(_FORMULA_FIRST.match(rest)) and _ends_open(rest)


def _ends_open(formula: str) -> bool:
    return is_cut(formula) or formula.rstrip(" ")[-1:] not in (".", "!", "\n")


def _first_statement(text: str) -> str:
    """Return the text to the end of its first sentence with mathematics in it."""
    masked = text
    for begin, end, _ in _groups(text):
        masked = f"{masked[:begin]}{'0' * (end - begin)}{masked[end:]}"
    position = 0
    while end := _SENTENCE_END.search(masked, position):
        position = end.end()
        if re.search(r"\d|\\[a-z]", masked[: end.start()]) and _balanced(text[: end.start()]):
            return text[: end.start()]
    return text


def _last_run(text: str) -> str | None:
    """Return the last number of a text without delimiters, with the formula that it is a part of, or None.

    Raises:
        Cut: if the text ends within that formula.
    """
    for run in reversed(list(_RUN.finditer(text))):
        if not re.search(r"\d|\\(?:frac|sqrt|pi|infty)(?![a-z])|[π∞]", run[0]):
            continue
        if run.start() and text[run.start() - 1].isalpha() and run[0][0].isdigit() and text[run.start() - 1].isascii():
            # `AZYUK2A` holds no number.
            if not re.search(r"\s\S*\d", run[0]):
                continue
        answer = _trimmed(text, run.start(), run.end(), at_end=run.end() == len(text))
        if answer is None or not re.search(r"\d|\\[a-z]|[π∞]", answer):
            continue
        # In prose, a comma or a full stop goes on to something else; in brackets and equations it does not.
        if not re.search(r"[(\[{=]", answer):
            answer = re.split(r"[,;:.]\s+", answer)[-1]
        return answer
    return None


def _trimmed(text: str, start: int, end: int, *, at_end: bool) -> str | None:
    """Return the formula in that stretch, without the prose that hangs on to it; None if nothing is left.

    Raises:
        Cut: if it ends in an operation and the text ends there.
    """
    run = text[start:end]
    # `5cm`, `18th`, but not `2ab`.
    following = text[end : end + 20]
    if run and not run[-1].isspace() and (word := re.match(r"[a-zA-Z]+", following)) and not _UNIT.match(following):
        if run[-1].isdigit():
            run += word[0]
    if at_end and is_cut(_AT_END.sub("", run)):
        raise Cut
    percent = _PERCENT.match(text, end) and not run.rstrip().endswith("%")
    before = None
    while before != run:
        before = run
        run = _LEADING.sub("", run)
        run = _ARTICLE.sub("", run) if not at_end else run
        run = _TRAILING.sub("", run)
        if run.endswith("}") and run.count("{") < run.count("}"):
            run = run[:-1]
        for opening, closing in ("()", "[]"):
            if run.endswith(closing) and run.count(opening) < run.count(closing) and not re.search(r"[(\[].*,", run):
                run = run[:-1]
            if run.startswith(opening) and run.count(opening) > run.count(closing) and not re.search(r",.*[)\]]", run):
                run = run[1:]
    if not run:
        return None
    run = _DECIMAL_COMMA.sub(r"\1.\2", run)
    return f"{run}\\%" if percent else run


def _balanced(text: str) -> bool:
    return (
        text.count("\\[") == text.count("\\]") and text.count("\\(") == text.count("\\)") and not text.count("$$") % 2
    )
