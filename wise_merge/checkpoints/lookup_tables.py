"""Which tensors are tables that a model looks up by row, such as embeddings, by their names.

Their rows are what the columns of other matrices are: what one input is multiplied by, here a token or a position.
"""

import re

_TABLE = re.compile(
    r"(?:^|\.)(?:embed_(?:tokens|tokens_per_layer|in|positions)|(?:(?:word|tok|token|token_type|position)_)?embeddings?|"
    r"wte|wpe|shared|pos_embed|relative_attention_bias)\.weight$"
)


def is_looked_up(name: str) -> bool:
    """Return whether a tensor is a table of embeddings: of tokens, their types or learned positions.

    >>> is_looked_up("model.embed_tokens.weight"), is_looked_up("transformer.wpe.weight")
    (True, True)
    >>> is_looked_up("lm_head.weight"), is_looked_up("model.layers.0.mlp.shared_expert.up_proj.weight")
    (False, False)
    """
    return bool(_TABLE.search(name))
