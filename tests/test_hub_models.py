"""Checkpoints of the Hub: fetched where it answers, else from its cache with a line that says so, else one line."""

import json
import shutil
import socket
import threading
from contextlib import closing, contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner
from hub.server import HubServer
from huggingface_hub import HfApi, constants, try_to_load_from_cache
from support.checkpoints import make_checkpoint

from wise_merge.checkpoints import hub as models
from wise_merge.checkpoints import hub_answers
from wise_merge.checkpoints.places import folder_of
from wise_merge.cli import main
from wise_merge.errors import WiseMergeError

TOKEN = "hf_secret_of_anna"
NAMES = {"early": "anna/early", "late": "anna/late@step-90"}
RECIPE = {
    "merge_method": "wise_ft",
    "base_model": NAMES["early"],
    "models": [{"model": NAMES["late"]}],
    "parameters": {"alpha": 0.5},
}
COMMANDS = {
    "merge": ["merge", "wise.yml", "out"],
    "merge --check": ["merge", "wise.yml", "out", "--check"],
    "merge by mergekit": ["merge", "union.yml", "out"],
    "merge of slices": ["merge", "slices.yml", "out"],
    "sweep": [
        *("sweep", "--early", NAMES["early"], "--late", NAMES["late"], "--alphas", "0.5", "--samples", "1"),
        *("--tasks", "countdown_passk", "--limit", "1", "--gen_kwargs", "max_gen_toks=2", "--device", "cpu"),
    ],
    "sweep --check": [
        *("sweep", "--early", NAMES["early"], "--late", NAMES["late"], "--alphas", "0.5", "--samples", "1"),
        *("--tasks", "countdown_passk", "--check"),
    ],
    "fit temperature": ["fit", "temperature", NAMES["early"], NAMES["late"], "--data", "data.jsonl", "--device", "cpu"],
}


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """A Hub with both checkpoints, and a cache to which they have been fetched."""
    folder = tmp_path_factory.mktemp("world")
    with pytest.MonkeyPatch.context() as patch, HubServer(user="anna", token=TOKEN) as hub:
        patch.setattr(constants, "HF_HUB_OFFLINE", False)
        patch.setattr(constants, "HF_HUB_DISABLE_XET", True)
        api = HfApi(endpoint=hub.endpoint, token=TOKEN)
        for seed, (role, name) in enumerate(NAMES.items(), start=1):
            repository, _, branch = name.partition("@")
            api.create_repo(repository)
            if branch:
                api.create_branch(repository, branch=branch)
            make_checkpoint(folder / role, seed=seed)
            (folder / role / "README.md").write_text(f"---\nlicense: mit\nlanguage: de\n---\n# {role}\n")
            api.upload_folder(repo_id=repository, folder_path=folder / role, revision=branch or None)
            api.snapshot_download(repository, revision=branch or None, cache_dir=folder / "cache")
        hub.requests.clear()
        yield folder, hub


@pytest.fixture
def place(world, tmp_path, monkeypatch):
    """A folder from which commands are given, with a cache of its own; its Hub answers until a test says otherwise."""
    folder, hub = world
    hub.requests.clear()
    shutil.copytree(folder / "cache", tmp_path / "cache", symlinks=True)
    monkeypatch.chdir(tmp_path)
    for key, value in {
        "HF_HUB_OFFLINE": False,
        "HF_HUB_DISABLE_XET": True,
        "HF_HUB_CACHE": str(tmp_path / "cache"),
        "ENDPOINT": hub.endpoint,
        "HUGGINGFACE_CO_URL_TEMPLATE": hub.endpoint + "/{repo_id}/resolve/{revision}/{filename}",
    }.items():
        monkeypatch.setattr(constants, key, value)
    monkeypatch.setattr(hub_answers, "_silence", None)
    monkeypatch.setattr(models, "_IF_CACHED", 0.5)
    monkeypatch.setattr(models, "_ELSE", 0.5)
    slices = [{"sources": [{"model": name, "layer_range": [0, 2]} for name in NAMES.values()]}]
    for name, changes in {
        "wise": {},
        "union": {"tokenizer": {"source": "union"}},
        "slices": {"slices": slices, "models": None},
    }.items():
        recipe = {key: value for key, value in {**RECIPE, **changes}.items() if value is not None}
        (tmp_path / f"{name}.yml").write_text(yaml.safe_dump(recipe))
    (tmp_path / "data.jsonl").write_text(json.dumps({"prompt": "1+1=", "completion": "2"}) + "\n")
    yield tmp_path
    hub.heal()


class _Page(BaseHTTPRequestHandler):
    """What stands between a machine and the net until somebody logs in."""

    def do_GET(self):
        self.server.asked += 1
        self.send_response(200)
        self.send_header("Content-Length", "6")
        self.end_headers()
        self.wfile.write(b"<html>")

    def log_message(self, *_):
        """Nothing."""


