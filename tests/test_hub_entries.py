"""The figures as the Hub reads them: entries of registered benchmarks, the older model-index, and the results file."""

import json
import math

import pytest
import yaml
from huggingface_hub import (
    EvalResultEntry,
    ModelCard,
    ModelCardData,
    eval_result_entries_to_yaml,
    parse_eval_result_entries,
)
from huggingface_hub.repocard_data import model_index_to_eval_results
from support.points import TASK, grid, leave, merged_of, of_verdicts, outcome

from wise_merge.publish.entries import (
    REGISTERED,
    Dataset,
    benchmark_entries,
    dataset_of,
    model_index,
    results_file,
)
from wise_merge.publish.of_sweep import evidence_of_sweep
from wise_merge.publish.privacy import Privacy, privacy_of

GSM8K = "gsm8k_passk"
NAMES = {"early": "anna/run@step-25", "late": "anna/run@step-800", "this model": "this model"}
NOBODY = Privacy({}, ())


def evidence(
    folder,
    *,
    task=GSM8K,
    tasks=None,
    problems=1319,
    samples=2,
    limit=None,
    temperatures=(1.0,),
    alone=True,
    **settings,
):
    """The figures of alpha 0.5 on a task, or on several; early and late are left out unless they matter."""
    tasks = tasks or (task,)
    points = grid(temperatures=temperatures)
    made = [
        outcome(point, task=one, problems=problems, samples=samples, limit=limit)
        for point in points
        for one in tasks
        if point.alpha == 0.5 or not alone
    ]
    leave(folder, points, made, tasks=tasks, **settings)
    return evidence_of_sweep(merged_of(points[len(temperatures)]), folder)


def of_model(found, task=None):
    """The figures of the model itself at the first temperature."""
    (one,) = (one for one in found.tasks if task in (None, one.task))
    return one.mine


def write_task(folder, name, **facts):
    """A task file of somebody's own."""
    folder.mkdir(exist_ok=True)
    text = yaml.safe_dump({"task": name, **facts}) + "process_results: !function utils.judge\n"
    (folder / f"{name}.yaml").write_text(text)
    return str(folder)


# --- entries of benchmarks ------------------------------------------------------------------------


def test_a_whole_benchmark_has_an_entry(tmp_path):
    """Pass@1 of this model in percent, counted over all samples, with n, K, temperature and interval as its note."""
    found = evidence(tmp_path)
    row = of_model(found)
    ((name, entries),) = benchmark_entries(found, "2026-01-31").items()
    (entry,) = entries
    right = sum(problem.c for problem in row.problems)
    share = 100 * right / (2 * 1319)
    assert 30 < share < 90
    assert (name, entry.dataset_id, entry.task_id, entry.date) == ("gsm8k", "openai/gsm8k", "gsm8k", "2026-01-31")
    assert entry.value == pytest.approx(share, abs=0.005)
    estimate = row.summary.curve("pass@k").at(1)
    low, high = 100 * estimate.low, 100 * estimate.high
    assert low < share < high
    assert entry.notes == (
        "Pass@1: mean over 2 samples of each of 1,319 problems at temperature 1, 95% interval "
        f"[{low:.1f}, {high:.1f}], 0-shot"
    )


def test_entries_survive_the_forms_of_huggingface_hub(tmp_path):
    """What it writes as YAML, it reads again as the same entries; nothing is claimed to be verified."""
    entries = benchmark_entries(evidence(tmp_path), "2026-01-31")["gsm8k"]
    text = yaml.safe_dump(eval_result_entries_to_yaml(entries))
    assert parse_eval_result_entries(yaml.safe_load(text)) == entries
    assert all(isinstance(entry, EvalResultEntry) and entry.verify_token is None for entry in entries)
    (form,) = yaml.safe_load(text)
    assert form["dataset"] == {"id": "openai/gsm8k", "task_id": "gsm8k"}
    # The Hub reads a date as a text.
    assert form["date"] == "2026-01-31"


def test_the_entry_is_that_of_the_first_temperature(tmp_path):
    """One figure of one model, whatever else was swept."""
    found = evidence(tmp_path, temperatures=(0.7, 1.3))
    (entry,) = benchmark_entries(found, "2026-01-31")["gsm8k"]
    assert " at temperature 0.7, " in entry.notes
    assert entry.value == pytest.approx(100 * of_model(found).summary.curve("pass@k").at(1).value, abs=0.005)


@pytest.mark.parametrize(
    "settings",
    [
        {"problems": 1318},
        {"problems": 1320},
        {"limit": 1319},
        {"problems": 20, "limit": 20},
        {"metadata": {"data_file": "gsm8k.jsonl"}},
        {"task": "math500_passk"},
        {"task": TASK},
        {"task": "gsm8k"},
        {"task": "unknown_passk"},
    ],
)
def test_what_is_no_whole_benchmark_has_no_entry(settings, tmp_path):
    """A subset, a file of one's own, another dataset, or a task of unknown origin would not compare."""
    assert benchmark_entries(evidence(tmp_path, **{"samples": 1, **settings}), "2026-01-31") == {}


