"""Integers from 0 to 999, and what is none."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wise_merge.answers import aime
from wise_merge.answers.benchmarks import find, judge
from wise_merge.errors import WiseMergeError


@pytest.mark.parametrize(
    ("completion", "answer"),
    [
        (r"Therefore $m+n = \boxed{025}$.", "25"),
        (r"\boxed{25.0}", "25"),
        (r"\boxed{25^\circ}", "25"),
        (r"\boxed{\text{025}}", "25"),
        (r"\boxed{m+n=113}", "113"),
        (r"\boxed{000}", "0"),
        ("The answer is 073.", "73"),
        ("**Final Answer**\n\n\\boxed{104}", "104"),
        ("### Answer\n$104$", "104"),
        ("Final Answer: The final answer is $73$. I hope it is correct.", "73"),
        ("so we get 12 and then 345", "345"),
        ("The answer is 25. This follows from step 3.", "25"),
        ("**Final Answer:** 25 (using 2 cases)", "25"),
        ("The answer is **25** (see step 3).", "25"),
        ("The answer is 14 + 19 = 33.", "33"),
        (r"\boxed{\textbf{(025)}}", "25"),
        (r"\boxed{33 \pmod{1000}}", "33"),
        (r"\boxed{\text{The answer is }809}", "809"),
        ("<think>The answer is 7.</think> The answer is 8.", "8"),
        ("Gp4js)", None),
        ("Answer: -5", None),
        (r"\boxed{1000}", None),
        (r"\boxed{1,000}", None),
        (r"\boxed{-5}", None),
        (r"\boxed{2.5}", None),
        ("no idea", None),
        ("", None),
    ],
)
def test_the_answer_is_an_integer_of_three_digits_at_most(completion, answer):
    """Leading zeros, units and left sides go; a number out of range is no answer."""
    assert aime.extract(completion) == answer


def test_expressions_are_read_by_math_verify_and_vote_with_their_integer():
    """2^5 is 32, right or wrong."""
    completions = [r"\boxed{2^5}", r"\boxed{\frac{64}{2}}", r"\boxed{032}", "The answer is 33.", r"\boxed{3 \cdot 11}"]
    (result,) = judge(find("aime"), [("32", completions)])
    assert result.answers == ("32", "32", "32", "33", "33")
    assert result.correct == (True, True, True, False, False)


@pytest.mark.parametrize("answer", ["025", 25.0, "25.0", 25, "25", " 25 "])
def test_golds_are_integers_however_they_are_written(answer):
    """Text or number, with zeros or without."""
    assert find("aime").gold({"answer": answer}) == "25"


@pytest.mark.parametrize("answer", ["", None, "x", 1000, -1, 2.5, True, "1 000"])
def test_a_gold_that_is_no_such_integer_is_an_error(answer):
    """It is said what came."""
    with pytest.raises(WiseMergeError, match=r"integer from 0 to 999; got"):
        find("aime").gold({"answer": answer})


@settings(deadline=None)
@given(st.text(st.sampled_from("\\{}$boxed answer is 0129,.=-+^"), max_size=200))
def test_whatever_was_written_is_an_answer_or_none(completion):
    """Nothing raises."""
    assert aime.extract(completion) != ""


@pytest.mark.parametrize("year", [2024, 2025, 2026])
def test_the_gold_of_every_problem_is_found_in_a_box_and_in_a_sentence(shared_data, year):
    """All 90 problems."""
    with (shared_data / "aime" / f"aime{year}.jsonl").open() as file:
        golds = [find("aime").gold(json.loads(line)) for line in file]
    assert len(golds) == 30
    for gold in golds:
        assert aime.extract(rf"so $\boxed{{{int(gold):03}}}$.") == gold
        assert aime.extract(f"The answer is {gold}.") == gold
