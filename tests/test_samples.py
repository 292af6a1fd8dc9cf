"""Files of samples as people write them: every shape gives the same facts, and damage is named by its line."""

import gzip
import itertools
import json
import os
import random
import re
from pathlib import Path

import pytest
from click.testing import CliRunner
from conftest import REPOSITORY

from wise_merge.cli import main
from wise_merge.errors import WiseMergeError
from wise_merge.results.reading.benchmark_choice import choose_benchmarks
from wise_merge.results.reading.columns import NAMES, parse_fields
from wise_merge.results.reading.rows import sample_files, task_of
from wise_merge.results.reading.samples import read_samples
from wise_merge.results.verdicts import judge

#: id -> gold and the numbers that four samples end in; None is a sample without an answer.
TRUTH = {"0": ("18", [18, 18, 17, None]), "1": ("1,000", [1000, 999, 1000, 1000]), "2": ("-3", [3, 3, -3, 7])}


def text(number, sample):
    return (
        f"Sample {'abcd'[sample]} has no idea." if number is None else f"In {'abcd'[sample]}, the answer is {number}."
    )


def facts_of(path, *, file_verdicts=False, **settings):
    """The facts of a file without what its format decides."""
    samples = read_samples(path, file_verdicts=file_verdicts, **settings)
    assert not samples.rejected
    found = judge(samples)
    return [(one.id, one.answers, one.correct) for one in found.problems]


