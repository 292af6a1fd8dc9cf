"""What goes with the weights of a merge: from early where it has it, else from late, and nothing in silence."""

import json
import shutil

import pytest
from support.adapters import make_adapter
from support.checkpoints import character_tokenizer, make_checkpoint
from support.merges import merge, run
from support.recipes import wise_ft
from transformers import AutoTokenizer

TOKENIZER = ("tokenizer.json", "tokenizer_config.json")


@pytest.fixture
def copied(tiny_run, tmp_path):
    """A copy of the run, to be changed."""
    shutil.copytree(tiny_run, tmp_path / "run")
    return tmp_path / "run"


def remove(folder, *names):
    for name in names:
        (folder / name).unlink()


def warnings(result):
    assert result.exit_code == 0, result.output
    return [line.removeprefix("Warning: ") for line in result.output.splitlines() if line.startswith("Warning: ")]


def record(folder):
    return json.loads((folder / "wise_merge.json").read_text())["config_and_tokenizer_from"]


def test_a_pair_that_has_everything_has_no_warning(copied, tmp_path):
    """The negative control."""
    assert warnings(run(wise_ft(copied), tmp_path / "out")) == []
    assert record(tmp_path / "out") == "early"


def test_two_checkpoints_without_a_tokenizer_are_a_warning(copied, tmp_path):
    """The merge is made, and has none."""
    for number in (1, 2):
        remove(copied / f"checkpoint-{number}", *TOKENIZER)
    (warning,) = warnings(run(wise_ft(copied), tmp_path / "out"))
    assert warning.startswith("neither ")
    assert "checkpoint-1 nor " in warning
    assert "has a tokenizer, so the merge has none" in warning
    assert "nowhere" in record(tmp_path / "out")


def test_a_tokenizer_is_taken_from_the_checkpoint_that_has_one(copied, tmp_path):
    """From late, whole, if early has none; from early if late has none. Either is said."""
    shutil.copytree(copied, tmp_path / "reverse")
    remove(copied / "checkpoint-1", *TOKENIZER)
    (warning,) = warnings(run(wise_ft(copied), tmp_path / "out"))
    assert warning.endswith(f"checkpoint-1 has no tokenizer; the merge gets that of {copied}/checkpoint-2")
    assert AutoTokenizer.from_pretrained(tmp_path / "out").decode([6]) == '"'
    assert "that is from late" in record(tmp_path / "out")
    remove(tmp_path / "reverse" / "checkpoint-2", *TOKENIZER)
    (warning,) = warnings(run(wise_ft(tmp_path / "reverse"), tmp_path / "other"))
    assert "checkpoint-2 has no tokenizer; whether it numbers its tokens as" in warning
    assert AutoTokenizer.from_pretrained(tmp_path / "other").decode([6]) == '"'
    assert record(tmp_path / "other") == "early"


def test_files_of_two_tokenizers_are_not_mixed(copied, tmp_path):
    """A vocab.json that only late has belongs to late's tokenizer."""
    (copied / "checkpoint-2" / "vocab.json").write_text("{}")
    (copied / "checkpoint-2" / "merges.txt").write_text("")
    (warning,) = warnings(run(wise_ft(copied), tmp_path / "out"))
    assert "merges.txt, vocab.json of early and late differ" in warning
    assert not (tmp_path / "out" / "vocab.json").exists()


@pytest.mark.parametrize("form", ["file", "inside", "named"])
@pytest.mark.parametrize("owner", [1, 2])
def test_a_chat_template_is_taken_from_the_checkpoint_that_has_one(form, owner, copied, tmp_path):
    """In a file of its own, as today, or in tokenizer_config.json, as before; with early's tokenizer."""
    folder, text = copied / f"checkpoint-{owner}", "{{ messages[0].content }}!"
    if form == "file":
        (folder / "chat_template.jinja").write_text(text)
    else:
        path = folder / "tokenizer_config.json"
        inside = text if form == "inside" else [{"name": "default", "template": text}]
        path.write_text(json.dumps({**json.loads(path.read_text()), "chat_template": inside}))
    found = [one for one in warnings(run(wise_ft(copied), tmp_path / "out")) if "differ; " not in one]
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "out")
    assert tokenizer.apply_chat_template([{"role": "user", "content": "hi"}], tokenize=False) == "hi!"
    assert len(found) == (owner == 2)
    assert all("checkpoint-1 has no chat template; the merge gets that of" in warning for warning in found)


@pytest.mark.parametrize(
    "name", ["generation_config.json", "preprocessor_config.json", "processor_config.json", "modeling_own.py"]
)
def test_other_files_that_early_lacks_are_taken_from_late(name, copied, tmp_path):
    """Each by itself; early's goes before late's."""
    for number in (1, 2):
        (copied / f"checkpoint-{number}" / name).write_text(f'{{"number": {number}}}')
    run(wise_ft(copied), tmp_path / "both")
    assert (tmp_path / "both" / name).read_text() == '{"number": 1}'
    remove(copied / "checkpoint-1", name)
    (warning,) = warnings(run(wise_ft(copied), tmp_path / "one"))
    assert warning.endswith(f"checkpoint-1 has no {name}; the merge gets that of {copied}/checkpoint-2")
    assert (tmp_path / "one" / name).read_text() == '{"number": 2}'


@pytest.mark.parametrize("owners", ["adapter", "base", "late", "none"])
def test_adapters_have_the_tokenizer_beside_them_or_that_of_their_base(owners, tmp_path):
    """Else that of late; mergekit as a library writes none of these by itself."""
    base = make_checkpoint(tmp_path / "base", seed=3)
    late = make_adapter(tmp_path / "checkpoint-2", base, seed=2)
    early = make_adapter(tmp_path / "checkpoint-1", base, seed=1)
    if owners != "base":
        remove(base, *TOKENIZER)
    if owners in ("adapter", "late"):
        character_tokenizer().save_pretrained(early if owners == "adapter" else late)
    recipe = wise_ft(tmp_path) | {"base_model": f"{base}+{early}", "models": [{"model": f"{base}+{late}"}]}
    result = run(recipe, tmp_path / "out")
    found = warnings(result)
    assert "Traceback" not in result.output
    if owners == "none":
        assert any("neither" in warning and "has a tokenizer" in warning for warning in found)
    else:
        assert AutoTokenizer.from_pretrained(tmp_path / "out").decode([6]) == '"'
        assert any("has no tokenizer; the merge gets that of" in warning for warning in found) == (owners == "late")


def test_mergekit_takes_the_tokenizer_of_early_alone_and_it_is_said(copied, tmp_path, caplog):
    """mergekit-yaml goes on without one."""
    remove(copied / "checkpoint-1", *TOKENIZER)
    assert merge(wise_ft(copied), tmp_path / "out").exit_code == 0
    messages = [record.getMessage() for record in caplog.records if record.name.startswith("wise_merge")]
    assert [
        message for message in messages if "checkpoint-1 has no tokenizer, and mergekit looks nowhere else" in message
    ]
