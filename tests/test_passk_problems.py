"""The problems of the tasks, from files and generators; `test_passk_task.py` has the errors as a user meets them."""

import hashlib

import pytest
from datasets import Dataset

from wise_merge.errors import WiseMergeError
from wise_merge.tasks.problems import (
    FEWSHOT_EXAMPLES,
    countdown_key,
    countdown_problems,
    data_file,
    of_task,
    olympiad_document,
    read_file,
    sha256,
    sudoku_document,
    sudoku_problems,
    variables,
    with_columns,
)


def test_variables_of_a_template():
    """Those of loops are its own."""
    template = "{% for row in range(size) %}{{puzzle[row]}}{{loop.last}}{% endfor %} \\boxed{} {{ a | join(' ') }}"
    assert variables(template) == {"size", "puzzle", "a"}


def test_columns_are_renamed_and_completed():
    """Capitals, other names, and values that are the same for all rows."""
    rows = Dataset.from_list([{"Problem": "?", "nums": [1, 2]}] * 2)
    completed = with_columns(rows, ["problem", "numbers", "operations"], {"operations": "+-"}, "a file")
    assert completed.to_list() == [{"problem": "?", "numbers": [1, 2], "operations": "+-"}] * 2


@pytest.mark.parametrize(
    ("row", "renamed"),
    [
        ({"question": "?", "final_answer": ["4"]}, {"problem": "?", "answer": ["4"]}),
        ({"question": "??", "Problem": "?", "answer": 4}, {"question": "??", "problem": "?", "answer": 4}),
        ({"final_answer": "6", "Answer": "4", "problem": "?"}, {"final_answer": "6", "answer": "4", "problem": "?"}),
    ],
)
def test_the_name_that_is_likeliest_is_taken(row, renamed):
    """A question is a problem where no other column is, and so with answers."""
    rows = with_columns(Dataset.from_list([row]), ["problem", "answer"], {}, "a file")
    assert rows.to_list() == [renamed]


def test_a_column_of_that_name_is_taken_first():
    """Neither its other name nor a setting replaces it."""
    rows = Dataset.from_list([{"question": "1", "puzzle": "2", "size": 3}])
    assert with_columns(rows, ["question", "size"], {"size": 4}, "a file").to_list() == rows.to_list()


def test_missing_columns_are_named_with_those_there_are():
    """And the file they are missing from."""
    rows = Dataset.from_list([{"a": 1, "b": 2}])
    with pytest.raises(WiseMergeError, match="a file lacks the column problem, answer; it has a, b"):
        with_columns(rows, ["problem", "answer"], {}, "a file")


@pytest.mark.parametrize(
    ("generate", "settings"),
    [
        (countdown_problems, {"numbers": 4, "largest": 9, "operations": "+-*/"}),
        (sudoku_problems, {"size": 4, "blanks": 8}),
        (sudoku_problems, {"size": 9, "blanks": 30}),
    ],
)
def test_generated_problems_come_with_examples(generate, settings):
    """As many problems as wanted, none of which is an example; further settings, as lm-eval adds, do not matter."""
    splits = generate(problems=20, problem_seed=3, pretrained="model", **settings)
    assert (len(splits["test"]), len(splits["train"])) == (20, FEWSHOT_EXAMPLES)
    rows = [str({**row, "solution": None}) for split in splits.values() for row in split]
    assert len(set(rows)) == 20 + FEWSHOT_EXAMPLES
    again = generate(problems=20, problem_seed=3, **settings)
    assert again["test"].to_list() == splits["test"].to_list()
    other = generate(problems=20, problem_seed=4, **settings)
    assert other["test"].to_list() != splits["test"].to_list()


def test_puzzles_are_read_as_people_write_them():
    """Dots, spaces and lines become one string of digits; other columns stay."""
    row = {"question": "12.. 341.\n2143 4321", "id": 7}
    assert sudoku_document(row, size=4, pretrained="model") == {"question": "1200341021434321", "id": 7}


OLYMPIAD = {"id": 7, "problem": "?", "answer": ["2"], "solution": ["a", "b"], "image_1": None, "error": None}