def write(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def problems():
    for identity, (gold, numbers) in TRUTH.items():
        texts = [text(number, sample) for sample, number in enumerate(numbers)]
        right = [number is not None and number == int(gold.replace(",", "")) for number in numbers]
        yield identity, gold, numbers, texts, right


@pytest.fixture
def expected():
    """By hand: answers in alphabetical order, None last."""
    return [
        ("0", ("17", "18", "18", None), (False, True, True, False)),
        ("1", ("1000", "1000", "1000", "999"), (True, True, True, False)),
        ("2", ("-3", "3", "3", "7"), (True, False, False, False)),
    ]


PER_PROBLEM = {
    "ours": lambda i, gold, numbers, texts, right: {"id": i, "gold": gold, "completions": texts},
    "large language monkeys": lambda i, gold, numbers, texts, right: {
        "orig_dset_idx": int(i),
        "question": f"Question {i}?",
        "gt_answer": gold,
        "samples": texts,
        "is_corrects": right,
    },
    "qwen-eval": lambda i, gold, numbers, texts, right: {
        "idx": int(i),
        "question": f"Question {i}?",
        "gt_cot": "Because.",
        "gt": gold,
        "code": texts,
        "pred": ["" if number is None else str(number) for number in numbers],
        "report": [None] * 4,
        "score": right,
    },
    "search-and-learn": lambda i, gold, numbers, texts, right: {
        "problem": f"Problem {i}",
        "solution": f"so \\boxed{{{gold}}}",
        "answer": gold,
        "unique_id": i,
        "completions": texts,
        "pred": "1",
        "scores": [[0.5, 0.6], [0.1], [0.2], [0.3]],
        "pred_weighted@4": "\\boxed{1}",
    },
    "lighteval-like": lambda i, gold, numbers, texts, right: {
        "doc": {"query": f"Q{i}", "id": i, "specific": None},
        "gold": [gold],
        "model_response": texts,
        "id": i,
    },
    "objects within": lambda i, gold, numbers, texts, right: {
        "extra_info": {"index": int(i), "split": "test"},
        "reward_model": {"style": "rule", "ground_truth": gold},
        "responses": [{"text": text, "reward": 0.5} for text in texts],
    },
    "a chat as the problem": lambda i, gold, numbers, texts, right: {
        "id": int(i),
        "prompt": [{"role": "user", "content": f"Question {i}?"}],
        "answer": gold,
        "solution": f"It is $\\boxed{{{gold}}}$.",
        "generations": texts,
    },
    "labels before gold": lambda i, gold, numbers, texts, right: {
        "labels": right,
        "answer": f"Long story. #### {gold}",
        "responses": texts,
        "problem_id": i,
    },
}

PER_PROBLEM |= {
    "openr": lambda i, gold, numbers, texts, right: {
        "question": f"Question {i}?",
        "groundtruth": gold,
        "result": {"majority_vote": 0.5},
        "output": [{"path_idx": j, "text": text, "value": 0.5, "reward_history": [1]} for j, text in enumerate(texts)],
        "id": i,
    },
    "skythought": lambda i, gold, numbers, texts, right: {
        "id": i,
        "problem": f"Problem {i}",
        "answer": gold,
        "responses": [{"content": text, "correctness": ok} for text, ok in zip(texts, right, strict=True)],
    },
    "lighteval": lambda i, gold, numbers, texts, right: {
        "doc": {"query": f"Q{i}", "choices": [gold], "gold_index": 0, "id": i},
        "model_response": {"text": texts, "logprobs": []},
    },
    "an empty column of a problem's name": lambda i, gold, numbers, texts, right: {
        "example": i,
        "instruction": "",
        "uid": "",
        "gold": [gold],
        "generations": texts,
    },
    "big-math": lambda i, gold, numbers, texts, right: {
        "uuid": i,
        "ref_ans": gold,
        "responses": [
            {"response": text, "score": 0.5, "label": int(ok)} for text, ok in zip(texts, right, strict=True)
        ],
    },
    "messages as completions": lambda i, gold, numbers, texts, right: {
        "id": i,
        "gold": gold,
        "completions": [{"role": "assistant", "content": text} for text in texts],
    },
    "chats as completions": lambda i, gold, numbers, texts, right: {
        "id": i,
        "gold": gold,
        "completions": [
            [
                {"role": "user", "content": "And?"},
                {"role": "assistant", "content": text},
                {"role": "user", "content": "!"},
            ]
            for text in texts
        ],
    },
}

PER_SAMPLE = {
    "nemo-skills": lambda i, gold, number, text, right: {
        "id": i,
        "problem": f"Problem {i}",
        "expected_answer": gold,
        "generation": text,
        "predicted_answer": number if number is None else str(number),
        "is_correct": right,
    },
    "prm800k": lambda i, gold, number, text, right: {
        "unique_id": i,
        "problem": f"Problem {i}",
        "ground_truth_answer": gold,
        "samples": text,
        "answer": str(number),
        "orm_score": 0.5,
        "prm_score": 0.25,
        "is_correct": right,
    },
    "minimal": lambda i, gold, number, text, right: {"question_id": int(i), "answer": gold, "completion": text},
    "verl": lambda i, gold, number, text, right: {"input": i, "output": text, "gts": gold, "score": 1.0, "step": 1},
    "nemo-skills with a judge": lambda i, gold, number, text, right: {
        "problem": i,
        "expected_answer": gold,
        "generation": text,
        "predicted_answer": number if number is None else str(number),
        "symbolic_correct": right,
        "judgement": f"Judgement: {'Yes' if right else 'No'}",
        "judge_correct": not right,
    },
    "evalscope": lambda i, gold, number, text, right: {
        "index": hash(text),
        "group_id": int(i),
        "model_output": {"choices": [{"message": {"content": text, "role": "assistant"}, "stop_reason": "stop"}]},
        "messages": [{"role": "user", "content": f"Question {i}?"}],
        "target": gold,
    },
    "a chat": lambda i, gold, number, text, right: {
        "id": i,
        "gold": gold,
        "completion": [{"role": "user", "content": "And?"}, {"role": "assistant", "content": text}],
    },
}


@pytest.mark.parametrize("name", PER_PROBLEM)
def test_files_with_a_row_per_problem_are_understood_as_they_are(name, tmp_path, expected):
    """The columns of published files are found by their names, whatever stands beside them."""
    path = write(tmp_path / "x.jsonl", [PER_PROBLEM[name](*problem) for problem in problems()])
    assert facts_of(path) == expected


@pytest.mark.parametrize("name", PER_SAMPLE)
def test_files_with_a_row_per_sample_are_understood_as_they_are(name, tmp_path, expected):
    """Rows of one problem need not stand together."""
    rows = [
        PER_SAMPLE[name](identity, gold, *sample)
        for identity, gold, *samples in problems()
        for sample in zip(*samples, strict=True)
    ]
    random.Random(0).shuffle(rows)
    assert facts_of(write(tmp_path / "x.jsonl", rows)) == expected


def lm_eval_rows(**more):
    for identity, gold, _, texts, _ in problems():
        row = {"doc_id": int(identity), "doc": {"question": "?", "answer": f"#### {gold}"}, "target": f"#### {gold}"}
        yield {
            **row,
            "arguments": {"gen_args_0": {"arg_0": "Q: ?"}},
            "resps": [texts],
            "filtered_resps": [texts],
            **more,
        }


@pytest.mark.parametrize(
    ("task", "benchmark"),
    [
        ("amc23_passk", "math"),
        ("hmmt_feb25_passk", "math"),
        ("brumo25_passk", "math"),
        ("olympiadbench_passk", "math"),
        ("aime26_passk", "aime"),
        ("math500_passk", "math"),
        ("other_passk", "gsm8k"),
    ],
)
def test_samples_of_our_tasks_are_judged_as_the_task_judges_them(task, benchmark, tmp_path):
    """Though the golds look like those of GSM8K."""
    path = write(tmp_path / f"samples_{task}_2026-01-02T03-04-05.678.jsonl", list(lm_eval_rows(filter="samples")))
    assert choose_benchmarks([path])[0][0] == benchmark


def test_lm_eval_rows_are_understood_in_both_shapes(tmp_path, expected):
    """`resps` is [[r1..rK]] in 0.4 and [r1..rK] announced; several filters repeat the same responses."""
    nested = list(lm_eval_rows(filter="samples"))
    path = write(tmp_path / "samples_gsm8k_passk_2026-01-02T03-04-05.678.jsonl", nested)
    assert read_samples(path).why == "by the name of the task"
    assert facts_of(path) == expected
    plain = [{**row, "resps": row["resps"][0]} for row in nested]
    assert facts_of(write(tmp_path / "plain.jsonl", plain)) == expected
    filters = [{**row, "filter": name, "filtered_resps": ["x"]} for row in nested for name in ("strict", "flexible")]
    path = write(tmp_path / "filters.jsonl", filters)
    assert facts_of(path) == expected
    assert "2 filters" in " ".join(read_samples(path).notes)


NO = "[invalid]"
#: Two problems with three completions each; per filter what it reads in these, and what exact_match says of that.
OF_05 = {
    0: {
        "doc": {"question": "What is 9 + 9?", "answer": "9 + 9 = 18\n#### 18"},
        "resps": ["9 + 9 = 18\n#### 18", "It is 18", "No idea."],
        "strict": (["18", NO, NO], [1, 0, 0]),
        "flexible": (["18", "18", NO], [1, 1, 0]),
    },
    1: {
        "doc": {"question": "What is 7 + 8?", "answer": "7 + 8 = 15\n#### 15"},
        "resps": ["#### 15", "#### 16", "It is 15"],
        "strict": (["15", "16", NO], [1, 0, 0]),
        "flexible": (["15", "16", "15"], [1, 0, 1]),
    },
}


def rows_of_lm_eval_05(filters, **metrics):
    """Rows as lm-eval 0.5.0.dev2 (e7e6bc67f of its branch next0.5) writes them with `repeats: 3`.

    Recorded from its `simple_evaluate` and `EvaluationTracker` on a model of fixed texts; only the hashes are shortened
    here. All problems of one filter come before those of the next, and what a metric was reduced to stands on top under
    a name of its own. `metrics` are further ones: from name to a list of scores per problem.
    """
    for name in filters:
        for number, problem in OF_05.items():
            filtered, scores = problem[name]
            per_repeat = {"exact_match": scores} | {metric: rows[number] for metric, rows in metrics.items()}
            reduced = {f"pass@1({metric})": sum(values) / 3 for metric, values in per_repeat.items()}
            yield {
                "doc_id": number,
                "doc": problem["doc"],
                "target": problem["doc"]["answer"],
                "arguments": {"gen_args_0": {"arg_0": problem["doc"]["question"], "arg_1": {"until": ["Question:"]}}},
                "resps": [problem["resps"]],
                "filtered_resps": [filtered],
                "filter": name,
                "metrics": list(reduced),
                "doc_hash": "09967c75",
                "prompt_hash": "f50b3e1b",
                "target_hash": "aea069c9",
                **reduced,
                "scores_per_repeat": per_repeat,
            }


def test_the_verdicts_of_lm_eval_05_are_those_of_the_file(tmp_path):
    """One metric, one filter: compared with ours unless asked for, and then taken as they are."""
    path = write(tmp_path / "samples_gsm8k_2026-01-02T03-04-05.678.jsonl", rows_of_lm_eval_05(["strict"]))
    samples = read_samples(path)
    assert (samples.rejected, [problem.n for problem in samples.problems]) == ((), [3, 3])
    assert samples.notes == ("the file's verdicts are scores_per_repeat.exact_match of the filter strict",)
    found = judge(samples)
    assert [problem.c for problem in found.problems] == [2, 2]
    assert (found.agreement.samples, found.agreement.only_ours_right, found.agreement.only_theirs_right) == (6, 2, 0)
    assert [sum(correct) for _, _, correct in facts_of(path, file_verdicts=True)] == [1, 1]


def test_of_several_filters_of_lm_eval_05_one_decides(tmp_path):
    """Its verdicts are its own, so they are never guessed between; our verdicts need no filter."""
    rows = list(rows_of_lm_eval_05(["strict", "flexible"]))
    path = write(tmp_path / "samples_gsm8k_2026-01-02T03-04-05.678.jsonl", rows)
    assert [problem.c for problem in judge(read_samples(path)).problems] == [2, 2]
    with pytest.raises(WiseMergeError, match=r"verdicts of 2 filters.*: strict, flexible; say with --filter NAME"):
        read_samples(path, file_verdicts=True)
    for name, right in (("strict", 1), ("flexible", 2)):
        samples = read_samples(path, file_verdicts=True, filter_name=name)
        assert [problem.c for problem in judge(samples).problems] == [right, right]
        assert f"exact_match of the filter {name}" in samples.notes[0]
    done = CliRunner().invoke(main, ["score", str(path), "--verdicts", "file", "--filter", "strict"])
    assert done.exit_code == 0, done.output
    # The pass@1 that lm-eval wrote for this filter.
    assert re.search(r"^ +1  0\.333 ", done.output, re.MULTILINE)
    with pytest.raises(WiseMergeError, match="no samples of this --filter; its filters are strict, flexible"):
        read_samples(path, filter_name="strickt")


def test_of_several_metrics_of_lm_eval_05_one_decides(tmp_path):
    """Those with a verdict on each completion can be meant, equal or not; one of other numbers cannot."""
    contains = {0: [1.0, 1.0, 0.0], 1: [1.0, 0.0, 1.0]}
    path = write(tmp_path / "samples_gsm8k_x.jsonl", rows_of_lm_eval_05(["strict"], contains=contains))
    said = r"which several metrics have: scores_per_repeat.exact_match, scores_per_repeat.contains"
    with pytest.raises(WiseMergeError, match=rf"--verdicts file.*{said}; name their column with --field labels=COLUMN"):
        read_samples(path, file_verdicts=True)
    samples = read_samples(path)
    assert re.search(said, samples.notes[0])
    assert judge(samples).agreement is None
    chosen = {"fields": parse_fields(["labels=scores_per_repeat.contains"]), "file_verdicts": True}
    assert [sum(correct) for _, _, correct in facts_of(path, **chosen)] == [2, 2]
    path = write(tmp_path / "y.jsonl", rows_of_lm_eval_05(["strict"], closeness={0: [1, 0.5, 0.25], 1: [1, 0, 0.5]}))
    assert [sum(correct) for _, _, correct in facts_of(path, file_verdicts=True)] == [1, 1]


def test_filters_of_lm_eval_05_may_have_no_verdict_on_each_completion(tmp_path):
    """A filter that keeps one answer has one score, which is not of each completion; so it was before 0.5."""
    rows = list(rows_of_lm_eval_05(["strict", "flexible"]))
    for row in rows[:2]:
        del row["scores_per_repeat"]
    path = write(tmp_path / "x.jsonl", rows)
    with pytest.raises(WiseMergeError, match="--verdicts file needs the file's own verdicts"):
        read_samples(path, file_verdicts=True)
    assert [sum(correct) for _, _, correct in facts_of(path, file_verdicts=True, filter_name="flexible")] == [2, 2]


def test_a_list_a_gzip_file_and_a_byte_order_mark_are_read(tmp_path, expected):
    """One JSON list over many lines, compressed lines, and what Windows puts first."""
    rows = [PER_PROBLEM["ours"](*problem) for problem in problems()]
    (tmp_path / "list.json").write_text(json.dumps(rows, indent=2))
    lines = "".join(json.dumps(row) + "\n" for row in rows)
    (tmp_path / "x.jsonl.gz").write_bytes(gzip.compress(lines.encode()))
    (tmp_path / "bom.jsonl").write_text("\ufeff\n" + lines)
    for name in ("list.json", "x.jsonl.gz", "bom.jsonl"):
        assert facts_of(tmp_path / name) == expected


@pytest.mark.parametrize("indent", [None, 1])
@pytest.mark.parametrize("before", [{}, {"model": 'a "b"', "seed": 1}])
def test_an_object_with_a_list_of_rows_is_read_as_the_list(before, indent, tmp_path, expected):
    """Whatever stands beside it; a row of JSON Lines that begins alike remains a row."""
    rows = [PER_PROBLEM["ours"](*problem) for problem in problems()]
    (tmp_path / "x.json").write_text(json.dumps({**before, "data": rows, "after": [1]}, indent=indent))
    assert facts_of(tmp_path / "x.json") == expected
    lines = write(tmp_path / "x.jsonl", [{"data": [{"source": "web"}], **row} for row in rows])
    assert facts_of(lines) == expected


def test_a_list_in_the_first_line_does_not_hide_the_others(tmp_path, expected):
    """It is rejected as any line that is no object; without further lines it is the file."""
    lines = "".join(json.dumps(PER_PROBLEM["ours"](*problem)) + "\n" for problem in problems())
    path = tmp_path / "x.jsonl"
    path.write_text("\ufeff\n[1, 2]\n\n" + lines)
    samples = read_samples(path)
    assert [problem.id for problem in samples.problems] == ["0", "1", "2"]
    assert samples.rejected == (("line 2", "wanted a JSON object; got [1, 2]"),)
    path.write_bytes(gzip.compress(path.read_bytes()))
    assert read_samples(path).rejected == samples.rejected


def test_pipes_are_refused(tmp_path):
    """They can be read once, and columns are looked for before."""
    os.mkfifo(tmp_path / "fifo")
    for path in (tmp_path / "fifo", Path("-")):
        with pytest.raises(WiseMergeError, match="is a pipe and can be read only once; save it to a file first"):
            sample_files(path)


def test_a_list_is_read_entry_by_entry(tmp_path, monkeypatch):
    """However it is cut into pieces, also within a character; entries before a damaged one are kept."""
    monkeypatch.setattr("wise_merge.results.reading.rows._CHUNK", 7)
    rows = [{"id": i, "gold": "18", "completions": ["äöü €18", "]"]} for i in range(5)]
    path = tmp_path / "x.json"
    path.write_text(json.dumps(rows, ensure_ascii=False, indent=1) + "\n")
    assert [problem.n for problem in read_samples(path).problems] == [2] * 5
    path.write_text(json.dumps([*rows, 7])[:-1])
    rejected = read_samples(path).rejected
    assert rejected == (
        ("entry 6", "wanted a JSON object; got 7"),
        ("entry 7", "the list ends without a closing bracket"),
    )
    path.write_text(json.dumps(rows)[:-40] + "oops]")
    samples = read_samples(path)
    assert len(samples.problems) == 4
    ((place, reason),) = samples.rejected
    assert place == "entry 5"
    assert "from there on" in reason


def test_the_page_lists_the_names_that_are_accepted():
    """Every name stands in the row of its role, in the order in which it wins."""
    page = (REPOSITORY / "docs" / "score.md").read_text()
    for role, groups in NAMES.items():
        (row,) = (line for line in page.splitlines() if line.startswith("| `") and f"`{role}`" in line.split("|")[1])
        written = re.findall(r"`([\w.]+)`", row.split("|")[2])
        assert [name for name in written if name in {*itertools.chain(*groups)}] == [*itertools.chain(*groups)], role


def test_columns_of_any_name_can_be_given(tmp_path, expected):
    """A dot leads into an object, also through a list of them; of alternatives the one that is there is taken."""
    rows = [
        {"key": {"n": identity}, "truth": gold, "choices": [{"message": {"content": text}} for text in texts]}
        for identity, gold, _, texts, _ in problems()
    ]
    path = write(tmp_path / "x.jsonl", rows)
    fields = ["id=key.n", "gold=nothing", "gold=truth", "completions=choices.message.content"]
    assert facts_of(path, fields=parse_fields(fields)) == expected


def test_the_verdicts_of_the_file_need_no_gold_and_no_completions(tmp_path, expected):
    """Its answers are the votes, as texts; None, empty and [invalid] do not vote."""
    rows = [
        {
            "id": identity,
            "preds": [["", "[invalid]"][sample % 2] if n is None else str(n) for sample, n in enumerate(ns)],
        }
        | {"labels": [int(verdict) for verdict in right]}
        for identity, _, ns, _, right in problems()
    ]
    path = write(tmp_path / "x.jsonl", rows)
    assert facts_of(path, file_verdicts=True) == expected
    only_labels = [{"id": row["id"], "labels": row["labels"]} for row in rows]
    (first, *_) = facts_of(write(tmp_path / "labels.jsonl", only_labels), file_verdicts=True)
    assert first == ("0", None, (False, False, True, True))


def test_answers_without_completions_are_judged_by_gold(tmp_path, expected):
    """The file's answers stand for the completions that it lacks."""
    rows = [
        {"id": identity, "gold": gold, "answers": [n if n is None else f"{n:,}" for n in ns]}
        for identity, gold, ns, *_ in problems()
    ]
    assert facts_of(write(tmp_path / "x.jsonl", rows)) == expected


def test_agreement_with_the_labels_of_the_file_is_counted(tmp_path):
    """One label of twelve is turned around by hand."""
    rows = [PER_PROBLEM["large language monkeys"](*problem) for problem in problems()]
    rows[0]["is_corrects"][2] = True
    agreement = judge(read_samples(write(tmp_path / "x.jsonl", rows))).agreement
    assert (agreement.samples, agreement.both_right, agreement.both_wrong) == (12, 6, 5)
    assert (agreement.only_ours_right, agreement.only_theirs_right) == (0, 1)


def test_equal_answers_with_different_labels_are_told(tmp_path):
    """The labels count as they are, and the reader learns in how many problems they contradict each other."""
    rows = [{"id": 1, "preds": ["18", "18", "18", "7"], "labels": [True, True, False, False]}]
    found = judge(read_samples(write(tmp_path / "x.jsonl", rows), file_verdicts=True))
    assert sorted(zip(found.problems[0].answers, found.problems[0].correct, strict=True)) == [
        ("18", False),
        ("18", True),
        ("18", True),
        ("7", False),
    ]
    assert "1 problem" in found.notes[0]


def test_score_columns_are_scorers_and_step_scores_are_left_out(tmp_path):
    """A number per sample ranks; a list per sample does not, and a note says so."""
    rows = [{"id": 1, "gold": "2", "completions": ["2", "3"], "orm_score": [0.5, 1], "scores": [[0.1, 0.2], [0.3]]}]
    samples = read_samples(write(tmp_path / "x.jsonl", rows))
    assert samples.columns.scores == ("orm_score",)
    assert samples.problems[0].scores == {"orm_score": (0.5, 1.0)}
    assert samples.notes[0].startswith("no scores in scores: a list per completion (of its steps?); --steps last, min")
    with pytest.raises(
        WiseMergeError, match=r"--field scores=scores: a list per completion .*--steps last, min or prod"
    ):
        read_samples(tmp_path / "x.jsonl", fields={"scores": ["scores"]})


@pytest.mark.parametrize(("steps", "made"), [("last", (0.5, 0.25)), ("min", (0.5, 0.25)), ("product", (0.375, 0.25))])
def test_scores_of_steps_are_made_one(steps, made, tmp_path):
    """By hand, in a row per problem and in a row per sample; a completion with a step that has no score is an error."""
    lists = [[0.75, 0.5], [0.25]]
    path = write(tmp_path / "x.jsonl", [{"id": 1, "gold": "2", "completions": ["2", "3"], "scores": lists}])
    samples = read_samples(path, steps=steps)
    assert samples.problems[0].scores == {"scores": made}
    assert samples.notes == (f"scores of steps: of each list in scores the {steps} (--steps)",)
    rows = [{"id": 1, "gold": "2", "completion": "2", "reward": steps_of} for steps_of in lists]
    assert read_samples(write(tmp_path / "y.jsonl", rows), steps=steps).problems[0].scores == {"reward": made}
    rows.append({"id": 1, "gold": "2", "completion": "2", "reward": [1.0, None]})
    ((_, reason),) = read_samples(write(tmp_path / "y.jsonl", rows), steps=steps).rejected
    assert reason.startswith("reward must be finite numbers; entry 1 is [1.0, None]")


def test_columns_that_are_not_needed_reject_no_row(tmp_path):
    """Empty scores, labels that are none or too few, answers beside completions: used if they can be, and counted."""
    row = {"gold": "2", "completions": ["2", "3"], "reward": [], "score": [None, None]}
    rows = [{**row, "id": i, "labels": [True, False], "answers": ["2", "3"]} for i in range(60)]
    rows[51]["labels"], rows[52]["labels"], rows[53]["labels"] = [0.5, 1], [True], [None, False]
    rows[54]["answers"] = ["2"]
    samples = read_samples(write(tmp_path / "x.jsonl", rows))
    assert not samples.rejected
    assert len(samples.problems) == 60
    assert [samples.problems[i].labels for i in (51, 52, 53)] == [(None, True), (None, None), (None, False)]
    assert samples.notes[:2] == ("no scores in reward: it is empty", "no scores in score: it is empty")
    assert samples.notes[2].startswith("3 entries of labels not true or false, so not compared with our verdicts")
    decided = read_samples(tmp_path / "x.jsonl", file_verdicts=True)
    assert [place for place, _ in decided.rejected] == ["line 52", "line 53", "line 55"]
    assert decided.missing == {"verdict": 1}


def test_scores_can_be_left_out_and_be_verdicts(tmp_path):
    """A score that is missing somewhere costs its row unless `scores=` is given; true counts 1 where asked for."""
    rows = [{**GOOD, "id": i, "reward": [1.0, 10**400 if i == 2 else 2.0], "seen": [True, False]} for i in range(4)]
    path = write(tmp_path / "x.jsonl", rows)
    ((place, reason),) = read_samples(path).rejected
    assert place == "line 3"
    assert re.fullmatch(r"reward must be finite .* entry 2 is 10+\.\.\.; --field scores= goes without scores", reason)
    without = read_samples(path, fields=parse_fields(["scores="]))
    assert not without.rejected
    assert without.problems[0].scores == {}
    named = read_samples(path, fields=parse_fields(["scores=seen"]))
    assert named.problems[0].scores == {"seen": (1.0, 0.0)}


GOOD = {"id": "good", "gold": "18", "completions": ["18", "17"], "reward": [1.0, 2.0]}


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ('{"id": 1, "gold"', "not JSON (Expecting"),
        ("[1, 2]", "wanted a JSON object; got [1, 2]"),
        (b'{"id": "\xff"}', "not UTF-8"),
        ({**GOOD, "id": None}, "id must be a text or an integer"),
        ({**GOOD, "gold": None}, "it has no gold: gold is missing or empty"),
        ({k: v for k, v in GOOD.items() if k != "gold"}, "it has no gold"),
        ({**GOOD, "completions": []}, "completions is empty"),
        ({**GOOD, "completions": "18"}, "completions must be a list"),
        (
            {**GOOD, "completions": None, "reward": None},
            "completions is missing, so nothing says how many samples there are; wanted is",
        ),
        ({**GOOD, "completions": ["18", 7]}, "completion 2 must be a text; got 7; if the texts stand elsewhere, name"),
        ({**GOOD, "completions": ["18", ["17"]]}, "completion 2 must be a text; got ['17']"),
        ({**GOOD, "id": "good"}, "id 'good' is there twice, first in line 1; if both rows have samples of it, --pool"),
        ({**GOOD, "reward": [1.0]}, "reward has 1 entry for 2 completions"),
        ({**GOOD, "reward": [1.0, float("inf")]}, "reward must be finite numbers; entry 2 is inf"),
        ({**GOOD, "reward": [1.0, "best"]}, "reward must be finite numbers; entry 2 is 'best'"),
        ("[" * 100_000, "not JSON"),
    ],
)
def test_a_bad_line_is_named_and_the_others_are_kept(line, reason, tmp_path):
    """Place and reason of the bad one; the good ones before and after it count."""
    line = (
        json.dumps({**line, "id": line.get("id") if line.get("id") != "good" or "twice" in reason else "bad"})
        if (isinstance(line, dict))
        else line
    )
    line = line if isinstance(line, bytes) else line.encode()
    more = [json.dumps({**GOOD, "id": f"more {i}"}).encode() for i in range(3)]
    path = tmp_path / "x.jsonl"
    path.write_bytes(b"\n".join([json.dumps(GOOD).encode(), b"", line, *more]))
    samples = read_samples(path)
    assert [problem.id for problem in samples.problems] == ["good", "more 0", "more 1", "more 2"]
    ((place, why),) = samples.rejected
    assert place == "line 3"
    assert reason in why


