r"""Kinds of answers that once were judged wrongly, each in many spellings, and what must not become right with them.

Each test is a kind. It judges every spelling as a completion of its own and names those with another verdict.
"""
# ruff: noqa: RUF001 - signs that look like letters are what is tested here

import itertools
import json

import pytest

from wise_merge.answers.benchmarks import find, judge

RIGHT, WRONG = True, False


def misjudged(cases):
    """Return the cases, (benchmark, gold, completion, verdict), that are judged otherwise, with the answer read."""
    found = []
    for benchmark, group in itertools.groupby(sorted(cases, key=lambda case: case[0]), key=lambda case: case[0]):
        rows = list(group)
        results = judge(find(benchmark), [(gold, [completion]) for _, gold, completion, _ in rows], processes=1)
        found += [
            (*row, result.answers[0])
            for row, result in zip(rows, results, strict=True)
            if result.correct[0] is not row[3]
        ]
    return found


def all_of(verdict, benchmark, gold, *completions):
    return [(benchmark, gold, completion, verdict) for completion in completions]


def test_the_cases_that_users_reported(shared_cases):
    """Every line of the file of cases has the verdict that it asks for."""
    with (shared_cases / "answers.jsonl").open() as file:
        rows = [json.loads(line) for line in file]
    assert misjudged((row["benchmark"], row["gold"], row["completion"], row["correct"]) for row in rows) == []


DELIMITED = ["${}$", r"\({}\)", r"\[{}\]", "$${}$$", "**${}$**", "`{}`", "({})", "{}"]


@pytest.mark.parametrize("end", ["", ".", ",", ";", r"\,.", " .", r"\text{.}"])
def test_punctuation_of_the_sentence_is_no_part_of_the_formula(end):
    """Inside the delimiters or outside, in any closing phrase."""
    cases = []
    for delimited in DELIMITED:
        inside, outside = delimited.format(rf"\frac{{1}}{{2}}{end}"), delimited.format(r"\frac{1}{2}")
        cases += all_of(
            RIGHT,
            "math",
            r"\frac{1}{2}",
            f"Final Answer: The final answer is {inside} I hope it is correct.",
            f"The answer is {inside}",
            f"Therefore, the answer is {inside}",
            f"Answer: {outside}{end.strip(chr(92))}",
        )
        cases += all_of(WRONG, "math", r"\frac{1}{3}", f"The answer is {inside}", f"Answer: {outside}.")
    cases += all_of(RIGHT, "math", r"\frac{1}{2}", rf"\boxed{{\frac12{end}}}", rf"$\boxed{{ \frac12 {end} }}$.")
    assert misjudged(cases) == []


def test_an_exclamation_mark_after_a_number_in_the_formula_is_a_factorial():
    """Only behind the delimiters it belongs to the sentence."""
    cases = all_of(RIGHT, "math", "120", "The final answer is $5!.$ I hope it is correct.", r"\boxed{5!}")
    cases += all_of(WRONG, "math", "5", "The final answer is $5!.$ I hope it is correct.", r"\boxed{5!}")
    cases += all_of(RIGHT, "math", "5", "The answer is $5$!", "The answer is **5**!")
    assert misjudged(cases) == []


TWO_BOXES_THAT_ARE_NO_LIST = [
    r"The side is $\boxed{3}$, so the perimeter is $\boxed{12}$.",
    "\\boxed{3}\nWait, that is wrong.\n\\boxed{12}",
    "\\boxed{3}\n\n\\boxed{12}",
    r"First $\boxed{3}$; then $\boxed{12}$.",
    r"$\boxed{3}$. Therefore $\boxed{12}$.",
    r"$\boxed{3}$ and therefore $\boxed{12}$.",
    r"$\boxed{3}$ and the perimeter is $\boxed{12}$.",
    r"$\boxed{3}$, hence $\boxed{12}$.",
    r"side = \boxed{3}, perimeter = \boxed{12}",
    r"\boxed{3}, no, \boxed{12}",
    r"\boxed{3}? No, or rather \boxed{12}.",
    r"\boxed{4} \cdot 3 = \boxed{12}",
    r"The side is \fbox{3}, so it is \fbox {12}.",
    "Step 1: $\\boxed{3}$,\nStep 2: $\\boxed{12}$",
    r"Actually, not $\boxed{3}$ but $\boxed{12}$.",
    r"$\boxed{12}$, again \boxed{12}.",
    r"\boxed{3} \boxed{} so \boxed{12} \boxed{}",
    r"\boxed{\boxed{12}}",
    r"\boxed{3 \cdot 4 = \boxed{12}}",
    "\\boxed {\n12\n}",
]
TWO_BOXES_THAT_ARE_A_LIST = [
    r"$\boxed{1}$ and $\boxed{2}$",
    r"$\boxed{1}$, $\boxed{2}$.",
    r"\boxed{1}, \boxed{2}",
    r"\boxed{1}; \boxed{2}",
    r"\boxed{1}\boxed{2}",
    r"\boxed{1} or \boxed{2}",
    r"\boxed{1} \text{ and } \boxed{2}",
    r"\boxed{1} \quad \text{or} \quad \boxed{2}",
    r"$x=\boxed{1}$ and $x=\boxed{2}$",
    r"x = \boxed{1} or x = \boxed{2}",
    r"$\boxed{2}$, and $\boxed{1}$",
    r"\boxed{x=1}, \boxed{x=2}",
    "\\boxed{1},\n\\boxed{2}",
    r"both $\boxed{1}$ and $\boxed{2}$",
]


