"""Two files on the same problems: the difference of each metric, problem by problem, and what could be detected."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from wise_merge.estimators.uncertainty import PairedDifference, minimum_detectable_effect, paired_difference
from wise_merge.results.metrics import Metric
from wise_merge.results.summary import LEVEL


@dataclass(frozen=True)
class MetricDifference:
    """A metric of two files on the same problems at one k, second minus first, and what would be detectable."""

    name: str
    k: int
    difference: PairedDifference
    detectable: float


@dataclass(frozen=True)
class Comparison:
    """Two files on the same problems: the names, how many problems, and the differences, second minus first."""

    first: str
    second: str
    problems: int
    compared: Sequence[MetricDifference]


def compare(
    first: Sequence[Metric], second: Sequence[Metric], reported: Sequence[int], *, seed: int = 0
) -> list[MetricDifference]:
    """Return the paired differences of pass@k and maj@k, second minus first.

    Args:
        first: metrics of one file.
        second: metrics of another, on the same problems in the same order.
        reported: at which k.
        seed: of bootstrap and permutation test.
    """
    compared = []
    for name in ("pass@k", "maj@k"):
        one, other = (next((metric for metric in metrics if metric.name == name), None) for metrics in (first, second))
        if one is None or other is None:
            continue
        for k in reported:
            difference = paired_difference(
                one.values[:, k - 1], other.values[:, k - 1], rng=np.random.default_rng(seed), level=LEVEL
            )
            compared.append(MetricDifference(name, k, difference, minimum_detectable_effect(difference.standard_error)))
    return compared
