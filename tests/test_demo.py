"""The demo: its data and tokenizer, what it says about its numbers, and the whole path on a recipe of seconds."""

import dataclasses
import json
import os
import random
import signal
import subprocess
import sys
import time

import pytest
from support.boxes import boxes_of, overlapping
from support.demo import SMALL

from wise_merge.demo import figure, pipeline, tiny_model
from wise_merge.demo.verdict import Sampled, judge, paired_difference, table
from wise_merge.errors import WiseMergeError
from wise_merge.games.countdown import generate_problems, is_solution, random_problems, read_answer
from wise_merge.journal import read_runs
from wise_merge.points import read_results


def sampled(name, correct, alpha, temperature=1.0, samples=4):
    """A model with the given numbers of correct samples; the metrics are the plain means."""
    n = len(correct)
    metrics = {"pass@1": sum(correct) / samples / n, "pass@4": sum(c > 0 for c in correct) / n}
    metrics |= {"pass@2": sum(metrics.values()) / 2}
    metrics |= {f"{key}_stderr": 0.02 for key in metrics}
    return Sampled(name, f"runs/{name}", alpha, temperature, samples, correct, metrics)


# 200 problems, 4 samples each. The merged model solves what early does and more often.
COMES_OUT = [
    sampled("early", [1] * 200, 0.0),
    sampled("late T=0.7", [4] * 40 + [0] * 160, 1.0, 0.7),
    sampled("late", [4] * 50 + [0] * 150, 1.0),
    sampled("WiSE-FT 0.5", [2] * 180 + [0] * 20, 0.5),
]


def test_the_tokenizer_survives_saving_and_gives_the_text_back(tmp_path):
    """AutoTokenizer reloads it, the words are one token each, and decoding undoes encoding."""
    from transformers import AutoTokenizer

    tiny_model.make_tokenizer().save_pretrained(tmp_path)
    tokenizer = AutoTokenizer.from_pretrained(tmp_path)
    text = "Numbers: 3 12 5\nTarget: 24\nExpression: (12-5)*3"
    ids = tokenizer(text)["input_ids"]
    assert tokenizer.decode(ids) == text
    assert len(ids) == 3 + len(text) - len("Numbers:Target:Expression:")
    assert tokenizer.unk_token_id not in ids
    assert tokenizer.eos_token_id not in ids


def test_only_the_solution_and_its_end_are_learned():
    """The labels are the solution's tokens and the end; prompt and padding are masked."""
    tokenizer = tiny_model.make_tokenizer()
    problems = tiny_model.sft_problems(SMALL)
    inputs, labels = tiny_model.encode(tokenizer, problems)
    for problem, row, learned in zip(problems, inputs, labels, strict=True):
        assert tokenizer.decode(learned[learned != -100]) == f" {problem.solution}{tiny_model.EOS}"
        text = f"{tiny_model.prompt_of(problem)} {problem.solution}{tiny_model.EOS}"
        assert tokenizer.decode(row).replace(tiny_model.PAD, "") == text


def test_held_out_problems_are_in_neither_stage_of_training():
    """No problem of the evaluation is trained on, whatever the order of its numbers."""
    recipe = dataclasses.replace(SMALL, problems=500, sft_problems=100)
    held_out = {p.key for p in generate_problems(500, numbers=3, largest=recipe.largest, seed=recipe.problem_seed)}
    pretraining, sft = tiny_model.pretraining_problems(recipe), tiny_model.sft_problems(recipe)
    assert len(pretraining) == recipe.pretraining.steps * recipe.pretraining.batch
    assert len({p.key for p in sft}) == 100
    assert held_out.isdisjoint(p.key for p in [*pretraining, *sft])


def test_too_many_held_out_problems_are_refused():
    """If nothing is left for fine-tuning, the message says how many there were."""
    with pytest.raises(WiseMergeError, match="are left for SFT, 20 wanted"):
        tiny_model.sft_problems(dataclasses.replace(SMALL, largest=3, problems=50))


