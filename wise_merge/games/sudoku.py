"""Sudoku of 4x4 and 9x9 cells: the rules, a solver, and puzzles with one solution from a seed.

A grid is a string of digits, row by row, with 0 for a blank cell. What counts as a
solution is decided by the rules and the givens, never by one reference grid.
"""

import itertools
import random
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache

from wise_merge.errors import WiseMergeError

#: Cells of a grid, and rows of a box, by the number of its rows.
BOX = {4: 2, 9: 3}

#: The most blank cells with which random puzzles that have one solution are still found quickly.
MOST_BLANKS = {4: 11, 9: 54}

#: Cells that a search fills, right or wrong, before it gives up: a few seconds. Ordinary puzzles take hundreds.
MAX_STEPS = 300_000

#: After so many complete grids in a row without a new puzzle, there are taken to be no more.
MAX_FRUITLESS_GRIDS = 200


@dataclass(frozen=True)
class Puzzle:
    """A `puzzle` with blank cells and its only `solution`, both as strings of digits."""

    puzzle: str
    solution: str


def read_puzzle(text: str) -> str:
    """Return the puzzle with 0 for blank cells; spaces and line breaks are dropped, and a dot is a blank, too.

    Raises a `WiseMergeError` unless there are 16 or 81 cells whose givens keep to the rules.
    """
    grid = "".join(text.split()).replace(".", "0")
    size = {16: 4, 81: 9}.get(len(grid))
    if size is None:
        raise WiseMergeError(f"a Sudoku has 16 or 81 cells, row by row, 0 or . for a blank; got {len(grid)}: {text!r}")
    if not set(grid) <= set("0123456789"[: size + 1]):
        raise WiseMergeError(
            f"a Sudoku of {len(grid)} cells has the digits 1 to {size}, 0 or . for a blank; got {text!r}"
        )
    for unit in _units(size):
        givens = [grid[cell] for cell in unit if grid[cell] != "0"]
        for digit in givens:
            if givens.count(digit) > 1:
                raise WiseMergeError(
                    f"its givens must not break the rules; got {digit} twice in a row, column or box of {text!r}"
                )
    return grid


def is_solution(puzzle: str, grid: str) -> bool:
    """Return whether the grid keeps all givens and has each digit once in every row, column and box.

    Args:
        puzzle: 16 or 81 digits, 0 for blank cells, as `read_puzzle` returns it.
        grid: any string.
    """
    if len(grid) != len(puzzle) or any(given not in ("0", digit) for given, digit in zip(puzzle, grid, strict=True)):
        return False
    size = {16: 4, 81: 9}[len(puzzle)]
    digits = set("123456789"[:size])
    return all({grid[cell] for cell in unit} == digits for unit in _units(size))


def solutions(puzzle: str, limit: int = 2) -> list[str]:
    """Return the solutions of a puzzle, at most `limit` of them; two are enough to know that it has more than one.

    Depth-first search that goes on at the cell with the fewest possible digits, or with a
    digit that has one place left in a row, column or box. A puzzle made to be hostile to
    that is a `WiseMergeError` after `MAX_STEPS`.
    """
    return list(itertools.islice(_search(read_puzzle(puzzle)), limit))


def generate_puzzles(count: int, *, size: int, blanks: int, seed: int) -> list[Puzzle]:
    """Return `count` different puzzles with exactly one solution each, the same ones for the same arguments.

    A random complete grid loses random cells for as long as its solution stays the only one.

    Args:
        count: how many.
        size: 4 for 4x4 cells, 9 for 9x9.
        blanks: how many cells are blank, at most 11 of 16 and 54 of 81.
        seed: of the generator.
    """
    if size not in BOX:
        raise WiseMergeError(f"Sudoku has a size of 4 or 9; got size={size}")
    if not 1 <= blanks <= MOST_BLANKS[size]:
        raise WiseMergeError(
            f"blanks must be 1 to {MOST_BLANKS[size]} for a Sudoku of {size}x{size}; got blanks={blanks}"
        )
    if count < 1:
        raise WiseMergeError(f"count must be positive; got count={count}")
    rng = random.Random(f"sudoku {size} {blanks} {seed}")
    puzzles: dict[str, Puzzle] = {}
    fruitless = 0
    while len(puzzles) < count:
        if fruitless == MAX_FRUITLESS_GRIDS:
            raise WiseMergeError(
                f"only {len(puzzles)} different puzzles of {size}x{size} with {blanks} blanks were found, "
                f"{count} wanted; ask for fewer"
            )
        solution = next(_search("0" * size**2, rng))
        puzzle = _with_blanks(solution, blanks, rng)
        fruitless += 1
        if puzzle is not None and puzzle not in puzzles:
            puzzles[puzzle] = Puzzle(puzzle, solution)
            fruitless = 0
    return list(puzzles.values())


