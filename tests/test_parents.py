"""Licence and languages of an average are those of its parents, where these agree."""

import inspect
import json
import os
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path

import pytest
from hub.server import HubServer
from huggingface_hub import HfApi

from wise_merge.errors import WiseMergeError
from wise_merge.publish.merged import Merged
from wise_merge.publish.parents import Inherited, inherited
from wise_merge.publish.privacy import privacy_of
from wise_merge.recipes.models import ingredients

APACHE = "license: apache-2.0\nlanguage: en"


@pytest.fixture
def run(tmp_path, monkeypatch):
    """A run with two checkpoints, from beside which the command is called; nothing is asked of a network."""
    for step in (1, 2):
        (tmp_path / "sft" / f"checkpoint-{step}").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    return tmp_path / "sft"


def card(folder, metadata):
    (folder / "README.md").write_text(f"---\n{metadata}\n---\n\n# A model\n")


def of(early="sft/checkpoint-1", late="sft/checkpoint-2", *, licence=None, sources=(), earlier=None):
    """What the average of two checkpoints inherits."""
    recipe = {
        "merge_method": "wise_ft",
        "base_model": early,
        "models": [{"model": late}],
        "parameters": {"alpha": 0.5},
    }
    merged = Merged(Path("out"), recipe, ingredients(recipe)[0], {}, "LlamaForCausalLM", None)
    return inherited(merged, privacy_of(merged, dict(sources), ())[0], licence, earlier)


def test_parents_that_agree(run):
    """One licence, and the languages of both in the order of their cards."""
    card(run / "checkpoint-1", "license: mit\nlanguage: [en, de]")
    card(run / "checkpoint-2", "license: mit\nlanguage: [de, fr]")
    assert of() == Inherited({"license": "mit"}, ("en", "de", "fr"), ())


def test_the_card_of_a_run_is_that_of_its_checkpoints(run, monkeypatch):
    """Trainers write one beside them; that of a checkpoint itself comes first."""
    card(run, APACHE)
    assert of() == Inherited({"license": "apache-2.0"}, ("en",), ())
    os.symlink("sft/checkpoint-2", "last")
    assert of(late="last").licence == {"license": "apache-2.0"}
    card(run / "checkpoint-2", "license: mit")
    with pytest.raises(WiseMergeError, match=r"early has the licence apache-2\.0, late mit"):
        of()
    monkeypatch.chdir(run / "checkpoint-1")
    assert of(early=".", late="../checkpoint-1/").licence == {"license": "apache-2.0"}


def test_a_folder_beside_others_has_not_their_card(run):
    """What lies above a folder that is no checkpoint is about something else."""
    card(run, APACHE)
    (run / "early").mkdir()
    assert of(early="sft/early").warnings[0].startswith("early: it has no card")


def test_the_card_that_trl_writes_has_no_licence(run):
    """TRL leaves `licence: license`, which names none, and is not taken for one."""
    from trl.trainer.utils import generate_model_card

    known = {"base_model": "org/base", "model_name": "sft", "hub_model_id": "anna/sft", "trainer_name": "SFT"}
    others = dict.fromkeys(inspect.signature(generate_model_card).parameters)
    generate_model_card(**{**others, **known, "tags": ["sft"]}).save(run / "README.md")
    assert "licence: license" in (run / "README.md").read_text()
    found = of()
    assert (found.licence, found.languages) == ({}, ())
    assert found.warnings == (
        "no licence is known, and the card has none; say which by --license, such as --license mit",
    )


def test_parents_that_differ_stop_and_are_both_named(run):
    """Which holds for the average is for a person to say, who says it by --license."""
    card(run / "checkpoint-1", APACHE)
    card(run / "checkpoint-2", "license: cc-by-nc-4.0\nlanguage: de")
    with pytest.raises(
        WiseMergeError, match=r"early has the licence apache-2.0, late cc-by-nc-4.0; decide .* by --license"
    ):
        of()
    assert of(licence="cc-by-nc-4.0") == Inherited({"license": "cc-by-nc-4.0"}, ("en", "de"), ())


OTHER = "license: other\nlicense_name: llama3\nlicense_link: https://llama.com/llama3/license"


def test_a_licence_of_its_own_has_its_name_and_link(run):
    """Two others are the same only if these are."""
    card(run, OTHER)
    expected = {"license": "other", "license_name": "llama3", "license_link": "https://llama.com/llama3/license"}
    assert of().licence == expected
    card(run / "checkpoint-2", OTHER.replace("llama3", "gemma"))
    with pytest.raises(WiseMergeError, match=r"early has the licence other, llama3, .*, late other, gemma, "):
        of()


def test_one_parent_that_says_nothing(run):
    """The other's licence is taken, with a warning."""
    card(run / "checkpoint-2", APACHE)
    found = of()
    assert found.licence == {"license": "apache-2.0"}
    assert found.languages == ("en",)
    assert found.warnings == (
        "early: it has no card, so neither its licence nor its languages are known",
        "the licence, apache-2.0, is that of late; that of the other is not known",
    )


def test_an_earlier_card_says_it_where_the_parents_do_not(run):
    """Where they do, theirs holds, with a warning; and --license overrules both."""
    earlier = {"license": "other", "license_name": "llama3"}
    silent = of(earlier=earlier)
    assert silent.licence == earlier
    assert not [warning for warning in silent.warnings if "no licence" in warning]
    card(run, APACHE)
    changed = of(earlier=earlier)
    assert changed.licence == {"license": "apache-2.0"}
    assert changed.warnings == ("the card had the licence other, and now has apache-2.0; --license other keeps it",)
    assert of(earlier={"license": "apache-2.0"}).warnings == ()
    assert of(earlier=earlier, licence="mit") == Inherited({"license": "mit"}, ("en",), ())


