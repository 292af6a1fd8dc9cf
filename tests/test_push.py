"""A merged model on the way to the Hub: what arrives there, what stays here, and what every failure leaves."""

import json
import os
import re
import shutil
import sys
import textwrap
from pathlib import Path
from types import SimpleNamespace

import matplotlib.figure
import numpy as np
import pytest
import torch
import yaml
from click.testing import CliRunner
from conftest import run_script
from hub.sent import contents as contents_of_requests
from hub.sent import leaks
from hub.server import HubServer
from hub.xet_formats import chunks_of, unpacked
from huggingface_hub import HfApi, constants
from PIL.PngImagePlugin import PngInfo
from safetensors.torch import load_file, save_file
from support import forked
from support.checkpoints import make_checkpoint

from wise_merge.cli import main

TOKEN = "hf_secret_of_anna"
SWEEP = {
    "early": "run/checkpoint-10",
    "late": "run/checkpoint-90",
    "alphas": [0.5],
    "temperatures": [0.7, 1.0],
    "tasks": ["countdown_passk"],
    "samples": 4,
    "num_fewshot": 0,
    "metadata": {"numbers": 3, "largest": 9, "problems": 8},
    "gen_kwargs": {"max_gen_toks": 8},
}
SOURCES = ("--source", "early=anna/run@step-10", "--source", "late=anna/run@step-90", "--license", "mit")


def wise_merge(*arguments, cwd, **environment):
    """Run the command in a process of its own, and return it finished."""
    return run_script("wise-merge", *arguments, cwd=cwd, timeout=300, **environment)


@pytest.fixture(scope="module")
def swept(tmp_path_factory):
    """A folder with a training run, its sweep in `grid`, and the chosen average in `out`, made by the commands."""
    folder = tmp_path_factory.mktemp("anna's machine")
    for seed, step in ((1, 10), (2, 90)):
        make_checkpoint(folder / f"run/checkpoint-{step}", seed=seed)
        (folder / f"run/checkpoint-{step}/trainer_state.json").write_text(json.dumps({"global_step": step}))
    (folder / "sweep.yml").write_text(yaml.safe_dump(SWEEP))
    for command in (
        ("sweep", "sweep.yml", "--out", "grid"),
        # Of random models none is the best; the average is what is published.
        ("merge", "wise.yml", "out"),
    ):
        (folder / "wise.yml").write_text(
            "merge_method: wise_ft\nbase_model: run/checkpoint-10\nmodels:\n- model: run/checkpoint-90\n"
            "parameters:\n  alpha: 0.5\n"
        )
        done = wise_merge(*command, cwd=folder)
        assert done.returncode == 0, done.stderr
    return folder


def with_what_stays(swept, folder):
    """Copy that folder, as tests write into it, with what training and evaluations may leave in `out`."""
    shutil.copytree(swept, folder)
    out = folder / "out"
    for name in ("optimizer.pt", "scheduler.pt", "rng_state.pth", "training_args.bin", "trainer_state.json"):
        (out / name).write_bytes(b"of the training")
    (out / "journal").mkdir()
    (out / "journal/countdown_passk-0123456789abcdef.jsonl").write_text('{"text": "a sample"}\n')
    return folder


@pytest.fixture
def place(swept, tmp_path):
    """A copy for one test."""
    return with_what_stays(swept, tmp_path / "anna's machine")


@pytest.fixture
def hub():
    with HubServer(user="anna", token=TOKEN) as hub:
        yield hub


@pytest.fixture
def push(place, hub, tmp_path):
    """Pushes `out` to anna/model, or to another repository, and returns the finished process."""

    def run(*arguments, repository="anna/model", **environment):
        environment = {**hub.environment(tmp_path / "home"), **environment}
        return wise_merge("push", "out", repository, *arguments, cwd=place, **environment)

    return run


@pytest.fixture
def refused(swept, tmp_path, monkeypatch):
    """Pushes `out` in this process and returns what `click` has of a command that must not come to sending anything.

    The client's settings are read when it is imported, so that they are set in its module; it is logged in as Anna
    unless a test says otherwise.
    """

    def run(*arguments, hub=None, cwd=swept, token=TOKEN):
        if hub is not None:
            monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
            monkeypatch.setattr(constants, "ENDPOINT", hub.endpoint)
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
        monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "no token"))
        monkeypatch.setenv("HF_TOKEN", token)
        monkeypatch.chdir(cwd)
        done = CliRunner().invoke(main, ["push", "out", *arguments])
        return SimpleNamespace(returncode=done.exit_code, stdout=done.stdout, stderr=done.stderr)

    return run


