"""Tiny models of the families that differ in what they keep of a prompt."""

import transformers

from support.checkpoints import tiny_llama

SIZES = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "vocab_size": 99}

HEADS = {"num_attention_heads": 2, "num_key_value_heads": 1, "head_dim": 16}

ENDS = {"pad_token_id": 0, "eos_token_id": [1, 90], "bos_token_id": None}


def configuration(family):
    """A tiny model of a family; what its cache keeps of a prompt differs from one to the other."""
    match family:
        case "llama":
            return tiny_llama(eos_token_id=[1, 90])
        case "gpt2":
            return transformers.GPT2Config(vocab_size=99, n_embd=32, n_layer=2, n_head=2, n_positions=512, **ENDS)
        case "qwen3":
            return transformers.Qwen3Config(**SIZES, **HEADS, **ENDS)
        case "gemma2":  # every second layer sees the last 8 tokens, fewer than a prompt has
            return transformers.Gemma2Config(**SIZES, **HEADS, **ENDS, sliding_window=8, query_pre_attn_scalar=16)
        case "lfm2":  # convolutions and attention
            layers = {"layer_types": ["conv", "full_attention"], "full_attn_idxs": [1]}
            return transformers.Lfm2Config(**SIZES, num_attention_heads=2, num_key_value_heads=1, **ENDS, **layers)
        case "qwen3_next":  # a gated delta rule and attention
            linear = {"linear_num_key_heads": 2, "linear_num_value_heads": 2}
            channels = {"linear_key_head_dim": 8, "linear_value_head_dim": 8}
            layers = {"layer_types": ["linear_attention", "full_attention"], "mlp_only_layers": [0, 1]}
            return transformers.Qwen3NextConfig(**SIZES, **HEADS, **ENDS, **linear, **channels, **layers, num_experts=2)
        case "mamba":  # no attention at all
            return transformers.MambaConfig(vocab_size=99, hidden_size=32, num_hidden_layers=2, state_size=4, **ENDS)
        # From here on models in which padding is not nothing, or whose caches have rows of their own.
        case "recurrent_gemma":
            sizes = {**SIZES, "num_hidden_layers": 3, "lru_width": 32, "attention_window_size": 8, "conv1d_width": 4}
            return transformers.RecurrentGemmaConfig(**sizes, num_attention_heads=2, num_key_value_heads=1, **ENDS)
        case "phi3_longrope":
            factors = {"short_factor": [1.0] * 8, "long_factor": [3.0] * 8}
            rope = {"rope_type": "longrope", "original_max_position_embeddings": 24, "rope_theta": 1e4, **factors}
            heads = {"num_attention_heads": 2, "num_key_value_heads": 1}
            lengths = {"original_max_position_embeddings": 24, "rope_scaling": rope}
            return transformers.Phi3Config(**SIZES, **heads, **ENDS, **lengths)
        case "rwkv":
            return transformers.RwkvConfig(vocab_size=99, hidden_size=32, num_hidden_layers=2, **ENDS)
        case "minimax":
            layers = {"layer_types": ["linear_attention", "full_attention"], "block_size": 8, "num_local_experts": 2}
            return transformers.MiniMaxConfig(**SIZES, **HEADS, **ENDS, **layers)
