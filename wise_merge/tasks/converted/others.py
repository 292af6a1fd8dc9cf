"""How the metrics of a task that say neither right nor wrong are averaged over K completions."""

import math
import numbers
from collections.abc import Callable, Sequence
from typing import Any

from wise_merge.hosts.lm_eval.messages import log
from wise_merge.tasks.converted import original


def mean_of_known(values: Sequence[Any]) -> float:
    """Return the mean of the numbers among values, NaN without any: some metrics are of some problems only."""
    known = [float(value) for value in values if isinstance(value, numbers.Real) and not math.isnan(value)]
    return sum(known) / len(known) if known else math.nan


def of_one_completion_each(aggregation: Callable[[list[Any]], Any]) -> Callable[[Sequence[Sequence[Any]]], Any]:
    """Return how other metrics are aggregated: the mean of their figures for the first, second, ... completions.

    One that is no number, such as a table, stands for the first completions alone.
    """

    def aggregate(problems: Sequence[Sequence[Any]]) -> Any:
        draws = [[value for value in draw if value is not None] for draw in zip(*problems, strict=True)]
        try:
            figures = [aggregation(draw) for draw in draws if draw]
        # Figures beside ours are not worth the samples.
        except Exception as error:
            log.warning("a metric of lm-eval cannot be aggregated (%s)", original.reason(error))
            return math.nan
        if all(isinstance(figure, numbers.Real) for figure in figures):
            return mean_of_known(figures)
        return figures[0]

    return aggregate
