"""The cells of tables: a figure with its standard error and its interval; a dash stands for NaN."""

import math

from wise_merge.estimators.uncertainty import PairedDifference
from wise_merge.results.summary import Estimate


def with_error(value: float, standard_error: float) -> str:
    """Return 0.412 ± 0.011, or 0.412 ±   -   if the error is NaN, in the same width.

    >>> with_error(0.5, float("nan"))
    '0.500 ±   -  '
    """
    return f"{value:.3f} ± " + number(standard_error, ".3f", 5)


def with_interval(of: Estimate) -> str:
    """Return 0.412 ± 0.011 [0.390,0.434]."""
    return f"{with_error(of.value, of.standard_error)} {_interval(of.low, of.high, '.3f', 11)}"


def difference(of: PairedDifference) -> str:
    """Return +0.012 ± 0.011 [-0.010,+0.034]."""
    error = number(of.standard_error, ".3f", 5)
    return f"{of.difference:+.3f} ± {error} {_interval(of.low, of.high, '+.3f', 13)}"


def number(value: float, form: str, width: int) -> str:
    """Return the number, or a dash in the middle of as many characters if it is NaN."""
    return f"{'-':^{width}}" if math.isnan(value) else f"{value:{form}}"


def _interval(low: float, high: float, form: str, width: int) -> str:
    return f"[{'-':^{width}}]" if math.isnan(low) or math.isnan(high) else f"[{low:{form}},{high:{form}}]"