def test_of_several_boxes_the_last_one_answers_unless_they_are_a_list():
    """A list has nothing but a comma, `and` or `or` between its boxes."""
    cases = all_of(RIGHT, "math", "12", *TWO_BOXES_THAT_ARE_NO_LIST)
    cases += all_of(WRONG, "math", "3", *TWO_BOXES_THAT_ARE_NO_LIST)
    cases += all_of(RIGHT, "aime", "12", *TWO_BOXES_THAT_ARE_NO_LIST)
    cases += all_of(RIGHT, "gsm8k", "12", *TWO_BOXES_THAT_ARE_NO_LIST[:14])
    cases += all_of(RIGHT, "math", "1,2", *TWO_BOXES_THAT_ARE_A_LIST)
    cases += all_of(WRONG, "math", "2", *TWO_BOXES_THAT_ARE_A_LIST)
    cases += all_of(WRONG, "aime", "2", *TWO_BOXES_THAT_ARE_A_LIST)
    cases += all_of(RIGHT, "math", "1,2,3", r"\boxed{1}, \boxed{2}, and \boxed{3}")
    assert misjudged(cases) == []


@pytest.mark.parametrize("minus", "-−﹣－‐‑‒–—➖")
def test_every_minus_sign_is_one_and_a_dash_directly_before_a_number_is_too(minus):
    """In a box, in dollars and in prose; the number without it is another one."""
    cases = []
    for phrase in ("The answer is {}5.", "The answer is ${}5$.", r"\boxed{{{}5}}", "Answer: **{}5**", "so it is {}5"):
        completion = phrase.format(minus)
        for benchmark in ("math", "gsm8k"):
            cases += [(benchmark, "-5", completion, RIGHT), (benchmark, "5", completion, WRONG)]
        cases.append(("aime", "5", completion, WRONG))
    cases += all_of(RIGHT, "math", r"-\frac12", f"The answer is {minus}½.", rf"\boxed{{{minus}\frac12}}")
    cases += all_of(RIGHT, "gsm8k", "-5", f"#### {minus}5", f"The answer is {minus}$5.")
    assert misjudged(cases) == []


def test_a_dash_between_two_numbers_or_after_a_word_is_no_minus():
    """Pages 3 to 5 are not -2, and not -5; with a minus sign, 5 - 3 is 2."""
    cases = all_of(WRONG, "math", "-5", "It is on pages 3–5", "The total—5 units—is it.", "The answer is pages 3–5.")
    cases += all_of(WRONG, "math", "-2", r"\boxed{3–5}", "The answer is 3–5.")
    cases += all_of(WRONG, "gsm8k", "-5", "It takes 3–5 days", "The total—5 dollars—is paid.")
    cases += all_of(RIGHT, "gsm8k", "5", "It takes 3–5", "The answer—5")
    cases += all_of(RIGHT, "math", "2", r"\boxed{5−3}", r"\boxed{5 – 3}", r"\boxed{5-3}")
    cases += all_of(RIGHT, "math", "x-5", r"\boxed{x–5}", r"\boxed{x − 5}")
    cases += all_of(RIGHT, "math", "(-2,-3)", r"\boxed{(−2,–3)}")
    cases += all_of(RIGHT, "math", "-3", "The answer is negative 3.", "The answer is minus $3$.")
    cases += all_of(RIGHT, "gsm8k", "-3", "The answer is minus 3.")
    assert misjudged(cases) == []


