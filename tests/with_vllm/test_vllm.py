"""`--model vllm-passk` on the real engine, on a processor: `make test-vllm`.

Most tests share one engine within this process; the command line, data parallelism and the server have their own.
"""

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest

# Before vLLM is imported: the engine in this process, nothing compiled, nothing asked of the network.
os.environ.setdefault("VLLM_ENABLE_V1_MULTIPROCESSING", "0")
os.environ.setdefault("VLLM_LOGGING_LEVEL", "ERROR")
os.environ.setdefault("VLLM_NO_USAGE_STATS", "1")
os.environ.setdefault("TORCH_COMPILE_DISABLE", "1")

pytest.importorskip("vllm", reason="needs vLLM: `make test-vllm` runs this file in an environment that has it")

import torch
from lm_eval import simple_evaluate
from lm_eval.api.instance import Instance
from lm_eval.models.vllm_causallms import VLLM
from lm_eval.tasks import TaskManager
from support.checkpoints import make_checkpoint, tiny_llama
from vllm import SamplingParams, TokensPrompt

from wise_merge.hosts import versions
from wise_merge.hosts.lm_eval.messages import TaskInputError
from wise_merge.hosts.part import Part
from wise_merge.journal import Journal, problem_id
from wise_merge.sampling import seeds
from wise_merge.sampling import vllm as passk
from wise_merge.tasks import tasks_directory

ENGINE = {"dtype": "float32", "enforce_eager": True, "kv_cache_memory_bytes": 64 << 20, "max_model_len": 6144}
SETTINGS = {"do_sample": True, "temperature": 1.0, "top_p": 1.0, "top_k": 0, "until": ["zz", "q"], "max_gen_toks": 24}
PROMPTS = ["Numbers: 1 2 3", "Target: 7", "a", "a much longer prompt than the others" * 3]


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    """A tiny Llama with heads as wide as vLLM's kernels for processors want them."""
    config = tiny_llama(hidden_size=64, intermediate_size=128)
    return make_checkpoint(tmp_path_factory.mktemp("vllm") / "model", seed=1, config=config)


@pytest.fixture(scope="module")
def engine(checkpoint):
    """The model that all tests within this process share, made where torch's seed is 77."""
    torch.manual_seed(77)
    state = torch.get_rng_state()
    model = passk.VLLMPassK(pretrained=str(checkpoint), **ENGINE)
    model.left_alone = torch.initial_seed() == 77 and torch.equal(state, torch.get_rng_state())
    return model


@pytest.fixture
def model(engine):
    """That model, with no journal, in a run of seed 77."""
    engine._journal = None
    torch.manual_seed(77)
    return engine


def requests(prompts=PROMPTS, k=4, task="task", **changes):
    """What lm-eval sends: k references to one request per prompt."""
    sent = []
    for prompt in prompts:
        request = Instance("generate_until", {}, (prompt, {**SETTINGS, **changes}), 0)
        request.task_name, request.repeats = task, k
        sent += [request] * k
    return sent


def facts(completions):
    return [(str(one), one.finish_reason, one.tokens, one.logprob, one.seed) for one in completions]


def draw(model, *args, **kwargs):
    return model.generate_until(requests(*args, **kwargs), disable_tqdm=True)


def test_samples_are_those_of_one_request_for_all_of_them(model):
    """Text, tokens and end are to the letter those of `LLM.generate` with n = K and the seed of the problem."""
    k = 16
    samples = draw(model, k=k)
    raw = []
    for prompt in PROMPTS:
        seed = seeds.problem_seed(77, "task", prompt)
        params = SamplingParams(
            **{"n": k, "seed": seed, "max_tokens": 24, "temperature": 1.0, "stop": ["zz", "q", "<eos>"]},
            **{"skip_special_tokens": False, "spaces_between_special_tokens": False},
        )
        tokens = TokensPrompt(prompt_token_ids=model.tok_encode(prompt))
        (output,) = model.model.generate([tokens], params, use_tqdm=False)
        raw += [(one.text, one.finish_reason, len(one.token_ids), seed + one.index) for one in output.outputs]
    assert [(text, reason, tokens, seed) for text, reason, tokens, _, seed in facts(samples)] == raw
    assert len(set(samples[:k])) == k
    assert {one.finish_reason for one in samples} == {"stop", "length"}


