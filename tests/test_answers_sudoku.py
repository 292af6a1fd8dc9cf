r"""Grids found in completions, and the verdicts on real ones."""

import itertools
import json
import re
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wise_merge.answers.sudoku import extract, gold, verdict
from wise_merge.errors import WiseMergeError

SMALL = "1234341221434321"
ROWS = "1 2 3 4\n3 4 1 2\n2 1 4 3\n4 3 2 1"
LARGE = "123456789456789123789123456214365897365897214897214365531642978642978531978531642"


@pytest.mark.parametrize(
    "completion",
    [
        # a base model after a few examples
        f" {SMALL}",
        f"\n{SMALL}\n\nPuzzle: 0000111122223333\nSolution: 1111222233334444",
        f"{ROWS}\n\nPuzzle:\n0 0 0 0\n1 1 1 1",
        "12 34\n34 12\n\n21 43\n43 21",
        # an instruct model
        f"Row 1 needs a 4.\n<answer>\n{SMALL}\n</answer><|eot_id|><|endoftext|>",
        f"<answer>{SMALL}.</answer>",
        f"<answer>\n{ROWS}",
        f"<answer>The solution is:\n{ROWS}</answer>",
        rf"So \boxed{{{SMALL}}}, as every row has 1, 2, 3, 4.",
        r"\[\boxed{\begin{array}{cc|cc} 1 & 2 & 3 & 4 \\ 3&4&1&2 \\ \hline 2&1&4&3 \\ 4&3&2&1 \end{array}}\]",
        f"The solution is: {SMALL}. It has each digit once.",
        f"The solution to the 4x4 Sudoku puzzle is: `{SMALL}`.",
        f"The puzzle is:\n0000\n0000\n0000\n4000\n\nIt is solved:\n```\n{ROWS}\n```\nEach row is right.",
        f"It is solved:\n```text\n{ROWS}\n```",
        "1 2 | 3 4\n3 4 | 1 2\n----+----\n2 1 | 4 3\n4 3 | 2 1",
        "Here it is:\n\n| 1 | 2 | 3 | 4 |\n|---|---|---|---|\n| 3 | 4 | 1 | 2 |\n| 2 | 1 | 4 | 3 |\n| 4 | 3 | 2 | 1 |",
        "┌──┬──┐\n│12│34│\n│34│12│\n├──┼──┤\n│21│43│\n│43│21│\n└──┴──┘",
        "Row 1: 1 2 3 4\n**Row 2:** 3 4 1 2\nRow 3: 2 1 4 3\nRow 4: 4 3 2 1",
        "<answer>[[1, 2, 3, 4], [3, 4, 1, 2], [2, 1, 4, 3], [4, 3, 2, 1]]</answer>",
        f"I write the answer without tags.\n</answer>\n{SMALL}",
        "---\nFinal grid is " + SMALL,
        f"<answer>{SMALL}</answer>\nIt stands between <answer> and </answer>.",
    ],
)
def test_the_grid_is_found_where_models_put_it(completion):
    """In tags, in a box, after an announcement or on its own lines, however its cells are separated."""
    assert extract(completion) == SMALL
    assert verdict("1000040000000000", SMALL) == (SMALL, True)


def test_a_grid_of_81_cells_is_found_row_by_row():
    """The size is that of the grid, not of the puzzle."""
    rows = "\n".join(" ".join(LARGE[i : i + 9]) for i in range(0, 81, 9))
    for completion in (LARGE, rows, f"<answer>{rows}</answer>", f"The solution is:\n\n{rows}\n\nDone."):
        assert extract(completion) == LARGE
    assert verdict("0" * 81, LARGE) == (LARGE, True)
    assert verdict("0" * 80 + "1", LARGE) == (LARGE, False)


@pytest.mark.parametrize(
    "completion",
    [
        "",
        "I cannot solve it.",
        SMALL + "1",
        SMALL[:-1],
        f"<answer>{SMALL}1</answer>",
        f"It is {SMALL}. <answer>No solution exists.</answer>",
        f"<answer>{SMALL}</answer> I mean <answer>{SMALL[:-1]}</answer>",
        rf"The solution is {SMALL}. \boxed{{{SMALL}1}}",
        f"The solution is {SMALL}, or\n{SMALL}1",
        f"{ROWS}\n1 2 3 4",
    ],
)
def test_a_digit_too_many_or_too_few_is_no_answer(completion):
    """Nothing is cut, padded, or taken from elsewhere when the final answer is no grid."""
    assert extract(completion) is None


def test_an_unfinished_grid_is_an_answer_and_wrong():
    """The puzzle as it was given is a popular one."""
    assert extract("<answer>1000040000000000</answer>") == "1000040000000000"
    assert verdict("1000040000000000", "1000040000000000") == ("1000040000000000", False)


def test_a_grid_of_another_size_is_no_answer():
    """Sixteen digits answer no puzzle of 81 cells."""
    assert verdict("0" * 81, SMALL) == (None, False)


