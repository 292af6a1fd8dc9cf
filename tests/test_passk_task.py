"""The tasks in the real lm-eval, answered by scripts; `test_passk_command_line.py` has models answer them."""

import itertools
import json
import re
from pathlib import Path

import pytest
import yaml
from datasets import Dataset, Image
from lm_eval import simple_evaluate
from lm_eval.tasks import TaskManager
from support.tasks import FILTER, Scripted, ScriptedTokens, Telling, evaluate, values

from wise_merge.errors import WiseMergeError
from wise_merge.tasks import tasks_directory


def load(name, **metadata):
    """Return a task of ours, as lm-eval loads it."""
    manager = TaskManager(include_defaults=False, include_path=tasks_directory(), metadata=metadata)
    return manager.load([name])["tasks"][name]


def file_of(folder, *rows):
    """Write a JSON Lines file and return its path."""
    path = folder / "problems.jsonl"
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
    task = load("countdown_passk", repeats=2)
    problem = {"numbers": [1, 2, 3], "target": 6}
    assert task.process_results(problem, [["1", "2", "1+2+3", "1+2+3"]])["pass@2"] == 0.0
    assert task.process_results(problem, ["1", "1+2+3"])["pass@2"] == 1.0  # the shape that lm-eval 0.5 announces
    padded = task.process_results(problem, [["1", "1", "2", "3"]])
    assert padded["identical"] == 1.0
    assert padded["audit"]["received"] == 4
    with pytest.raises(WiseMergeError, match="a problem has 1 completions where 2"):
        task.process_results(problem, [["1+2+3"]])


def test_one_completion_has_one_score_in_either_shape():
    """K = 1 is greedy decoding: [[text]] in lm-eval 0.4 and [text] in 0.5."""
    task = load("countdown_passk", repeats=1)
    problem = {"numbers": [1, 2, 3], "target": 6}
    for results in ([["1+2+3"]], ["1+2+3"]):
        assert task.process_results(problem, results)["pass@1"] == 1.0
    assert task.process_results(problem, [[None]])["answered"] == 0.0  # an API's empty answer


def test_generated_problems_are_reproducible_and_not_in_the_examples():
    """The same seed gives the same problems; no few-shot example is one of them."""

    def drawn(**metadata):
        return load("countdown_passk", **metadata).dataset

    one, same, other = drawn(problems=50), drawn(problems=50), drawn(problems=50, problem_seed=1)
    assert one["test"].to_list() == same["test"].to_list() != other["test"].to_list()
    assert len(one["test"]) == 50
    key = lambda row: (sorted(row["numbers"]), row["target"])  # noqa: E731
    assert not {str(key(row)) for row in one["test"]} & {str(key(row)) for row in one["train"]}
    assert len(drawn(numbers=4)["test"][0]["numbers"]) == 4
    divisions = [row["solution"] for row in drawn(operations="/", largest=40, problems=20)["test"]]
    assert all("/" in solution and not set("+-*") & set(solution) for solution in divisions)


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
        ({"max_gen_toks": 0}, "max_gen_toks must be a positive integer; got 0"),
        ({"max_gen_toks": {"countdown": 9}}, "max_gen_toks names countdown, which is no task"),
        ({"prompt": "fewshto"}, "prompt must be fewshot or instruct; got 'fewshto'"),
    ],
)
def test_bad_settings_are_named(metadata, message):
    """The error says which setting, what came, and what would do."""
    with pytest.raises(WiseMergeError, match=message):
        evaluate(Scripted(lambda prompt: ["1"] * 32), **metadata)


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
def test_a_problem_whose_gold_cannot_be_read_is_refused_before_the_sampling(task, row, message, tmp_path):
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


# --- the whole curve ------------------------------------------------------------------------------


