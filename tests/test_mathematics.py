"""Finding, comparing and grouping answers in mathematical notation, against math-verify itself."""

import json
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from math_verify import parse, verify

from wise_merge.answers import mathematics
from wise_merge.answers.benchmarks import find, judge


def judged(gold, *completions):
    (result,) = judge(find("math"), [(gold, completions)], processes=1)
    return result


@pytest.mark.parametrize(
    ("completion", "answer"),
    [
        (r"so $x = \boxed{ \frac{1}{2} }$.", r"\boxed{\frac{1}{2}}"),
        (
            r"$\boxed{1}$ is the first, and after many words more, and a second part of the proof, we get $\boxed{2}$",
            r"\boxed{2}",
        ),
        (r"\boxed{x^{2^{3}}}<|eot_id|><|endoftext|>", r"\boxed{x^{2^{3}}}"),
        (r"$\boxed{1}$, $\boxed{2}$", r"\boxed{1, 2}"),
        (r"\fbox{7}", r"\boxed{7}"),
        (r"so \boxed 5" + "\n", r"\boxed{5}"),
        ("<answer>\n\\boxed{2000\n</answer>", r"\boxed{2000}"),
        (r"\[ x = \pi \]" + "\n<answer>\\boxed{}</answer>", r"\boxed{x = \pi}"),
        ("Final Answer: The final answer is $\\frac{3}{4}$. I hope it is correct.", r"\boxed{\frac{3}{4}}"),
        ("The final answer is: $\\boxed{18}$. I hope it is correct.", r"\boxed{\boxed{18}}"),
        ("The final answer is $3$. I hope it is correct.\n\nProblem:\nWhat is $2$?", r"\boxed{3}"),
        ("**Answer:** $x^2$", r"\boxed{x^2}"),
        ("The answer is (2, 4).", r"\boxed{(2, 4)}"),
        ("Therefore, we get $3$.", r"\boxed{3}"),
        ("x^2+2x+1", r"\boxed{x^2+2x+1}"),
        ("about 12", r"\boxed{12}"),
        (r"so it is \boxed 42", r"\boxed{42}"),
        ("The answer is Evelyn.", r"\boxed{\text{Evelyn}}"),
        ("**Final Answer**\n\n**(E)**", r"\boxed{\text{E}}"),
        (r"The total is **\$18.90**.", r"\boxed{\$18.90}"),
        (r"<think>\boxed{1}</think> It is $2$.", r"\boxed{2}"),
        ("I do not know", None),
        ("", None),
    ],
)
def test_the_final_answer_is_found(completion, answer):
    """The last box decides, then what is announced, then the last mathematics; all of it, and nothing else."""
    assert mathematics.extract(completion) == answer


@settings(deadline=None)
@given(st.text(st.sampled_from("\\{}$()[]boxedf answer is 12,\n<|>.=I hope"), max_size=300) | st.text(max_size=100))
def test_nothing_stops_the_search(completion):
    """Whatever was written, the search ends with a short text or with None."""
    answer = mathematics.extract(completion)
    assert answer is None or 0 < len(answer) <= mathematics.MAX_CHARACTERS + 30


