"""Merges that are computed where they are written."""

import pytest
import torch

from wise_merge.kernels.averaging import interpolate
from wise_merge.tensors.deferred import DeferredMerge

GENERATOR = torch.Generator().manual_seed(1)
EARLY, LATE = (torch.randn(12, 32, generator=GENERATOR).bfloat16() for _ in range(2))
AVERAGE = interpolate(EARLY, LATE, 0.3)


def deferred(computed):
    """The average of EARLY and LATE, which notes the shape of every part that is computed."""

    def average(inputs, place):
        computed.append(tuple(inputs[0].shape))
        return interpolate(*inputs, 0.3, out=place)

    return DeferredMerge([EARLY, LATE], torch.bfloat16, average)


PARTS = {
    "whole": lambda tensor: tensor,
    "rows": lambda tensor: tensor.narrow(0, 4, 4),
    "columns": lambda tensor: tensor[:, 8:24],
    "row": lambda tensor: tensor[3],
    "transposed": lambda tensor: tensor.t(),
    "chunk": lambda tensor: tensor.chunk(3)[1],
    "heads": lambda tensor: tensor.view(3, 4, 32).permute(1, 0, 2).unsqueeze(0),
    "parameter": lambda tensor: tensor.detach(),
}


@pytest.mark.parametrize("part", PARTS.values(), ids=PARTS)
def test_a_part_is_computed_once_and_where_it_is_written(part):
    """The bits are those of that part of the whole average, and nothing else is computed."""
    computed = []
    taken = part(deferred(computed))
    assert computed == []
    place = torch.zeros(taken.shape, dtype=torch.bfloat16)
    assert place.copy_(taken) is place
    assert torch.equal(place, part(AVERAGE))
    assert computed == [tuple(taken.shape)]


def test_the_place_may_have_another_dtype_or_no_memory():
    """Rounded to the average's dtype first; a tensor without memory has nothing computed for it."""
    computed = []
    place = torch.zeros(12, 32, dtype=torch.float64)
    place.copy_(deferred(computed))
    assert torch.equal(place, AVERAGE.double())
    torch.empty(12, 32, device="meta").copy_(deferred(computed))
    assert len(computed) == 1


def test_it_may_be_written_to_every_row_of_a_place():
    """As torch does with ordinary tensors."""
    place = torch.zeros(2, 12, 32, dtype=torch.bfloat16)
    place.copy_(deferred([]))
    assert torch.equal(place, AVERAGE.expand(2, 12, 32))


def test_whatever_else_is_done_with_it_gives_what_the_average_gives():
    """Sums, casts, concatenations and single numbers."""
    tensor = deferred([])
    assert torch.equal(torch.cat([tensor, AVERAGE]), torch.cat([AVERAGE, AVERAGE]))
    assert torch.equal(tensor.float() + 1, AVERAGE.float() + 1)
    assert tensor[2, 3].item() == AVERAGE[2, 3].item()
    assert torch.equal(tensor.t().contiguous(), AVERAGE.t())
    assert (tensor.shape, tensor.dtype, tensor.numel()) == (AVERAGE.shape, torch.bfloat16, 384)
    assert "12, 32" in repr(tensor)
