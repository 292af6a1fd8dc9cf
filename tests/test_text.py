"""How lines look that the package prints: tables, sizes, hints about names, the bar."""

import doctest
import fcntl
import os
import pty
import struct
import subprocess
import sys
import termios

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wise_merge import text

CELL = st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1, max_size=9)


def test_the_examples_are_true():
    """Every example in a docstring."""
    found = doctest.testmod(text)
    assert found.attempted >= 6
    assert not found.failed


def test_columns_stand_below_each_other():
    """Written out by hand: left, right, in the middle, and the last sign again for the fourth column."""
    rows = [["model", "n", "pass@1", "T"], ["a", "600", "1.0", "1"], ["", "7", "0.5 ± 0.1", "0.7"]]
    assert text.table(rows, "<>^") == [
        "model    n   pass@1     T",
        "a      600     1.0      1",
        "         7  0.5 ± 0.1  0.7",
    ]


@given(st.lists(st.tuples(CELL, CELL, CELL), min_size=1), st.sampled_from(["<", ">", "<>", "><<"]))
def test_a_table_keeps_every_cell_and_ends_no_line_with_blanks(rows, alignment):
    """Split at blanks, the lines are the cells again; right-aligned columns end at one place."""
    lines = text.table(rows, alignment)
    assert [line.split() for line in lines] == [list(row) for row in rows]
    assert lines == [line.rstrip() for line in lines]
    if alignment == ">":
        assert len({len(line) for line in lines}) == 1


def test_a_row_that_lacks_a_cell_is_our_mistake():
    """It is refused and not filled up; no rows are no lines."""
    with pytest.raises(ValueError, match="zip"):
        text.table([["a", "b"], ["c"]])
    assert text.table([]) == []


def test_a_size_has_the_unit_in_which_it_is_short():
    """Up to three digits before the point, also where rounding would make it four."""
    sizes = [0, 999, 1000, 999_949, 999_950, 5_430_000, 14_900_000_000, 2 * 10**12, 10**18]
    assert list(map(text.size, sizes)) == [
        *("0 B", "999 B", "1.0 kB", "999.9 kB", "1.0 MB", "5.4 MB", "14.9 GB", "2.0 TB", "1000000.0 TB")
    ]


@given(st.integers(0, 10**15))
def test_a_size_is_right_to_a_tenth_of_its_unit(count):
    """Read back, it is the number up to half of the last digit."""
    number, unit = text.size(count).split()
    share = {"B": 1, "kB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12}[unit]
    assert abs(float(number) * share - count) <= 0.05 * share * (1 + 1e-9)


def test_elements_are_counted_as_models_are_named():
    """Thousands, millions, billions with two decimals; below a thousand each one."""
    assert [text.elements(count) for count in (0, 999, 1000, 1_240_000, 494_032_768, 7_000_000_000)] == [
        *("0", "999", "1.00 k", "1.24 M", "494.03 M", "7.00 B")
    ]


def test_a_misspelt_name_is_met_with_the_one_that_was_meant():
    """The most like it; where none is, all that there are, or what the caller says instead."""
    names = ("alphas", "temperatures", "tasks")
    assert text.hint("alpha", names) == "did you mean alphas?"
    assert text.hint("zzz", names) == "there are alphas, temperatures, tasks"
    assert text.hint("zzz", names, "wise_ft knows alpha") == "wise_ft knows alpha"
    assert text.hint("zzz", names, otherwise="") == ""
    assert text.hint(7, names) == "there are alphas, temperatures, tasks"
    assert text.hint("alpha", iter(names)) == "did you mean alphas?"
    assert text.near("task", names, most=3, cutoff=0.0)[0] == "tasks"


def test_what_a_terminal_would_obey_is_escaped():
    """Colours, changes of direction and line breaks; letters and signs of any language stay."""
    assert text.printable("\x1b[31mred\u202e") == "\\x1b[31mred\\u202e"
    assert text.printable("Größe ± 漢") == "Größe ± 漢"
    assert text.printable("two\nlines") == "two\\nlines"
    assert text.printable_lines("two\nlines\r") == "two\nlines\\r"


def test_a_value_in_a_message_is_cut():
    """To sixty characters as Python writes them."""
    assert text.shortened([1, "a"]) == "[1, 'a']"
    assert text.shortened("x" * 100) == f"'{'x' * 59}..."


SHOW = """
from wise_merge import text
assert list(text.bar([1, 2, 3], "numbers")) == [1, 2, 3]
with text.bar(total=10, done=4, what="\\x1b[31m" + 50 * "n" + "ame", unit="B", scaled=True, stays=True) as bar:
    bar.update(6 - bar.n)
    assert bar.n == 6
    bar.refresh()
with text.bar(total=10, what="hidden", shown=False) as bar:
    bar.update(3)
"""


def test_a_bar_shows_nothing_where_no_terminal_is():
    """Into a pipe or a file no character is written, and the items pass all the same."""
    done = subprocess.run([sys.executable, "-c", SHOW.replace("    assert bar.n == 6\n", "")], capture_output=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")


def test_a_bar_is_drawn_on_a_terminal():
    """On standard error, with the end of its name, made safe; nothing of one that is to be hidden."""
    ours, theirs = pty.openpty()
    # 24 lines of 120 columns: a new one has none, and a bar for it is empty.
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 120, 0, 0))
    done = subprocess.run([sys.executable, "-c", SHOW], stdout=subprocess.PIPE, stderr=theirs)
    os.close(theirs)
    seen = os.read(ours, 100_000).decode()
    os.close(ours)
    assert (done.returncode, done.stdout) == (0, b""), seen
    assert "numbers" in seen
    assert f"\r{37 * 'n'}ame:  60%" in seen
    assert "[31m" not in seen
    assert "hidden" not in seen


def test_nothing_heavy_is_loaded_before_a_bar_is_wanted():
    """The command line imports this for every `--help`."""
    code = "import sys, wise_merge.text; assert not {'tqdm', 'numpy', 'torch', 'click'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
