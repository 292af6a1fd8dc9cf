"""The temperature that calibrates a language model, and how well it is calibrated.

A token's logits z are kept as what they say at every temperature at once: with the inverse temperature
beta = 1 / T, the log-partition log sum exp(beta z) and its first two derivatives, at 33 values of beta. All else
follows from these: the NLL at any T, its derivative, the confidence. So the logits themselves, a vocabulary wide,
are needed once. Temperature scaling and the calibration error are those of Guo et al. 2017 (arXiv 1706.04599), per
token instead of per image.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from wise_merge.errors import WiseMergeError

#: The temperatures that are fitted.
LOWEST, HIGHEST = 0.25, 4.0
#: Bins of the calibration error, as in Guo et al. 2017.
BINS = 15

#: Values of beta per doubling, and doublings from 1 / HIGHEST to 1 / LOWEST. With 8, quintic interpolation between them
#: is within 1e-5 of the NLL even where it bends most: one logit above 262,143 equal ones.
_PER_DOUBLING, _DOUBLINGS = 8, 4
_BETAS = (1.0 / HIGHEST) * 2.0 ** (np.arange(_PER_DOUBLING * _DOUBLINGS + 1) / _PER_DOUBLING)
_STEP = math.log(2.0) / _PER_DOUBLING

#: Distances below the largest logit are cut to this: at the smallest beta a million such logits still add nothing,
#: an infinite distance would make 0 * infinity, and exp is slow where it underflows.
_FARTHEST = 160.0
#: Squares of smaller numbers are no longer normal in float32, and slow on some processors.
_SMALLEST = 1e-19
#: Elements of a block of exponentials: 4 MB of the processor's cache, or what keeps a GPU busy.
_CPU_BLOCK, _GPU_BLOCK = 1 << 20, 1 << 26
#: Entries of the vocabulary that a product of matrices sums at once: sums of 100,000 would be 1e-3 off in float32.
_PIECE = 1 << 10

# The quintic polynomials on [0, 1] that have value, slope or curvature 1 at one end and 0 in all else, as rows of
# coefficients of 1, t, ..., t^5: value, slope, curvature at 0, then at 1.
_QUINTIC = np.array(
    [
        [1, 0, 0, -10, 15, -6],
        [0, 1, 0, -6, 8, -3],
        [0, 0, 0.5, -1.5, 1.5, -0.5],
        [0, 0, 0, 10, -15, 6],
        [0, 0, 0, -4, 7, -3],
        [0, 0, 0, 0.5, -1, 0.5],
    ]
)


@dataclass(frozen=True)
class Tokens:
    """What the logits of n tokens say at any temperature, about 0.4 kB per token.

    Distances are from the largest logit of the token, so no number here is large.

    Attributes:
        curves: (n, 33, 3) float32; at each beta the log-partition log sum exp(beta (z - max z)), the mean of
            max z - z under softmax(beta z), and the variance of z under it.
        distances: (n,) float32, max z - z_y of the token y that came; at least 0.
        correct: (n,) bool, whether that token is the likeliest.
    """

    curves: np.ndarray
    distances: np.ndarray
    correct: np.ndarray


@dataclass(frozen=True)
class Fit:
    """The temperature of least NLL.

    Attributes:
        temperature: that logits are to be divided by.
        standard_error: of it, over sequences; NaN from a single sequence.
        low: lower end of the 95 % interval.
        high: upper end of the 95 % interval.
    """

    temperature: float
    standard_error: float
    low: float
    high: float


@dataclass(frozen=True)
class Bin:
    """The tokens whose confidence lies in (low, high].

    Attributes:
        low: see above.
        high: see above.
        tokens: how many.
        confidence: the mean probability of their likeliest token.
        accuracy: how often that token came.
        standard_error: of the accuracy, over sequences; NaN where all tokens are of one.
    """

    low: float
    high: float
    tokens: int
    confidence: float
    accuracy: float
    standard_error: float


@torch.no_grad()
def tokens_of(logits: Tensor, targets: Tensor) -> Tokens:
    """Return what n tokens' logits (n, vocabulary) say of the tokens that came, `targets` (n,) int64.

    Runs on the logits' device, in float32 (bfloat16 and float16 are upcast) and in blocks of tokens. A NaN or an
    infinity among a token's logits makes its curve NaN; -infinity, a token that cannot come, is all right unless it is
    the target, whose distance is then infinite.
    """
    vocabulary = logits.shape[1]
    block = (_CPU_BLOCK if logits.device.type == "cpu" else _GPU_BLOCK) // ((_DOUBLINGS + 1) * vocabulary)
    blocks = (torch.split(tensor, max(block, 1)) for tensor in (logits, targets))
    parts = [_curves_and_distances(*pair) for pair in zip(*blocks, strict=True)]
    if not parts:
        return Tokens(np.empty((0, len(_BETAS), 3), np.float32), np.empty(0, np.float32), np.empty(0, np.bool_))
    curves, distances, correct = (torch.cat(part).cpu().numpy() for part in zip(*parts, strict=True))
    return Tokens(curves, distances, correct)


def _curves_and_distances(logits: Tensor, targets: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    likeliest = logits.argmax(dim=1, keepdim=True)
    # The difference is exact enough in float32 whatever the size of the logits, as it is taken first.
    wide = logits.to(torch.promote_types(logits.dtype, torch.float32))
    below = (wide.gather(1, likeliest) - wide).to(torch.float32)
    distances = below.gather(1, targets[:, None])[:, 0]
    below = below.clamp_(max=_FARTHEST)
    pieces = -(-below.shape[1] // _PIECE)
    width = -(-below.shape[1] // pieces)
    padding = (0, pieces * width - below.shape[1])
    below = torch.nn.functional.pad(below, padding, value=_FARTHEST).view(len(below) * pieces, width)
    # One product of matrices gives the three sums over the vocabulary for all betas below.
    powers = torch.stack([torch.ones_like(below), below, below * below], dim=1)
    sums = below.new_empty(len(below), 3, len(_BETAS))
    exponentials = below.new_empty(len(below), _DOUBLINGS + 1, below.shape[1])
    for first in range(_PER_DOUBLING):
        places = range(first, len(_BETAS), _PER_DOUBLING)
        torch.mul(below, -_BETAS[first], out=exponentials[:, 0]).exp_()
        # exp(2 beta z) is the square of exp(beta z), ten times cheaper than another exponential.
        for doubling in range(1, len(places)):
            torch.square(exponentials[:, doubling - 1].clamp_min(_SMALLEST), out=exponentials[:, doubling])
        sums[:, :, first::_PER_DOUBLING] = torch.bmm(powers, exponentials[:, : len(places)].mT)
    sums = sums.view(len(logits), pieces, 3, len(_BETAS)).sum(dim=1)
    partition, mean, square = sums.unbind(dim=1)
    mean, square = mean / partition, square / partition
    curves = torch.stack([partition.log(), mean, square - mean * mean], dim=2)
    return curves, distances, likeliest[:, 0] == targets


def concatenate(parts: Sequence[Tokens]) -> Tokens:
    """Return the tokens of all parts, in order."""
    return Tokens(
        np.concatenate([part.curves for part in parts]),
        np.concatenate([part.distances for part in parts]),
        np.concatenate([part.correct for part in parts]),
    )


def select(tokens: Tokens, rows: np.ndarray | slice) -> Tokens:
    """Return some of the tokens."""
    return Tokens(tokens.curves[rows], tokens.distances[rows], tokens.correct[rows])


def nll(tokens: Tokens, temperature: float) -> np.ndarray:
    """Return (n,) float64: -log softmax(z / T)_y of each token."""
    beta = _beta(temperature)
    return _interpolate(tokens.curves, beta, 0) + beta * tokens.distances


def confidence(tokens: Tokens, temperature: float) -> np.ndarray:
    """Return (n,) float64: the probability max softmax(z / T) of each token's likeliest successor."""
    return np.asarray(np.exp(-np.maximum(_interpolate(tokens.curves, _beta(temperature), 0), 0.0)))


