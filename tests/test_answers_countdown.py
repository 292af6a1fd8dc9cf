"""Expressions found in completions, and the verdicts on real ones."""

import itertools
import json
import re
import time
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wise_merge.answers.countdown import extract, gold, verdict
from wise_merge.errors import WiseMergeError

GOLD = ((5, 6, 9), 24)


@pytest.mark.parametrize(
    "completion",
    [
        # a base model after a few examples
        " (9-5)*6",
        "\n(9-5)*6 = 24\n\nNumbers: 1 2 3\nTarget: 6\nExpression: 1+2+3",
        "(9-5)*6\nSo the answer is 24",
        # an instruct model
        r"We try 9+5 = 14. So \boxed{(9 - 5) \times 6}.",
        r"First \boxed{9+5+6}, no: \boxed{\left(9 - 5\right) \cdot 6 = 24}",
        "\\boxed{\n (9 - 5) \\times\n 6\n}",
        r"<answer>\boxed{(9-5)*6}</answer><|eot_id|><|endoftext|>",
        "<reasoning>9+5+6?</reasoning>\n<answer>\n(9-5)*6\n</answer>",
        "<answer> (9-5)*6",
        "<answer>The expression is (9-5)*6.</answer>",
        r"9+5 is \boxed{14}, so <answer>(9-5)*6</answer>",
        "The expression is: (9 - 5) * 6.\nIt is 24.",
        r"Therefore, the expression is \((9 - 5) \times 6\), which is 24.",
        "So the equation is:\n\n**(9 - 5) × 6**\n",  # noqa: RUF001
        "The final expression is:\n\\[\n(9-5) \\times 6 = 24\n\\]\n",
        "The answer is `(9-5)*6`</s>",
        # dressed
        "<answer>Expression: (9-5)*6</answer>",
        "<answer>**(9-5)*6**</answer>",
        "<answer>\n```\n(9-5)*6\n```\n</answer>",
        "<answer>x = (9-5)*6</answer>",
        "<answer>24 = (9-5)*6</answer>",
        "<ANSWER>(9-5)*6</ANSWER>",
        "9-5 is: 4\n\n**(9-5)*6**",
        "I think so.\nAnswer: (9-5)*6",
        "Here is the expression:\n\n(9 - 5) * 6 = 24\n\nThis uses each number once.",
        "<answer>(9-5)*6</answer>\n\nI put it between <answer> and </answer> tags.",
        "<think><answer>9+5+6</answer>?</think>\n<answer>(9-5)*6</answer>",
        # cut off, or misspelt
        r"so \boxed{(9-5)*6",
        r"so \boxed{(9-5)*6>" + "<|eot_id|>",
        "so \boxed{(9-5)*6}",  # \b is a backspace here
        "<answer>\\boxed{(9-5)*6\n</answer",
    ],
)
def test_the_expression_is_found_where_models_put_it(completion):
    """In tags, in a box, on the first line or after an announcement, with or without an end."""
    assert verdict(GOLD, extract(completion)) == ("6*(9-5)", True)


@pytest.mark.parametrize(
    "completion",
    [
        "",
        "\n \n",
        "I do not know.",
        r"\boxed{...}",
        r"(9-5)*6 is \boxed{}",
        "<answer>none</answer>",
        "The expression is:",
    ],
)
def test_no_expression_is_no_answer(completion):
    """An empty or wordy box is an answer withheld; nothing else is taken in its place."""
    assert extract(completion) is None


def test_a_text_that_is_no_expression_has_no_label():
    """Texts from elsewhere, such as a file of extracted answers, are judged too."""
    assert verdict(GOLD, "9 5 6") == (None, False)
    assert verdict(GOLD, "9+5+6") == ("5+6+9", False)