def test_log_probabilities_are_those_of_the_model_in_transformers(model, checkpoint):
    """Their mean over the tokens generated, temperature and top-k left out; the tolerance is float32's."""
    from transformers import AutoModelForCausalLM

    reference = AutoModelForCausalLM.from_pretrained(checkpoint)
    samples = draw(model, k=8, until=["\t"], temperature=1.3, top_k=20)
    for number, sample in enumerate(samples):
        prompt = model.tok_encode(PROMPTS[number // 8])
        tokens = model.tok_encode(str(sample)) + ([1] if sample.finish_reason == "stop" else [])
        assert len(tokens) == sample.tokens
        with torch.no_grad():
            logits = reference(torch.tensor([prompt + tokens])).logits[0, len(prompt) - 1 : -1]
        each = logits.log_softmax(-1)[torch.arange(len(tokens)), tokens]
        assert sample.logprob == pytest.approx(each.mean().item(), abs=1e-4)


def test_log_probabilities_can_be_left_out(model, monkeypatch):
    """`logprobs=false`: the same samples without them."""
    with_them = draw(model)
    monkeypatch.setattr(model, "_logprobs", False)
    without = draw(model)
    assert without == with_them
    assert {one.logprob for one in without} == {None}


@pytest.mark.hosts_changed
def test_without_the_insides_of_vllm_the_parent_draws_the_same_samples(model, monkeypatch, caplog):
    """Each has its own seed there, too, but no log-probability; one line names version and part."""
    expected = draw(model)
    gone = "vllm.v1.engine.llm_engine:LLMEngine.step"
    monkeypatch.setattr(model, "_left_to_parent", None)
    monkeypatch.setattr(model, "_hosts_fit", False)
    monkeypatch.setattr(Part, "fault", lambda part: f"{gone} is not there" if part.place == gone else None)
    samples = draw(model)
    assert [(str(one), one.seed) for one in samples] == [(str(one), one.seed) for one in expected]
    assert {one.logprob for one in samples} == {None}
    (line,) = [record.getMessage() for record in caplog.records if "not as expected inside" in record.getMessage()]
    assert gone in line
    assert versions.described("vllm") in line


def test_the_caller_keeps_its_random_numbers(engine):
    """An engine within the process seeds torch; whose seed --seed is known by, and whose state, stay."""
    assert engine.left_alone


def test_a_sample_is_delivered_when_it_is_finished(model):
    """And not when the last of its problem is: at the first delivery the engine has others to finish."""
    unfinished = []

    def deliver(*_):
        unfinished.append(model.model.llm_engine.get_num_unfinished_requests())

    pending = passk.Pending("task", "prompt", dict(SETTINGS), 5, tuple(range(16)))
    model._draw([pending], deliver)
    assert len(unfinished) == 16
    assert unfinished[0] > 1
    assert unfinished == sorted(unfinished, reverse=True)


def test_an_interrupted_run_goes_on_at_the_next_seed(model, tmp_path, monkeypatch):
    """What was finished is found, the rest drawn, and all is as if nothing had happened; the engine stays usable."""
    undisturbed = draw(model)
    model._journal = tmp_path
    append, kept = Journal.append, []

    def fail_later(self, sample):
        if len(kept) == 5:
            raise OSError(28, "No space left on device")
        append(self, sample)
        kept.append((sample.problem, sample.index))

    monkeypatch.setattr(Journal, "append", fail_later)
    with pytest.raises(OSError, match="space"):
        draw(model)
    assert not model.model.llm_engine.has_unfinished_requests()

    drawn = []
    monkeypatch.setattr(
        Journal, "append", lambda self, one: (append(self, one), drawn.append((one.problem, one.index)))
    )
    assert facts(draw(model)) == facts(undisturbed)
    assert not set(drawn) & set(kept)
    every = {(problem_id(prompt), index) for prompt in PROMPTS for index in range(4)}
    assert set(drawn) | set(kept) == every
    assert len(drawn) + len(kept) == len(every)


def test_raising_k_draws_the_difference(model, tmp_path, monkeypatch):
    """From 4 to 8: four more of each, and all eight are those of a run that asked for eight."""
    at_once = draw(model, k=8)
    model._journal = tmp_path
    draw(model, k=4)
    asked = []
    original = model._draw
    monkeypatch.setattr(model, "_draw", lambda pending, deliver: (asked.extend(pending), original(pending, deliver)))
    assert facts(draw(model, k=8)) == facts(at_once)
    assert [one.missing for one in asked] == [(4, 5, 6, 7)] * len(PROMPTS)


def test_gaps_are_asked_for_in_stretches(monkeypatch):
    """One request per stretch of consecutive indices, and none larger than vLLM takes."""
    assert list(passk._runs((0, 1, 2, 5, 6, 9))) == [(0, 3), (5, 2), (9, 1)]
    monkeypatch.setattr(passk, "LARGEST_REQUEST", 2)
    assert list(passk._runs((0, 1, 2, 5))) == [(0, 2), (2, 1), (5, 1)]


def test_how_many_run_at_once_changes_nothing(model, monkeypatch):
    """The window in which samples are handed to the engine is about memory alone."""
    whole = draw(model, k=8)
    monkeypatch.setattr(passk.vllm_engine, "_window", lambda config: 3)
    few = draw(model, k=8)
    assert [(str(one), one.seed) for one in few] == [(str(one), one.seed) for one in whole]


def test_one_engine_in_several_evaluations(model):
    """Same --seed, same samples; another --seed, others; lm-eval's own class repeats itself silently or not at all."""
    manager = TaskManager(
        include_path=tasks_directory(), include_defaults=False, metadata={"problems": 3, "repeats": 4}
    )

    def evaluate(**seed):
        results = simple_evaluate(
            model, tasks=["countdown_passk"], task_manager=manager, gen_kwargs={"max_gen_toks": 16}, **seed
        )
        return [sample["resps"] for sample in results["samples"]["countdown_passk"]]

    first, again, other = evaluate(), evaluate(), evaluate(torch_random_seed=7)
    assert first == again
    assert all(mine != theirs for mine, theirs in zip(first, other, strict=True))


def test_greedy_is_that_of_the_parent(model):
    """At temperature 0, lm-eval's `vllm` and this one give the same text; all K are that text."""
    sent = requests(k=3, do_sample=False, temperature=0.0)
    assert model.generate_until(sent, disable_tqdm=True) == VLLM.generate_until(model, sent, disable_tqdm=True)


def test_thoughts_are_set_aside_as_the_parent_does(model, monkeypatch):
    """With a think_end_token, stop strings apply to what follows it; greedy, so that both can be compared."""
    (plain,) = set(draw(model, ["What?"], k=1, do_sample=False, temperature=0.0, until=[]))
    monkeypatch.setattr(model, "think_end_token", plain[8])
    sent = requests(["What?"], k=1, do_sample=False, temperature=0.0, until=[plain[2]])
    ours = model.generate_until(sent, disable_tqdm=True)
    assert ours == VLLM.generate_until(model, sent, disable_tqdm=True)
    assert ours[0] != plain


def test_prompts_longer_than_a_batch_of_tokens(model):
    """On a processor, vLLM dies of a seed with a prompt in chunks (4096 tokens at a time), so there are none."""
    prompt = "".join(chr(33 + number % 90) for number in range(5000))
    assert len(set(draw(model, [prompt, prompt[1:], prompt[2:]]))) == 12


def test_prompts_in_chunks_are_refused_on_a_processor(checkpoint):
    """The engine would die of the first long prompt; the remedy is named."""
    with pytest.raises(TaskInputError, match="leave it out"):
        passk.VLLMPassK(pretrained=str(checkpoint), enable_chunked_prefill=True, **ENGINE)


@pytest.mark.parametrize(("name", "remedy"), [("seed", "--seed"), ("n", "repeats")])
def test_settings_that_would_repeat_samples_are_refused(model, name, remedy):
    """A seed among the generation settings would be that of every sample, and n another K."""
    with pytest.raises(TaskInputError, match=remedy):
        draw(model, **{name: 3})


def test_settings_that_vllm_refuses_are_named(model):
    """With the task, in one line."""
    with pytest.raises(TaskInputError, match=r"task: .*top_p"):
        draw(model, top_p=2.0)


def test_the_identity_tells_models_and_not_machines_apart(model, monkeypatch):
    """Another cache of keys makes another model; parallelism, memory and batches do not."""
    identity = model._identity()
    elsewhere = {"tensor_parallel_size": 2, "gpu_memory_utilization": 0.5, "max_num_seqs": 7}
    monkeypatch.setattr(model, "model_args", {**model.model_args, **elsewhere})
    assert model._identity() == identity
    monkeypatch.setattr(model, "model_args", {**model.model_args, "kv_cache_dtype": "fp8"})
    assert model._identity() != identity


def test_a_checkpoint_is_known_by_its_content(checkpoint, tmp_path):
    """Folders and files; what cannot be found has no journal, since it could be mixed up with others."""
    other = make_checkpoint(tmp_path / "other", seed=2, config=tiny_llama(hidden_size=64, intermediate_size=128))
    copy = shutil.copytree(checkpoint, tmp_path / "copy")
    assert passk._digest(str(checkpoint), None) == passk._digest(str(copy), None) != passk._digest(str(other), None)
    model = tmp_path / "model.gguf"
    model.write_bytes(b"one")
    digest = passk._digest(str(model), None)
    model.write_bytes(b"two")
    assert passk._digest(str(model), None) != digest
    with pytest.raises(TaskInputError, match="cannot be told from others"):
        passk._digest("nobody/no-such-model", "main")


def test_what_is_written_to_a_checkpoint_is_noticed(checkpoint, tmp_path):
    """By which a merge that is loaded while the next one takes its place is refused."""
    copy = shutil.copytree(checkpoint, tmp_path / "copy")
    before = passk._state(str(copy))
    assert before == passk._state(str(copy)) != []
    (copy / "config.json").write_text((copy / "config.json").read_text() + " ")
    assert passk._state(str(copy)) != before
    assert passk._state("org/model") == []


# The rest runs in processes of its own.


def command(checkpoint, journal=None, **changes):
    arguments = {"pretrained": checkpoint, **ENGINE, **changes, **({"journal": journal} if journal else {})}
    return [
        *(sys.executable, "-m", "lm_eval", "--model", "vllm-passk", "--tasks", "countdown_passk", "--seed", "9"),
        *("--model_args", ",".join(f"{name}={value}" for name, value in arguments.items())),
        *("--metadata", json.dumps({"problems": 40, "repeats": 16}), "--gen_kwargs", "max_gen_toks=100,until=zz"),
        *("--output_path", "results", "--log_samples"),
    ]


def samples_of(folder):
    (path,) = folder.glob("results/*/samples_countdown_passk_*.jsonl")
    found = [json.loads(line) for line in path.read_text().splitlines()]
    return [one["resps"][0] for one in sorted(found, key=lambda one: one["doc_id"])]


def test_the_command_line_goes_on_where_its_engine_was_killed(checkpoint, model, tmp_path):
    """The engine's process is killed while it samples: one line, and the same command goes on; nothing is lost."""
    journal = tmp_path / "journal"
    environment = {**os.environ, "VLLM_ENABLE_V1_MULTIPROCESSING": "1"}
    run = subprocess.Popen(
        command(checkpoint, journal), cwd=tmp_path, env=environment, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL
    )
    while run.poll() is None and sum(map(count_samples, journal.glob("*.jsonl"))) < 20:
        time.sleep(0.02)
    kill_engines(run.pid)
    errors = run.communicate(timeout=120)[1].decode()
    assert run.returncode == 1, errors
    # The processes that vLLM leaves to themselves may have a last word.
    (line,) = [line for line in errors.splitlines() if "vLLM's engine died" in line]
    assert "run the same command again" in line
    kept = sum(map(count_samples, journal.glob("*.jsonl")))
    assert 20 <= kept < 640

    environment = {**os.environ, "VLLM_ENABLE_V1_MULTIPROCESSING": "0"}
    again = subprocess.run(
        command(checkpoint, journal), cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )
    assert again.returncode == 0, again.stderr
    assert f"{kept} samples of countdown_passk found" in again.stderr
    assert sum(map(count_samples, journal.glob("*.jsonl"))) == 640
    manager = TaskManager(
        include_path=tasks_directory(), include_defaults=False, metadata={"problems": 40, "repeats": 16}
    )
    undisturbed = simple_evaluate(
        model,
        tasks=["countdown_passk"],
        task_manager=manager,
        gen_kwargs={"max_gen_toks": 100, "until": "zz"},
        torch_random_seed=9,
    )["samples"]["countdown_passk"]
    drawn = [one["resps"][0] for one in sorted(undisturbed, key=lambda one: one["doc_id"])]
    # Another batch, other rounding: at most one in a thousand may differ.
    pairs = [
        pair
        for mine, theirs in zip(samples_of(tmp_path), drawn, strict=True)
        for pair in zip(mine, theirs, strict=True)
    ]
    assert len(pairs) == 640
    assert sum(mine != theirs for mine, theirs in pairs) <= 1


def count_samples(path):
    return path.read_text().count('"kind":"sample"')


def kill_engines(parent):
    """Kill the processes in which vLLM, started by this one, runs its engines."""
    for status in Path("/proc").glob("[0-9]*/status"):
        try:
            text = status.read_text()
        except OSError:
            continue
        if re.search(rf"^PPid:\s*{parent}$", text, re.MULTILINE) and re.search(r"^Name:\s*VLLM::Engine", text):
            os.kill(int(status.parent.name), signal.SIGKILL)


REPLICAS = """
import json, sys, torch
from wise_merge.sampling.vllm import VLLMPassK
from test_vllm import ENGINE, facts, draw, requests
from lm_eval.api.instance import Instance

if __name__ == "__main__":
    torch.manual_seed(77)
    model = VLLMPassK(pretrained=sys.argv[1], data_parallel_size=2, **ENGINE)
    likelihood = model.loglikelihood([Instance("loglikelihood", {}, ("Target: 7", " 1+2"), 0)])
    print("FACTS", json.dumps([facts(draw(model, k=40)), likelihood]))
"""


def test_replicas_give_the_samples_of_one(checkpoint, model, tmp_path):
    """vLLM's own data parallelism over two processes: the same samples one by one, and lm-eval's other questions."""
    (tmp_path / "replicas.py").write_text(REPLICAS)
    paths = [str(Path(__file__).parent), str(Path(__file__).parent.parent)]
    run = subprocess.run(
        [sys.executable, "replicas.py", str(checkpoint)],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    (line,) = [line for line in run.stdout.splitlines() if line.startswith("FACTS ")]
    theirs, likelihood = json.loads(line.removeprefix("FACTS "))
    ours = facts(draw(model, k=40))
    assert [one[:3] + one[4:] for one in map(tuple, theirs)] == [one[:3] + one[4:] for one in ours]
    assert [one[3] for one in theirs] == pytest.approx([one[3] for one in ours], abs=1e-4)
    expected = model.loglikelihood([Instance("loglikelihood", {}, ("Target: 7", " 1+2"), 0)])
    assert likelihood[0][0] == pytest.approx(expected[0][0], abs=1e-4)


@pytest.fixture
def server(checkpoint, tmp_path):
    """The address of `vllm serve` with the tiny model, under the name `tiny`."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    log = (tmp_path / "server.log").open("w+")
    options = [("--dtype", "float32"), ("--kv-cache-memory-bytes", str(64 << 20)), ("--max-model-len", "512")]
    run = subprocess.Popen(
        [
            *(sys.executable, "-m", "vllm.entrypoints.cli.main", "serve", str(checkpoint), "--host", "127.0.0.1"),
            *("--port", str(port), "--served-model-name", "tiny", "--enforce-eager", *(x for o in options for x in o)),
        ],
        stdout=log,
        stderr=log,
    )
    address = f"http://127.0.0.1:{port}"
    try:
        while True:
            assert run.poll() is None, Path(log.name).read_text()
            try:
                with urllib.request.urlopen(f"{address}/health", timeout=5):
                    break
            except OSError:
                time.sleep(0.5)
        yield address
    finally:
        run.terminate()
        try:
            run.wait(60)
        except subprocess.TimeoutExpired:
            run.kill()
        log.close()


def test_a_server_gives_k_different_samples(server, checkpoint, tmp_path):
    """`--model local-completions` sends one seed with every request unless told otherwise; our tasks tell it."""
    arguments = f"base_url={server}/v1/completions,model=tiny,tokenizer={checkpoint},num_concurrent=4"
    run = subprocess.run(
        [
            *(sys.executable, "-m", "lm_eval", "--model", "local-completions", "--model_args", arguments),
            *("--tasks", "countdown_passk", "--metadata", json.dumps({"problems": 3, "repeats": 6})),
            *("--gen_kwargs", "max_gen_toks=24,until=zz", "--output_path", "results", "--log_samples"),
        ],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    drawn = samples_of(tmp_path)
    assert [len(set(one)) for one in drawn] == [6, 6, 6]