def test_a_canonical_solution_solves_its_problem_and_ignores_the_order_of_the_numbers():
    """It is a solution, and the same one however the problem is written."""
    draws = random_problems(random.Random(1), numbers=3, largest=12)
    for problem in (next(draws) for _ in range(50)):
        solution = tiny_model.canonical_solution(problem)
        assert is_solution(read_answer(solution), problem.numbers, problem.target)
        turned = dataclasses.replace(problem, numbers=problem.numbers[::-1], solution="")
        assert tiny_model.canonical_solution(turned) == solution


def test_a_paired_difference_is_free_of_what_problems_have_in_common():
    """A gain of one sample on every problem has no error, however the problems differ."""
    hard_and_easy = [0, 1, 2, 3] * 10
    difference = paired_difference(
        sampled("b", [c + 1 for c in hard_and_easy], 0.5), sampled("a", hard_and_easy, 0.0), 1
    )
    assert difference.mean == pytest.approx(1 / 4)
    assert difference.standard_error == pytest.approx(0, abs=1e-12)


def test_the_verdict_says_so_if_the_effect_is_there():
    """A merged model that beats all others is named with its margins."""
    verdict = judge(COMES_OUT)
    assert verdict["best"] == "WiSE-FT 0.5"
    assert "NOT" not in " ".join(verdict["sentences"])
    assert "+0.200 ± " in verdict["sentences"][1]


def test_the_verdict_does_not_claim_what_did_not_come_out():
    """With a merged model no better than late, every sentence that fails says NOT."""
    models = [*COMES_OUT[:3], sampled("WiSE-FT 0.5", COMES_OUT[2].correct, 0.5)]
    diversity, both_ends, temperatures = judge(models)["sentences"]
    assert "NOT" not in diversity
    assert "does NOT clearly beat both ends" in both_ends
    assert "does NOT clearly beat late" in temperatures


def test_the_table_has_a_line_per_model():
    """Names, values and standard errors stand in columns."""
    header, *lines = table(COMES_OUT).splitlines()
    assert header.split() == ["pass@1", "pass@4"]
    assert [line.split("  ")[0] for line in lines] == [model.name for model in COMES_OUT]
    assert lines[0].endswith("1.000 ± 0.020")


def test_the_figure_is_drawn_from_the_results_alone(tmp_path):
    """A results file is enough to draw a PNG."""
    from wise_merge.demo.figure import draw

    results = tmp_path / "results.json"
    models = [dataclasses.asdict(model) for model in COMES_OUT]
    results.write_text(json.dumps({"models": models, "verdict": judge(COMES_OUT)}))
    draw(results, tmp_path / "figure.png")
    assert (tmp_path / "figure.png").read_bytes().startswith(b"\x89PNG")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["figure.png", "results.json"]


def test_a_failing_command_is_explained(tmp_path):
    """The message holds the end of the command's output and the command; nothing counts as finished."""
    command = pipeline.Command("merge", ("mergekit-yaml", "absent.yml", "out"), "out")
    with pytest.raises(WiseMergeError, match=r"mergekit-yaml failed with exit code \d") as failure:
        pipeline.run_command(tmp_path, command)
    assert "absent.yml" in str(failure.value)
    assert not pipeline.is_finished(tmp_path, command)


def test_a_directory_of_something_else_is_left_alone(tmp_path):
    """The demo neither mixes with a user's files nor reuses the results of other settings."""
    (tmp_path / "thesis.tex").write_text("")
    with pytest.raises(WiseMergeError, match="holds no demo"):
        pipeline.run_demo(tmp_path, SMALL)
    (tmp_path / "settings.json").write_text(json.dumps({"seed": 1}))
    with pytest.raises(WiseMergeError, match="other settings"):
        pipeline.run_demo(tmp_path, SMALL)


def test_training_that_was_interrupted_goes_on_to_the_same_weights(tmp_path):
    """A torn checkpoint is dropped, the one before it is used, and the result is that of one go."""
    whole, torn = tmp_path / "whole", tmp_path / "torn"
    for directory in (whole, torn):
        tiny_model.train(SMALL, directory)
    weights = "sft/checkpoint-6/model.safetensors"
    expected = (whole / weights).read_bytes()
    last = torn / "sft" / "checkpoint-6"
    (last / "trainer_state.json").write_text('{"epo')
    (last / "model.safetensors").write_bytes(b"torn")
    kept = (torn / "sft/checkpoint-2/model.safetensors").stat().st_mtime_ns
    tiny_model.train(SMALL, torn)
    assert (torn / weights).read_bytes() == expected
    assert (torn / "sft/checkpoint-2/model.safetensors").stat().st_mtime_ns == kept


