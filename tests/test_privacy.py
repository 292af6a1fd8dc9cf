"""Nothing that is published tells where on the machine it lay."""

import json
import os
import string
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from support.checkpoints import character_tokenizer

from wise_merge.errors import WiseMergeError
from wise_merge.publish.merged import Merged
from wise_merge.publish.privacy import Privacy, is_hub_id, last_part, privacy_of, published
from wise_merge.recipes.models import ingredients


@pytest.fixture
def home(tmp_path, monkeypatch):
    """A home with a project in it, from where the command is called."""
    project = tmp_path / "anna" / "secret project"
    (project / "out").mkdir(parents=True)
    monkeypatch.setenv("HOME", str(tmp_path / "anna"))
    monkeypatch.chdir(project)
    return tmp_path / "anna"


def merged_of(early, late, **more):
    """A model of two checkpoints in the folder `out`."""
    recipe = {
        "merge_method": "wise_ft",
        "base_model": early,
        "models": [{"model": late}],
        "parameters": {"alpha": 0.5},
        **more,
    }
    return Merged(Path("out"), recipe, ingredients(recipe)[0], {}, "LlamaForCausalLM", "float32")


def privacy(early="org/early", late="org/late", sources=(), **more):
    """What stands for what, if the warnings do not matter."""
    return privacy_of(merged_of(early, late, **more), dict(sources), (Path("out"),))[0]


def leaving(path, privacy):
    """The bytes that leave of a file."""
    content = privacy.file(path)
    return path.read_bytes() if content is None else content


def assert_private(content, home):
    for secret in (str(home), "secret"):
        assert secret not in content


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("org/model", "org/model"),
        ("org/model@refs/pr/1", "org/model@refs/pr/1"),
        ("gpt2", "gpt2"),
        ("/data/anna/runs/checkpoint-25", "checkpoint-25"),
        ("/ckpt", "ckpt"),
        ("runs/sft/checkpoint-25/", "checkpoint-25"),
        ("sft/checkpoint-25", "checkpoint-25"),
        ("org/checkpoint-25b", "org/checkpoint-25b"),
        ("../../secret-project/ckpt", "ckpt"),
        ("./out", "out"),
        ("~/runs/my model", "my model"),
        ("~anna/runs", "runs"),
        ("file:///data/anna/ckpt", "ckpt"),
        (r"C:\Users\anna\ckpt", "ckpt"),
        ("C:/ckpt", "ckpt"),
        (r"\\server\anna\ckpt", "ckpt"),
        ("..", "_"),
        ("/", "_"),
        ("org/base+/data/anna/lora", "org/base+lora"),
        ("/data/base+../lora", "base+lora"),
    ],
)
def test_a_checkpoint_is_called_by_its_id_or_the_last_part_of_its_path(name, shown):
    """Of every system, and each part of BASE+ADAPTER."""
    assert published(name) == shown


def test_a_folder_here_is_no_id(home):
    """`runs/late` is one that is there, and could be an id if it were not; an id that was asked for is one."""
    Path("runs/late").mkdir(parents=True)
    assert published("runs/late") == "late"
    assert published("runs/other") == "runs/other"
    assert is_hub_id("runs/late")
    assert privacy("org/early", "runs/late", {"late": "runs/late"}).names["runs/late"] == "runs/late"


@pytest.mark.parametrize("name", ["late", "", "/a", "a/b/c", "../a", "./a", "~/a", "a/b c", "C:/a", "a\\b", "a/b\n"])
def test_what_is_no_id(name):
    """An id is ORG/MODEL, with or without @REVISION."""
    assert not is_hub_id(name)