@pytest.mark.parametrize(
    ("facts", "compares"),
    [
        ({"dataset_name": "main", "test_split": "test"}, True),
        ({"dataset_name": "socratic", "test_split": "test"}, False),
        ({"dataset_name": "main", "test_split": "train"}, False),
        ({"dataset_name": "main"}, False),
        ({"dataset_path": "anna/gsm8k", "dataset_name": "main", "test_split": "test"}, False),
    ],
)
def test_a_task_of_ones_own_compares_only_on_the_same_problems(facts, compares, tmp_path):
    """GSM8K has two configurations and two splits, of which the benchmark is one."""
    folder = write_task(tmp_path / "tasks", "mine", **{"dataset_path": "openai/gsm8k", **facts})
    found = evidence(tmp_path / "grid", task="mine", samples=1, include_path=folder)
    assert bool(benchmark_entries(found, "2026-01-31")) is compares


def test_two_tasks_of_one_benchmark_have_an_entry_each(tmp_path):
    """None is dropped for the other."""
    folder = write_task(tmp_path / "tasks", "mine", dataset_path="openai/gsm8k", dataset_name="main", test_split="test")
    found = evidence(tmp_path / "grid", tasks=(GSM8K, "mine"), samples=1, include_path=folder)
    entries = benchmark_entries(found, "2026-01-31")["gsm8k"]
    expected = [100 * of_model(found, task).summary.curve("pass@k").at(1).value for task in (GSM8K, "mine")]
    assert [entry.value for entry in entries] == pytest.approx(expected, abs=0.005)
    assert "mean over 1 sample of each" in entries[0].notes


def test_every_registered_benchmark_is_one_of_our_tasks():
    """As its task file says, with what that includes."""
    names = (GSM8K, "math500_passk", "aime24_passk", "aime26_passk", "hmmt_feb26_passk", TASK)
    ours = {task: dataset_of(task, {}) for task in names}
    assert set(REGISTERED) <= set(ours.values())
    assert ours["aime24_passk"] == Dataset("Maxwell-Jia/AIME_2024", None, "train")
    assert ours[TASK] == Dataset(None)


@pytest.mark.parametrize(
    ("task", "dataset", "problems"),
    [("aime26_passk", "MathArena/aime_2026", 30), ("hmmt_feb26_passk", "MathArena/hmmt_feb_2026", 33)],
)
def test_a_competition_of_matharena_has_an_entry(task, dataset, problems, tmp_path):
    """The task of its eval.yaml is called as the dataset itself; a part of the problems has no entry."""
    found = benchmark_entries(evidence(tmp_path / "whole", task=task, problems=problems), "2026-03-17")
    ((name, (entry,)),) = found.items()
    assert (name, entry.dataset_id, entry.task_id) == (dataset, dataset, dataset)
    assert f"of each of {problems} problems" in entry.notes
    assert benchmark_entries(evidence(tmp_path / "part", task=task, problems=problems - 1), "2026-03-17") == {}


def test_task_files_are_read_with_all_that_they_include_and_run_nothing(tmp_path):
    """The file itself has the last word, then the last one included; what it would import is not looked for."""
    write_task(tmp_path, "first", dataset_path="a/a", dataset_name="of first", test_split="of first")
    write_task(tmp_path, "second", dataset_path="b/b", test_split="of second")
    folder = write_task(tmp_path, "mine", include=["first.yaml", "second.yaml"], dataset_path="c/c")
    assert dataset_of("mine", {"include_path": folder}) == Dataset("c/c", "of first", "of second")


# --- the model-index ------------------------------------------------------------------------------


def through_card(results):
    """What huggingface_hub finds in a card that has these results, as its text and back."""
    card = ModelCard(f"---\n{ModelCardData(model_name='model', eval_results=results).to_yaml()}\n---\n")
    name, found = model_index_to_eval_results(card.data.to_dict()["model-index"])
    assert name == "model"
    assert card.data.eval_results == found
    return found


def test_the_model_index_has_both_ends_of_the_curve_with_n_k_temperature_and_interval(tmp_path):
    """And huggingface_hub reads the same figures from the card."""
    found = evidence(tmp_path, problems=30, samples=8, temperatures=(0.7, 1.3), alone=False)
    row = of_model(found)
    results = through_card(model_index(found))
    assert [(one.metric_type, one.metric_name) for one in results] == [
        ("pass@k", "pass@1"),
        ("pass@k", "pass@8"),
        ("maj@k", "maj@8"),
    ]
    for one, k in zip(results, (1, 8, 8), strict=True):
        estimate = row.summary.curve(one.metric_type).at(k)
        assert one.metric_value == pytest.approx(estimate.value, abs=5e-5)
        assert one.metric_args == {
            "k": k,
            "problems": 30,
            "samples_per_problem": 8,
            "temperature": 0.7,
            "interval": [round(estimate.low, 4), round(estimate.high, 4)],
            "level": 0.95,
        }
        assert (one.dataset_type, one.dataset_config, one.dataset_split) == ("openai/gsm8k", "main", "test")
        assert one.dataset_name == GSM8K
        assert one.verified is None


