"""The tasks in the real lm-eval, driven by a tiny model or by answers that we choose."""

import json

import pytest
from datasets import Dataset
from lm_eval import simple_evaluate
from lm_eval.api.model import LM
from lm_eval.tasks import TaskManager

from wise_merge.errors import WiseMergeError
from wise_merge.passk_task import tasks_directory

#: What lm-eval's table and JSON call our one filter.
FILTER = "samples"


class Scripted(LM):
    """A model that answers a prompt with the next of the completions that `script` gives for it."""

    def __init__(self, script):
        super().__init__()
        self.script, self.calls, self.requests = script, {}, []

    def generate_until(self, requests, disable_tqdm=False):
        answers = []
        for request in requests:
            prompt, settings = request.args
            turn = self.calls[prompt] = self.calls.get(prompt, -1) + 1
            self.requests.append((prompt, settings))
            answers.append(self.script(prompt)[turn])
        return answers

    def loglikelihood(self, requests, disable_tqdm=False):
        raise NotImplementedError

    loglikelihood_rolling = loglikelihood


def evaluate(model, task="countdown_passk", *, gen_kwargs=None, **metadata):
    """Run one task of ours in lm-eval, without indexing its own 14,000."""
    manager = TaskManager(include_defaults=False, include_path=tasks_directory(), metadata=metadata)
    results = simple_evaluate(model, tasks=[task], task_manager=manager, gen_kwargs=gen_kwargs, bootstrap_iters=10)
    return results["results"][task], results


def values(scores):
    """The metrics without filter name and standard errors."""
    return {key.split(",")[0]: value for key, value in scores.items() if f",{FILTER}" in key and "stderr" not in key}


@pytest.fixture
def two_problems(tmp_path):
    """A data file of two CountDown problems."""
    path = tmp_path / "problems.jsonl"
    rows = [{"numbers": [5, 6, 9], "target": 24}, {"numbers": [1, 2, 3], "target": 6}]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def test_all_k_completions_are_scored(two_problems):
    """One of four right on one problem and none on the other: pass@k as counted by hand."""

    def script(prompt):
        return [" 9", "(9-5)*6", "9*6", ""] if "Target: 24" in prompt[-40:] else ["1+2", "1+2", "1+2", "3-2"]

    scores, _ = evaluate(Scripted(script), repeats=4, data_file=two_problems)
    assert values(scores) == {
        "pass@1": pytest.approx(1 / 8),
        "pass@2": pytest.approx(1 / 4),  # (1 - C(3,2)/C(4,2)) / 2
        "pass@4": pytest.approx(1 / 2),
        "maj@4": pytest.approx(1 / 6),  # a tie of three answers of which one is right, and none
        "answered": pytest.approx(7 / 8),
        "identical": 0.0,
    }


def test_the_standard_error_is_that_of_the_mean_over_problems(two_problems):
    """Samples of one problem are not independent problems."""
    script = {"24": ["(9-5)*6"] * 2, "6": ["1+2"] * 2}
    scores, _ = evaluate(
        Scripted(lambda prompt: script["24" if "24" in prompt[-40:] else "6"]),
        repeats=2,
        data_file=two_problems,
    )
    assert scores[f"pass@1_stderr,{FILTER}"] == pytest.approx(0.5)  # values 1 and 0: sd 0.7071 / sqrt(2)


def test_sampling_settings_are_spelt_out(two_problems):
    """No backend falls back to a top_k or a temperature of its own."""
    model = Scripted(lambda prompt: ["1", "2"])
    evaluate(model, repeats=2, data_file=two_problems, gen_kwargs={"temperature": 0.7})
    settings = model.requests[0][1]
    assert settings["do_sample"] is True
    assert (settings["temperature"], settings["top_p"], settings["top_k"]) == (0.7, 1.0, 0)


