"""The ranges of the parameters of merges."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from wise_merge.errors import WiseMergeError


@dataclass(frozen=True)
class Range:
    """The values that a number may have; NaN and infinity are never among them.

    Attributes:
        least: the smallest value, or what it must exceed.
        most: the largest value.
        requirement: how a sentence about the number ends, as "lie in [0, 1]".
        least_excluded: whether `least` itself is not among them.
    """

    least: float
    most: float
    requirement: str
    least_excluded: bool = False

    def holds(self, value: float) -> bool:
        """Return whether a value lies within."""
        low = value > self.least if self.least_excluded else value >= self.least
        return math.isfinite(value) and low and value <= self.most

    def check(self, name: str, value: float) -> None:
        """Raise `WiseMergeError`, which calls the number `name`, unless the value lies within."""
        if not self.holds(value):
            raise WiseMergeError(f"{name} must {self.requirement}; got {value}")


ALPHA = Range(0.0, 1.0, "lie in [0, 1] (0 = early, 1 = late)")
TEMPERATURE = Range(0.0, math.inf, "be a positive number (1 = leave as is)", least_excluded=True)
WEIGHT = Range(0.0, math.inf, "be a number that is not negative (its share of the sum of all weights counts)")
STRENGTH = Range(-math.inf, math.inf, "be a finite number (negative takes the signature off again)")

FLOOR = Range(0.0, math.inf, "be a number that is not negative (the least that an entry of the Fisher counts)")
ABOVE_AVERAGE = Range(0.0, math.inf, "be a number that is not negative (how many times the average a rank must exceed)")
SCORE = Range(0.0, math.inf, "be a number that is not negative (the score of ranks above average)")


def check_alpha(alpha: float) -> None:
    """Raise `WiseMergeError` unless alpha lies in [0, 1]."""
    ALPHA.check("alpha", alpha)


def check_temperature(temperature: float) -> None:
    """Raise `WiseMergeError` unless the temperature is a positive finite number."""
    TEMPERATURE.check("temperature", temperature)


def check_weights(weights: Sequence[float]) -> None:
    """Raise `WiseMergeError` for the weights of a mean that are all 0."""
    if not sum(weights):
        raise WiseMergeError("the weights sum to 0; give at least one model a positive weight")
