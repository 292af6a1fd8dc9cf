"""The engine whose weights are replaced while it runs: those of mergekit-yaml, bit for bit, and samples of them."""

import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file
from support.checkpoints import make_checkpoint, tiny_llama
from support.engines import PROMPTS, SAMPLED, ask, become, engine
from support.merges import merge
from support.recipes import bang, wise_ft
from transformers import AutoModelForCausalLM

from wise_merge.errors import WiseMergeError
from wise_merge.recipes.models import Ingredients
from wise_merge.sampling.hf import HFPassK
from wise_merge.sampling.merged import model_arguments


def loaded(recipe, folder, **arguments):
    """What transformers loads from the folder that mergekit-yaml writes."""
    result = merge(recipe, folder)
    assert result.exit_code == 0, result.output
    return AutoModelForCausalLM.from_pretrained(folder, **arguments)


def assert_same_weights(ours, theirs):
    ours, theirs = ours.state_dict(), theirs.state_dict()
    assert ours.keys() == theirs.keys()
    for name, tensor in theirs.items():
        assert ours[name].dtype == tensor.dtype, name
        # As bytes: the sign of zero is a bit, too.
        assert torch.equal(ours[name].contiguous().view(torch.uint8), tensor.contiguous().view(torch.uint8)), name


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Pairs of checkpoints by dtype."""
    folder = tmp_path_factory.mktemp("runs")
    for dtype in ("float32", "bfloat16", "float16"):
        for seed in (1, 2):
            make_checkpoint(folder / dtype / f"checkpoint-{seed}", seed=seed, dtype=dtype, max_shard_size="20kB")
    return folder


@pytest.mark.parametrize("stored", ["float32", "bfloat16", "float16"])
@pytest.mark.parametrize("changes", [{}, {"dtype": "bfloat16"}, {"dtype": "float32", "out_dtype": "bfloat16"}])
def test_the_weights_are_those_of_mergekit_bit_for_bit(stored, changes, runs, tmp_path):
    """For stored, computed and written dtypes: inputs are cast to the first of two, the average to the second."""
    recipe = wise_ft(runs / stored, alpha=0.3, **changes)
    dtype = changes.get("out_dtype") or changes.get("dtype") or stored
    model = engine(runs / stored, dtype=dtype)
    become(model, runs / stored, recipe)
    assert_same_weights(model.model, loaded(recipe, tmp_path / "theirs", dtype=dtype))


@pytest.mark.parametrize("alpha", [0, 1, [0.1, 0.9], [{"filter": "mlp", "value": [0.2, 0.8]}, {"value": 0.5}]], ids=str)
def test_any_recipe_can_be_become_and_each_anew_from_the_checkpoints(alpha, runs, tmp_path):
    """Ends, gradients, filters; what the model was before leaves no trace, up and down as often as one likes."""
    run = runs / "bfloat16"
    model = engine(run)
    for before in (0.9, 0.2, 0.5):
        become(model, run, wise_ft(run, alpha=before))
    become(model, run, wise_ft(run, alpha=alpha))
    assert_same_weights(model.model, loaded(wise_ft(run, alpha=alpha), tmp_path / "theirs"))


def test_a_checkpoint_is_opened_and_looked_at_once(tmp_path, monkeypatch):
    """By itself and in any mean of several, as for a greedy soup; the weights are those of mergekit each time."""
    from wise_merge.tensors import in_memory

    folders = [make_checkpoint(tmp_path / f"checkpoint-{seed}", seed=seed) for seed in (1, 2, 3)]
    opened, looked_at = [], []

    def open_tensors(folder, given=in_memory.open_tensors):
        opened.append(folder)
        return given(folder)

    def check_finite(name, inputs, models, given=in_memory.check_finite):
        looked_at.extend((name, model) for model in models)
        given(name, inputs, models)

    monkeypatch.setattr(in_memory, "open_tensors", open_tensors)
    monkeypatch.setattr(in_memory, "check_finite", check_finite)
    model = engine(tmp_path)
    for number, some in enumerate(([0], [1], [2], [0, 2], [0, 1, 2])):
        names = [str(folders[place]) for place in some]
        recipe = {
            "merge_method": "uniform_soup",
            "base_model": names[0],
            "models": [{"model": name, "parameters": {"weight": 1.0}} for name in names],
        }
        ingredients = Ingredients(names[0], tuple(names[1:]))
        model.replace_weights([folders[place] for place in some], ingredients, recipe, "a soup", str(number))
        if len(some) > 1:
            assert_same_weights(model.model, loaded(recipe, tmp_path / f"theirs-{number}"))
    assert sorted(opened) == folders
    stored = load_file(folders[0] / "model.safetensors")
    assert sorted(looked_at) == sorted((name, str(folder)) for name in stored for folder in folders)
    assert_same_weights(model.model, loaded(recipe, tmp_path / "theirs-again"))


def test_bang_folds_its_temperatures(runs, tmp_path):
    """As mergekit-yaml does with the recipe."""
    recipe = bang(runs / "float32", alpha=0.4, early=1.3, late=2.1)
    model = engine(runs / "float32")
    become(model, runs / "float32", recipe)
    assert_same_weights(model.model, loaded(recipe, tmp_path / "theirs"))


def test_tied_weights_are_one_memory_before_and_after(tmp_path):
    """The LM head is the embeddings, whether files have it or not, and is written once."""
    for seed in (1, 2):
        make_checkpoint(tmp_path / f"checkpoint-{seed}", seed=seed, config=tiny_llama(tie_word_embeddings=True))
    # One of the two has it stored, as some trainers do.
    late = tmp_path / "checkpoint-2" / "model.safetensors"
    tensors = load_file(late)
    save_file({**tensors, "lm_head.weight": tensors["model.embed_tokens.weight"].clone()}, late, {"format": "pt"})
    recipe = wise_ft(tmp_path, alpha=0.3)
    model = engine(tmp_path)
    become(model, tmp_path, recipe)
    assert model.model.lm_head.weight.data_ptr() == model.model.model.embed_tokens.weight.data_ptr()
    assert_same_weights(model.model, loaded(recipe, tmp_path / "theirs"))


def test_files_of_another_layout_than_the_module_are_converted(tmp_path):
    """Experts that files keep apart and transformers puts together: each weight is the average of its own two."""
    config = transformers.MixtralConfig(
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=2,
        num_local_experts=4,
        vocab_size=99,
    )
    for seed in (1, 2):
        make_checkpoint(tmp_path / f"checkpoint-{seed}", seed=seed, config=config)
    ends = [AutoModelForCausalLM.from_pretrained(tmp_path / f"checkpoint-{seed}").state_dict() for seed in (1, 2)]
    names = load_file(tmp_path / "checkpoint-1" / "model.safetensors").keys()
    assert names != ends[0].keys()
    model = engine(tmp_path)
    become(model, tmp_path, wise_ft(tmp_path, alpha=0.3))
    for name, tensor in model.model.state_dict().items():
        exact = 0.7 * ends[0][name].double() + 0.3 * ends[1][name].double()
        # One rounding to float32, by 2^-24 at most; 0.7 + 0.3 in float64 are rounded as well.
        torch.testing.assert_close(tensor.double(), exact, rtol=6e-8, atol=1e-15, msg=name)


def test_samples_are_those_of_the_written_model_and_identified_by_the_digest(runs, tmp_path):
    """Equal texts at equal seeds; two averages are two runs of the journal, the same digest again is found there."""
    run = runs / "float32"
    recipe = wise_ft(run, alpha=0.3)
    assert merge(recipe, tmp_path / "merged").exit_code == 0
    written = HFPassK(pretrained=str(tmp_path / "merged"), device="cpu", seed=5)
    model = engine(run, seed=5, journal=tmp_path / "journal")
    become(model, run, recipe, "first")
    drawn = ask(model, PROMPTS, repeats=4, **SAMPLED)
    assert drawn == ask(written, PROMPTS, repeats=4, **SAMPLED)
    first = dict(model.runs)
    become(model, run, wise_ft(run, alpha=0.9), "second")
    assert ask(model, PROMPTS, repeats=4, **SAMPLED) != drawn
    assert model.runs["t"] != first["t"]
    sizes = {file.name: file.stat().st_size for file in (tmp_path / "journal").glob("*.jsonl")}
    assert len(sizes) == 2
    become(model, run, recipe, "first")
    assert ask(model, PROMPTS, repeats=4, **SAMPLED) == drawn
    assert {file.name: file.stat().st_size for file in (tmp_path / "journal").glob("*.jsonl")} == sizes


def test_a_model_that_is_half_replaced_samples_nothing(runs, tmp_path):
    """A NaN is named with tensor and checkpoint; after it, as before the first average, the model is refused."""
    run = runs / "float32"
    broken = make_checkpoint(tmp_path / "checkpoint-2", seed=2)
    tensors = load_file(broken / "model.safetensors")
    tensors["model.norm.weight"][3] = float("nan")
    save_file(tensors, broken / "model.safetensors", {"format": "pt"})
    model = engine(run, journal=tmp_path / "journal")
    with pytest.raises(WiseMergeError, match="no merge yet"):
        ask(model, ["a"], **SAMPLED)
    become(model, run, wise_ft(run, alpha=0.3))
    early = run / "checkpoint-1"
    recipe = {**wise_ft(run, alpha=0.3), "models": [{"model": str(broken)}]}
    with pytest.raises(WiseMergeError, match=r"model.norm.weight of .*checkpoint-2 contains nan"):
        model.replace_weights([early, broken], Ingredients(str(early), (str(broken),)), recipe, "a merge", "d")
    with pytest.raises(WiseMergeError, match="no merge yet"):
        ask(model, ["a"], **SAMPLED)
    become(model, run, wise_ft(run, alpha=0.3))
    assert len(ask(model, ["a"], **SAMPLED)) == 1


@pytest.mark.parametrize("name", ["pretrained", "peft", "load_in_4bit"])
def test_model_arguments_that_change_the_weights_are_refused(name):
    """Adapters and quantisation have no place in a model that is overwritten."""
    with pytest.raises(WiseMergeError, match=f"model_args {name} cannot be used in a sweep"):
        model_arguments({name: "x", "dtype": "float32"})