def test_the_results_carry_the_whole_curve(two_problems):
    """For every k the mean over problems, as counted over all subsets, with its standard error."""
    script = {"24": ["(9-5)*6", "9", "9", "", "6*(9-5)"], "6": ["1+2+3", "1", "1", "1", "2"]}
    right = {"24": [0, 4], "6": [0]}
    votes = {"24": "abb-a", "6": "abbbc"}
    scores, results = evaluate(
        Scripted(lambda prompt: script["24" if "24" in prompt[-40:] else "6"]), repeats=5, data_file=two_problems
    )

    def vote(name, subset):
        counts = {answer: [votes[name][i] for i in subset].count(answer) for answer in set(votes[name]) - {"-"}}
        most = max(counts.values())
        return (counts["a"] == most) / list(counts.values()).count(most) if most else 0.0

    curve = scores[f"curve,{FILTER}"]
    assert (curve["n"], curve["problems"]) == (5, 2)
    for k in range(1, 6):
        subsets = list(itertools.combinations(range(5), k))
        passed = [sum(bool(set(right[name]) & set(subset)) for subset in subsets) / len(subsets) for name in votes]
        voted = [sum(vote(name, subset) for subset in subsets) / len(subsets) for name in votes]
        for metric, (one, other) in {"pass@k": passed, "maj@k": voted}.items():
            assert curve[metric][k - 1] == pytest.approx((one + other) / 2)
            # The standard deviation of two values is |one - other| / sqrt(2).
            assert curve[f"{metric}_stderr"][k - 1] == pytest.approx(abs(one - other) / 2)
    assert scores[f"maj@5,{FILTER}"] == pytest.approx(curve["maj@k"][-1])
    json.dumps(results["results"], allow_nan=False)


def test_the_curve_of_one_problem_has_no_standard_error():
    """None in the JSON, which knows no NaN."""
    scores, _ = evaluate(Scripted(lambda prompt: ["1", "2"]), repeats=2, problems=1)
    assert scores[f"curve,{FILTER}"]["pass@k_stderr"] == [None, None]


def test_the_samples_keep_what_is_needed_to_recompute(two_problems):
    """Per problem: the label of each answer and its verdict, in the order of the completions."""
    completions = ["(9-5)*6", "6 * (9 - 5)", "no idea", "9"]
    _, results = evaluate(Scripted(lambda prompt: completions), repeats=4, data_file=two_problems)
    first = results["samples"]["countdown_passk"][0]
    answers = first["curve"]["answers"]
    assert answers[0] == answers[1] is not None
    assert answers[2] is None
    assert answers[3] not in (None, answers[0])
    assert first["curve"]["correct"] == [True, True, False, False]
    json.dumps(first["curve"])


def test_a_task_is_judged_in_one_go(two_problems, monkeypatch):
    """Equality can be expensive and is spread over processes: all problems at once, before and after the sampling."""
    from wise_merge.answers import benchmarks

    calls = []
    original = benchmarks.judge

    def judge(benchmark, problems, **settings):
        calls.append(len(problems))
        return original(benchmark, problems, **settings)

    monkeypatch.setattr(benchmarks, "judge", judge)
    evaluate(Scripted(lambda prompt: ["1", "2"]), repeats=2, data_file=two_problems)
    assert calls == [2, 2]


# --- prompts --------------------------------------------------------------------------------------

TASKS = [
    "gsm8k_passk",
    "math500_passk",
    "aime24_passk",
    "aime25_passk",
    "aime26_passk",
    "hmmt_feb25_passk",
    "hmmt_feb26_passk",
    "brumo25_passk",
    "amc23_passk",
    "olympiadbench_passk",
    "countdown_passk",
    "sudoku4_passk",
    "sudoku9_passk",
]

ONE_PROBLEM = {
    "gsm8k_passk": {"question": "2 + 2?", "answer": "#### 4"},
    "math500_passk": {"problem": "$2 + 2$?", "answer": "4"},
    "aime24_passk": {"Problem": "$2 + 2$?", "Answer": 4},
    "aime25_passk": {"problem": "$2 + 2$?", "answer": "004"},
    "aime26_passk": {"problem_idx": 1, "answer": 4, "problem": "$2 + 2$?"},
    "hmmt_feb25_passk": {"problem_idx": 1, "problem": "$2 + 2$?", "answer": "4", "problem_type": ["Algebra"]},
    "hmmt_feb26_passk": {"problem_idx": 1, "answer": "4", "problem_type": ["Algebra"], "problem": "$2 + 2$?"},
    "brumo25_passk": {"problem_idx": 1, "problem": "$2 + 2$?", "answer": "4", "problem_type": ["Algebra"]},
    "amc23_passk": {"id": 0, "answer": 4.0, "url": "https://example.org", "question": "$2 + 2$?"},
    "olympiadbench_passk": {"id": 1, "question": "$2 + 2$?", "solution": ["4."], "final_answer": ["$4$"], "unit": None},
    "countdown_passk": {"nums": [3, 4, 5], "target": 17},
    "sudoku4_passk": {"question": "12.. 341. 2143 4321"},
    "sudoku9_passk": {"puzzle": "530070000600195000098000060800060003400803001700020006060000280000419005000080079"},
}


