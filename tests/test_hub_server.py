"""The test server for publishing is the Hub to the real client, and breaks when and where a test says."""

import hashlib
import json
import os
import subprocess
import sys
from textwrap import dedent
from urllib.error import HTTPError
from urllib.request import urlopen

import numpy as np
import pytest
from hub import cards
from hub.server import HubServer

TOKEN = "hf_secret_of_anna"
LFS, XET = {"HF_HUB_DISABLE_XET": "1"}, {}
CARD = "---\nlicense: apache-2.0\nbase_model: org/late\ntags: [merge]\n---\n# A merge\n"
PRELUDE = """
import json
from huggingface_hub import HfApi, hf_hub_download, snapshot_download
api = HfApi()
"""


@pytest.fixture
def hub():
    with HubServer(user="anna", token=TOKEN, part_size=100_000) as hub:
        yield hub


@pytest.fixture
def client(hub, tmp_path):
    """Runs Python code with the real client in a process of its own, and returns the finished process."""

    def run(code, home="home", **environment):
        environment = {**os.environ, **hub.environment(tmp_path / home), **environment}
        command = [sys.executable, "-c", PRELUDE + code]
        return subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)

    return run


@pytest.fixture
def answer(client):
    """What the code given to the client prints last, which is JSON."""

    def run(code, **environment):
        done = client(code, **environment)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout.splitlines()[-1])

    return run


@pytest.fixture
def folder(tmp_path):
    """A folder `model` with texts, and large files that Xet stores as they are, as text and as floats."""
    random = np.random.default_rng(seed=0)
    files = {
        "README.md": CARD.encode(),
        "config.json": b"{}",
        "model-1.safetensors": random.standard_normal(100_003).astype("float32").tobytes() + b"end",
        "model-2.safetensors": random.bytes(250_000),
        "tables/results.parquet": b"alpha,pass@8\n" * 20_000,
    }
    for name, content in files.items():
        (tmp_path / "model" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "model" / name).write_bytes(content)
    return files


UPLOAD = "api.create_repo('anna/m', exist_ok=True); api.upload_folder(repo_id='anna/m', folder_path='model')\n"


def without_attributes(files):
    return {path: content for path, content in files.items() if path != ".gitattributes"}


@pytest.mark.parametrize("protocol", [LFS, XET], ids=["lfs", "xet"])
def test_a_folder_comes_back_as_it_was_sent(hub, client, folder, tmp_path, protocol):
    """Files sent by LFS or by Xet are in the repository, and download to the same bytes with and without Xet."""
    download = "snapshot_download('anna/m', local_dir='back')"
    assert client(UPLOAD + download, **protocol).returncode == 0
    assert without_attributes(hub.files("anna/m")) == folder
    back = {path: (tmp_path / "back" / path).read_bytes() for path in folder}
    assert back == folder
    client(download.replace("back", "plain"), home="other", HF_HUB_DISABLE_XET="1")
    assert {path: (tmp_path / "plain" / path).read_bytes() for path in folder} == folder
    by_xet = protocol == XET
    assert bool(hub.sent("POST /cas/v1/xorbs/")) == bool(hub.sent("GET /xorbs/")) == by_xet
    assert bool(hub.sent("PUT /storage/")) == (not by_xet)


def test_the_chunks_of_xet_are_read_in_all_three_forms(hub, client, folder):
    """Stored, LZ4 and byte-grouped chunks all occur in the folder, so that the round trip shows each."""
    client(UPLOAD)
    assert {chunk.scheme for chunks in hub.xet.chunks.values() for chunk in chunks} == {0, 1, 2}


def test_a_part_of_a_file_of_xet_is_rebuilt_from_the_chunks_it_lies_in(hub, client, answer, folder):
    """A range in the middle of a file comes back exact, though chunks begin elsewhere."""
    client(UPLOAD)
    code = """
        from hf_xet import XetFileInfo, XetSession
        file = next(file for file in api.list_repo_tree('anna/m') if file.path == 'model-2.safetensors')
        token = api.endpoint + '/api/models/anna/m/xet-read-token/main'
        group = XetSession().new_download_stream_group(token_refresh_url=token)
        stream = group.download_stream(XetFileInfo(file.xet_hash, file.size), start=100_001, end=200_002)
        print(json.dumps(b''.join(stream).hex()))
    """
    assert bytes.fromhex(answer(dedent(code))) == folder["model-2.safetensors"][100_001:200_002]
    (asked,) = hub.sent("GET /cas/.*/reconstructions/")
    assert asked.headers["range"] == "bytes=100001-200001"


