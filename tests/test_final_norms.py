"""Folding a temperature into the last normalisation of real architectures, tiny and random."""

import pytest
import torch
from conftest import tiny_llama

from wise_merge.averaging import fold_temperature
from wise_merge.errors import WiseMergeError
from wise_merge.final_norms import _BY_ARCHITECTURE, final_norm

TINY = {
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 2,
    "head_dim": 16,
    "vocab_size": 99,
    "pad_token_id": 0,
}


def tiny_model(architecture, **changes):
    """A random model of the architecture in float64, with normalisations away from their start."""
    import transformers

    cls = getattr(transformers, architecture)
    if architecture == "LlamaForCausalLM":
        config = tiny_llama(**changes)
    elif architecture == "GPT2LMHeadModel":
        config = cls.config_class(n_embd=32, n_layer=2, n_head=2, vocab_size=99, n_positions=64)
    else:
        config = cls.config_class(**{**TINY, **changes})
    torch.manual_seed(0)
    model = cls(config).double().eval()
    for parameter in model.parameters():
        parameter.data += 0.1 * torch.randn_like(parameter)
    return model


@torch.no_grad()
def ratio_after_folding(model, temperature):
    """Fold the temperature and return logits before / (logits after * T)."""
    tokens = torch.arange(1, 13).view(1, -1)
    before = model(tokens).logits
    norm = final_norm(type(model).__name__)
    tensors = dict(model.named_parameters())
    for name in norm.tensors:
        tensors[name].copy_(fold_temperature(tensors[name], temperature, offset=norm.offset))
    return before, model(tokens).logits * temperature


@pytest.mark.parametrize("architecture", sorted(_BY_ARCHITECTURE))
@pytest.mark.parametrize("temperature", [0.5, 1.7])
def test_folding_divides_the_logits(architecture, temperature):
    """Every architecture of the table: the logits are those before, divided by T, to rounding in float64."""
    before, after = ratio_after_folding(tiny_model(architecture), temperature)
    assert before.abs().max() > 0.1
    # The norm's own arithmetic is float32 in some architectures, whatever the weights are.
    assert torch.allclose(before, after, rtol=1e-5, atol=1e-6)


def test_tied_embeddings_are_left_alone():
    """With tied embeddings the division of the logits does not touch the inputs of the model."""
    model = tiny_model("LlamaForCausalLM", tie_word_embeddings=True)
    embeddings = model.get_input_embeddings().weight.clone()
    before, after = ratio_after_folding(model, 1.3)
    assert torch.allclose(before, after, rtol=1e-5, atol=1e-6)
    assert torch.equal(model.get_input_embeddings().weight, embeddings)


def test_a_capped_head_is_refused():
    """Gemma-2 caps its logits after the LM head, so folding would be inexact."""
    with pytest.raises(WiseMergeError, match="Gemma2ForCausalLM"):
        final_norm("Gemma2ForCausalLM")


def test_an_unknown_architecture_is_refused():
    """The message names it and those that are known."""
    with pytest.raises(WiseMergeError, match=r"MambaForCausalLM.*LlamaForCausalLM"):
        final_norm("MambaForCausalLM")
