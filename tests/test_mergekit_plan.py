"""mergekit's plans for our methods: what it would leave out of the merged model, or asks for in vain."""

import logging

import pytest
import torch
from safetensors.torch import load_file, save_file
from support.architectures import logits, make_model, mergekit_yaml, pair, read, recipe


@pytest.fixture(autouse=True)
def _quiet():
    logging.disable(logging.WARNING)
    yield
    logging.disable(logging.NOTSET)


def both(folder, **changes):
    """The recipe of the average of early and late in a folder."""
    return recipe("wise_ft", folder / "early", folder / "late", 0.5) | changes


def test_a_model_that_would_lack_tensors_is_not_written(tmp_path):
    """mergekit's linear does write DeepSeek-V3 without its experts; ours is one line that names one of them."""
    cls, *_ = pair(tmp_path, "DeepseekV3ForCausalLM")
    message = mergekit_yaml(both(tmp_path), tmp_path / "out")
    assert "would leave model.layers.1.mlp.experts.0.down_proj.weight and 11 more of" in message
    models = [{"model": str(tmp_path / name), "parameters": {"weight": 0.5}} for name in ("early", "late")]
    assert mergekit_yaml({"merge_method": "linear", "models": models}, tmp_path / "linear") is None
    _, loading = cls.from_pretrained(tmp_path / "linear", output_loading_info=True)
    assert loading["missing_keys"]


def test_layers_that_a_slice_leaves_out_are_left_out(tmp_path):
    """Slices name the layers that are wanted; that is no reason to complain of the others."""
    pair(tmp_path, "LlamaForCausalLM")
    text = both(tmp_path)
    del text["models"]
    text["slices"] = [
        {"sources": [{"model": str(tmp_path / name), "layer_range": [0, 1]} for name in ("early", "late")]}
    ]
    assert mergekit_yaml(text, tmp_path / "out") is None


def test_layers_may_be_taken_twice_and_ones_that_are_not_there_are_named(tmp_path):
    """The numbers of the layers that are read are those of the sources, not of the output."""
    pair(tmp_path, "LlamaForCausalLM")
    text = both(tmp_path)
    del text["models"]
    for layers, count in (([[0, 2], [0, 2]], 4), ([[0, 9]], None)):
        text["slices"] = [
            {"sources": [{"model": str(tmp_path / name), "layer_range": layer} for name in ("early", "late")]}
            for layer in layers
        ]
        message = mergekit_yaml(text, tmp_path / f"out{count}")
        if count:
            assert message is None
            assert read(tmp_path / f"out{count}")[0]["num_hidden_layers"] == count
        else:
            assert "has no model.layers.2.input_layernorm.weight; correct the layer_range" in message


def test_frequencies_that_models_compute_may_be_left_out(tmp_path):
    """Llamas of 2023 have stored them; no loader reads them any more."""
    pair(tmp_path, "LlamaForCausalLM")
    for role in ("early", "late"):
        _, tensors = read(tmp_path / role)
        tensors["model.layers.0.self_attn.rotary_emb.inv_freq"] = torch.ones(8)
        save_file(tensors, tmp_path / role / "model.safetensors", metadata={"format": "pt"})
    assert mergekit_yaml(both(tmp_path), tmp_path / "out") is None


def test_a_tied_head_that_is_stored_all_the_same_may_be_left_out(tmp_path):
    """Some trainers store it beside the embeddings that it equals; loaders take those."""
    cls, *_ = pair(tmp_path, "GemmaForCausalLM")
    for role in ("early", "late"):
        _, tensors = read(tmp_path / role)
        tensors["lm_head.weight"] = tensors["model.embed_tokens.weight"].clone()
        save_file(tensors, tmp_path / role / "model.safetensors", metadata={"format": "pt"})
    assert mergekit_yaml(both(tmp_path), tmp_path / "out") is None
    assert logits(cls, tmp_path / "out").isfinite().all()


def test_a_tensor_that_the_plan_asks_for_in_vain_is_named(tmp_path):
    """Before a tensor is read, and with the way that works."""
    pair(tmp_path, "GPTNeoXForCausalLM")
    message = mergekit_yaml(both(tmp_path), tmp_path / "out")
    assert "to have a tensor gpt_neox.layers.0.attention.bias, which" in message
    assert "`wise-merge merge`" in message
    assert not list((tmp_path / "out").glob("*.safetensors"))


def test_a_config_that_mergekit_cannot_read_is_one_line(tmp_path):
    """Not the whole of it, with a traceback."""
    pair(tmp_path, "Qwen2VLForConditionalGeneration")
    message = mergekit_yaml(both(tmp_path), tmp_path / "out")
    assert "cannot plan this merge" in message
    assert "has no attribute num_hidden_layers" in message
    assert len(message) < 400


def test_experts_that_are_stored_apart_and_read_together_are_all_read(tmp_path):
    """transformers 5 stacks the experts of a layer, and mergekit writes them so: none of those stored is missed."""
    _, early, late = pair(tmp_path, "Qwen3MoeForCausalLM")
    assert mergekit_yaml(both(tmp_path), tmp_path / "out") is None
    merged = load_file(tmp_path / "out" / "model.safetensors")["model.layers.1.mlp.experts.down_proj"]
    name = "model.layers.1.mlp.experts.{}.down_proj.weight"
    for number, expert in enumerate(merged):
        assert torch.allclose(expert, (early[name.format(number)] + late[name.format(number)]) / 2, rtol=1e-6)


def test_float8_is_refused_whatever_the_dtype(tmp_path):
    """Cast to bfloat16, its numbers without their scales would pass for weights."""
    for seed, role in enumerate(("early", "late")):
        make_model(tmp_path / role, "LlamaForCausalLM", seed=seed)
        _, tensors = read(tmp_path / role)
        name = "model.layers.0.mlp.up_proj.weight"
        tensors[name] = tensors[name].to(torch.float8_e4m3fn)
        save_file(tensors, tmp_path / role / "model.safetensors", metadata={"format": "pt"})
    for number, changes in enumerate(({}, {"dtype": "bfloat16"})):
        message = mergekit_yaml(both(tmp_path, **changes), tmp_path / f"out{number}")
        assert f"tensor {name} of {tmp_path / 'early'} is torch.float8_e4m3fn" in message