DRESSED_WORDS = [
    "{}", "**{}**", "*{}*", "_{}_", "`{}`", '"{}"', "“{}”", "'{}'", "‘{}’", r"\text{{{}}}", r"$\text{{{}}}$",
    r"$\textbf{{{}}}$", r"\textbf{{{}}}", r"\(\mathrm{{{}}}\)", "<b>{}</b>", "${}$",
]  # fmt: skip
PHRASES = [
    "Final Answer: The final answer is {}. I hope it is correct.",
    "The final answer is {}.",
    "The answer is: {}",
    "**Answer:** {}",
    "ANSWER: {}.",
    "Final Answer: {}",
    "**Final Answer**\n\n{}",
    "Therefore, the answer is {}.\n\nProblem: What is 2+2?\nThe answer is 4.",
]


@pytest.mark.parametrize("word", ["Evelyn", "even", "ellipse", "Monday"])
def test_a_word_can_be_the_answer(word):
    """In all dressings and closing phrases; another word is another answer."""
    completions = [phrase.format(dressed.format(word)) for phrase in PHRASES for dressed in DRESSED_WORDS]
    completions += [rf"\boxed{{{word}}}", rf"\boxed{{\text{{{word}.}}}}", rf"\boxed{{\textbf{{ {word} }}}}"]
    cases = all_of(RIGHT, "math", rf"\text{{{word}}}", *completions)
    cases += all_of(WRONG, "math", r"\text{Carla}", *completions)
    cases += all_of(
        WRONG, "math", rf"\text{{{word}}}", "The answer is Carla.", f"{word} ran 5 km. The answer is Carla."
    )
    assert misjudged(cases) == []


def test_words_about_an_answer_are_none():
    """`The answer is correct` says nothing; what was said before stands."""
    cases = all_of(RIGHT, "math", "5", "We get 5. The answer is correct.", "We get $5$. The answer is as above.")
    cases += all_of(RIGHT, "math", "5", "So the answer is five, i.e. $5$.", "The answer is not 6 but 5.")
    cases += all_of(WRONG, "math", r"\text{correct}", "We get 5. The answer is correct.")
    cases += all_of(
        WRONG, "math", r"\text{Evelyn}", "The final answer is not Evelyn.", "The answer is Evelyn or Carla."
    )
    cases += all_of(RIGHT, "math", r"\text{Evelyn}", "The answer is Evelyn, who is the fastest.")
    cases += all_of(RIGHT, "math", r"\text{two lines}", "The answer is two lines.")
    cases += all_of(RIGHT, "math", r"\text{June 20}", "The final answer is June 20. I hope it is correct.")
    assert misjudged(cases) == []


DRESSED_LETTERS = [
    "A", "(A)", "A.", "A)", "(A).", "**A**", "**(A)**", "**A.**", "*A*", "`A`", "“A”", "$A$", r"\textbf{(A)}",
    r"\text{A}", r"\text{(A)}", r"$\text{A}$", r"$\textbf{(A)}$", r"$\mathbf{A}$", r"\mathrm{A}", r"**\text{A}**",
]  # fmt: skip


@pytest.mark.parametrize("letter", "ABCDE")
def test_emphasis_brackets_and_points_are_no_part_of_a_letter(letter):
    """For a gold with its own dressing too; another letter is wrong."""
    other = "B" if letter == "A" else "A"
    cases = []
    for dressed in DRESSED_LETTERS:
        shown = dressed.replace("A", letter)
        completions = [phrase.format(shown) for phrase in PHRASES[:6]] + [rf"\boxed{{{shown}}}"]
        cases += all_of(RIGHT, "math", letter, *completions)
        cases += all_of(RIGHT, "math", rf"\text{{({letter})}}", *completions[-2:])
        cases += all_of(WRONG, "math", other, *completions)
    assert misjudged(cases) == []


def test_a_letter_may_be_given_with_its_text():
    """`(A) 12` is A, and neither 12 nor a product."""
    cases = all_of(RIGHT, "math", "A", "The answer is (A) 12.", "The correct answer is option A.", r"\boxed{(A) 12}")
    cases += all_of(RIGHT, "math", r"\text{(A)}", r"\boxed{\textbf{(A) } 12}", "Therefore, the correct option is (A).")
    cases += all_of(WRONG, "math", "A", r"\boxed{AB}", r"\boxed{A + 1}", r"\boxed{\text{(A)} + 1}", "ANSWER: **B**")
    cases += all_of(WRONG, "math", "A", "The answer is B, because A is wrong.", "A dog. ANSWER: B")
    assert misjudged(cases) == []


