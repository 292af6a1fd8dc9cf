"""What of a model's folder is published, and what stays on the machine."""

import json
import os
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file
from support.checkpoints import character_tokenizer, make_checkpoint

from wise_merge.errors import WiseMergeError
from wise_merge.publish.contents import contents_of
from wise_merge.publish.privacy import Privacy

PUBLISHED = {
    *("config.json", "generation_config.json", "mergekit_config.yml", "wise_merge.json", "model.safetensors"),
    *("tokenizer.json", "tokenizer_config.json", "chat_template.jinja", "tokenizer.model", "own.tiktoken"),
    *("special_tokens_map.json", "additional_chat_templates/tool.jinja", "modeling_own.py", "preprocessor_config.json"),
    *("LICENSE", "LICENSE-2.0", "LICENCE.txt", "NOTICE", "USE_POLICY.md", "curve.png", "images/a.svg", "assets/b.jpeg"),
}
STAYS = {
    *("optimizer.pt", "scheduler.pt", "rng_state_0.pth", "scaler.pt", "trainer_state.json", "training_args.bin"),
    *("journal/1.jsonl", "global_step10/model_states.pt", "checkpoint-5/model.safetensors", "points/a.json"),
    *(".git/config", ".cache/huggingface/x", ".env", "train.log", "runs/now/events.out.tfevents.1", "wandb/run.json"),
    *("events.out.tfevents.2", "optimizer.safetensors", "model-00009-of-00009.safetensors", "pytorch_model.bin"),
    *("results.json", "sweep.yml", "samples.jsonl", "data.parquet", "notes.md", "train.sh", "id_rsa", "zz/curve.png"),
}


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    """A tiny Llama, which no test changes."""
    return make_checkpoint(tmp_path_factory.mktemp("contents") / "model", seed=1)


@pytest.fixture
def model(plain, tmp_path):
    """A copy of it."""
    return shutil.copytree(plain, tmp_path / "model")


def add(folder, names, content="{}"):
    for name in names:
        if not (folder / name).exists():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_text(content)


def contents(folder, *folders, **written):
    """Of a folder with a card."""
    return contents_of(folder, Privacy({}, folders), {"README.md": b"# card\n", **written})


def names(entries):
    return {entry.name for entry in entries}


def test_what_a_model_needs_goes_and_all_else_stays(model):
    """Weights, config, tokenizer, recipe, licence and pictures go; states, logs, samples and hidden files do not."""
    add(model, PUBLISHED | STAYS)
    found = contents(model)
    assert names(found.weights) == {"model.safetensors"}
    assert names(found.entries) == PUBLISHED | {"README.md"}
    expected = {name if "/" not in name else name.partition("/")[0] + "/" for name in STAYS}
    assert set(found.left) == expected
    assert list(found.left) == sorted(found.left)


def test_a_model_in_shards(tmp_path):
    """Each shard that the index names, and the index after them, with the rest; no shard of another model."""
    folder = make_checkpoint(tmp_path / "model", seed=1, max_shard_size="40KB")
    shards = {path.name for path in folder.glob("model-*.safetensors")}
    add(folder, ["model-00009-of-00009.safetensors", "consolidated.safetensors.index.json"])
    found = contents(folder)
    assert names(found.weights) == shards
    assert "model.safetensors.index.json" in names(found.others)
    assert set(found.left) == {"model-00009-of-00009.safetensors", "consolidated.safetensors.index.json"}
    (folder / "model.safetensors").write_bytes(b"")
    with pytest.raises(WiseMergeError, match=r"two models.*delete the one that is stale"):
        contents(folder)


def test_pickled_weights(model):
    """Where there are no others."""
    torch.save(load_file(model / "model.safetensors"), model / "pytorch_model.bin")
    assert names(contents(model).weights) == {"model.safetensors"}
    assert "pytorch_model.bin" in contents(model).left
    (model / "model.safetensors").unlink()
    assert names(contents(model).weights) == {"pytorch_model.bin"}


def test_links_are_followed(model, tmp_path):
    """The Hub's cache holds links; what they lead to goes under their names."""
    snapshot = tmp_path / "snapshot"
    snapshot.mkdir()
    for path in model.iterdir():
        os.symlink(path, snapshot / path.name)
    found = contents(snapshot)
    assert names(found.entries) == names(contents(model).entries)
    (weights,) = found.weights
    assert weights.bytes == (model / "model.safetensors").stat().st_size
    assert weights.source.read_bytes() == (model / "model.safetensors").read_bytes()
    os.symlink(tmp_path / "nowhere", snapshot / "LICENSE")
    assert "LICENSE" not in names(contents(snapshot).entries)
    assert "LICENSE" in contents(snapshot).left