def test_an_unchanged_folder_makes_no_second_commit(hub, client, folder):
    """The second upload finds every file there: nothing but questions is sent, and the history stays."""
    client(UPLOAD + UPLOAD, **LFS)
    assert [commit.title for commit in hub.commits("anna/m")] == [
        "Upload folder using huggingface_hub",
        "initial commit",
    ]
    assert len(hub.sent("POST .*/commit/main")) == 1


def test_a_commit_can_delete_files_and_folders(hub, client, folder):
    """Files go with delete_patterns, a folder with delete_folder; the history still has them."""
    client(UPLOAD, **LFS)
    code = "api.upload_folder(repo_id='anna/m', folder_path='model/tables', delete_patterns='*.safetensors')\n"
    client(code + "api.delete_folder('tables', 'anna/m')", **LFS)
    assert set(without_attributes(hub.files("anna/m"))) == {"README.md", "config.json", "results.parquet"}
    assert set(hub.commits("anna/m")[-2].files) == {".gitattributes", *folder}


def test_a_branch_has_files_of_its_own(hub, answer, client, folder):
    """An upload to a branch leaves main alone, and needs the branch to be there."""
    upload = "api.upload_folder(repo_id='anna/m', folder_path='model', revision='v/2')\n"
    done = client("api.create_repo('anna/m')\n" + upload)
    assert "RevisionNotFoundError" in done.stderr
    refs = "print(json.dumps([ref.name for ref in api.list_repo_refs('anna/m').branches]))"
    assert answer("api.create_branch('anna/m', branch='v/2')\n" + upload + refs) == ["main", "v/2"]
    assert without_attributes(hub.files("anna/m")) == {}
    assert without_attributes(hub.files("anna/m", "v/2")) == folder


def test_a_private_repository_is_seen_by_its_owner_alone(hub, client, answer):
    """Its owner gets it, others are told that there is none, and without a token the answer is 401."""
    hub.add_user("bob", "hf_bob")
    assert answer("api.create_repo('anna/m', private=True)\nprint(json.dumps(api.model_info('anna/m').private))")
    for token, status in [("hf_bob", 404), ("", 401)]:
        done = client("api.model_info('anna/m')", HF_TOKEN=token)
        assert "RepositoryNotFoundError" in done.stderr
        assert hub.requests[-1].status == status


@pytest.mark.parametrize(
    ("code", "token", "status", "text"),
    [
        ("api.whoami()", "hf_wrong", 401, "Invalid user token"),
        ("api.create_repo('bob/m')", TOKEN, 403, "You don't have the rights to create a model"),
        ("api.create_repo('anna/m')", "hf_reader", 403, "You don't have the rights to create a model"),
        ("api.create_repo('anna/m'); api.create_repo('anna/m')", TOKEN, 409, "You already created this model repo"),
        ("api.upload_folder(repo_id='anna/m', folder_path='model')", TOKEN, 404, "RepositoryNotFoundError"),
    ],
)
def test_what_the_hub_refuses_is_refused(hub, client, folder, code, token, status, text):
    """A wrong token, a foreign namespace, a token for reading, a second creation and a missing repository."""
    hub.add_user("anna", "hf_reader", role="read")
    done = client(code, HF_TOKEN=token)
    assert hub.requests[-1].status == status
    assert text in done.stderr


def test_a_commit_on_an_old_parent_is_refused(hub, client, folder):
    """412 when somebody has committed since the parent that the client names."""
    client(UPLOAD, **LFS)
    old = hub.commits("anna/m")[-1].oid
    client(f"api.upload_file(path_or_fileobj=b'1', path_in_repo='x', repo_id='anna/m', parent_commit='{old}')")
    assert hub.requests[-1].status == 412
    assert "x" not in hub.files("anna/m")


@pytest.mark.parametrize("protocol", [LFS, XET], ids=["lfs", "xet"])
def test_a_card_with_a_path_for_a_parent_is_refused(hub, client, folder, tmp_path, protocol):
    """The Hub takes ids of models for base_model and nothing else, with either way of sending."""
    (tmp_path / "model" / "README.md").write_text(CARD.replace("org/late", "/home/me/late"))
    done = client(UPLOAD, **protocol)
    assert "\"base_model\" with value '/home/me/late' is not valid" in done.stderr
    assert without_attributes(hub.files("anna/m")) == {}


