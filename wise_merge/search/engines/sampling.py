"""Points are sampled by the engines that the settings ask for; what is in the folder of results is not drawn again."""

import dataclasses
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path

from wise_merge.points.folder import read_outcome, write_outcome
from wise_merge.points.outcome import Outcome
from wise_merge.points.point import Point
from wise_merge.search.engines.settings import EngineSettings
from wise_merge.search.engines.worker import Order, Worker
from wise_merge.text import bar

#: From points and n samples per problem to what came of each, as soon as it is there.
Sample = Callable[[Sequence[Point], int], Iterable[list[Outcome]]]


def connect(settings: EngineSettings, stack: ExitStack) -> None:
    """Connect to the cluster, if the settings name one, until the stack is left."""
    if settings.ray is not None:
        from wise_merge.search.engines.cluster import connected

        stack.enter_context(connected(settings.ray))


def sampler(order: Order, stack: ExitStack) -> Sample:
    """Return what samples points; its engines are loaded when the first point needs them, and end with the stack."""
    if order.settings.processes > 1:
        from wise_merge.search.engines.processes import Processes

        return stack.enter_context(Processes(order)).sample
    if order.settings.ray is None:
        return _here(order)
    from wise_merge.search.engines.cluster import Cluster

    return Cluster(order).sample


def _here(order: Order) -> Sample:
    """Return what samples points in this process."""
    workers: list[Worker] = []

    def sample(points: Sequence[Point], n: int) -> Iterator[list[Outcome]]:
        if points and not workers:
            workers.append(Worker(order))
        for point in points:
            yield workers[0].sample(point, n)

    return sample


def sample_missing(
    points: Sequence[Point],
    n: int,
    *,
    settings: EngineSettings,
    out: Path,
    sample: Sample,
    what: str,
    tell: Callable[[list[Outcome]], None] = lambda outcomes: None,
) -> dict[Point, list[Outcome]]:
    """Return what came of n samples per problem at each point, by task; equal models are sampled once.

    Args:
        points: to sample.
        n: samples per problem.
        settings: how points are sampled.
        out: the folder of results; what it holds already is taken from there.
        sample: samples the others.
        what: the bar is about.
        tell: is told what came of each point, as soon as it is there.
    """
    done: dict[Point, list[Outcome]] = {}
    twins: dict[tuple[str, float], list[Point]] = {}
    for point in points:
        kept = _kept(point, n, settings, out)
        if kept is not None:
            done[point] = kept
            tell(kept)
        else:
            twins.setdefault((point.model, point.temperature), []).append(point)
    todo = [alike[0] for alike in twins.values()]
    with bar(total=len(todo), what=what, unit="point", stays=True) as shown:
        for outcomes in sample(todo, n):
            point = outcomes[0].point
            for twin in twins[point.model, point.temperature]:
                done[twin] = [dataclasses.replace(outcome, point=twin) for outcome in outcomes]
                if twin != point:
                    for outcome in done[twin]:
                        write_outcome(out, outcome)
                tell(done[twin])
            shown.set_postfix_str(point.title, refresh=False)
            shown.update()
    return done


def _kept(point: Point, n: int, settings: EngineSettings, out: Path) -> list[Outcome] | None:
    """Return what stands in the results of a point with so many samples, None if that is not all."""
    kept = []
    for task in settings.tasks:
        outcome = read_outcome(out, point, task)
        if outcome is None or outcome.n < n or outcome.limit != settings.limit:
            return None
        # An earlier command stopped the point; this one continues it.
        if outcome.stopped is not None:
            outcome = dataclasses.replace(outcome, stopped=None)
            write_outcome(out, outcome)
        kept.append(outcome)
    return kept
