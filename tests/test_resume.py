"""Evaluations that are killed, resumed or dealt to several processes: the samples are those of an undisturbed one."""

import json
import os
import random
import signal
import subprocess
import sys
import time

import pytest
from support import forked

PROBLEMS, REPEATS = 12, 16


def sample(network, tokenizer, journal, answers=None):
    """Sample 12 problems, 16 times each, as lm-eval would; what comes out goes to the file `answers`."""
    from lm_eval.api.instance import Instance

    from wise_merge.sampling.hf import HFPassK

    model = HFPassK(network, tokenizer=tokenizer, batch_size=8, journal=journal, seed=3)
    settings = {"do_sample": True, "temperature": 1.0, "top_k": 0, "until": ["7"], "max_gen_toks": 48}
    requests = [
        Instance("generate_until", {"question": n}, (f"{n} + {n} =" * (n % 3 + 1), settings), 0, ("sum", n, REPEATS))
        for n in range(PROBLEMS)
    ]
    completions = model.generate_until([one for one in requests for _ in range(REPEATS)], disable_tqdm=True)
    if answers:
        answers.write_text(json.dumps([[text, text.finish_reason, text.tokens, text.logprob] for text in completions]))


def samples_in(journal):
    """Return the (problem, index) of every whole sample line, in the order of the files."""
    found = []
    for path in sorted(journal.glob("*.jsonl")):
        for line in path.read_bytes().splitlines():
            try:
                row = json.loads(line)
            except ValueError:
                continue
            if "index" in row:
                found.append((row["problem"], row["index"]))
    return found