@pytest.fixture(scope="module")
def pushed(swept, tmp_path_factory):
    """One push of everything, for the tests that only look at what came of it: its hub, folder and finished process.

    The same command has been shown before by --dry-run: `dry`, with the files that were there before and after it.
    """
    place = with_what_stays(swept, tmp_path_factory.mktemp("pushed") / "anna's machine")
    config = json.loads((place / "out/config.json").read_text())
    (place / "out/config.json").write_text(json.dumps({**config, "_name_or_path": str(place / "run/checkpoint-10")}))
    with HubServer(user="anna", token=TOKEN) as hub:
        environment = hub.environment(tmp_path_factory.mktemp("home"))
        command = ("push", "out", "anna/model", "--results", str(place / "grid"), *SOURCES)
        before = contents(place)
        dry = wise_merge(*command, "--dry-run", cwd=place, **environment)
        shown = SimpleNamespace(before=before, after=contents(place), done=dry, requests=list(hub.requests))
        done = wise_merge(*command, cwd=place, **environment)
        assert done.returncode == 0, done.stderr
        yield SimpleNamespace(hub=hub, place=place, command=command, environment=environment, done=done, dry=shown)


@pytest.fixture
def api(hub, monkeypatch):
    """Anna's client for what she did before."""
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    return HfApi(endpoint=hub.endpoint, token=TOKEN)


def contents(folder):
    """Every file of a folder, with what is in it."""
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def one_line(done):
    """The one line in which a failed command says why."""
    assert done.returncode == 1, done.stderr
    assert "Traceback" not in done.stderr
    return done.stderr.strip().splitlines()[-1]


def test_a_pushed_model_loads_by_its_id_and_is_the_one_that_was_merged(pushed, tmp_path):
    """Through Xet; transformers finds weights, config and tokenizer, and answers as the folder does."""
    assert pushed.done.stdout.splitlines()[-1] == f"{pushed.hub.endpoint}/anna/model"
    code = """
        import sys, torch
        from transformers import AutoModelForCausalLM, AutoTokenizer
        for model, file in zip(sys.argv[1:3], sys.argv[3:]):
            tokens = AutoTokenizer.from_pretrained(model)("12 + 5 =", return_tensors="pt")
            torch.save(AutoModelForCausalLM.from_pretrained(model)(**tokens).logits, file)
    """
    models = ["anna/model", str(pushed.place / "out")]
    files = [str(tmp_path / "hub.pt"), str(tmp_path / "local.pt")]
    loaded = forked.run(
        [sys.executable, "-c", textwrap.dedent(code), *models, *files],
        cwd=tmp_path,
        env={**os.environ, **pushed.hub.environment(tmp_path / "another home")},
    )
    assert loaded.returncode == 0, loaded.stderr
    assert torch.equal(*map(torch.load, files))


def test_weights_are_there_before_anything_that_makes_them_a_model(pushed):
    """Whoever looks in between finds no config; then everything else comes at once."""
    last, first, _ = pushed.hub.commits("anna/model")
    assert set(first.files) == {".gitattributes", "model.safetensors"}
    assert set(last.files) - set(first.files) == {
        *("README.md", "config.json", "generation_config.json", "mergekit_config.yml", "pass_at_k.png"),
        *("tokenizer.json", "tokenizer_config.json", "wise_merge.json", "wise_merge_results.json"),
    }


def test_nothing_of_the_machine_leaves_it(pushed):
    """No optimizer, no journal, no path: neither in what arrives nor in any request."""
    hub, place = pushed.hub, pushed.place
    files = hub.files("anna/model")
    assert not [name for name in files if "optimizer" in name or "journal" in name or "train" in name]
    secrets = [str(place), "anna's machine", str(Path.home()), TOKEN, "of the training", "a sample"]
    assert not leaks(hub.requests, secrets)
    assert not [name for name, content in files.items() if any(secret.encode() in content for secret in secrets)]
    # What arrived is what was looked through: the search finds in the requests what is in each file.
    sent = [content for _, content in contents_of_requests(hub.requests)]
    for name in ("config.json", "README.md", "pass_at_k.png", "tokenizer.json", "model.safetensors"):
        assert any(files[name] in content for content in sent), name
    assert json.loads(files["config.json"])["_name_or_path"] == "checkpoint-10"
    assert "stays here: journal/, optimizer.pt" in pushed.done.stdout
    # On the machine all is as it was.
    assert json.loads((place / "out/config.json").read_text())["_name_or_path"] == str(place / "run/checkpoint-10")
    assert "run/checkpoint-10" in (place / "out/mergekit_config.yml").read_text()