def test_rows_of_one_problem_must_agree_on_its_gold(tmp_path):
    """The sample that says otherwise is rejected."""
    rows = [{"id": 1, "gold": "18", "completion": "18"}, {"id": 1, "gold": "19", "completion": "18"}]
    samples = read_samples(write(tmp_path / "x.jsonl", rows))
    assert samples.problems[0].n == 1
    assert samples.rejected == (("line 2", "its gold differs from that of the same id in line 1"),)


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([{"id": 1, "completions": ["18"]}], "no gold found .*--field gold=COLUMN; the columns are id, completions"),
        (
            [{"id": 1, "completions": ["18"], "labels": [True]}],
            r"no gold found .*--verdicts file takes its own verdicts \(labels\)",
        ),
        ([{"id": 1, "gold": "1", "says": ["18"]}], "no completions .*the columns are id, gold, says"),
        (
            [{"id": 1, "gold": "1", "samples": ["18"], "responses": ["19"]}],
            "completions may be in samples or responses; say which with --field completions=COLUMN",
        ),
        ([{"id": 1, "gold": ["1", "2"], "completions": ["18"]}], r"no gold found .* \(gold holds \['1', '2'\]\); name"),
        ([{"id": 1, "gold": "1", "completions": [{"says": "1"}]}], r"\(completions holds \[{'says': '1'}\]\); name"),
        ([{"gold": "1", "completion": "18"}], "which problem it belongs to; .*--field id=COLUMN"),
        (
            [{"id": 1, "gold": "one", "numbers": [1, "x"], "target": 3, "completions": ["1"]}],
            "line 1: its numbers must",
        ),
    ],
)
def test_what_is_not_found_is_said_with_the_columns_there_are(rows, message, tmp_path):
    """One line that says what to type."""
    with pytest.raises(WiseMergeError, match=message):
        read_samples(write(tmp_path / "x.jsonl", rows))