def fit_temperature(tokens: Tokens, sequences: np.ndarray) -> Fit:
    """Return the temperature at which the mean NLL per token is least.

    The NLL is convex in beta = 1 / T, so it is least where its derivative, mean(E_beta[z] - z_y) up to sign, is 0. The
    standard error is that of an M-estimator whose independent units are sequences (the sandwich with clusters, times
    n / (n - 1)), carried from beta over to T by the delta method; the interval is symmetric in log T, with quantiles of
    Student's t at n - 1 degrees of freedom.

    Args:
        tokens: at least one.
        sequences: (n,) int, which sequence each token is of.

    Raises:
        WiseMergeError: if the NLL is least outside of LOWEST to HIGHEST.
    """
    from scipy.optimize import brentq
    from scipy.special import stdtrit

    curve = tokens.curves.mean(axis=0, dtype=np.float64)[None]
    distance = tokens.distances.mean(dtype=np.float64)

    def slope(beta: float) -> float:
        return float(distance + _slope(curve, beta)[0])

    for temperature, direction, side in ((HIGHEST, 1.0, "above"), (LOWEST, -1.0, "below")):
        if slope(1.0 / temperature) * direction >= 0.0:
            there, at_one = (float(nll(tokens, t).mean()) for t in (temperature, 1.0))
            raise WiseMergeError(
                f"the NLL per token is least at a temperature {side} {temperature:g} ({there:.4f} there, {at_one:.4f} "
                "at 1), which no calibration mends; is this the data, and the format, that the model was trained on?"
            )
    beta = float(brentq(slope, 1.0 / HIGHEST, 1.0 / LOWEST, xtol=1e-12))
    temperature = 1.0 / beta
    scores = _sums(tokens.distances + _slope(tokens.curves, beta), sequences)
    count = len(scores)
    if count < 2:
        return Fit(temperature, math.nan, math.nan, math.nan)
    curvature = float(_curvature(tokens.curves, beta).sum())
    relative = math.sqrt(count / (count - 1) * float(scores @ scores)) / curvature / beta
    reach = math.exp(float(stdtrit(count - 1, 0.975)) * relative)
    return Fit(temperature, temperature * relative, temperature / reach, temperature * reach)