@pytest.mark.slow
def test_a_killed_demo_resumes_and_a_finished_one_is_reused(tmp_path, monkeypatch, capsys):
    """Killed among its commands, it keeps what was finished; a third run calls nothing at all."""
    directory = tmp_path / "demo"
    script = "import sys; from pathlib import Path; from test_demo import SMALL, pipeline; "
    script += "pipeline.run_demo(Path(sys.argv[1]), SMALL)"
    environment = {**os.environ, "PYTHONPATH": os.path.dirname(__file__)}
    demo = subprocess.Popen([sys.executable, "-c", script, str(directory)], env=environment, start_new_session=True)
    deadline = time.monotonic() + 240
    # Within the sweep.
    while not list(directory.glob("results/journal/*.jsonl")):
        assert demo.poll() is None, "the demo ended before it could be killed"
        assert time.monotonic() < deadline
        time.sleep(0.01)
    os.killpg(demo.pid, signal.SIGKILL)
    demo.wait()
    assert not (directory / "results.json").exists()

    figure = pipeline.run_demo(directory, SMALL)
    assert not list(directory.rglob("*.partial"))
    results = json.loads((directory / "results.json").read_text())
    assert [model["name"] for model in results["models"]] == ["early", "late", "WiSE-FT 0.5"]
    assert all(len(model["correct"]) == SMALL.problems for model in results["models"])
    swept = read_results(directory / "results")
    (journal, *_) = read_runs(swept.journal).runs
    asked = [problem.doc for problem in sorted(journal.problems.values(), key=lambda problem: problem.doc_id)]
    held_out = [(list(p.numbers), p.target) for p in tiny_model.held_out_problems(SMALL)]
    assert [(document["numbers"], document["target"]) for document in asked] == held_out
    assert [sum(one.correct) for one in swept.outcomes[0].problems] == results["models"][0]["correct"]
    assert figure.read_bytes().startswith(b"\x89PNG")
    assert "<html" in (directory / "results" / "report.html").read_text()
    assert (directory / "best" / "model.safetensors").is_file()
    commands = (directory / "commands.sh").read_text()
    assert [line.split()[1] for line in commands.splitlines() if line.startswith("wise-merge")] == [
        "sweep",
        "best",
        "report",
    ]
    first_output = capsys.readouterr().out

    monkeypatch.setattr(subprocess, "run", lambda *_, **__: pytest.fail("a command ran again"))
    monkeypatch.setattr(tiny_model, "train", lambda *_: pytest.fail("training ran again"))
    assert pipeline.run_demo(directory, SMALL) == figure
    assert capsys.readouterr().out == first_output


def test_the_labels_of_the_figure_do_not_lie_on_each_other():
    """Late at several temperatures is nearly one place; so are early and an average near to it."""
    models = [
        *COMES_OUT,
        sampled("late T=1.3", [4] * 49 + [1] * 151, 1.0, 1.3),
        sampled("late T=1.6", [4] * 48 + [1] * 152, 1.0, 1.6),
        sampled("WiSE-FT 0.3", [1] * 198 + [2] * 2, 0.3),
        sampled("WiSE-FT 0.7", [2] * 175 + [0] * 25, 0.7),
    ]
    gathered = {"models": [dataclasses.asdict(model) for model in models], "verdict": judge(models)}
    drawn = figure.picture(gathered)
    boxes = boxes_of(drawn, drawn.axes[1])
    named = {text for text, _ in boxes}
    assert {"early", "late", "T=0.7", "T=1.3", "T=1.6"} < named
    assert len(named & {rf"$\alpha$={alpha}" for alpha in (0.3, 0.5, 0.7)}) == 3
    assert overlapping(boxes) == []