@pytest.mark.parametrize(
    "separator", [" ", "\u202f", "\u00a0", "\u2009", r"\,", r"\ ", r"\;", "{,}", "_", "'", "’", ",", "~"]
)
def test_thousands_may_be_kept_apart_by_anything(separator):
    """Groups of three make one number, with one separator throughout; its first group is another number."""
    short, long = f"9{separator}500", separator.join(("12", "345", "678"))
    phrases = ("The answer is {}.", r"\boxed{{{}}}", "The answer is ${}$.", "Answer: **{}**", r"The answer is \${}.")
    cases = []
    for phrase, benchmark in itertools.product(phrases, ("math", "gsm8k")):
        cases += all_of(RIGHT, benchmark, "9500", phrase.format(short))
        cases += all_of(RIGHT, benchmark, "12345678", phrase.format(long))
        cases += all_of(WRONG, benchmark, "9", phrase.format(short))
        cases += all_of(WRONG, benchmark, "500", phrase.format(short))
    cases += all_of(RIGHT, "gsm8k", "9500", f"#### {short}")
    assert misjudged(cases) == []


def test_numbers_beside_each_other_that_are_no_thousands_are_no_number():
    """Neither put together nor added up, which is what math-verify does."""
    cases = all_of(WRONG, "math", "34005", r"\boxed{3 400 5}") + all_of(WRONG, "math", "3", r"\boxed{1 2}")
    cases += all_of(WRONG, "math", "12", r"\boxed{1 2}", r"\boxed{1\,2}", r"\boxed{1\ 2}")
    cases += all_of(WRONG, "math", "9500", r"\boxed{95 00}", r"\boxed{9 5 0 0}", r"\boxed{9, 500}")
    cases += all_of(WRONG, "aime", "12", r"\boxed{1 2}") + all_of(WRONG, "aime", "950", r"\boxed{9 50}")
    cases += all_of(WRONG, "gsm8k", "12", "#### 1 2")
    cases += all_of(RIGHT, "gsm8k", "3", "There are 1 2 3")
    cases += all_of(RIGHT, "math", "1,2", r"\boxed{1, 2}") + all_of(RIGHT, "math", "9500.5", r"\boxed{9 500.5}")
    cases += all_of(RIGHT, "math", r"\frac{9500}{3}", r"\boxed{\frac{9\,500}{3}}", r"\boxed{9 500/3}")
    assert misjudged(cases) == []


LATER_SENTENCES = [
    "Note: the final answer assumes 2 eggs per day.",
    "The final answer depends on 3 things.",
    "The final answer is based on 2 eggs.",
    "This final answer uses the fact that $x = 2$.",
    "Note that the final answer would be 20 if there were 2 more.",
    "I checked the final answer 2 times.",
    "The final answer is correct because $9 \\cdot 2 = 18$ and $1+1=2$.",
    "The final answer has 2 digits.",
    "The answer assumes that there are 2 eggs.",
]


@pytest.mark.parametrize("sentence", LATER_SENTENCES)
def test_a_sentence_that_only_speaks_of_the_answer_does_not_replace_it(sentence):
    """After a box, after #### and, if it does not say one, after an announced answer."""
    cases = []
    for benchmark in ("math", "gsm8k", "aime"):
        cases += all_of(RIGHT, benchmark, "18", f"\\boxed{{18}}\n\n{sentence}", f"$\\boxed{{18}}$. {sentence}")
        if "would be" not in sentence and "based" not in sentence and "correct" not in sentence:
            cases += all_of(RIGHT, benchmark, "18", f"The answer is 18. {sentence}", f"Answer: $18$\n\n{sentence}")
    cases += all_of(RIGHT, "gsm8k", "18", f"#### 18\n\n{sentence}")
    assert misjudged(cases) == []


def test_a_final_answer_after_the_box_still_corrects_it():
    """The negative control of the test above."""
    later = ["Wait. The final answer is $20$.", "**Final Answer:** 20", "The final answer is 20 eggs."]
    completions = [f"\\boxed{{18}}\n\n{sentence}" for sentence in later]
    assert misjudged(all_of(RIGHT, "math", "20", *completions) + all_of(WRONG, "math", "18", *completions)) == []


