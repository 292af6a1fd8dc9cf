"""`wise-merge score` as it is typed: real and made files in, table, JSON, CSV and exit code out."""

import csv
import itertools
import json
import os
import random
import re
import statistics

import pytest
from click.testing import CliRunner

from wise_merge import cli
from wise_merge.results.export import read_json
from wise_merge.results.summary import summary_of


def score(*arguments):
    """The finished command, run in this process."""
    return CliRunner().invoke(cli.main, ["score", *map(str, arguments)])


def write(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def made(path, skill, *, problems=30, n=8, seed=0, first=0, **more):
    """A file of samples that are right with the given chance, other on every problem."""
    rng = random.Random(seed)
    rows = []
    for i in range(first, first + problems):
        right = skill * random.Random(i).random() ** 0.5
        texts = [f"So it is {100 + i if rng.random() < right else rng.randint(0, 5)}." for _ in range(n)]
        rows.append({"id": i, "question": f"Q{i}", "gold": str(100 + i), "completions": texts, **more})
    return write(path, rows)


@pytest.fixture
def weak(tmp_path):
    return made(tmp_path / "weak.jsonl", 0.5, seed=1)


@pytest.fixture
def strong(tmp_path):
    return made(tmp_path / "strong.jsonl", 1.0, seed=2)


def figures(path):
    """The summary of every file of a results JSON."""
    return {file["file"]: file["summary"] for file in json.loads(path.read_text())["files"]}


def value(summary, name, k, scorer=None):
    (curve,) = (curve for curve in summary["curves"] if (curve["name"], curve["scorer"]) == (name, scorer))
    return curve["value"][curve["k"].index(k)]


def test_the_table_names_what_was_measured(weak):
    """Problems, n, benchmark, and each figure at 1, 2, 4 and n with error and interval; at most 100 columns wide."""
    result = score(weak)
    assert result.exit_code == 0, result.output
    assert "30 problems, n = 8 samples each; answers read as gsm8k (all golds are numbers)" in result.output
    assert re.findall(r"^ +(\d+)  0\.\d{3} ± 0\.\d{3} \[0\.\d{3},0\.\d{3}\]", result.output, re.MULTILINE) == [*"1248"]
    for word in ("pass@k", "maj@k", "pass^k", "bound", "Var(rho)", "diversity", "audit", "power"):
        assert word in result.output
    assert max(map(len, result.output.splitlines())) <= 100


def test_one_file_suffices_to_recompute_every_figure(weak, tmp_path):
    """From the facts in the JSON, counting all subsets of three: pass@3 and maj@3 come out as printed there."""
    score(weak, "--json", tmp_path / "out.json")
    (file,) = json.loads((tmp_path / "out.json").read_text())["files"]
    passed, majority = [], []
    for problem in file["problems"]:
        samples = [vote for vote in problem["answers"] for _ in range(vote["count"])]
        assert (len(samples), sum(vote["correct"] for vote in samples)) == (problem["n"], problem["c"])
        subsets = list(itertools.combinations(samples, 3))
        passed.append(statistics.mean(any(vote["correct"] for vote in subset) for subset in subsets))
        majority.append(statistics.mean(map(share_of_right_winners, subsets)))
    assert value(file["summary"], "pass@k", 3) == pytest.approx(statistics.mean(passed))
    assert value(file["summary"], "maj@k", 3) == pytest.approx(statistics.mean(majority))
    error = statistics.stdev(passed) / len(passed) ** 0.5
    (curve,) = (curve for curve in file["summary"]["curves"] if curve["name"] == "pass@k")
    assert curve["standard_error"][2] == pytest.approx(error)
    assert curve["low"][2] < curve["value"][2] < curve["high"][2]


def test_figures_are_made_again_from_the_file(weak, tmp_path):
    """With scores of the samples, with verdicts of the file alone, and with answers that are missing yet right."""
    rows = [json.loads(line) for line in weak.read_text().splitlines()]
    scored = [{**row, "scores": [number % 3 + 0.5 for number in range(8)]} for row in rows]
    verdicts = [{"id": row["id"], "correct": [number % 2 == 0 for number in range(8)]} for row in rows]
    without = [{**verdict, "answers": ["1", None] * 4} for verdict in verdicts]
    for name, rows, options in (
        ("scored", scored, ()),
        ("verdicts", verdicts, ("--verdicts", "file")),
        ("without", without, ("--verdicts", "file")),
    ):
        result = score(write(tmp_path / f"{name}.jsonl", rows), *options, "--json", tmp_path / "out.json")
        assert result.exit_code == 0, result.output
        (file,) = json.loads((tmp_path / "out.json").read_text())["files"]
        (again,) = read_json(tmp_path / "out.json")
        assert (again.by_file, again.rejected, len(again.problems)) == (bool(options), 0, 30)
        made = summary_of(again.problems)
        assert [(curve.name, curve.scorer) for curve in made.curves] == [
            (curve["name"], curve["scorer"]) for curve in file["summary"]["curves"]
        ]
        for curve, told in zip(made.curves, file["summary"]["curves"], strict=True):
            for key in ("value", "standard_error", "low", "high"):
                assert getattr(curve, key) == pytest.approx(told[key], abs=1e-12)


def share_of_right_winners(subset):
    counts = {vote["answer"]: sum(other is vote for other in subset) for vote in subset}
    correct = {vote["answer"]: vote["correct"] for vote in subset}
    winners = [answer for answer, count in counts.items() if count == max(counts.values())]
    return sum(correct[answer] for answer in winners) / len(winners)


def test_the_csv_has_a_line_for_every_point(weak, strong, tmp_path):
    """The same values as the JSON, in long format."""
    score(weak, strong, "--csv", tmp_path / "out.csv", "--json", tmp_path / "out.json")
    with (tmp_path / "out.csv").open() as file:
        lines = list(csv.DictReader(file))
    assert list(lines[0]) == [
        "file",
        "metric",
        "scorer",
        "k",
        "value",
        "standard_error",
        "low",
        "high",
        "problems",
        "n",
    ]
    summaries = figures(tmp_path / "out.json")
    assert {line["file"] for line in lines} == {"weak", "strong"}
    for line in lines:
        summary = summaries[line["file"]]
        assert float(line["value"]) == value(summary, line["metric"], int(line["k"]), line["scorer"] or None)
        assert (line["problems"], line["n"]) == ("30", "8")


def test_two_files_are_compared_problem_by_problem(weak, strong, tmp_path):
    """Second minus first for pass@k and maj@k; the other way round, the other sign."""
    result = score(weak, strong, "-k", "1,8", "--json", tmp_path / "out.json")
    assert "strong minus weak" in result.output
    (comparison,) = json.loads((tmp_path / "out.json").read_text())["comparisons"]
    assert [(one["name"], one["k"]) for one in comparison["compared"]] == [
        *(("pass@k", 1), ("pass@k", 8)),
        *(("maj@k", 1), ("maj@k", 8)),
    ]
    summaries = figures(tmp_path / "out.json")
    difference = comparison["compared"][0]["difference"]["difference"]
    assert difference == pytest.approx(value(summaries["strong"], "pass@k", 1) - value(summaries["weak"], "pass@k", 1))
    assert comparison["compared"][0]["difference"]["p_value"] < 0.01
    score(strong, weak, "-k", "1,8", "--json", tmp_path / "back.json")
    (back,) = json.loads((tmp_path / "back.json").read_text())["comparisons"]
    assert back["compared"][0]["difference"]["difference"] == pytest.approx(-difference)
    assert figures(tmp_path / "back.json") == summaries


def test_three_files_are_each_compared_with_the_first(weak, strong, tmp_path):
    """Two comparisons, and all three side by side."""
    result = score(weak, strong, made(tmp_path / "third.jsonl", 0.8, seed=3))
    assert re.findall(r"^(\w+ minus \w+)$", result.output, re.MULTILINE) == ["strong minus weak", "third minus weak"]
    assert re.search(r"problems  pass@1 +pass@8 +maj@8", result.output)


def test_files_with_other_seeds_are_put_together(weak, tmp_path):
    """Eight files with one sample per problem, pooled, are the file with eight; order of files is irrelevant."""
    rows = [json.loads(line) for line in weak.read_text().splitlines()]
    for row in rows:
        row["labels"] = [len(text) % 2 == 0 for text in row["completions"]]
    whole = write(tmp_path / "whole.jsonl", rows)
    seeds = [
        write(
            tmp_path / f"rs{seed}.jsonl",
            [{**row, **{key: [row[key][seed]] for key in ("completions", "labels")}} for row in rows],
        )
        for seed in range(8)
    ]
    random.Random(0).shuffle(seeds)
    pooled = score("--pool", *seeds, "--json", tmp_path / "pooled.json")
    assert pooled.exit_code == 0, pooled.stderr
    assert pooled.stdout.splitlines()[0] == f"{seeds[0].stem} and 7 more"
    score(whole, "--json", tmp_path / "whole.json")
    (one,), (other,) = (figures(tmp_path / f"{name}.json").values() for name in ("pooled", "whole"))
    assert one == other
    refused = score("--pool", seeds[0], weak)
    assert "weak.jsonl cannot be put together with" in refused.stderr
    assert "it holds completions, the other completions, labels" in refused.stderr


@pytest.mark.parametrize("n", [1, 4])
def test_of_one_problem_nothing_is_said_of_others(n, tmp_path):
    """A dash and its reason where an error, an interval or a difference would need a second problem; NaN nowhere."""
    paths = [made(tmp_path / f"{name}.jsonl", skill, problems=1, n=n) for name, skill in (("one", 0.5), ("other", 1))]
    outputs = ("--json", tmp_path / "x.json", "--csv", tmp_path / "x.csv", "--figures", tmp_path / "plots")
    result = score(*paths, *outputs, "--embeddings", "wording")
    assert result.exit_code == 0, result.output
    assert re.search(r"^ +1  [01]\.\d{3} ±   -   \[     -     \]", result.stdout, re.MULTILINE)
    assert result.stdout.count("- unknown: one problem does not tell what others give") == 2
    assert re.search(r"^ +1  .*±   -   \[      -      \] p=1\.000   -", result.stdout, re.MULTILINE)
    assert "- unknown, as one problem does not tell how far others differ" in result.stdout

    def refuse(constant):
        raise AssertionError(constant)

    document = json.loads((tmp_path / "x.json").read_text(), parse_constant=refuse)
    curves = [curve for file in document["files"] for curve in file["summary"]["curves"]]
    assert {value for curve in curves for key in ("low", "high") for value in curve[key]} == {None}
    drawn = [picture.read_text() for picture in (tmp_path / "plots").glob("*.svg")]
    assert all(not re.search(r"\bnan\b", text, re.IGNORECASE) for text in (result.stdout, *drawn))
    rows = list(csv.DictReader((tmp_path / "x.csv").open()))
    assert {row[key] for row in rows for key in ("standard_error", "low", "high")} == {""}


def test_equal_rates_and_equal_differences_are_not_certainty(tmp_path):
    """2 of 4 and 3 of 4 on each of ten problems: intervals with a width, and none of the difference."""
    for name, right in (("even", 2), ("better", 3)):
        texts = ["It is 1."] * right + ["It is 2."] * (4 - right)
        write(tmp_path / f"{name}.jsonl", [{"id": i, "gold": "1", "completions": texts} for i in range(10)])
    result = score(tmp_path / "even.jsonl", tmp_path / "better.jsonl", "--json", tmp_path / "x.json")
    for summary in figures(tmp_path / "x.json").values():
        for curve in summary["curves"]:
            assert all(high - low > 0.05 for low, high in zip(curve["low"], curve["high"], strict=True)), curve["name"]
    assert "0.500 ± 0.000 [0.352,0.648]" in result.stdout  # Wilson's of 20 heads in 40 tosses
    assert re.search(r"^ +1  \+0\.250 ± 0\.000 \[      -      \] p=0\.00\d   -", result.stdout, re.MULTILINE)
    assert "as all problems differ by the same" in result.stdout


def test_order_of_samples_and_rows_is_irrelevant(weak, tmp_path):
    """Shuffled, scores and all: the same JSON but for the path."""
    rng = random.Random(0)
    rows = [json.loads(line) for line in weak.read_text().splitlines()]
    for row in rows:
        row["reward"] = [round(rng.random(), 1) for _ in row["completions"]]
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    one = write(tmp_path / "a" / "x.jsonl", rows)
    for row in rows:
        order = rng.sample(range(8), 8)
        row["completions"], row["reward"] = ([row[key][i] for i in order] for key in ("completions", "reward"))
    rng.shuffle(rows)
    other = write(tmp_path / "b" / "x.jsonl", rows)
    found = []
    for path in (one, other):
        assert score(path, "--json", tmp_path / "out.json").exit_code == 0
        document = json.loads((tmp_path / "out.json").read_text())
        del document["files"][0]["path"]
        found.append(document)
    assert found[0] == found[1]
    assert value(found[0]["files"][0]["summary"], "weighted maj@k", 4, "reward") > 0


def test_the_format_of_the_file_is_irrelevant(weak, tmp_path):
    """lm-eval's rows, one row per sample and one per problem: the same figures."""
    rows = [json.loads(line) for line in weak.read_text().splitlines()]
    lm_eval = [
        {
            "doc_id": row["id"],
            "doc": {"question": row["question"], "answer": row["gold"]},
            "target": row["gold"],
            "resps": [row["completions"]],
            "filter": "samples",
        }
        for row in rows
    ]
    single = [{**row, "completions": text} for row in rows for text in row["completions"]]
    paths = [
        write(tmp_path / "samples_gsm8k_passk_2026-01-01T00-00-00.0.jsonl", lm_eval),
        write(tmp_path / "single.jsonl", single),
        weak,
    ]
    result = score(*paths, "--json", tmp_path / "out.json")
    assert result.exit_code == 0, result.output
    one, other, third = figures(tmp_path / "out.json").values()
    assert one == other == third


def test_rejected_rows_are_counted_and_decide_the_exit_code(weak):
    """The other rows are scored; --skip-bad accepts that."""
    with weak.open("a") as file:
        file.write('{"id": 77, "gold": "1", "completions": []}\n{oops\n')
    result = score(weak)
    assert result.exit_code == 1
    assert f"{weak}: line 31: completions is empty: there must be at least one sample" in result.stderr
    assert f"{weak}: line 32: not JSON" in result.stderr
    assert "2 rows were rejected and the figures are without them; --skip-bad makes this exit" in result.stderr
    assert "30 problems, n = 8" in result.stdout
    assert "note: 2 rows rejected, and the figures are without them" in result.stdout
    skipped = score(weak, "--skip-bad")
    assert skipped.exit_code == 0
    assert skipped.stdout == result.stdout
    assert skipped.stderr.endswith("2 rows were rejected and the figures are without them\n")


def with_nulls(rows, form):
    """Rows of `made` with 2 of 20 completions gone, in one of the forms of files."""
    for i, j in ((3, 1), (7, 0)):
        rows[i]["completions"][j] = None
    if form == "row":
        return [{**row, "completions": text} for row in rows for text in row["completions"]]
    if form == "lm-eval":
        return [
            {"doc_id": row["id"], "doc": row, "target": row["gold"], "resps": [row["completions"]], "filter": "none"}
            for row in rows
        ]
    return rows


@pytest.mark.parametrize("more", [[], ["--pool"], ["--embeddings", "wording"]])
def test_completions_that_are_not_there_count_as_wrong_in_every_form(more, tmp_path):
    """18 of 20 right and two null: .9 and never 1, told in table and JSON, in each form; left out when asked for."""
    found, skipped = [], []
    for form in ("list", "row", "lm-eval"):
        texts = ["It is 18."] * 2
        rows = [{"id": i, "question": f"{i}?", "gold": "18", "completions": [*texts]} for i in range(10)]
        path = write(tmp_path / f"{form}.jsonl", with_nulls(rows, form))
        result = score(path, "--benchmark", "gsm8k", "--json", tmp_path / "x.json", *more)
        assert (result.exit_code, result.stderr) == (0, "")
        assert "note: 2 samples without a completion count as wrong (--skip-bad leaves them out)" in result.stdout
        (file,) = json.loads((tmp_path / "x.json").read_text())["files"]
        assert file["missing"] == {"completion": 2}
        assert (sum(one["n"] for one in file["problems"]), sum(one["c"] for one in file["problems"])) == (20, 18)
        assert value(file["summary"], "pass@k", 1) == pytest.approx(0.9)
        assert file["summary"]["unanswered"] == pytest.approx(0.1)
        found.append(file["summary"])
        result = score(path, "--benchmark", "gsm8k", "--json", tmp_path / "x.json", "--skip-bad", *more)
        assert (result.exit_code, result.stderr) == (0, "")
        assert "note: 2 samples without a completion left out (--skip-bad)" in result.stdout
        skipped.append(figures(tmp_path / "x.json")[form])
        assert value(skipped[-1], "pass@k", 1) == 1
    assert found[0] == found[1] == found[2]
    assert skipped[0] == skipped[1] == skipped[2]


def test_a_file_with_a_row_per_sample_is_pooled_as_a_whole(tmp_path):
    """Lists of one with ids that repeat: all samples with --pool, and the way to it without."""
    rows = [{"id": i, "gold": "18", "completions": [f"It is {n}."]} for n in (18, 17, 18, 16) for i in range(5)]
    path = write(tmp_path / "x.jsonl", rows)
    pooled = score("--pool", path)
    assert (pooled.exit_code, pooled.stderr) == (0, "")
    assert "5 problems, n = 4 samples each" in pooled.stdout
    assert re.search(r"^ +1  0\.500 ", pooled.stdout, re.MULTILINE)
    refused = score(path)
    assert refused.exit_code == 1
    assert "line 6: id '0' is there twice, first in line 1; if both rows have samples of it, --pool" in refused.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["-k", "9"], r"weak\.jsonl: k = 9 needs 1 <= k <= n, but problem 0 has n = 8 samples"),
        (["-k", "1" * 5000], "such as 1,8,64; got '1{59}\\.\\.\\."),
        (["-k", "1,x"], "-k takes whole numbers with commas between, such as 1,8,64; got '1,x'"),
        (["--benchmark", "gsm"], "there is no benchmark 'gsm'; there are gsm8k, "),
        (["--verdicts", "file"], "needs the file's own verdicts .*the columns are id, question, gold, completions"),
        (["--field", "gold=truth"], "no column truth for --field gold"),
        (["--json", "/proc/nowhere/x.json"], "/proc/nowhere/x.json cannot be written"),
        (["--scorer", "best"], "a scorer must be one of reward:MODEL"),
    ],
)
def test_a_mistake_is_one_line(arguments, message, weak):
    """Exit code 1 and one line on stderr, without a traceback."""
    result = score(weak, *arguments)
    assert result.exit_code == 1
    assert re.search(message, result.stderr), result.stderr
    assert result.stderr.count("\n") == 1


