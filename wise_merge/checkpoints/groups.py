"""Which part of a model a tensor belongs to, by its name: attention, mlp, embeddings and so on, as tables show them."""

import re

#: In this order: the norm within an attention block is a norm.
_GROUPS = (
    ("vision", re.compile(r"vision|visual|image|mm_projector|multi_modal")),
    ("norms", re.compile(r"norm|\bln_|\.ln\d|layernorm|\bln\b")),
    (
        "embeddings",
        re.compile(r"embed_tokens|embed_in|wte|wpe|word_embeddings|embed_positions|tok_embeddings"),
    ),
    ("lm head", re.compile(r"lm_head|embed_out|output\.weight$|score\.")),
    ("experts", re.compile(r"expert|router|\bgate\.weight|block_sparse_moe")),
    ("attention", re.compile(r"attn|attention|mixer")),
    ("mlp", re.compile(r"mlp|feed_forward|ffn|\bfc\d|dense_")),
)


def group_of(tensor: str) -> str:
    """Return the group of modules that a tensor's name puts it in, such as "attention"."""
    return next((group for group, pattern in _GROUPS if pattern.search(tensor)), "other")