def test_checkpoints_are_called_as_the_hub_knows_them(pushed):
    """In the recipe, which runs anywhere then, in the card and in the results; a later push knows them still."""
    files = pushed.hub.files("anna/model")
    recipe = yaml.safe_load(files["mergekit_config.yml"])
    assert (recipe["base_model"], recipe["models"]) == ("anna/run@step-10", [{"model": "anna/run@step-90"}])
    assert json.loads(files["wise_merge.json"])["late"]["model"] == "anna/run@step-90"
    assert json.loads(files["wise_merge_results.json"])["models"]["early"] == "anna/run@step-10"
    head = yaml.safe_load(files["README.md"].decode().split("---")[1])
    assert (head["base_model"], head["base_model_relation"]) == (["anna/run"], "merge")
    again = wise_merge("push", "out", "anna/again", cwd=pushed.place, **pushed.environment)
    assert again.returncode == 0, again.stderr
    assert "warning" not in again.stderr
    assert pushed.hub.files("anna/again") == files


def test_a_finished_push_sends_nothing_twice(pushed):
    """Again, every file is found there, down to the card, which is written anew and knows names and licence still."""
    before = pushed.hub.commits("anna/model")
    pushed.hub.requests.clear()
    again = wise_merge(*pushed.command[: -len(SOURCES)], cwd=pushed.place, **pushed.environment)
    assert again.returncode == 0, again.stderr
    assert not pushed.hub.sent("xorbs|^PUT|/commit/")
    assert pushed.hub.commits("anna/model") == before


@pytest.mark.parametrize("option", [SOURCES[:2], SOURCES[-2:], ("--temperature", "1")], ids=lambda option: option[0])
def test_a_card_that_is_sent_as_it_is_cannot_be_asked_for_otherwise(option, pushed, refused):
    """Without results, a card with evidence is not written anew."""
    done = refused("anna/model", *option, hub=pushed.hub, cwd=pushed.place)
    assert one_line(done).endswith(
        "the card in out has evidence and is sent as it is; give --results too, for a card with other --source, "
        "--license or --temperature"
    )


def test_a_dry_run_shows_what_would_be_sent_and_sends_and_writes_nothing(pushed):
    """Its list is what a push then sends, and the card to the letter."""
    dry = pushed.dry
    assert dry.done.returncode == 0, dry.done.stderr
    assert "would be sent to anna/model:" in dry.done.stdout
    # Cards of the checkpoints are looked for, which reads.
    assert {request.method for request in dry.requests} <= {"GET", "HEAD"}
    assert dry.after == dry.before
    # Last, where it is seen, with what it comes to.
    shown, _, listing = dry.done.stdout.rpartition("--- would be sent to anna/model:\n")
    *lines, last = listing.splitlines()
    assert re.fullmatch(r"\d+ files, [\d.]+ [kM]B; stays here: journal/, .*; nothing was sent", last)
    assert all(line.startswith("  ") for line in lines)
    assert "--- README.md\n" in shown
    listed = [line.split()[0] for line in dry.done.stdout.splitlines() if re.match(r"  \S+ +[\d.]+ [kMG]?B\b", line)]
    files = pushed.hub.files("anna/model")
    assert sorted(listed) == sorted(set(files) - {".gitattributes"})
    assert files["README.md"].decode().strip() in dry.done.stdout
    assert files["mergekit_config.yml"].decode().strip() in dry.done.stdout


def test_without_sources_the_last_part_of_a_path_stands_for_it(push, hub):
    """And a warning says how others could find the checkpoint."""
    done = push()
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("--source early=ORG/MODEL@REVISION") == 1
    assert yaml.safe_load(hub.files("anna/model")["mergekit_config.yml"])["base_model"] == "checkpoint-10"
    assert b"base_model_relation" not in hub.files("anna/model")["README.md"]


def test_samples_leave_only_if_asked_for(push, place, hub):
    """Then every sample of this model at the temperature of the card, in a file that `wise-merge score` reads."""
    assert push("--results", "grid", *SOURCES, "--include-samples").returncode == 0
    files = hub.files("anna/model")
    rows = [json.loads(line) for line in files["samples/countdown_passk.jsonl"].decode().splitlines()]
    assert [len(row["resps"][0]) for row in rows] == [4] * 8
    (place / "samples.jsonl").write_bytes(files["samples/countdown_passk.jsonl"])
    scored = wise_merge("score", "samples.jsonl", "--json", "scored.json", cwd=place)
    assert scored.returncode == 0, scored.stderr


