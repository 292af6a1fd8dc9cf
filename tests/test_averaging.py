"""`interpolate` and `interpolate_balanced` against exact arithmetic by other means."""

from fractions import Fraction

import pytest
import torch
from support.tensors import one_rounding

from wise_merge.errors import WiseMergeError
from wise_merge.kernels.averaging import interpolate, interpolate_balanced
from wise_merge.kernels.finite import first_non_finite

DTYPES = [torch.float32, torch.bfloat16, torch.float16]
ALPHAS = [0.0, 0.1, 0.25, 0.5, 0.7, 0.9, 1.0]


def pair(dtype, *, seed=0, size=100_000):
    """Weights of a usual size and a task vector of a tenth of it."""
    generator = torch.Generator().manual_seed(seed)
    early = torch.randn(size, generator=generator, dtype=torch.float64) * 0.02
    late = early + torch.randn(size, generator=generator, dtype=torch.float64) * 0.002
    return early.to(dtype), late.to(dtype)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("alpha", ALPHAS)
def test_the_average_is_within_one_rounding_of_float64(dtype, alpha):
    """Every element lies within one spacing of the output dtype, at the larger of the two, of the float64 result."""
    early, late = pair(dtype)
    exact = (1 - alpha) * early.double() + alpha * late.double()
    merged = interpolate(early, late, alpha)
    assert merged.dtype == dtype
    assert ((merged.double() - exact).abs() <= one_rounding(early, late, dtype)).all()


@pytest.mark.parametrize(("dtype", "arithmetic"), [(torch.bfloat16, 22), (torch.float16, 22), (torch.float32, 51)])
@pytest.mark.parametrize("alpha", [0.1, 0.3, 1 / 3, 0.5, 0.7, 0.9])
def test_the_error_is_half_a_spacing_and_what_arithmetic_leaves_where_the_two_cancel(dtype, arithmetic, alpha):
    """Against fractions, for pairs whose average is almost nothing; the second term is needed, the first is not all."""
    generator = torch.Generator().manual_seed(1)
    early = (torch.randn(3000, generator=generator, dtype=torch.float64) * 0.02).to(dtype)
    near = 1 + torch.randint(-3, 4, early.shape, generator=generator) * torch.finfo(dtype).eps / 2
    late = (-(1 - alpha) / alpha * early.double() * near).to(dtype)
    share, beyond = Fraction(alpha), 0
    for a, b, merged in zip(early.tolist(), late.tolist(), interpolate(early, late, alpha).tolist(), strict=True):
        exact = (1 - share) * Fraction(a) + share * Fraction(b)
        spacing = one_rounding(torch.tensor(float(exact)), torch.tensor(0.0), dtype).item()
        error = abs(Fraction(merged) - exact) - Fraction(spacing) / 2
        assert error <= Fraction(max(abs(a), abs(b))) / 2**arithmetic
        beyond += error > 0
    # The negative control: half a spacing alone is not always enough. At alpha 0.5 halves are exact.
    assert beyond or dtype != torch.bfloat16 or alpha == 0.5


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


@pytest.mark.parametrize(
    ("early", "late", "out"),
    [
        (torch.bfloat16, torch.bfloat16, torch.float32),
        (torch.float32, torch.float32, torch.bfloat16),
        (torch.float16, torch.bfloat16, torch.float16),
        (torch.bfloat16, torch.float64, torch.float32),
        (torch.float64, torch.float64, torch.float32),
    ],
)
def test_another_dtype_of_the_result_is_reached_by_one_rounding(early, late, out):
    """The float64 result, rounded once."""
    one, other = pair(torch.float64, size=10_000)
    one, other = one.to(early), other.to(late)
    merged = interpolate(one, other, 0.3, dtype=out)
    assert merged.dtype == out
    exact = 0.7 * one.double() + 0.3 * other.double()
    assert ((merged.double() - exact).abs() <= one_rounding(one, other, out)).all()
    assert interpolate(one, other, 0.0, dtype=out).equal(one.to(out))


@pytest.mark.parametrize("threads", [1, 2, 5])
def test_threads_make_no_difference(threads):
    """A tensor that is split among threads, with a rest, is that of one thread."""
    early, late = pair(torch.float32, size=1_000_003)
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        merged = interpolate(early, late, 0.3)
    finally:
        torch.set_num_threads(before)
    assert torch.equal(merged, torch.lerp(early.double(), late.double(), 0.3).float())


def test_large_results_are_ordinary_tensors():
    """Whatever memory they lie in: they can be changed, saved, and outlive everything else."""
    early, late = pair(torch.bfloat16, size=3_000_000)
    merged = interpolate(early, late, 0.3).view(1000, 3000)
    assert merged.is_contiguous()
    assert torch.equal(merged.clone().add_(1), merged + 1)


def test_parameters_are_averaged_as_numbers():
    """A model's own parameters can be averaged, without a gradient of the result."""
    early, late = (torch.nn.Parameter(tensor) for tensor in pair(torch.float32, size=100))
    assert not interpolate(early, late, 0.3).requires_grad


@pytest.mark.parametrize("dtype", [torch.int64, torch.bool, torch.float8_e4m3fn])
def test_quantised_weights_are_refused(dtype):
    """Their numbers mean nothing without scales that are stored elsewhere."""
    with pytest.raises(WiseMergeError, match=f"{dtype} cannot be averaged"):
        interpolate(torch.ones(2).to(dtype), torch.ones(2).to(dtype), 1.0)


