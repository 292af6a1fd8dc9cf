"""Best@k within an evaluation: a scorer named in the metadata, in the real lm-eval."""

import json
import math

import pytest
from support.tasks import Scripted, Telling, evaluate, values

from wise_merge.errors import WiseMergeError

#: Prefers long expressions; what it is given as the problem goes to a file.
SCORER = """
import json

def longest(problem, completions):
    with open("seen.jsonl", "a") as file:
        file.write(json.dumps([problem, list(completions)]) + "\\n")
    return [float(len(text)) if text else float("-inf") for text in completions]

def broken(problem, completions):
    raise RuntimeError("CUDA out of memory")
"""


@pytest.fixture
def scorer(tmp_path, monkeypatch):
    """A folder with the scorer's module, as the current one."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "rank_for_test.py").write_text(SCORER)


def script(prompt):
    return ["9", "(9-5)*6", "", "9"] if "Target: 24" in prompt[-40:] else ["1+2", "1+2+3", "3*2*1*1", "3-2"]


def test_best_at_k_is_reported_beside_pass_at_k(scorer, two_problems, tmp_path):
    """The longest is right on one problem and wrong on the other; the whole curve and the scores are kept."""
    scores, results = evaluate(
        Scripted(script), repeats=4, data_file=two_problems, scorer="python:rank_for_test:longest"
    )
    assert values(scores)["best@4"] == 0.5
    curve = scores["curve,samples"]["best@k"]
    # By hand: problem 24 has the right one on top of 9, 9 and nothing; problem 6 has it in second place of four.
    assert curve == pytest.approx([1 / 4, (1 / 2 + 2 / 6) / 2, (3 / 4 + 1 / 4) / 2, 1 / 2])
    rows = {row["doc"]["target"]: row["curve"]["scores"] for row in results["samples"]["countdown_passk"]}
    assert rows[24] == [1.0, 7.0, None, 1.0]
    seen = [json.loads(line) for line in (tmp_path / "seen.jsonl").read_text().splitlines()]
    assert [len(completions) for _, completions in seen] == [3, 4]  # each distinct one once
    assert seen[0][0].startswith("Numbers: ")
    assert seen[0][0].count("Target:") == 1  # the problem, without the worked examples


def test_a_scorer_is_shown_what_it_is_shown_later(scorer, tmp_path):
    """The question by itself, as `wise-merge score` shows it from the samples; not what the prompt wraps it in."""
    path = tmp_path / "gsm8k.jsonl"
    path.write_text(json.dumps({"question": "What is 2 + 2?", "answer": "#### 4"}) + "\n")
    evaluate(
        Scripted(lambda prompt: ["4", "It is 4."]),
        "gsm8k_passk",
        repeats=2,
        data_file=str(path),
        scorer="python:rank_for_test:longest",
    )
    assert json.loads((tmp_path / "seen.jsonl").read_text()) == ["What is 2 + 2?", ["4", "It is 4."]]


def test_a_scorer_that_fails_costs_best_at_k_and_nothing_else(scorer, two_problems, caplog):
    """The other figures are there, best@k is not a number, and the log says how to get it later."""
    scores, _ = evaluate(Scripted(script), repeats=4, data_file=two_problems, scorer="python:rank_for_test:broken")
    assert values(scores)["pass@4"] == 1.0
    assert math.isnan(values(scores)["best@4"])
    assert "best@k" not in scores["curve,samples"]
    assert "RuntimeError" in caplog.text
    assert "CUDA out of memory" in caplog.text
    assert "wise-merge score FILE --scorer python:rank_for_test:broken" in caplog.text


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("reword:ORG/MODEL", "countdown_passk: a scorer must be one of .*got 'reword:ORG/MODEL'"),
        ("python:no_such_module:f", "there is no module 'no_such_module'"),
    ],
)
def test_a_scorer_that_does_not_exist_is_named_before_the_sampling(spec, message, two_problems):
    """One line; no completion is drawn."""
    model = Scripted(script)
    with pytest.raises(WiseMergeError, match=message):
        evaluate(model, repeats=4, data_file=two_problems, scorer=spec)
    assert model.requests == []


# --- the model that samples -----------------------------------------------------------------------


def telling(prompt):
    if "Target: 24" in prompt[-40:]:
        return [("9", "stop", -2.0), ("(9-5)*6", "stop", -0.5), ("", "length", None), ("9", "stop", -1.0)]
    return [("1+2", "stop", -0.1), ("1+2+3", "stop", -0.2), ("3*2*1*1", "stop", -0.3), ("3-2", "stop", -0.4)]


def test_the_model_that_samples_ranks_for_free(two_problems, tmp_path):
    """The likeliest is right on one problem and second on the other; `wise-merge score` finds the same in the rows."""
    from wise_merge.results.metrics import metrics
    from wise_merge.results.reading.samples import read_samples
    from wise_merge.results.verdicts import judge

    scores, results = evaluate(Telling(telling), repeats=4, data_file=two_problems, scorer="logprob")
    assert values(scores)["best@4"] == 0.5
    curve = scores["curve,samples"]["best@k"]
    # By hand: problem 24 has it on top of -1, -2 and unknown, problem 6 in second place of four.
    assert curve == pytest.approx([1 / 4, (1 / 2 + 2 / 6) / 2, (3 / 4 + 1 / 4) / 2, 1 / 2])
    rows = {row["doc"]["target"]: row["curve"]["scores"] for row in results["samples"]["countdown_passk"]}
    assert rows[24] == [-2.0, -0.5, None, -1.0]
    path = tmp_path / "samples_countdown_passk_2026-01-01T00-00-00.000000.jsonl"
    path.write_text("".join(json.dumps(row, default=str) + "\n" for row in results["samples"]["countdown_passk"]))
    samples = read_samples(path)
    found, _ = metrics(judge(samples).problems, [4])
    (best,) = (metric for metric in found if metric.name == "best@k")
    assert best.scorer == "curve.logprob"
    assert best.values.mean(axis=0) == pytest.approx(curve)
    assert [problem.cut_off for problem in samples.problems] == [1, 0]


def test_a_model_that_does_not_tell_is_refused_where_that_is_known(two_problems, tiny_run):
    """Before the sampling for lm-eval's own; another one costs best@k and nothing else."""
    from lm_eval.models.huggingface import HFLM

    model = HFLM(pretrained=str(tiny_run / "checkpoint-1"), device="cpu")
    with pytest.raises(WiseMergeError, match=r"scorer logprob needs a model that says .*--model hf-passk"):
        evaluate(model, repeats=2, data_file=two_problems, scorer="logprob")


def test_a_model_that_turns_out_not_to_tell_costs_best_at_k(two_problems, caplog):
    """The other figures are there, and the log names models that would."""
    scores, _ = evaluate(Scripted(script), repeats=4, data_file=two_problems, scorer="logprob")
    assert values(scores)["pass@4"] == 1.0
    assert math.isnan(values(scores)["best@4"])
    assert caplog.text.count("best@k is left out") == 1
    assert "--model hf-passk and --model vllm-passk do" in caplog.text
