"""A card from evaluations: what `lm_eval --output_path` and `wise-merge score --json` left, and whose it is."""

import copy
import json
import random
import re
import shlex
import shutil
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner
from huggingface_hub import ModelCard
from lm_eval import simple_evaluate
from lm_eval._cli.harness import HarnessCLI
from lm_eval.loggers import EvaluationTracker
from lm_eval.tasks import TaskManager
from support.checkpoints import make_checkpoint

from wise_merge.answers.benchmarks import Judged
from wise_merge.cli import main
from wise_merge.publish.entries import RESULTS
from wise_merge.tasks import audit, scores

TASK = "sums_passk"
RECIPE = {
    "merge_method": "wise_ft",
    "base_model": "run/checkpoint-10",
    "models": [{"model": "run/checkpoint-90"}],
    "parameters": {"alpha": 0.5},
}


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """A model in `out`, with a recipe that says from what it was merged."""
    folder = tmp_path_factory.mktemp("models")
    make_checkpoint(folder / "out", seed=1)
    (folder / "out/mergekit_config.yml").write_text(yaml.safe_dump(RECIPE, sort_keys=False))
    return folder / "out"


@pytest.fixture
def place(model, tmp_path, monkeypatch):
    """A folder with the model, from where the command is called."""
    shutil.copytree(model, tmp_path / "anna's machine/out")
    for step in (10, 90):
        (tmp_path / f"anna's machine/run/checkpoint-{step}").mkdir(parents=True)
        (tmp_path / f"anna's machine/run/checkpoint-{step}/config.json").write_text("{}")
    monkeypatch.chdir(tmp_path / "anna's machine")
    return tmp_path / "anna's machine"


def run(*options, command="card"):
    return CliRunner().invoke(main, [command, "out", *map(str, options)])


def card(*options):
    """Run `wise-merge card`, and return the text of the card and what was said on stderr."""
    done = run(*options)
    assert done.exit_code == 0, done.output
    return Path("out/README.md").read_text(), done.stderr


def refused(*options):
    """Run `wise-merge card`, and return the one line in which it says why it does not write."""
    done = run(*options)
    assert done.exit_code == 1, done.output
    assert not Path("out/README.md").exists()
    return done.stderr.strip().splitlines()[-1]


def tables(text):
    """Every table: the cells of each line, without what makes them bold or guards them from Markdown."""
    found = []
    for block in re.findall(r"(?:^\|.*\|\n)+", text, flags=re.MULTILINE):
        lines = [re.split(r"(?<!\\)\|", line)[1:-1] for line in block.splitlines()]
        assert len({len(line) for line in lines}) == 1, block
        found.append([[re.sub(r"\\(.)", r"\1", cell.strip().strip("*")) for cell in line] for line in lines])
    return [[line for line in table if set("".join(line)) != {"-"}] for table in found]


def settings_of(text):
    """How it was sampled, a mapping from setting to what the card says of each task."""
    (table,) = (table for table in tables(text) if table[1][0] == "model of lm-eval")
    return {line[0]: line[1:] for line in table[1:]}


def results():
    return json.loads(Path("out", RESULTS).read_text())


# --- evaluations, written by lm-eval itself -------------------------------------------------------


def rows_of(rates, *, n=4, seed=0, problems=20):
    """Logged samples of a task with seeded verdicts, as `PassKTask` makes them."""
    drawn = random.Random(seed)
    rows = []
    for number in range(problems):
        correct = tuple(drawn.random() < rates for _ in range(n))
        texts = [f"{number} {sample}" for sample in range(n)]
        counts = audit.counts_of(
            texts, answered=n, received=n, prompt_cut=False, max_tokens=16, token_count=lambda text: len(text)
        )
        answers = tuple("7" if right else str(100 + place % 2) for place, right in enumerate(correct))
        problem = scores.of_problem(texts, Judged(answers, correct), counts)
        rows.append(
            {
                **{"doc_id": number, "doc": {"question": f"secret question {number}"}, "target": f"{number + 7}"},
                **{"arguments": [("secret prompt", {})], "resps": [texts], "filtered_resps": [texts]},
                **{"filter": "samples", "doc_hash": "", "prompt_hash": "", "target_hash": ""},
                **{**problem, "audit": counts},
            }
        )
    return rows


