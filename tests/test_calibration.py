"""The temperature of least NLL, its uncertainty, and the calibration error, against float64 arithmetic on logits."""

import dataclasses
import math

import numpy as np
import pytest
import torch
from scipy.optimize import minimize_scalar

from wise_merge.errors import WiseMergeError
from wise_merge.estimators.calibration import (
    BINS,
    HIGHEST,
    LOWEST,
    Bin,
    concatenate,
    confidence,
    expected_calibration_error,
    fit_temperature,
    nll,
    reliability,
    select,
    tokens_of,
)

TEMPERATURES = np.geomspace(LOWEST, HIGHEST, 41)


def draw(count, *, vocabulary=50, scale=2.0, temperature=1.0, seed=0):
    """Random logits, and targets drawn from their softmax at a temperature."""
    generator = torch.Generator().manual_seed(seed)
    logits = scale * torch.randn(count, vocabulary, generator=generator)
    targets = torch.multinomial(torch.softmax(logits.double() / temperature, -1), 1, generator=generator)[:, 0]
    return logits, targets


def exact_nll(logits, targets, temperature):
    return torch.nn.functional.cross_entropy(logits.double() / temperature, targets, reduction="none").numpy()


def mixed(logits, targets):
    """Sharp and flat logits, and everything in between."""
    scale = torch.logspace(-2, 1.5, len(logits))[:, None]
    return logits * scale, targets


LOGITS = {
    "usual": lambda: draw(40, vocabulary=30_000, scale=2.0),
    "flat": lambda: draw(40, vocabulary=30_000, scale=0.01),
    "sharp": lambda: draw(200, vocabulary=3_000, scale=30.0),
    "mixed": lambda: mixed(*draw(300, vocabulary=3_000)),
    "surprised": lambda: (draw(200, vocabulary=300, scale=4.0)[0], torch.arange(200)),
    "two tokens": lambda: draw(200, vocabulary=2),
    "one above many": lambda: (
        torch.nn.functional.pad(torch.linspace(1, 60, 60)[:, None], (0, 29_999)),
        torch.arange(60) % 2,
    ),
}


@pytest.mark.parametrize("kind", LOGITS)
def test_the_mean_nll_at_any_temperature_is_that_of_the_logits(kind):
    """Within 1e-5 of float64 brute force from T = 1/4 to 4, and so is each confidence."""
    logits, targets = LOGITS[kind]()
    tokens = tokens_of(logits, targets)
    for temperature in TEMPERATURES:
        exact = exact_nll(logits, targets, temperature)
        assert nll(tokens, temperature).mean() == pytest.approx(exact.mean(), abs=1e-5, rel=1e-6)
        confident = torch.softmax(logits.double() / temperature, -1).max(-1).values.numpy()
        # A relative error of the confidence is an absolute one of the log-partition; of single tokens, not of means.
        np.testing.assert_allclose(confidence(tokens, temperature), confident, rtol=4e-5)