def test_a_file_that_is_not_there_or_there_twice_is_one_line(weak, tmp_path):
    """Named, before anything is computed."""
    assert "nowhere.jsonl does not exist" in score(weak, tmp_path / "nowhere.jsonl").stderr
    assert "weak.jsonl is given twice" in score(weak, weak).stderr


def test_outputs_that_would_destroy_are_refused(weak, strong, tmp_path):
    """The samples themselves, also through a link, one output twice, and what is no file: one line, nothing written."""
    before = weak.read_bytes()
    (tmp_path / "link").symlink_to(weak)
    for arguments, message in (
        (["--json", weak], f"--json {weak} is one of the files of samples"),
        (["--csv", tmp_path / "link"], "link is one of the files of samples; give another file to write"),
        (["--json", tmp_path / "o", "--csv", tmp_path / "." / "o"], "o is also the file of --json"),
        (["--json", "."], "--json . is a folder; give a file to write"),
        (["--figures", weak], "weak.jsonl is a file; give a folder to draw into"),
    ):
        result = score(weak, strong, *arguments)
        assert result.exit_code == 1
        assert message in result.stderr
        assert result.stderr.count("\n") == 1
    assert weak.read_bytes() == before
    assert not (tmp_path / "o").exists()


def test_what_is_no_regular_file_is_written_into(weak, tmp_path, console_script):
    """A link stays a link, a pipe a pipe, and /dev/stdout the terminal or what stands for it."""
    (tmp_path / "link.json").symlink_to(tmp_path / "whole.json")
    assert score(weak, "--json", tmp_path / "link.json").exit_code == 0
    assert (tmp_path / "link.json").is_symlink()
    expected = (tmp_path / "whole.json").read_text()
    piped = console_script("wise-merge", "score", weak, "--json", "/dev/stdout", cwd=tmp_path)
    assert piped.returncode == 0, piped.stderr
    assert piped.stdout.endswith(expected)
    os.mkfifo(tmp_path / "fifo")
    reader = os.open(tmp_path / "fifo", os.O_RDONLY | os.O_NONBLOCK)
    assert score(weak, "--csv", tmp_path / "fifo").exit_code == 0
    assert os.read(reader, 100).startswith(b"file,metric,scorer,k,")
    os.close(reader)
    assert (tmp_path / "fifo").is_fifo()


