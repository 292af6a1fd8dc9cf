"""The ranges of the two numbers that a merge is told: alpha and temperature."""

import math

from wise_merge.errors import WiseMergeError


def check_alpha(alpha: float) -> None:
    """Raise `WiseMergeError` unless alpha lies in [0, 1]."""
    if not 0.0 <= alpha <= 1.0:
        raise WiseMergeError(f"alpha must lie in [0, 1] (0 = early, 1 = late); got {alpha}")


def check_temperature(temperature: float) -> None:
    """Raise `WiseMergeError` unless the temperature is a positive finite number."""
    if not (math.isfinite(temperature) and temperature > 0.0):
        raise WiseMergeError(f"temperature must be a positive number (1 = leave as is); got {temperature}")
