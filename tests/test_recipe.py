"""What the YAML of a merge may say, compared with mergekit's own reading of it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wise_merge.errors import WiseMergeError
from wise_merge.recipes.edits import with_out_dtype, with_parameter
from wise_merge.recipes.models import Ingredients, ingredients, is_ours, method_of
from wise_merge.recipes.parameters import check_settings, temperature_of, value_of
from wise_merge.recipes.reading import normalised, read_recipe
from wise_merge.recipes.schema import KEYS, check_keys, model_name

PLAIN = {
    "merge_method": "wise_ft",
    "base_model": "runs/checkpoint-25",
    "models": [{"model": "runs/checkpoint-600"}],
    "parameters": {"alpha": 0.5},
}


def test_the_known_keys_are_those_of_mergekit():
    """A key that mergekit learns or forgets must be learnt or forgotten here."""
    from mergekit import config
    from mergekit.tokenizer.config import TokenizerConfig

    for kind, model in {
        "recipe": config.MergeConfiguration,
        "model": config.InputModelDefinition,
        "slice": config.OutputSliceDefinition,
        "source": config.InputSliceDefinition,
        "module": config.OutputModuleDefinition,
        "tokenizer": TokenizerConfig,
        "condition": config.ConditionalParameter,
    }.items():
        assert set(KEYS[kind]) == set(model.model_fields), kind


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("base_model: 3", "base_model must be the name of a checkpoint, a number in quotes; got 3"),
        ("base_model: ''", "base_model must be the name"),
        ("models: [{model: [a]}]", r"model of models\[0\] .* must be the name of a checkpoint"),
        ("models: [{model: {foo: 1}}]", r"model of models\[0\] .* must be the name of a checkpoint"),
        ("dtype: &a [*a]", "refers to itself"),
    ],
)
def test_what_is_no_name_and_no_tree_is_an_error(text, message, tmp_path):
    """Where mergekit has a traceback of pydantic's, or YAML one of its own."""
    lines = {"base_model": "base_model: early", "models": "models: [{model: late}]"}
    lines[text.partition(":")[0]] = text
    (tmp_path / "wise.yml").write_text("\n".join(["merge_method: wise_ft", *lines.values()]))
    with pytest.raises(WiseMergeError, match=message):
        read_recipe(tmp_path / "wise.yml")


@pytest.mark.parametrize("name", ["a+", "+a", "a+b+c", "a++b"])
def test_a_plus_has_something_on_both_sides(name):
    """BASE+ADAPTER, and one of each."""
    with pytest.raises(WiseMergeError, match=r"is no checkpoint; write PATH, or BASE\+ADAPTER"):
        ingredients({**PLAIN, "base_model": name})


def test_dtypes_and_homes_are_spelt_once(tmp_path, monkeypatch):
    """torch.float32 is float32; ~ is a folder wherever a checkpoint is named."""
    monkeypatch.setenv("HOME", "/home/anna")
    slices = [{"base_model": "~/c", "sources": [{"model": {"model": {"path": "~/d"}, "lora": "~/e"}}]}]
    recipe = normalised({"base_model": "~/a+~/b", "slices": slices, "dtype": "torch.float32", "out_dtype": "bfloat16"})
    assert (recipe["dtype"], recipe["out_dtype"], recipe["base_model"]) == (
        "float32",
        "bfloat16",
        "/home/anna/a+/home/anna/b",
    )
    (piece,) = recipe["slices"]
    assert (piece["base_model"], model_name(piece["sources"][0]["model"])) == (
        "/home/anna/c",
        "/home/anna/d+/home/anna/e",
    )
    assert slices[0]["base_model"] == "~/c"
    assert with_out_dtype(PLAIN, "torch.float32")["out_dtype"] == "float32"


numbers = st.floats(0, 1, allow_nan=False)
gradients = st.lists(numbers, min_size=1, max_size=5)
conditions = st.fixed_dictionaries(
    {"value": st.one_of(numbers, gradients)}, optional={"filter": st.sampled_from(["mlp", "attn", "*", "x"])}
)