def test_identical_samples_are_reported_loudly(two_problems, caplog):
    """A problem whose K completions are one and the same is counted, and the warning names causes."""
    script = {"24": ["(9-5)*6"] * 3, "6": ["1", "2", "3"]}
    scores, _ = evaluate(
        Scripted(lambda prompt: script["24" if "24" in prompt[-40:] else "6"]),
        repeats=3,
        data_file=two_problems,
    )
    assert values(scores)["identical"] == 0.5
    assert "ALL 3 COMPLETIONS ARE IDENTICAL in 1 of 2 problems" in caplog.text
    assert "seed" in caplog.text


def test_different_samples_raise_no_alarm(two_problems, caplog):
    """The negative control of the warning."""
    evaluate(Scripted(lambda prompt: ["1", "2", "3"]), repeats=3, data_file=two_problems)
    assert "IDENTICAL" not in caplog.text


@pytest.mark.parametrize("settings", [{"do_sample": False}, {"temperature": 0.0}])
def test_k_greedy_completions_are_refused(two_problems, settings):
    """Greedy decoding gives one completion; asking for K of it is a mistake, asking for one is not."""
    with pytest.raises(WiseMergeError, match="--metadata repeats=1"):
        evaluate(Scripted(lambda prompt: ["1"] * 4), repeats=4, data_file=two_problems, gen_kwargs=settings)
    scores, _ = evaluate(Scripted(lambda prompt: ["1+2+3"]), repeats=1, data_file=two_problems, gen_kwargs=settings)
    assert values(scores)["pass@1"] == 0.5


def test_temperature_zero_means_greedy(two_problems):
    """The backend is told not to sample: at temperature 0 the hf backend would refuse to."""
    model = Scripted(lambda prompt: ["1"])
    evaluate(model, repeats=1, data_file=two_problems, gen_kwargs={"temperature": 0})
    assert model.requests[0][1]["do_sample"] is False


def test_padding_of_data_parallel_runs_is_cut_off():
    """A problem that was handed 2K completions is scored on its first K, and one with fewer is refused."""
    manager = TaskManager(include_defaults=False, include_path=tasks_directory(), metadata={"repeats": 2})
    task = manager.load(["countdown_passk"])["tasks"]["countdown_passk"]
    problem = {"numbers": [1, 2, 3], "target": 6}
    assert task.process_results(problem, [["1", "2", "1+2+3", "1+2+3"]])["pass@2"] == 0.0
    assert task.process_results(problem, ["1", "1+2+3"])["pass@2"] == 1.0  # the shape that lm-eval 0.5 announces
    with pytest.raises(WiseMergeError, match="1 completions where 2"):
        task.process_results(problem, [["1+2+3"]])


def test_generated_problems_are_reproducible_and_not_in_the_examples():
    """The same seed gives the same problems; no few-shot example is one of them."""

    def load(**metadata):
        manager = TaskManager(include_defaults=False, include_path=tasks_directory(), metadata=metadata)
        return manager.load(["countdown_passk"])["tasks"]["countdown_passk"].dataset

    one, same, other = load(problems=50), load(problems=50), load(problems=50, problem_seed=1)
    assert one["test"].to_list() == same["test"].to_list() != other["test"].to_list()
    assert len(one["test"]) == 50
    key = lambda row: (sorted(row["numbers"]), row["target"])  # noqa: E731
    assert not {str(key(row)) for row in one["test"]} & {str(key(row)) for row in one["train"]}
    assert len(load(numbers=4)["test"][0]["numbers"]) == 4


def test_the_prompt_ends_where_the_answer_begins():
    """Four worked examples, then the problem."""
    model = Scripted(lambda prompt: ["1", "2"])
    evaluate(model, repeats=2, problems=1)
    prompt = model.requests[0][0]
    assert prompt.count("Expression:") == 5
    assert prompt.endswith("\nExpression:")