def test_models_with_long_names_are_told_apart(tmp_path):
    """As lm-eval nests them: the folder that differs is the name, and cut names stay different and narrow."""
    row = {"doc_id": 0, "doc": {"answer": "18"}, "target": "18", "resps": [["18", "19"]], "filter": "x"}
    model = "allenai__OLMo-2-1124-7B-Instruct-RLVR-DPO-mixture"
    for run in ("early", "late", "run/" + "x" * 60 + "a" + "y" * 60, "run/" + "x" * 60 + "b" + "y" * 60):
        (tmp_path / run / model).mkdir(parents=True)
        write(tmp_path / run / model / "samples_gsm8k_2026-01-01T00-00-00.0.jsonl", [row])
    short = score(tmp_path / "early", tmp_path / "late", "--json", tmp_path / "out.json")
    assert re.findall(r"^(.* minus .*)$", short.stdout, re.MULTILINE) == ["late/gsm8k minus early/gsm8k"]
    assert list(figures(tmp_path / "out.json")) == ["early/gsm8k", "late/gsm8k"]
    long = score(tmp_path / "run", "--figures", tmp_path / "plots")
    assert max(map(len, long.stdout.splitlines())) <= 100
    (compared,) = re.findall(r"^(.*) minus (.*)$", long.stdout, re.MULTILINE)
    assert "b" in compared[0]
    assert "a" in compared[1]
    names = re.findall(r">([^<]*y+/gsm8k)<", (tmp_path / "plots" / "curves.svg").read_text())
    assert len(set(names)) == len(names) == 2


