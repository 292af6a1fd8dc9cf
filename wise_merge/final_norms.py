"""Where each architecture keeps its last normalisation: the one place to fold a temperature into.

Its output feeds only the LM head, so dividing it by T divides the logits by T,
and tied embeddings, which also feed the first layer, need not be touched. Our
own derivation; BANG (arXiv 2309.17230) itself balances the models in training.
"""

from dataclasses import dataclass

from wise_merge.errors import WiseMergeError


@dataclass(frozen=True)
class FinalNorm:
    """The tensors to scale, and the `offset` that the model adds to a stored gain before use."""

    tensors: tuple[str, ...]
    offset: float = 0.0


_RMS_NORM = FinalNorm(("model.norm.weight",))
_GEMMA_NORM = FinalNorm(("model.norm.weight",), offset=1.0)

_BY_ARCHITECTURE = {
    "LlamaForCausalLM": _RMS_NORM,
    "MistralForCausalLM": _RMS_NORM,
    "Qwen2ForCausalLM": _RMS_NORM,
    "Qwen3ForCausalLM": _RMS_NORM,
    "Phi3ForCausalLM": _RMS_NORM,
    "GemmaForCausalLM": _GEMMA_NORM,
    "Gemma3ForCausalLM": _GEMMA_NORM,
    "GPT2LMHeadModel": FinalNorm(("transformer.ln_f.weight", "transformer.ln_f.bias")),
    "GPTNeoXForCausalLM": FinalNorm(("gpt_neox.final_layer_norm.weight", "gpt_neox.final_layer_norm.bias")),
}


def final_norm(architecture: str) -> FinalNorm:
    """Return the last normalisation of a `transformers` architecture, such as "LlamaForCausalLM"."""
    if architecture == "Gemma2ForCausalLM":
        raise WiseMergeError(
            "a temperature cannot be folded into Gemma2ForCausalLM: it caps its logits after the LM head, "
            "so scaling what comes before does not divide them; leave temperature at 1"
        )
    if architecture not in _BY_ARCHITECTURE:
        raise WiseMergeError(
            f"where {architecture} keeps its last normalisation is unknown, so no temperature can be folded into it; "
            f"leave temperature at 1 (known: {', '.join(sorted(_BY_ARCHITECTURE))})"
        )
    return _BY_ARCHITECTURE[architecture]
