"""Which tensors `folds` names and which configs it refuses; that folding them is exact is measured elsewhere.

tests/test_architectures.py does that for every architecture that is known.
"""

import json
import subprocess
import sys

import pytest

from wise_merge.checkpoints.final_norms import KNOWN_ARCHITECTURES, folds
from wise_merge.errors import WiseMergeError

LLAMA = {"architectures": ["LlamaForCausalLM"], "model_type": "llama"}
GEMMA2 = {"architectures": ["Gemma2ForCausalLM"], "model_type": "gemma2"}


def around(architecture, **text_config):
    """The config of a vision model."""
    return {"architectures": [architecture], "text_config": text_config}


@pytest.mark.parametrize(
    ("architecture", "stored", "expected"),
    [
        ("LlamaForCausalLM", {"model.norm.weight"}, {"model.norm.weight": 0.0}),
        ("GemmaForCausalLM", {"model.norm.weight"}, {"model.norm.weight": 1.0}),
        # NVIDIA's layer_norm_1p: one is added to the gain, not to the bias.
        (
            "NemotronForCausalLM",
            {"model.norm.weight", "model.norm.bias"},
            {"model.norm.weight": 1.0, "model.norm.bias": 0.0},
        ),
        (
            "PhiForCausalLM",
            {"model.final_layernorm.weight", "model.final_layernorm.bias", "lm_head.bias"},
            dict.fromkeys(("model.final_layernorm.weight", "model.final_layernorm.bias", "lm_head.bias"), 0.0),
        ),
        ("GPTNeoXForCausalLM", {"gpt_neox.final_layer_norm.weight"}, {"gpt_neox.final_layer_norm.weight": 0.0}),
    ],
)
def test_the_stored_tensors_are_named_with_their_offsets(architecture, stored, expected):
    """Those of the last normalisation and the bias of the head; never embeddings, the head's weight, other norms."""
    others = {"model.embed_tokens.weight", "lm_head.weight", "model.layers.0.input_layernorm.weight"}
    assert folds({"architectures": [architecture]}, stored | others) == expected


@pytest.mark.parametrize("architecture", sorted(KNOWN_ARCHITECTURES - {"Gemma2ForCausalLM", "Gemma3nForCausalLM"}))
def test_without_stored_names_all_possible_ones_are_named(architecture):
    """Gains come with the architecture's offset, biases with none; the weight of the head is never among them."""
    types = {"PaliGemmaForConditionalGeneration": "gemma", "Mistral3ForConditionalGeneration": "mistral"}
    possible = folds(around(architecture, model_type=types.get(architecture, "llama")))
    assert {name.rpartition(".")[2] for name in possible} == {"weight", "bias"}
    assert not any(name.endswith(("lm_head.weight", "embed_out.weight")) for name in possible)
    assert {offset for name, offset in possible.items() if name.endswith(".bias")} == {0.0}
    for gain in [name for name in possible if name.endswith(".weight")]:
        assert folds(around(architecture, model_type=types.get(architecture, "llama")), {gain}) == {
            gain: possible[gain]
        }


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ({"architectures": ["MambaForCausalLM"]}, ["MambaForCausalLM", "unknown", "LlamaForCausalLM", "leave"]),
        ({}, ["config.json without architectures", "unknown"]),
        ({"architectures": ["LlamaForCausalLM", "GemmaForCausalLM"]}, ["LlamaForCausalLM, GemmaForCausalLM"]),
        (GEMMA2 | {"final_logit_softcapping": 30.0}, ["Gemma2ForCausalLM", "caps its logits", "30.0"]),
        # transformers caps at 30 where the config does not say.
        (GEMMA2, ["Gemma2ForCausalLM", "caps its logits", "default"]),
        (LLAMA | {"final_logit_softcapping": 15}, ["LlamaForCausalLM", "caps its logits", "15"]),
        (
            around("Gemma3ForConditionalGeneration", final_logit_softcapping=20.0),
            ["Gemma3ForConditionalGeneration", "caps its logits", "20.0"],
        ),
        (around("PaliGemmaForConditionalGeneration", model_type="gemma2"), ["caps its logits"]),
        (around("LlavaForConditionalGeneration", model_type="phi"), ["text model of type phi", "llama, mistral"]),
        (around("LlavaForConditionalGeneration"), ["text model of type None"]),
    ],
    ids=str,
)
def test_what_cannot_be_folded_exactly_is_refused(config, words):
    """One line that says why, and that temperature 1 is the way on."""
    for names in (None, {"model.norm.weight", "language_model.model.norm.weight"}):
        with pytest.raises(WiseMergeError) as error:
            folds(config, names)
        assert "\n" not in str(error.value)
        for word in (*words, "leave temperature at 1"):
            assert word in str(error.value)


def test_no_cap_is_no_obstacle():
    """Where the cap is null, Gemma-2 is like Gemma."""
    assert folds(GEMMA2 | {"final_logit_softcapping": None}, {"model.norm.weight"}) == {"model.norm.weight": 1.0}


@pytest.mark.parametrize(
    ("architecture", "names"),
    [
        ("OlmoForCausalLM", {"lm_head.weight"}),  # its normalisation has no gain
        ("OPTForCausalLM", {"model.decoder.layers.0.final_layer_norm.weight"}),  # OPT-350M has no last one
        ("LlamaForCausalLM", {"norm.weight"}),  # not written by transformers
    ],
)
def test_a_gain_that_is_not_stored_is_an_error(architecture, names):
    """Nothing would be divided, without a word."""
    with pytest.raises(WiseMergeError, match=rf"the gain of {architecture}'s last.*leave temperature at 1"):
        folds({"architectures": [architecture]}, names)


def test_it_needs_neither_torch_nor_transformers():
    """Whoever has config.json and headers can ask."""
    code = (
        "import sys; sys.modules['torch'] = sys.modules['transformers'] = None\n"
        "from wise_merge.checkpoints.final_norms import folds; "
        f"print(folds({json.dumps(LLAMA)}, ['model.norm.weight']))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "{'model.norm.weight': 0.0}\n"