def test_what_cannot_be_compared_says_why(weak, tmp_path):
    """Other tasks, or other benchmarks, side by side; files that would be read differently are read as math."""
    countdown = write(
        tmp_path / "countdown.jsonl", [{"id": 1, "numbers": [1, 2, 3], "target": 6, "completions": ["1 + 2 + 3"]}]
    )
    result = score(weak, countdown)
    assert result.exit_code == 0
    assert (
        "countdown is not compared with weak: one is read as gsm8k, the other as countdown; --benchmark NAME reads all "
        "files alike"
    ) in result.stdout
    rows = [json.loads(line) for line in weak.read_text().splitlines()]
    formulas = write(tmp_path / "formulas.jsonl", [*rows, {**rows[0], "id": "x", "gold": "\\pi"}])
    both = score(weak, formulas, "--common")
    assert "answers read as math (not all golds of formulas.jsonl are numbers)" in both.stdout
    assert "formulas minus weak" in both.stdout


def test_scores_of_steps_rank_when_asked(tmp_path):
    """The lower minimum is that of the wrong completion, the higher last step too: best@2 is 1 and 0."""
    rows = [{"id": 1, "gold": "1", "completions": ["1", "2"], "scores": [[0.5, 0.6], [0.1, 0.9]]}]
    path = write(tmp_path / "x.jsonl", rows)
    assert "--steps last, min or product" in " ".join(score(path).stdout.split())
    for steps, expected in (("min", 1.0), ("last", 0.0)):
        result = score(path, "--steps", steps, "--field", "scores=scores", "--json", tmp_path / "out.json")
        assert result.exit_code == 0, result.stderr
        (summary,) = figures(tmp_path / "out.json").values()
        assert value(summary, "best@k", 2, "scores") == expected


