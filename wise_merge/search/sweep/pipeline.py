"""The order of work of `wise-merge sweep`: check everything, sample round by round, say what came of it."""

import dataclasses
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path

import numpy as np

from wise_merge.points.folder import read_outcome, write_outcome, write_plan
from wise_merge.points.outcome import Outcome
from wise_merge.points.point import Point
from wise_merge.search.sweep import rounds, table
from wise_merge.search.sweep.plan import Plan, make_plan
from wise_merge.search.sweep.settings import SweepSettings
from wise_merge.search.sweep.worker import Order, Worker
from wise_merge.tasks.requests import check_names
from wise_merge.text import bar

Say = Callable[[str], None]

#: From points and n samples per problem to what came of each, as soon as it is there.
Sample = Callable[[Sequence[Point], int], Iterable[list[Outcome]]]


def run_sweep(settings: SweepSettings, out: Path, *, check: bool, say: Say, warn: Say) -> None:
    """Sample every point of a sweep that is not in the folder of results yet.

    Args:
        settings: of the sweep.
        out: the folder of results, new or of the same sweep.
        check: stop after the checks.
        say: is given lines for standard output.
        warn: is given warnings.
    """
    started = time.monotonic()
    settings = dataclasses.replace(settings, tasks=check_names(settings.tasks, settings.include_path))
    with ExitStack() as stack:
        if settings.ray is not None:
            from wise_merge.search.sweep.cluster import connected

            stack.enter_context(connected(settings.ray))
        plan = make_plan(settings, out)
        for warning in plan.warnings:
            warn(warning)
        say(table.of_plan(plan))
        if check:
            say("All checks have passed; nothing was sampled.")
            return
        order = Order(settings, plan.folders, plan.dtype, out)
        _carry_out(plan, _sampler(order, plan.points[0].early.name, stack), say)
    say(f"Results: {out}, in {time.monotonic() - started:.0f} s.")


def _sampler(order: Order, early: str, stack: ExitStack) -> Sample:
    if order.settings.processes > 1:
        from wise_merge.search.sweep.processes import Processes

        return stack.enter_context(Processes(order, early)).sample
    if order.settings.ray is None:
        return _here(order, early)
    from wise_merge.search.sweep.cluster import Cluster

    return Cluster(order, early).sample


def _here(order: Order, early: str) -> Sample:
    """Return what samples points in this process, whose engine is loaded when the first point needs it."""
    workers: list[Worker] = []

    def sample(points: Sequence[Point], n: int) -> Iterator[list[Outcome]]:
        if points and not workers:
            workers.append(Worker(order, early))
        for point in points:
            yield workers[0].sample(point, n)

    return sample


def _carry_out(plan: Plan, sample: Sample, say: Say) -> None:
    write_plan(plan.results)
    settings = plan.settings
    alive = list(plan.points)
    outcomes_of: dict[Point, list[Outcome]] = {}
    stopped: dict[Point, str] = {}
    adaptive = settings.until_ci is not None or settings.successive_halving
    sizes = rounds.sizes(settings.samples, adaptive=adaptive)
    for number, n in enumerate(sizes, start=1):
        title = f"round {number} of {len(sizes)}, n = {n}" if adaptive else ""
        outcomes_of.update(_round(plan, alive, n, sample, title))
        if n == sizes[-1]:
            break
        for point, why in _to_stop(settings, {point: outcomes_of[point] for point in alive}, n).items():
            stopped[point] = why
            for outcome in outcomes_of[point]:
                write_outcome(plan.results.folder, dataclasses.replace(outcome, stopped=why))
        alive = [point for point in alive if point not in stopped]
    say(table.of_outcomes([outcome for point in plan.points for outcome in outcomes_of[point]]))
    if stopped:
        say(table.of_stopped(stopped, outcomes_of, settings.samples))


def _round(plan: Plan, points: Sequence[Point], n: int, sample: Sample, title: str) -> dict[Point, list[Outcome]]:
    """Return what came of n samples per problem at each point; equal models are sampled once."""
    done: dict[Point, list[Outcome]] = {}
    twins: dict[tuple[str, float], list[Point]] = {}
    for point in points:
        kept = _kept(plan, point, n)
        if kept is not None:
            done[point] = kept
        else:
            twins.setdefault((point.model, point.temperature), []).append(point)
    todo = [alike[0] for alike in twins.values()]
    with bar(total=len(todo), what=f"Sweep {title}".strip(), unit="point", stays=True) as shown:
        for outcomes in sample(todo, n):
            point = outcomes[0].point
            for twin in twins[point.model, point.temperature]:
                done[twin] = [dataclasses.replace(outcome, point=twin) for outcome in outcomes]
                if twin != point:
                    for outcome in done[twin]:
                        write_outcome(plan.results.folder, outcome)
            shown.set_postfix_str(point.title, refresh=False)
            shown.update()
    return done


def _kept(plan: Plan, point: Point, n: int) -> list[Outcome] | None:
    """Return what stands in the results of a point with so many samples, None if that is not all."""
    kept = []
    for task in plan.settings.tasks:
        outcome = read_outcome(plan.results.folder, point, task)
        if outcome is None or outcome.n < n or outcome.limit != plan.settings.limit:
            return None
        # An earlier command stopped the point; this one continues it.
        if outcome.stopped is not None:
            outcome = dataclasses.replace(outcome, stopped=None)
            write_outcome(plan.results.folder, outcome)
        kept.append(outcome)
    return kept


def _to_stop(settings: SweepSettings, outcomes_of: Mapping[Point, list[Outcome]], n: int) -> dict[Point, str]:
    standings = {
        point: rounds.standing([_correct(outcome, n) for outcome in outcomes], n)
        for point, outcomes in outcomes_of.items()
    }
    ends = {point for point in outcomes_of if point.unmerged is not None}
    stop: dict[Point, str] = {}
    if settings.successive_halving:
        stop |= dict.fromkeys(rounds.dominated(standings, keep=ends), "dominated")
    if settings.until_ci is not None:
        stop |= dict.fromkeys(rounds.narrow(standings, settings.until_ci), "interval")
    return stop


def _correct(outcome: Outcome, n: int) -> np.ndarray:
    return np.array([sum(problem.correct[:n]) for problem in outcome.problems])