def figures_of(rows):
    """The results of a task as lm-eval has them."""
    curve = scores.whole_curve([row["curve"] for row in rows])
    return {"alias": TASK, "curve,samples": curve, "audit,samples": audit.summary([row["audit"] for row in rows])}


def evaluate(
    output,
    rows=None,
    *,
    name="out",
    task=TASK,
    figures=None,
    config=None,
    metadata=None,
    sampling=None,
    started=None,
    logged=True,
    size=None,
    arguments=None,
):
    """Leave an evaluation as `lm_eval --output_path OUTPUT --log_samples` does, and return its results file."""
    rows = rows_of(0.4) if rows is None and figures is None else rows
    arguments = {"pretrained": name, **(arguments or {})}
    document = {
        "results": {task: figures or figures_of(rows)},
        "group_subtasks": {},
        "configs": {
            task: {
                "task": task,
                "generation_kwargs": {
                    **{"until": ["\n"], "do_sample": True, "temperature": 0.7, "top_p": 0.95, "top_k": 0},
                    **{"max_gen_toks": 16, **(sampling or {})},
                },
                "metadata": {**arguments, "version": 1.0, "config_source": "/mnt/secret/x.yaml", **(metadata or {})},
                **(config or {}),
            }
        },
        "n-shot": {task: 3},
        "n-samples": {task: size or {"original": len(rows or ()), "effective": len(rows or ())}},
        "config": {
            **{"model": "hf-passk", "model_args": arguments, "random_seed": 7, "numpy_seed": 7, "torch_seed": 7},
            **{"fewshot_seed": 7, "limit": None},
        },
        "date": started or 4_000_000_000,
        "lm_eval_version": "0.4.13",
    }
    tracker = EvaluationTracker(output_path=str(output))
    tracker.general_config_tracker.log_experiment_args("hf-passk", arguments, None, None, None)
    before = {*Path(output).rglob("*")}
    tracker.save_results_aggregated(results=document, samples=None)
    if logged and rows is not None:
        tracker.save_results_samples(task, copy.deepcopy(rows))
    (path,) = (path for path in {*Path(output).rglob("results_*.json")} - before)
    return path


# --- a real run -----------------------------------------------------------------------------------


def lm_eval(model_args, tasks, **settings):
    """Run lm-eval and leave its results, as its command line does, without reading its 14,000 task files."""
    tracker = EvaluationTracker(output_path="results")
    found = simple_evaluate(
        model="hf-passk",
        model_args=model_args,
        device="cpu",
        tasks=tasks,
        log_samples=True,
        evaluation_tracker=tracker,
        task_manager=TaskManager(include_defaults=False, metadata=settings["metadata"]),
        **settings,
    )
    samples = found.pop("samples")
    tracker.save_results_aggregated(results=found, samples=samples)
    for task in found["configs"]:
        tracker.save_results_samples(task, samples[task])
    (path,) = Path("results").glob("*/results_*.json")
    return json.loads(path.read_text())["results"]