def test_problems_with_few_samples_can_be_left_out(tmp_path):
    """Two of five: the note says so, -k may go further, and the error without names the option."""
    rows = [{"id": i, "gold": "1", "completions": ["1", "2"] * (1 if i < 2 else 4)} for i in range(5)]
    path = write(tmp_path / "x.jsonl", rows)
    assert "or leave out problems with fewer samples by --min-n 8" in score(path, "-k", "1,8").stderr
    assert "--min-n" not in score(path, "-k", "9").stderr + score(path, "-k", "0").stderr
    result = score(path, "-k", "1,8", "--min-n", "8")
    assert result.exit_code == 0, result.stderr
    assert "3 problems, n = 8 samples each" in result.stdout
    assert "note: 2 problems with fewer than 8 samples left out (--min-n)" in result.stdout
    assert "--min-n 9 leaves no problem; the most samples of one are 8" in score(path, "--min-n", "9").stderr


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("def rank(problem, completions): raise RuntimeError('no\\nway')", r"it raised RuntimeError\('no\\nway'\)"),
        ("from math import sqrt as rank", r"it raised TypeError\('math.sqrt\(\) takes exactly one argument"),
        ("def rank(problem, completions): return [10**400] * len(completions)", "expected one number per completion"),
        ("1 / 0", r"it raised ZeroDivisionError\('division by zero'\)"),
    ],
)
def test_a_scorer_that_fails_is_one_line(code, message, weak, tmp_path, monkeypatch):
    """With its name, the problem and the exception."""
    module = f"failing_{abs(hash(code))}"
    (tmp_path / f"{module}.py").write_text(code)
    monkeypatch.chdir(tmp_path)
    result = score(weak, "--scorer", f"python:{module}:rank")
    assert result.exit_code == 1
    assert re.search(rf"^Error: scorer python:{module}:rank, problem '0': {message}", result.stderr), result.output
    assert result.stderr.count("\n") == 1


