"""The calibration of each checkpoint, as table, diagram and files show it."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from wise_merge.errors import WiseMergeError
from wise_merge.estimators.calibration import (
    Bin,
    Fit,
    Tokens,
    concatenate,
    confidence,
    expected_calibration_error,
    fit_temperature,
    nll,
    reliability,
)


@dataclass(frozen=True)
class Quality:
    """How well the tokens are predicted at one temperature.

    Attributes:
        nll: mean per token, in nats.
        error: expected calibration error, from 0 to 1.
        bins: of the reliability diagram.
    """

    nll: float
    error: float
    bins: Sequence[Bin]


@dataclass(frozen=True)
class Calibrated:
    """A checkpoint and its temperature.

    Attributes:
        role: early or late.
        name: as mergekit takes it.
        accuracy: how often the likeliest token came, at any temperature.
        fit: the temperature.
        before: at temperature 1.
        after: at the fitted one.
    """

    role: str
    name: str
    accuracy: float
    fit: Fit
    before: Quality
    after: Quality


def calibrate(role: str, name: str, sequences: Sequence[Tokens]) -> Calibrated:
    """Return what the tokens of all sequences say about a checkpoint."""
    tokens = concatenate(sequences)
    numbers = np.repeat(np.arange(len(sequences)), [len(sequence.distances) for sequence in sequences])
    try:
        fit = fit_temperature(tokens, numbers)
    except WiseMergeError as error:
        raise WiseMergeError(f"{role} checkpoint {name}: {error}") from error
    return Calibrated(
        role,
        name,
        float(tokens.correct.mean()),
        fit,
        _quality(tokens, numbers, 1.0),
        _quality(tokens, numbers, fit.temperature),
    )


def _quality(tokens: Tokens, numbers: np.ndarray, temperature: float) -> Quality:
    bins = reliability(confidence(tokens, temperature), tokens.correct, numbers)
    return Quality(float(nll(tokens, temperature).mean()), expected_calibration_error(bins), bins)