@pytest.mark.parametrize(
    ("metadata", "message"),
    [
        ({"repeats": 0}, "repeats must be a positive integer; got 0"),
        ({"repeats": "many"}, "repeats must be a positive integer; got 'many'"),
        ({"data_file": "nowhere.jsonl"}, "nowhere.jsonl.*does not exist"),
        ({"data_file": 5}, "data_file must be the path.*got 5"),
        ({"data_file": {"countdown_pask": "x"}}, "countdown_pask, which is no task; .*countdown_passk"),
        ({"problems": 1810}, "1810 problems and 16 few-shot examples: .*ask for fewer"),
        ({"problems": "all"}, "problems must be a positive integer; got 'all'"),
        ({"numbers": 5}, "3 or 4 numbers; got numbers=5"),
    ],
)
def test_bad_settings_are_named(metadata, message):
    """The error says which setting, what came, and what would do."""
    with pytest.raises(WiseMergeError, match=message):
        evaluate(Scripted(lambda prompt: ["1"] * 32), **metadata)


def test_a_mistake_on_the_command_line_is_one_line(tiny_run, tmp_path, console_script):
    """`lm_eval` ends with exit code 1 and our message, without a traceback."""
    result = console_script(
        *("lm_eval", "--model", "hf", "--model_args", f"pretrained={tiny_run / 'checkpoint-1'}", "--device", "cpu"),
        *("--tasks", "gsm8k_passk", "--metadata", "data_file=nowhere.jsonl"),
        cwd=tmp_path,
    )
    assert result.returncode == 1
    assert result.stderr.splitlines()[-1].startswith("gsm8k_passk: data_file 'nowhere.jsonl' does not exist")
    assert "Traceback" not in result.stderr


def test_a_data_file_of_another_task_is_named(tmp_path):
    """A file without the columns of the task is refused with those that it has."""
    path = tmp_path / "gsm8k.jsonl"
    Dataset.from_list([{"question": "?", "answer": "#### 1"}]).to_json(path)
    with pytest.raises(WiseMergeError, match="lacks the column numbers, target; it has question, answer"):
        evaluate(Scripted(lambda prompt: ["1"] * 32), data_file=str(path))


def test_a_malformed_data_file_is_named(tmp_path):
    """A file that is not JSON Lines is refused by name."""
    path = tmp_path / "broken.jsonl"
    path.write_text('{"numbers": [1, 2\n')
    with pytest.raises(WiseMergeError, match=r"broken\.jsonl is not a JSON Lines file"):
        evaluate(Scripted(lambda prompt: ["1"] * 32), data_file=str(path))


@pytest.mark.parametrize(
    ("task", "row", "message"),
    [
        (
            "countdown_passk",
            {"numbers": ["3", "4", "5"], "target": 12},
            "problem 2 .*must be a list of integers",
        ),
        ("countdown_passk", {"numbers": [3, 4, 5], "target": None}, "problem 2 .*target must be an integer; got None"),
        ("gsm8k_passk", {"question": "2 + 2?", "answer": "four"}, "problem 2 .*a number; got 'four'"),
    ],
)
def test_a_problem_that_nothing_can_solve_is_refused_before_the_sampling(task, row, message, tmp_path):
    """Its line is named; it would otherwise count as wrong for ever."""
    good = {"countdown_passk": {"numbers": [1, 2, 3], "target": 6}, "gsm8k_passk": {"question": "?", "answer": "4"}}
    # One type per column, or the reader of JSON Lines itself refuses the file.
    first = {"numbers": ["1"], "target": 6} if row.get("numbers") == ["3", "4", "5"] else good[task]
    path = tmp_path / "problems.jsonl"
    path.write_text(json.dumps(first) + "\n" + json.dumps(row) + "\n")
    message = message.replace("problem 2", "problem 1") if first is not good[task] else message
    with pytest.raises(WiseMergeError, match=message):
        evaluate(Scripted(lambda prompt: ["1"] * 32), task, data_file=str(path))


def test_an_empty_data_file_is_named(tmp_path):
    """No problems, no run."""
    (tmp_path / "empty.jsonl").touch()
    with pytest.raises(WiseMergeError, match=r"empty\.jsonl is empty"):
        evaluate(Scripted(lambda prompt: ["1"] * 32), data_file=str(tmp_path / "empty.jsonl"))