def test_no_file_speaks_to_the_terminal(tmp_path):
    """Control characters and changes of direction in names, ids and columns are shown as escapes."""
    evil = "\x1b[31m\u202e"
    rows = [{"id": f"{evil}{i}", "gold": "1", f"{evil}_score": [1.0], "completions": ["1"]} for i in range(3)]
    path = write(tmp_path / f"{evil}.jsonl", [*rows, {**rows[0], "id": rows[1]["id"]}])
    other = write(tmp_path / "other.jsonl", [{**row, "id": f"{row['id']}x"} for row in rows])
    result = score(path, other)
    assert not {"\x1b", "\u202e"} & {*result.output}
    assert "\\x1b[31m\\u202e_score" in result.stdout
    assert "\\x1b[31m\\u202e1' is there twice" in result.stderr
    assert "\x1b" not in score(path, "-k", "2").output


def test_unequal_n_is_said_and_ends_the_curves(tmp_path):
    """The range is printed, k stops at the smallest n, more is an error."""
    rows = [{"id": i, "gold": "1", "completions": ["1"] * (2 + 3 * i)} for i in range(2)]
    path = write(tmp_path / "x.jsonl", rows)
    result = score(path)
    assert "n = 2 to 5 samples each" in result.stdout
    assert "curves end at the smallest, k = 2" in result.stdout
    assert "problem 0 has n = 2 samples" in score(path, "-k", "3").stderr
    score(path, "--skip-bad", "--csv", tmp_path / "out.csv")
    of_all = [line for line in csv.DictReader((tmp_path / "out.csv").open()) if line["k"] == "n"]
    assert {line["metric"] for line in of_all} == {"pass@k", "maj@k", "pass^k"}
    assert re.search(r"^  all  \d\.\d{3} ±", result.output, re.MULTILINE)


