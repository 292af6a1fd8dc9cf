"""The rules of Sudoku, the solver, and the puzzles from a seed."""

import hashlib
import itertools
import json
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wise_merge.errors import WiseMergeError
from wise_merge.games import sudoku
from wise_merge.games.sudoku import generate_puzzles, is_solution, read_puzzle, solutions

#: From Peter Norvig's "Solving Every Sudoku Puzzle": a hard one by Arto Inkala.
INKALA = "85...24..72......9..4.........1.7..23.5...9...4...........8..7..17..........36.4."
#: From the same page: unsolvable, and his program needed 1439 seconds to know it.
HOSTILE = ".....5.8....6.1.43..........1.5........1.6...3.......553.....61........4........."


def obeys_the_rules(grid, size, box):
    """Return whether every digit is once in every row, column and box, by coordinates."""
    rows = [grid[i : i + size] for i in range(0, len(grid), size)]
    columns = ["".join(row[i] for row in rows) for i in range(size)]
    boxes = [
        "".join(row[left : left + box] for row in rows[top : top + box])
        for top, left in itertools.product(range(0, size, box), repeat=2)
    ]
    return all("".join(sorted(unit)) == "123456789"[:size] for unit in rows + columns + boxes)


def test_every_4x4_grid_is_found():
    """There are 288 complete grids of 4x4: an empty puzzle has them all."""
    grids = solutions("0" * 16, limit=1000)
    assert len(set(grids)) == 288
    assert all(obeys_the_rules(grid, 4, 2) for grid in grids)


def test_real_puzzles_have_as_many_solutions_as_their_file_says(shared_data):
    """All 500 puzzles of dllm-reasoning/d1, of which 124 have several; and their reference grid is one of them."""
    rows = [json.loads(line) for line in (shared_data / "sudoku" / "4x4_test.jsonl").read_text().splitlines()]
    assert sum(row["n_solutions"] > 1 for row in rows) == 124
    for row in rows:
        found = solutions(row["question"], limit=1000)
        assert len(found) == row["n_solutions"]
        assert row["answer"] in found
        assert all(is_solution(row["question"], grid) for grid in found)


def test_a_hard_9x9_puzzle_is_solved_in_few_steps(monkeypatch):
    """A thousand steps are enough for it, a hundred are not; the solution keeps the rules and the givens."""
    monkeypatch.setattr(sudoku, "MAX_STEPS", 100)
    with pytest.raises(WiseMergeError, match="no end after 100 steps"):
        solutions(INKALA)
    monkeypatch.setattr(sudoku, "MAX_STEPS", 1000)
    (grid,) = solutions(INKALA)
    assert obeys_the_rules(grid, 9, 3)
    assert all(given in (".", digit) for given, digit in zip(INKALA, grid, strict=True))


def test_a_hostile_puzzle_ends_with_an_error():
    """The search gives up after a bounded number of steps."""
    with pytest.raises(WiseMergeError, match="no end after 300000 steps"):
        solutions(HOSTILE)


def test_an_impossible_puzzle_has_no_solution():
    """The last cell of the first row can hold neither 4 nor anything else."""
    assert solutions("1230000400000000") == []


@given(st.data())
def test_a_grid_with_one_changed_cell_is_no_solution(data):
    """Every cell counts, whatever the givens."""
    (puzzle,) = generate_puzzles(1, size=4, blanks=8, seed=data.draw(st.integers(0, 20)))
    assert is_solution(puzzle.puzzle, puzzle.solution)
    cell = data.draw(st.integers(0, 15))
    digit = data.draw(st.sampled_from("01234x"))
    changed = puzzle.solution[:cell] + digit + puzzle.solution[cell + 1 :]
    assert is_solution(puzzle.puzzle, changed) is (changed == puzzle.solution)