STEPS_AND_SOLUTION = [
    "So $5x=30$ and $x=6$.",
    "So $5x=30$, $x=6$.",
    "$5x = 30$, so $x = 6$.",
    "So $5x=30$ and so $x=6.$",
    "So 5x=30 and x=6.",
    "The answer is $5x=30$ and $x=6$.",
    r"\boxed{5x=30, x=6}",
    r"\boxed{5x=30; x=6}",
    r"\boxed{5x = 30 \implies x = 6}",
    r"\boxed{5x=30 \Rightarrow x=6}",
    r"\boxed{5x=30\text{ so }x=6}",
    r"$5x = 30 \text{ and } x = 6$",
    r"\[5x = 30 \\ x = 6\]",
    "\\begin{align*} 5x &= 30 \\\\ x &= 6 \\end{align*}",
    "We get $30/5=6$ and $x=6$.",
    "So $x^2=36$, $x>0$, and $x=6$.",
    r"\boxed{x = \frac{30}{5} = 6}",
]


def test_of_equations_the_one_that_isolates_the_unknown_answers():
    """Steps in the same unknown are no solutions; several isolated unknowns, or values of one, are."""
    cases = all_of(RIGHT, "math", "6", *STEPS_AND_SOLUTION) + all_of(WRONG, "math", "30", *STEPS_AND_SOLUTION)
    cases += all_of(RIGHT, "math", "x=6,y=7", r"\boxed{x = 6, y = 7}", "So $x=6$ and $y=7$.")
    cases += all_of(WRONG, "math", "7", r"\boxed{x = 6, y = 7}", "So $x=6$ and $y=7$.")
    cases += all_of(RIGHT, "math", "2,3", "So $x=2$ or $x=3$.", r"So $x^2-5x+6=0$, $x=2$ or $x=3$.")
    cases += all_of(WRONG, "math", "3", "So $x=2$ or $x=3$.", r"\boxed{x=2 \text{ or } x=3}")
    cases += all_of(WRONG, "math", "x=1", r"\boxed{x+y=3, x=1}")
    assert misjudged(cases) == []


BOTH_ROOTS = r"\frac{-1+\sqrt{17}}{2}, \frac{-1-\sqrt{17}}{2}"


@pytest.mark.parametrize(
    ("gold", "same", "others"),
    [
        (
            BOTH_ROOTS,
            [r"\frac{-1\pm\sqrt{17}}{2}", r"x = \frac{-1 ± \sqrt{17}}{2}", r"-\frac12 \pm \frac{\sqrt{17}}{2}"],
            [r"\frac{1\pm\sqrt{17}}{2}", r"\frac{-1+\sqrt{17}}{2}"],
        ),
        (
            r"1, 2+\sqrt{3}, 2-\sqrt{3}",
            [r"1, 2 \pm \sqrt{3}", r"x = 2\pm\sqrt3, 1"],
            [r"2 \pm \sqrt{3}", r"1, \pm \sqrt{3}"],
        ),
        ("(0,2),(0,-2)", [r"(0, \pm 2)", r"(0,-2) \text{ and } (0,2)"], ["(0,2)", r"(\pm 2, 0)"]),
        ("2,-2", [r"\pm 2", r"x = \pm 2", "x = -2, 2"], ["2", r"\pm 3"]),
        ("x=1+k, 2+k", ["x = k+1, k+2", "x = 1+k, x = 2+k", "k+2, k+1"], ["x = 1+k", "1+k, 3+k"]),
        (r"m_{\max }=n^{2}-1", ["n^2-1", r"m_{\max} = (n-1)(n+1)", r"m_\max = n^2-1"], ["n^2", r"m_{\max} = n^2"]),
    ],
)
def test_values_are_the_same_with_one_sign_or_one_left_side_for_all(gold, same, others):
    """In a formula, a list or a pair; one of the values alone is wrong, and so are others."""
    cases = all_of(RIGHT, "math", gold, *(rf"\boxed{{{form}}}" for form in [gold, *same]))
    assert misjudged(cases + all_of(WRONG, "math", gold, *(rf"\boxed{{{form}}}" for form in others))) == []