def test_different_problem_sets_are_refused_or_cut_to_the_common_ones(weak, tmp_path):
    """How many and which; the tables of both files are printed all the same."""
    other = made(tmp_path / "other.jsonl", 0.5, problems=31, first=2)
    result = score(weak, other)
    assert result.exit_code == 1
    assert (
        "other is not compared with weak: the problems differ: 2 only in weak (0, 1) and 3 only in other (30, 31, 32); "
        "--common compares the 28 they share"
    ) in result.stderr
    assert result.stdout.count("pass^k") == 2
    assert "minus" not in result.stdout
    common = score(weak, other, "--common")
    assert common.exit_code == 0
    assert "28 problems, paired" in common.stdout


def test_the_same_ids_of_other_problems_are_noticed(weak, tmp_path):
    """Row numbers pair anything; golds do not."""
    rows = [{"id": i, "gold": str(i), "completions": ["1"]} for i in range(30)]
    result = score(weak, write(tmp_path / "other.jsonl", rows))
    assert result.exit_code == 1
    assert "ids are the same, but the problems are not: that of '0' has the gold 100 in one and 0 in the other" in (
        result.stderr
    )
    none = write(tmp_path / "none.jsonl", [{**row, "id": f"x{row['id']}"} for row in rows])
    assert "they share no problem" in score(weak, none).stderr


def test_a_scorer_runs_once_and_ranks(weak, tmp_path, monkeypatch):
    """A function of one's own: best@k by it; a second run reads the scores that were kept beside the samples."""
    (tmp_path / "mine.py").write_text(
        "calls = open('calls.txt', 'a')\n"
        "def longest_number(problem, completions):\n"
        "    calls.write(problem + '\\n'); calls.flush()\n"
        "    return [float(text.split()[-1].rstrip('.')) for text in completions]\n"
    )
    monkeypatch.chdir(tmp_path)
    for _ in range(2):
        result = score(weak, "--scorer", "python:mine:longest_number", "--json", tmp_path / "out.json")
        assert result.exit_code == 0, result.stderr
    assert (tmp_path / "calls.txt").read_text().splitlines() == [f"Q{i}" for i in range(30)]
    # The right answer is the largest number there is, so this scorer never misses it.
    (summary,) = figures(tmp_path / "out.json").values()
    best = value(summary, "best@k", 8, "python:mine:longest_number")
    assert best == value(summary, "pass@k", 8)
    assert "by python:mi…longest_number" in result.stdout


def test_semantic_diversity_is_computed_when_asked(tmp_path):
    """Two texts without a word in common are at distance 1, equal ones at 0: by hand (1 + 0) / 2."""
    rows = [
        {"id": 1, "gold": "1", "completions": ["one 1", "two 2"]},
        {"id": 2, "gold": "1", "completions": ["1", "1"]},
    ]
    path = write(tmp_path / "x.jsonl", rows)
    result = score(path, "--embeddings", "wording", "--json", tmp_path / "out.json")
    assert result.exit_code == 0, result.stderr
    (summary,) = figures(tmp_path / "out.json").values()
    assert value(summary, "semantic diversity", 2, "wording") == pytest.approx(0.5)
    assert re.search(r"semantic 0\.500 ± 0\.500 \(by wording\)", result.stdout)
    assert "semantic" not in score(path).stdout


def test_tasks_of_one_folder_are_not_compared_with_each_other(tmp_path):
    """Two models and two tasks: each task's second model against its first."""
    for model in ("early", "late"):
        (tmp_path / model).mkdir()
        for task, gold in (("gsm8k_passk", "18"), ("gsm8k_other", "19")):
            row = {"doc_id": 0, "doc": {"answer": gold}, "target": gold, "resps": [["18", "19"]], "filter": "x"}
            write(tmp_path / model / f"samples_{task}_2026-01-01T00-00-00.0.jsonl", [row])
    result = score(tmp_path)
    assert result.exit_code == 0, result.stderr
    assert re.findall(r"^(\S+ minus \S+)$", result.stdout, re.MULTILINE) == [
        "late/gsm8k_other minus early/gsm8k_other",
        "late/gsm8k_passk minus early/gsm8k_passk",
    ]