@pytest.mark.parametrize(
    ("grid", "reason"),
    [
        ("2143432114323214", "rows, columns and boxes are right, but not the givens"),
        ("1234123412341234", "columns and boxes are wrong"),
        ("1234234134124123", "only boxes are wrong"),
        ("123434122143432", "too short"),
        ("12343412214343211", "too long"),
        ("", "nothing"),
    ],
)
def test_what_breaks_a_rule_is_no_solution(grid, reason):
    """Each grid breaks one rule for a puzzle whose only given is 1 in the first cell."""
    assert is_solution("1" + "0" * 15, "1234341221434321")
    assert not is_solution("1" + "0" * 15, grid), reason


@pytest.mark.parametrize(
    ("size", "box", "blanks", "count"), [(4, 2, 8, 200), (4, 2, 11, 50), (9, 3, 45, 200), (9, 3, 54, 20)]
)
def test_generated_puzzles_have_one_solution_and_the_blanks_that_were_asked_for(size, box, blanks, count):
    """They are different, and 200 puzzles take a few seconds."""
    started = time.perf_counter()
    puzzles = generate_puzzles(count, size=size, blanks=blanks, seed=0)
    assert time.perf_counter() - started < 10
    assert len({puzzle.puzzle for puzzle in puzzles}) == count
    for puzzle in puzzles:
        assert puzzle.puzzle.count("0") == blanks
        assert solutions(puzzle.puzzle) == [puzzle.solution]
        assert obeys_the_rules(puzzle.solution, size, box)


def test_the_same_seed_gives_the_same_puzzles():
    """Puzzles are reproducible and change with the seed; more of them begin with the same ones."""
    puzzles = generate_puzzles(5, size=9, blanks=40, seed=1)
    assert puzzles == generate_puzzles(8, size=9, blanks=40, seed=1)[:5]
    assert puzzles != generate_puzzles(5, size=9, blanks=40, seed=2)


@pytest.mark.parametrize(("size", "blanks", "checksum"), [(4, 8, "9bade69f99ae1d52"), (9, 45, "ff1ff027c84e0793")])
def test_the_puzzles_of_a_seed_never_change(size, blanks, checksum):
    """Results on generated puzzles stay comparable between versions, also of Python."""
    puzzles = generate_puzzles(20, size=size, blanks=blanks, seed=0)
    text = "".join(puzzle.puzzle + puzzle.solution for puzzle in puzzles)
    assert hashlib.sha256(text.encode()).hexdigest().startswith(checksum)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"count": 1, "size": 6, "blanks": 5}, "size of 4 or 9; got size=6"),
        ({"count": 1, "size": 4, "blanks": 12}, "1 to 11 .* got blanks=12"),
        ({"count": 1, "size": 9, "blanks": 0}, "1 to 54 .* got blanks=0"),
        ({"count": 0, "size": 9, "blanks": 40}, "count must be positive; got count=0"),
        # 288 grids with 16 cells each
        ({"count": 4609, "size": 4, "blanks": 1}, r"only 4\d\d\d different puzzles .* 4609 wanted"),
    ],
)
def test_impossible_settings_are_refused(arguments, message):
    """The message says what is possible."""
    with pytest.raises(WiseMergeError, match=message):
        generate_puzzles(seed=0, **arguments)


def test_a_puzzle_is_read_in_its_usual_spellings():
    """Dots or zeros for blanks, in one line or row by row."""
    assert read_puzzle("1..4\n....\n....\n4..1") == "1004000000004001"
    assert len(read_puzzle(INKALA)) == 81


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("100400000000400", "16 or 81 cells.* got 15"),
        ("1005000000000000", "digits 1 to 4"),
        ("x000000000000000", "digits 1 to 4"),
        ("1001000000000000", "got 1 twice in a row, column or box"),
        ("1000000010000000", "got 1 twice"),
        ("1000010000000000", "got 1 twice"),
    ],
)
def test_a_puzzle_that_breaks_the_rules_is_refused(text, message):
    """By its size, its digits, or its row, column or box."""
    with pytest.raises(WiseMergeError, match=message):
        read_puzzle(text)