def test_a_generated_task_is_its_own_dataset(tmp_path):
    """No id of the Hub is made up for it."""
    (one, *_) = through_card(model_index(evidence(tmp_path, task=TASK, problems=5)))
    assert (one.dataset_type, one.dataset_name, one.dataset_config, one.dataset_split) == (TASK, TASK, None, None)


def test_two_tasks_of_one_dataset_are_told_apart(tmp_path):
    """The model-index has one list of metrics for both, under the name of the first."""
    folder = write_task(tmp_path / "tasks", "mine", dataset_path="openai/gsm8k", dataset_name="main", test_split="test")
    found = evidence(tmp_path / "grid", tasks=(GSM8K, "mine", TASK), problems=9, include_path=folder)
    values = {one.metric_name: one.metric_value for one in through_card(model_index(found))}
    for task in (GSM8K, "mine"):
        value = of_model(found, task).summary.curve("pass@k").at(2).value
        assert values[f"pass@2, {task}"] == pytest.approx(value, abs=5e-5)
    assert "pass@2" in values


def test_one_sample_of_one_problem_claims_no_interval(tmp_path):
    """Nothing is known of other problems; and Pass@1 stands there once."""
    results = through_card(model_index(evidence(tmp_path, task=TASK, problems=1, samples=1)))
    assert [one.metric_name for one in results] == ["pass@1", "maj@1"]
    for one in results:
        assert set(one.metric_args) == {"k", "problems", "samples_per_problem", "temperature"}


# --- the results file -----------------------------------------------------------------------------


def test_the_results_file_has_the_whole_curves_of_all_three(tmp_path):
    """At every temperature, each k with value and interval, and n, K, temperature beside them."""
    found = evidence(tmp_path, task=TASK, problems=30, samples=8, temperatures=(0.7, 1.0), alone=False)
    document = json.loads(results_file(found, NAMES, NOBODY))
    assert (document["level"], document["temperature"], document["models"]) == (
        0.95,
        1.0,
        {role: NAMES[role] for role in ("early", "late")},
    )
    rows = document["tasks"][TASK]
    assert len(rows) == 6
    for row, ours in zip(rows, found.tasks[0].rows, strict=True):
        assert (row["role"], row["model"], row["temperature"]) == (ours.role, NAMES[ours.role], ours.temperature)
        assert (row["problems"], row["samples_per_problem"], row["max_tokens"]) == (30, [8, 8], 16)
        assert set(row["curves"]) >= {"pass@k", "maj@k", "best@k by logprob", "pass^k"}
        for curve in ours.summary.curves:
            told = row["curves"][curve.title]
            assert told["k"] == list(range(1, 9))
            for key in ("value", "standard_error", "low", "high"):
                assert told[key] == pytest.approx(getattr(curve, key), abs=5e-7)


def test_pass_at_k_can_be_made_again_from_the_results_file(tmp_path):
    """From how many samples of each problem were correct, in closed form."""
    found = evidence(tmp_path, task=TASK, problems=30, samples=8, alone=False)
    for row in json.loads(results_file(found, NAMES, NOBODY))["tasks"][TASK]:
        counts = row["by_problem"]
        assert [problem["n"] for problem in counts] == [8] * 30
        for k, value in zip(row["curves"]["pass@k"]["k"], row["curves"]["pass@k"]["value"], strict=True):
            failing = [math.comb(one["n"] - one["c"], k) / math.comb(one["n"], k) for one in counts]
            assert value == pytest.approx(1 - sum(failing) / 30, abs=5e-7)


def test_the_results_file_is_json_whatever_is_not_known(tmp_path):
    """A variance over one sample and an interval over one problem are null, which every reader takes."""
    points = grid()
    leave(tmp_path, points, [of_verdicts(point, [[True]]) for point in points])
    text = results_file(evidence_of_sweep(merged_of(points[1]), tmp_path), NAMES, NOBODY)

    def refuse(constant):
        raise AssertionError(constant)

    (_, row, _) = json.loads(text, parse_constant=refuse)["tasks"][TASK]
    assert (row["variance"], row["curves"]["pass@k"]["low"], row["curves"]["pass@k"]["value"]) == (None, [None], [1])


def test_the_results_file_has_no_path_and_no_token_of_the_sweep(tmp_path):
    """Wherever the problems lay: paths become their last part, and what opens a door is left out."""
    found = evidence(
        tmp_path,
        task=TASK,
        problems=3,
        metadata={"data_file": "/mnt/secret/problems.jsonl"},
        include_path="/mnt/secret/tasks",
        model_args={"token": "hf_secret", "tokenizer": "/mnt/secret/tokenizer", "dtype": "bfloat16"},
    )
    privacy, _ = privacy_of(merged_of(grid()[1]), {}, ())
    text = results_file(found, NAMES, privacy).decode()
    assert "secret" not in text
    sampling = json.loads(text)["sampling"]
    assert sampling["metadata"] == {"data_file": "problems.jsonl"}
    assert sampling["include_path"] == "tasks"
    assert sampling["model_args"] == {"tokenizer": "tokenizer", "dtype": "bfloat16"}
