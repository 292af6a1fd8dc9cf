"""The rules of CountDown: what is a solution, what is not, and what is the same answer."""

import itertools
import random
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wise_merge.countdown import generate_problems, is_solution, random_problems, read_answer
from wise_merge.errors import WiseMergeError


@pytest.mark.parametrize("numbers", [3, 4])
def test_every_generated_solution_solves_its_problem(numbers):
    """Checked by Python's own parser on strings that we wrote ourselves."""
    for problem in itertools.islice(random_problems(random.Random(0), numbers=numbers, largest=12), 2000):
        assert eval(problem.solution) == problem.target
        assert is_solution(read_answer(problem.solution), problem.numbers, problem.target)


def test_the_same_seed_gives_the_same_different_problems():
    """Problems are reproducible, distinct, and change with the seed."""
    problems = generate_problems(300, numbers=3, largest=9, seed=1)
    assert problems == generate_problems(300, numbers=3, largest=9, seed=1)
    assert len({problem.key for problem in problems}) == 300
    assert problems != generate_problems(300, numbers=3, largest=9, seed=2)


@pytest.mark.parametrize(
    "text",
    ["(9-5)*6", " (9 - 5) * 6 = 24", "6*(9−5).", "[9-5]×6", "\n\n(9-5)*6\nSo the answer is 24"],  # noqa: RUF001
)
def test_usual_ways_to_write_a_solution_are_accepted(text):
    """Spaces, typographic signs, a repeated target and a full stop do not matter."""
    assert is_solution(read_answer(text), (5, 6, 9), 24)


@pytest.mark.parametrize(
    ("text", "numbers", "target"),
    [
        ("9*6", (5, 6, 9), 54),  # leaves a number out
        ("9-5+9-5+6", (5, 6, 9), 14),  # uses numbers twice
        ("(9-5)*6", (5, 6, 9), 25),  # misses the target
        ("(8-4)*6", (5, 6, 9), 24),  # other numbers
        ("59-35", (5, 6, 9), 24),
        ("1.5*2", (1, 2, 5), 3),
        ("2**3", (2, 3), 8),
        ("7//2", (2, 7), 3),
        ("+9-5*6", (5, 6, 9), -21),  # a sign is not an operation on two numbers
        ("9 5 - 6", (5, 6, 9), 24),
        ("((9-5)*6", (5, 6, 9), 24),
        ("__import__('os')", (5, 6, 9), 24),
        ("24", (5, 6, 9), 24),
        ("", (5, 6, 9), 24),
        ("= 24", (5, 6, 9), 24),
    ],
)
def test_what_breaks_a_rule_is_no_solution(text, numbers, target):
    """Every rule has an expression that breaks it and nothing else."""
    assert not is_solution(read_answer(text), numbers, target)


@pytest.mark.parametrize("text", ["(" * 10**6, "9" * 10**6, "9*" * 10**5 + "9", "(" * 99 + "9" + ")" * 99])
def test_hostile_completions_cost_nothing(text):
    """Deep nesting and endless digits end as no answer or a number, without a crash."""
    answer = read_answer(text)
    assert answer is None or answer.value == 9


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("(2+3)*4", "4 * (3+2)", True),
        ("1-(2-3)", "1+3-2", True),
        ("2*(3*4)", "4*3*2", True),
        ("2*3+4", "2*(3+4)", False),
        ("5-2-1", "5-(2-1)", False),
        ("2+2", "2*2", False),
    ],
)
def test_answers_are_one_vote_if_only_brackets_and_order_differ(one, other, same):
    """Commutativity and associativity make one answer; equal values alone do not."""
    assert (read_answer(one).form == read_answer(other).form) is same


@given(st.lists(st.sampled_from("0123456789+-*() "), max_size=24).map("".join))
def test_a_value_that_is_read_is_the_exact_value(text):
    """Whatever is accepted has the value that exact arithmetic gives it."""
    answer = read_answer(text)
    if answer is not None:
        spelled = "".join(f"Fraction({token})" if token.isdigit() else token for token in _tokens(text))
        assert eval(spelled) == answer.value


def _tokens(text):
    for is_number, group in itertools.groupby(text, str.isdigit):
        token = "".join(group)
        # Python does not read 007; the game does.
        yield str(int(token)) if is_number else token


assert Fraction  # used by name inside eval


def test_more_problems_than_there_are_is_an_error():
    """The generator says what to change instead of running for ever."""
    with pytest.raises(WiseMergeError, match="fewer than 5000 different problems"):
        generate_problems(5000, numbers=3, largest=3, seed=0)


@pytest.mark.parametrize("arguments", [{"numbers": 2, "largest": 9}, {"numbers": 3, "largest": 0}])
def test_impossible_settings_are_refused(arguments):
    """Three or four numbers from 1 upwards."""
    with pytest.raises(WiseMergeError):
        generate_problems(1, seed=0, **arguments)
