"""lm-eval's models behind an API, asked by our tasks: a server on the loopback records what it is sent."""

import itertools
import json
import random
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from lm_eval import simple_evaluate
from lm_eval.tasks import TaskManager

from wise_merge.errors import WiseMergeError
from wise_merge.results.reading.samples import read_samples
from wise_merge.tasks import tasks_directory

pytest.importorskip("tenacity", reason="lm-eval's API models need the extra lm-eval[api]")


class Server(ThreadingHTTPServer):
    """Answers like OpenAI's, Anthropic's and SGLang's servers; a request's seed decides its text, as with vLLM.

    Attributes:
        requests: the JSON of each request.
        copies: whether it has a cache, so that all answers to a prompt are one.
    """

    def __init__(self, *, copies=False):
        super().__init__(("127.0.0.1", 0), _Handler)
        self.requests, self.copies, self.numbers = [], copies, itertools.count()

    def text(self, asked):
        seed = asked.get("seed")
        if self.copies:
            return "9"
        return f"{next(self.numbers)} + 1" if seed is None else f"{random.Random(seed).randrange(99)} + 1"


class _Handler(BaseHTTPRequestHandler):
    def do_POST(self):
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.requests.append(asked)
        prompts = asked["prompt"] if isinstance(asked.get("prompt"), list) else [asked]
        texts = [self.server.text(asked) for _ in prompts]
        answer = {
            "choices": [
                {"index": i, "text": text, "message": {"content": text}, "finish_reason": "stop"}
                for i, text in enumerate(texts)
            ],
            "content": [{"type": "text", "text": texts[0]}],
            "text": texts[0],
        }
        body = json.dumps(answer).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


@pytest.fixture
def serve():
    """Starts servers and ends them."""
    running = []

    def start(**settings):
        server = Server(**settings)
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        running.append((server, thread))
        return server

    yield start
    for server, thread in running:
        server.shutdown()
        server.server_close()
        thread.join()


@pytest.fixture
def ask(two_problems):
    """Evaluates a model of lm-eval that asks a server, and returns the completions of each problem."""

    def evaluate(server, model="local-completions", *, repeats=4, gen_kwargs=None, **arguments):
        paths = {"local-completions": "v1/completions", "local-chat-completions": "v1/chat/completions"}
        url = f"http://127.0.0.1:{server.server_port}/{paths.get(model, 'generate')}"
        metadata = {"repeats": repeats, "data_file": two_problems}
        results = simple_evaluate(
            model,
            model_args={"model": "m", "base_url": url, "tokenizer_backend": None, "tokenized_requests": False}
            | {"max_retries": 1, **arguments},
            tasks=["countdown_passk"],
            task_manager=TaskManager(include_defaults=False, include_path=tasks_directory(), metadata=metadata),
            apply_chat_template="chat" in model,
            gen_kwargs=gen_kwargs,
            bootstrap_iters=0,
        )
        return [row["resps"][0] for row in results["samples"]["countdown_passk"]]

    return evaluate


@pytest.mark.parametrize("arguments", [{}, {"num_concurrent": 4}, {"batch_size": 4}], ids=str)
@pytest.mark.parametrize("model", ["local-completions", "local-chat-completions"])
def test_a_server_gives_k_samples(model, arguments, serve, ask):
    """No request has a seed, where lm-eval by itself would send 1234 with each; one by one, at once, or in batches."""
    server = serve()
    completions = ask(server, model, **arguments)
    assert [len(set(texts)) for texts in completions] == [4, 4]
    assert {asked["seed"] for asked in server.requests} == {None}
    assert {asked["temperature"] for asked in server.requests} == {1.0}


def test_a_seed_would_have_been_sent(serve, ask):
    """The negative control: asked for one completion, lm-eval sends its own seed, or that of the user."""
    server = serve()
    ask(server, repeats=1)
    ask(server, repeats=1, gen_kwargs={"seed": 5})
    assert [asked["seed"] for asked in server.requests] == [1234, 1234, 5, 5]


def test_what_the_user_says_of_seeds(serve, ask, caplog):
    """`seed=None` stays; a number is refused before any request; one among the model arguments is not sent."""
    server = serve()
    assert len(set(ask(server, gen_kwargs={"seed": None})[0])) == 4
    asked = len(server.requests)
    with pytest.raises(WiseMergeError, match="seed=5 in --gen_kwargs is refused"):
        ask(server, gen_kwargs={"seed": 5})
    assert len(server.requests) == asked
    assert "is not sent" not in caplog.text
    assert len(set(ask(server, seed=5)[0])) == 4
    assert "seed=5 of --model_args is not sent" in caplog.text


@pytest.mark.parametrize("model", ["anthropic-chat", "sglang-generate"])
def test_a_server_that_knows_no_seed_is_sent_none(model, serve, ask, monkeypatch):
    """These would refuse a request that names one."""
    monkeypatch.setenv("ANTHROPIC_API_KEY", "none")
    server = serve()
    completions = ask(server, model)
    assert [len(set(texts)) for texts in completions] == [4, 4]
    assert not any("seed" in {**asked, **asked.get("sampling_params", {})} for asked in server.requests)


def test_a_server_that_gives_copies_ends_the_run_with_the_remedy(serve, ask, tmp_path, monkeypatch, caplog):
    """What it gave is kept in a file that `wise-merge score` reads."""
    monkeypatch.chdir(tmp_path)
    with pytest.raises(
        WiseMergeError, match=r"gave 4 identical completions for each of 2 problems.*Turn off its cache"
    ):
        ask(serve(copies=True))
    (path,) = tmp_path.glob("samples_countdown_passk_*.jsonl")
    assert str(path) in caplog.text
    assert [problem.n for problem in read_samples(path).problems] == [4, 4]


def test_greedy_copies_end_no_run(serve, ask):
    """One completion per problem is no copy of anything."""
    assert ask(serve(copies=True), repeats=1, gen_kwargs={"temperature": 0}) == [["9"], ["9"]]
