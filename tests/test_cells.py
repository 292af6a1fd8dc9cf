"""How figures stand in tables: as wide with a dash as with a number, and never as NaN."""

import doctest
import math

import pytest

from wise_merge.estimators.uncertainty import PairedDifference
from wise_merge.results import cells
from wise_merge.results.summary import Estimate


def test_what_is_known_is_written_to_three_digits():
    """Value, error and interval of a figure and of a difference, by hand."""
    assert cells.with_interval(Estimate(0.4124, 0.0111, 0.39, 0.4337)) == "0.412 ± 0.011 [0.390,0.434]"
    found = cells.difference(PairedDifference(0.0124, 0.0111, -0.01, 0.0337, 0.2))
    assert found == "+0.012 ± 0.011 [-0.010,+0.034]"
    assert not doctest.testmod(cells).failed


@pytest.mark.parametrize("error", [0.0, math.nan])
def test_what_is_not_known_is_a_dash_as_wide(error):
    """Of one problem neither error nor interval, of equal ones no interval alone."""
    for cell, form, known in (
        (cells.with_interval, Estimate, (0.5, 0.1, 0.4, 0.6)),
        (cells.difference, PairedDifference, (-0.5, 0.1, -0.6, -0.4, 1.0)),
    ):
        found = cell(form(known[0], error, math.nan, math.nan, *known[4:]))
        assert "nan" not in found
        assert found.count("-") - (known[0] < 0) == 1 + math.isnan(error)
        assert len(found) == len(cell(form(*known)))