def test_every_task_is_tested_here_and_belongs_to_a_group():
    """`passk` means what it always has; the competitions have a group of their own, with the AIMEs in both."""
    folder = Path(tasks_directory())
    groups = {name: yaml.safe_load((folder / f"{name}.yaml").read_text()) for name in ("passk", "passk_competitions")}
    assert all(group["group"] == name for name, group in groups.items())
    passk, competitions = (set(group["task"]) for group in groups.values())
    # Programs run by permission only, so no group has them.
    judged = {path.stem for path in folder.glob("*_passk.yaml")} - {"livecodebench_passk"}
    assert passk | competitions == set(TASKS) == judged
    assert passk & competitions == {"aime24_passk", "aime25_passk", "aime26_passk"}


class ScriptedChat(Scripted):
    """A model with a chat template."""

    tokenizer_name = "scripted"

    def chat_template(self, chat_template=False):
        return "roles"

    def apply_chat_template(self, chat_history, add_generation_prompt=True):
        return "".join(f"<{turn['role']}>{turn['content']}" for turn in chat_history) + "<assistant>"


def asked(task, model=Scripted, *, chat=False, num_fewshot=None, gen_kwargs=None, **metadata):
    """Return prompt, settings and results of a task, for its first problem, of three where they are generated."""
    model = model(lambda prompt: ["1"] * 2)
    metadata = {"repeats": 2, "problems": 3, **metadata}
    manager = TaskManager(include_defaults=False, include_path=tasks_directory(), metadata=metadata)
    results = simple_evaluate(
        model,
        tasks=[task],
        task_manager=manager,
        limit=1,
        apply_chat_template=chat,
        num_fewshot=num_fewshot,
        gen_kwargs=gen_kwargs,
    )
    return *model.requests[0], results


@pytest.mark.parametrize("task", TASKS)
def test_every_task_has_two_prompts(task, tmp_path):
    """Worked examples with a stop string that begins the next one; or none, no stop string and marks for the answer."""
    path = file_of(tmp_path, ONE_PROBLEM[task])
    few, stops, results = asked(task, data_file=path)
    (stop,) = stops["until"]
    shots = results["n-shot"][task]
    assert few.count(stop.strip() or "Expression:") == shots + 1 >= 5
    assert results["configs"][task]["metadata"]["prompt"] == "fewshot"
    one, settings, results = asked(task, data_file=path, prompt="instruct")
    assert settings["until"] == []
    assert settings["max_gen_toks"] >= 2048 > stops["max_gen_toks"] / 2
    assert results["n-shot"][task] == 0
    assert ("\\boxed{}" in one) != ("<answer>" in one)
    assert results["configs"][task]["metadata"]["prompt"] == "instruct"


@pytest.mark.parametrize("prompt", ["fewshot", "instruct"])
@pytest.mark.parametrize("task", TASKS)
def test_the_worked_examples_are_right(task, prompt, tmp_path):
    """What examples show as an answer is read, correct where they can be judged, and marked as the prompt asks."""
    loaded = load(task, data_file=file_of(tmp_path, ONE_PROBLEM[task]), problems=3, repeats=1, prompt=prompt)
    for example in loaded.sampler.df:
        shown = loaded.doc_to_target(example, loaded.fewshot_cfg.doc_to_target)
        if prompt == "instruct":
            asked_for = loaded.doc_to_text(example)
            assert ("\\boxed{" in asked_for) == ("\\boxed{" in shown.splitlines()[-1] or "\\end{align*}" in shown)
            assert ("<answer>" in asked_for) == shown.endswith("</answer>")
            assert "Final Answer" not in shown
        answer = {"answer": re.split(r"\}(?:\.|\$|\n|$)", shown.rpartition("\\boxed{")[2])[0]}
        if loaded.benchmark.name == "aime" and not answer["answer"].isdigit():
            continue
        if "answer" in example or loaded.benchmark.name == "math":
            answer = {"answer": example.get("answer", answer["answer"])}
        scores = loaded.process_results({**example, **answer}, [[shown]])
        assert (scores["answered"], scores["pass@1"]) == (1.0, 1.0)