def exactly(early, late, alpha, temperatures, offset):
    """The balanced average of two lists in exact rational arithmetic."""
    shares = [1 - Fraction(alpha), Fraction(alpha)]
    return [
        sum(
            share * ((Fraction(weight) + Fraction(offset)) / Fraction(temperature) - Fraction(offset))
            for share, temperature, weight in zip(shares, temperatures, weights, strict=True)
        )
        for weights in zip(early.tolist(), late.tolist(), strict=True)
    ]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("offset", [0.0, 1.0])
@pytest.mark.parametrize("alpha", [0.0, 0.3, 1.0])
@pytest.mark.parametrize("temperatures", [(1.0, 1.7), (0.5, 1.0), (1.05, 1.6)])
def test_balancing_and_averaging_round_once(dtype, offset, alpha, temperatures):
    """Every element is the number of its dtype that lies next to exact arithmetic over fractions."""
    early, late = pair(dtype, size=300)
    # Gains near 0 with offset 1 are where (w + 1) / T - 1 cancels.
    early[:5] = torch.tensor([1e-4, 0.0, 1.0, -0.5, 60.0]).to(dtype)
    merged = interpolate_balanced(early, late, alpha, temperatures=temperatures, offset=offset)
    fractions = exactly(early, late, alpha, temperatures, offset)
    exact = torch.tensor([float(value) for value in fractions], dtype=torch.float64)
    assert merged.dtype == dtype
    # Not equality: float64 may fall on the other side of the middle between two numbers.
    distance = (merged.double() - exact).abs()
    assert (distance <= 0.5000001 * one_rounding(exact.abs(), merged, dtype)).all()


def test_balancing_twice_rounded_would_be_further_off():
    """The negative control: to fold in bfloat16 first and average then is not the same."""
    early, late = pair(torch.bfloat16)
    once = interpolate_balanced(early, late, 0.3, temperatures=(1.3, 1.7), offset=0.0)
    twice = interpolate((early.double() / 1.3).bfloat16(), (late.double() / 1.7).bfloat16(), 0.3)
    exact = 0.7 * early.double() / 1.3 + 0.3 * late.double() / 1.7
    assert (once != twice).float().mean() > 0.1
    assert (once.double() - exact).abs().mean() < 0.9 * (twice.double() - exact).abs().mean()


@pytest.mark.parametrize("dtype", [*DTYPES, torch.float64])
@pytest.mark.parametrize("out", [None, torch.float32])
@pytest.mark.parametrize("alpha", ALPHAS)
def test_temperatures_of_one_are_wise_ft_bit_for_bit(dtype, out, alpha):
    """The neutral values change nothing, whatever the offset."""
    early, late = pair(dtype)
    balanced = interpolate_balanced(early, late, alpha, temperatures=(1.0, 1.0), offset=1.0, dtype=out)
    plain = interpolate(early, late, alpha, dtype=out)
    assert balanced.dtype == plain.dtype
    assert torch.equal(balanced, plain)


def test_a_temperature_of_one_leaves_its_end_alone():
    """At alpha 0 the early gain at temperature 1 is itself, bit for bit, however hot the late one is."""
    early, late = pair(torch.float32)
    for offset in (0.0, 1.0):
        assert torch.equal(interpolate_balanced(early, late, 0.0, temperatures=(1.0, 3.0), offset=offset), early)


def test_a_gain_that_overflows_is_infinite():
    """So the caller, who knows its name, can say so; the other end does not become NaN by it."""
    early, late = torch.ones(2, dtype=torch.float16), torch.ones(2, dtype=torch.float16)
    folded = interpolate_balanced(early, late, 0.5, temperatures=(1.0, 1e-6), offset=0.0)
    assert first_non_finite(folded) == torch.inf
    assert torch.equal(interpolate_balanced(early, late, 0.0, temperatures=(1.0, 1e-320), offset=0.0), early)


@pytest.mark.parametrize("temperature", [0.0, -1.0, float("nan"), float("inf")])
def test_an_impossible_temperature_is_refused(temperature):
    """Only positive finite temperatures divide."""
    with pytest.raises(WiseMergeError, match="temperature must be a positive number"):
        interpolate_balanced(torch.ones(1), torch.ones(1), 0.5, temperatures=(1.0, temperature), offset=0.0)


@pytest.mark.parametrize("dtype", [*DTYPES, torch.float64, torch.float8_e5m2])
@pytest.mark.parametrize("value", [torch.nan, torch.inf, -torch.inf])
def test_a_non_finite_value_is_found_wherever_it_is(dtype, value):
    """At the beginning, in the middle, at the end; alone; among the largest numbers there are; in any layout."""
    largest = torch.finfo(dtype).max
    for place in (0, 1, 4097, 99_998, 99_999):
        tensor = torch.full((100_000,), largest, dtype=torch.float64).to(dtype)
        assert first_non_finite(tensor) is None
        tensor[place] = value
        for layout in (tensor, tensor.view(10, -1).t(), tensor[place : place + 1]):
            assert str(first_non_finite(layout)) == str(value)
    assert first_non_finite(torch.tensor(value).to(dtype)) is not None


def test_the_first_of_several_non_finite_values_is_reported():
    """In the order in which the elements lie."""
    assert first_non_finite(torch.tensor([1.0, -torch.inf, torch.nan])) == -torch.inf


@pytest.mark.parametrize(
    "tensor",
    [
        torch.tensor([]),
        torch.tensor([2**62, -1]),
        torch.tensor([True]),
        torch.ones(3).to(torch.float8_e4m3fn),
        torch.full((200_000,), 65504.0, dtype=torch.float16),  # whose sum is not finite
    ],
    ids=lambda tensor: str(tensor.dtype),
)
def test_finite_tensors_of_all_kinds_are_finite(tensor):
    """Empty ones, integers, and those of dtypes in which the usual functions do not exist or overflow."""
    assert first_non_finite(tensor) is None
