"""What a merged model is made of, as its files say, whoever wrote them."""

import hashlib
import json
import os

import pytest
import yaml
from click.testing import CliRunner
from support.checkpoints import make_checkpoint
from support.merges import merge
from support.recipes import bang

from wise_merge.cli import main
from wise_merge.errors import WiseMergeError
from wise_merge.publish.merged import RECIPE, RECORD, read_merged, same_recipe


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run with two checkpoints, of which the second says its step."""
    folder = tmp_path_factory.mktemp("merged") / "sft"
    for step in (100, 2500):
        make_checkpoint(folder / f"checkpoint-{step}", seed=step)
    (folder / "checkpoint-2500" / "trainer_state.json").write_text('{"global_step": 2500, "log_history": []}')
    return folder


@pytest.fixture(scope="module")
def out(run):
    """A model of BANG that `wise-merge merge` has made of them."""
    recipe = {
        "merge_method": "bang",
        "base_model": str(run / "checkpoint-100"),
        "models": [{"model": str(run / "checkpoint-2500"), "parameters": {"temperature": 1.5}}],
        "parameters": {"alpha": 0.25},
        "dtype": "bfloat16",
    }
    (run / "recipe.yml").write_text(yaml.safe_dump(recipe))
    result = CliRunner().invoke(main, ["merge", str(run / "recipe.yml"), str(run / "out")])
    assert result.exit_code == 0, result.output
    return run / "out"


@pytest.fixture
def folder(tmp_path):
    """A folder with a config, which is all that a model needs here."""
    (tmp_path / "config.json").write_text('{"architectures": ["LlamaForCausalLM"]}')
    return tmp_path


def plain(early="early", late="late", alpha=0.5, **more):
    """A recipe of WiSE-FT."""
    return {
        "merge_method": "wise_ft",
        "base_model": early,
        "models": [{"model": late}],
        "parameters": {"alpha": alpha},
        **more,
    }


def written(folder, recipe):
    (folder / RECIPE).write_text(yaml.safe_dump(recipe))
    return folder


def test_a_model_of_wise_merge_tells_all(out, run):
    """Method, alpha, temperatures, steps, dtype, architecture and the SHA-256 of what it was made from."""
    merged = read_merged(out)
    assert (merged.method, merged.alpha, merged.dtype, merged.architecture) == (
        "bang",
        0.25,
        "bfloat16",
        "LlamaForCausalLM",
    )
    assert [merged.name(role) for role in ("early", "late")] == [
        str(run / f"checkpoint-{step}") for step in (100, 2500)
    ]
    assert [merged.temperature(role) for role in ("early", "late")] == [1.0, 1.5]
    assert [merged.step(role) for role in ("early", "late")] == [100, 2500]
    for role, step in (("early", 100), ("late", 2500)):
        content = (run / f"checkpoint-{step}" / "model.safetensors").read_bytes()
        assert merged.sha256(role) == {"model.safetensors": hashlib.sha256(content).hexdigest()}


def test_a_model_of_mergekit_tells_what_its_recipe_says(run, tmp_path):
    """Mergekit-yaml writes the recipe and no more, so that steps and hashes are unknown."""
    recipe = plain(str(run / "checkpoint-100"), str(run / "checkpoint-2500"), 0.75)
    result = merge(recipe, tmp_path / "out")
    assert result.exit_code == 0, result.output
    merged = read_merged(tmp_path / "out")
    assert (merged.method, merged.alpha, merged.record) == ("wise_ft", 0.75, {})
    assert [merged.step(role) for role in ("early", "late")] == [None, None]
    assert merged.sha256("late") == {}
    assert same_recipe(merged.recipe, recipe)


@pytest.mark.parametrize(
    ("models", "early", "late"),
    [
        ({"base_model": "org/base", "models": [{"model": "org/base+runs/lora"}]}, "org/base", "org/base+runs/lora"),
        (
            {
                "base_model": {"model": {"path": "org/m", "revision": "step100"}},
                "models": [{"model": {"model": {"path": "org/m"}, "lora": {"path": "runs/lora"}}}],
            },
            "org/m@step100",
            "org/m+runs/lora",
        ),
    ],
)
def test_checkpoints_are_named_in_every_form_of_mergekit(folder, models, early, late):
    """An adapter on its base, and the form with path, revision and lora."""
    merged = read_merged(written(folder, {**plain(), **models}))
    assert (merged.name("early"), merged.name("late")) == (early, late)


def test_alpha_is_a_number_however_it_is_written(folder):
    """A text that is a number is one for mergekit too."""
    assert read_merged(written(folder, plain(alpha="0.5"))).alpha == 0.5
    by_layer = [{"filter": "mlp", "value": [0, "1"]}, {"value": 0.5}]
    assert read_merged(written(folder, plain(alpha=by_layer))).alpha == [
        {"filter": "mlp", "value": [0.0, 1.0]},
        {"value": 0.5},
    ]


def test_slices_have_no_temperature_and_alpha_of_their_own(folder):
    """What varies by slice is no one number."""
    piece = {
        "sources": [{"model": name, "layer_range": [0, 2]} for name in ("early", "late")],
        "parameters": {"alpha": 0.5},
    }
    recipe = {"merge_method": "wise_ft", "base_model": "early", "slices": [piece]}
    merged = read_merged(written(folder, recipe))
    assert (merged.name("late"), merged.alpha, merged.temperature("late")) == ("late", None, None)


@pytest.mark.parametrize(
    ("recipe", "message"),
    [
        ({**plain(), "paramters": {}}, "unknown key paramters.*did you mean parameters"),
        ({**plain(), "models": [{"model": "a"}, {"model": "b"}]}, "must name exactly one late checkpoint"),
        ({key: value for key, value in plain().items() if key != "base_model"}, "base_model is missing"),
        (["early", "late"], "must be a mapping"),
        (
            {
                "merge_method": "wise_ft",
                "base_model": "a",
                "slices": [
                    {"sources": [{"model": name, "layer_range": [0, 1]} for name in ("a", late)]} for late in ("b", "c")
                ],
            },
            "averages 2 pairs of checkpoints",
        ),
    ],
)
def test_a_recipe_that_is_none_is_an_error(folder, recipe, message):
    """One line that names the file."""
    with pytest.raises(WiseMergeError, match=message) as error:
        read_merged(written(folder, recipe))
    assert str(folder / RECIPE) in str(error.value)


def test_a_soup_tells_of_each_of_its_checkpoints(run):
    """As many as there are, in the order of the recipe, with weight, step and hash; one weight is a default."""
    names = [str(run / f"checkpoint-{step}") for step in (100, 2500)]
    models = [{"model": names[0], "parameters": {"weight": 3}}, {"model": names[1]}]
    (run / "soup.yml").write_text(yaml.safe_dump({"merge_method": "uniform_soup", "models": models}))
    result = CliRunner().invoke(main, ["merge", str(run / "soup.yml"), str(run / "soup")])
    assert result.exit_code == 0, result.output
    merged = read_merged(run / "soup")
    assert (merged.method, merged.is_pair, merged.roles) == ("uniform_soup", False, ("model 1", "model 2"))
    assert [merged.name(role) for role in merged.roles] == names
    assert [merged.parameters(role) for role in merged.roles] == [{"weight": 3.0}, {"weight": 1.0}]
    assert [merged.step(role) for role in merged.roles] == [100, 2500]
    content = (run / "checkpoint-2500" / "model.safetensors").read_bytes()
    assert merged.sha256("model 2") == {"model.safetensors": hashlib.sha256(content).hexdigest()}


@pytest.mark.parametrize(
    ("recipe", "roles", "names"),
    [
        ({"merge_method": "ties", "base_model": "c", "models": [{"model": "a"}, {"model": "b"}]}, "base 1 2", "c a b"),
        ({"merge_method": "uniform_soup", "base_model": "b", "models": [{"model": "a"}, {"model": "b"}]}, "1 2", "b a"),
        ({"merge_method": "weight_signature", "models": [{"model": "a"}]}, "1", "a"),
        (
            {
                "merge_method": "passthrough",
                "slices": [{"sources": [{"model": name, "layer_range": [0, 1]}]} for name in "ab"],
            },
            "1 2",
            "a b",
        ),
    ],
)
def test_merges_by_any_method_name_their_checkpoints(folder, recipe, roles, names):
    """Those of mergekit as well; a base that is no model like the others is called so."""
    merged = read_merged(written(folder, recipe))
    assert [role.removeprefix("model ") for role in merged.roles] == roles.split()
    assert [merged.name(role) for role in merged.roles] == names.split()


def test_a_model_that_is_no_merge_has_no_checkpoints(run):
    """Only where there are figures of it is there anything to tell."""
    merged = read_merged(run / "checkpoint-2500", evaluated=True)
    assert (merged.recipe, merged.method, merged.roles, merged.is_pair) == ({}, "", (), False)
    assert merged.architecture == "LlamaForCausalLM"


def test_a_folder_without_recipe_or_with_a_broken_record_is_an_error(folder):
    """Nothing is guessed."""
    with pytest.raises(WiseMergeError, match=f"has no {RECIPE}, so nothing says what it was merged from"):
        read_merged(folder)
    written(folder, plain())
    (folder / RECORD).write_text('{"early": ')
    with pytest.raises(WiseMergeError, match=f"{RECORD} cannot be read as JSON"):
        read_merged(folder)


def test_a_checkpoint_alone_is_no_merged_model(run, tmp_path):
    """Neither a checkpoint nor a folder that is not there."""
    with pytest.raises(WiseMergeError, match=f"has no {RECIPE}"):
        read_merged(run / "checkpoint-100")
    with pytest.raises(WiseMergeError, match="does not exist"):
        read_merged(tmp_path / "nothing")


def test_one_model_is_the_same_however_its_recipe_is_written(run, monkeypatch):
    """Relative and absolute paths, links, 1 and 1.0, and the order of keys make no other model."""
    monkeypatch.chdir(run.parent)
    os.symlink(run / "checkpoint-2500", run.parent / "last")
    absolute = plain(str(run / "checkpoint-100"), str(run / "checkpoint-2500"), 1)
    for other in (
        plain("sft/checkpoint-100", "sft/checkpoint-2500", 1.0),
        plain("./sft/checkpoint-100/", "last", "1"),
        json.loads(json.dumps(absolute, sort_keys=True)),
    ):
        assert same_recipe(absolute, other)


@pytest.mark.parametrize(
    "other",
    [
        plain(alpha=0.6),
        plain(alpha=[{"filter": "mlp", "value": 0.5}, {"value": 0.5}]),
        plain(early="late", late="early"),
        plain(late="later"),
        plain(dtype="bfloat16"),
        plain(out_dtype="bfloat16"),
        {**plain(), "merge_method": "bang"},
    ],
)
def test_another_alpha_pair_dtype_or_method_is_another_model(other):
    """The figures of one are not those of the other."""
    assert not same_recipe(plain(), other)


def test_another_temperature_is_another_model(tmp_path):
    """Of either checkpoint."""
    recipe = bang(tmp_path, alpha=0.5, early=1, late=1.5)
    assert same_recipe(recipe, bang(tmp_path, alpha=0.5, early=1.0, late=1.5))
    assert not same_recipe(recipe, bang(tmp_path, alpha=0.5, early=1.5, late=1.0))


def test_soups_are_the_same_by_their_checkpoints_and_weights():
    """A weight that is left out is 1, wherever it stands; another weight, or another checkpoint, is another soup."""

    def soup(**weights):
        models = [
            {"model": name, **({"parameters": {"weight": one}} if one is not None else {})}
            for name, one in weights.items()
        ]
        return {"merge_method": "uniform_soup", "models": models}

    assert same_recipe(soup(a=None, b=2), soup(a="1", b=2.0))
    assert same_recipe(soup(a=3, b=None), {**soup(a=3, b=None), "parameters": {"weight": 1}})
    for other in (soup(a=1, b=3), soup(a=1, c=2), soup(a=1, b=2, c=1)):
        assert not same_recipe(soup(a=1, b=2), other)