@pytest.mark.parametrize(
    "piece",
    [
        "\\boxed{",
        "{",
        "}",
        "<answer>",
        "</answer>",
        "the answer is ",
        "(",
        "9",
        "9 ",
        "\\",
        "<|",
        "\n",
        "boxed ",
        "\t",
        "is:",
    ],
)
def test_a_megabyte_of_anything_takes_linear_time(piece):
    """Broken completions are no answer within two seconds of processor time."""
    completion = piece * (10**6 // len(piece))
    started = time.process_time()
    assert extract(completion) is None
    assert extract("The expression is " + completion) is None or piece == "9 "
    assert time.process_time() - started < 2


PIECES = [
    "<answer>",
    "</answer>",
    r"\boxed{",
    "(9-5)",
    "*6",
    "-5",
    "}",
    "{",
    "is",
    "answer",
    " ",
    "\n",
    "\\",
    "9",
    "(",
    ")",
    "/",
    "=",
    "<|eot_id|>",
]


@given(st.lists(st.sampled_from(PIECES) | st.text(max_size=3), max_size=40).map("".join))
def test_no_text_is_too_broken(text):
    """Whatever is found in a broken text is an expression, and right only with each number once and 24 as its value."""
    found = extract(text)
    assert extract(text) == found
    if found is not None:
        label, right = verdict(GOLD, found)
        assert label
        assert right == is_right_by_hand(label)


@given(
    junk=st.text(max_size=20), expression=st.sampled_from(["(9-5)*6", "6*(9-5)", "9-5*6", "9+5+6", "(9-5)*6*1", "24"])
)
def test_an_answer_in_tags_is_judged_whatever_stands_before_it(junk, expression):
    """Right is right and wrong is wrong after any text that holds no thinking and no end of its own."""
    found = extract(f"{re.sub('[<|｜]', ' ', junk)}<answer>{expression}</answer>")  # noqa: RUF001
    assert found == expression
    assert verdict(GOLD, found)[1] == (expression in ("(9-5)*6", "6*(9-5)"))


def is_right_by_hand(label):
    """Return whether Python finds 24 in an expression of 5, 6 and 9, each used once, without floats."""
    if sorted(re.findall(r"\d+", label)) != ["5", "6", "9"]:
        return False
    assert re.fullmatch(r"[\d+\-*/() ]+", label), label
    try:
        return eval(re.sub(r"(\d+)", r"Fraction(\1)", label), {"Fraction": Fraction}) == 24
    except ZeroDivisionError:
        return False


@pytest.mark.parametrize("column", ["numbers", "nums"])
def test_a_problem_names_its_numbers_in_one_of_two_ways(column):
    """The data sets on the Hub have `nums`."""
    assert gold({column: [5, 6, 9], "target": 24}) == GOLD


@pytest.mark.parametrize(
    ("document", "message"),
    [
        ({"target": 24}, "numbers must be a list of integers; got None"),
        ({"numbers": "5 6 9", "target": 24}, "numbers must be a list of integers; got '5 6 9'"),
        ({"numbers": [], "target": 24}, "numbers must be a list"),
        ({"numbers": [5, True], "target": 24}, "numbers must be a list"),
        ({"numbers": [5, -6], "target": 24}, "must not be negative"),
        ({"numbers": [5, 6], "target": "24"}, "target must be an integer; got '24'"),
        ({"nums": [5, 6]}, "target must be an integer; got None"),
    ],
)
def test_a_problem_that_nothing_can_solve_is_refused(document, message):
    """The message says what is wrong with it."""
    with pytest.raises(WiseMergeError, match=message):
        gold(document)


#: Published accuracy in %, their right answers, ours. Why they differ is in `FOUND_BY_US_ONLY`.
LLADA = {128: (20.70, 53, 54), 256: (19.53, 50, 51), 512: (16.02, 41, 41)}

#: The authors' rule reads the last closed \boxed{} and, without one, the first equation in the text.
FOUND_BY_US_ONLY = {
    (128, "cd3-73"): "an expression in <answer> tags without a box",
    (256, "cd3-239"): "a box closed by > instead of }",
}


@pytest.fixture(scope="module")
def llada(shared_data):
    with (shared_data / "completions" / "llada8b_countdown.jsonl").open() as lines:
        return [json.loads(line) for line in lines]


@pytest.mark.parametrize(("column", "length"), list(enumerate(LLADA)))
def test_the_published_verdicts_on_real_completions(llada, column, length):
    """LLaDA-8B, labels of dllm-reasoning/d1: all 768 agree but two, which are right by the rules of the game."""
    published, theirs, ours = LLADA[length]
    labels = {row["id"]: row["labels"][column] for row in llada}
    assert sum(labels.values()) == theirs
    assert round(100 * theirs / len(llada), 2) == published

    found = {}
    for row in llada:
        text = extract(row["completions"][column])
        found[row["id"]] = text is not None and verdict(gold(row), text)[1]
    assert sum(found.values()) == ours
    disagreeing = {(length, name) for name in labels if labels[name] != found[name]}
    assert disagreeing == {key for key in FOUND_BY_US_ONLY if key[0] == length}


def test_the_two_found_by_us_only_are_right(llada):
    """By hand: 96 - 48 + 26 = 74 and 95 - 73 + 7 = 29, each number once."""
    rows = {row["id"]: row for row in llada}
    assert (sorted(rows["cd3-73"]["numbers"]), rows["cd3-73"]["target"]) == ([26, 48, 96], 96 - 48 + 26)
    assert extract(rows["cd3-73"]["completions"][0]) == "96 - 48  + 26"
    assert (sorted(rows["cd3-239"]["numbers"]), rows["cd3-239"]["target"]) == ([7, 73, 95], 95 - 73 + 7)
    assert extract(rows["cd3-239"]["completions"][1]) == "95 - 73 + 7"


def solve(terms, target):
    """Return an expression of the (value, text) terms that has the target value, by trying every pair and sign."""
    if len(terms) == 1:
        return terms[0][1] if terms[0][0] == target else None
    for i, j in itertools.permutations(range(len(terms)), 2):
        (a, left), (b, right) = terms[i], terms[j]
        rest = [term for k, term in enumerate(terms) if k not in (i, j)]
        results = {"+": a + b, "-": a - b, "*": a * b, **({"/": a / b} if b else {})}
        for sign, value in results.items():
            if found := solve([(value, f"({left}{sign}{right})"), *rest], target):
                return found
    return None


def test_a_solution_of_every_game_of_24_is_accepted(shared_data):
    """Found by brute force with exact fractions; every tenth of the 1,362 games, and those that need fractions."""
    rows = [json.loads(line) for line in (shared_data / "countdown" / "game24.jsonl").read_text().splitlines()]
    golds = [gold(row) for row in rows]
    assert len(golds) == 1362
    chosen = {*golds[::10], *(known for known in golds if known[0] in ((1, 4, 5, 6), (3, 3, 8, 8), (1, 3, 4, 6)))}
    for numbers, target in chosen:
        solution = solve([(Fraction(number), str(number)) for number in numbers], target)
        assert solution is not None, numbers
        latex = solution.replace("*", r"\times ").replace("/", r" \div ")
        assert verdict((numbers, target), extract(rf"So \boxed{{{latex} = {target}}}."))[1]
        assert not verdict((numbers, target + 1), solution)[1]


def test_every_problem_of_the_test_set_is_usable(shared_data):
    """All 256 problems of cd3 have three numbers and a target."""
    rows = [json.loads(line) for line in (shared_data / "countdown" / "cd3_test.jsonl").read_text().splitlines()]
    assert [len(gold(row)[0]) for row in rows] == [3] * 256