def test_the_prompt_of_the_demo_is_that_of_the_task():
    """The demo trains on the prompt that the task asks without examples."""
    from wise_merge.demo.tiny_model import prompt_of
    from wise_merge.games.countdown import Problem

    prompt, settings, results = asked("countdown_passk", num_fewshot=0)
    row = results["samples"]["countdown_passk"][0]["doc"]
    assert prompt == prompt_of(Problem(tuple(row["numbers"]), row["target"], ""))
    assert settings["until"] == ["\n"]


def test_a_chat_template_selects_the_instructions(caplog):
    """Unless a prompt is named; and the log says so."""
    caplog.set_level("INFO")
    prompt, settings, results = asked("countdown_passk", ScriptedChat, chat=True)
    assert prompt.startswith("<user>Numbers:")
    assert prompt.endswith("</answer>.<assistant>")
    assert (settings["until"], results["n-shot"]["countdown_passk"]) == ([], 0)
    assert caplog.text.count("--apply_chat_template selects --metadata prompt=instruct") == 1
    prompt, settings, results = asked("countdown_passk", ScriptedChat, chat=True, prompt="fewshot")
    assert prompt.count("<user>") == 5
    assert (settings["until"], results["n-shot"]["countdown_passk"]) == (["\n"], 4)


def test_the_command_line_wins_over_the_prompt():
    """Examples, stop strings and length, whatever lm-eval calls it."""
    prompt, settings, results = asked(
        "countdown_passk", num_fewshot=2, prompt="instruct", gen_kwargs={"until": ["\n\n"], "max_tokens": 99}
    )
    assert results["n-shot"]["countdown_passk"] == 2
    assert prompt.count("Use every number exactly once") == 3
    assert prompt.count("</answer>.") == 3  # the instructions
    assert prompt.count("</answer>\n\n") == 2  # the examples
    assert settings["until"] == ["\n\n"]
    assert settings["max_tokens"] == 99
    assert "max_gen_toks" not in settings


def test_the_longest_completion_is_set_per_task():
    """--gen_kwargs wins over the metadata, and those win over the task."""
    limits = {"countdown_passk": 77, "aime24_passk": 2048}
    assert asked("countdown_passk", max_gen_toks=limits)[1]["max_gen_toks"] == 77
    assert asked("countdown_passk", max_gen_toks=55, prompt="instruct")[1]["max_gen_toks"] == 55
    assert asked("sudoku4_passk", max_gen_toks=limits)[1]["max_gen_toks"] == 64
    settings = asked("countdown_passk", max_gen_toks=limits, gen_kwargs={"max_tokens": 9})[1]
    assert (settings["max_tokens"], "max_gen_toks" in settings) == (9, False)


class OpenAIChatCompletion(Scripted):
    """Called like lm-eval's model for an API that has no top_k."""


def test_top_k_is_not_mentioned_where_it_would_be_refused():
    """0 means off, which OpenAI's API always is; None leaves it out everywhere; any other is the user's to say."""
    assert asked("countdown_passk")[1]["top_k"] == 0
    assert "top_k" not in asked("countdown_passk", gen_kwargs={"top_k": None})[1]
    assert "top_k" not in asked("countdown_passk", OpenAIChatCompletion)[1]
    assert asked("countdown_passk", OpenAIChatCompletion, gen_kwargs={"top_k": 5})[1]["top_k"] == 5


def test_more_examples_than_there_are_is_one_line():
    """GSM8K has eight; lm-eval would fail by an assertion."""
    with pytest.raises(WiseMergeError, match=r"has 16 worked examples; got --num_fewshot 17"):
        asked("countdown_passk", num_fewshot=17)


def test_the_instructions_name_the_operations(two_problems):
    """As many as the problems are made with; those of a file may need a division, unless the user knows better."""
    assert "the operations + - * and brackets" in asked("countdown_passk", prompt="instruct")[0]
    assert "the operations + - * / and brackets" in asked("countdown_passk", prompt="instruct", operations="+-*/")[0]
    assert (
        "the operations + - * / and brackets" in asked("countdown_passk", prompt="instruct", data_file=two_problems)[0]
    )
    prompt, *_ = asked("countdown_passk", prompt="instruct", data_file=two_problems, operations="+-")
    assert "the operations + - and brackets" in prompt