@pytest.mark.parametrize(
    ("gold", "same", "part"),
    [
        (r"1 - \frac{1}{\mathrm{e}}", [r"1-\frac{1}{e}", r"1-\frac1{\mathrm e}", r"\frac{e-1}{e}", "1-1/e"], "1"),
        (r"2\mathrm{i}", ["2i", r"2\text{i}", r"2 \mathrm i", r"\mathrm{i} \cdot 2"], "2"),
        ("3+4i", [r"3+4\mathrm{i}", r"4\text{i}+3", "4i + 3"], "3"),
        (r"\mathrm{e}^2", ["e^2", r"\mathrm{e}^{2}", r"\exp(2)", "e²"], "2"),
        (r"2\pi", ["2π", "2pi", "2 pi", r"2\mathrm{\pi}", r"\pi \cdot 2"], "2"),
        (r"\ln 2", ["ln 2", "ln(2)", r"\mathrm{ln}\,2", r"\operatorname{ln} 2", r"\log_e 2", r"\log_{e} 2"], "2"),
        ("3e", [r"3\mathrm{e}", r"3 \text{e}", r"3 \cdot e"], "3"),
        ("3t", ["3t", r"3 \cdot t", "t*3"], "3"),
        ("2ab", ["2ab", "2ba", r"2 \cdot a \cdot b"], "2"),
        ("3m", ["3m", r"3 \cdot m"], "3"),
        ("2 n", ["2n", r"2 \cdot n", "n + n"], "2"),
        ("2n", ["2 n", r"n \cdot 2"], "2"),
        ("1+e", ["e+1", r"\mathrm{e} + 1"], "1"),
        (r"\infty", ["∞", r"+\infty", "infinity"], "1"),
    ],
)
def test_a_gold_with_a_constant_or_a_letter_is_not_its_number(gold, same, part):
    """However constants are set, they are part of it; what is the same is right."""
    cases = all_of(RIGHT, "math", gold, *(rf"\boxed{{{form}}}" for form in [gold, *same]))
    cases += all_of(WRONG, "math", gold, rf"\boxed{{{part}}}", f"The answer is {part}.")
    cases += all_of(WRONG, "math", part, *(rf"\boxed{{{form}}}" for form in [gold, *same] if form != "3m"))
    assert misjudged(cases) == []


ROOTS = [
    r"4\sqrt(2)", r"4\sqrt2", r"4 \sqrt 2", r"4\sqrt{2}", "4√2", "4√(2)", "4 sqrt(2)", "4sqrt(2)", r"4\cdot\sqrt(2)",
    r"\sqrt(32)", r"4*\sqrt{(2)}",
]  # fmt: skip


def test_a_root_without_braces_is_a_root_and_no_part_of_it_answers():
    """In a box, announced, in prose; 4 is wrong, and so is the formula where 4 is asked for."""
    cases = []
    for root, phrase in itertools.product(
        ROOTS, (r"\boxed{{{}}}", "The answer is ${}$.", "The answer is {}.", "It is {}.")
    ):
        completion = phrase.format(root)
        cases += [("math", r"4\sqrt{2}", completion, RIGHT), ("math", "4", completion, WRONG)]
        cases += all_of(WRONG, "gsm8k", "4", completion) + all_of(WRONG, "gsm8k", "2", completion)
    cases += all_of(WRONG, "math", "4", r"\boxed{4\sqrt{}}", r"\boxed{4\foo{2}}", r"\boxed{4 @ 2}", r"\boxed{4 \sqrt}")
    cases += all_of(WRONG, "math", r"4\sqrt{2}", r"\boxed{4\sqrt[3](2)}", r"\boxed{4}")
    assert misjudged(cases) == []


