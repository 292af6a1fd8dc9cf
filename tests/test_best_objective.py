"""What `wise-merge best` maximises and what must hold, read from text."""

import pytest

from wise_merge.errors import WiseMergeError
from wise_merge.search.best.objective import Constraint, Figure, Objective, parse_constraint, parse_objective


@pytest.mark.parametrize(
    ("text", "terms"),
    [
        ("pass@1", [(1, Figure("pass", 1))]),
        ("Maj@ 8", [(1, Figure("maj", 8))]),
        ("-best@4", [(-1, Figure("best", 4))]),
        ("0.5*pass@1 + 0.5*pass@32", [(0.5, Figure("pass", 1)), (0.5, Figure("pass", 32))]),
        ("pass@32-pass@1", [(1, Figure("pass", 32)), (-1, Figure("pass", 1))]),
        ("pass@1*.25 - 2*1e-1 * maj@16", [(0.25, Figure("pass", 1)), (-0.2, Figure("maj", 16))]),
    ],
)
def test_a_weighted_sum_is_read(text, terms):
    """Weights before or after their figure, with any signs and spaces."""
    assert parse_objective(text) == Objective(tuple(terms))


@pytest.mark.parametrize("text", ["pass@1", "0.5*pass@1 + 0.25*maj@32 - best@8", "-2*pass@4 + maj@1"])
def test_an_objective_is_written_as_it_is_read(text):
    """What is printed can be given again."""
    assert str(parse_objective(text)) == text


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("pass@32 >= late", Constraint(Objective(((1.0, Figure("pass", 32)),)), True, "late", 0.0)),
        ("pass@32>=Late-0.01", Constraint(Objective(((1.0, Figure("pass", 32)),)), True, "late", -0.01)),
        ("maj@8 <= 0.1 + early", Constraint(Objective(((1.0, Figure("maj", 8)),)), False, "early", 0.1)),
        ("maj@8 >= 0.6", Constraint(Objective(((1.0, Figure("maj", 8)),)), True, None, 0.6)),
        ("pass@8 - pass@1 <= -0.2 + .5", Constraint(parse_objective("pass@8 - pass@1"), False, None, 0.3)),
    ],
)
def test_a_constraint_is_read(text, found):
    """An end with some slack, or a number, on the right of >= or <=; and it is written as it is read."""
    assert parse_constraint(text) == found
    assert parse_constraint(str(found)) == found


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "missing at the end"),
        ("pas@1", "no figure pas@1; did you mean pass@1?"),
        ("majority@8", "no figure majority@8; did you mean maj@8?"),
        ("entropy@8", "no figure entropy@8; write pass@K, maj@K or best@K"),
        ("pass@0", "whole number from 1 on, as in pass@8; got '0'"),
        ("pass@K", "whole number from 1 on, as in pass@8; got 'K'"),
        ("pass@", "whole number from 1 on"),
        ("pass@1.5", "'.5' is not|missing before '.5'"),
        ("pass", "pass is not understood; did you mean pass@K?"),
        ("late", "late can only be the bar of a constraint"),
        ("0.5", "the term 0.5 has no figure"),
        ("pass@1 * pass@2", "multiplies figures"),
        ("pass@1 pass@2", r"\+, - or \* is missing before 'pass@2'"),
        ("0.5 pass@1", r"\+, - or \* is missing before 'pass@1'"),
        ("pass@1 +", "missing at the end"),
        ("pass@1 + * 2", r"missing before '\*'"),
        ("* pass@1", r"missing before '\*'"),
        ("pass@1 + -pass@2", "missing before '-'"),
        ("(pass@1 + pass@2)", r"'\(pass@1 \+ pass@2\)' is not understood"),
        ("pass@1 >= 0.5", "'>= 0.5' is not understood"),
        ("0*pass@1", "every weight is 0"),
    ],
)
def test_what_is_no_objective_is_named(text, message):
    """The message says what is wrong and what can be written."""
    with pytest.raises(WiseMergeError, match=message):
        parse_objective(text)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("pass@32", "one >= or <="),
        ("pass@32 = late", "one >= or <="),
        ("pass@32 > late", "one >= or <="),
        ("0.1 <= pass@1 <= 0.5", "one >= or <="),
        ("pass@32 >== late", "one >= or <="),
        ("late <= pass@32", "late can only be the bar"),
        ("pass@32 >=", "missing at the end"),
        ("pass@32 >= lat", r"did you mean late\?"),
        ("pass@32 >= pass@1", "'pass@1' cannot be a bar"),
        ("pass@32 >= late + early", "cannot be a bar"),
        ("pass@32 >= 0.9*late", "cannot be a bar"),
        ("pass@32 >= 0.1 - late", "cannot be a bar"),
    ],
)
def test_what_is_no_constraint_is_named(text, message):
    """Likewise."""
    with pytest.raises(WiseMergeError, match=message):
        parse_constraint(text)
