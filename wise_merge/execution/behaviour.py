"""Votes of programs: those that do the same on the public inputs vote together.

AlphaCode (arXiv 2203.07814) clusters programs by their outputs, MBR-Exec (arXiv 2204.11454) votes by them on the inputs
of the tests, CodeT (arXiv 2207.10397) groups programs by the tests of a model that they pass.
"""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass

from wise_merge.execution.outcome import Limits, Outcome, Program
from wise_merge.execution.programs import run_programs

# Letters of a label that are shown; what is longer ends with a digest of the whole.
_LONGEST = 200


@dataclass(frozen=True)
class Candidate:
    """A program without tests, and the public inputs of its problem.

    Attributes:
        source: of the program.
        calls: inputs of a function, such as `add(2, 3)`. All are made in one process, one after the other.
        stdins: inputs of a script, which is run for each.
    """

    source: str
    calls: tuple[str, ...] = ()
    stdins: tuple[str, ...] = ()


def behaviours(
    candidates: Sequence[Candidate], limits: Limits | None = None, *, processes: int | None = None
) -> list[str | None]:
    """Return a label for each candidate, equal for those whose outputs on all their public inputs agree.

    None for one that fails on all of them, and where there are no inputs. A label can be read: the outputs in their
    order as JSON, null where the candidate fails, cut where they are long. Values of calls agree where `==` says so,
    floats to ten digits; outputs of scripts where they differ in white space at the ends of lines only.

    Args:
        candidates: of any problems; labels of different problems mean nothing to each other.
        limits: of one run.
        processes: see `run_programs`.
    """
    programs = [_programs_of(candidate) for candidate in candidates]
    outcomes = iter(run_programs([one for some in programs for one in some], limits, processes=processes))
    labels = []
    for some in programs:
        seen: list[str | None] = []
        for program in some:
            outcome = next(outcomes)
            seen += outcome.values if program.calls else (_written(outcome),)
        labels.append(label(seen))
    return labels


def _programs_of(candidate: Candidate) -> list[Program]:
    called = [Program(candidate.source, calls=candidate.calls)] if candidate.calls else []
    return called + [Program(candidate.source, stdin=stdin) for stdin in candidate.stdins]


def _written(outcome: Outcome) -> str | None:
    """Return what a script wrote, without white space at the ends of lines; None if it failed."""
    if not outcome.passed:
        return None
    return "\n".join(line.rstrip() for line in outcome.output.rstrip().splitlines())


def label(outputs: Sequence[str | None]) -> str | None:
    """Return a readable text that is equal for equal outputs, None if there is none."""
    if all(output is None for output in outputs):
        return None
    text = json.dumps(outputs, ensure_ascii=False)
    if len(text) <= _LONGEST:
        return text
    digest = hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:16]
    return f"{text[:_LONGEST]}... ({digest})"
