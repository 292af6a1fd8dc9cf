"""Votes of programs: those that do the same on the public inputs vote together.

AlphaCode (arXiv 2203.07814) clusters programs by their outputs, MBR-Exec (arXiv 2204.11454) votes by them on the inputs
of the tests, CodeT (arXiv 2207.10397) on inputs that a model wrote.
"""

from collections.abc import Sequence

from wise_merge.execution.outcome import Limits


def behaviours(
    sources: Sequence[str],
    *,
    calls: Sequence[str] = (),
    stdins: Sequence[str] = (),
    limits: Limits | None = None,
    processes: int | None = None,
) -> list[str | None]:
    """Return a label for each source, equal for those whose outputs on all public inputs agree.

    None for a source that fails on all of them. A label can be read: the outputs, cut where they are long.

    Args:
        sources: candidates for one problem, without tests.
        calls: public inputs of functions, such as `add(2, 3)`.
        stdins: public inputs of scripts.
        limits: of one run.
        processes: see `run_programs`.
    """
    raise NotImplementedError