@pytest.mark.parametrize(
    ("answer", "text"),
    [
        (["2"], "2"),
        ("2", "2"),
        ([r"$\frac{1}{2 n+2}$"], r"\frac{1}{2 n+2}"),
        (["$69$,$84$"], "69,84"),
        (["$(1,1), (3,2)$"], "(1,1), (3,2)"),
        (["62.5%"], "62.5%"),
    ],
)
def test_the_answer_of_olympiadbench_is_one_text_and_so_is_its_solution(answer, text):
    """Without the list and the dollars; several answers stay together."""
    assert olympiad_document({**OLYMPIAD, "answer": answer}, pretrained="model") == {
        **OLYMPIAD,
        "answer": text,
        "solution": "a",
    }


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"image_1": {"bytes": b"x"}}, r"it has a picture \(column image_1\).* of text, OE_TO_"),
        ({"images": ["1.jpg"]}, r"it has a picture \(column images\)"),
        ({"answer": None}, r"final_answer must be a text or a list of one; got \[None\]: a proof"),
        ({"answer": []}, r"got \[\]: a proof"),
        ({"answer": ["1", "2"]}, r"got \['1', '2'\]"),
    ],
)
def test_what_cannot_be_asked_or_judged_in_olympiadbench_is_refused(change, message):
    """Pictures, proofs, and answers to more than one question."""
    with pytest.raises(WiseMergeError, match=message):
        olympiad_document({**OLYMPIAD, **change})


def test_a_tolerance_that_is_not_kept_is_said(caplog):
    """The one problem with an error that its authors allow; the others say nothing."""
    olympiad_document(OLYMPIAD)
    assert caplog.text == ""
    olympiad_document({**OLYMPIAD, "answer": ["4.2"], "error": "1e-1"})
    assert "problem 7 of OlympiadBench allows an error of 1e-1: here an answer must be equal to 4.2" in caplog.text


def test_a_mapping_gives_each_task_its_file(tmp_path):
    """A task that it does not name has its own problems; `~` is the home."""
    files = {"gsm8k_passk": "~/a.jsonl", "math500_passk": str(tmp_path / "b.jsonl")}
    assert data_file(files, "math500_passk") == tmp_path / "b.jsonl"
    assert not str(data_file(files, "gsm8k_passk")).startswith("~")
    assert data_file(files, "countdown_passk") is None
    assert data_file(None, "gsm8k_passk") is None


def test_a_setting_is_for_all_tasks_or_for_each():
    """One value, or a mapping whose keys are tasks."""
    assert of_task(9, "max_gen_toks", "gsm8k_passk") == 9
    assert of_task({"gsm8k_passk": 9}, "max_gen_toks", "gsm8k_passk") == 9
    assert of_task({"gsm8k_passk": 9}, "max_gen_toks", "countdown_passk") is None
    with pytest.raises(WiseMergeError, match="max_gen_toks names gsm, which is no task; the tasks are aime24_passk"):
        of_task({"gsm": 9}, "max_gen_toks", "gsm8k_passk")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"a": 1}\n{"a": 2\n', "line 2: not JSON"),
        ('{"a": 1}\n\n[2]\n', r"line 3: wanted a JSON object; got \[2\]"),
        ('{"a": 1}\n"\xff"\n', "line 2: not UTF-8"),
    ],
)
def test_a_damaged_line_is_named(text, message, tmp_path):
    """By task, file and line, in one line; `datasets` would give a traceback that names none of them."""
    path = tmp_path / "damaged.jsonl"
    path.write_text(text, encoding="latin-1")
    with pytest.raises(
        WiseMergeError, match=rf"gsm8k_passk: .*damaged\.jsonl is not a JSON Lines file; {message}"
    ) as error:
        read_file(path, "gsm8k_passk")
    assert "\n" not in str(error.value)


def test_rows_of_a_file_are_read_in_order(tmp_path):
    """Empty lines do not count; a column may be missing in some rows."""
    path = tmp_path / "rows.jsonl"
    path.write_text('{"a": 1}\n\n{"a": 2, "b": "x"}\n')
    assert read_file(path, "gsm8k_passk").to_list() == [{"a": 1, "b": None}, {"a": 2, "b": "x"}]


def test_the_order_of_numbers_makes_no_other_problem_of_countdown():
    """The target does."""
    assert countdown_key(((3, 9, 5), 17)) == countdown_key(((9, 5, 3), 17)) != countdown_key(((9, 5, 3), 18))


def test_sha256_is_that_of_the_bytes(tmp_path):
    """As `sha256sum` prints it."""
    (tmp_path / "file").write_bytes(b"abc")
    assert sha256(tmp_path / "file") == hashlib.sha256(b"abc").hexdigest()