@pytest.mark.parametrize(
    "piece",
    [
        "1",
        "1\n",
        "1 ",
        " ",
        "\t",
        "\n",
        "|",
        "\\begin{",
        "\\begin{a}{",
        "boxed{",
        "<answer>",
        "is: ",
        "final ",
        "row 1:",
        "```",
        "{",
    ],
)
def test_a_megabyte_of_anything_takes_linear_time(piece):
    """Broken completions are no answer within seconds of processor time."""
    completion = piece * (10**6 // len(piece))
    started = time.process_time()
    assert extract(completion) is None
    assert extract("The final grid is " + completion) is None
    assert time.process_time() - started < 8


PIECES = [
    "<answer>",
    "</answer>",
    r"\boxed{",
    "}",
    "{",
    "is:",
    "final",
    " ",
    "\n",
    "\\",
    "1234",
    "3412",
    "1234341221434321",
    "|",
    ".",
    "<|eot_id|>",
]


@given(st.lists(st.sampled_from(PIECES) | st.text(max_size=3), max_size=40).map("".join))
def test_no_text_is_too_broken(text):
    """What is found in a broken text is a grid of 16 or 81 digits, and right only if it is one of the 288 of 4x4."""
    found = extract(text)
    if found is not None:
        assert re.fullmatch(r"[0-9]{16}|[0-9]{81}", found)
        assert verdict("0" * 16, found) == ((found, is_right_by_hand(found)) if len(found) == 16 else (None, False))


@given(junk=st.text(max_size=20), rows=st.permutations(["1234", "3412", "2143", "4321"]))
def test_a_grid_in_tags_is_judged_whatever_stands_before_it(junk, rows):
    """The same four rows are a solution in some orders and none in others."""
    found = extract(f"{re.sub('[<|｜]', ' ', junk)}<answer>{''.join(rows)}</answer>")  # noqa: RUF001
    assert found == "".join(rows)
    assert verdict("0" * 16, found) == (found, is_right_by_hand(found))


def test_both_verdicts_occur_among_the_orders_of_the_rows():
    """The test above would not see a verdict that is always the same."""
    orders = ["".join(rows) for rows in itertools.permutations(["1234", "3412", "2143", "4321"])]
    assert sum(is_right_by_hand(order) for order in orders) == 16
    assert sum(verdict("0" * 16, order)[1] for order in orders) == 16


def is_right_by_hand(grid):
    """Return whether every digit from 1 to 4 is once in each row, column and box of 16 cells, by coordinates."""
    cells = [(i // 4, i % 4, digit) for i, digit in enumerate(grid)]
    units = (lambda r, c: r, lambda r, c: c, lambda r, c: (r // 2, c // 2))
    return set(grid) == set("1234") and all(len({(unit(r, c), digit) for r, c, digit in cells}) == 16 for unit in units)


@pytest.mark.parametrize("column", ["question", "puzzle"])
def test_a_problem_is_read_from_one_of_two_columns(column):
    """Blank cells become 0."""
    assert gold({column: "1... .... .... ...4"}) == "1000000000000004"


@pytest.mark.parametrize(
    ("document", "message"),
    [
        ({}, "puzzle must be a text of 16 or 81 cells; got None"),
        ({"question": 1000}, "question must be a text"),
        ({"question": "12345"}, "16 or 81 cells.* got 5"),
        ({"question": "1100000000000000"}, "got 1 twice"),
    ],
)
def test_a_problem_that_nothing_can_solve_is_refused(document, message):
    """The message says what is wrong with it."""
    with pytest.raises(WiseMergeError, match=message):
        gold(document)


def read_as_published(completion):
    """The rule of dllm-reasoning/d1: the first of five places that is not empty, cut or filled to 16 signs."""
    end = r"<\|eot_id\|>|<\|endoftext\|>"
    places = [
        r"<answer>.*?```\s*([\d\s]+)```",
        rf"<answer>(.*?)(?:{end}|</answer>)",
        rf"</answer>\s*(.*?)(?:{end}|$)",
        r"(\d{16})\s*</answer>",
        r"\b(\d{16})\b",
    ]
    matches = (re.search(place, completion, re.DOTALL) for place in places)
    text = next((match[1] for match in matches if match and match[1].strip()), "")
    signs = "".join(text.split())
    return signs and signs[:16].ljust(16, "0")


#: Published share in % of blank cells equal to the one reference grid, and of whole grids, by length.
LLADA = {128: (11.72, 0.39), 256: (6.69, 0.0), 512: (5.47, 0.0)}


@pytest.fixture(scope="module")
def llada(shared_data):
    with (shared_data / "completions" / "llada8b_sudoku.jsonl").open() as lines:
        return [json.loads(line) for line in lines]


@pytest.mark.parametrize(("column", "length"), list(enumerate(LLADA)))
def test_the_published_figures_on_real_completions(llada, column, length):
    """LLaDA-8B: share of cells and of grids from the raw text by the authors' rule, and our verdicts beside it."""
    cells = grids = blanks = 0
    for row in llada:
        found = read_as_published(row["completions"][column])
        blank = [cell for cell, digit in enumerate(row["question"]) if digit == "0"]
        equal = sum(found[cell : cell + 1] == row["answer"][cell] for cell in blank)
        assert found == row["preds"][column]
        assert [equal, len(blank)] == row["cell_scores"][column]
        cells, blanks, grids = cells + equal, blanks + len(blank), grids + (equal == len(blank))
        # By the rules and the givens, no other completion is right: the verdicts agree one by one.
        text = extract(row["completions"][column])
        assert (text is not None and verdict(gold(row), text)[1]) == row["labels"][column]
    assert (round(100 * cells / blanks, 2), round(100 * grids / len(llada), 2)) == LLADA[length]


def test_where_the_answers_differ_from_the_published_ones(llada):
    """Theirs cuts, fills and takes words for digits; ours does not. All that differ are wrong by both rules."""
    same = withheld = words = other = 0
    for row in llada:
        for completion, published in zip(row["completions"], row["preds"], strict=True):
            text = extract(completion)
            same += text == (published or None)
            withheld += text is None and published != ""
            words += text is not None and not published.isdigit()
            other += text is not None and published.isdigit() and text != published
    assert (same, withheld, words, other) == (379, 380, 9, 0)
