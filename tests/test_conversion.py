"""Names that end in _passk: what they stand for, what is refused and why, and what is kept of the original."""

import json
import logging
import random
import sys

import pytest
from lm_eval import simple_evaluate
from lm_eval.tasks import TaskManager
from support.lm_eval_tasks import CASES, FOLDER, index_of
from support.tasks import FILTER, Scripted
from test_hosts import only_without

from wise_merge.hosts.lm_eval import parts
from wise_merge.hosts.lm_eval.messages import TaskInputError
from wise_merge.tasks import tasks_directory
from wise_merge.tasks.converted import settings
from wise_merge.tasks.converted.metric import Metric, choose
from wise_merge.tasks.requests import find_tasks

#: A generation task of a user's.
CAPITALS = """
task: capitals
tag: [places]
dataset_path: json
dataset_kwargs: {{data_files: {{test: {rows}}}}}
test_split: test
output_type: generate_until
doc_to_text: "Capital of {{{{country}}}}?"
doc_to_target: city
generation_kwargs: {{until: ["\\n"], temperature: 0.5, do_sample: true, max_gen_toks: 9}}
metric_list:
  - {{metric: exact_match, aggregation: mean, higher_is_better: true, ignore_case: true}}
"""

FUNCTIONS = """
import numpy as np

def lists(doc, results):
    return {"acc": float(results[0] == [doc["city"]])}

def shares(doc, results):
    return {"acc": len(results[0]) / (1 + len(doc["city"])), "found": doc["city"] in results[0], "miss": 0}

def fussy(doc, results):
    if "?" in results[0]:
        raise ZeroDivisionError("no question marks")
    hits = [word == doc["city"] for word in results[0].split()]
    return {"acc": hits == [True], "hits": hits, **({"long": 1.0} if len(doc["city"]) > 4 else {})}

def table(items):
    return float(np.mean([hit for hits in items for hit in hits]))
"""

ROWS = [{"country": "France", "city": "Paris"}, {"country": "Peru", "city": "Lima"}]


@pytest.fixture
def folder(tmp_path):
    """A user's folder of tasks."""
    rows = tmp_path / "rows.jsonl"
    rows.write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    (tmp_path / "functions.py").write_text(FUNCTIONS)
    (tmp_path / "capitals.yaml").write_text(CAPITALS.format(rows=rows))

    def add(name, text=""):
        """Another task of the same, with other settings."""
        (tmp_path / f"{name}.yaml").write_text(f"include: capitals.yaml\ntask: {name}\n{text}")

    add("rivers", "description: Rivers are no cities.\ntag: places")
    add("likely", "output_type: loglikelihood\ntag: places")
    return tmp_path, add


def manager_of(folder, **metadata):
    return TaskManager(include_defaults=False, include_path=[tasks_directory(), str(folder[0])], metadata=metadata)


def evaluated(manager, names, script, **settings):
    loaded = manager.match_tasks(names)
    return simple_evaluate(Scripted(script), tasks=loaded, task_manager=manager, bootstrap_iters=0, **settings)


def capital(prompt):
    return [" Paris" if "France" in prompt else "lima", "Lima", "lima", "Rome"]


# --- names ------------------------------------------------------------------------------------------------------------


def test_a_task_of_the_user_gets_k_samples_and_keeps_its_own_sampling(folder, caplog):
    """What the original fixes, what is changed and how answers are judged is told and stands in the results."""
    caplog.set_level(logging.INFO, "lm_eval.wise_merge")
    results = evaluated(manager_of(folder, repeats=4), ["capitals_passk"], capital)
    scores, config = results["results"]["capitals_passk"], results["configs"]["capitals_passk"]
    assert scores[f"pass@1,{FILTER}"] == pytest.approx((0 + 3 / 4) / 2)
    assert scores[f"pass@4,{FILTER}"] == pytest.approx(0.5)
    own = {"until": ["\n"], "temperature": 0.5, "do_sample": True, "max_gen_toks": 9}
    assert config["generation_kwargs"] == {**own, "top_p": 1.0, "top_k": 0}
    metadata = config["metadata"]
    assert metadata["converted_from"] == "capitals"
    assert metadata["metric"] == "exact_match,none"
    assert metadata["config_source"] == str(folder[0] / "capitals.yaml")
    assert metadata["original_generation_kwargs"]["temperature"] == 0.5
    assert metadata["changed_generation_kwargs"] == {"top_p": 1.0, "top_k": 0}
    (told,) = [record.getMessage() for record in caplog.records if "is made from" in record.getMessage()]
    for part in (
        "capitals_passk",
        "0 worked examples",
        "exact_match,none",
        "the whole text",
        "temperature 0.5",
        "'\\n'",
    ):
        assert part in told