def _with_blanks(solution: str, blanks: int, rng: random.Random) -> str | None:
    """Return the grid with that many blank cells and no other solution, or None if too few cells could go."""
    grid = list(solution)
    cells = list(range(len(grid)))
    rng.shuffle(cells)
    for cell in cells:
        grid[cell] = "0"
        # The grid before had one solution, so any other one has another digit in this cell.
        if next(_search("".join(grid), barred=(cell, solution[cell])), None):
            grid[cell] = solution[cell]
        elif grid.count("0") == blanks:
            return "".join(grid)
    return None


@cache
def _units(size: int) -> tuple[tuple[int, ...], ...]:
    """Return the cells of every row, then of every column, then of every box."""
    cells = range(size**2)
    of_cell = [_units_of(cell, size) for cell in cells]
    return tuple(tuple(cell for cell in cells if unit in of_cell[cell]) for unit in range(3 * size))


def _units_of(cell: int, size: int) -> tuple[int, int, int]:
    """Return the positions in `_units` of a cell's row, column and box."""
    row, column = divmod(cell, size)
    box = BOX[size]
    return row, size + column, 2 * size + row // box * box + column // box


@dataclass
class _Board:
    """A grid that a search is filling. Sets of digits are bit masks: 1 << 0 is digit 1.

    Attributes:
        grid: as it was given, for messages.
        values: digit of every cell, 0 = blank.
        units_of: positions in `_units` of every cell's row, column and box.
        missing: digits that each unit still lacks.
        allowed: digits that may stand in each cell, whatever its units lack.
        blank: the cells to be filled.
        steps: digits that have been tried.
    """

    grid: str
    values: list[int]
    units_of: list[tuple[int, int, int]]
    missing: list[int]
    allowed: list[int]
    blank: list[int]
    steps: int = 0


def _board(grid: str, barred: tuple[int, str] | None) -> _Board:
    size = {16: 4, 81: 9}[len(grid)]
    units_of = [_units_of(cell, size) for cell in range(size**2)]
    every_digit = (1 << size) - 1
    missing = [every_digit] * (3 * size)
    allowed = [every_digit] * size**2
    values = [int(digit) for digit in grid]
    for cell, value in enumerate(values):
        if value:
            allowed[cell] = 1 << value - 1
            for unit in units_of[cell]:
                missing[unit] &= ~allowed[cell]
    if barred is not None:
        cell, digit = barred
        allowed[cell] &= ~(1 << int(digit) - 1)
    return _Board(grid, values, units_of, missing, allowed, [cell for cell, value in enumerate(values) if not value])


def _search(grid: str, rng: random.Random | None = None, barred: tuple[int, str] | None = None) -> Iterator[str]:
    """Yield the solutions of a grid whose givens keep to the rules.

    Args:
        grid: with 0 for blank cells.
        rng: to try digits in a random order; otherwise smaller ones come first.
        barred: a cell and a digit that must not stand there.
    """
    return _fill(_board(grid, barred), rng)


def _fill(board: _Board, rng: random.Random | None) -> Iterator[str]:
    """Yield every way to fill the blank cells; the board is afterwards as it was."""
    if not board.blank:
        yield "".join(map(str, board.values))
        return
    cell, choice = _next_choice(board)
    digits = [digit for digit in range(1, choice.bit_length() + 1) if choice >> digit - 1 & 1]
    if not digits:
        return
    if rng is not None:
        rng.shuffle(digits)
    board.blank.remove(cell)
    for digit in digits:
        board.steps += 1
        if board.steps > MAX_STEPS:
            raise WiseMergeError(f"no end after {MAX_STEPS} steps; give the puzzle {board.grid} more givens")
        board.values[cell] = digit
        for unit in board.units_of[cell]:
            board.missing[unit] ^= 1 << digit - 1
        yield from _fill(board, rng)
        for unit in board.units_of[cell]:
            board.missing[unit] ^= 1 << digit - 1
    board.blank.append(cell)


def _next_choice(board: _Board) -> tuple[int, int]:
    """Return the blank cell to fill next and the digits that may go there."""
    missing, allowed, units_of = board.missing, board.allowed, board.units_of
    fewest, chosen, choice = 10, -1, 0
    possible = [0] * len(allowed)
    for cell in board.blank:
        row, column, box = units_of[cell]
        possible[cell] = digits = missing[row] & missing[column] & missing[box] & allowed[cell]
        count = digits.bit_count()
        if count < 2:
            return cell, digits
        if count < fewest:
            fewest, chosen, choice = count, cell, digits
    # Every cell has several digits left, but a digit may have only one place left in a unit, or none.
    for unit, cells in enumerate(_units(len(missing) // 3)):
        once = twice = 0
        for cell in cells:
            twice |= once & possible[cell]
            once |= possible[cell]
        if missing[unit] & ~once:
            return cells[0], 0
        if single := once & ~twice:
            digit = single & -single
            return next(cell for cell in cells if possible[cell] & digit), digit
    return chosen, choice