@pytest.mark.parametrize(("task", "size"), [("sudoku4_passk", 4), ("sudoku9_passk", 9)])
def test_sudoku_puzzles_are_shown_row_by_row(task, size):
    """As many lines of as many digits as the puzzle has; examples end with their solutions."""
    few, _, results = asked(task)
    puzzle = results["samples"][task][0]["doc"]["question"]
    rows = [puzzle[i : i + size] for i in range(0, size**2, size)]
    assert few.endswith("Puzzle:\n" + "\n".join(rows) + "\nSolution:")
    example = few.split("\n\n")[0].splitlines()
    assert len(example) == 2 * size + 2
    assert {len(set(line)) for line in example[-size:]} == {size}
    assert "\n".join(rows) in asked(task, prompt="instruct")[0]


# --- data -----------------------------------------------------------------------------------------


def test_columns_are_found_under_their_other_names(tmp_path):
    """AIME's Problem and Answer, AMC's question, CountDown's nums, Sudoku's puzzle, and cells written as dots."""
    for task, row in ONE_PROBLEM.items():
        loaded = load(task, data_file=file_of(tmp_path, row), problems=3)
        assert len(loaded.eval_docs) == 1
    assert load("sudoku4_passk", data_file=file_of(tmp_path, ONE_PROBLEM["sudoku4_passk"])).eval_docs[0][
        "question"
    ] == ("1200341021434321")


def test_no_example_is_a_problem_of_the_file(tmp_path):
    """Examples are generated from the seed, and someone may have saved the problems of that very seed."""
    drawn = load("countdown_passk", problems=20, operations="+-*/").dataset
    # The same numbers in another order are the same problem.
    example = {**drawn["train"][2], "numbers": drawn["train"][2]["numbers"][::-1]}
    assert example != drawn["train"][2]
    path = file_of(tmp_path, *drawn["test"].to_list(), example)
    left = load("countdown_passk", problems=20, data_file=path).dataset["train"]["target"]
    targets = drawn["train"]["target"]
    assert list(left) == [*targets[:2], *targets[3:]]


def test_a_puzzle_of_another_size_is_refused(tmp_path):
    """Four by four is not nine by nine."""
    with pytest.raises(WiseMergeError, match=r"problem 1 .*it must have 16 cells; got 81"):
        load("sudoku4_passk", data_file=file_of(tmp_path, ONE_PROBLEM["sudoku9_passk"]))


def test_the_data_file_is_recorded(tmp_path):
    """Scores depend on the copy of the text: its SHA-256 stands in the results."""
    import hashlib

    path = file_of(tmp_path, ONE_PROBLEM["gsm8k_passk"])
    _, _, results = asked("gsm8k_passk", data_file={"gsm8k_passk": path, "math500_passk": "elsewhere"})
    metadata = results["configs"]["gsm8k_passk"]["metadata"]
    assert metadata["data_file"] == path
    assert metadata["data_file_sha256"] == hashlib.sha256((tmp_path / "problems.jsonl").read_bytes()).hexdigest()


#: Data sets as they are on the Hub: id, config, split, a made-up row with its columns and types; then the gold, and
#: answers of which the last is wrong.
ON_THE_HUB = {
    "aime24_passk": (
        ("Maxwell-Jia/AIME_2024", "default", "train"),
        {"ID": "2024-I-1", "Problem": "Find it.", "Solution": "4", "Answer": 4},
        ("4", [r"\boxed{004}", r"\boxed{5}"]),
    ),
    "aime26_passk": (
        ("MathArena/aime_2026", "default", "train"),
        {"problem_idx": 1, "answer": 4, "problem": "Find it."},
        ("4", [r"\boxed{004}", r"\boxed{5}"]),
    ),
    "hmmt_feb25_passk": (
        ("MathArena/hmmt_feb_2025", "default", "train"),
        {"problem_idx": 1, "problem": "Find it.", "answer": r"1+\sqrt{2}, 1-\sqrt{2}", "problem_type": ["Algebra"]},
        (r"1+\sqrt{2}, 1-\sqrt{2}", [r"\boxed{1 \pm \sqrt2}", r"\boxed{1-\sqrt2, \sqrt2+1}", r"\boxed{1+\sqrt2}"]),
    ),
    "hmmt_feb26_passk": (
        ("MathArena/hmmt_feb_2026", "default", "train"),
        {"problem_idx": 1, "answer": r"50(1 - \frac{1}{2^{9}})", "problem_type": ["Algebra"], "problem": "Find it."},
        (r"50(1 - \frac{1}{2^{9}})", [r"\boxed{\frac{12775}{256}}", r"\boxed{50 - \frac{50}{512}}", r"\boxed{50}"]),
    ),
    "brumo25_passk": (
        ("MathArena/brumo_2025", "default", "train"),
        {"problem_idx": 1, "problem": "Find it.", "answer": r"12\pi", "problem_type": ["Geometry"]},
        (r"12\pi", [r"\boxed{12 \pi}", "The final answer is $12π$. I hope it is correct.", r"\boxed{12}"]),
    ),
    "amc23_passk": (
        ("math-ai/amc23", "default", "test"),
        {"id": "0", "question": "Find it.", "answer": "3159.0", "url": "https://example.org"},
        ("3159.0", [r"\boxed{3159}", r"\boxed{3{,}159}", r"\boxed{3159.5}"]),
    ),
    "olympiadbench_passk": (
        ("Hothan/OlympiadBench", "OE_TO_maths_en_COMP", "train"),
        {
            "id": 1606, "question": "Find it.", "solution": ["It is so.", "Or so."],
            "final_answer": [r"$\frac{600}{7}$,$2$"], "context": None, "image_1": None, "image_2": None,
            "modality": "Text-only", "difficulty": "Competition", "is_multiple_answer": True, "unit": "km/h",
            "answer_type": "Numerical", "error": None, "question_type": "Open-ended", "subfield": "Algebra",
            "subject": "Math", "language": "English",
        },
        (r"\frac{600}{7},2", [r"\boxed{2, 85\frac{5}{7}}", r"\boxed{2 \text{ and } \frac{600}{7}}", r"\boxed{2}"]),
    ),
}  # fmt: skip