@given(st.one_of(numbers, gradients, st.lists(conditions, min_size=1, max_size=4)), st.floats(0, 1))
def test_settings_mean_what_mergekit_makes_of_them(setting, position):
    """Numbers, gradients and filters: the same value for every tensor, to the last bit."""
    from mergekit.config import InputModelDefinition, evaluate_setting

    parsed = InputModelDefinition(model="x", parameters={"alpha": setting}).parameters["alpha"]
    for name in ("model.layers.0.mlp.up_proj.weight", "model.layers.0.self_attn.q_proj.weight", "lm_head.weight"):
        assert value_of(setting, name, position) == evaluate_setting(name, parsed, position, validate=float)


@pytest.mark.parametrize(
    "model",
    ["a/b", "a/b@rev", "a/b+c/d", {"model": {"path": "a/b", "revision": "rev"}, "lora": {"path": "c/d"}}],
)
def test_models_are_called_as_mergekit_calls_them(model):
    """Strings and mappings have one name."""
    from mergekit.common import ModelReference

    assert model_name(model) == str(ModelReference.model_validate(model))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"alhpa": 0.5}, ["alhpa", "the recipe", "did you mean"]),
        ({"paramters": {}}, ["paramters", "did you mean parameters?"]),
        ({"models": [{"model": "x", "weight": 1}]}, ["weight", "models[0]"]),
        ({"models": [{"parameters": {}}]}, ["models[0]", "has no model"]),
        ({"models": {"model": "x"}}, ["models", "must be a list"]),
        ({"parameters": {"alpha": [{"fitler": "mlp", "value": 1}]}}, ["fitler", "alpha", "did you mean filter?"]),
        ({"parameters": [0.5]}, ["parameters", "must be a mapping"]),
        ({"parameters": {"alpha": [{"filter": "mlp", "value": 0.2}, 0.5]}}, ["alpha", "`- value: 0.5`, last"]),
        ({"parameters": {"alpha": [0.1, {"filter": "mlp", "value": 0.2}]}}, ["alpha", "`- value: 0.1`"]),
        ({"parameters": {"alpha": [{"filter": "mlp", "value": []}, {"value": 1}]}}, ["alpha", "got []"]),
        ({"parameters": {"alpha": []}}, ["alpha", "a list of numbers", "got []"]),
        ({"parameters": {"alpha": [[0.1, 0.2], 0.3]}}, ["alpha", "a list of numbers"]),
        ({"parameters": {"alpha": [{"filter": 0, "value": 1}, {"value": 0}]}}, ["filter is text", "'.0.'"]),
        ({"merge_method": ["wise_ft"]}, ["merge_method must be"]),
        ({"models": None, "slices": [{"sources": [{"layer_range": [0, 1]}]}]}, ["has no model"]),
        ({"models": None, "slices": [{"sources": [{"model": "x", "layer_range": [2, 0]}]}]}, ["FIRST < END"]),
        ({"models": None, "slices": [{"sources": [{"model": "x", "layer_range": 2}]}]}, ["FIRST < END", "got 2"]),
        ({"tokenizer": {"sorce": "union"}}, ["sorce", "did you mean source?"]),
        ({"merge_method": None}, ["merge_method must be"]),
        ({"models": None}, ["exactly one of models, slices and modules", "none"]),
        ({"slices": [{"sources": []}]}, ["exactly one of", "models, slices"]),
        (
            {"models": None, "slices": [{"sources": [{"model": "x", "layer_rnge": [0, 1]}]}]},
            ["layer_rnge", "did you mean layer_range?"],
        ),
        ({"models": None, "modules": {"text": {"modles": []}}}, ["modles", "module text", "did you mean models?"]),
    ],
)
def test_a_key_that_mergekit_would_ignore_is_an_error(change, words):
    """The message names the key, the place and the nearest one that exists."""
    with pytest.raises(WiseMergeError) as caught:
        check_keys({**PLAIN, **change})
    assert all(word in str(caught.value) for word in words), caught.value


