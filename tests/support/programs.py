"""Whether programs can be run here at all, for tests of what runs them."""

import functools

from wise_merge.errors import WiseMergeError
from wise_merge.execution import Program, run_programs


@functools.cache
def why_none_can_be_run():
    """Why this machine runs no programs, as where it lets nothing be a sandbox; None if it does."""
    try:
        run_programs([Program("")])
    except WiseMergeError as error:
        return str(error)
    return None
