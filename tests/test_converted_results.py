"""What comes after the sampling of a task made from one of lm-eval's: its own verdicts count, in every command."""

import json

import pytest
import yaml
from click.testing import CliRunner
from lm_eval import simple_evaluate
from lm_eval.loggers import EvaluationTracker
from lm_eval.tasks import TaskManager
from support.sweeps import SAMPLING, sweep
from support.tasks import Scripted

from wise_merge.cli import main
from wise_merge.points import read_results
from wise_merge.results.export import read_json
from wise_merge.results.reading.samples import read_samples
from wise_merge.results.verdicts import judge
from wise_merge.tasks.gold import solutions_of
from wise_merge.tasks.requests import find_tasks

TASK = "digits_gsm8k_passk"
JUDGED_BY = "exact_match,first-digit of lm-eval's digits_gsm8k"

#: Right where the first digit is; `wise-merge score` would read the last number, by the name of the task.
YAML = r"""
task: digits_gsm8k
dataset_path: json
test_split: test
doc_to_text: "{{question}} "
doc_to_target: "{{answer.split('#### ')[-1]}}"
generation_kwargs: {until: ["\n"], max_gen_toks: 10}
filter_list:
  - {name: first-digit, filter: [{function: regex, regex_pattern: '(\d)'}, {function: take_first}]}
  - {name: last-digit, filter: [{function: regex, regex_pattern: '(\d)', group_select: -1}, {function: take_first}]}
metric_list:
  - {metric: exact_match, aggregation: mean, higher_is_better: true}
"""


