"""How programs are judged by tests, as LiveCodeBench's own code does it: all tests passed, outputs compared by lines.

As there (`lcb_runner/evaluation/testing_util.py`), a line of output is compared as text, then as decimal numbers.
Unlike there, each test has a process of its own, so that nothing is left from one to the next.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal, InvalidOperation

from wise_merge.answers.benchmarks import Question, Verdict
from wise_merge.execution import Limits, Outcome, Program, label, run_programs
from wise_merge.tasks.livecodebench.cases import Test, Tests

#: For each test, as in LiveCodeBench.
LIMITS = Limits(seconds=6.0)

#: What a program of a programming contest expects to have been imported.
_PRELUDE = (
    "from string import *\nfrom re import *\nfrom datetime import *\nfrom collections import *\nfrom heapq import *\n"
    "from bisect import *\nfrom copy import *\nfrom math import *\nfrom random import *\nfrom statistics import *\n"
    "from itertools import *\nfrom functools import *\nfrom operator import *\nfrom io import *\nfrom sys import *\n"
    "from json import *\nfrom builtins import *\nfrom typing import *\n"
    "import string, re, datetime, collections, heapq, bisect, copy, math, random, statistics, itertools, functools\n"
    "import operator, io, sys, json\nsys.setrecursionlimit(50000)\n"
)

#: A candidate: the problem's number and its program.
_Candidate = tuple[int, str]


def program_in(completion: str) -> str | None:
    """Return the last block of code between fences, as LiveCodeBench takes it; None if there is none.

    >>> program_in("Read it:\\n```python\\nprint(input())\\n```\\nDone.")
    'print(input())'
    """
    lines = completion.splitlines()
    fences = [number for number, line in enumerate(lines) if "```" in line]
    if len(fences) < 2:
        return None
    program = "\n".join(lines[fences[-2] + 1 : fences[-1]])
    return program if program.strip() else None


def classify(
    questions: Sequence[Question], known: Mapping[str, Tests], processes: int | None = None
) -> list[list[Verdict]]:
    """Return of each program the label of what it does on the public tests (None: nothing), and whether it passes all.

    Args:
        questions: pairs of the key of a problem's tests and its distinct programs.
        known: key -> tests.
        processes: that may run programs at once, None = as many as is best.
    """
    tests = [known[str(key)] for key, _ in questions]
    candidates = [(number, text) for number, (_, texts) in enumerate(questions) for text in texts]
    public = _run([(one, test) for one in candidates for test in tests[one[0]].public], tests, processes)
    right = {one: all(_passes(*run, test) for test, run in public.get(one, ())) for one in candidates}
    start, size = 0, 1
    while still := [one for one in candidates if right[one] and len(tests[one[0]].private) > start]:
        # Most wrong programs fail on one of the first tests, and need not be run on the others.
        some = [(one, test) for one in still for test in tests[one[0]].private[start : start + size]]
        for one, runs in _run(some, tests, processes).items():
            right[one] = all(_passes(*run, test) for test, run in runs)
        start, size = start + size, 2 * size
    labels = {one: _vote([run for _, run in public.get(one, ())], text=one[1]) for one in candidates}
    return [
        [(labels[number, text], right[number, text]) for text in texts] for number, (_, texts) in enumerate(questions)
    ]


#: A run of a program on a test: the function that was called, None for a script, and what became of it.
_Run = tuple[str | None, Outcome]


def _run(
    asked: Sequence[tuple[_Candidate, Test]], tests: Sequence[Tests], processes: int | None
) -> dict[_Candidate, list[tuple[Test, _Run]]]:
    functions = [tests[number].function for (number, _), _ in asked]
    programs = [_program(text, test, function) for ((_, text), test), function in zip(asked, functions, strict=True)]
    outcomes = run_programs(programs, LIMITS, processes=processes)
    runs: dict[_Candidate, list[tuple[Test, _Run]]] = {}
    for (candidate, test), function, outcome in zip(asked, functions, outcomes, strict=True):
        runs.setdefault(candidate, []).append((test, (function, outcome)))
    return runs


def _program(text: str, test: Test, function: str | None) -> Program:
    if function is None:
        return Program(_PRELUDE + text, stdin=test.input)
    arguments = [json.loads(line) for line in test.input.split("\n") if line.strip()]
    where = "Solution()." if "class Solution" in text else ""
    # LiveCodeBench takes a tuple for a list, too.
    called = f"(lambda it: list(it) if isinstance(it, tuple) else it)({where}{function}(*{arguments!r}))"
    # The expected value beside it, so that both are written in one form.
    return Program(_PRELUDE + text, calls=(called, repr(json.loads(test.output))))


def _passes(function: str | None, outcome: Outcome, test: Test) -> bool:
    if not outcome.passed:
        return False
    if function is None:
        return same_output(outcome.output, test.output)
    returned, expected = outcome.values
    return returned is not None and returned == expected


def same_output(written: str, expected: str) -> bool:
    """Return whether two outputs are the same: line by line without blanks around them, or as decimal numbers.

    >>> same_output("1.50 2\\n", "1.5 2.0"), same_output("1 2", "1\\n2")
    (True, False)
    """
    lines, others = _lines(written), _lines(expected)
    return len(lines) == len(others) and all(
        line == other or (_numbers(line) is not None and _numbers(line) == _numbers(other))
        for line, other in zip(lines, others, strict=True)
    )


def _lines(text: str) -> list[str]:
    return [line.strip() for line in text.strip().split("\n")]


def _numbers(line: str) -> list[Decimal] | None:
    try:
        numbers = [Decimal(word) for word in line.split()]
    except InvalidOperation:
        return None
    # What lies beyond is compared as text: arithmetic with it overflows.
    return numbers if all(number.is_finite() and abs(number.adjusted()) < 1000 for number in numbers) else None


def _output(text: str) -> str:
    """Return an output in a form that is equal for outputs that are the same, see `same_output`."""
    return "\n".join(
        line if (found := _numbers(line)) is None else " ".join(str(number.normalize()) for number in found)
        for line in _lines(text)
    )


def _vote(runs: Iterable[_Run], *, text: str) -> str | None:
    """Return the vote of a program: what it did on the public tests, or the program itself where there are none."""
    did = [
        outcome.values[0] if function is not None else _output(outcome.output) if outcome.passed else None
        for function, outcome in runs
    ]
    return label(did) if did else text