SECRET = "{home}/secret project/runs"


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        ("config.json", {"_name_or_path": f"{SECRET}/checkpoint-25", "n": 1}, {"_name_or_path": "late", "n": 1}),
        ("config.json", {"_name_or_path": "", "vocab_size": 99}, None),
        ("config.json", {"_name_or_path": "meta-llama/Llama-3.2-1B"}, None),
        ("config.json", {"_name_or_path": "../../secret/ckpt"}, {"_name_or_path": "ckpt"}),
        ("config.json", {"_name_or_path": "secret/deep/ckpt"}, {"_name_or_path": "ckpt"}),
        ("config.json", {"text_config": {"_name_or_path": "~/secret/x y"}}, {"text_config": {"_name_or_path": "x y"}}),
        ("tokenizer_config.json", {"name_or_path": "file:///secret/a"}, {"name_or_path": "a"}),
        ("tokenizer_config.json", {"vocab_file": f"{SECRET}/vocab.json"}, {"vocab_file": "vocab.json"}),
        ("tokenizer_config.json", {"auto_map": {"AutoTokenizer": ["org/m--tokenization.Tokenizer", None]}}, None),
        ("generation_config.json", {"cache": [r"C:\secret\me\x", r"\\secret\me\x"]}, {"cache": ["x", "x"]}),
        ("generation_config.json", {"stop_strings": ["/secret/", "</s>"], "x": "a / b"}, None),
        ("model.safetensors.index.json", {"metadata": {"from": f"made in {SECRET}"}, "weight_map": {}}, "made in"),
        (
            "adapter_config.json",
            {"base_model_name_or_path": f"{SECRET}/checkpoint-2"},
            {"base_model_name_or_path": "2"},
        ),
        ("processor_config.json", {f"{SECRET}/a": 1}, "a"),
        (
            "wise_merge.json",
            {"late": {"model": f"{SECRET}/checkpoint-25", "step": 25}},
            {"late": {"model": "late", "step": 25}},
        ),
    ],
)
def test_json_leaves_without_paths(home, name, content, expected):
    """Names of the recipe as ids, other paths as their last part, and what holds none byte by byte as it is."""
    runs = home / "secret project" / "runs"
    cleaner = privacy(f"{runs}/checkpoint-2", f"{runs}/checkpoint-25", {"early": "2", "late": "late"})
    path = Path("out") / name
    path.write_text(json.dumps(content).replace("{home}", str(home)))
    left = leaving(path, cleaner)
    if expected is None:
        assert left == path.read_bytes()
    else:
        assert_private(left.decode(), home)
        assert json.loads(left) == expected if isinstance(expected, dict) else expected in left.decode()


RECIPES = {
    "paths": ("{runs}/checkpoint-2", "{runs}/checkpoint-25", {}),
    "climbing": ("../secret project/runs/checkpoint-2", "../../anna/secret project/runs/checkpoint-25", {}),
    "dictionaries": (
        {"model": {"path": "{runs}/checkpoint-2"}},
        {"model": {"path": "{runs}/checkpoint-25", "revision": "main"}},
        {},
    ),
    "adapter": ("{runs}/checkpoint-2", "{runs}/checkpoint-2+{runs}/checkpoint-25", {}),
    "adapter as a dictionary": (
        "{runs}/checkpoint-2",
        {"model": {"path": "{runs}/checkpoint-2"}, "lora": {"path": "runs/checkpoint-25"}},
        {},
    ),
    "a tokenizer of its own": (
        "org/early",
        "org/late",
        {
            "tokenizer": {
                "source": "runs/checkpoint-2",
                "tokens": {"<x>": {"source": {"kind": "model_token", "model": "{runs}/checkpoint-25", "token_id": 3}}},
            }
        },
    ),
    "an old tokenizer key": ("org/early", "org/late", {"tokenizer_source": "runs/checkpoint-2"}),
    "a template in a file": ("org/early", "org/late", {"tokenizer": {"source": "base"}, "chat_template": "auto"}),
}


