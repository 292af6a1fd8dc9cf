"""The exponential moving average of a sequence as weights of its members.

m_1 = x_1 and m_i = decay * m_(i-1) + (1 - decay) * x_i, written out for m_n.
"""

from fractions import Fraction

from wise_merge.errors import WiseMergeError


def moving_average_weights(n: int, decay: float) -> list[float]:
    """Return the weight of each of n members, from first to last, in their exponential moving average; the sum is 1.

    The first has decay^(n-1), the i-th of the others (1 - decay) * decay^(n-i). Each is rounded once from its exact
    value, where `decay` counts as the decimal that it is written as.

    >>> moving_average_weights(3, 0.9)
    [0.81, 0.09, 0.1]
    """
    if not 0 < decay < 1:
        raise WiseMergeError(
            f"the decay of a moving average must lie between 0 and 1 (near 0: the last alone, near 1: the first); "
            f"got {decay:g}"
        )
    exact = Fraction(str(decay))
    return [float(exact ** (n - 1)), *(float((1 - exact) * exact ** (n - i)) for i in range(2, n + 1))]