@pytest.mark.parametrize("temperature", ["hot", -1.0, True])
def test_an_impossible_temperature_is_named(temperature, two_problems):
    """Before a model has worked for hours."""
    with pytest.raises(WiseMergeError, match=f"temperature must be a number of at least 0.*{temperature}"):
        evaluate(
            Scripted(lambda prompt: ["1"] * 4),
            repeats=4,
            data_file=two_problems,
            gen_kwargs={"temperature": temperature},
        )


def test_gsm8k_compares_numbers_however_they_are_written(tmp_path):
    """$1,000.00 and 1000 are one vote and one answer."""
    path = tmp_path / "gsm8k.jsonl"
    path.write_text(json.dumps({"question": "How much?", "answer": "500 * 2. #### 1,000"}) + "\n")
    completions = [" The answer is $1,000.00.", " So 1000", " #### 7", " The answer is 7."]
    scores, _ = evaluate(Scripted(lambda prompt: completions), "gsm8k_passk", repeats=4, data_file=str(path))
    assert values(scores) | {"pass@2": 0} == {
        "pass@1": 0.5, "pass@2": 0, "pass@4": 1.0, "maj@4": 0.5, "answered": 1.0, "identical": 0.0
    }  # fmt: skip


def test_predict_only_keeps_the_completions_and_scores_nothing(two_problems):
    """lm-eval's --predict_only works with our tasks."""
    manager = TaskManager(
        include_defaults=False,
        include_path=tasks_directory(),
        metadata={"repeats": 2, "data_file": two_problems},
    )
    results = simple_evaluate(
        Scripted(lambda prompt: ["1", "2"]),
        tasks=["countdown_passk"],
        task_manager=manager,
        predict_only=True,
    )
    assert [row["resps"] for row in results["samples"]["countdown_passk"]] == [[["1", "2"]]] * 2
    assert "bypass,samples" in results["results"]["countdown_passk"]


def test_cached_requests_are_refused(two_problems):
    """--cache_requests would reuse K and temperature of an earlier run."""
    manager = TaskManager(include_defaults=False, include_path=tasks_directory(), metadata={"data_file": two_problems})
    with pytest.raises(WiseMergeError, match="--cache_requests is refused"):
        simple_evaluate(
            Scripted(lambda prompt: ["1"] * 32),
            tasks=["countdown_passk"],
            task_manager=manager,
            cache_requests=True,
        )


def test_gsm8k_runs_on_real_data_from_the_plain_command_line(shared_data, tiny_run, tmp_path, console_script):
    """`lm_eval --tasks gsm8k_passk` with K, temperature and data file set as the README says."""
    metadata = json.dumps({"repeats": 4, "data_file": str(shared_data / "gsm8k" / "test.jsonl")})
    result = console_script(
        *("lm_eval", "--model", "hf", "--model_args", f"pretrained={tiny_run / 'checkpoint-1'}"),
        *(
            "--tasks",
            "gsm8k_passk",
            "--metadata",
            metadata,
            "--gen_kwargs",
            "temperature=0.8",
            "max_gen_toks=16",
        ),
        *(
            "--limit",
            "3",
            "--batch_size",
            "12",
            "--device",
            "cpu",
            "--output_path",
            "results",
            "--log_samples",
        ),
        cwd=tmp_path,
    )
    assert result.returncode == 0, result.stderr
    assert "pass@4" in result.stdout
    (samples,) = tmp_path.glob("results/*/samples_gsm8k_passk_*.jsonl")
    rows = [json.loads(line) for line in samples.read_text().splitlines()]
    assert [len(set(row["resps"][0])) for row in rows] == [4, 4, 4]
    (aggregated,) = tmp_path.glob("results/*/results_*.json")
    config = json.loads(aggregated.read_text())["configs"]["gsm8k_passk"]
    assert config["repeats"] == 4
    assert config["generation_kwargs"]["temperature"] == 0.8