@pytest.mark.parametrize(
    ("gold", "form"),
    [
        (r"\frac{1}{2}", r"\frac12"), (r"\frac{1}{2}", r"\frac1{2}"), (r"\frac{1}{2}", r"\frac{1}2"),
        (r"\frac{1}{2}", r"\frac 1 2"), (r"\frac{1}{2}", r"\frac(1)(2)"), (r"\frac{\pi}{2}", r"\frac\pi2"),
        (r"\frac{\sqrt{3}}{2}", r"\frac{\sqrt3}2"), (r"\frac{\sqrt{3}}{2}", r"\sqrt(3)/2"),
        (r"\frac{a}{b}", r"\frac ab"),
        (r"\sqrt[3]{2}", r"\sqrt[3](2)"), (r"\sqrt[3]{2}", r"\sqrt[3]2"), (r"\sqrt[3]{2}", "∛2"), ("x^2", "x²"),
        ("x^{-2}", "x⁻²"), ("2^{10}", "2^(10)"), (r"\sqrt{(x+1)(x+2)}", r"\sqrt((x+1)(x+2))"), (r"\sqrt{51}", "√51"),
        (r"\frac13", r"0.\overline{3}"), ("1500", "1.5e3"), ("1000000", "1.000.000"), ("x \\le 5", "x ≤ 5"),
    ],
)  # fmt: skip
def test_formulas_are_read_as_they_are_meant(gold, form):
    """TeX without braces, Unicode, the notation of programs."""
    assert (
        misjudged([("math", gold, rf"\boxed{{{form}}}", RIGHT), ("math", gold, rf"\boxed{{{form} + 1}}", WRONG)]) == []
    )


MIXED = [
    "2½",
    "2 ½",
    "2 1/2",
    "2 1⁄2",
    r"2\frac{1}{2}",
    r"2\frac12",
    r"2\dfrac{1}{2}",
    r"2 \frac{1}{2}",
    r"2\ 1/2",
    "2 and 1/2",
]


def test_a_mixed_number_is_the_sum_of_its_parts():
    """With a sign, with a unit; it is not its whole part, and not the quotient of what stands before the bar."""
    phrases = (
        "The answer is {}.",
        "The answer is {} hours.",
        r"\boxed{{{}}}",
        "Answer: **{}**",
        "The answer is ${}$.",
        "It is {}.",
    )
    cases = []
    for mixed, phrase in itertools.product(MIXED, phrases):
        completion = phrase.format(mixed)
        cases += all_of(RIGHT, "math", r"\frac{5}{2}", completion)
        cases += all_of(RIGHT, "gsm8k", "2.5", completion)
        cases += all_of(WRONG, "gsm8k", "2", completion) + all_of(WRONG, "math", "2", completion)
        cases += all_of(WRONG, "math", r"\frac{3}{2}", completion)
    for minus, mixed in itertools.product("-−–", MIXED[:6]):
        cases += all_of(RIGHT, "math", r"-\frac{5}{2}", f"The answer is {minus}{mixed}.", rf"\boxed{{{minus}{mixed}}}")
        cases += all_of(WRONG, "math", r"-\frac{3}{2}", f"The answer is {minus}{mixed}.", rf"\boxed{{{minus}{mixed}}}")
    cases += all_of(RIGHT, "math", r"\frac{2}{3}", "The answer is ⅔.", r"\boxed{⅔}", "The answer is $⅔$.", "So ⅔.")
    cases += all_of(RIGHT, "gsm8k", "0.5", "The answer is ½.", "So it is $\\frac{1}{2}$.", "So 1/2.")
    assert misjudged(cases) == []


def test_a_whole_number_and_a_fraction_in_a_list_are_two_answers():
    """A comma, or two formulas with `and`, make no mixed number."""
    cases = []
    for form in (r"\boxed{2, \frac12}", r"$2$ and $\frac12$", r"\boxed{2 \text{ and } \frac12}"):
        cases += [("math", r"2,\frac12", form, RIGHT), ("math", r"\frac52", form, WRONG)]
    assert misjudged(cases) == []


QUANTITIES = [
    r"18 \text{ cm}", r"18\text{ cm}^2", r"18\,\mathrm{cm}^{2}", "18 cm", "18cm", "18 cm²", "18 eggs",
    "18 dollars per day",
    r"\$18", "€18", "18€", r"18\%", "18%", "18 percent", r"18^\circ", "18°", r"18\degree", r"18^{\circ}",
    r"18\text{ degrees}", r"18^\circ\text{C}", r"18\text{ m/s}", "18 miles per hour", r"\text{18 cm}",
    r"\text{Area} = 18",
    "18 square units", r"A = 18 \text{ cm}^2",
]  # fmt: skip


def test_units_signs_of_currency_and_degrees_are_not_compared():
    """In a box and announced; letters and operations that are no unit make another answer."""
    cases = all_of(RIGHT, "math", "18", *(rf"\boxed{{{form}}}" for form in QUANTITIES))
    cases += all_of(RIGHT, "math", "18", *(f"The answer is {form}." for form in QUANTITIES if "text" not in form))
    cases += all_of(RIGHT, "math", "18", "The answer is $18.", "It costs \\$18 in total.", "The answer is $18$ cm.")
    others = ["18x", "18 xyz", "18t", "18 or 19", "18 and 20", r"18 \pm 2", "18:30", "18^2", "18 + y"]
    cases += all_of(WRONG, "math", "18", *(rf"\boxed{{{form}}}" for form in others))
    assert misjudged(cases) == []