def test_a_card_shows_what_lm_eval_found_and_tells_no_more_of_the_machine(place):
    """Two tasks in one real run: its own figures, its settings, a command that lm-eval reads, and no path."""
    problems = [{"question": f"What is {digit} + 0?", "answer": f"#### {digit}"} for digit in range(8)]
    (place / "digits.jsonl").write_text("".join(json.dumps(problem) + "\n" for problem in problems))
    theirs = lm_eval(
        {"pretrained": str(place / "out"), "journal": str(place / "drawn so far")},
        ["gsm8k_passk", "countdown_passk"],
        num_fewshot=0,
        gen_kwargs={"max_gen_toks": 16, "temperature": 0.8},
        metadata={"repeats": 8, "problems": 6, "data_file": {"gsm8k_passk": str(place / "digits.jsonl")}},
    )
    text, _ = card("--results", "results", "--name", "anna/wise")
    shown = [table for table in tables(text) if table[0][:2] == ["", "T"]]
    for table, task, size in zip(shown, ("gsm8k_passk", "countdown_passk"), (8, 6), strict=True):
        (row,) = table[1:]
        assert row[:4] == ["this model", "0.8", str(size), "8"]
        for cell, metric in zip(row[4:], ("pass@1", "pass@8", "maj@8"), strict=True):
            assert cell.startswith(f"{theirs[task][f'{metric},samples']:.3f} [")
    assert settings_of(text)["temperature"] == ["0.8", "0.8"]
    assert "data_file=digits.jsonl" in settings_of(text)["settings of the task"][0]
    first, *_ = re.findall(r"^lm_eval (.*?)(?<!\\)\n", text, flags=re.MULTILINE | re.DOTALL)
    asked = vars(HarnessCLI()._parser.parse_args(["run", *shlex.split(first.replace("\\\n", ""))]))
    assert asked["model_args"] == {"pretrained": "anna/wise"}
    assert (asked["metadata"]["repeats"], asked["num_fewshot"]) == (8, 0)
    assert (asked["gen_kwargs"]["temperature"], asked["gen_kwargs"]["max_gen_toks"]) == (0.8, 16)
    index = ModelCard(text).data.eval_results
    assert [one.metric_value for one in index if one.dataset_name == "gsm8k_passk"] == [
        round(theirs["gsm8k_passk"][f"{metric},samples"], 4) for metric in ("pass@1", "pass@8", "maj@8")
    ]
    for name in ("README.md", RESULTS):
        content = Path("out", name).read_text()
        for secret in ("anna's machine", str(place.parent), "drawn so far", "What is"):
            assert secret not in content, (name, secret)


# --- figures --------------------------------------------------------------------------------------


def test_results_without_samples_give_the_same_figures(place):
    """Mean and standard error are enough for the interval; only the counts of problems are not there, as it says."""
    evaluate("with")
    evaluate("without", logged=False)
    logged, _ = card("--results", "with")
    counted = results()["tasks"][TASK][0]
    text, _ = card("--results", "without")
    assert tables(text)[:2] == tables(logged)[:2]
    assert len(tables(text)[1]) == 4
    row = results()["tasks"][TASK][0]
    for name in ("pass@k", "maj@k"):
        for key in ("value", "standard_error", "low", "high"):
            assert row["curves"][name][key] == pytest.approx(counted["curves"][name][key], abs=2e-6)
    assert (len(counted["by_problem"]), row["by_problem"]) == (20, None)
    assert "The samples were not kept" in text
    assert "The samples were not kept" not in logged


def test_settings_that_are_not_recorded_are_said_to_be(place):
    """An evaluation without a temperature, as one that lm-eval asked a server for, claims none."""
    path = evaluate("results")
    document = json.loads(path.read_text())
    for key in ("temperature", "top_p"):
        del document["configs"][TASK]["generation_kwargs"][key]
    del document["config"]["torch_seed"]
    path.write_text(json.dumps(document))
    text, _ = card("--results", "results")
    assert tables(text)[0][1][1] == "not recorded"
    found = settings_of(text)
    assert [found[name] for name in ("temperature", "top_p", "seeds")] == [["not recorded"]] * 3
    assert found["top_k"] == ["all tokens"]
    assert "temperature" not in ModelCard(text).data.eval_results[0].metric_args


def test_a_part_of_a_task_says_so_and_is_no_registered_benchmark(place):
    """The whole of GSM8K has an entry for the leaderboard, with its date; its first half has none."""
    config = {"dataset_path": "openai/gsm8k", "dataset_name": "main", "test_split": "test"}
    rows = rows_of(0.4, n=1, problems=1319)
    evaluate("whole", rows, task="gsm8k_passk", config=config)
    text, _ = card("--results", "whole")
    (entry,) = yaml.safe_load(Path("out/.eval_results/gsm8k.yaml").read_text())
    assert entry["value"] == pytest.approx(100 * sum(row["curve"]["correct"][0] for row in rows) / 1319, abs=0.005)
    assert entry["date"] == "2096-10-02"
    assert "Not the whole task" not in text
    evaluate("part", rows[:600], task="gsm8k_passk", config=config, size={"original": 1319, "effective": 600})
    text, _ = card("--results", "part")
    assert "Not the whole task: 600 of its 1,319 problems were sampled." in text
    assert not Path("out/.eval_results/gsm8k.yaml").exists()


