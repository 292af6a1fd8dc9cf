"""The figures of an outcome, as `wise-merge score` makes them of a file of samples."""

from wise_merge.points.outcome import Outcome
from wise_merge.results import summary
from wise_merge.results.summary import Summary


def summary_of(outcome: Outcome, *, seed: int = 0) -> Summary:
    """Return the figures of what came of a point on a task, reported at k = 1, 2, 4, ...

    Args:
        outcome: with at least one problem.
        seed: of whatever is drawn.
    """
    return summary.summary_of(outcome.facts(), seed=seed)
