"""`wise-merge journal` as it is typed: what it shows, and that `wise-merge score` reads what it exports."""

import json
import re
import subprocess
import sys

import pytest
from click.testing import CliRunner

from wise_merge import cli
from wise_merge.journal import Journal, Run, Sample, problem_id

SETTINGS = {"do_sample": True, "temperature": 0.7, "top_p": 0.95, "until": ["\n"], "max_gen_toks": 512, "seed": 1234}
RUN = Run("gsm8k_passk", {"name": "org/early", "weights": "1"}, SETTINGS)
LATE = Run("gsm8k_passk", {"name": "org/late", "weights": "2"}, {**SETTINGS, "temperature": 1.0})


def invoke(*arguments):
    return CliRunner().invoke(cli.main, list(map(str, arguments)))


def row(question, answer):
    return {"question": question, "answer": f"#### {answer}"}


def write(directory, run=RUN, counts=(3, 3, 3), *, rank=0, prompt="What is {0} + {0}?", logprob=-0.5, texts=None):
    """A journal with so many samples of each problem, every third cut off; the n-th problem's answer is 2n."""
    asked = [prompt.format(number) for number in range(len(counts))]
    with Journal.open(directory, run, rank=rank) as journal:
        journal.ask((text, number, row(text, 2 * number), None) for number, text in enumerate(asked))
        for number, count in enumerate(counts):
            text = asked[number]
            for index in range(count):
                completion = texts[number][index] if texts else f"The answer is {2 * number + index % 2}."
                reason = "length" if index % 3 == 2 else "stop"
                journal.append(Sample(problem_id(text), index, completion, 10, reason, logprob, 100 * number + index))
    return journal.path


def rows_of(output):
    """The table: a dict per line, by the names in its head."""
    head, *lines = [line.split() for line in output.splitlines()]
    return [dict(zip(head, line, strict=True)) for line in lines]


def exported(directory, out):
    result = invoke("journal", directory, "--out", out)
    assert result.exit_code == 0, result.output
    return sorted(out.glob("*/samples_*.jsonl")), result


def samples_of(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


# --- the table --------------------------------------------------------------------------------------


def test_each_run_is_a_line_that_can_be_piped(tmp_path):
    """Task, model, settings, problems, samples, share cut off, tokens, bytes and damage, without blanks in a cell."""
    early, late = write(tmp_path), write(tmp_path, LATE, (4, 1, 0))
    with late.open("ab") as file:
        file.write(b"noise\n")
    result = invoke("journal", tmp_path)
    assert result.exit_code == 0
    assert rows_of(result.stdout) == [
        {
            "run": RUN.fingerprint,
            "task": "gsm8k_passk",
            "model": "org/early",
            "settings": "temperature=0.7,top_p=0.95,seed=1234,max_gen_toks=512",
            "problems": "3",
            "samples": "9",
            "n": "3",
            "truncated": "33.3%",
            "tokens": "90",
            "bytes": str(early.stat().st_size),
            "damaged": "0",
        },
        {
            "run": LATE.fingerprint,
            "task": "gsm8k_passk",
            "model": "org/late",
            "settings": "temperature=1.0,top_p=0.95,seed=1234,max_gen_toks=512",
            "problems": "3",
            "samples": "5",
            "n": "0-4",
            "truncated": "20.0%",
            "tokens": "50",
            "bytes": str(late.stat().st_size),
            "damaged": "1",
        },
    ]
    assert result.stderr == f"{late.name}: 1 line is damaged and left out, such as of a run that was killed\n"


def test_columns_are_aligned(tmp_path):
    """Words begin and numbers end in one place, line by line."""
    write(tmp_path)
    write(tmp_path, Run("a_much_longer_name_of_a_task", {"name": "m"}, {"do_sample": False}), (1,))
    head, *lines = invoke("journal", tmp_path).stdout.splitlines()
    assert {len(line) for line in lines} == {len(head)}
    for line in lines:
        assert line[head.index("model") - 1] == " " != line[head.index("model")]
        assert line[head.index("samples") + len("samples") - 1].isdigit()


def test_names_from_a_journal_do_not_reach_the_terminal_as_commands(tmp_path):
    """Blanks and escape sequences in the names of tasks and models are taken out of the table."""
    write(tmp_path, Run("t\x1b[31m x", {"name": "my\nmodel  here"}, {"temperature": "\x07"}))
    (row,) = rows_of(invoke("journal", tmp_path).stdout)
    assert (row["task"], row["model"], row["settings"]) == ("t_[31m_x", "my_model_here", "temperature=_")


def test_ranks_are_one_run(tmp_path):
    """Their files are put together."""
    write(tmp_path, counts=(3, 0, 0))
    write(tmp_path, counts=(0, 2, 3), rank=1)
    (row,) = rows_of(invoke("journal", tmp_path).stdout)
    assert (row["samples"], row["n"]) == ("8", "2-3")


def test_what_no_run_is_called_after_is_said(tmp_path):
    """A file of another name is read and shown, but a rerun would not find it; the same where settings are lost."""
    path = write(tmp_path)
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(lines[1:]))
    path.rename(tmp_path / "renamed.jsonl")
    result = invoke("journal", tmp_path)
    (row,) = rows_of(result.stdout)
    assert (row["run"], row["samples"], row["task"], row["model"]) == (RUN.fingerprint, "9", "?", "?")
    assert "renamed.jsonl: its name has no run's fingerprint" in result.stderr
    assert f"run {RUN.fingerprint}: what it was drawn with stands in no line" in result.stderr


