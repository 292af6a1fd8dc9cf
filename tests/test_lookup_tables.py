"""Tables that are looked up by row, found by their names in models of every architecture."""

import doctest

import pytest
import torch
import transformers
from support.architectures import NEEDS, configuration
from torch import nn

from wise_merge.checkpoints import lookup_tables
from wise_merge.checkpoints.final_norms import KNOWN_ARCHITECTURES
from wise_merge.checkpoints.lookup_tables import is_looked_up

#: Of tokens, learned positions, per layer, within a vision model; the others are among the slow tests.
ALWAYS = ["LlamaForCausalLM", "GPT2LMHeadModel", "OPTForCausalLM", "Gemma3nForCausalLM"]
ALWAYS += ["Gemma3ForConditionalGeneration"]


def test_the_example_of_the_docstring_is_true():
    """Embeddings are, an LM head and a shared expert are not."""
    assert doctest.testmod(lookup_tables).attempted
    assert not doctest.testmod(lookup_tables).failed


@pytest.mark.parametrize(
    "architecture",
    [name if name in ALWAYS else pytest.param(name, marks=pytest.mark.slow) for name in sorted(KNOWN_ARCHITECTURES)],
)
def test_the_names_are_those_of_the_modules_that_look_up(architecture):
    """What transformers builds as `nn.Embedding`, and nothing else."""
    cls = getattr(transformers, architecture)
    with torch.device("meta"):
        model = cls(configuration(cls.config_class, **NEEDS.get(architecture, {})))
    tables = {f"{name}.weight" for name, module in model.named_modules() if isinstance(module, nn.Embedding)}
    assert tables
    assert {name for name, _ in model.named_parameters(remove_duplicate=False) if is_looked_up(name)} == tables