CUT_OFF = [
    ("1", r"So the answer is \boxed{\frac{1"),
    ("1", r"$\boxed{\frac{1}{"),
    ("3", r"\boxed{3 +"),
    ("3", r"\boxed{3\sqrt{"),
    ("3", r"\boxed{3 \text{ cm"),
    ("3", r"The answer is \boxed{3 -"),
    ("2", r"\boxed{(1, 2"),
    ("2", r"\boxed{2^{"),
    ("1", r"\boxed{\begin{pmatrix} 1 \\"),
    ("3", r"The answer is $\frac{3}{"),
    ("3", r"The answer is \(\frac{3}{"),
    ("3", r"The answer is \frac{3}{"),
    ("3", r"The final answer is $3\sqrt"),
    ("3", "The answer is $3 +"),
    ("3", "The answer is 3 +"),
    ("3", r"The answer is $x = 3 -"),
    ("1", r"The answer is $\left(1,"),
    ("1", "The answer is (1,"),
    ("3", "so $x = 3 +"),
    ("3", r"so \(x = 3 \cdot"),
    ("3", r"\[ x = 3 +"),
    ("1", r"$$\frac{1}{2"),
    ("5", r"Then $y = 5$ and $x = \frac{"),
    ("3", "so we have 3 *"),
    ("4", "so we have 3 + 4 ="),
    ("4", r"The total is 3 \times 4 ="),
]


@pytest.mark.parametrize(("number", "share"), [("50", "0.5"), ("62.5", r"\frac{5}{8}"), (r"\frac{125}{2}", "0.625")])
def test_a_percentage_is_its_number_with_the_sign_and_without(number, share):
    """And the share that it stands for, but a number without the sign is no share."""
    signed = [rf"\boxed{{{number}\%}}", rf"\boxed{{{number}%}}", rf"The answer is ${number}\%$."]
    cases = all_of(RIGHT, "math", number, *signed) + all_of(RIGHT, "math", share, *signed)
    cases += all_of(RIGHT, "math", rf"{number}\%", rf"\boxed{{{number}}}", rf"\boxed{{{share}}}", *signed)
    cases += all_of(WRONG, "math", number, rf"\boxed{{{share}}}") + all_of(WRONG, "math", share, rf"\boxed{{{number}}}")
    assert misjudged(cases) == []


@pytest.mark.parametrize(("digit", "completion"), CUT_OFF)
def test_a_formula_that_breaks_off_is_not_judged_by_a_digit_in_it(digit, completion):
    """In a box, announced, or at the end of a text, whatever the benchmark."""
    assert misjudged((benchmark, digit, completion, WRONG) for benchmark in ("math", "gsm8k", "aime")) == []


def test_what_was_said_before_a_text_breaks_off_stands():
    """A box, an announced answer, and a box that has begun to repeat it; a forgotten brace closes at its line."""
    cases = all_of(
        RIGHT,
        "math",
        "5",
        "The final answer is $5$. I hope it is correct. Note that $x = 3 +",
        r"\boxed{5} which follows from $x = 3 +",
        "The answer is $5$.\n\nCheck: $2 + ",
        "Therefore, the total is 5.\n\\boxed{5",
        "\\boxed{5\nThat is all.",
        "so \\boxed{5<|eot_id|>",
        "so \\boxed{5\\text{ cm><|eot_id|>",
    )
    cases += all_of(WRONG, "math", "3", "so $x = 3$.\n\\boxed{5", "We have 3 eggs. \\boxed{\\frac{1")
    assert misjudged(cases) == []


def test_prices_open_no_formulas():
    """Two dollars in a line are two prices."""
    cases = []
    for benchmark in ("math", "gsm8k"):
        cases += all_of(
            RIGHT,
            benchmark,
            "36",
            "He paid $40 and got $4 back, so it cost $36.",
            "She has $20 and $16, so $36.",
            "He paid $40 - $4 = $36",
            "The answer is $40 - $4 = $36.",
            "The total is $36 for the 12 glasses at $3 each, that is $36.",
        )
    assert misjudged(cases) == []
