"""`interpolate` and `fold_temperature` against independent float64 arithmetic."""

import pytest
import torch

from wise_merge.averaging import check_temperature, first_non_finite, fold_temperature, interpolate
from wise_merge.errors import WiseMergeError

DTYPES = [torch.float32, torch.bfloat16, torch.float16]
ALPHAS = [0.0, 0.1, 0.25, 0.5, 0.7, 0.9, 1.0]


def pair(dtype, *, seed=0, size=100_000):
    """Weights of a usual size and a task vector of a tenth of it."""
    generator = torch.Generator().manual_seed(seed)
    early = torch.randn(size, generator=generator, dtype=torch.float64) * 0.02
    late = early + torch.randn(size, generator=generator, dtype=torch.float64) * 0.002
    return early.to(dtype), late.to(dtype)


def one_rounding(early, late, dtype):
    """The spacing of the dtype's numbers at the larger of the two inputs.

    Not at the result: where the two nearly cancel, correct results lie many of its spacings apart.
    """
    larger = torch.maximum(early.double().abs(), late.double().abs())
    # Below the smallest normal number the spacing no longer shrinks.
    larger = larger.clamp_min(torch.finfo(dtype).smallest_normal)
    return torch.finfo(dtype).eps * 2.0 ** torch.floor(torch.log2(larger))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("alpha", ALPHAS)
def test_the_average_is_within_one_rounding_of_float64(dtype, alpha):
    """Every element lies within one rounding of the output dtype of the float64 result."""
    early, late = pair(dtype)
    exact = (1 - alpha) * early.double() + alpha * late.double()
    merged = interpolate(early, late, alpha)
    assert merged.dtype == dtype
    assert ((merged.double() - exact).abs() <= one_rounding(early, late, dtype)).all()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_is_computed_in_float32_and_rounded_once(dtype):
    """The direct lerp gives the same bits as upcast, average, round."""
    early, late = pair(dtype, size=200_000)
    for alpha in ALPHAS:
        explicit = torch.lerp(early.float(), late.float(), alpha).to(dtype)
        assert torch.equal(interpolate(early, late, alpha), explicit)


@pytest.mark.parametrize("dtype", [*DTYPES, torch.float64])
def test_the_ends_are_the_checkpoints_bit_for_bit(dtype):
    """alpha = 0 is early and alpha = 1 is late, also for values that lose digits in a difference."""
    early, late = pair(dtype)
    early[0], late[0] = 1e-3, 3e4
    early[1], late[1] = -0.0, -0.0
    early[2], late[2] = torch.finfo(dtype).max, torch.finfo(dtype).min
    for alpha, end in ((0.0, early), (1.0, late)):
        merged = interpolate(early, late, alpha)
        # The sign of zero is a bit too, which == does not see.
        assert torch.equal(merged, end)
        assert torch.equal(torch.signbit(merged), torch.signbit(end))
        assert merged.data_ptr() != end.data_ptr()


def test_mixed_dtypes_end_in_that_of_late():
    """A bfloat16 early and a float32 late average to float32, without bfloat16 rounding."""
    early, late = pair(torch.float32)
    merged = interpolate(early.bfloat16(), late, 0.25)
    exact = 0.75 * early.bfloat16().double() + 0.25 * late.double()
    assert merged.dtype == torch.float32
    assert torch.equal(merged, exact.float())


def test_large_and_oddly_laid_out_tensors_average_like_small_ones():
    """Blocks and strides make no difference: a transposed view of 600,000 elements."""
    early, late = (tensor.view(600, 1000).t() for tensor in pair(torch.float32, size=600_000))
    exact = (0.7 * early.double() + 0.3 * late.double()).float()
    assert (interpolate(early, late, 0.3) - exact).abs().max() <= torch.finfo(torch.float32).eps * exact.abs().max()


def test_the_inputs_are_left_alone():
    """Neither tensor is written to."""
    early, late = pair(torch.float32)
    copies = early.clone(), late.clone()
    interpolate(early, late, 0.3)
    assert torch.equal(early, copies[0])
    assert torch.equal(late, copies[1])


@pytest.mark.parametrize("alpha", [-0.1, 1.7, float("nan"), float("inf")])
def test_alpha_outside_its_range_is_refused(alpha):
    """The message names the range and the value."""
    with pytest.raises(WiseMergeError, match=r"alpha must lie in \[0, 1\].*got"):
        interpolate(torch.zeros(1), torch.ones(1), alpha)


def test_different_shapes_are_refused():
    """Broadcasting never turns two different models into one."""
    with pytest.raises(WiseMergeError, match=r"\(2, 1\).*\(2, 3\)"):
        interpolate(torch.zeros(2, 1), torch.ones(2, 3), 0.5)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("offset", [0.0, 1.0])
def test_a_folded_gain_divides_what_it_multiplies(dtype, offset):
    """(offset + folded) * x equals (offset + weight) * x / T within one rounding."""
    weight, _ = pair(dtype)
    folded = fold_temperature(weight, 1.7, offset=offset)
    exact = (weight.double() + offset) / 1.7 - offset
    assert torch.equal(folded, exact.to(dtype)) or torch.allclose(
        folded.double(), exact, rtol=torch.finfo(dtype).eps, atol=1e-7
    )


def test_temperature_one_returns_the_weight_itself():
    """The neutral value costs nothing and rounds nothing."""
    weight = torch.randn(8)
    assert fold_temperature(weight, 1.0) is weight


@pytest.mark.parametrize("temperature", [0.0, -1.0, float("nan"), float("inf")])
def test_an_impossible_temperature_is_refused(temperature):
    """Only positive finite temperatures divide."""
    with pytest.raises(WiseMergeError, match="temperature must be a positive number"):
        check_temperature(temperature)


def test_the_first_non_finite_value_is_found():
    """NaN and infinities are reported; large finite values are not."""
    assert first_non_finite(torch.tensor([1.0, torch.finfo(torch.float32).max])) is None
    assert first_non_finite(torch.tensor([1.0, -torch.inf, torch.nan])) == -torch.inf
    assert first_non_finite(torch.tensor([65504.0] * 100, dtype=torch.float16)) is None