def experiment(checkpoint, folder):
    """Sample undisturbed, then with twenty kills, each time in a child process that has all it needs at once."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    import wise_merge.sampling.hf  # noqa: F401

    # A process of several threads cannot be forked, and on a tiny model they are slower.
    torch.set_num_threads(1)
    model = AutoModelForCausalLM.from_pretrained(checkpoint, dtype="float64")
    tokenizer = AutoTokenizer.from_pretrained(checkpoint)

    def start(*arguments):
        child = os.fork()
        if child == 0:
            sample(model, tokenizer, *arguments)
            os._exit(0)
        return child

    def finish(*arguments):
        assert os.waitpid(start(*arguments), 0)[1] == 0

    started = time.monotonic()
    finish(None, folder / "undisturbed.json")
    duration = time.monotonic() - started
    journal, chance, kills, halfway = folder / "journal0", random.Random(4), 0, 0
    while kills < 20:
        before = len(samples_in(journal))
        child, started = start(journal), time.monotonic()
        moment = started + duration * chance.uniform(0, 1)
        while not (ended := os.waitpid(child, os.WNOHANG)[0]) and time.monotonic() < moment:
            time.sleep(0.001)
        if ended and not before:
            # Nothing else runs beside it now.
            duration = time.monotonic() - started
        elif not ended:
            os.kill(child, signal.SIGKILL)
            if os.WIFSIGNALED(os.waitpid(child, 0)[1]):
                kills += 1
                halfway += before < len(samples_in(journal)) < PROBLEMS * REPEATS
        if len(samples_in(journal)) == PROBLEMS * REPEATS:
            # From the beginning again, in another folder.
            journal = folder / f"journal{len(list(folder.glob('journal*')))}"
    finish(journal, folder / "resumed.json")
    print(halfway)


@pytest.mark.slow
def test_killed_twenty_times_the_samples_are_those_of_an_undisturbed_run(tiny_run, tmp_path):
    """SIGKILL at 20 random moments; at the end no sample is missing, different or drawn twice."""
    code = "import sys, pathlib, test_resume; test_resume.experiment(*map(pathlib.Path, sys.argv[1:]))"
    command = [sys.executable, "-c", code, tiny_run / "checkpoint-1", tmp_path]
    done = subprocess.run(command, cwd=os.path.dirname(__file__), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    # Most of them came between the first sample and the last one.
    assert int(done.stdout) >= 10
    assert (tmp_path / "resumed.json").read_text() == (tmp_path / "undisturbed.json").read_text()
    for folder in tmp_path.glob("journal*"):
        samples = samples_in(folder)
        assert len(samples) == len(set(samples)) == PROBLEMS * REPEATS


@pytest.fixture
def lm_eval(tiny_run, tmp_path):
    """Starts `lm_eval --model hf-passk` with a journal in `journal`; its results go to a folder of the given name."""

    def start(output, *arguments, launcher=(), journal="journal", problems=7):
        return forked.start(
            [
                *(sys.executable, *launcher, "-m", "lm_eval", "--model", "hf-passk", "--device", "cpu"),
                *("--model_args", f"pretrained={tiny_run / 'checkpoint-1'},dtype=float64,journal={journal}"),
                *("--tasks", "countdown_passk", "--output_path", output, "--log_samples", "--batch_size", "8"),
                *("--metadata", json.dumps({"repeats": 4, "problems": problems, "largest": 4})),
                *("--gen_kwargs", "max_gen_toks=16", *arguments),
            ],
            cwd=tmp_path,
            env={**os.environ, "ACCELERATE_USE_CPU": "true"},
            stderr=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )

    return start


def outcome(process):
    out, error = process.communicate()
    assert process.returncode == 0, error
    return out, error


def rows_of(folder, output):
    (path,) = (folder / output).glob("*/samples_countdown_passk_*.jsonl")
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    return {row["doc_id"]: row for row in rows}


@pytest.mark.slow
def test_two_ranks_draw_the_samples_of_one_process(lm_eval, tmp_path):
    """Seven problems on two processes: one rank is padded, and sample by sample nothing differs."""
    # What `accelerate launch` does for several GPUs.
    launcher = ("-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2")
    two = lm_eval("two", launcher=launcher)
    outcome(two)
    outcome(lm_eval("one", journal="another"))
    of_two, of_one = rows_of(tmp_path, "two"), rows_of(tmp_path, "one")
    assert sorted(of_two) == sorted(of_one) == list(range(7))
    for doc_id, row in of_one.items():
        # The padded problem shows its samples twice.
        assert of_two[doc_id]["resps"][0][:4] == row["resps"][0]
        assert len(set(row["resps"][0])) == 4
        assert of_two[doc_id]["curve"] == row["curve"]
    assert sorted(len(row["resps"][0]) for row in of_two.values()) == [4] * 6 + [8]
    # It reaches no figure.
    (path,) = (tmp_path / "two").glob("*/results_*.json")
    scores = json.loads(path.read_text())["results"]["countdown_passk"]
    assert (scores["audit,samples"]["n"], scores["audit,samples"]["padded"]) == (4, 1)
    assert (scores["curve,samples"]["n"], scores["curve,samples"]["problems"]) == (4, 7)
    assert scores["pass@4,samples"] == sum(any(row["curve"]["correct"]) for row in of_one.values()) / 7
    # Both ranks wrote to the journal; a single process finds all of it.
    assert len(samples_in(tmp_path / "journal")) == 28
    assert len(list((tmp_path / "journal").glob("*.jsonl"))) == 2
    outcome(lm_eval("resumed"))
    assert len(samples_in(tmp_path / "journal")) == 28
    assert {key: row["resps"] for key, row in rows_of(tmp_path, "resumed").items()} == {
        key: row["resps"] for key, row in of_one.items()
    }


def test_a_killed_evaluation_goes_on_where_it_stopped(lm_eval, tmp_path):
    """From the command line: SIGKILL while it samples, the same command again, the results of an undisturbed one."""
    journal = tmp_path / "journal"
    killed = lm_eval("killed", problems=60)
    while not samples_in(journal):
        assert killed.poll() is None, killed.communicate()[1]
        time.sleep(0.01)
    killed.kill()
    killed.communicate()
    before = samples_in(journal)
    assert len(before) < 240
    _, error = outcome(lm_eval("resumed", problems=60))
    assert f"{len(before)} samples of countdown_passk found" in error
    after = samples_in(journal)
    assert after[: len(before)] == before
    assert len(after) == len(set(after)) == 240
    outcome(lm_eval("undisturbed", journal="another", problems=60))
    rows, expected = rows_of(tmp_path, "resumed"), rows_of(tmp_path, "undisturbed")
    assert {key: (row["resps"], row["curve"]) for key, row in rows.items()} == {
        key: (row["resps"], row["curve"]) for key, row in expected.items()
    }
