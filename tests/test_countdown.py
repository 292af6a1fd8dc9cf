"""The rules of CountDown: what is a solution, what is not, and what is the same answer."""

import hashlib
import itertools
import random
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wise_merge.errors import WiseMergeError
from wise_merge.games.countdown import generate_problems, is_solution, random_problems, read_answer, spell


@pytest.mark.parametrize("numbers", [3, 4])
@pytest.mark.parametrize("operations", ["+-*", "+-*/", "-/"])
def test_every_generated_solution_solves_its_problem(numbers, operations):
    """Checked by Python's own parser on strings that we wrote ourselves; `//` shows a remainder."""
    draws = random_problems(random.Random(0), numbers=numbers, largest=12, operations=operations)
    for problem in itertools.islice(draws, 1000):
        assert eval(problem.solution) == eval(problem.solution.replace("/", "//")) == problem.target
        assert set(problem.solution) <= set("0123456789()" + operations)
        assert is_solution(read_answer(problem.solution), problem.numbers, problem.target)


@pytest.mark.parametrize(
    ("numbers", "largest", "seed", "checksum"),
    [(3, 12, 0, "e96a2569d9bef21b"), (4, 20, 7, "971f712cc43624af"), (3, 99, 3, "e0f1cd994c94e081")],
)
def test_the_problems_of_a_seed_never_change(numbers, largest, seed, checksum):
    """Checksums of version 0.1: results on generated problems stay comparable between versions."""
    problems = generate_problems(200, numbers=numbers, largest=largest, seed=seed)
    text = repr([(problem.numbers, problem.target, problem.solution) for problem in problems])
    assert hashlib.sha256(text.encode()).hexdigest().startswith(checksum)


def test_the_same_seed_gives_the_same_different_problems():
    """Problems are reproducible, distinct, and change with the seed."""
    problems = generate_problems(300, numbers=3, largest=9, seed=1)
    assert problems == generate_problems(300, numbers=3, largest=9, seed=1)
    assert len({problem.key for problem in problems}) == 300
    assert problems != generate_problems(300, numbers=3, largest=9, seed=2)


@pytest.mark.parametrize(
    "text",
    [
        "(9-5)*6",
        " (9 - 5) * 6 = 24",
        "6*(9−5).",  # noqa: RUF001
        "[9-5]×6",  # noqa: RUF001
        "6 x (9-5)",
        "\n\n(9-5)*6\nSo the answer is 24",
        r"\left( 9 - 5 \right) \times 6",
        r"\( \{9-5\} \cdot 6 \approx 24 \)",
        r"$6\,\cdot\left[9-5\right]$",
        r"\text{(9-5)*6}",
    ],
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
        ("2(3)", (2, 3), 6),
        ("(2)(3)", (2, 3), 6),
        (r"2\frac{6}{3}", (2, 3, 6), 4),
        (r"2\,3+1", (1, 23), 24),  # a thin space does not join digits
        (r"\frac63", (3, 6), 2),
        ("2^3", (2, 3), 8),
        ("-5+9*6", (5, 6, 9), 49),
        ("9/(5-5)*0", (0, 5, 5, 9), 0),
        ("5/0", (0, 5), 0),
        (r"\frac{5}{0}", (0, 5), 0),
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


@pytest.mark.parametrize(
    "text",
    [
        "(" * 10**6,
        "9" * 10**6,
        "9*" * 10**5 + "9",
        "(" * 99 + "9" + ")" * 99,
        "(" * 200,
        r"\frac{" * 33,
        r"\frac{" * 10**5,
        "9**9**9**9",
        "\\" * 10**6,
        "(" * 25 + "9" + ")" * 25,
    ],
)
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
        ("6/2*3", "3*6/2", True),
        ("6/(2/3)", "6*3/2", True),
        (r"\frac{6}{2} \times 3", "6*3/2", True),
        (r"\frac{6 \cdot 5}{2+1}", "5*(6/(1+2))", True),
        ("6/(2*3)", "6/3/2", True),
        ("10*9", "9*10", True),
        ("6/2/3", "6/(2/3)", False),
        ("6/3", "3/6", False),
        ("4*1", "4/1", False),
    ],
)
def test_answers_are_one_vote_if_only_brackets_and_order_differ(one, other, same):
    """Commutativity and associativity make one answer; equal values alone do not."""
    assert (read_answer(one).form == read_answer(other).form) is same


EXPRESSIONS = st.recursive(
    st.integers(0, 12).map(str),
    lambda inner: st.tuples(inner, st.sampled_from("+-*/"), inner).map(lambda parts: f"({''.join(parts)})"),
    max_leaves=6,
)


@given(EXPRESSIONS)
def test_a_form_is_spelled_so_that_it_is_read_as_itself(text):
    """The label of an answer is the answer: same numbers, value and form."""
    answer = read_answer(text)
    if answer is not None:
        assert read_answer(spell(answer.form)) == answer


@given(EXPRESSIONS | st.lists(st.sampled_from("0123456789+-*/() "), max_size=24).map("".join))
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
    with pytest.raises(WiseMergeError, match="fewer than 500 different problems"):
        generate_problems(500, numbers=3, largest=3, seed=0)


@pytest.mark.parametrize(
    "arguments",
    [
        {"numbers": 2, "largest": 9},
        {"numbers": 3, "largest": 0},
        {"numbers": 3, "largest": 9, "operations": "^"},
        {"numbers": 3, "largest": 9, "operations": ""},
        {"numbers": 4, "largest": 1, "operations": "-"},  # four ones: an even difference, and 2 is above 1 squared
    ],
)
def test_impossible_settings_are_refused(arguments):
    """Three or four numbers from 1 upwards and operations of the game that can reach something."""
    with pytest.raises(WiseMergeError):
        generate_problems(1, seed=0, **arguments)