def test_a_group_a_tag_and_a_pattern_stand_for_their_generation_tasks(folder, caplog):
    """Those within groups written out in a group too; what cannot be converted is left out and told of."""
    (folder[0] / "all.yaml").write_text(
        "group: all\n"
        "num_fewshot: 0\n"
        "task:\n"
        "  - capitals\n"
        "  - likely\n"
        "  - {group: inner, task: [{task: rivers, description: 'Seas. '}]}\n"
        "aggregate_metric_list: [{metric: exact_match, weight_by_size: true}]\n"
    )
    manager = manager_of(folder, repeats=2)
    results = evaluated(manager, ["all_passk"], capital)
    assert "leaves out 1 task, such as likely: it takes the log-likelihood" in caplog.text
    assert {"capitals_passk", "rivers_passk", "all_passk"} <= set(results["results"])
    # Two samples of two problems of two tasks: one of each two of Peru is right, none of France.
    assert results["results"]["all_passk"][f"pass@1,{FILTER}"] == pytest.approx(0.5)
    assert results["samples"]["rivers_passk"][0]["arguments"][0][0].startswith("Seas. Capital of")
    assert find_tasks(["all_passk"], str(folder[0])).names == ("capitals_passk", "rivers_passk")
    # Asked again, as `lm_eval` asks when it matches names and when it loads them.
    assert manager.match_tasks(["all_passk"]) == ["all_passk"]
    assert manager.match_tasks("places_passk") == ["places_passk"]
    assert set(manager.load(["places_passk"])["tasks"]) == {"capitals_passk", "rivers_passk"}
    assert manager.match_tasks(["[cr]*_passk"]) == ["capitals_passk", "countdown_passk", "rivers_passk"]
    # Whoever asks for all of them means those that there are.
    assert "likely_passk" not in manager_of(folder).match_tasks(["*_passk"])
    assert "capitals_passk" not in manager_of(folder).match_tasks(["*_passk"])


def test_a_group_of_the_user_may_name_what_is_yet_to_be_made(folder):
    """In a list, with settings, and in a group within it; a task that the group itself describes is left alone."""
    (folder[0] / "mine.yaml").write_text(
        "group: mine\ntask:\n  - capitals_passk\n  - {group: inner, task: [{task: rivers_passk, repeats: 3}]}\n"
    )
    loaded = manager_of(folder).load(["mine"])["tasks"]
    assert {name: task.config.repeats for name, task in loaded.items()} == {"capitals_passk": 32, "rivers_passk": 3}


def test_an_unknown_task_is_refused_with_names_near_it(folder):
    """Ours and those that could be made, in one line, before a model is loaded."""
    with pytest.raises(TaskInputError, match=r"there is no task capitols_passk, .* no task capitols .*capitals_passk"):
        manager_of(folder).match_tasks(["capitols_passk"])
    with pytest.raises(TaskInputError, match="near it are countdown_passk"):
        manager_of(folder).match_tasks(["countdwn_passk"])


# --- what cannot be meant ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("arc/arc_easy.yaml", "compares the log-likelihoods of given answers"),
        ("wikitext/wikitext.yaml", "takes the log-likelihood of a given text"),
        ("catalan_bench/flores_ca/flores_ca-en.yaml", "bleu, ter and chrf are of all problems at once"),
        ("squadv2/squadv2.yaml", "is a Python class"),
        ("fda/fda.yaml", "is a Python class"),
    ],
)
def test_a_task_without_verdicts_on_samples_is_refused_by_name(path, reason):
    """As soon as it is named, with the reason."""
    manager = index_of(FOLDER / path)
    name = list(manager.task_index)[-1]
    with pytest.raises(TaskInputError, match=f"{name}_passk cannot be made from {name}: .*{reason}"):
        manager.match_tasks([f"{name}_passk"])


def test_a_package_that_the_original_needs_is_named(monkeypatch):
    """With the extra of lm-eval that has it."""
    for module in [name for name in sys.modules if name.startswith("lm_eval.tasks.ifeval")]:
        monkeypatch.delitem(sys.modules, module)
    monkeypatch.setitem(sys.modules, "langdetect", None)
    with pytest.raises(TaskInputError, match=r"ifeval_passk .*langdetect.*; install lm-eval\[ifeval\]"):
        index_of(FOLDER / "ifeval" / "ifeval.yaml").load(["ifeval_passk"])


WITH_LISTS = (
    "process_results: !function functions.lists\nfilter_list: [{name: tags, filter: [{function: regex_pos}]}]\n"
)
SHARES = "process_results: !function functions.shares\n"
METRICS = "metric_list: [{metric: acc, aggregation: mean, higher_is_better: true}"
FOUND = ", {metric: found, aggregation: mean, higher_is_better: true}"
MISS = ", {metric: miss, aggregation: mean, higher_is_better: false}]"


