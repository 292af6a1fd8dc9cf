"""The benchmarks whose completions can be judged, and the one way to judge them.

A benchmark says what it needs of a problem, how the final answer is found in a
completion (cheap, once per completion), and which answers are equal and right (possibly
expensive, once per distinct answer of a problem).
"""

import re
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from wise_merge.answers import aime, countdown, mathematics, numbers, sudoku
from wise_merge.errors import WiseMergeError

#: A problem as it stands in a data file.
Document = Mapping[str, Any]
#: What the answers to a problem are compared with.
Gold = Hashable
#: A distinct answer's class (a readable label, equal for equal answers; None = no answer after all) and its verdict.
Verdict = tuple[str | None, bool]
#: The distinct answers to one problem, as `extract` gave them.
Question = tuple[Gold, Sequence[str]]


@dataclass(frozen=True)
class Benchmark:
    """A kind of problem and answer.

    Attributes:
        name: as on the command line.
        columns: that a problem must have.
        gold: from a problem to what its answers are compared with; raises a `WiseMergeError`
            that says what is wrong with a problem that nothing can solve.
        extract: from a completion to the text of its final answer, or None. Fast; never raises.
        classify: from (gold, distinct answers) of many problems to a `Verdict` per answer, in
            order; `processes` is how many it may use. All answers of one class have one verdict.
    """

    name: str
    columns: tuple[str, ...]
    gold: Callable[[Document], Gold]
    extract: Callable[[str], str | None]
    classify: Callable[[Sequence[Question], int | None], list[list[Verdict]]]


@dataclass(frozen=True)
class Judged:
    """The n samples of one problem: the class of each answer (None = no answer) and whether it is correct."""

    answers: tuple[str | None, ...]
    correct: tuple[bool, ...]


def judge(
    benchmark: Benchmark, problems: Iterable[tuple[Gold, Sequence[str]]], *, processes: int | None = None
) -> list[Judged]:
    """Return the answers and verdicts of all completions of all problems.

    Args:
        benchmark: see `find`.
        problems: pairs of gold and completions, read once and not kept.
        processes: that may be used; None means one per core.
    """
    golds: list[Gold] = []
    extracted: list[list[str | None]] = []
    for gold, completions in problems:
        golds.append(gold)
        extracted.append([benchmark.extract(completion) for completion in completions])
    return classify(benchmark, golds, extracted, processes=processes)


def classify(
    benchmark: Benchmark,
    golds: Sequence[Gold],
    extracted: Sequence[Sequence[str | None]],
    *,
    processes: int | None = None,
) -> list[Judged]:
    """Return the classes and verdicts of answers that have been extracted; each distinct answer is judged once."""
    distinct = [list(dict.fromkeys(text for text in texts if text is not None)) for texts in extracted]
    verdicts = benchmark.classify(list(zip(golds, distinct, strict=True)), processes)
    judged = []
    for texts, known, of_problem in zip(extracted, distinct, verdicts, strict=True):
        table: dict[str | None, Verdict] = {None: (None, False), **dict(zip(known, of_problem, strict=True))}
        judged.append(Judged(tuple(table[text][0] for text in texts), tuple(table[text][1] for text in texts)))
    return judged


def find(name: str) -> Benchmark:
    """Return the benchmark of that name."""
    if name not in BENCHMARKS:
        raise WiseMergeError(f"there is no benchmark {name!r}; there are {', '.join(BENCHMARKS)}")
    return BENCHMARKS[name]


def one_by_one(
    verdict: Callable[[Any, str], Verdict],
) -> Callable[[Sequence[Question], int | None], list[list[Verdict]]]:
    """Return the `classify` of a benchmark whose answers are cheap to judge one by one."""

    def classify(questions: Sequence[Question], processes: int | None) -> list[list[Verdict]]:
        return [[verdict(gold, text) for text in texts] for gold, texts in questions]

    return classify


def _math_gold(document: Document) -> Gold:
    answer = document["answer"]
    # Data sets have integers as floats (AMC), and a text as a list of one.
    single = answer[0] if isinstance(answer, list) and len(answer) == 1 else answer
    text = "" if single is None or isinstance(single, list) else str(single).strip()
    if not text or _OF_GSM8K in text:
        raise WiseMergeError(f"its answer must be mathematics such as \\frac{{1}}{{2}}; got {answer!r}")
    integer = _INTEGRAL.fullmatch(text)
    return integer[1] if integer else text


#: What a solution of GSM8K has before its answer: such a text is no answer.
_OF_GSM8K = "####"
_INTEGRAL = re.compile(r"(-?\d{1,15})\.0")

BENCHMARKS = {
    benchmark.name: benchmark
    for benchmark in (
        Benchmark("gsm8k", ("question", "answer"), numbers.gold, numbers.extract, numbers.classify),
        Benchmark("math", ("problem", "answer"), _math_gold, mathematics.extract, mathematics.classify),
        Benchmark("aime", ("problem", "answer"), aime.gold, aime.extract, aime.classify),
        Benchmark("countdown", ("numbers", "target"), countdown.gold, countdown.extract, one_by_one(countdown.verdict)),
        Benchmark("sudoku", ("question",), sudoku.gold, sudoku.extract, one_by_one(sudoku.verdict)),
    )
}
