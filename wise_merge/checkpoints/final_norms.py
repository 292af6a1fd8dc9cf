"""Where each architecture keeps its last normalisation: the one place to fold a temperature into.

Its output feeds only the LM head, so dividing it by T, and an LM-head bias with it, divides the
logits by T, and tied embeddings, which also feed the first layer, need not be touched. Our own
derivation; BANG (arXiv 2309.17230) itself balances the models in training. What is listed here is
what tests/test_architectures.py has measured; docs/architectures.md is its table.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from wise_merge.errors import WiseMergeError


@dataclass(frozen=True)
class FinalNorm:
    """The last normalisation of an architecture and the LM head behind it, by the names of their modules.

    There are several names where loaders read, or transformers has written,
    several layouts. `offset` is what the model adds to a stored gain before use.
    """

    modules: tuple[str, ...]
    heads: tuple[str, ...] = ("lm_head",)
    offset: float = 0.0
    #: The model's own default of final_logit_softcapping is a number: a config without the key caps, too.
    caps_by_default: bool = False
    #: Of a vision model: the text models that it may hold, by `model_type`, with their offsets. Empty: always the same.
    text_offsets: tuple[tuple[str, float], ...] = ()


def _same(norm: FinalNorm, *architectures: str) -> dict[str, FinalNorm]:
    return dict.fromkeys(architectures, norm)


# The text model within a vision model: as the Hub's files have it, and as transformers 5 builds it.
_WITHIN = ("language_model.model.norm", "model.language_model.norm")
_WITHIN_HEADS = ("language_model.lm_head", "lm_head")

_BY_ARCHITECTURE: dict[str, FinalNorm] = {
    **_same(
        FinalNorm(("model.norm",)),
        "ApertusForCausalLM",
        "ArceeForCausalLM",
        "Cohere2ForCausalLM",
        "CohereForCausalLM",
        "DeepseekV2ForCausalLM",
        "DeepseekV3ForCausalLM",
        "Ernie4_5ForCausalLM",
        "Ernie4_5_MoeForCausalLM",
        "Exaone4ForCausalLM",
        "Gemma4ForCausalLM",
        "Glm4ForCausalLM",
        "Glm4MoeForCausalLM",
        "GlmForCausalLM",
        "GptOssForCausalLM",
        "GraniteForCausalLM",
        "GraniteMoeForCausalLM",
        "GraniteMoeHybridForCausalLM",
        "HunYuanDenseV1ForCausalLM",
        "Llama4ForCausalLM",
        "LlamaForCausalLM",
        "MiniMaxM2ForCausalLM",
        "Ministral3ForCausalLM",
        "MinistralForCausalLM",
        "MistralForCausalLM",
        "MixtralForCausalLM",
        "Olmo2ForCausalLM",
        "Olmo3ForCausalLM",
        # Its normalisation has no gain: refused when the tensor is not found.
        "OlmoForCausalLM",
        "OlmoeForCausalLM",
        "Phi3ForCausalLM",
        "PhimoeForCausalLM",
        "Qwen2ForCausalLM",
        "Qwen2MoeForCausalLM",
        "Qwen3ForCausalLM",
        "Qwen3MoeForCausalLM",
        "SeedOssForCausalLM",
        "SmolLM3ForCausalLM",
        "StableLmForCausalLM",
        "Starcoder2ForCausalLM",
    ),
    **_same(
        FinalNorm(("model.norm",), offset=1.0),
        "Gemma3ForCausalLM",
        "GemmaForCausalLM",
        "NemotronForCausalLM",
        "Qwen3NextForCausalLM",
        "Qwen3_5ForCausalLM",
        "Qwen3_5MoeForCausalLM",
    ),
    "Gemma2ForCausalLM": FinalNorm(("model.norm",), offset=1.0, caps_by_default=True),
    "Gemma3nForCausalLM": FinalNorm(("model.norm",), caps_by_default=True),
    **_same(
        FinalNorm(("transformer.ln_f",)),
        "BloomForCausalLM",
        "FalconForCausalLM",
        "GPT2LMHeadModel",
        "GPTBigCodeForCausalLM",
        "GPTJForCausalLM",
    ),
    "GPTNeoXForCausalLM": FinalNorm(("gpt_neox.final_layer_norm",), ("embed_out",)),
    "Lfm2ForCausalLM": FinalNorm(("model.embedding_norm",)),
    "MptForCausalLM": FinalNorm(("transformer.norm_f",)),
    "OPTForCausalLM": FinalNorm(("model.decoder.final_layer_norm",)),
    "PhiForCausalLM": FinalNorm(("model.final_layernorm",)),
    # Vision models.
    "Gemma3ForConditionalGeneration": FinalNorm(_WITHIN, _WITHIN_HEADS, offset=1.0),
    "Llama4ForConditionalGeneration": FinalNorm(("language_model.model.norm",), ("language_model.lm_head",)),
    **_same(
        FinalNorm(("model.language_model.norm",)),
        "Gemma4ForConditionalGeneration",
        "Qwen3VLForConditionalGeneration",
        "Qwen3VLMoeForConditionalGeneration",
    ),
    "Qwen3_5ForConditionalGeneration": FinalNorm(("model.language_model.norm",), offset=1.0),
    **_same(
        FinalNorm(("model.norm", "model.language_model.norm")),
        "Qwen2VLForConditionalGeneration",
        "Qwen2_5_VLForConditionalGeneration",
    ),
    **_same(
        FinalNorm(_WITHIN, _WITHIN_HEADS, text_offsets=(("llama", 0.0), ("mistral", 0.0), ("qwen2", 0.0))),
        "LlavaForConditionalGeneration",
        "LlavaNextForConditionalGeneration",
    ),
    "InternVLForConditionalGeneration": FinalNorm(
        _WITHIN, _WITHIN_HEADS, text_offsets=(("llama", 0.0), ("qwen2", 0.0), ("qwen3", 0.0))
    ),
    "Mistral3ForConditionalGeneration": FinalNorm(
        _WITHIN, _WITHIN_HEADS, text_offsets=(("ministral3", 0.0), ("mistral", 0.0))
    ),
    "PaliGemmaForConditionalGeneration": FinalNorm(
        _WITHIN, _WITHIN_HEADS, text_offsets=(("gemma", 1.0), ("gemma2", 1.0))
    ),
    **_same(
        FinalNorm(("model.text_model.norm",), text_offsets=(("llama", 0.0),)),
        "Idefics3ForConditionalGeneration",
        "SmolVLMForConditionalGeneration",
    ),
}

#: Text models that cap their logits unless their config says otherwise, by `model_type`.
_CAPPING_TEXT_MODELS = frozenset({"gemma2"})

KNOWN_ARCHITECTURES = frozenset(_BY_ARCHITECTURE)


def folds(config: Mapping[str, Any], names: Collection[str] | None = None) -> Mapping[str, float]:
    """Return the tensors to scale, so that the logits are divided by a temperature, each with its offset.

    Each stored w becomes (w + offset) / T - offset: offset 1 where the model multiplies by 1 + w (Gemma), 0 for
    other gains and for biases, that of the LM head included. Tied embeddings are never among them.

    Args:
        config: the contents of config.json.
        names: of all stored tensors. Those among them are returned, and it is an error if the gain of the last
            normalisation is not. Without, all names that the tensors can have are returned, stored or not.

    Raises `WiseMergeError` where the architecture is unknown or folding would not be exact.
    """
    architecture, norm = _last_norm(config)
    gains = [f"{module}.weight" for module in norm.modules]
    offset = _offset(architecture, norm, config)
    biases = [f"{module}.bias" for module in (*norm.modules, *norm.heads)]
    offsets = {**dict.fromkeys(gains, offset), **dict.fromkeys(biases, 0.0)}
    if names is None:
        return offsets
    if not any(gain in names for gain in gains):
        raise WiseMergeError(
            f"{gains[0]}, the gain of {architecture}'s last normalisation, is not among the tensors of the checkpoint, "
            "so no temperature can be folded into it; leave temperature at 1"
        )
    return {name: offset for name, offset in offsets.items() if name in names}


def _last_norm(config: Mapping[str, Any]) -> tuple[str, FinalNorm]:
    architectures = config.get("architectures") or ["a config.json without architectures"]
    if len(architectures) != 1 or architectures[0] not in _BY_ARCHITECTURE:
        raise WiseMergeError(
            f"where {', '.join(architectures)} keeps its last normalisation is unknown, so no temperature can be "
            f"folded into it; leave temperature at 1 (known: {', '.join(sorted(_BY_ARCHITECTURE))})"
        )
    norm = _BY_ARCHITECTURE[architectures[0]]
    text = _text_config(config)
    caps = norm.caps_by_default or text.get("model_type") in _CAPPING_TEXT_MODELS
    cap = text.get("final_logit_softcapping", config.get("final_logit_softcapping", "its default" if caps else None))
    if cap is not None:
        raise WiseMergeError(
            f"a temperature cannot be folded into {architectures[0]}: it caps its logits after the LM head "
            f"(final_logit_softcapping: {cap}), so scaling what comes before does not divide them; leave temperature "
            "at 1"
        )
    return architectures[0], norm


def _offset(architecture: str, norm: FinalNorm, config: Mapping[str, Any]) -> float:
    if not norm.text_offsets:
        return norm.offset
    offsets = dict(norm.text_offsets)
    model = _text_config(config).get("model_type")
    if model not in offsets:
        raise WiseMergeError(
            f"where {architecture} around a text model of type {model} keeps its last normalisation is unknown, so no "
            f"temperature can be folded into it; leave temperature at 1 (known: {', '.join(sorted(offsets))})"
        )
    return offsets[model]


def _text_config(config: Mapping[str, Any]) -> Mapping[str, Any]:
    text = config.get("text_config")
    return text if isinstance(text, Mapping) else config
