"""Tiny random models of any architecture, and the logits of what is made of them."""

import json

import torch
from click.testing import CliRunner
from safetensors.torch import load_file

TOKENS = torch.arange(5, 17).view(1, -1)

#: Whichever of these a configuration has is set.
SIZES = {
    **{"hidden_size": 32, "n_embd": 32, "d_model": 32, "embed_dim": 32, "word_embed_proj_dim": 32},
    **{"intermediate_size": 64, "n_inner": 64, "ffn_dim": 64, "d_ff": 64},
    **{"num_hidden_layers": 2, "n_layer": 2, "n_layers": 2, "depth": 1},
    **{"num_attention_heads": 2, "num_key_value_heads": 2, "n_head": 2, "n_heads": 2, "num_heads": 2, "head_dim": 16},
    **{"vocab_size": 99, "max_position_embeddings": 64, "n_positions": 64, "max_seq_len": 64},
    **{"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2},
    # Mixtures of experts.
    **{"num_experts": 4, "num_local_experts": 4, "n_routed_experts": 4, "num_experts_per_tok": 2},
    **{"moe_intermediate_size": 32, "shared_expert_intermediate_size": 32, "shared_intermediate_size": 32},
    **{"moe_num_experts": 4, "moe_k": 2, "n_group": 1, "topk_group": 1, "first_k_dense_replace": 1},
    # Latent and linear attention, state spaces.
    **{"q_lora_rank": 16, "kv_lora_rank": 16, "qk_rope_head_dim": 8, "qk_nope_head_dim": 8, "v_head_dim": 16},
    **{"linear_num_value_heads": 2, "linear_num_key_heads": 2, "linear_key_head_dim": 16, "linear_value_head_dim": 16},
    **{"mamba_n_heads": 4, "mamba_d_head": 16, "mamba_d_state": 8, "mamba_n_groups": 1, "rotary_dim": 8},
    # Gemma-3n and -4, LFM2.
    **{"hidden_size_per_layer_input": 8, "vocab_size_per_layer_input": 99, "laurel_rank": 8, "altup_num_inputs": 2},
    **{"num_kv_shared_layers": 0, "global_head_dim": 16, "num_global_key_value_heads": 2},
    **{"conv_dim": 32, "conv_dim_out": 32, "block_dim": 32, "block_ff_dim": 64, "block_multiple_of": 8},
    # Vision.
    **{"image_size": 28, "patch_size": 14, "out_hidden_size": 32, "vision_output_dim": 32},
    **{"projector_input_dim": 32, "projector_output_dim": 32},
}

MULTIMODAL_ROPE = {"rope_type": "default", "rope_theta": 10000.0, "mrope_section": [2, 2, 4]}

#: What a model of an architecture needs beyond its sizes.
NEEDS = {
    "DeepseekV3ForCausalLM": {"head_dim": 8},
    "GraniteMoeHybridForCausalLM": {"layer_types": ["mamba", "attention"]},
    "Qwen2VLForConditionalGeneration": {"text_config": {"rope_parameters": MULTIMODAL_ROPE}},
    "Qwen2_5_VLForConditionalGeneration": {"text_config": {"rope_parameters": MULTIMODAL_ROPE}},
}


def configuration(cls, **changes):
    """A tiny configuration of a class, and of those within it."""
    from transformers import CONFIG_MAPPING

    default = cls()
    has = default.to_dict().keys() | vars(default).keys()
    settings = {key: value for key, value in SIZES.items() if key in has}
    for name in getattr(cls, "sub_configs", None) or {}:
        inner = changes.pop(name, {})
        if isinstance(inner, str):
            settings[name] = configuration(CONFIG_MAPPING[inner]).to_dict()
        elif getattr(default, name, None) is not None:
            settings[name] = configuration(type(getattr(default, name)), **inner).to_dict()
    if getattr(default, "layer_types", None) and hasattr(default, "num_hidden_layers"):
        settings["layer_types"] = [default.layer_types[0], default.layer_types[-1]]
    return cls(**{**settings, **changes})


def make_model(directory, architecture, *, seed, dtype=torch.float32, **changes):
    """Save a random tiny model whose normalisations and biases are not at their start, and return its class."""
    import transformers

    cls = getattr(transformers, architecture)
    torch.manual_seed(seed)
    model = cls(configuration(cls.config_class, **{**NEEDS.get(architecture, {}), **changes})).to(dtype)
    for parameter in model.parameters():
        parameter.data += 0.1 * torch.randn_like(parameter)
    model.save_pretrained(directory)
    return cls


@torch.no_grad()
def logits(cls, directory):
    """The logits of a saved model, computed in float32; every weight of it must have been in the files."""
    model, loading = cls.from_pretrained(directory, dtype=torch.float32, output_loading_info=True)
    assert not loading["missing_keys"]
    assert not loading["unexpected_keys"]
    return model.eval()(input_ids=TOKENS).logits


def read(directory):
    return json.loads((directory / "config.json").read_text()), load_file(directory / "model.safetensors")


def recipe(method, early, late, alpha, temperature=1.0):
    parameters = {"parameters": {"temperature": temperature}} if method == "bang" else {}
    return {
        "merge_method": method,
        "base_model": str(early),
        "models": [{"model": str(late), **parameters}],
        "parameters": {"alpha": alpha},
    }


def mergekit_yaml(text, out, *options):
    """Run the command on a recipe, and return what it printed if it failed, else None."""
    from mergekit.scripts.run_yaml import main

    path = out.with_suffix(".yml")
    path.write_text(json.dumps(text))
    result = CliRunner().invoke(main, [str(path), str(out), "--quiet", *options])
    if result.exit_code == 0:
        return None
    assert isinstance(result.exception, SystemExit), result.exception
    errors = [line for line in result.output.splitlines() if line.startswith("Error: ")]
    assert len(errors) == 1, result.output
    assert not (out / "config.json").exists()
    return errors[0]


def pair(folder, architecture, **changes):
    """Save an early and a late model, and return the class and what is stored of both."""
    cls = make_model(folder / "early", architecture, seed=1, **changes)
    make_model(folder / "late", architecture, seed=2, **changes)
    return cls, read(folder / "early")[1], read(folder / "late")[1]
