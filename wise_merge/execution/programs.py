"""Many programs, each run once, in the order in which they came."""

from collections.abc import Sequence

from wise_merge.execution.outcome import Limits, Outcome, Program


def run_programs(
    programs: Sequence[Program], limits: Limits | None = None, *, processes: int | None = None
) -> list[Outcome]:
    """Return what became of each program, in their order; equal programs are run once and share an outcome.

    Args:
        programs: see `Program`.
        limits: of each program; None means `Limits()`.
        processes: that may run programs at once; None means two per core, as HumanEval's harness has four workers.
    """
    raise NotImplementedError
