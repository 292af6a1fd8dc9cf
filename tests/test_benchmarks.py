"""The table of benchmarks and the one way to judge."""

import pytest

from wise_merge.answers.benchmarks import BENCHMARKS, classify, find, judge
from wise_merge.errors import WiseMergeError

#: Of each benchmark: a problem, right completions, wrong ones, and one without an answer.
CASES = {
    "gsm8k": (
        {"question": "?", "answer": "9 * 2 = 18\n#### 18"},
        ["#### 18", r"\boxed{\$18.00}"],
        ["The answer is 19."],
        "I do not know",
    ),
    "math": ({"problem": "?", "answer": r"\frac{1}{2}"}, [r"\boxed{0.5}", r"so $\frac12$"], [r"\boxed{2}"], "no idea"),
    "aime": (
        {"problem": "?", "answer": "025"},
        [r"\boxed{25}", "The answer is 025."],
        [r"\boxed{26}"],
        r"\boxed{1001}",
    ),
    "countdown": (
        {"numbers": [9, 5, 6], "target": 24},
        ["(9-5)*6", r"<answer>\boxed{6 \times (9-5)}</answer>"],
        ["9-5+6"],
        "impossible",
    ),
    "sudoku": (
        {"question": "1234341221430000"},
        ["1234341221434321", "1234\n3412\n2143\n4321"],
        ["1234341221431234"],
        "who knows",
    ),
}


@pytest.mark.parametrize("name", BENCHMARKS)
def test_every_benchmark_judges_right_wrong_and_nothing(name):
    """Right answers share a class, wrong ones have another, and what cannot be read has none."""
    document, right, wrong, nothing = CASES[name]
    benchmark = find(name)
    assert set(benchmark.columns) <= set(document)
    (result,) = judge(benchmark, [(benchmark.gold(document), [*right, *wrong, nothing])])
    assert result.correct == (True,) * len(right) + (False,) * (len(wrong) + 1)
    assert result.answers[-1] is None
    assert len(set(result.answers[: len(right)])) == 1
    assert len(set(result.answers)) == 2 + len(wrong)


@pytest.mark.parametrize("name", BENCHMARKS)
def test_all_answers_of_one_class_have_one_verdict_and_order_is_irrelevant(name):
    """Reversed samples give reversed results."""
    document, right, wrong, nothing = CASES[name]
    gold = find(name).gold(document)
    samples = [*right, nothing, *wrong, *right]
    forward, backward = judge(find(name), [(gold, samples), (gold, samples[::-1])])
    assert forward.answers == backward.answers[::-1]
    assert forward.correct == backward.correct[::-1]
    verdicts = set(zip(forward.answers, forward.correct, strict=True))
    assert len({answer for answer, _ in verdicts}) == len(verdicts)


def test_problems_keep_their_order_and_may_have_any_number_of_samples():
    """Three problems, one of them without samples."""
    benchmark = find("gsm8k")
    results = judge(benchmark, iter([("1", ["#### 1"]), ("2", []), ("3", ["#### 4", "#### 3"])]))
    assert [result.correct for result in results] == [(True,), (), (False, True)]
    assert classify(benchmark, ["1"], [["1", None]])[0].answers == ("1", None)


@pytest.mark.parametrize(
    ("name", "document"),
    [
        ("gsm8k", {"answer": "no number"}),
        ("gsm8k", {"answer": None}),
        ("math", {"answer": None}),
        ("math", {"answer": "  "}),
        ("math", {"answer": []}),
        ("math", {"answer": ["1", "2"]}),
        ("math", {"answer": "9 + 9 = 18\n#### 18"}),
        ("aime", {"answer": "12.5"}),
        ("countdown", {"numbers": "1 2 3", "target": 6}),
        ("sudoku", {"question": "12"}),
    ],
)
def test_a_gold_that_nothing_can_equal_is_an_error(name, document):
    """The message says what came."""
    with pytest.raises(WiseMergeError):
        find(name).gold(document)


@pytest.mark.parametrize(
    ("answer", "gold"),
    [(27.0, "27"), ("27.0", "27"), (-1.0, "-1"), (27, "27"), (["27"], "27"), ([r"\frac{1}{2}"], r"\frac{1}{2}")],
)
def test_a_gold_in_mathematics_may_be_a_float_or_a_list_of_one(answer, gold):
    """As data sets have integers and texts."""
    assert find("math").gold({"problem": "?", "answer": answer}) == gold


@pytest.mark.parametrize("answer", [2.5, "2.50", "1.05"])
def test_a_gold_that_is_no_integer_stays_as_it_is(answer):
    """The negative control."""
    assert find("math").gold({"problem": "?", "answer": answer}) == str(answer)


def test_an_unknown_benchmark_is_an_error_that_names_the_others():
    """Whoever misspells one sees what there is."""
    with pytest.raises(WiseMergeError, match="there is no benchmark 'maths'; there are gsm8k, math, aime"):
        find("maths")