@pytest.mark.parametrize(
    ("right", "wrong", "text"),
    [
        ("tags: [merge]", "tags: merge", '"tags" must be'),
        ("tags: [merge]", "tags: [merge", "bad YAML"),
        ("tags: [merge]", "model-index: [{name: m, results: [{task: {type: t}}]}]", '"model-index"'),
        ("org/late", "[org/late, 7]", '"base_model" with value 7'),
    ],
)
def test_the_metadata_of_a_card_is_checked(right, wrong, text):
    """Each thing that is wrong is named, and nothing is wrong with the card that the other tests send."""
    assert cards.errors(CARD.encode()) == []
    (error,) = cards.errors(CARD.replace(right, wrong).encode())
    assert text in error


def test_an_organization_is_a_namespace_of_its_members(hub, client):
    """A member creates and fills a repository there."""
    hub.add_user("bob", "hf_bob", organizations=("lab",))
    code = "api.create_repo('lab/m'); api.upload_file(path_or_fileobj=b'1', path_in_repo='x', repo_id='lab/m')"
    assert client(code, HF_TOKEN="hf_bob").returncode == 0
    assert hub.files("lab/m")["x"] == b"1"
    assert hub.commits("lab/m")[0].author == "bob"


def test_datasets_are_repositories_of_their_own(hub, client, folder):
    """A dataset may have the name of a model, and has its own files."""
    client("api.create_repo('anna/m')\n" + UPLOAD.replace("'anna/m'", "'anna/m', repo_type='dataset'"), **LFS)
    assert without_attributes(hub.files("anna/m", type="dataset")) == folder
    assert without_attributes(hub.files("anna/m")) == {}


def test_the_token_goes_to_the_hub_alone(hub, client, folder):
    """It is in Authorization and nowhere else, and storage sees none of it."""
    client(UPLOAD, **LFS)
    client(UPLOAD.replace("anna/m", "anna/n") + "snapshot_download('anna/n')")
    assert all(TOKEN not in f"{item.path} {item.query} {item.body!r}" for item in hub.requests)
    storage = hub.sent("(GET|PUT|POST) /(storage|xorbs|cas)/")
    assert {item.path.split("/")[1] for item in storage} == {"storage", "xorbs", "cas"}
    assert all(TOKEN not in str(item.headers) for item in storage)
    assert all(item.token == TOKEN for item in hub.sent(".* /api/"))


def test_an_error_that_a_test_asks_for_comes_as_often_as_it_says(hub, answer):
    """Each comes with its status and message, in the order in which they were asked for; then all is well again."""
    for status, times in [(401, 1), (403, 2), (409, 1), (412, 1)]:
        hub.fail("POST /api/repos/create", status=status, times=times, json={"error": f"not today {status}"})
    code = """
        def status():
            try:
                api.create_repo('anna/m')
            except Exception as error:
                assert f'not today {error.response.status_code}' in str(error)
                return error.response.status_code
        print(json.dumps([status() for attempt in range(6)]))
    """
    assert answer(dedent(code)) == [401, 403, 403, 409, 412, None]
    assert ("model", "anna/m") in hub.repositories


def test_the_client_comes_again_after_an_error_that_passes(hub, client, folder):
    """After 429, 500 and 503 the same request is sent again, and the upload is whole."""
    hub.fail("POST .*/preupload/", status=429, headers={"Retry-After": "0"})
    hub.fail("POST .*/batch", status=500)
    hub.fail("PUT /storage/", status=503)
    assert client(UPLOAD, **LFS).returncode == 0
    assert [item.status for item in hub.sent("POST .*/preupload/main")] == [429, 200]
    assert [item.status for item in hub.sent("POST .*/batch")] == [500, 200]
    assert sum(item.status == 503 for item in hub.sent("PUT /storage/")) == 1
    assert without_attributes(hub.files("anna/m")) == folder


def test_a_fault_can_let_some_requests_pass_first(hub, client, folder):
    """With `skip` the second part fails, not the first; with `times` None it fails until all is healed."""
    hub.fail("PUT /storage/.*/", status=403, skip=1, times=None)
    done = client(UPLOAD, **LFS)
    assert "403 Forbidden" in done.stderr
    statuses = [item.status for item in hub.sent(r"PUT /storage/\w+/\d+")]
    assert statuses[:2] == [200, 403]
    assert statuses.count(200) == 1
    hub.heal()
    assert client(UPLOAD, **LFS).returncode == 0