@pytest.mark.parametrize("case", RECIPES)
def test_a_recipe_leaves_without_paths(home, case):
    """In every form of mergekit; it names the same two models and the same alpha."""
    runs = home / "secret project" / "runs"
    for step in (2, 25):
        (runs / f"checkpoint-{step}").mkdir(parents=True)
    early, late, more = yaml.safe_load(
        yaml.safe_dump(RECIPES[case]).replace("{runs}", str(runs)).replace("!!python/tuple", "")
    )
    merged = merged_of(early, late, **more)
    Path("out/mergekit_config.yml").write_text(yaml.safe_dump(dict(merged.recipe), sort_keys=False))
    left = leaving(Path("out/mergekit_config.yml"), privacy(early, late, **more))
    assert_private(left.decode(), home)
    assert "runs" not in left.decode()
    (pair,) = ingredients(yaml.safe_load(left))
    assert (
        pair
        == ingredients(
            {
                **merged.recipe,
                "base_model": published(merged.name("early")),
                "models": [{"model": published(merged.name("late"))}],
            }
        )[0]
    )


def test_a_comment_in_a_recipe_and_a_key_that_stands_twice_do_not_leave(home):
    """What the parser does not see is in the text all the same."""
    cleaner = privacy()
    path = Path("out/mergekit_config.yml")
    path.write_text(f"# made in {home}/secret project\nmerge_method: wise_ft\n")
    assert leaving(path, cleaner) == b"merge_method: wise_ft\n"
    path = Path("out/config.json")
    path.write_text(json.dumps({"a": f"{home}/secret", "b": 1})[:-1] + ', "a": 2}')
    assert json.loads(leaving(path, cleaner)) == {"a": 2, "b": 1}
    assert_private(leaving(path, cleaner).decode(), home)


def test_names_stand_for_names_however_they_begin():
    """checkpoint-2 is not the beginning of checkpoint-25, and what stands for one name may be the other."""
    cleaner = privacy(
        "runs/sft/checkpoint-2", "runs/sft/checkpoint-25", {"early": "org/sft@step2", "late": "org/sft@step25"}
    )
    text = "runs/sft/checkpoint-2, runs/sft/checkpoint-25; runs/sft/checkpoint-250. From runs/sft/checkpoint-25."
    assert cleaner.text(text) == "org/sft@step2, org/sft@step25; runs/sft/checkpoint-250. From org/sft@step25."
    swapped = privacy("org/a", "org/b", {"early": "org/b", "late": "org/c"})
    assert swapped.text("org/a and org/b") == "org/b and org/c"
    adapted = privacy("runs/x/base", "runs/x/base+runs/x/lora")
    assert adapted.text("runs/x/base+runs/x/lora on runs/x/base") == "base+lora on base"


def test_words_stay_words():
    """A checkpoint that is called "late" or "math" changes no sentence; in the recipe it is an id."""
    cleaner = privacy("math", "late", {"early": "org/math", "late": "org/late"})
    text = 'A late checkpoint for math: {"role": "late"}'
    assert cleaner.text(text) == text
    assert cleaner.value({"base_model": "math", "models": [{"model": "late"}]}) == {
        "base_model": "org/math",
        "models": [{"model": "org/late"}],
    }


def test_two_checkpoints_of_one_name_are_told_apart(home):
    """a/final and b/final are not both `final`, else nobody could read the recipe."""
    assert list(privacy("/a/x/final", "/b/x/final").names.values()) == ["final-early", "final-late"]
    one = privacy("/a/x/final", "/b/x/final", {"early": "org/final"})
    assert one.names == {"/a/x/final": "org/final", "/b/x/final": "final"}
    with pytest.raises(WiseMergeError, match="early and late are both org/m by --source"):
        privacy("/a/x/final", "/b/x/final", {"early": "org/m", "late": "org/m"})


def test_a_name_that_nobody_can_find_is_a_warning():
    """Per checkpoint, with what to do; ids and sources need none."""
    _, warnings = privacy_of(merged_of("/data/runs/early", "org/late"), {}, ())
    assert len(warnings) == 1
    assert "early is called early in what is published, which nobody else can find" in warnings[0]
    assert "--source early=ORG/MODEL@REVISION" in warnings[0]
    assert privacy_of(merged_of("/data/runs/early", "org/late"), {"early": "org/early"}, ())[1] == []


