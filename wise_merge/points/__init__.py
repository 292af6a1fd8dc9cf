"""The points of a sweep: which model each one is, and what came of sampling it, as the folder of results keeps them.

`point` says what is sampled, `outcome` what came of it, `folder` keeps both; `summary` has the figures of an outcome.
Knows neither torch nor an engine: `wise-merge best` and `wise-merge report` work from here alone.
"""

from wise_merge.points.folder import Results, read_results
from wise_merge.points.outcome import Outcome, ProblemOutcome
from wise_merge.points.point import Coordinate, Fixed, Point, PointCheckpoint, on_line

__all__ = [
    "Coordinate",
    "Fixed",
    "Outcome",
    "Point",
    "PointCheckpoint",
    "ProblemOutcome",
    "Results",
    "on_line",
    "read_results",
]