@pytest.mark.parametrize(
    "piece",
    ["{", "\\boxed{", "\\boxed{{", "}", "$", "\\(", "answer ", "final answer is ", "I hope ", "\n", "\\boxed{}", "1,"],
)
def test_a_million_characters_are_searched_in_a_moment(piece):
    """The search takes time in proportion to the text, at most."""
    completion = "\\boxed{" + piece * (10**6 // len(piece))
    begin = time.process_time()
    answer = mathematics.extract(completion)
    assert time.process_time() - begin < 5
    assert answer is None or len(answer) <= mathematics.MAX_CHARACTERS + 30


def test_equal_answers_are_one_class_and_the_right_ones_carry_the_gold():
    """Wrong answers that are equal are one vote, called by the shortest of them; classes and verdicts agree."""
    forms = (r"\boxed{\frac{1}{2}}", r"\boxed{0.5}", r"\boxed{\frac{2}{4}}", r"\boxed{\frac13}", r"\boxed{1/3}")
    result = judged(r"\frac{1}{2}", *forms, "I do not know")
    assert result.answers == (r"\frac{1}{2}",) * 3 + ("1/3",) * 2 + (None,)
    assert result.correct == (True, True, True, False, False, False)


def test_different_pairs_do_not_become_one_through_a_list():
    """To math-verify `1,2` is `(1,2)` and `(2,1)`; whoever joins a class must be equal to all of it, in any order."""
    boxes = [r"\boxed{(2,1)}", r"\boxed{1,2}", r"\boxed{(1,2)}"]
    forward, backward = judged("7", *boxes), judged("7", *boxes[::-1])
    assert forward.answers == backward.answers[::-1]
    assert forward.answers[0] != forward.answers[2]


@pytest.mark.slow
def test_many_costly_answers_to_one_problem_take_bounded_time():
    """60 integrals that differ: each pair would take seconds; the cheap answers among them are compared as ever."""
    boxes = [rf"\boxed{{\int_0^{{{i}}} f(x)dx}}" for i in range(60)]
    begin = time.monotonic()
    result = judged("7", *boxes, r"\boxed{\frac12}", r"\boxed{0.5}", r"\boxed{7.0}")
    assert time.monotonic() - begin < 300  # 30 s of processor time on a machine that is busy
    assert len(set(result.answers[:60])) == 60
    assert result.answers[60:] == ("0.5", "0.5", "7")


def test_wrong_answers_of_all_kinds_are_grouped():
    """Numbers, formulas, pairs, sets, equations, matrices and words: two spellings each, one class each."""
    pairs = [
        ("7", "7.0"),
        ("x(x+1)", "x^2+x"),
        (r"\left(1, \frac{1}{2}\right)", "(1,0.5)"),
        (r"\{1,2\}", "1,2"),
        ("y = 2x + 1", "y-2x=1"),
        (r"\begin{pmatrix}1\\2\end{pmatrix}", r"\begin{pmatrix}1\\ \frac{4}{2}\end{pmatrix}"),
        (r"\text{odd}", r"\text{ odd}"),
        (r"[1, \infty)", r"[ 1,\infty )"),
    ]
    result = judged("99", *(rf"\boxed{{{form}}}" for pair in pairs for form in pair))
    assert result.answers[::2] == result.answers[1::2]
    assert len(set(result.answers)) == len(pairs)


def test_the_order_of_the_samples_changes_nothing():
    """Classes have the same names whichever answer comes first."""
    forms = [
        r"\boxed{\frac{1}{3}}",
        r"\boxed{\frac{2}{6}}",
        r"\boxed{x=1/3}",
        r"\boxed{4}",
        r"\boxed{2^2}",
        r"\boxed{5}",
    ]
    forward, backward = judged("5", *forms), judged("5", *forms[::-1])
    assert forward.answers == backward.answers[::-1]
    assert forward.correct == backward.correct[::-1]


def test_plain_integers_and_the_golds_own_text_need_no_process(monkeypatch):
    """A verdict that needs no mathematics starts no worker, and is the one that math-verify gives."""
    monkeypatch.setattr(mathematics.workers, "judge_all", None)
    result = judged("10", r"\boxed{10}", r"\boxed{010}", r"\boxed{-10}", r"\boxed{11}")
    assert result.correct == (True, True, False, False)
    assert result.correct == tuple(
        verify(parse("$10$"), parse(text)) for text in (r"\boxed{10}", r"\boxed{010}", r"\boxed{-10}", r"\boxed{11}")
    )


HOSTILE = [
    "10^{10^{10}}",
    "((((((9!)!)!)!)!)!)",
    "(" * 200 + "1" + ")" * 200,
    r"\prod_{n=1}^{10000000} n",
]


def test_hostile_answers_cost_seconds_and_are_no_answers():
    """Towers, factorials, nesting: each is given up after a bounded time, and the answers beside it are judged."""
    boxes = [rf"\boxed{{{text}}}" for text in HOSTILE]
    begin = time.monotonic()
    result = judged(r"\frac{x}{7}", r"\boxed{x/7}", *boxes, r"\boxed{x/8}")
    assert time.monotonic() - begin < 20 * len(HOSTILE)  # 3 s of processor time each on a machine that is busy
    assert result.answers == (r"\frac{x}{7}", *[None] * len(HOSTILE), "x/8")
    assert result.correct == (True, *[False] * len(HOSTILE), False)


@pytest.mark.parametrize(
    "text",
    [r"\frac{1}{", r"\left(", r"\text{", "1/0", "nan", "}{", r"\end{pmatrix}", "\\", "%", r"\sqrt[", "\x00", "=" * 99],
)
def test_broken_answers_are_wrong_and_harmless(text):
    """LaTeX that is not LaTeX is neither right nor an error."""
    assert judged("3", rf"\boxed{{{text}}}", text, r"\boxed{\frac{6}{2}}").correct == (False, False, True)


def test_an_answer_of_unlikely_length_is_none():
    """501 characters in a box are no answer; 400 are."""
    assert mathematics.extract("\\boxed{" + "1" * 501 + "}") is None
    assert mathematics.extract("\\boxed{" + "1" * 400 + "}") is not None


@pytest.fixture(scope="module")
def llada(shared_data):
    """The 500 x 3 real completions with the authors' labels, and our judgement of them."""
    with (shared_data / "completions" / "llada8b_math500.jsonl").open() as file:
        rows = [json.loads(line) for line in file]
    return rows, judge(find("math"), [(row["answer"], row["completions"]) for row in rows])


def test_the_published_figures_are_reproduced_and_no_right_sample_is_lost(llada):
    """The authors' labels give 26.0 / 32.4 / 36.2 %; all samples that they call right are right, and a few more."""
    rows, results = llada
    lengths = range(3)
    assert [100 * sum(row["labels"][j] for row in rows) / len(rows) for j in lengths] == pytest.approx(
        [26.0, 32.4, 36.2]
    )
    for row, result in zip(rows, results, strict=True):
        assert all(ours or not label for ours, label in zip(result.correct, row["labels"], strict=True)), row["id"]
    ours = [100 * sum(result.correct[j] for result in results) / len(rows) for j in lengths]
    assert ours == pytest.approx([29.6, 36.4, 40.4])


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_the_verdicts_are_those_of_math_verify_called_on_each_sample(llada):
    r"""1497 of 1500 verdicts are the same; in the other three the answer is right, and math-verify does not read it.

    One writes `\boxed{10\%}`, which its parser cannot read with antlr 4.11, one `boxed{5}` without a backslash, and one
    `{-256}` between tags.
    """
    rows, results = llada
    more = []
    for row, result in zip(rows, results, strict=True):
        gold = parse(f"${row['answer']}$")
        for j, (completion, ours) in enumerate(zip(row["completions"], result.correct, strict=True)):
            theirs = verify(gold, parse(completion))
            if theirs != ours:
                assert ours, (row["id"], j)
                more.append(mathematics.extract(completion))
    assert more == [r"\boxed{5}", r"\boxed{10\%}", r"\boxed{{-256}}"]


def test_equivalence_pairs_of_five_test_suites(shared_data):
    """162 of 167 verdicts are as their suites want them; docs/answers.md gives the reason for each other one."""
    with (shared_data / "equivalence" / "pairs.jsonl").open() as file:
        rows = [json.loads(line) for line in file]
    results = judge(find("math"), [(row["gold"], [row["pred"]]) for row in rows])
    disagreeing = [row["id"] for row, result in zip(rows, results, strict=True) if result.correct[0] != row["equal"]]
    assert disagreeing == [
        "Math-Verify-32",
        "Math-Verify-139",
        "SkyThought-518",
        "SkyThought-522",
        "math-538",
    ]


def test_every_gold_answer_of_math500_is_right(shared_data):
    """All 500 golds are equal to themselves, boxed and at the end of their reference solution."""
    with (shared_data / "math500" / "test.jsonl").open() as file:
        rows = [json.loads(line) for line in file]
    problems = [(row["answer"], [rf"so $\boxed{{{row['answer']}}}$", row["solution"]]) for row in rows]
    assert all(all(result.correct) for result in judge(find("math"), problems))