def test_vocabularies_and_templates_leave_as_they_are(home):
    """A token may look like a path, even like the home."""
    tokenizer = character_tokenizer()
    tokenizer.add_tokens([str(home), "/home/x"])
    tokenizer.add_special_tokens({"additional_special_tokens": ["/think/on", f"{home}/x"], "bos_token": "/a/b"})
    tokenizer.chat_template = "{# /no/path #}{{ messages[0]['content'] }}"
    tokenizer.save_pretrained("out")
    Path("out/vocab.json").write_text(json.dumps({f"{home}/x": 0}))
    Path("out/special_tokens_map.json").write_text(json.dumps({"eos_token": f"{home}/x"}))
    names = {path.name for path in Path("out").iterdir()}
    assert {"tokenizer.json", "tokenizer_config.json", "chat_template.jinja"} <= names
    for name in names - {"tokenizer_config.json"}:
        assert privacy().file(Path("out") / name) is None
    settings = Path("out/tokenizer_config.json")
    assert str(home) in settings.read_text()
    assert json.loads(leaving(settings, privacy())) == json.loads(settings.read_text())


@pytest.mark.parametrize(
    "name",
    ["modeling_own.py", "README.md", "LICENSE", "LICENSE-2.0", "NOTICE.rst", "chat_template.jinja", "curve.svg"],
)
def test_a_folder_in_somebody_s_text_is_an_error_that_names_the_line(home, name):
    """It is not rewritten, as it is not ours; the parent of a folder is one of the machine too."""
    path = Path("out") / name
    path.write_text(f"first\nsee {home}/secret project/runs\n")
    with pytest.raises(WiseMergeError, match=f"line 2 of {name} holds {home}"):
        privacy().file(path)
    path.write_text("first\nsee /no/path/of/this/machine\n")
    assert privacy().file(path) is None


@pytest.mark.parametrize("template", ["{{# {0}/x #}}", [{"name": "default", "template": "{0}"}]])
def test_a_folder_in_a_template_is_an_error(home, template):
    """A template within tokenizer_config.json is somebody's text, too."""
    text = json.dumps({"chat_template": template}).replace("{0}", str(home))
    Path("out/tokenizer_config.json").write_text(text)
    with pytest.raises(WiseMergeError, match=f"of chat_template holds {home}"):
        privacy().file(Path("out/tokenizer_config.json"))


def test_a_broken_file_is_an_error(home):
    """JSON and YAML that nobody could read are not sent."""
    for name, content in (("config.json", b"{"), ("mergekit_config.yml", b"a: [1"), ("config.json", b"\xff\xfe")):
        (Path("out") / name).write_bytes(content)
        with pytest.raises(WiseMergeError, match=f"{name} cannot be read"):
            privacy().file(Path("out") / name)


def test_half_a_character_leaves_as_it_is(home):
    """A token of half a surrogate pair is JSON, which is written again where there is a path."""
    Path("out/tokenizer_config.json").write_text('{"half": "\\ud83d", "whole": "\\u00e9", "x": "/secret/me/y"}')
    left = leaving(Path("out/tokenizer_config.json"), privacy())
    assert json.loads(left) == {"half": "\ud83d", "whole": "é", "x": "y"}


@pytest.mark.parametrize("place", ["/root", "/"])
def test_homes_of_containers(monkeypatch, place):
    """/root is hidden like any home; / is in every path, and hides nothing by itself."""
    monkeypatch.setenv("HOME", place)
    monkeypatch.chdir("/")
    cleaner, _ = privacy_of(merged_of("org/early", "org/late"), {}, (Path("/root/secret/out"),))
    assert cleaner.text("in /root/secret/out/x, 1/2") == "in x, 1/2"
    assert cleaner.value({"a": "/root/secret/x", "b": "and/or", "c": "/"}) == {"a": "x", "b": "and/or", "c": "/"}
    assert "/" not in cleaner.folders
    if place == "/root":
        with pytest.raises(WiseMergeError, match=r"line 1 of README\.md holds /root"):
            cleaner.refuse("README.md", "See /root/notes")