def test_what_is_written_now_stands_for_what_is_there(model):
    """The card, and whatever else comes with it, with their sizes."""
    add(model, ["README.md", "curve.png"], content="old")
    found = contents(model, **{"curve.png": b"newer", ".eval_results/gsm8k.yaml": b"[]"})
    entries = {entry.name: entry for entry in found.entries}
    for name, content in {"README.md": b"# card\n", "curve.png": b"newer", ".eval_results/gsm8k.yaml": b"[]"}.items():
        entry = entries[name]
        assert (entry.source, entry.content, entry.bytes, entry.remark) == (None, content, len(content), "written now")
    assert found.left == ()
    assert [entry.name for entry in found.others] == sorted(entry.name for entry in found.others)


def test_files_with_paths_go_without_them(model):
    """The file on this machine keeps its own; all others go as they are."""
    config = json.loads((model / "config.json").read_text())
    (model / "config.json").write_text(json.dumps({**config, "_name_or_path": "/home/anna/runs/late"}))
    entries = {entry.name: entry for entry in contents(model, "/home/anna").entries}
    assert json.loads(entries["config.json"].content) == {**config, "_name_or_path": "late"}
    assert (entries["config.json"].bytes, entries["config.json"].remark) == (
        len(entries["config.json"].content),
        "paths replaced",
    )
    assert "/home/anna" in (model / "config.json").read_text()
    for name in ("tokenizer.json", "generation_config.json", "model.safetensors"):
        assert (entries[name].content, entries[name].source) == (None, model / name)
        assert entries[name].bytes == (model / name).stat().st_size


def test_a_path_in_code_or_in_a_licence_is_an_error(model):
    """It is somebody's text, and not rewritten."""
    for name in ("modeling_own.py", "LICENSE"):
        (model / name).write_text("# from\n# /home/anna/x\n")
        with pytest.raises(WiseMergeError, match=f"line 2 of {name} holds /home/anna"):
            contents(model, "/home/anna")
        (model / name).unlink()


@pytest.mark.parametrize("value", ["/data/else/run.py", "made in /home/anna", '{"out": "/home/anna/x"}', "../a/b"])
def test_a_path_in_the_header_of_weights_is_an_error(model, value):
    """Weights go as they are, with the metadata that some trainers put into them."""
    path = model / "model.safetensors"
    save_file(load_file(path), path, metadata={"format": "pt", "note": "1/2 of org/model"})
    contents(model, "/home/anna")
    save_file(load_file(path), path, metadata={"format": "pt", "from": value})
    with pytest.raises(WiseMergeError, match=r"metadata of .*model\.safetensors holds a path \(from: "):
        contents(model, "/home/anna")


def test_names_with_odd_characters(model):
    """Blanks, quotes, brackets, other letters, and what is a pattern elsewhere."""
    odd = {"a b.png", "it's [1]*?.png", "möbius.png", "#1&2=3%.svg", "images/-x.gif", "LICENSE (old)"}
    add(model, odd)
    add(model, ["[a].log", "-rf"])
    found = contents(model)
    assert odd <= names(found.entries)
    assert set(found.left) == {"[a].log", "-rf"}


def test_folders_that_are_called_like_files(model):
    """Only files go."""
    for name in ("LICENSES", "curve.png", "tokenizer.model"):
        add(model, [f"{name}/x"])
    assert set(contents(model).left) == {"LICENSES/", "curve.png/", "tokenizer.model/"}


def test_what_goes_loads(model, tmp_path):
    """Alone in a folder, model and tokenizer are what they were."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    add(model, STAYS)
    character_tokenizer().save_pretrained(model)
    target = tmp_path / "there"
    target.mkdir()
    for entry in contents(model).entries:
        (target / entry.name).write_bytes(entry.source.read_bytes() if entry.content is None else entry.content)
    one, other = (AutoModelForCausalLM.from_pretrained(folder).state_dict() for folder in (model, target))
    assert one.keys() == other.keys()
    assert all(torch.equal(one[name], other[name]) for name in one)
    assert AutoTokenizer.from_pretrained(target).encode("1 + 1") == character_tokenizer().encode("1 + 1")