def test_a_field_that_is_not_there_is_named(tmp_path):
    """The error lists the columns; a role that there is not is refused before any file is opened."""
    path = write(tmp_path / "x.jsonl", [GOOD])
    with pytest.raises(WiseMergeError, match="no column truth for --field gold; the columns are id, gold, completions"):
        read_samples(path, fields=parse_fields(["gold=truth"]))
    with pytest.raises(WiseMergeError, match=r"--field takes role=column with a role of id, .*; got 'truth=gold'"):
        parse_fields(["truth=gold"])


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty"),
        (b"\n\n", "is empty"),
        (b"PAR1\0\0\x15\0", "is no text"),
        (b'[{"id": 1', "has no row that is a JSON object; entry 1: not JSON"),
        (b"[[1], [2]]", r"has no row that is a JSON object; entry 1: wanted a JSON object; got \[1\]"),
        (b"id,gold\n1,2\n", "has no row that is a JSON object; line 1: not JSON"),
        (b"\x1f\x8bnonsense", "is damaged"),
    ],
)
def test_what_is_no_file_of_samples_is_refused(content, message, tmp_path):
    """Named in one line."""
    path = tmp_path / "x.jsonl"
    path.write_bytes(content)
    with pytest.raises(WiseMergeError, match=message):
        read_samples(path)