@pytest.mark.parametrize(
    ("text", "metadata", "reason"),
    [
        (f"{WITH_LISTS}{METRICS}]", {}, r"its filter tags makes \[\[?'invalid'\]\]? of a completion"),
        (f"{SHARES}{METRICS}]", {"metric": "acc"}, r"acc,none says not right or wrong: it gives .* are found,none"),
        (f"{SHARES}{METRICS}{FOUND}{MISS}", {"metric": "miss"}, "it is better where it is lower"),
        (f"{SHARES}{METRICS}]", {"metric": "fond"}, r"no metric 'fond'; it has acc,none, .* did you mean found,none\?"),
        (f"{SHARES}{METRICS}]", {"metric": {"odd_passk": 7}}, "metric must be NAME or NAME,FILTER; got 7"),
        (
            "metric_list: [{metric: f1, aggregation: mean, higher_is_better: true}]",
            {},
            "f1,none is computed from all problems at once",
        ),
        (
            "filter_list: [{name: maj, filter: [{function: majority_vote}, {function: take_first}]}]",
            {},
            "each of its filters takes several completions at once",
        ),
    ],
)
def test_a_metric_or_filter_that_gives_no_verdicts_is_refused_before_the_sampling(folder, text, metadata, reason):
    """Whether it was found or named, in one line."""
    folder[1]("odd", text)
    with pytest.raises(TaskInputError, match=reason):
        evaluated(manager_of(folder, repeats=2, **metadata), ["odd_passk"], None)


def test_worked_examples_that_a_file_does_not_have_are_asked_for(tmp_path):
    """With the file that is to hold them, and the way without."""
    case = next(case for case in CASES if case.name == "legalbench_abercrombie")
    file = tmp_path / "rows.jsonl"
    file.write_text(json.dumps(case.row(0)) + "\n")
    manager = index_of(FOLDER / case.path, data_file=str(file), repeats=2)
    with pytest.raises(TaskInputError, match=r"shows 5 worked examples and has 0; .*train\.jsonl .*--num_fewshot 0"):
        evaluated(manager, [f"{case.name}_passk"], None)
    script = lambda prompt: ["Generic", "no"]  # noqa: E731
    results = evaluated(manager, [f"{case.name}_passk"], script, num_fewshot=0)
    assert results["results"][f"{case.name}_passk"][f"pass@1,{FILTER}"] == 0.5


@pytest.mark.parametrize(
    ("names", "chosen"),
    [
        (["exact_match"], "exact_match"),
        (["f1", "em"], "em"),
        # The words of likeness within other words.
        (["answer_match", "letter_acc"], "answer_match"),
        (["bertscore_f1", "qa_f1_score", "rougeL_acc", "right"], "right"),
    ],
)
def test_the_metric_that_says_right_or_wrong_is_the_first_by_its_name(names, chosen):
    """Of those that gave 0 and 1 only: shares and likenesses may do so by chance."""
    values = {Metric(name, "none"): 1.0 for name in names}
    assert choose([values], asked=None, aggregations={}, higher_is_better={}).name == chosen


# --- what is kept -----------------------------------------------------------------------------------------------------


def test_a_completion_on_which_the_code_of_the_task_fails_counts_as_wrong(folder, caplog):
    """The others are judged, and metrics over all problems are those of the first completions, the second, ..."""
    metrics = f"{METRICS}, {{metric: long, aggregation: mean, higher_is_better: true}}"
    metrics += ", {metric: hits, aggregation: !function functions.table, higher_is_better: true}]"
    folder[1]("fussy", f"process_results: !function functions.fussy\n{metrics}")
    script = {"France": ["Paris", "Where?", "Paris Paris", "Rome"], "Peru": ["Rome", "Lima", "Lima", "Lima"]}
    results = evaluated(
        manager_of(folder, repeats=4),
        ["fussy_passk"],
        lambda prompt: next(texts for country, texts in script.items() if country in prompt),
    )
    scores = results["results"]["fussy_passk"]
    assert [sample["curve"]["correct"] for sample in results["samples"]["fussy_passk"]] == [
        [True, False, False, False],
        [False, True, True, True],
    ]
    assert "fail on 1 completion, which counts as wrong (ZeroDivisionError: no question marks)" in caplog.text
    # By draw: {Paris, Rome}, {Lima}, {Paris Paris, Lima}, {Rome, Lima}.
    assert scores[f"hits,{FILTER}"] == pytest.approx((1 / 2 + 1 + 1 + 1 / 2) / 4)
    # Of France alone, as Lima is too short for it.
    assert scores[f"long,{FILTER}"] == 1.0