@contextmanager
def silence(kind, monkeypatch):
    """A Hub that does not answer, in one of the ways of networks; yields words of the reason that is to be given."""
    if kind == "offline":
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
        yield "HF_HUB_OFFLINE=1 is set"
    elif kind == "no such host":
        monkeypatch.setattr(constants, "ENDPOINT", "https://hub.invalid")
        yield "https://hub.invalid cannot be reached ("
    elif kind == "page":
        with HTTPServer(("127.0.0.1", 0), _Page) as server:
            server.asked = 0
            threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
            monkeypatch.setattr(constants, "ENDPOINT", f"http://127.0.0.1:{server.server_port}")
            yield "cannot be reached ("
            server.shutdown()
            assert server.asked == 1
    else:
        with closing(socket.socket()) as server:
            server.bind(("127.0.0.1", 0))
            if kind == "no answer":
                server.listen()
            monkeypatch.setattr(constants, "ENDPOINT", f"http://127.0.0.1:{server.getsockname()[1]}")
            yield {"refused": "Connection refused", "no answer": "timed out"}[kind]


def succeeded(done):
    """Whether a command came to its end, which for the temperatures of random models is to find none."""
    return done.exit_code == 0 or "which no calibration mends" in done.stderr


SILENCES = ["refused", "no such host", "no answer", "page", "offline"]
#: Each way with one command, and each command in one way.
CASES = [(kind, "merge") for kind in SILENCES] + [("refused", command) for command in COMMANDS if command != "merge"]


@pytest.mark.parametrize(("kind", "command"), CASES)
def test_without_an_answer_the_cache_is_used_and_a_line_says_so(kind, command, place, monkeypatch):
    """One line for each checkpoint, with its commit and the reason; the Hub is asked once, and nothing else is."""
    with silence(kind, monkeypatch) as reason:
        done = CliRunner().invoke(main, COMMANDS[command], catch_exceptions=False)
    assert succeeded(done), done.output
    lines = [line for line in done.stderr.splitlines() if "Hub's cache" in line]
    assert len(lines) == 2, done.stderr
    for line, (role, name) in zip(lines, NAMES.items(), strict=True):
        assert line.startswith(f"Warning: the {role} checkpoint {name} is taken from the Hub's cache, commit ")
        assert reason in line
        assert ("HF_HUB_OFFLINE=1 spares the question" in line) == (kind != "offline")


@pytest.mark.parametrize(("kind", "command"), CASES)
def test_what_is_in_no_cache_either_is_one_line(kind, command, place, monkeypatch):
    """It names the model, the reason, and what to do with HF_HUB_OFFLINE."""
    shutil.rmtree(place / "cache" / "models--anna--late")
    with silence(kind, monkeypatch) as reason:
        done = CliRunner().invoke(main, COMMANDS[command], catch_exceptions=False)
    assert done.exit_code == 1
    (line,) = [line for line in done.stderr.splitlines() if line.startswith("Error: ")]
    assert line.startswith("Error: the late checkpoint anna/late@step-90 is neither a directory here nor in the Hub's")
    assert reason in line
    assert "HF_HUB_OFFLINE" in line
    assert "`hf download anna/late --revision step-90`" in line
    assert not (place / "out").exists()


@pytest.mark.parametrize("command", [name for name in COMMANDS if "sweep" not in name])
def test_a_hub_that_answers_is_asked_and_what_is_new_is_fetched(command, place, world):
    """Nothing is said of the cache; a commit of since then is what counts, and its tokenizer comes with it."""
    api = HfApi(endpoint=world[1].endpoint, token=TOKEN)
    before = folder_of("late", NAMES["late"], pytest.fail)
    api.upload_file(
        path_or_fileobj=command.encode(), path_in_repo="merges.txt", repo_id="anna/late", revision="step-90"
    )
    done = CliRunner().invoke(main, COMMANDS[command], catch_exceptions=False)
    assert succeeded(done), done.output
    assert "cache" not in done.stderr
    after = folder_of("late", NAMES["late"], pytest.fail)
    assert after != before
    assert (after / "merges.txt").read_text() == command


def test_nothing_is_fetched_twice(place, world):
    """Of a snapshot that is whole, one question is all that is sent."""
    folder_of("early", NAMES["early"], pytest.fail)
    world[1].requests.clear()
    folder_of("early", NAMES["early"], pytest.fail)
    assert [request.path for request in world[1].requests] == ["/api/models/anna/early"]


@pytest.mark.parametrize(
    ("name", "fault", "words"),
    [
        ("anna/ealry", {}, "neither a directory here nor a model on the Hub (the Hub shows no anna/ealry"),
        ("anna/early@step-7", {}, "(the Hub has anna/early, but no revision step-7)"),
        ("a/b@../x", {}, "neither a directory here nor a model on the Hub"),
        ("anna/mo del", {}, "neither a directory here nor a model on the Hub"),
        ("a/b/c", {}, "(the name has the form of a path, and nothing is there)"),
        ("anna/new", {"status": 403, "headers": {"X-Error-Code": "GatedRepo"}}, "anna/new is gated: ask for access"),
        ("anna/new", {"status": 401}, "the Hub does not take this token (401"),
        ("anna/new", {"status": 429}, "the Hub has trouble of its own (429"),
        ("anna/new", {"status": 503}, "the Hub has trouble of its own (503"),
    ],
)
def test_what_the_hub_refuses_is_one_line(name, fault, words, place, world):
    """A slip, a gated model, a wrong token, a Hub in trouble: each with what to do, after one question."""
    if fault:
        world[1].fail("GET /api/models/anna/new", times=None, **fault)
    with pytest.raises(WiseMergeError) as refused:
        folder_of("late", name, pytest.fail)
    assert words in str(refused.value)
    assert str(refused.value).startswith(f"the late checkpoint {name} ")
    assert "\n" not in str(refused.value)
    assert len(world[1].requests) <= 1