def test_samples_are_those_of_a_sweep(refused):
    """Without the folder of one there are none to send."""
    assert "needs --results" in one_line(refused("anna/model", "--include-samples"))


def test_a_branch_is_made_for_a_revision(push, hub):
    """What is on main stays as it is."""
    done = push("--revision", "alpha-0.5", *SOURCES)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == f"{hub.endpoint}/anna/model/tree/alpha-0.5"
    assert "model.safetensors" in hub.files("anna/model", "alpha-0.5")
    assert set(hub.files("anna/model")) == {".gitattributes"}


def test_private_means_private(push, hub, api):
    """A new repository is; one that is public already is not sent to."""
    assert push("--private", *SOURCES).returncode == 0
    assert hub.repositories["model", "anna/model"].private
    api.create_repo("anna/public", private=False)
    assert "is there already and public, and nothing was sent" in one_line(
        push("--private", *SOURCES, repository="anna/public")
    )
    assert set(hub.files("anna/public")) == {".gitattributes"}


def test_weights_of_an_earlier_model_do_not_stay(push, hub, api, tmp_path):
    """A model of one file after one of two, where transformers would take the wrong ones; other files stay."""
    weights = ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors", "model.safetensors.index.json"]
    for name in (*weights, "LICENSE"):
        (tmp_path / "earlier").mkdir(exist_ok=True)
        (tmp_path / "earlier" / name).write_text("of an earlier model")
    api.create_repo("anna/model")
    api.upload_folder(repo_id="anna/model", folder_path=tmp_path / "earlier")
    assert {*weights, "LICENSE"} <= set(hub.files("anna/model"))
    assert push(*SOURCES).returncode == 0
    files = hub.files("anna/model")
    assert [name for name in files if "model" in name] == ["model.safetensors"]
    assert "LICENSE" in files


@pytest.mark.parametrize(
    ("damage", "words"),
    [("nan", "holds NaN or infinity"), ("shard", "is missing, but the index of out names it")],
)
def test_a_model_that_is_not_whole_is_not_sent(damage, words, push, place, hub):
    """It is refused before anything is sent, and no card is written."""
    file = place / "out/model.safetensors"
    weights = load_file(file)
    if damage == "nan":
        weights["model.layers.1.mlp.up_proj.weight"][-1, -1] = float("nan")
        save_file(weights, file, metadata={"format": "pt"})
    else:
        index = {"weight_map": dict.fromkeys(weights, "model.safetensors") | {"lm_head.weight": "model-2.safetensors"}}
        (place / "out/model.safetensors.index.json").write_text(json.dumps(index))
        file.rename(place / "out/model-1.safetensors")
    assert words in one_line(push(*SOURCES))
    assert [request.path for request in hub.requests] == ["/api/whoami-v2"]
    assert not (place / "out/README.md").exists()


@pytest.mark.parametrize(
    ("token", "repository", "words"),
    [
        ("hf_wrong", "anna/model", "does not know this token (401)"),
        (TOKEN, "bob/model", "may not write to bob/model (403"),
        (TOKEN, "model", "give the repository as USER/NAME"),
        (TOKEN, "anna/mo del", "is no name of a repository"),
        ("", "anna/model", "not logged in"),
    ],
)
def test_who_may_not_push_is_told_why_in_one_line(token, repository, words, refused, hub, place):
    """Nothing was sent, and the token stands in no output."""
    done = refused(repository, *SOURCES, hub=hub, cwd=place, token=token)
    assert words in one_line(done)
    assert not hub.sent("preupload|commit|xorbs|shards")
    assert TOKEN not in done.stdout + done.stderr
    assert "hf_wrong" not in done.stdout + done.stderr


def test_nothing_is_sent_offline(refused):
    """As these tests are themselves; one line says so."""
    assert constants.HF_HUB_OFFLINE
    assert "HF_HUB_OFFLINE is set" in one_line(refused("anna/model", *SOURCES))