def test_a_journal_is_told_how_to_be_scored(tmp_path):
    """Its lines are JSON objects, but no samples: one line names the two commands."""
    path = tmp_path / "gsm8k_passk-0123456789abcdef-0.jsonl"
    path.write_text('{"crc":"787466ac","run":"0123456789abcdef","kind":"run","format":1,"task":"gsm8k_passk"}\n')
    message = rf"{tmp_path} is a journal; .* wise-merge journal {tmp_path} --out OUT, then run wise-merge score OUT$"
    with pytest.raises(WiseMergeError, match=message):
        read_samples(path)
    with pytest.raises(WiseMergeError, match=message):
        sample_files(tmp_path)


def test_a_folder_means_the_newest_samples_of_each_task(tmp_path):
    """As `lm_eval --output_path` leaves them, one folder per model."""
    for model, name in (
        ("a", "gsm8k_2026-01-01T00-00-00"),
        ("a", "gsm8k_2026-01-02T00-00-00"),
        ("b", "math_2026-01-01T00-00-00"),
    ):
        (tmp_path / model).mkdir(exist_ok=True)
        (tmp_path / model / f"samples_{name}.jsonl").touch()
    found = sample_files(tmp_path)
    assert [f"{file.parent.name} {file.name[8:-6]}" for file in found] == [
        "a gsm8k_2026-01-02T00-00-00",
        "b math_2026-01-01T00-00-00",
    ]
    assert [task_of(file) for file in found] == ["gsm8k", "math"]
    with pytest.raises(WiseMergeError, match="does not exist"):
        sample_files(tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    with pytest.raises(WiseMergeError, match="--log_samples"):
        sample_files(tmp_path / "empty")


def test_ids_of_samples_instead_of_problems_are_noticed(tmp_path):
    """Every row has an id of its own, yet the problems repeat: a note says which column to take."""
    rows = [{"id": i, "question": f"Q{i // 4}", "gold": "18", "completion": "18"} for i in range(8)]
    path = write(tmp_path / "x.jsonl", rows)
    assert "its 8 rows have 2 different texts in question" in read_samples(path).notes[0]
    samples = read_samples(path, fields={"id": ["question"]})
    assert [problem.n for problem in samples.problems] == [4, 4]
    assert not samples.notes


def test_the_gold_of_a_whole_solution_is_what_it_boxes(tmp_path):
    """As in MATH's training data, which has no column for the answer alone."""
    rows = [{"id": 1, "solution": "As $1 < 2$, it is $\\boxed{\\frac{1}{2}}$.", "completions": ["\\boxed{0.5}", "1"]}]
    (facts,) = judge(read_samples(write(tmp_path / "x.jsonl", rows))).problems
    assert facts.gold == "\\frac{1}{2}"
    assert facts.c == 1


@pytest.mark.parametrize(
    ("row", "benchmark"),
    [
        ({"gold": "18"}, "gsm8k"),
        ({"gold": 18.5}, "gsm8k"),
        ({"answer": "She has 3.\n#### 3"}, "gsm8k"),
        ({"numbers": [1, 2, 3], "target": 6}, "countdown"),
        ({"nums": [1, 2, 3], "target": 6}, "countdown"),
        ({"gold": "\\frac{1}{2}"}, "math"),
        ({"solution": "It is $\\boxed{7}$."}, "math"),
        ({"question": "4320004330100004"}, "sudoku"),
    ],
)
def test_the_benchmark_is_told_by_the_file(row, benchmark, tmp_path):
    """By its columns, or by golds that are all numbers."""
    path = write(tmp_path / "x.jsonl", [{"id": i, "completions": ["1"], **row} for i in range(3)])
    assert read_samples(path).benchmark.name == benchmark


def test_files_of_the_same_problems_are_read_by_the_same_benchmark(tmp_path):
    """Half of MATH has numbers only; other problems, `####` and what stands alone are read as they are."""
    golds = {
        "numbers": ["18", "19"],
        "formulas": ["18", "19", "\\frac{1}{2}"],
        "others": ["1", "2", "3"],
        "solutions": ["So.\n#### 18", "So.\n#### 19"],
    }
    files = [
        write(
            tmp_path / f"{name}.jsonl",
            [{"id": i, "gold": gold, "completions": ["1"]} for i, gold in enumerate(of_file)],
        )
        for name, of_file in golds.items()
    ]
    assert choose_benchmarks(files) == [
        ("math", "not all golds of formulas.jsonl are numbers"),
        ("math", "not all golds are numbers"),
        ("gsm8k", "all golds are numbers"),
        ("gsm8k", "golds end in #### and a number"),
    ]
    assert choose_benchmarks(files[:1]) == [("gsm8k", "all golds are numbers")]


@pytest.mark.parametrize(
    ("system", "percent"),
    [("6b_finetuning", 21.68), ("6b_verification", 39.04), ("175b_finetuning", 34.72), ("175b_verification", 56.25)],
)
def test_the_published_labels_of_gsm8k_agree_one_by_one(system, percent, shared_data, tmp_path):
    """Each system by itself, as greedy completions: accuracy as published, all 1,319 verdicts as in the file."""
    rows = []
    for line in (shared_data / "completions" / "gpt3_gsm8k.jsonl").read_text().splitlines():
        row = json.loads(line)
        of_system = row["models"].index(system)
        rows.append({**row, "completions": [row["completions"][of_system]], "labels": [row["labels"][of_system]]})
    found = judge(read_samples(write(tmp_path / "x.jsonl", rows)))
    assert found.agreement.both_right + found.agreement.both_wrong == found.agreement.samples == 1319
    assert 100 * found.agreement.both_right / 1319 == pytest.approx(percent, abs=0.005)


# --- what the model that sampled says -------------------------------------------------------------


def lm_eval_row(number, texts, **more):
    doc = {"question": f"Question {number}?", "answer": "#### 18"}
    return {"doc_id": number, "doc": doc, "target": "18", "resps": [texts], "filter": "samples", **more}


def told(**lists):
    """What a model says of its samples, as the rows of an evaluation and as those of a journal have it."""
    return [{"curve": {"answers": [], **lists}}, lists]


NAN = float("nan")


def message(text, role="assistant", **more):
    return {"role": role, "content": text, **more}


#: How a completion that is not there (None) may stand in a file, beside others: as an entry of a column.
LISTED = {
    "null": ("completions", lambda text: text),
    "NaN": ("completions", lambda text: NAN if text is None else text),
    "lists of one, and null": ("completions", lambda text: text and [text]),
    "lists of one, and of null": ("completions", lambda text: [text]),
    "lists of one, and an empty one": ("completions", lambda text: [text] if text else []),
    "messages, one of null": ("completions", message),
    "messages, one without content": ("completions", lambda text: message(text) if text else {"role": "assistant"}),
    "messages, and null": ("completions", lambda text: text and message(text)),
    "chats, one without an answer": (
        "completions",
        lambda text: [message("?", "user"), *([message(text)] if text else [])],
    ),
    "objects, and null": ("responses", lambda text: text and {"text": text}),
    "objects, one without the key": ("responses", lambda text: {"text": text} if text else {}),
    "objects, one of null": ("responses", lambda text: {"text": text}),
    "choices, one of null": ("choices", lambda text: {"message": text and message(text)}),
    "choices, one of a message of null": ("choices", lambda text: {"message": message(text)}),
}
#: The same where a row holds one sample.
SINGLE = {
    "null": lambda text: {"completion": text},
    "no key": lambda text: {"completion": text} if text else {},
    "NaN": lambda text: {"completion": text or NAN},
    "no message": lambda text: {"completion": [message(text)] if text else []},
    "a chat without an answer": lambda text: {
        "completion": [message("?", "user"), *([message(text)] if text else [])],
    },
    "a refusal": lambda text: {"completion": [message(text, refusal=None if text else "no")]},
    "no choice": lambda text: {"model_output": {"choices": [{"message": message(text)}] if text else []}},
}


def with_nothing(shape):
    """Rows of TRUTH in which the sample without an answer is not there at all."""
    layout, _, name = shape.partition(": ")
    for identity, gold, numbers, texts, _ in problems():
        shown = [None if number is None else text for number, text in zip(numbers, texts, strict=True)]
        if layout == "a row per sample":
            yield from ({"id": identity, "gold": gold, **SINGLE[name](text)} for text in shown)
            continue
        column, entry = LISTED.get(name, LISTED["null"])
        entries = list(map(entry, shown))
        if name == "one list within":
            entries = [entries]
        if layout == "lm-eval":
            doc = {"question": "?", "answer": gold}
            yield {"doc_id": int(identity), "doc": doc, "target": gold, "resps": entries, "filter": "none"}
        else:
            yield {"id": identity, "gold": gold, column: entries}


SHAPES = [
    *(f"a list per problem: {name}" for name in [*LISTED, "one list within"]),
    *(f"lm-eval: {name}" for name, (column, _) in LISTED.items() if column == "completions"),
    "lm-eval: one list within",
    *(f"a row per sample: {name}" for name in SINGLE),
]


@pytest.mark.parametrize("shape", SHAPES)
def test_a_completion_that_is_not_there_is_a_wrong_answer(shape, tmp_path, expected):
    """As one without an answer is, in whatever way nothing is written; counted, and left out only when asked for."""
    path = write(tmp_path / "x.jsonl", with_nothing(shape))
    assert facts_of(path) == expected
    samples = read_samples(path)
    assert samples.missing == {"completion": 1}
    assert samples.notes == ("1 sample without a completion counts as wrong (--skip-bad leaves it out)",)
    (first, *others) = expected
    assert facts_of(path, skip_bad=True) == [(first[0], first[1][:-1], first[2][:-1]), *others]
    skipped = read_samples(path, skip_bad=True)
    assert skipped.missing == {"completion": 1}
    assert skipped.notes == ("1 sample without a completion left out (--skip-bad)",)


@pytest.mark.parametrize("rows", [1, 60])
@pytest.mark.parametrize("layout", ["list", "row", "lm-eval"])
def test_a_model_that_never_answered_has_samples_all_the_same(layout, rows, tmp_path):
    """Null everywhere, or in more rows than those by which columns are found: n wrong samples of each problem."""
    name = {"list": "completions", "row": "completion", "lm-eval": "resps"}[layout]
    there = {"list": ["18", "17"], "row": "18", "lm-eval": [["18", "17"]]}[layout]
    nothing = {"list": [None, None], "row": None, "lm-eval": [[None, None]]}[layout]
    facts = {"doc": {"question": "?", "answer": "18"}, "target": "18"} if layout == "lm-eval" else {"gold": "18"}
    found = [{("doc_id" if layout == "lm-eval" else "id"): i, **facts, name: nothing} for i in range(rows)]
    fields = {}
    for further in range(2):
        path = write(tmp_path / "x.jsonl", found)
        samples = read_samples(path, fields=fields)
        n = 1 if layout == "row" else 2
        assert [problem.n for problem in samples.problems] == [n] * rows + [n] * further
        assert sum(fact.c for fact in judge(samples).problems) == further
        assert samples.missing == {"completion": n * rows}
        assert {problem.cut_off for problem in samples.problems} == {None}
        # With a completion after the first rows the answer is the same.
        found.append({**found[0], ("doc_id" if layout == "lm-eval" else "id"): rows, name: there})
    with pytest.raises(WiseMergeError, match="no sample has a completion, so none is left"):
        read_samples(write(tmp_path / "y.jsonl", found[:1]), skip_bad=True)


def test_an_empty_column_of_completions_does_not_hide_answers_and_verdicts(tmp_path, expected):
    """Texts that were not published: what stands beside them counts, and nothing is missing."""
    rows = [
        {"id": i, "gold": gold, "completions": [None] * 4, "answers": ns, "labels": right}
        for i, gold, ns, _, right in problems()
    ]
    path = write(tmp_path / "x.jsonl", rows)
    assert facts_of(path) == facts_of(path, file_verdicts=True) == expected
    assert read_samples(path).missing == {}
    # Verdicts that are all null are none; nor do nulls in most lists hide the column.
    empty = [{**row, "labels": [None] * 4} for row in rows]
    with pytest.raises(WiseMergeError, match="--verdicts file needs the file's own verdicts"):
        read_samples(write(tmp_path / "empty.jsonl", empty), file_verdicts=True)
    rows = [{"id": i, "gold": "18", "completions": ["18", None]} for i in range(20)]
    assert [problem.n for problem in read_samples(write(tmp_path / "y.jsonl", rows)).problems] == [2] * 20


def test_a_list_that_is_not_there_is_as_long_as_what_stands_beside_it(tmp_path):
    """Completions by verdicts, scores by completions; of a row with nothing at all nobody knows how many samples."""
    row = {"gold": "18", "completions": ["18", "17"], "labels": [True, False], "reward": [0.5, 0.25]}
    rows = [{**row, "id": i} for i in range(6)]
    rows[1]["completions"] = None
    del rows[2]["reward"]
    rows[3] |= {"completions": None, "reward": None}
    rows[4] |= {"completions": None, "reward": None, "labels": None}
    rows[5]["labels"] = NAN
    samples = read_samples(write(tmp_path / "x.jsonl", rows))
    assert [(problem.id, problem.n) for problem in samples.problems] == [(str(i), 2) for i in (0, 1, 2, 3, 5)]
    assert [place for place, _ in samples.rejected] == ["line 5"]
    assert "completions is missing, so nothing says how many samples there are" in samples.rejected[0][1]
    # Of a completion that is not there nobody expects a score.
    assert samples.missing == {"completion": 4, "score in reward": 2}
    assert samples.problems[2].scores == samples.problems[3].scores == {"reward": (float("-inf"), float("-inf"))}
    by_file = read_samples(tmp_path / "x.jsonl", file_verdicts=True)
    assert by_file.missing == {"completion": 4, "score in reward": 2, "verdict": 2}
    assert [fact.c for fact in judge(by_file).problems] == [1, 1, 1, 1, 0]
    assert by_file.notes == (
        "4 samples without a completion: the file's verdict counts",
        "2 samples without a score in reward rank last",
        "2 samples without a verdict count as wrong (--skip-bad leaves them out)",
    )


@pytest.mark.parametrize("layout", ["list", "row"])
@pytest.mark.parametrize("nothing", [None, NAN], ids=["null", "NaN"])
def test_a_verdict_or_a_score_that_is_not_there_keeps_its_sample(layout, nothing, tmp_path):
    """Such a sample is wrong and no vote, or ranks last; the others of its problem are what they were."""
    texts, labels, rewards = ["18", "18", "17"], [True, nothing, False], [0.5, nothing, 0.75]
    rows = [{"id": 1, "gold": "18", "completions": texts, "labels": labels, "reward": rewards, "preds": texts}]
    if layout == "row":
        names = {"completions": "completion", "labels": "label", "reward": "reward", "preds": "pred"}
        rows = [
            {"id": 1, "gold": "18", **{name: rows[0][column][i] for column, name in names.items()}} for i in range(3)
        ]
    path = write(tmp_path / "x.jsonl", [*rows, *({**row, "id": 2} for row in rows)])
    ours = read_samples(path)
    assert ours.rejected == ()
    assert [problem.scores["reward"] for problem in ours.problems] == [(0.5, float("-inf"), 0.75)] * 2
    assert ours.missing == {"score in reward": 2}
    assert judge(ours).agreement.samples == 4
    theirs = read_samples(path, file_verdicts=True)
    (one, _) = judge(theirs).problems
    assert (one.answers, one.correct) == (("17", "18", None), (False, True, False))
    assert theirs.missing == {"score in reward": 2, "verdict": 2}
    left = read_samples(path, file_verdicts=True, skip_bad=True)
    assert [(problem.n, problem.labels, problem.scores["reward"]) for problem in left.problems] == [
        (2, (True, False), (0.5, 0.75))
    ] * 2


def test_problems_of_which_nothing_is_left_are_told(tmp_path):
    """Skipped with all their samples, and said; an answer of NaN is none and no vote."""
    rows = [{"id": i, "gold": "18", "completions": [None if i else "18", None]} for i in range(3)]
    samples = read_samples(write(tmp_path / "x.jsonl", rows), skip_bad=True)
    assert [(problem.id, problem.n) for problem in samples.problems] == [("0", 1)]
    assert samples.notes == (
        "5 samples without a completion left out (--skip-bad), and 2 problems without any other sample",
    )
    rows = [{"id": 1, "gold": "18", "answers": ["18", NAN, NAN]}]
    assert facts_of(write(tmp_path / "y.jsonl", rows)) == [("1", ("18", None, None), (True, False, False))]


def test_the_end_of_what_is_not_there_need_not_be_known(tmp_path):
    """A request that failed has no finish reason; the share of the others that were cut is known all the same."""
    row = {"gold": "18", "completions": ["18", "1", None], "finish_reason": ["stop", "length", None]}
    path = write(tmp_path / "x.jsonl", [{**row, "id": 1}, {**row, "id": 2}])
    assert [problem.cut_off for problem in read_samples(path).problems] == [1, 1]
    assert [(one.cut_off, one.n) for one in read_samples(path, skip_bad=True).problems] == [(1, 2), (1, 2)]


POOLED = {
    "texts": lambda i, text: {"id": i, "gold": "18", "completion": text},
    "lists of one": lambda i, text: {"id": i, "gold": "18", "completions": [text]},
    "objects": lambda i, text: {"id": i, "gold": "18", "responses": [{"text": text}]},
    "lm-eval": lambda i, text: lm_eval_row(i, [text]),
}


@pytest.mark.parametrize("order", range(3))
@pytest.mark.parametrize("shape", POOLED)
def test_every_sample_that_is_pooled_counts_once(shape, order, tmp_path):
    """One row per sample, in one file or in several, whose ids repeat in any order: the samples of all rows."""
    texts = {1: ["18", "18", "17", "18"], 2: ["17", "17", "18", "16"]}
    rows = [POOLED[shape](i, text) for i, some in texts.items() for text in some]
    if order:
        random.Random(order).shuffle(rows)
    expected = [("1", ("17", "18", "18", "18"), 3), ("2", ("16", "17", "17", "18"), 1)]

    def pooled(*parts):
        paths = [write(tmp_path / f"{number}.jsonl", part) for number, part in enumerate(parts)]
        for first in range(len(paths)):
            turned = paths[first:] + paths[:first]
            samples = read_samples(turned[0], more=turned[1:], pool=True)
            assert samples.rejected == ()
            assert [(one.id, one.answers, one.c) for one in judge(samples).problems] == expected

    pooled(rows)
    pooled(rows[:3], rows[3:])
    pooled(rows[:2], rows[2:5], rows[5:])


def test_filters_of_pooled_files_repeat_their_samples_in_each(tmp_path):
    """A second file with its filters the other way round: each response once, from the filter that comes first."""

    def rows(*filters):
        return [{**lm_eval_row(i, ["18", "17"]), "filter": name} for i in (1, 2) for name in filters]

    one = write(tmp_path / "one.jsonl", rows("strict", "flexible"))
    other = write(tmp_path / "other.jsonl", rows("flexible", "strict"))
    for paths in ((one, other), (other, one)):
        samples = read_samples(paths[0], more=paths[1:], pool=True)
        assert samples.rejected == ()
        assert [problem.n for problem in samples.problems] == [4, 4]


@pytest.mark.parametrize("layout", [0, 1], ids=["evaluation", "journal"])
def test_how_samples_ended_and_how_probable_they_were_is_read(layout, tmp_path):
    """From lm-eval's rows of our models: which were cut, and a scorer; an unknown log-probability ranks last."""
    texts = ["It is 18.", "It is 17.", "It"]
    said = told(finish_reason=["stop", "stop", "length"], logprob=[-0.25, -1, None], tokens=[4, 4, 1])[layout]
    samples = read_samples(write(tmp_path / "x.jsonl", [lm_eval_row(1, texts, **said), lm_eval_row(2, texts, **said)]))
    assert (samples.rejected, samples.notes) == ((), ())
    column = ["curve.logprob", "logprob"][layout]
    assert [problem.scores for problem in samples.problems] == [{column: (-0.25, -1.0, float("-inf"))}] * 2
    assert [problem.cut_off for problem in samples.problems] == [1, 1]
    assert not read_samples(tmp_path / "x.jsonl", fields=parse_fields(["scores="])).columns.scores


def test_samples_that_are_there_twice_count_once(tmp_path):
    """lm-eval pads data-parallel runs by asking again; our models give the same samples then, and say K ends."""
    said = told(finish_reason=["stop", "length"], logprob=[-1.0, -2.0])[0]
    rows = [lm_eval_row(1, ["18", "17", "18", "17"], **said), lm_eval_row(2, ["18", "17"], **said)]
    samples = read_samples(write(tmp_path / "x.jsonl", rows))
    assert [(problem.n, problem.cut_off) for problem in samples.problems] == [(2, 1), (2, 1)]
    # The negative control: of samples that do not say so, all count.
    rows = [lm_eval_row(1, ["18", "17", "18", "16"])]
    assert read_samples(write(tmp_path / "y.jsonl", rows)).problems[0].n == 4


@pytest.mark.parametrize("lists", [{}, {"finish_reason": [None, None]}, {"logprob": [-1.0, -2.0]}])
def test_what_the_model_did_not_say_is_not_made_up(lists, tmp_path):
    """No ends, no share of cut samples, and no scorer among the rows of lm-eval."""
    samples = read_samples(write(tmp_path / "x.jsonl", [lm_eval_row(1, ["18", "17"], curve=lists)]))
    assert samples.problems[0].cut_off is None
    assert samples.columns.scores == ()
    assert samples.notes == ()


@pytest.mark.parametrize(
    "row",
    [
        {"completions": ["18", "17"], "finish_reason": ["stop", "length"]},
        {"completions": ["18", "17"], "stop_reasons": ["end_turn", "max_tokens"], "meta": {"finish_reason": "stop"}},
        {"choices": [{"message": {"role": "assistant", "content": text}, "finish_reason": "LENGTH"} for text in "1"]},
    ],
)
def test_ends_of_other_files_are_known_by_name(row, tmp_path):
    """Those of servers and of other programs, one row per problem or per sample."""
    samples = read_samples(write(tmp_path / "x.jsonl", [{"id": 1, "gold": "18", **row}]))
    assert [problem.cut_off for problem in samples.problems] == [1]


def test_ends_that_cannot_be_read_reject_no_row(tmp_path):
    """One problem that does not say of all its samples is enough for not knowing."""
    rows = [{"id": i, "gold": "18", "completions": ["18", "17"], "finish_reason": ["stop", "stop"]} for i in range(4)]
    rows[1]["finish_reason"], rows[2]["finish_reason"], rows[3]["finish_reason"] = ["stop"], ["stop", None], 7
    samples = read_samples(write(tmp_path / "x.jsonl", rows))
    assert not samples.rejected
    assert [problem.cut_off for problem in samples.problems] == [0, None, None, None]
    assert samples.columns.scores == ()