@pytest.mark.parametrize("truth", [0.4, 1.0, 1.7, 3.0])
def test_the_temperature_behind_the_targets_is_found(truth):
    """Targets drawn from softmax(z / T0) give T0 within the interval, which is narrow."""
    logits, targets = draw(4000, temperature=truth, seed=round(10 * truth))
    fit = fit_temperature(tokens_of(logits, targets), np.arange(4000) // 10)
    assert fit.low < truth < fit.high
    assert fit.low < fit.temperature < fit.high
    assert fit.standard_error < 0.04 * truth


def test_the_temperature_is_where_brute_force_finds_it():
    """A general minimiser on float64 logits, which knows nothing of beta, agrees to five digits."""
    logits, targets = draw(1500, vocabulary=400, temperature=1.5)
    found = minimize_scalar(
        lambda t: exact_nll(logits, targets, t).mean(), bounds=(0.5, 4), method="bounded", options={"xatol": 1e-9}
    )
    # What is kept of the logits is float32.
    assert fit_temperature(tokens_of(logits, targets), np.arange(1500)).temperature == pytest.approx(found.x, rel=1e-5)


@pytest.mark.parametrize("factor", [0.5, 1.6])
def test_scaling_the_logits_scales_the_temperature(factor):
    """Logits times c have c times the temperature, its error and its interval."""
    logits, targets = draw(2000, temperature=1.3)
    plain, scaled = (fit_temperature(tokens_of(z, targets), np.arange(2000) // 5) for z in (logits, factor * logits))
    for one, other in zip(dataclasses.astuple(plain), dataclasses.astuple(scaled), strict=True):
        assert other == pytest.approx(factor * one, rel=1e-5)


@pytest.mark.parametrize("truth", [0.6, 1.0, 2.5])
def test_the_nll_is_never_higher_at_the_fitted_temperature(truth):
    """Lower than at 1, and lower than a step to either side."""
    tokens = tokens_of(*draw(500, temperature=truth))
    best = fit_temperature(tokens, np.arange(500)).temperature
    for other in (1.0, best * 1.01, best / 1.01):
        assert nll(tokens, best).mean() <= nll(tokens, other).mean()


def test_the_standard_error_is_the_sandwich_over_sequences():
    """Against derivatives of the float64 NLL by automatic differentiation, of each sequence by itself."""
    logits, targets = draw(600, vocabulary=80, temperature=1.4)
    sequences = np.arange(600) % 40
    fit = fit_temperature(tokens_of(logits, targets), sequences)
    temperature = torch.tensor(fit.temperature, dtype=torch.float64, requires_grad=True)
    losses = torch.nn.functional.cross_entropy(logits.double() / temperature, targets, reduction="none")
    scores = [
        torch.autograd.grad(losses[sequences == number].sum(), temperature, retain_graph=True)[0]
        for number in range(40)
    ]
    (slope,) = torch.autograd.grad(losses.sum(), temperature, create_graph=True)
    (curvature,) = torch.autograd.grad(slope, temperature)
    expected = math.sqrt(40 / 39 * sum(score.item() ** 2 for score in scores)) / curvature.item()
    assert fit.standard_error == pytest.approx(expected, rel=1e-4)


def test_tokens_of_one_sequence_are_not_independent():
    """Repeating every token within its sequence tells nothing new; as sequences of their own they would seem to."""
    logits, targets = draw(800, temperature=1.2)
    once = fit_temperature(tokens_of(logits, targets), np.arange(800))
    four = tokens_of(logits.repeat(4, 1), targets.repeat(4))
    assert fit_temperature(four, np.tile(np.arange(800), 4)).standard_error == pytest.approx(once.standard_error)
    assert fit_temperature(four, np.arange(3200)).standard_error == pytest.approx(once.standard_error / 2, rel=0.01)


def draw_uneven(sequences, *, seed):
    """Eight tokens per sequence that come at a temperature of its own, around one for all."""
    logits, _ = draw(8 * sequences, vocabulary=12, seed=seed)
    generator = torch.Generator().manual_seed(seed)
    own = torch.exp(0.3 * torch.randn(sequences, generator=generator)).repeat_interleave(8)[:, None]
    targets = torch.multinomial(torch.softmax(logits / own, -1), 1, generator=generator)[:, 0]
    return tokens_of(logits, targets), np.arange(8 * sequences) // 8


def test_the_interval_covers_the_truth_as_often_as_it_says():
    """Of 300 data sets of 30 uneven sequences, 95 % have the temperature of 15,000 such sequences in their interval."""
    truth = fit_temperature(*draw_uneven(15_000, seed=1000)).temperature
    fits = [fit_temperature(*draw_uneven(30, seed=seed)) for seed in range(300)]
    # Three standard errors of a share of 0.95 in 300 are 0.038.
    assert 0.91 < sum(fit.low < truth < fit.high for fit in fits) / 300 < 0.99


def test_a_single_sequence_has_no_standard_error():
    """NaN, and the temperature all the same."""
    fit = fit_temperature(tokens_of(*draw(100)), np.zeros(100, dtype=int))
    assert fit.temperature > 0
    assert math.isnan(fit.standard_error)
    assert math.isnan(fit.low)


def test_a_temperature_beyond_the_range_is_an_error():
    """Targets at random call for a uniform distribution, targets always right for certainty; so says the message."""
    logits, _ = draw(300)
    with pytest.raises(WiseMergeError, match=r"temperature above 4 \(\d"):
        fit_temperature(tokens_of(logits, torch.arange(300) % 50), np.arange(300))
    with pytest.raises(WiseMergeError, match=r"temperature below 0\.25"):
        fit_temperature(tokens_of(logits, logits.argmax(-1)), np.arange(300))
    with pytest.raises(WiseMergeError, match="above 4"):
        fit_temperature(tokens_of(torch.zeros(5, 7), torch.arange(5)), np.arange(5))


def test_bfloat16_logits_are_upcast():
    """The same as for the float32 copy, bit for bit, and the logits stay as they are."""
    logits, targets = draw(50, vocabulary=2500)
    narrow = logits.bfloat16()
    before = narrow.clone()
    ours, wide = tokens_of(narrow, targets), tokens_of(narrow.float(), targets)
    assert torch.equal(narrow, before)
    for name in ("curves", "distances", "correct"):
        np.testing.assert_array_equal(getattr(ours, name), getattr(wide, name))


def test_tokens_may_come_in_any_portions():
    """In one call, token by token, or reordered: the same numbers to float32 rounding."""
    logits, targets = draw(30, vocabulary=2500)
    whole = tokens_of(logits, targets)
    single = concatenate([tokens_of(logits[i : i + 1], targets[i : i + 1]) for i in range(30)])
    order = np.random.default_rng(0).permutation(30)
    reordered = tokens_of(logits[order], targets[order])
    for other, expected in ((single, whole), (reordered, select(whole, order))):
        # Sums over the vocabulary may be taken in another order.
        np.testing.assert_allclose(other.curves, expected.curves, rtol=1e-4, atol=1e-6)
        np.testing.assert_array_equal(other.distances, expected.distances)
        np.testing.assert_array_equal(other.correct, expected.correct)
    assert len(tokens_of(logits[:0], targets[:0]).distances) == 0


def test_what_is_kept_does_not_grow_with_the_vocabulary():
    """0.4 kB per token, for two or for a hundred thousand entries."""
    for vocabulary in (2, 100_000):
        tokens = tokens_of(*draw(3, vocabulary=vocabulary))
        kept = tokens.curves.nbytes + tokens.distances.nbytes + tokens.correct.nbytes
        assert kept / 3 < 410


def test_nan_shows_and_an_impossible_token_does_not_matter():
    """NaN or infinity among the logits makes the curve NaN; -infinity is a token that cannot come."""
    logits, targets = draw(4)
    targets[:] = 3
    expected = exact_nll(torch.cat([logits[:, :7], logits[:, 8:]], 1), targets, 1.5)
    logits[0, 7], logits[1, 7], logits[2, 7], logits[3, 7] = math.nan, math.inf, -math.inf, -3e38
    tokens = tokens_of(logits, targets)
    assert not np.isfinite(tokens.curves[:2]).any(axis=(1, 2)).any()
    np.testing.assert_allclose(nll(tokens, 1.5)[2:], expected[2:], atol=1e-5)
    assert tokens_of(logits[2:3], torch.tensor([7])).distances[0] == math.inf


def test_temperatures_that_were_not_kept_are_refused():
    """Nothing is extrapolated."""
    tokens = tokens_of(*draw(2))
    for temperature in (0.2, 4.1, math.nan):
        with pytest.raises(WiseMergeError, match="must lie in"):
            nll(tokens, temperature)


def test_the_calibration_error_by_hand():
    """Two tokens at 0.9 of which one is right, one at 0.3 that is right: (2 * 0.4 + 1 * 0.7) / 3."""
    bins = reliability(np.array([0.9, 0.3, 0.9]), np.array([True, True, False]), np.arange(3))
    assert [(one.tokens, one.accuracy) for one in bins] == [(1, 1.0), (2, 0.5)]
    assert expected_calibration_error(bins) == pytest.approx(1.5 / 3)


def test_bins_are_open_below_and_closed_above():
    """A confidence of m / 15 belongs to the m-th bin; 0 to the first and 1 to the last."""
    confidences = np.array([0.0, 1e-9, 1 / 15, 1 / 15 + 1e-9, 0.2, 1.0])
    bins = reliability(confidences, np.ones(6, dtype=bool), np.arange(6))
    assert [(round(one.high * BINS), one.tokens) for one in bins] == [(1, 3), (2, 1), (3, 1), (15, 1)]


def test_the_error_of_an_accuracy_is_over_sequences():
    """Of 0/1 values of one token per sequence it is the usual one; doubled tokens do not make it smaller."""
    confidences, correct = np.full(50, 0.5), np.arange(50) % 5 == 0
    expected = correct.std(ddof=1) / math.sqrt(50)
    (single,) = reliability(confidences, correct, np.arange(50))
    (double,) = reliability(np.tile(confidences, 2), np.tile(correct, 2), np.tile(np.arange(50), 2))
    assert single.standard_error == pytest.approx(expected)
    assert double.standard_error == pytest.approx(expected)
    (alone,) = reliability(confidences, correct, np.zeros(50, dtype=int))
    assert math.isnan(alone.standard_error)
    assert isinstance(alone, Bin)


def test_calibration_brings_the_calibration_error_down():
    """Over-confident logits: from a large error to one that is noise."""
    logits, targets = draw(5000, temperature=2.0)
    tokens, sequences = tokens_of(logits, targets), np.arange(5000)
    best = fit_temperature(tokens, sequences).temperature
    before, after = (
        expected_calibration_error(reliability(confidence(tokens, t), tokens.correct, sequences)) for t in (1.0, best)
    )
    assert before > 0.2
    assert after < 0.03