def test_what_lm_eval_writes_is_read_and_gives_its_figures(tiny_run, tmp_path, console_script, shared_data):
    """A real run of the real lm-eval: the pass@k of its results file, from its samples file."""
    metadata = json.dumps({"repeats": 4, "data_file": str(shared_data / "gsm8k" / "test.jsonl")})
    done = console_script(
        *("lm_eval", "--model", "hf", "--model_args", f"pretrained={tiny_run / 'checkpoint-1'}", "--device", "cpu"),
        *("--tasks", "gsm8k_passk", "--metadata", metadata, "--gen_kwargs", "max_gen_toks=12", "--num_fewshot", "0"),
        *("--limit", "6", "--batch_size", "24", "--output_path", "results", "--log_samples"),
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stderr
    result = console_script("wise-merge", "score", "results", "--json", "out.json", cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    assert "6 problems, n = 4 samples each; answers read as gsm8k (by the name of the task)" in result.stdout
    (summary,) = figures(tmp_path / "out.json").values()
    (reported,) = tmp_path.glob("results/*/results_*.json")
    results = json.loads(reported.read_text())["results"]["gsm8k_passk"]
    for key, expected in results.items():
        if match := re.fullmatch(r"(pass|maj)@(\d+),.*", key):
            assert value(summary, f"{match[1]}@k", int(match[2])) == pytest.approx(expected)


PUBLISHED = {
    "llada8b_math500": (26.0, 32.4, 36.2),
    "llada8b_countdown": (20.70, 19.53, 16.02),
    "llada8b_gsm8k": (69.29, 76.37, 78.14),
    "llada8b_sudoku": (0.39, 0, 0),
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_figures_are_the_files_own_verdicts(name, shared_data, tmp_path):
    """LLaDA-8B at each of three lengths, as released: pass@1 from the labels, all three files side by side."""
    paths = []
    for length in range(3):
        rows = []
        for line in (shared_data / "completions" / f"{name}.jsonl").read_text().splitlines():
            row = json.loads(line)
            rows.append({**row, **{key: [row[key][length]] for key in ("completions", "preds", "labels")}})
        paths.append(write(tmp_path / f"{length}.jsonl", rows))
    result = score(*paths, "--verdicts", "file", "--json", tmp_path / "out.json")
    assert result.exit_code == 0, result.stderr
    percent = [100 * value(summary, "pass@k", 1) for summary in figures(tmp_path / "out.json").values()]
    assert percent == pytest.approx(PUBLISHED[name], abs=0.005)
    assert result.stdout.count("minus 0") == 2


def test_a_symbolic_checker_only_finds_more_than_a_string_rule(shared_data, tmp_path):
    """MATH-500 of LLaDA-8B: whatever the authors' rule accepts is right here too, and the line says how many."""
    result = score(shared_data / "completions" / "llada8b_math500.jsonl", "--json", tmp_path / "out.json")
    assert "answers read as math (not all golds are numbers)" in result.stdout
    (file,) = json.loads((tmp_path / "out.json").read_text())["files"]
    assert file["agreement"]["samples"] == 1500
    assert file["agreement"]["only_theirs_right"] == 0
    assert file["agreement"]["only_ours_right"] > 0
    assert re.search(r"verdicts  1,4\d\d of the file's 1,500 agree; .*by the file alone 0", result.stdout)


def test_samples_that_were_cut_off_are_counted(tmp_path):
    """Their share in the table, their number per problem in the JSON; nothing where a file does not say."""
    ends = ["length", "stop", "stop", "length", "stop", "stop", "stop", "stop"]
    path = made(tmp_path / "ends.jsonl", 0.5, finish_reason=ends)
    result = score(path, "--json", tmp_path / "out.json")
    assert "\ncut off   25.00 % of samples, at the longest completion allowed\n" in result.output
    (file,) = json.loads((tmp_path / "out.json").read_text())["files"]
    assert {problem["cut_off"] for problem in file["problems"]} == {2}
    assert file["summary"]["cut_off"] == 0.25
    assert "cut off" not in score(made(tmp_path / "silent.jsonl", 0.5)).output


def test_a_scorer_without_its_model_is_refused_with_the_way(weak):
    """What the sampling model thought stands in a column already."""
    result = score(weak, "--scorer", "logprob")
    assert result.exit_code == 1
    assert "the scorer logprob without a model is for evaluations" in result.output
    assert "logprob:MODEL" in result.output