@pytest.mark.parametrize(
    ("pattern", "status", "words"),
    [
        ("POST /api/repos/create", 429, "takes no more requests for now (429); wait 7 seconds and"),
        ("POST /api/repos/create", 500, "trouble of its own (500"),
        ("POST /api/models/anna/model/commit", 409, "was changed by somebody else meanwhile (409"),
        ("^PUT", 403, "may not write to anna/model (403"),
        ("POST /api/validate-yaml", 400, "the Hub refuses the card's YAML"),
    ],
)
def test_what_the_hub_answers_is_one_line_that_says_what_to_do(pattern, status, words, push, hub):
    """Nothing half is there that anybody would take for a model."""
    hub.fail(pattern, status=status, times=None, headers={"Retry-After": "7"})
    # Xet has its own words for what its storage answers.
    done = push(*SOURCES, HF_HUB_DISABLE_XET="1")
    assert words in one_line(done)
    assert "Retry" not in one_line(done)
    there = hub.files("anna/model") if ("model", "anna/model") in hub.repositories else {}
    assert set(there) <= {".gitattributes"}


def test_troubles_that_pass_are_waited_for(push, hub):
    """One answer of 500 and one of 429 cost a second each, and no failure."""
    hub.fail("POST /api/models/anna/model/commit", status=500)
    hub.fail("POST /api/models/anna/model/preupload", status=429, headers={"Retry-After": "0"})
    done = push(*SOURCES)
    assert done.returncode == 0, done.stderr
    assert "model.safetensors" in hub.files("anna/model")


def test_a_commit_whose_answer_is_lost_is_made_once(push, hub, api, tmp_path):
    """The client sends it again; a second one would be empty, or fail for the files that the first has deleted."""
    (tmp_path / "earlier").mkdir()
    (tmp_path / "earlier/model-00001-of-00001.safetensors").write_text("of an earlier model")
    api.create_repo("anna/model")
    api.upload_folder(repo_id="anna/model", folder_path=tmp_path / "earlier")
    before = hub.commits("anna/model")
    hub.lose("POST /api/models/anna/model/commit", times=1)
    hub.lose("POST /api/models/anna/model/commit", times=1, skip=1)
    done = push(*SOURCES)
    assert done.returncode == 0, done.stderr
    assert len(hub.sent("POST /api/models/anna/model/commit")) == 5
    others, weights, *earlier = hub.commits("anna/model")
    assert earlier == before
    assert set(others.files) - set(weights.files) >= {"config.json", "README.md"}
    assert "model-00001-of-00001.safetensors" not in others.files


def test_what_somebody_else_commits_meanwhile_is_not_overwritten(push, hub, api):
    """Between the two commits of a push another one comes: one line, and the next push goes on."""
    real, came = hub.answer, []

    def answer(request):
        if not came and request.method == "POST" and "/commit/" in request.path:
            came.append(request)
            repository = hub.repositories["model", "anna/model"]
            repository.commit("main", "of Bob", "", "bob", dict(repository.at("main").files))
        return real(request)

    hub.answer = answer
    assert "anna/model was changed by somebody else meanwhile (412" in one_line(push(*SOURCES))
    assert hub.commits("anna/model")[0].title == "of Bob"
    assert push(*SOURCES).returncode == 0


@pytest.mark.parametrize("protocol", ["xet", "lfs"])
def test_the_search_for_what_leaves_the_machine_finds_it(protocol, hub, tmp_path):
    """Whatever it travels as: base64 of a commit, LFS, chunks of Xet, words of a picture, a name, a header."""
    secret = "/home/anna's machine/é"
    random = np.random.default_rng(0)
    numbers = random.standard_normal(150_000).astype("float32").tobytes()
    for name, content in {
        "card.md": secret.encode(),
        "config.json": json.dumps({"_name_or_path": secret}).encode(),
        "text.parquet": b"alpha,pass@8\n" * 9_000 + secret.encode() + b"alpha,pass@8\n" * 9_000,
        "model.safetensors": numbers[:300_000] + secret.encode() + numbers[300_000:],
    }.items():
        (tmp_path / name).write_bytes(content)
    picture = matplotlib.figure.Figure(figsize=(1, 1))
    words = PngInfo()
    words.add_text("Title", secret, zip=True)
    picture.savefig(tmp_path / "picture.png", pil_kwargs={"pnginfo": words})
    code = """
        import sys
        from huggingface_hub import HfApi
        api = HfApi(library_name=sys.argv[2] or None)
        api.create_repo("anna/model")
        api.upload_file(path_or_fileobj=sys.argv[1], path_in_repo=sys.argv[3], repo_id="anna/model")
    """
    environment = {**os.environ, **hub.environment(tmp_path / "home")}
    environment |= {"HF_HUB_DISABLE_XET": "1"} if protocol == "lfs" else {}
    sent = [
        (name, "", "a file") for name in ("card.md", "config.json", "text.parquet", "model.safetensors", "picture.png")
    ]
    for name, library, place in [*sent, ("plain", "", f"folder{secret}"), ("plain", "anna's machine", "a file")]:
        (tmp_path / "plain").write_text("nothing")
        hub.requests.clear()
        hub.repositories.clear()
        extension = Path(name).suffix if place == "a file" else ""
        done = forked.run(
            [sys.executable, "-c", textwrap.dedent(code), str(tmp_path / name), library, f"{place}{extension}"],
            env=environment,
        )
        assert done.returncode == 0, done.stderr
        words = library or secret
        assert leaks(hub.requests, [words]), (name, library, place)
        raw = b"".join(request.body for request in hub.requests)
        # Of a search of the bodies as they are, these are hidden.
        assert words.encode() not in raw or name not in ("card.md", "config.json", "picture.png"), name