def test_a_part_that_was_cut_is_sent_again(hub, client, folder):
    """The connection ends within a part of a file by LFS: that part comes twice, the others once."""
    oid = hashlib.sha256(folder["model-2.safetensors"]).hexdigest()
    hub.cut(f"PUT /storage/{oid}/2", after_bytes=40_000)
    assert client(UPLOAD, **LFS).returncode == 0
    parts = hub.sent(f"PUT /storage/{oid}/")
    sizes = [(item.path[-1], item.status, item.body_size) for item in parts]
    assert sizes == [("1", 200, 100_000), ("2", None, 40_000), ("2", 200, 100_000), ("3", 200, 50_000)]
    assert without_attributes(hub.files("anna/m")) == folder


def test_a_xorb_that_was_cut_is_sent_again(hub, client, folder):
    """The connection ends within a xorb: Xet comes again by itself, and the files are whole."""
    hub.cut("POST /cas/v1/xorbs/", after_bytes=100_000)
    assert client(UPLOAD).returncode == 0
    first, second = hub.sent("POST /cas/v1/xorbs/")
    assert (first.status, first.body_size, second.status) == (None, 100_000, 200)
    assert without_attributes(hub.files("anna/m")) == folder


def test_an_answer_that_is_lost_leaves_what_was_done(hub, client, folder):
    """With Xet the client comes again, and makes the commit a second time, of which `wise-merge push` has to know."""
    hub.lose("POST .*/commit/main")
    assert client(UPLOAD).returncode == 0
    assert [item.status for item in hub.sent("POST .*/commit/main")] == [None, 200]
    assert len(hub.commits("anna/m")) == 3
    assert without_attributes(hub.files("anna/m")) == folder


def test_a_second_upload_by_lfs_sends_what_is_missing(hub, client, folder):
    """After an upload that broke off, the files that had arrived are not sent again."""
    arrived, missing = [hashlib.sha256(folder[f"model-{i}.safetensors"]).hexdigest() for i in [1, 2]]
    hub.fail(f"PUT /storage/{missing}", status=403)
    assert client(UPLOAD, **LFS).returncode == 1
    assert without_attributes(hub.files("anna/m")) == {}
    assert set(hub.objects) >= {arrived}
    hub.requests.clear()
    assert client(UPLOAD, **LFS).returncode == 0
    assert hub.sent(f"PUT /storage/{arrived}") == []
    assert len(hub.sent(f"PUT /storage/{missing}")) == 3
    assert without_attributes(hub.files("anna/m")) == folder


def test_a_second_upload_by_xet_sends_what_is_missing(hub, client, folder):
    """Xorbs that had arrived when the upload broke off are not sent again by the same machine."""
    hub.fail("POST /cas/v./shards", status=403)
    assert client(UPLOAD).returncode == 1
    assert len(hub.sent("POST /cas/v1/xorbs/")) == 1
    hub.requests.clear()
    assert client(UPLOAD).returncode == 0
    assert hub.sent("POST /cas/v1/xorbs/") == []
    assert without_attributes(hub.files("anna/m")) == folder


def test_a_download_that_was_cut_goes_on_where_it_was(hub, answer, client, folder):
    """The answer ends within a file: the client asks for the rest alone."""
    client(UPLOAD, **LFS)
    hub.cut("GET .*/model-2.safetensors", after_bytes=150_000)
    code = """
        import huggingface_hub
        huggingface_hub.constants.DOWNLOAD_CHUNK_SIZE = 50_000  # bytes; what came of a chunk is lost with it
        print(json.dumps(open(hf_hub_download('anna/m', 'model-2.safetensors'), 'rb').read().hex()))
    """
    assert bytes.fromhex(answer(dedent(code), **LFS)) == folder["model-2.safetensors"]
    assert [item.headers.get("range") for item in hub.sent("GET .*/model-2.safetensors")] == [None, "bytes=150000-"]


def test_an_error_of_the_server_itself_is_no_answer_of_the_hub():
    """A bug in the server ends the test that met it."""

    def ask_a_broken_server():
        with HubServer("anna", TOKEN) as hub:
            hub.user_of = lambda request: 1 / 0
            with pytest.raises(HTTPError, match="501"):
                urlopen(f"{hub.endpoint}/api/whoami-v2")

    with pytest.raises(ZeroDivisionError):
        ask_a_broken_server()