@pytest.mark.parametrize("task", ON_THE_HUB)
def test_a_data_set_of_the_hub_is_read_with_its_own_columns(task, tmp_path, monkeypatch):
    """A folder of that name stands in for it, with that config and split only."""
    (name, config, split), row, (gold, completions) = ON_THE_HUB[task]
    folder = tmp_path / name
    folder.mkdir(parents=True)
    features = Dataset.from_list([row]).features
    features.update({column: Image() for column in row if column.startswith("image")})
    Dataset.from_list([row], features=features).to_parquet(folder / "rows.parquet")
    files = [{"split": split, "path": "rows.parquet"}]
    card = yaml.safe_dump({"configs": [{"config_name": config, "data_files": files}]})
    (folder / "README.md").write_text(f"---\n{card}---\n")
    monkeypatch.chdir(tmp_path)
    model = Scripted(lambda prompt: completions)
    _, results = evaluate(model, task, repeats=len(completions))
    assert model.requests[0][0].endswith("Problem:\nFind it.\n\nSolution:")
    (sample,) = results["samples"][task]
    assert sample["target"] == gold
    assert sample["curve"]["correct"] == [True] * (len(completions) - 1) + [False]
    # The rows stand in the samples.
    json.dumps(sample["doc"])


def test_a_data_set_out_of_reach_is_one_line(tmp_path, monkeypatch):
    """The error names the way with a local copy."""
    monkeypatch.chdir(tmp_path)
    with pytest.raises(WiseMergeError, match=r"math-ai/aime25 cannot be loaded .*\"data_file\": {\"aime25_passk\""):
        load("aime25_passk")


# --- judging --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("task", "completions", "correct"),
    [
        ("gsm8k_passk", ["so \\boxed{4}.", " 2 + 2 = 4. The answer is 4.", "The answer is 5."], [1, 1, 0]),
        (
            "math500_passk",
            ["\\boxed{\\frac{8}{2}}", " Final Answer: The final answer is $4$. I hope it is correct.", "\\boxed{5}"],
            [1, 1, 0],
        ),
        ("aime25_passk", ["\\boxed{4}", "\\boxed{004}", "\\boxed{40}"], [1, 1, 0]),
        ("countdown_passk", ["<answer>3*4+5</answer>", " 5+4*3", "<answer>3+4+5</answer>"], [1, 1, 0]),
        (
            "sudoku4_passk",
            ["<answer>\n1234\n3412\n2143\n4321\n</answer>", "\n1234\n3412\n2143\n4321\n\n", "\n1111\n" * 4],
            [1, 1, 0],
        ),
    ],
)
def test_answers_to_both_prompts_are_judged(task, completions, correct, tmp_path):
    """What a model writes after worked examples, and what the instructions ask for."""
    scores, results = evaluate(
        Scripted(lambda prompt: completions), task, repeats=3, data_file=file_of(tmp_path, ONE_PROBLEM[task])
    )
    assert results["samples"][task][0]["curve"]["correct"] == [bool(verdict) for verdict in correct]
    assert values(scores)["pass@1"] == pytest.approx(2 / 3)
    # Two of the three are one answer.
    assert values(scores)["maj@3"] == 1.0