@pytest.fixture(scope="module")
def tasks(tmp_path_factory):
    """A folder with the file of a task of the user's; the target of its last problem is long."""
    folder = tmp_path_factory.mktemp("tasks")
    rows = [{"question": f"Which digit is number {n}?", "answer": f"It is. #### {n % 10}"} for n in range(11)]
    rows.append({"question": "Which text?", "answer": "y" * 1000})
    (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    config = {**yaml.safe_load(YAML), "dataset_kwargs": {"data_files": {"test": str(folder / "rows.jsonl")}}}
    (folder / "digits_gsm8k.yaml").write_text(yaml.safe_dump(config))
    return folder


@pytest.fixture(scope="module")
def evaluated(place, tasks, tmp_path_factory):
    """What `lm_eval --model hf-passk --log_samples` leaves of the late checkpoint: a folder, and its figures."""
    out = tmp_path_factory.mktemp("evaluated")
    found = simple_evaluate(
        model="hf-passk",
        model_args={
            **{"pretrained": str(place / "run" / "checkpoint-3"), "dtype": "float32"},
            **{"journal": str(out / "journal"), "seed": 1234},
        },
        device="cpu",
        tasks=[TASK],
        batch_size=256,
        task_manager=TaskManager(include_defaults=False, include_path=[str(tasks)], metadata={"repeats": 6}),
        gen_kwargs={"max_gen_toks": 10, "temperature": 0.8},
        bootstrap_iters=0,
        **SAMPLING,
    )
    tracker = EvaluationTracker(output_path=str(out / "samples"))
    tracker.general_config_tracker.model_name_sanitized = "model"
    tracker.date_id = "2026-01-01T00:00:00"
    tracker.save_results_samples(TASK, found["samples"][TASK])
    return out, found["results"][TASK]


def run(*arguments):
    """What a command of `wise-merge` prints."""
    return CliRunner().invoke(main, list(map(str, arguments)))


def test_score_takes_the_verdicts_and_votes_of_the_task(evaluated, tmp_path):
    """They stand in each row, with what judged; `--benchmark` judges otherwise, and says how often it does."""
    out, figures = evaluated
    done = run("score", out / "samples", "--json", tmp_path / "own.json")
    assert done.exit_code == 0, done.output
    assert " ".join(done.stdout.split()).count(f"answers and verdicts are the file's own, by {JUDGED_BY}") == 1
    (file,) = json.loads((tmp_path / "own.json").read_text())["files"]
    assert (file["benchmark"], file["judged_by"]) == (None, JUDGED_BY)
    assert [one.judged_by for one in read_json(tmp_path / "own.json")] == [JUDGED_BY]
    curves = {curve["name"]: curve["value"] for curve in file["summary"]["curves"]}
    assert 0 < curves["pass@k"][0] == pytest.approx(figures["pass@1,samples"])
    assert curves["maj@k"][-1] == pytest.approx(figures["maj@6,samples"])

    done = run("score", out / "samples", "--benchmark", "gsm8k", "--json", tmp_path / "ours.json")
    (other,) = json.loads((tmp_path / "ours.json").read_text())["files"]
    assert other["judged_by"] is None
    assert [problem["c"] for problem in other["problems"]] != [problem["c"] for problem in file["problems"]]
    agreement = other["agreement"]
    # Without the problem whose target is no number.
    assert agreement["samples"] == 66 > agreement["both_right"] + agreement["both_wrong"]


def test_a_journal_has_no_verdicts_of_such_a_task_and_says_so(evaluated, tmp_path):
    """Neither does `score` judge its samples as those of another task with a name like that, unless it is told to."""
    out, _ = evaluated
    done = run("journal", out / "journal", "--out", tmp_path)
    assert f"without verdicts, which are those of {JUDGED_BY}: the same lm_eval command" in done.stdout
    refused = run("score", tmp_path)
    assert refused.exit_code == 1
    assert f"judged by {JUDGED_BY}, and the file has none of its verdicts" in refused.output
    assert run("score", tmp_path, "--benchmark", "gsm8k", "--skip-bad").exit_code == 0


def test_a_sweep_finds_what_lm_eval_finds(evaluated, place, tasks, tmp_path):
    """The same verdict and vote on every sample; table and report say what judged, and a long target is kept short."""
    out, _ = evaluated
    run_folder = place / "run"
    ends = {"run": None, "early": str(run_folder / "checkpoint-1"), "late": str(run_folder / "checkpoint-3")}
    settings = {"tasks": [TASK], "include_path": str(tasks), "metadata": {}, "alphas": [0.5], "temperatures": [0.8]}
    printed = sweep(place, tmp_path / "out", **ends, **settings)
    assert f"{TASK}, 12 problems, right by {JUDGED_BY}\n" in printed
    results = read_results(tmp_path / "out")
    (late,) = (one for one in results.outcomes if one.point.alpha == 1)
    (file,) = (out / "samples").rglob("samples_*.jsonl")
    rows = [json.loads(line)["curve"] for line in file.read_text().splitlines()]
    assert [list(problem.correct) for problem in late.problems] == [row["correct"] for row in rows]
    assert [list(problem.answers) for problem in late.problems] == [row["answers"] for row in rows]
    assert {one.judged_by for one in results.outcomes} == {JUDGED_BY}
    assert late.problems[-1].gold == "y" * 200 + "..."
    assert run("report", tmp_path / "out").exit_code == 0
    assert f'"judged_by":"{JUDGED_BY}"' in (tmp_path / "out" / "report.html").read_text()


def test_verdicts_outlive_an_error_after_the_judging(tasks, tmp_path, monkeypatch):
    """The rescued file holds them, as no other judge could give them."""

    def out_of_memory(judged):
        raise MemoryError("of the figures")

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("wise_merge.tasks.scores.whole_curve", out_of_memory)
    manager = TaskManager(include_defaults=False, include_path=[str(tasks)], metadata={"repeats": 2})
    with pytest.raises(MemoryError, match="of the figures"):
        simple_evaluate(Scripted(lambda prompt: ["It is 3, 4.", "It is 4, 3."]), tasks=[TASK], task_manager=manager)
    (path,) = tmp_path.glob("samples_*.jsonl")
    problems = {problem.id: problem for problem in judge(read_samples(path)).problems}
    assert (problems["3"].answers, problems["3"].correct) == (("3", "4"), (True, False))


def row(number, **curve):
    """A row of lm-eval with two samples of a problem."""
    return {
        "doc_id": number,
        "doc": {"question": "?", "answer": "7"},
        "target": "7",
        "resps": [["a", "b"]],
        "filter": "samples",
        "curve": {"judged_by": "exact_match,none of lm-eval's t", **curve},
    }


def write(path, rows):
    path.write_text("".join(json.dumps(one) + "\n" for one in rows))
    return path


def test_votes_are_taken_as_they_are_written(tmp_path):
    """What other files write where there is no answer is one here; a padded row has as many samples as verdicts."""
    curve = {"answers": ["None", None], "correct": [True, False]}
    rows = [row(1, **curve), {**row(2, **curve), "resps": [["a", "b", "a", "b"]]}]
    (one, two) = judge(read_samples(write(tmp_path / "rows.jsonl", rows))).problems
    assert (one.answers, one.correct) == (two.answers, two.correct) == (("None", None), (True, False))


def test_files_that_were_judged_by_different_metrics_are_not_compared(tmp_path):
    """Nor put together, as the figures are not of the same thing."""
    curve = {"answers": ["7", "8"], "correct": [True, False]}
    one = write(tmp_path / "one.jsonl", [row(1, **curve), row(2, **curve)])
    two = write(tmp_path / "two.jsonl", [row(number, **curve, judged_by="f1,none of lm-eval's t") for number in (1, 2)])
    assert "two is not compared with one: one is judged by exact_match,none of" in run("score", one, two).stdout
    assert "it is judged by f1,none of lm-eval's t, not" in run("score", one, two, "--pool").output


def test_the_gold_solutions_of_such_a_task_are_its_targets(tasks):
    """As they are of the task that it is made from; `wise-merge fit temperature` reads them."""
    manager = TaskManager(include_defaults=False, include_path=[str(tasks)], metadata={"repeats": 2})
    loaded = manager.load([TASK, "digits_gsm8k"])["tasks"]
    mine, original = (solutions_of(loaded[name], limit=3) for name in (TASK, "digits_gsm8k"))
    assert mine == original
    assert mine[2].solution == " 2"


@pytest.mark.slow
def test_of_lm_evals_tasks_the_folder_is_known_once_one_is_found():
    """To index all of them takes ten seconds, in every process of a sweep."""
    found = find_tasks(["gsm8k_cot_passk"])
    assert found.names == ("gsm8k_cot_passk",)
    assert [folder.rpartition("/")[2] for folder in found.folders] == ["gsm8k"]