def test_a_task_of_lm_eval_has_its_metrics_and_no_curve(place):
    """One greedy answer of each problem: a line per metric with its interval, no picture, and nothing of Pass@k."""
    figures = {"exact_match,strict": 0.25, "exact_match_stderr,strict": 0.0435, "f1,none": 3.5, "f1_stderr,none": "N/A"}
    size = {"original": 100, "effective": 100}
    evaluate("results", task="ifeval", figures=figures, size=size, sampling={"do_sample": False})
    text, _ = card("--results", "results")
    table, *_ = tables(text)
    assert table[1:] == [
        ["ifeval", "exact_match", "strict", "100", "0.250 [0.175, 0.343]"],
        ["ifeval", "f1", "none", "100", "3.500"],
    ]
    assert not re.search(r"Pass@k is|pass_at_k\.png", text)
    assert not Path("out/pass_at_k.png").exists()
    assert [one.metric_name for one in ModelCard(text).data.eval_results] == ["exact_match, strict", "f1, none"]
    assert settings_of(text)["temperature"] == ["0"]


def test_a_converted_task_names_the_metric_that_judges_and_keeps_the_others(place):
    """Which metric of which task says right or wrong is in the results; what else the task measures stands below."""
    rows = rows_of(0.4)
    figures = {**figures_of(rows), "pass@1,samples": 0.4, "length,flexible": 0.5, "length_stderr,flexible": 0.1}
    metadata = {"converted_from": "gpqa_diamond", "metric": "exact_match,flexible-extract"}
    metadata["original_generation_kwargs"] = {"until": ["\n"], "do_sample": False}
    evaluate("results", rows, figures=figures, metadata=metadata)
    text, _ = card("--results", "results")
    assert "A sample is right by the metric exact_match,flexible-extract of lm-eval's gpqa_diamond." in text
    (table,) = (table for table in tables(text) if table[0][0] == "metric")
    assert [line[:3] for line in table[1:]] == [["length", "flexible", "20"]]
    assert settings_of(text)["where the original has"] == ["do_sample=False"]
    assert """--metadata '{"metric": "exact_match,flexible-extract", "repeats": 4}'""" in text


# --- whose evaluation it is -----------------------------------------------------------------------


def test_an_evaluation_of_another_model_is_refused_with_its_name(place):
    """And taken where the person says that it is this one under another name."""
    evaluate("results", name="/elsewhere/other")
    line = refused("--results", "results")
    assert "results holds evaluations of /elsewhere/other alone, and none of out; if one of them is this model" in line
    text, _ = card("--results", "results", "--evaluated-as", "/elsewhere/other")
    assert "elsewhere" not in text
    assert "The results call the model `other`; that it is this one, the publisher says." in text


def test_another_model_in_the_same_folder_is_left_out_and_named(place):
    """As lm-eval has a folder for each model that it is asked for."""
    evaluate("results", rows_of(0.9), name="org/other")
    evaluate("results", rows_of(0.2, seed=3))
    text, said = card("--results", "results")
    assert "evaluations of org/other in results are left out" in said
    assert [line[0] for line in tables(text)[0][1:]] == ["this model"]
    assert "org/other" not in text


def test_checkpoints_that_were_evaluated_alike_stand_beside_the_model(place):
    """Found by their folders; one that was sampled otherwise is left out, and the line says by what."""
    evaluate("results", rows_of(0.2), name="run/checkpoint-10")
    evaluate("results", rows_of(0.4), name=str(place / "out"))
    evaluate("results", rows_of(0.6), name="run/checkpoint-90", sampling={"temperature": 1.0})
    text, said = card("--results", "results")
    assert [line[0] for line in tables(text)[0][1:]] == ["early", "this model"]
    assert tables(text)[1][0] == ["k", "Pass@k, early", "Pass@k, this model", "Maj@k, early", "Maj@k, this model"]
    assert f"late on {TASK} is left out, as it was sampled otherwise: temperature 1.0, and this model 0.7" in said


def test_the_model_is_found_from_another_folder(place, monkeypatch):
    """The evaluation ran where its results are; a folder of the same name elsewhere is another one."""
    evaluate("results")
    (place / "below").mkdir()
    monkeypatch.chdir(place / "below")
    done = CliRunner().invoke(main, ["card", "../out", "--results", "../results"])
    assert done.exit_code == 0, done.output
    shutil.copytree(place / "run/checkpoint-10", place / "below/out")
    done = CliRunner().invoke(main, ["card", "../out", "--results", "../results"])
    assert done.exit_code == 1
    assert "holds evaluations of out alone" in done.stderr


