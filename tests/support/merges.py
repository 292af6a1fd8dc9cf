"""Merges by both commands, within this process, and the comparison of what they write."""

import torch
import yaml
from click.testing import CliRunner
from safetensors.torch import load_file

from wise_merge.cli import main


def merge(recipe, out, *options):
    """Run the command behind `mergekit-yaml` on a recipe; return click's result."""
    from mergekit.scripts.run_yaml import main

    path = out.with_suffix(".yml")
    path.write_text(yaml.safe_dump(recipe))
    return CliRunner().invoke(main, [str(path), str(out), "--quiet", *options])


def weights(directory):
    """All tensors of a checkpoint, from however many files."""
    tensors = {}
    for file in sorted(directory.glob("*.safetensors")):
        tensors.update(load_file(file))
    return tensors


def run(recipe, out, *options):
    """Run `wise-merge merge` on a recipe; return click's result."""
    path = out.parent / f"{out.name}.recipe.yml"
    path.write_text(yaml.safe_dump(recipe))
    return CliRunner().invoke(main, ["merge", str(path), str(out), *options], catch_exceptions=False)


def assert_same_weights(ours, theirs):
    ours, theirs = weights(ours), weights(theirs)
    assert ours.keys() == theirs.keys()
    for name, tensor in theirs.items():
        assert ours[name].dtype == tensor.dtype, name
        # As bytes: the sign of zero is a bit, too.
        assert torch.equal(ours[name].view(torch.uint8), tensor.view(torch.uint8)), name