# --- audit ----------------------------------------------------------------------------------------


def test_the_audit_stands_in_the_log_and_in_the_json(two_problems, caplog):
    """One block per task: copies, no answer, cut off, n."""
    caplog.set_level("INFO")
    script = {"24": ["no idea at all", "9", "9", "6"], "6": ["1"] * 4}
    scores, _ = evaluate(
        ScriptedTokens(lambda prompt: script["24" if "24" in prompt[-40:] else "6"]),
        repeats=4,
        data_file=two_problems,
        gen_kwargs={"max_gen_toks": 4},
    )
    assert scores[f"audit,{FILTER}"] == {
        "problems": 2,
        "n": 4,
        "padded": 0,
        "identical": 1,
        "cut_prompts": None,
        "repeated": 4 / 8,
        "unanswered": 1 / 8,
        "cut_off": 1 / 8,
        "cut_off_exact": False,
    }
    assert values(scores)["cut_off"] == 1 / 8
    assert caplog.text.count("Audit of countdown_passk: 2 problems, 4 completions of each") == 1
    assert "all 4 in 1 problems; 50.0% repeat an earlier one" in caplog.text
    assert "no answer   12.5%" in caplog.text
    assert "cut off     at max_gen_toks=4: at least 12.5%" in caplog.text


def test_what_was_cut_off_is_unknown_without_a_tokenizer(two_problems, caplog):
    """No number is made up: the metric is left out and the audit says why."""
    caplog.set_level("INFO")
    scores, _ = evaluate(Scripted(lambda prompt: ["1", "2"]), repeats=2, data_file=two_problems)
    assert "cut_off" not in values(scores)
    assert scores[f"audit,{FILTER}"]["cut_off"] is None
    assert "unknown how many, as the model shows no tokenizer" in caplog.text


def test_what_the_model_tells_reaches_audit_metric_and_samples(two_problems, caplog):
    """How many were cut is exact, though the texts are short; each row says so of each completion."""
    caplog.set_level("INFO")
    drawn = [("9", "length", -0.5), ("9", "stop", -0.25), ("", "stop", None)]
    scores, results = evaluate(Telling(lambda prompt: drawn), repeats=3, data_file=two_problems)
    assert values(scores)["cut_off"] == pytest.approx(1 / 3)
    assert scores[f"audit,{FILTER}"]["cut_off_exact"] is True
    assert "cut off     at max_gen_toks=48: exactly 33.3%, as the model says of each" in caplog.text
    # As JSON has them: that is what --log_samples writes.
    for row in json.loads(json.dumps(results["samples"]["countdown_passk"])):
        assert row["resps"] == [["9", "9", ""]]
        assert row["curve"]["finish_reason"] == ["length", "stop", "stop"]
        assert row["curve"]["logprob"] == [-0.5, -0.25, None]
        assert row["curve"]["tokens"] == [1, 1, 0]
    assert len(scores[f"curve,{FILTER}"]["pass@k"]) == 3


def test_samples_tell_nothing_that_the_model_did_not(two_problems):
    """The negative control: rows of plain texts are as ever."""
    _, results = evaluate(Scripted(lambda prompt: ["1", "2"]), repeats=2, data_file=two_problems)
    assert set(results["samples"]["countdown_passk"][0]["curve"]) == {"answers", "correct"}


# --- seeds ----------------------------------------------------------------------------------------


def test_one_seed_for_all_completions_is_refused_before_the_sampling(two_problems):
    """The line names the way that gives each sample a seed of its own; one completion may have one."""
    model = Scripted(lambda prompt: ["1"] * 2)
    with pytest.raises(WiseMergeError, match=r"seed=7 in --gen_kwargs is refused.* of each of the 2 .*--seed 7 \(hf"):
        evaluate(model, repeats=2, data_file=two_problems, gen_kwargs={"seed": 7})
    assert model.requests == []
    evaluate(model, repeats=1, data_file=two_problems, gen_kwargs={"seed": 7})
    assert model.requests[0][1]["seed"] == 7


def test_the_hf_backend_is_told_of_no_seed(hf_model, two_problems):
    """It would refuse the setting as an unknown one; `seed=None` means the same as not to say it."""
    results = asked_without_examples(hf_model(100), two_problems, gen_kwargs={"seed": None})
    assert "seed" not in results["configs"]["countdown_passk"]["generation_kwargs"]