@pytest.mark.parametrize("status", [401, 403, 404, 429, 500])
def test_what_the_hub_refuses_now_and_the_cache_has_is_used(status, place, world):
    """With a line that says why."""
    world[1].fail("GET /api/models/anna/early", status=status, times=None)
    said = []
    assert folder_of("early", "anna/early", said.append).is_relative_to(place / "cache")
    (line,) = said
    assert f"({status}" in line or "the Hub shows no anna/early" in line


def test_a_gated_model_that_shows_its_files_and_gives_none(place, world):
    """The Hub answers the question, and refuses the files."""
    shutil.rmtree(place / "cache" / "models--anna--early")
    world[1].fail("(GET|HEAD) /anna/early/resolve", status=403, times=None, headers={"X-Error-Code": "GatedRepo"})
    with pytest.raises(WiseMergeError, match="checkpoint anna/early cannot be fetched: anna/early is gated: ask for"):
        folder_of("early", "anna/early", pytest.fail)


def test_a_connection_that_breaks_while_files_are_fetched(place, world):
    """One line, and the same again goes on."""
    shutil.rmtree(place / "cache" / "models--anna--early")
    world[1].cut("GET /anna/early/resolve.*safetensors", after_bytes=1000, times=None)
    with pytest.raises(WiseMergeError, match="run the command again: it goes on where it was") as broken:
        folder_of("early", "anna/early", pytest.fail)
    assert "\n" not in str(broken.value)
    world[1].heal()
    assert (folder_of("early", "anna/early", pytest.fail) / "model.safetensors").is_file()


def cached(role):
    """The folder of the cache with a checkpoint."""
    repository, _, branch = NAMES[role].partition("@")
    return Path(try_to_load_from_cache(repository, "config.json", revision=branch or None)).parent


@pytest.mark.parametrize("lacks", ["model.safetensors", "config.json", "shard", "link", "tokenizer.json"])
def test_a_cache_with_a_part_of_the_model(lacks, place, world, monkeypatch):
    """Without config or weights it is refused; of a tokenizer that is not there the line tells; online it is mended."""
    folder = cached("early")
    if lacks == "shard":
        index = {"weight_map": {"a": "model-00001-of-00002.safetensors", "b": "model-00002-of-00002.safetensors"}}
        (folder / "model.safetensors").rename(folder / "model-00001-of-00002.safetensors")
        (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    elif lacks == "link":
        (folder / "model.safetensors").resolve().unlink()
    else:
        (folder / lacks).unlink()
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    said = []
    if lacks == "tokenizer.json":
        assert folder_of("early", "anna/early", said.append) == folder
        assert said[0].endswith("; tokenizer.json of it is not there")
    else:
        with pytest.raises(WiseMergeError) as refused:
            folder_of("early", "anna/early", said.append)
        name = {"shard": "model-00002-of-00002.safetensors", "link": "model.safetensors"}.get(lacks, lacks)
        assert (name in str(refused.value)) == (lacks != "config.json")
        assert "HF_HUB_OFFLINE=1 is set" in str(refused.value)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    fetched = folder_of("early", "anna/early", said.append)
    assert {"config.json", "model.safetensors", "tokenizer.json"} <= {path.name for path in fetched.iterdir()}
    assert (fetched / "model.safetensors").exists()


@pytest.mark.parametrize("kind", ["refused", "offline"])
def test_cards_of_the_parents_come_from_the_cache_or_not_at_all(kind, place, world, monkeypatch):
    """`wise-merge card` and `push --dry-run` ask once, and say where a licence comes from, or why none is known."""
    assert CliRunner().invoke(main, COMMANDS["merge"]).exit_code == 0
    (cached("late") / "README.md").unlink(missing_ok=True)
    for command in (["card", "out"], ["push", "out", "anna/model", "--dry-run"]):
        monkeypatch.setattr(hub_answers, "_silence", None)
        with silence(kind, monkeypatch) as reason:
            done = CliRunner().invoke(main, command, catch_exceptions=False)
        assert done.exit_code == 0, done.output
        early, late, licence = (line for line in done.stderr.splitlines() if line.startswith("warning: "))
        assert early.startswith("warning: early: the card of anna/early is taken from the Hub's cache, as ")
        assert late.startswith("warning: late: anna/late@step-90 has no card that could be read (")
        assert reason in early
        assert reason in late
        assert licence.startswith("warning: the licence, mit, is that of early")
        (place / "out/README.md").unlink(missing_ok=True)
