"""Which of several files of samples are compared with each other, and on which problems."""

import dataclasses
from collections.abc import Mapping, Sequence

from wise_merge.errors import WiseMergeError
from wise_merge.results.comparison import Comparison, compare
from wise_merge.results.export import Scored
from wise_merge.results.metrics import Metric
from wise_merge.text import shortened


def compare_files(
    scored: Sequence[Scored], values: Mapping[str, list[Metric]], *, common: bool, seed: int
) -> tuple[list[Comparison], str]:
    """Return each file compared with the first of its task, and why others cannot be.

    Args:
        scored: the files.
        values: the metrics of each file by its name.
        common: compare on the problems that both files have, where these are not all.
        seed: of bootstrap and permutation test.
    """
    comparisons: list[Comparison] = []
    refused: list[str] = []
    for index, second in enumerate(scored):
        first = next((other for other in scored[:index] if _of_one_task(other, second)), None)
        if first is not None:
            try:
                comparisons.append(_compare_two(first, second, values, common=common, seed=seed))
            except WiseMergeError as error:
                refused.append(f"{second.name} is not compared with {first.name}: {error}")
    return comparisons, "; ".join(refused)


def not_compared(scored: Sequence[Scored]) -> list[str]:
    """Return sentences on why files of other tasks are not compared with the first file."""
    sentences = []
    for index, one in enumerate(scored[1:], start=1):
        if not any(_of_one_task(other, one) for other in scored[:index]):
            tasks = [of.samples.task or of.name for of in (scored[0], one)]
            read = [_read_as(of) for of in (scored[0], one)]
            own = all(of.samples.judged_by for of in (scored[0], one))
            if read[0] == read[1] or (own and not _may_be_one_task(scored[0], one)):
                why = f"the tasks are {tasks[0]} and {tasks[1]}"
            elif own:
                why = f"one is judged by {read[0]}, the other by {read[1]}"
            else:
                why = f"one is read as {read[0]}, the other as {read[1]}; --benchmark NAME reads all files alike"
            sentences.append(f"{one.name} is not compared with {scored[0].name}: {why}")
    return sentences


def _of_one_task(one: Scored, other: Scored) -> bool:
    return _read_as(one) == _read_as(other) and _may_be_one_task(one, other)


def _may_be_one_task(one: Scored, other: Scored) -> bool:
    return len({one.samples.task, other.samples.task} - {None}) < 2


def _read_as(one: Scored) -> str:
    """Return what says which answers are right, and which are equal."""
    samples = one.samples
    return samples.benchmark.name if samples.benchmark else samples.judged_by or "its answers stand"


def _compare_two(
    first: Scored, second: Scored, values: Mapping[str, list[Metric]], *, common: bool, seed: int
) -> Comparison:
    one, other = ({problem.id: i for i, problem in enumerate(of.verdicts.problems)} for of in (first, second))
    shared = [identity for identity in one if identity in other]
    both = set(shared)
    alone = [(of.name, [id_ for id_ in ids if id_ not in both]) for of, ids in ((first, one), (second, other))]
    if not shared:
        raise WiseMergeError(
            f"they share no problem (ids such as {shortened(next(iter(one)))} and {shortened(next(iter(other)))}); "
            "name a column that does with --field id=COLUMN"
        )
    if any(ids for _, ids in alone) and not common:
        sets = " and ".join(f"{len(ids)} only in {name} ({_some(ids)})" for name, ids in alone if ids)
        raise WiseMergeError(f"the problems differ: {sets}; --common compares the {len(shared)} they share")
    golds = [
        (identity, first.verdicts.problems[one[identity]].gold, second.verdicts.problems[other[identity]].gold)
        for identity in shared
    ]
    differing = [gold for gold in golds if None not in gold and gold[1] != gold[2]]
    if 2 * len(differing) > len(golds):
        identity, here, there = differing[0]
        raise WiseMergeError(
            f"ids are the same, but the problems are not: that of {shortened(identity)} has the gold {here} in one "
            f"and {there} in the other"
        )
    reported = [k for k in first.summary.reported if k in second.summary.reported]
    rows = ([one[identity] for identity in shared], [other[identity] for identity in shared])
    restricted = [
        [dataclasses.replace(metric, values=metric.values[of]) for metric in values[name]]
        for name, of in zip((first.name, second.name), rows, strict=True)
    ]
    compared = compare(restricted[0], restricted[1], reported, seed=seed)
    return Comparison(first.name, second.name, len(shared), compared)


def _some(ids: Sequence[str]) -> str:
    return ", ".join([*(id_[:30] for id_ in ids[:3]), *(["..."] if len(ids) > 3 else [])])