@pytest.mark.parametrize("place", ["missing", "empty", "file"])
def test_a_place_without_journals_is_one_line(tmp_path, place):
    """Exit code 1, its name, and where journals come from."""
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").touch()
    result = invoke("journal", tmp_path / place)
    assert (result.exit_code, result.output.count("\n")) == (1, 1)
    assert str(tmp_path / place) in result.output
    assert "--model_args journal=" in result.output


def test_a_run_is_shown_while_it_goes_on(tmp_path):
    """The command takes no lock."""
    with Journal.open(tmp_path, RUN) as journal:
        journal.append(Sample("0" * 32, 0, "text", 1, "stop", None, 1))
        assert rows_of(invoke("journal", tmp_path).stdout)[0]["samples"] == "1"


def test_the_command_is_quick_to_start():
    """It loads neither torch nor a host."""
    code = (
        "import sys, wise_merge.journal.export, wise_merge.journal.contents\n"
        "heavy = {'torch', 'transformers', 'mergekit', 'lm_eval', 'matplotlib'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


# --- the export -------------------------------------------------------------------------------------


def test_an_export_has_the_rows_of_log_samples(tmp_path):
    """One per problem by number, its samples by index, with how each ended, its tokens, log-probability and seed."""
    write(tmp_path / "journal", counts=(2, 0, 3))
    write(tmp_path / "journal", counts=(0, 1, 0), rank=1)
    (path,), _ = exported(tmp_path / "journal", tmp_path / "out")
    first, second, third = samples_of(path)
    assert first == {
        "doc_id": 0,
        "doc": {"question": "What is 0 + 0?", "answer": "#### 0"},
        "target": None,
        "arguments": {"gen_args_0": {"arg_0": "What is 0 + 0?", "arg_1": SETTINGS}},
        "resps": [["The answer is 0.", "The answer is 1."]],
        "filter": "none",
        "index": [0, 1],
        "finish_reason": ["stop", "stop"],
        "tokens": [10, 10],
        "logprob": [-0.5, -0.5],
        "seed": [0, 1],
    }
    assert (second["doc_id"], second["seed"]) == (1, [100])
    assert third["finish_reason"] == ["stop", "stop", "length"]
    assert path.parent.name == f"early-{RUN.fingerprint}"
    assert re.fullmatch(r"samples_gsm8k_passk_\d{4}-\d\d-\d\dT\d\d-\d\d-\d\d\.\d{6}\.jsonl", path.name)


def test_score_reads_an_export_and_compares_two_models(tmp_path):
    """As a folder and by name; the task tells how answers are read, and the models keep their names."""
    write(tmp_path / "journal")
    write(tmp_path / "journal", LATE)
    paths, _ = exported(tmp_path / "journal", tmp_path / "out")
    assert len(paths) == 2
    for arguments in ([tmp_path / "out"], paths):
        result = invoke("score", *arguments)
        assert result.exit_code == 0, result.output
        assert result.output.count("3 problems, n = 3 samples each; answers read as gsm8k (by the name of") == 2
        assert f"early-{RUN.fingerprint}/gsm8k_passk" in result.output
        assert "paired: difference" in result.output


@pytest.mark.parametrize(("task", "benchmark"), [("gsm8k", "gsm8k"), ("math500", "math"), ("countdown", "countdown")])
def test_real_completions_score_the_same_by_way_of_a_journal(tmp_path, shared_data, task, benchmark):
    """LLaDA's published completions, scored as they are published and as a journal exports them."""
    published = shared_data / "completions" / f"llada8b_{task}.jsonl"
    rows = [json.loads(line) for line in published.read_text().splitlines()][:60]
    direct = tmp_path / "direct.jsonl"
    keys = ("question", "problem", "answer", "numbers", "target")
    asked = []
    with Journal.open(tmp_path / "journal", Run(f"{task}_passk", {"name": "LLaDA"}, {"temperature": 1})) as journal:
        for number, row in enumerate(rows):
            rows[number] = doc = {key: row[key] for key in keys if key in row}
            prompt, texts = doc.get("question") or doc["problem"], row["completions"]
            asked.append((prompt, number, doc, str(row["answer"])))
            for index, text in enumerate(texts):
                journal.append(Sample(problem_id(prompt), index, text, len(text), "stop", None, number))
            rows[number] = {"id": number, **doc, "completions": texts}
        journal.ask(asked)
    direct.write_text("".join(json.dumps(row) + "\n" for row in rows))
    (path,), _ = exported(tmp_path / "journal", tmp_path / "out")
    tables = []
    for file, options in ((direct, ["--benchmark", benchmark]), (path, [])):
        result = invoke("score", file, *options, "--json", tmp_path / "figures.json")
        assert result.exit_code == 0, result.output
        (figures,) = json.loads((tmp_path / "figures.json").read_text())["files"]
        curves = {curve["name"]: curve["value"] for curve in figures["summary"]["curves"]}
        assert figures["benchmark"] == benchmark
        tables.append({name: curves[name] for name in ("pass@k", "maj@k")})
    assert tables[0] == tables[1]


def test_incomplete_problems_are_exported_and_named(tmp_path):
    """With what they have; those without any sample are left out; score says what it does about it."""
    write(tmp_path / "journal", counts=(3, 2, 0, 3))
    (path,), result = exported(tmp_path / "journal", tmp_path / "out")
    assert f"{path}: 3 problems, up to 3 samples each" in result.output
    assert "incomplete: problem 1 (2), 2 (none, left out)" in result.output
    scored = invoke("score", path)
    assert scored.exit_code == 0
    assert "3 problems, n = 2 to 3 samples each" in scored.output


def test_nothing_is_overwritten(tmp_path):
    """A second export of the same is refused; after more samples it is a file of its own, which score prefers."""
    write(tmp_path / "journal", counts=(1,))
    (path,), _ = exported(tmp_path / "journal", tmp_path / "out")
    before = path.read_bytes()
    again = invoke("journal", tmp_path / "journal", "--out", tmp_path / "out")
    assert (again.exit_code, again.output.count("\n")) == (1, 1)
    assert f"{path} is there already" in again.output
    write(tmp_path / "journal", counts=(2,))
    paths, _ = exported(tmp_path / "journal", tmp_path / "out")
    assert len(paths) == 2
    assert path.read_bytes() == before
    assert "n = 2 samples each" in invoke("score", tmp_path / "out").output
    assert not list((tmp_path / "out").rglob("*.partial"))


@pytest.mark.parametrize("below", [False, True])
def test_an_export_that_cannot_be_written_is_one_line(tmp_path, below):
    """Where a file stands in the way."""
    write(tmp_path / "journal")
    (tmp_path / "file").touch()
    out = tmp_path / "file" / "below" if below else tmp_path / "file"
    result = invoke("journal", tmp_path / "journal", "--out", out)
    assert (result.exit_code, result.output.count("\n")) == (1, 1)
    assert str(out) in result.output


def test_prompts_of_two_evaluations_are_parted(tmp_path):
    """With other worked examples the same problems have other prompts: two files, each with every problem once."""
    write(tmp_path / "journal", counts=(1, 1))
    write(tmp_path / "journal", counts=(2, 2, 2), prompt="Example: 1. What is {0} + {0}?")
    result = invoke("journal", tmp_path / "journal")
    assert "2 evaluations with different problems, prompts or data; --out parts them" in result.stderr
    write(tmp_path / "journal", counts=(1, 1, 1, 1))
    paths, _ = exported(tmp_path / "journal", tmp_path / "out")
    prompts = [[row["arguments"]["gen_args_0"]["arg_0"][:7] for row in samples_of(path)] for path in paths]
    assert prompts == [["What is"] * 4, ["Example"] * 3]
    for path in paths:
        assert invoke("score", path).exit_code == 0


def evaluate(directory, *problems, **changes):
    """An evaluation that asks for these (prompt, number, question, answer) and finds or draws two samples of each."""
    with Journal.open(directory, RUN, **changes) as journal:
        journal.ask((prompt, number, row(question, answer), None) for prompt, number, question, answer in problems)
        for prompt, *_ in problems:
            for index in range(2):
                journal.append(Sample(problem_id(prompt), index, f"{prompt} {index}", 10, "stop", -0.5, index))


def damage_evaluation(directory, number):
    """Damage the n-th line of an evaluation in the only file."""
    (path,) = directory.glob("*.jsonl")
    lines = path.read_bytes().splitlines(keepends=True)
    place = [place for place, line in enumerate(lines) if b'"kind":"evaluation"' in line][number]
    lines[place] = lines[place].replace(b'"asks"', b'"Asks"')
    path.write_bytes(b"".join(lines))


def asked(prompt, *numbers):
    return [(f"{prompt} {number}?", number, f"{number}?", number) for number in numbers]


def exports(tmp_path, *, out="out"):
    """The folders of an export by the end of their names, each with its rows as they were asked for."""
    paths, _ = exported(tmp_path / "journal", tmp_path / out)
    found = {}
    for path in paths:
        end = path.parent.name.removeprefix(f"early-{RUN.fingerprint}")
        rows = samples_of(path)
        found[end] = [
            (
                row["arguments"]["gen_args_0"]["arg_0"],
                row["doc_id"],
                row["doc"]["question"],
                int(row["doc"]["answer"].removeprefix("#### ")),
            )
            for row in rows
        ]
        assert all(len(row["resps"][0]) == len(row["seed"]) == 2 for row in rows)
        assert invoke("score", path).exit_code == 0
    return found


def test_two_rows_of_one_prompt_are_two_rows(tmp_path):
    """Each with its own number and answer and the samples of the prompt, as lm-eval has them."""
    problems = [("1?", 0, "1?", 1), ("2?", 1, "2?", 2), ("1?", 2, "1?", 5)]
    evaluate(tmp_path / "journal", *problems)
    assert exports(tmp_path) == {"": problems}


def test_a_corrected_answer_is_the_one_that_is_exported(tmp_path):
    """The newest evaluation's; also where that goes back to the first, and with samples of the first alone."""
    wrong, right = [("1?", 0, "1?", 999), ("2?", 1, "2?", 2)], [("1?", 0, "1?", 1), ("2?", 1, "2?", 2)]
    for number, problems in enumerate([wrong, right, wrong]):
        evaluate(tmp_path / "journal", *problems)
        assert exports(tmp_path, out=f"out{number}") == {"": problems}


def test_other_data_files_have_exports_of_their_own(tmp_path):
    """Where they share problems under other numbers, no row is of a mixture, and none has a number twice."""
    first = [(f"{number}?", number - 1, f"{number}?", number) for number in (1, 2, 3, 4)]
    second = [(f"{number}?", number - 3, f"{number}?", number) for number in (3, 4, 5, 6, 7)]
    evaluate(tmp_path / "journal", *first)
    evaluate(tmp_path / "journal", *second)
    assert exports(tmp_path) == {"": first, "-2": second}


def test_subsets_with_other_worked_examples_stay_apart(tmp_path):
    """Two numbers of examples with no problem in common are two evaluations, though no number is there twice."""
    evaluate(tmp_path / "journal", *asked("two", 0, 1))
    evaluate(tmp_path / "journal", *asked("four", 2, 3))
    assert exports(tmp_path) == {"": asked("two", 0, 1), "-2": asked("four", 2, 3)}


def test_more_problems_make_one_export_and_fewer_add_none(tmp_path):
    """A larger --limit takes in what came before; a smaller one asks for nothing new; folders keep their names."""
    evaluate(tmp_path / "journal", *asked("two", 0, 1))
    evaluate(tmp_path / "journal", *asked("four", 0, 1))
    evaluate(tmp_path / "journal", *asked("four", 0, 1, 2, 3))
    evaluate(tmp_path / "journal", *asked("four", 0))
    evaluate(tmp_path / "journal", *asked("two", 0, 1, 2))
    assert exports(tmp_path) == {"": asked("two", 0, 1, 2), "-2": asked("four", 0, 1, 2, 3)}


def test_ranks_of_one_launch_are_one_export(tmp_path):
    """And those of another, which has other examples, are another, in whatever order they begin."""
    for prompt in ("two", "four"):
        for rank in (1, 0):
            evaluate(tmp_path / "journal", *asked(prompt, rank, rank + 2), rank=rank, evaluation=prompt)
    assert exports(tmp_path) == {"": asked("two", 0, 1, 2, 3), "-2": asked("four", 0, 1, 2, 3)}


@pytest.mark.parametrize("damaged", [None, 0, 1])
def test_one_launch_may_evaluate_twice(tmp_path, damaged):
    """With the same id and other examples: two evaluations, also if the line of one is damaged."""
    evaluate(tmp_path / "journal", *asked("two", 0, 1), evaluation="launch")
    evaluate(tmp_path / "journal", *asked("four", 0, 1), evaluation="launch")
    if damaged is not None:
        damage_evaluation(tmp_path / "journal", damaged)
    assert exports(tmp_path) == {"": asked("two", 0, 1), "-2": asked("four", 0, 1)}


@pytest.mark.parametrize("damaged", [[0], [1], [0, 1]])
def test_a_damaged_line_of_an_evaluation_loses_no_samples(tmp_path, damaged):
    """Then what was written down together is exported together; a rerun writes the line anew."""
    evaluate(tmp_path / "journal", *asked("two", 0, 1))
    evaluate(tmp_path / "journal", *asked("four", 0, 1))
    for number in damaged:
        damage_evaluation(tmp_path / "journal", number)
    assert exports(tmp_path) == {"": asked("two", 0, 1), "-2": asked("four", 0, 1)}
    evaluate(tmp_path / "journal", *asked("two", 0, 1, 2))
    again = exports(tmp_path, out="again")
    assert sorted(again.values(), key=len) == [asked("four", 0, 1), asked("two", 0, 1, 2)]


def test_a_damaged_share_of_a_rank_is_put_back(tmp_path):
    """Its problems name the evaluation that they were asked for in."""
    for rank in (0, 1):
        evaluate(tmp_path / "journal", *asked("two", rank, rank + 2), rank=rank, evaluation="launch")
    (path,) = (tmp_path / "journal").glob("*-1.jsonl")
    path.write_bytes(path.read_bytes().replace(b'"asks"', b'"Asks"'))
    assert exports(tmp_path) == {"": asked("two", 0, 1, 2, 3)}


def test_samples_are_never_judged_by_a_row_that_was_not_asked_for(tmp_path):
    """If the line with the corrected answer is damaged, the one with the wrong answer does not stand in for it."""
    evaluate(tmp_path / "journal", ("1?", 0, "1?", 999), ("2?", 1, "2?", 2))
    evaluate(tmp_path / "journal", ("1?", 0, "1?", 1), ("2?", 1, "2?", 2))
    (path,) = (tmp_path / "journal").glob("*.jsonl")
    path.write_bytes(path.read_bytes().replace(b'#### 1"', b'#### 7"'))
    (file,), result = exported(tmp_path / "journal", tmp_path / "out")
    assert "left out: 2 samples whose problem is in a damaged line" in result.output
    assert [row["doc_id"] for row in samples_of(file)] == [1]


def test_an_evaluation_without_samples_is_not_exported(tmp_path):
    """As if it was stopped before the first: nothing is said of it either."""
    evaluate(tmp_path / "journal", *asked("two", 0, 1))
    with Journal.open(tmp_path / "journal", RUN) as journal:
        journal.ask([("other", 0, {}, None)])
    assert exports(tmp_path) == {"": asked("two", 0, 1)}
    assert invoke("journal", tmp_path / "journal").stderr == ""


def test_samples_without_their_problem_are_counted(tmp_path):
    """If the line of a problem is damaged there is nothing to judge its samples by, until a rerun writes it anew."""
    path = write(tmp_path / "journal")
    path.write_bytes(path.read_bytes().replace(b'"doc_id":1', b'"doc_id":7'))
    (file,), result = exported(tmp_path / "journal", tmp_path / "out")
    assert "left out: 3 samples whose problem is in a damaged line" in result.output
    assert [row["doc_id"] for row in samples_of(file)] == [0, 2]
    damage_evaluation(tmp_path / "journal", 0)
    _, result = exported(tmp_path / "journal", tmp_path / "neither")
    assert "left out: 3 samples whose problem is in a damaged line" in result.output
    write(tmp_path / "journal")
    _, result = exported(tmp_path / "journal", tmp_path / "again")
    assert "left out" not in result.stdout
    path.write_bytes(path.read_bytes().replace(b'"doc":', b'"Doc":'))
    result = invoke("journal", tmp_path / "journal", "--out", tmp_path / "third")
    assert (result.exit_code, "no samples whose problem is known" in result.output) == (1, True)


@pytest.mark.parametrize("logprob", [None, -0.25])
def test_log_probabilities_rank_where_all_are_known(tmp_path, logprob):
    """Then score has a best@k by them; with a gap there is none, and no row is rejected."""
    write(tmp_path / "journal", counts=(2, 2))
    write(tmp_path / "journal", counts=(3, 3), logprob=logprob)
    (path,), _ = exported(tmp_path / "journal", tmp_path / "out")
    assert ("logprob" in samples_of(path)[0]) == (logprob is not None)
    result = invoke("score", path)
    assert result.exit_code == 0, result.output
    assert ("best@k" in result.output) == (logprob is not None)


def test_odd_texts_survive_the_export(tmp_path):
    """Surrogates, NULs and separators; the file is ASCII and has one row per line."""
    texts = [["\ud800", "a\u2028b", "\0\n\r"]]
    write(tmp_path / "journal", counts=(3,), texts=texts)
    (path,), _ = exported(tmp_path / "journal", tmp_path / "out")
    assert path.read_bytes().isascii()
    assert samples_of(path)[0]["resps"] == texts
