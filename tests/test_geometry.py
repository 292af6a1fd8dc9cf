"""The five sums of a merge against their definitions."""

import math

import pytest
import torch

from wise_merge.geometry.distances import Distance, Step, differing, distance, step


def sums(early, late, merged, alpha):
    """What a merge of whole tensors measures."""
    task_vector = late.float() - early.float()
    seen = distance(early.float(), task_vector, changed=int((task_vector != 0).sum()))
    moved = differing(early.to(merged.dtype), merged)
    return seen, step(early.float(), task_vector, merged, alpha, seen.task_vector, moved=moved)


def pair(size=50_000, scale=0.01):
    generator = torch.Generator().manual_seed(0)
    early = torch.randn(size, generator=generator)
    return early, early * (1 + scale * torch.randn(size, generator=generator))


def test_the_figures_are_those_of_their_definitions():
    """Norms, projection and shares, computed on whole tensors in float64."""
    early, late = (tensor.bfloat16() for tensor in pair())
    merged = torch.lerp(early, late, 0.1)
    seen, moved = sums(early, late, merged, 0.1)
    e, d, m = early.double(), late.double() - early.double(), merged.double()
    assert seen.relative == pytest.approx(float(d.norm() / e.norm()), rel=1e-5)
    assert moved.effective_alpha(seen) == pytest.approx(float(((m - e) * d).sum() / d.pow(2).sum()), rel=1e-4)
    assert moved.rounding_error == pytest.approx(float((m - (e + 0.1 * d)).norm() / (0.1 * d).norm()), rel=1e-3)
    assert moved.rounded_back(seen) == pytest.approx(int(((m == e) & (d != 0)).sum()) / int((d != 0).sum()), abs=1e-9)


def test_a_small_step_in_bfloat16_is_mostly_rounding_and_float32_keeps_it():
    """A task vector of 1 % at alpha 0.1: most of the step is lost in bfloat16, none in float32."""
    early, late = (tensor.bfloat16() for tensor in pair())
    exact = torch.lerp(early.float(), late.float(), 0.1)
    assert sums(early, late, exact.bfloat16(), 0.1)[1].rounding_error > 0.7
    assert sums(early, late, exact, 0.1)[1].rounding_error < 1e-3


def test_sums_of_parts_are_those_of_the_whole():
    """Blocks add up."""
    early, late = pair()
    merged = torch.lerp(early, late, 0.3).half()
    whole = sums(early, late, merged, 0.3)
    parts = [
        sums(a, b, m, 0.3) for a, b, m in zip(early.split(7000), late.split(7000), merged.split(7000), strict=True)
    ]
    added = (sum((part[0] for part in parts), Distance()), sum((part[1] for part in parts), Step()))
    assert added[0].elements == whole[0].elements
    assert added[0].changed == whole[0].changed
    assert added[1].moved == whole[1].moved
    assert added[0].relative == pytest.approx(whole[0].relative, rel=1e-5)
    assert added[1].rounding_error == pytest.approx(whole[1].rounding_error, rel=1e-3)


def test_equal_checkpoints_have_no_step():
    """Nothing is divided by zero."""
    early, _ = pair(100)
    seen, moved = sums(early, early.clone(), early.clone(), 0.5)
    assert (seen.relative, moved.rounding_error, moved.rounded_back(seen)) == (0.0, 0.0, 0.0)
    assert moved.effective_alpha(seen) is None


def test_a_checkpoint_of_zeros_is_infinitely_far_from_another():
    """A relative distance to nothing has no number."""
    assert sums(torch.zeros(3), torch.ones(3), torch.ones(3), 1.0)[0].relative == math.inf


def test_the_tensors_are_left_alone():
    """Neither block is written to, whatever the dtypes: the inputs of a merge are mapped files."""
    early, late = pair(100)
    task_vector = late - early
    for merged in (late.clone(), late.bfloat16()):
        copies = [tensor.clone() for tensor in (early, task_vector, merged)]
        step(early, task_vector, merged, 0.5, 1.0, moved=100)
        for tensor, copy in zip((early, task_vector, merged), copies, strict=True):
            assert torch.equal(tensor, copy)