@pytest.mark.parametrize(
    ("metadata", "licence", "languages"),
    [
        ("license: [mit]", {"license": "mit"}, ()),
        ("license: MIT", {"license": "mit"}, ()),
        ("license: []\nlanguage:", {}, ()),
        ("license: mit\nlanguage: no", {"license": "mit"}, ("no",)),
        ("license: mit\nlanguage: [en, no]", {"license": "mit"}, ("en", "no")),
        ("language: en", {}, ("en",)),
        ("license_name: x", {}, ()),
        ("license: mit\nmodel-index: [nonsense]", {"license": "mit"}, ()),
    ],
)
def test_cards_are_read_as_people_write_them(run, metadata, licence, languages):
    """A list of one, capitals, and Norwegian, which YAML takes for "no"."""
    card(run, metadata)
    found = of()
    assert (found.licence, found.languages) == (licence, languages)


def test_several_licences_of_one_parent_stop(run):
    """None of them is chosen in silence."""
    card(run, "license: [mit, apache-2.0]")
    with pytest.raises(WiseMergeError, match=r"early has several licences, mit and apache-2\.0; .*--license"):
        of()
    assert of(licence="mit").licence == {"license": "mit"}


@pytest.mark.parametrize("content", [b"---\nlicense: [mit\n---\n", b"---\n- mit\n---\n", b"\xff\xfe"])
def test_a_card_that_cannot_be_read_is_a_warning(run, content):
    """One line that names the file."""
    (run / "README.md").write_bytes(content)
    found = of()
    assert found.licence == {}
    assert len(found.warnings) == 3
    for role, warning in zip(("early", "late"), found.warnings, strict=False):
        assert warning.startswith(f"{role}: {run / 'README.md'} cannot be read (")
        assert "\n" not in warning


def test_an_adapter_speaks_for_itself(run):
    """Of BASE+ADAPTER the card of the adapter counts."""
    card(run, APACHE)
    (run / "base").mkdir()
    card(run / "base", "license: mit")
    assert of(late="sft/base+sft/checkpoint-2").licence == {"license": "apache-2.0"}


def test_what_is_on_the_hub_cannot_be_asked_offline(run):
    """Nor a folder that is gone: warnings, and no licence."""
    found = of("org/early", "/nowhere/late")
    assert found.licence == {}
    assert found.warnings[0].startswith("early: org/early has no card that could be read (")
    assert found.warnings[1].startswith("late: it has no card")


def cards_of_the_hub():
    """Put some models on the Hub, each with a card; runs in a process that is not offline."""
    api = HfApi()

    def add(repository, metadata, branch=None):
        api.create_repo(repository, exist_ok=True)
        if branch is not None:
            api.create_branch(repository, branch=branch)
        content = f"---\n{metadata}\n---\n# A model\n".encode()
        api.upload_file(path_or_fileobj=content, path_in_repo="README.md", repo_id=repository, revision=branch)

    add("anna/early", APACHE)
    add("anna/late", "license: apache-2.0\nlanguage: de")
    add("anna/late", "license: gpl-3.0", branch="step-5")
    api.create_repo("anna/bare")


def ask(questions):
    """Print what is inherited, or the error, for each of several averages."""
    for question in questions:
        try:
            print(json.dumps(asdict(of(**question))))
        except WiseMergeError as error:
            print(json.dumps(str(error)))


@pytest.fixture
def asked(run):
    """What is inherited by a process that may ask the Hub, or the error, for each of several averages."""

    def answers(hub, *questions):
        code = "import json, sys, test_parents as t; t.cards_of_the_hub(); t.ask(json.loads(sys.argv[1]))"
        environment = {
            **os.environ,
            **hub.environment(run.parent / "home"),
            "PYTHONPATH": str(Path(__file__).parent),
        }
        done = subprocess.run(
            [sys.executable, "-c", code, json.dumps(questions)],
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return list(map(json.loads, done.stdout.splitlines()[-len(questions) :]))

    return answers


def test_cards_of_the_hub(asked, run):
    """By id and revision, of the recipe or of --source; they add what a trainer's card beside a checkpoint lacks."""
    card(run, "licence: license\nlanguage: fr")
    with HubServer(user="anna", token="hf_secret_of_anna") as hub:
        both, revision, sources, bare, nobody = asked(
            hub,
            {"early": "anna/early", "late": "anna/late"},
            {"early": "anna/early", "late": "anna/late@step-5"},
            {"sources": {"early": "anna/early", "late": "anna/late@main"}},
            {"early": "anna/bare", "late": "anna/late"},
            {"early": "anna/nobody", "late": "anna/late@nothing"},
        )
    assert both == {"licence": {"license": "apache-2.0"}, "languages": ["en", "de"], "warnings": []}
    assert revision.startswith("early has the licence apache-2.0, late gpl-3.0; decide")
    assert sources == {"licence": {"license": "apache-2.0"}, "languages": ["fr"], "warnings": []}
    assert bare["licence"] == {"license": "apache-2.0"}
    assert bare["warnings"][0].startswith("early: anna/bare has no card that could be read (")
    assert nobody["warnings"][:2] == [
        "early: the Hub shows no anna/nobody, so neither its licence nor its languages are known",
        "late: the Hub shows no anna/late@nothing, so neither its licence nor its languages are known",
    ]