def test_weights_that_are_younger_than_their_evaluation_are_a_warning(place):
    """They may have been merged again."""
    evaluate("results", started=1_000_000_000)
    assert "are younger than" in card("--results", "results")[1]
    evaluate("later")
    assert "are younger than" not in card("--results", "later")[1]


def test_a_model_that_is_no_merge_has_a_card_from_its_evaluation(place):
    """Its figures and how to sample it again; of what it was made nothing is said, and parents a person named stay."""
    Path("out/mergekit_config.yml").unlink()
    assert "or an evaluation too (--results), of which the card of any model can tell" in refused()
    evaluate("results")
    text, _ = card("--results", "results", "--name", "anna/mine", "--license", "mit")
    found = ModelCard(text).data.to_dict()
    assert {"tags", "base_model"}.isdisjoint(found)
    assert (found["license"], found["model-index"][0]["name"]) == ("mit", "mine")
    assert not re.search("merge(kit|d|s)|checkpoint|early|alpha", re.sub("wise.merge", "", text))
    assert "lm_eval --model hf-passk --model_args pretrained=anna/mine" in text
    Path("out/README.md").write_text(text.replace("license: mit", "license: mit\nbase_model: org/base"))
    assert ModelCard(card("--results", "results")[0]).data.to_dict()["base_model"] == "org/base"
    line = run("--results", "results", "--source", "early=org/x").stderr.splitlines()[-1]
    assert "--source says where checkpoints are, and out is no merge" in line


# --- several runs, several inputs -----------------------------------------------------------------


def test_the_newest_run_of_a_task_counts(place):
    """By when it began, however the files are called; a line says which. A task that only an older one has stays."""
    newer = evaluate("results", rows_of(0.8), started=4_000_000_100)
    older = evaluate("results", rows_of(0.2))
    evaluate("results", rows_of(0.2, problems=7), task="other_passk")
    text, said = card("--results", "results")
    assert f"this model on {TASK}: {newer.name} counts, which is newer than {older.name}" in said
    right = sum(sum(row["curve"]["correct"]) for row in rows_of(0.8)) / 80
    assert tables(text)[0][1][4].startswith(f"{right:.3f} ")
    assert "### other_passk" in text


def test_one_task_in_two_inputs_is_refused_with_both_names(place):
    """Which of them counts is for the person to say."""
    one, other = evaluate("one"), evaluate("other")
    assert refused("--results", "one", "--results", "other") == (
        f"Error: this model on {TASK} is in {one} and in {other}; give one of them"
    )


def test_samples_of_another_run_are_refused(place):
    """Beside results that they do not give, nobody could say which are right."""
    path = evaluate("results")
    (samples,) = path.parent.glob("samples_*.jsonl")
    rows = [json.loads(line) for line in samples.read_text().splitlines()]
    rows[0]["curve"]["correct"] = [not right for right in rows[0]["curve"]["correct"]]
    samples.write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert f"the samples of {TASK} beside {path} give pass@1" in refused("--results", "results")


def test_a_damaged_evaluation_is_one_line(place):
    """A curve without its n, and samples that end in the middle of a line."""
    path = evaluate("results")
    (samples,) = path.parent.glob("samples_*.jsonl")
    samples.write_text(samples.read_text()[:-20])
    assert re.search(r"samples_sums_passk_\S+ is damaged at line 20", refused("--results", "results"))
    samples.unlink()
    document = json.loads(path.read_text())
    del document["results"][TASK]["curve,samples"]["n"]
    path.write_text(json.dumps(document))
    assert f"has figures of {TASK} that are not as lm-eval writes them ('n' is missing)" in refused("--results", path)


def test_what_is_no_evaluation_is_refused(place):
    """An empty folder, none, a file of something else; and a sweep stands alone."""
    (place / "empty").mkdir()
    (place / "other.json").write_text('{"results": 1}')
    for name in ("empty", "nowhere", "other.json"):
        assert "--results takes the folder of `wise-merge sweep`, a folder or results file" in refused(
            "--results", name
        )
    evaluate("results")
    assert "--temperature chooses among those of a sweep" in refused("--results", "results", "--temperature", 1)
    (place / "grid").mkdir()
    (place / "grid/sweep.json").write_text("{}")
    line = refused("--results", "results", "--results", "grid")
    assert "grid is the folder of a sweep, beside which no other results can stand" in line