def test_replicas_that_share_a_seed_are_refused(two_problems):
    """The check goes by the name of lm-eval's class, which cannot be imported without vLLM."""

    class VLLM(Scripted):
        data_parallel_size = 2

    class VLLMPassK(VLLM):
        """Ours deals seeds out by itself."""

    model = VLLM(lambda prompt: ["1", "2"])
    with pytest.raises(WiseMergeError, match=r"data_parallel_size=2 of --model vllm is refused.*--model vllm-passk"):
        evaluate(model, repeats=2, data_file=two_problems)
    assert model.requests == []
    evaluate(VLLMPassK(model.script), repeats=2, data_file=two_problems)
    model.data_parallel_size = 1
    evaluate(model, repeats=2, data_file=two_problems)


def test_the_cache_of_answers_is_refused_before_the_sampling(two_problems, tmp_path):
    """--use_cache keeps one of the K completions of a prompt."""
    model = Scripted(lambda prompt: ["1"] * 2)
    manager = TaskManager(include_defaults=False, include_path=tasks_directory(), metadata={"data_file": two_problems})
    with pytest.raises(WiseMergeError, match="--use_cache is refused, because it keeps one of the K"):
        simple_evaluate(model, tasks=["countdown_passk"], task_manager=manager, use_cache=str(tmp_path / "cache"))
    assert not model.requests


def test_a_gold_answer_that_cannot_be_read_ends_the_run_before_the_sampling(tmp_path):
    """Sympy would not finish with it; hours of sampling would be lost at the end."""
    path = tmp_path / "math.jsonl"
    path.write_text(json.dumps({"problem": "?", "answer": "10^{10^{10^{10}}}"}) + "\n")
    model = Scripted(lambda prompt: ["1"] * 2)
    with pytest.raises(WiseMergeError, match=r"math500_passk: the gold answer cannot be read .*10\^\{10"):
        evaluate(model, "math500_passk", repeats=2, data_file=str(path))
    assert model.requests == []


# --- prompts that do not fit ----------------------------------------------------------------------


@pytest.fixture
def hf_model(tiny_run):
    """Makes the hf backend's model, whose tokens are characters, with a context of so many."""
    from lm_eval.models.huggingface import HFLM

    return lambda context: HFLM(pretrained=str(tiny_run / "checkpoint-1"), device="cpu", max_length=context)


def prompt_lengths():
    """Return the lengths of the prompts of two_problems, in characters, as a script is asked them."""
    return [
        len(prompt) for prompt in ("Numbers: 5 6 9\nTarget: 24\nExpression:", "Numbers: 1 2 3\nTarget: 6\nExpression:")
    ]


def test_prompts_that_would_all_be_cut_are_refused(hf_model, two_problems):
    """The hf backend would cut them to their last tokens, or to nothing, and go on; one line says what to lower."""
    longest = max(prompt_lengths())
    for context, room in ((48 + 8, 8), (48, 0), (20, 0)):
        message = (
            f"countdown_passk: completions of max_gen_toks=48 leave {room} tokens of the model's context of {context} "
            rf"to the prompt, and 2 of 2 prompts are longer \(up to {longest} tokens\); lower --gen_kwargs max_gen_toks"
        )
        with pytest.raises(WiseMergeError, match=message):
            asked_without_examples(hf_model(context), two_problems)


def test_prompts_that_are_cut_are_counted(hf_model, two_problems, caplog):
    """The one with two digits more is too long by one token: a warning before the sampling, and the audit after it."""
    assert prompt_lengths() == [37, 36]
    for context, cut in ((48 + 36, 1), (48 + 37, 0)):
        caplog.clear()
        results = asked_without_examples(hf_model(context), two_problems)
        assert results["results"]["countdown_passk"]["audit,samples"]["cut_prompts"] == cut
        assert caplog.text.count("1 of 2 prompts are longer (up to 37 tokens): those LOSE THEIR BEGINNING") == cut


def asked_without_examples(model, path, **settings):
    """Run CountDown without worked examples."""
    metadata = {"repeats": 2, "data_file": path}
    manager = TaskManager(include_defaults=False, include_path=tasks_directory(), metadata=metadata)
    return simple_evaluate(model, tasks=["countdown_passk"], task_manager=manager, num_fewshot=0, **settings)