def reliability(confidences: np.ndarray, correct: np.ndarray, sequences: np.ndarray) -> list[Bin]:
    """Return the bins that hold tokens, of BINS of equal width (Guo et al. 2017, section 2).

    Args:
        confidences: (n,) in (0, 1].
        correct: (n,) bool.
        sequences: (n,) int, which sequence each token is of.
    """
    # (m - 1) / BINS < confidence <= m / BINS.
    numbers = np.clip(np.ceil(confidences * BINS).astype(np.int64) - 1, 0, BINS - 1)
    bins = []
    for number in np.unique(numbers):
        rows = numbers == number
        accuracy = float(correct[rows].mean())
        residuals = _sums(correct[rows] - accuracy, sequences[rows])
        count = len(residuals)
        error = math.sqrt(count / (count - 1) * float(residuals @ residuals)) / rows.sum() if count > 1 else math.nan
        ends = (float(number / BINS), float((number + 1) / BINS))
        bins.append(Bin(*ends, int(rows.sum()), float(confidences[rows].mean()), accuracy, float(error)))
    return bins


def expected_calibration_error(bins: Sequence[Bin]) -> float:
    """Return sum |B_m| / n |acc(B_m) - conf(B_m)| (Guo et al. 2017, equation 3), from 0 to 1."""
    total = sum(one.tokens for one in bins)
    return sum(one.tokens / total * abs(one.accuracy - one.confidence) for one in bins)


def _beta(temperature: float) -> float:
    if not LOWEST <= temperature <= HIGHEST:
        raise WiseMergeError(f"temperature must lie in [{LOWEST:g}, {HIGHEST:g}]; got {temperature}")
    return 1.0 / temperature


def _sums(values: np.ndarray, sequences: np.ndarray) -> np.ndarray:
    """Return the sum of the values of each sequence that has any."""
    _, numbers = np.unique(sequences, return_inverse=True)
    return np.bincount(numbers, weights=values)


def _slope(curves: np.ndarray, beta: float) -> np.ndarray:
    """Return the derivative of the log-partition with respect to beta."""
    return _interpolate(curves, beta, 1) / beta


def _curvature(curves: np.ndarray, beta: float) -> np.ndarray:
    """Return the second derivative of the log-partition with respect to beta: the variance of z."""
    return np.asarray(_interpolate(curves, beta, 2) - _interpolate(curves, beta, 1)) / beta**2


def _interpolate(curves: np.ndarray, beta: float, order: int) -> np.ndarray:
    """Return (n,) float64, the log-partition or a derivative of it with respect to log beta.

    Over log beta its shape does not depend on the scale of the logits. There, with mean m and variance v, the slope is
    -beta m and the curvature -beta m + beta^2 v.
    """
    place = min(int(math.log(beta / _BETAS[0]) / _STEP), len(_BETAS) - 2)
    t = math.log(beta / _BETAS[place]) / _STEP
    value, slope, curvature = (
        np.array([np.polynomial.Polynomial(row).deriv(order)(t) for row in _QUINTIC]).reshape(2, 3).T / _STEP**order
    )
    ends = _BETAS[place : place + 2]
    weights = np.stack([value, -ends * (slope * _STEP + curvature * _STEP**2), ends**2 * curvature * _STEP**2], axis=1)
    return np.asarray(np.einsum("nij,ij->n", curves[:, place : place + 2].astype(np.float64), weights))