def test_samples_of_lm_eval_are_not_sent(place):
    """They hold prompts and problems, which are the person's."""
    evaluate("results")
    done = run("anna/model", "--results", "results", "--include-samples", "--dry-run", command="push")
    assert done.exit_code == 1
    assert "--include-samples needs --results with the folder of a sweep" in done.stderr
    done = run("anna/model", "--results", "results", "--dry-run", command="push")
    assert done.exit_code == 0, done.output
    assert not re.search("secret|samples_sums", done.stdout)


# --- figures of `wise-merge score` ----------------------------------------------------------------


def score(*files, out="scored.json", verdicts=()):
    options = ["--json", out, "--verdicts", "file", "--skip-bad", *verdicts]
    done = CliRunner().invoke(main, ["score", *map(str, files), *options])
    assert done.exit_code == 0, done.output
    return Path(out)


def write_samples(path, correct, *, start=0):
    """A file of somebody's samples with verdicts."""
    rows = [
        {"id": number + start, "gold": str(number + start), "answers": ["x"] * len(row), "correct": row}
        for number, row in enumerate(correct)
    ]
    Path(path).write_text("".join(json.dumps(row) + "\n" for row in rows))
    return Path(path)


def test_scored_samples_have_their_figures_and_say_what_is_not_recorded(place):
    """Of a file that names no model: its figures, who judged, and that neither model nor sampling is recorded."""
    write_samples("sums.jsonl", [[True, False], [False, False], [True, True]])
    with Path("sums.jsonl").open("a") as file:
        file.write("no JSON\n")
    text, said = card("--results", score("sums.jsonl"))
    assert "scored.json does not record which model was sampled on sums; the card says so" in said
    table, *_ = tables(text)
    assert table[1][:5] == ["this model", "not recorded", "3", "2", table[1][4]]
    assert [cell.split()[0] for cell in table[1][4:6]] == ["0.500", "0.667"]
    assert "Which model was sampled is not recorded in the file of samples." in text
    assert "1 row of the file could not be used and counted for nothing." in text
    assert "A sample is right by the verdicts of the file of samples." in text
    assert {cell for cells in settings_of(text).values() for cell in cells} == {"not recorded"}
    assert "lm_eval --model" not in text
    assert [problem["c"] for problem in results()["tasks"]["sums"][0]["by_problem"]] == [1, 0, 2]


def test_scored_samples_of_lm_eval_have_the_settings_of_their_run(place):
    """As long as its results lie beside them; of another model they are refused."""
    path = evaluate("results")
    (samples,) = path.parent.glob("samples_*.jsonl")
    scored = score(samples, verdicts=("--field", "labels=curve.correct", "--field", "answers=curve.answers"))
    text, said = card("--results", scored)
    assert "does not record" not in said
    assert tables(text)[0][1][:4] == ["this model", "0.7", "20", "4"]
    by_lm_eval, _ = card("--results", "results")
    assert tables(text)[:2] == tables(by_lm_eval)[:2]
    Path("out/README.md").unlink()
    document = json.loads(path.read_text())
    path.write_text(json.dumps({**document, "model_name": "org/other"}))
    assert "is an evaluation of org/other, which is neither" in refused("--results", scored)


def test_two_files_of_the_same_problems_are_no_two_tasks(place):
    """Files of early and late that were set side by side; other problems are another task."""
    write_samples("one.jsonl", [[True, False]] * 4)
    write_samples("two.jsonl", [[True, True]] * 4)
    write_samples("three.jsonl", [[True, True]] * 4, start=100)
    assert "one and two have the same problems" in refused("--results", score("one.jsonl", "two.jsonl"))
    one, three = score("one.jsonl", out="one.json"), score("three.jsonl", out="three.json")
    text, _ = card("--results", one, "--results", three)
    assert re.findall(r"^### (\w+)$", text, flags=re.MULTILINE) == ["one", "three"]