@pytest.mark.parametrize(("name", "hint"), [("wise_tf", "did you mean wise_ft?"), ("dare_ties", "got 'dare_ties'")])
def test_a_method_of_somebody_else_is_none_of_ours(name, hint):
    """It is left to mergekit, or refused where only ours will do."""
    assert not is_ours({**PLAIN, "merge_method": name})
    with pytest.raises(WiseMergeError, match="must be wise_ft, bang, uniform_soup") as caught:
        method_of({**PLAIN, "merge_method": name})
    assert hint in str(caught.value)


def test_the_recipes_of_the_readme_have_known_keys_only():
    """The negative control."""
    check_keys(PLAIN)
    check_settings(PLAIN)
    assert ingredients(PLAIN) == [Ingredients("runs/checkpoint-25", ("runs/checkpoint-600",))]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("merge_method: [wise_ft", ["is not YAML"]),
        ("- wise_ft", ["must be a mapping"]),
        ("", ["must be a mapping"]),
        ("merge_method: wise_ft\nparameters:\n  alpha: 0.1\n  alpha: 0.9", ["alpha (line 4)", "stands twice"]),
        ("merge_method: wise_ft\nmodel: x", ["unknown key model", "did you mean models?"]),
    ],
)
def test_a_file_that_is_no_recipe_is_named(text, words, tmp_path):
    """One line with the path of the file."""
    (tmp_path / "wise.yml").write_text(text)
    with pytest.raises(WiseMergeError) as caught:
        read_recipe(tmp_path / "wise.yml")
    assert all(word in str(caught.value) for word in [*words, "wise.yml"]), caught.value
    with pytest.raises(WiseMergeError, match=r"other\.yml cannot be read: No such file"):
        read_recipe(tmp_path / "other.yml")


def test_one_alpha_takes_the_place_of_filters_and_gradients():
    """The recipe itself is left as it was."""
    recipe = {**PLAIN, "parameters": {"alpha": [{"filter": "mlp", "value": 1}, {"value": 0}], "temperature": 2}}
    assert with_parameter(recipe, "alpha", 0.25)["parameters"] == {"alpha": 0.25, "temperature": 2}
    assert recipe["parameters"]["alpha"][0] == {"filter": "mlp", "value": 1}


def test_one_alpha_also_takes_the_place_of_those_of_slices_and_modules():
    """They stand closer to the tensors, and would win."""
    piece = {"sources": [], "parameters": {"alpha": 0.5, "temperature": 2}}
    recipe = {"slices": [piece], "modules": {"text": {"slices": [piece], "parameters": {"alpha": 0.7}}}}
    changed = with_parameter(recipe, "alpha", 0.25)
    assert changed["slices"][0]["parameters"] == {"temperature": 2}
    assert changed["modules"]["text"] == {"slices": [{**piece, "parameters": {"temperature": 2}}], "parameters": {}}
    assert changed["parameters"] == {"alpha": 0.25}
    assert piece["parameters"]["alpha"] == 0.5


@pytest.mark.parametrize(
    ("dtype", "out_dtype", "expected"),
    [
        (None, "float32", ("float32", "float32")),
        ("bfloat16", "float32", ("float32", "float32")),
        ("float64", "float32", ("float64", "float32")),
        ("float32", "bfloat16", ("float32", "bfloat16")),
        (None, "bfloat16", (None, "bfloat16")),
    ],
)
def test_a_wide_output_is_computed_in_its_own_dtype(dtype, out_dtype, expected):
    """Widening after rounding would keep what rounding has left; narrowing casts the result alone."""
    recipe = with_out_dtype({**PLAIN, "dtype": dtype}, out_dtype)
    assert (recipe["dtype"], recipe["out_dtype"]) == expected


def test_temperatures_are_found_where_bang_takes_them_from():
    """At the model, else for both, else 1."""
    recipe = {
        **PLAIN,
        "merge_method": "bang",
        "models": [{"model": "runs/checkpoint-600", "parameters": {"temperature": 1.6}}],
        "parameters": {"alpha": 0.5, "temperature": 1.2},
    }
    assert temperature_of(recipe, "runs/checkpoint-600") == 1.6
    assert temperature_of(recipe, "runs/checkpoint-25") == 1.2
    assert temperature_of(PLAIN, "runs/checkpoint-25") == 1.0