def test_a_link_and_what_it_leads_to_are_both_hidden(home):
    """By whichever name a folder was given."""
    (home / "disk" / "runs" / "checkpoint-5").mkdir(parents=True)
    os.symlink(home / "disk" / "runs", "linked")
    late = f"{Path.cwd()}/linked/checkpoint-5"
    cleaner = privacy("org/early", late)
    for path in (late, f"{home}/disk/runs/checkpoint-5/x", f"{Path.cwd()}/linked/other/x"):
        assert_private(cleaner.text(f"see '{path}'"), home)
        with pytest.raises(WiseMergeError, match=r"line 1 of README\.md"):
            cleaner.refuse("README.md", f"see '{path}'")


def test_a_checkpoint_that_is_gone_is_hidden():
    """Deleted or on another disk since the merge; its path still tells of the machine."""
    cleaner = privacy("org/early", "/mnt/anna/runs/checkpoint-5")
    assert cleaner.text("from file:///mnt/anna/runs/checkpoint-5/model.safetensors") == "from model.safetensors"
    assert cleaner.text("/mnt/anna/runs/trainer.log") == "trainer.log"


def test_a_folder_is_hidden_as_json_spells_it(tmp_path, monkeypatch):
    """In JSON of ASCII a folder with other letters looks different."""
    monkeypatch.setenv("HOME", str(tmp_path / "andré"))
    text = json.dumps({"path": f"{tmp_path}/andré/runs/x"})
    assert json.loads(privacy().text(text)) == {"path": "x"}


def test_what_stands_for_a_folder_completes_no_other():
    """/root/x becomes x, and /data//root/x with it /data/x, which is one too."""
    cleaner = Privacy({}, ("/data/x", "/root"))
    assert cleaner.text("at /data//root/x") == "at x"


def test_the_last_part_of_a_uri_and_of_mixed_separators():
    """As each system would."""
    assert [last_part(path) for path in ("file:///a/b%20c", r"a\b/c", "x", "a/b/.")] == ["b%20c", "c", "x", "b"]


FOLDERS = ("/home/anna", "/home/anna/runs", "/data/möbius/x y", "/root")
CLEANER = Privacy(
    {"/data/möbius/x y/late": "org/late", "runs/early": "early"}, tuple(sorted(FOLDERS, key=len, reverse=True))
)
LETTERS = st.text(string.ascii_lowercase + " é/\\.~-\n", max_size=12)
TEXTS = st.one_of(
    LETTERS,
    st.builds(lambda before, folder, after: before + folder + after, LETTERS, st.sampled_from(FOLDERS), LETTERS),
    st.lists(st.sampled_from([*FOLDERS, "/home/", "/", "runs", "anna"]), max_size=5).map("".join),
)
DOCUMENTS = st.recursive(
    st.one_of(TEXTS, st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False)),
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(TEXTS, inner, max_size=4)),
    max_leaves=12,
)


def texts(value):
    """Every text of a document, keys too."""
    if isinstance(value, dict):
        for key, entry in value.items():
            yield key
            yield from texts(entry)
    elif isinstance(value, list):
        for entry in value:
            yield from texts(entry)
    elif isinstance(value, str):
        yield value


@given(DOCUMENTS)
def test_no_text_of_a_document_holds_a_folder(document):
    """Wherever in whatever JSON a path below a known folder stands; once clean, it stays as it is."""
    cleaned = CLEANER.value(document)
    assert [text for text in texts(cleaned) for folder in FOLDERS if folder in text] == []
    assert not any(folder in json.dumps(cleaned, ensure_ascii=False) for folder in FOLDERS)


@given(TEXTS)
def test_no_text_holds_a_folder(text):
    """Nor does one of the card; a text without path or name is not touched."""
    assert not any(folder in CLEANER.text(text) for folder in FOLDERS)
    if not any(found in text for found in (*FOLDERS, *CLEANER.names)):
        assert CLEANER.text(text) == text