def test_problems_that_a_task_shuffles_are_the_same_each_time():
    """A completion is judged by the choices that its prompt showed."""
    case = next(case for case in CASES if case.name == "gpqa_diamond_cot_zeroshot")
    manager = index_of(FOLDER / case.path)
    made = manager.match_tasks([f"{case.name}_passk"])
    cfg = manager.task_index[made[0]].cfg
    cfg["original"] = {"config": original_in_memory(cfg["original"]["yaml_path"], case)}
    task = manager.load(made)["tasks"][made[0]]
    first = list(task.eval_docs)
    assert all(list(task.eval_docs) == first for _ in range(5))


def original_in_memory(path, case):
    """A configuration whose data no cache keeps between two preparations."""
    import datasets
    from lm_eval.tasks._yaml_loader import load_yaml

    rows = [case.row(i) for i in range(6)]
    config = load_yaml(path, resolve_func=True) | {
        "custom_dataset": lambda **_: {"train": datasets.Dataset.from_list(rows)}
    }
    del config["tag"]
    return config


def test_settings_say_what_the_original_does_not():
    """A greedy original is sampled as our own tasks are; stop strings and limits stay, and one may have none."""
    greedy = settings.sampling_settings({"until": ["Q:"], "do_sample": False, "max_new_tokens": 7}, "\n\n")
    assert greedy.generation == {"until": ["Q:"], "max_new_tokens": 7, **settings.SAMPLING}
    assert "until" not in greedy.changed
    assert settings.sampling_settings(None, "\n\n").generation["until"] == ["\n\n"]
    assert settings.sampling_settings({"until": None}, "\n\n").generation["until"] == []

    class Model:
        max_gen_toks = 99

    assert settings.with_token_limit(greedy.generation, Model()) == greedy.generation
    assert settings.with_token_limit({}, Model())["max_gen_toks"] == 99
    assert settings.with_token_limit({}, None)["max_gen_toks"] == 256


def test_a_text_of_a_file_that_looks_like_a_date_stays_as_it_is_written(tmp_path, folder):
    """In prompts and targets, also within other values."""
    rows = tmp_path / "dates.jsonl"
    rows.write_text(json.dumps({"country": "2013-05-07", "city": "2020-01-01T10:00", "date": [{"of": "12:30:00"}]}))
    task = manager_of(folder, data_file=str(rows)).load(["capitals_passk"])["tasks"]["capitals_passk"]
    (doc,) = task.eval_docs
    assert task.doc_to_text(doc) == "Capital of 2013-05-07?"
    assert task.gold_text(doc) == "2020-01-01T10:00"
    assert doc["date"] == [{"of": "12:30:00"}]


# --- an lm-eval that has been rebuilt inside --------------------------------------------------------------------------


@pytest.mark.hosts_changed
@pytest.mark.parametrize("place", [part.place for part in parts.CONVERSION])
def test_without_any_part_the_name_ends_with_the_reason_and_our_own_tasks_go_on(folder, monkeypatch, place):
    """One line with the version and the part."""
    only_without(monkeypatch, place)
    manager = manager_of(folder)
    with pytest.raises(TaskInputError, match=f"is not as expected inside .{place}.*capitals_passk cannot be made"):
        manager.match_tasks(["capitals_passk"])
    assert manager.match_tasks(["countdown_passk"]) == ["countdown_passk"]
    assert manager.match_tasks(["countd*_passk"]) == ["countdown_passk"]
    assert manager.match_tasks(["capitals"]) == ["capitals"]


def test_choices_that_a_task_shuffles_are_shuffled_alike_in_every_process(tmp_path):
    """Whatever was drawn before: the processes of a sweep ask the same prompts, and so does one that goes on."""
    (tmp_path / "shuffle.py").write_text(
        "import random\n\n\ndef shuffled(docs):\n"
        "    return docs.map(lambda row: {'order': random.sample(range(20), 20)})\n"
    )
    (tmp_path / "odd.yaml").write_text(
        "task: odd\ndataset_path: unused\ntest_split: test\nprocess_docs: !function shuffle.shuffled\n"
        "doc_to_text: '{{order}}'\ndoc_to_target: '1'\nmetric_list: [{metric: exact_match}]\n"
        "generation_kwargs: {until: ['x']}\n"
    )
    data = tmp_path / "rows.jsonl"
    data.write_text('{"a": 1}\n{"a": 2}\n')
    orders = []
    for seed in (1, 2):
        random.seed(seed)
        manager = TaskManager(
            include_defaults=False, include_path=str(tmp_path), metadata={"data_file": str(data), "repeats": 2}
        )
        task = manager.load(["odd_passk"])["tasks"]["odd_passk"]
        orders.append([doc["order"] for doc in task.eval_docs])
    assert orders[0] == orders[1]
