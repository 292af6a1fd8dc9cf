"""Which evaluations a run was asked in: the shares of their processes, put together by the id of the launch."""

from collections.abc import Iterable
from dataclasses import dataclass

from wise_merge.journal.records import Evaluation

#: (problem id, doc_id) -> digest of the row and its right answer.
Rows = dict[tuple[str, int | None], str]


@dataclass(frozen=True)
class Asked:
    """What one evaluation asked for, over all its processes.

    Attributes:
        id: of the evaluation.
        opened: when the first of its processes opened the journal, in nanoseconds since 1970.
        rows: of lm-eval's samples.
    """

    id: str
    opened: int
    rows: Rows


def rows(evaluation: Evaluation) -> Rows:
    """Return the rows that one process asked for."""
    return {(ask.problem, ask.doc_id): ask.facts for ask in evaluation.asks}


def joined(lines: Iterable[Evaluation]) -> list[Asked]:
    """Return the evaluations of the lines, oldest first; lines may be repeated and in any order.

    If a launch evaluates several times, the n-th times of its processes belong together.
    """
    shares: dict[tuple[str, int], dict[int, Evaluation]] = {}
    for line in lines:
        shares.setdefault((line.id, line.rank), {})[line.opened] = line
    together: dict[tuple[str, int], list[Evaluation]] = {}
    for (identity, _), times in sorted(shares.items()):
        for number, (_, line) in enumerate(sorted(times.items())):
            together.setdefault((identity, number), []).append(line)
    evaluations = [
        Asked(
            identity,
            min(line.opened for line in parts),
            {pair: facts for line in parts for pair, facts in rows(line).items()},
        )
        for (identity, _), parts in together.items()
    ]
    return sorted(evaluations, key=lambda one: one.opened)