# huggingface_hub tries LFS again for half a minute.
@pytest.mark.parametrize("protocol", ["xet", pytest.param("lfs", marks=pytest.mark.slow)])
def test_a_connection_cut_in_the_middle_of_a_file_leaves_nothing_half_and_the_push_goes_on(
    protocol, push, place, hub, tmp_path
):
    """Two pieces, the second cut: no commit; the same command again sends no byte of the first a second time."""
    random = torch.Generator().manual_seed(0)
    weights = load_file(place / "out/model.safetensors")
    # A piece of Xet's holds 64 MiB of however many files, so that of less there is no second one; of LFS it is a file.
    rows = 280_000 if protocol == "xet" else 40_000
    config = json.loads((place / "out/config.json").read_text())
    wide = torch.randn(rows, config["hidden_size"], generator=random)
    weights |= {"model.embed_tokens.weight": wide, "lm_head.weight": wide.flip(0).contiguous()}
    (place / "out/config.json").write_text(json.dumps({**config, "vocab_size": rows}))
    (place / "out/model.safetensors").unlink()
    parts = {"model-1.safetensors": ["lm_head.weight"], "model-2.safetensors": sorted({*weights} - {"lm_head.weight"})}
    for file, held in parts.items():
        save_file({name: weights[name] for name in held}, place / "out" / file, metadata={"format": "pt"})
    index = {"metadata": {}, "weight_map": {name: file for file, held in parts.items() for name in held}}
    (place / "out/model.safetensors.index.json").write_text(json.dumps(index))
    # One piece after the other, so that the first has arrived when the second is cut.
    one_by_one = {"HF_XET_CLIENT_AC_MAX_UPLOAD_CONCURRENCY": "1", "HF_XET_CLIENT_AC_INITIAL_UPLOAD_CONCURRENCY": "1"}
    environment = {
        "lfs": {"HF_HUB_DISABLE_XET": "1"},
        "xet": {"HF_XET_CLIENT_RETRY_MAX_ATTEMPTS": "1", **one_by_one},
    }[protocol]
    pieces = "^PUT" if protocol == "lfs" else "POST /cas/v1/xorbs"
    # Xet may still be noting that the first has arrived: what it has not noted, it sends again.
    noted = {"xet": lambda: any(tmp_path.glob("home/xet/*/staging/shard-session/xorb_metadata/*.mdb")), "lfs": None}
    hub.cut(pieces, after_bytes=100_000, times=None, skip=1, once=noted[protocol])
    assert "run the command again: what has arrived is not sent again" in one_line(push(*SOURCES, **environment))
    assert set(hub.files("anna/model")) == {".gitattributes"}
    first = [request.body for request in hub.sent(pieces) if request.status == 200]
    assert first
    hub.heal()
    hub.requests.clear()
    done = push(*SOURCES, **environment)
    assert done.returncode == 0, done.stderr
    files = hub.files("anna/model")
    assert all(files[name] == (place / "out" / name).read_bytes() for name in parts)
    second = [request.body for request in hub.sent(pieces)]
    assert second
    # Of Xet by chunks, as a second session may pack them otherwise; all are random, so none is there twice of itself.
    # A piece of the second session may come twice, if a busy server's answer is waited for in vain.
    before, after = ({chunk for body in bodies for chunk in in_chunks(body, protocol)} for bodies in (first, second))
    assert not before & after
    assert sum(map(len, before | after)) == sum(len(files[name]) for name in parts)


def in_chunks(body, protocol):
    """What a piece holds: a file of LFS, or the chunks of a xorb."""
    return [body] if protocol == "lfs" else [unpacked(body, chunk) for chunk in chunks_of(body)]
