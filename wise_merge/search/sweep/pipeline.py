"""The order of work of `wise-merge sweep`: check everything, sample round by round, say what came of it."""

import dataclasses
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from pathlib import Path

import numpy as np

from wise_merge.points.folder import write_outcome, write_plan
from wise_merge.points.outcome import Outcome
from wise_merge.points.point import Point
from wise_merge.search.engines.reporting import Reporter, WritePage
from wise_merge.search.engines.sampling import Sample, connect, sample_missing, sampler
from wise_merge.search.engines.worker import Order
from wise_merge.search.sweep import rounds, table
from wise_merge.search.sweep.plan import Plan, make_plan
from wise_merge.search.sweep.settings import SweepSettings
from wise_merge.tasks.requests import find_tasks

Say = Callable[[str], None]


def run_sweep(settings: SweepSettings, out: Path, *, check: bool, say: Say, warn: Say, page: WritePage) -> None:
    """Sample every point of a sweep that is not in the folder of results yet.

    Args:
        settings: of the sweep.
        out: the folder of results, new or of the same sweep.
        check: stop after the checks.
        say: is given lines for standard output.
        warn: is given warnings.
        page: writes the report for trackers.
    """
    started = time.monotonic()
    tasks = find_tasks(settings.tasks, settings.include_path)
    settings = dataclasses.replace(settings, tasks=tasks.names)
    with ExitStack() as stack:
        connect(settings, stack)
        plan = make_plan(settings, out)
        for warning in plan.warnings:
            warn(warning)
        say(table.of_plan(plan))
        if check:
            say("All checks have passed; nothing was sampled.")
            return
        first = plan.points[0].early.name
        order = Order(settings, first, settings.temperatures[0], plan.folders, plan.dtype, out, tasks.folders)
        write_plan(plan.results)
        with Reporter(settings, out, page=page, say=say, warn=warn) as reporter:
            _carry_out(plan, sampler(order, stack), reporter, say)
    say(f"Results: {out}, in {time.monotonic() - started:.0f} s.")


def _carry_out(plan: Plan, sample: Sample, reporter: Reporter, say: Say) -> None:
    settings = plan.settings
    alive = list(plan.points)
    outcomes_of: dict[Point, list[Outcome]] = {}
    stopped: dict[Point, str] = {}
    adaptive = settings.until_ci is not None or settings.successive_halving
    sizes = rounds.sizes(settings.samples, adaptive=adaptive)
    for number, n in enumerate(sizes, start=1):
        last = n == sizes[-1]
        title = f"round {number} of {len(sizes)}, n = {n}" if adaptive else ""
        outcomes_of |= sample_missing(
            alive,
            n,
            settings=settings,
            out=plan.results.folder,
            sample=sample,
            what=f"Sweep {title}".strip(),
            tell=reporter.point if last else lambda outcomes: None,
        )
        if last:
            break
        for point, why in _to_stop(settings, {point: outcomes_of[point] for point in alive}, n).items():
            stopped[point] = why
            reporter.point(outcomes_of[point])
            for outcome in outcomes_of[point]:
                write_outcome(plan.results.folder, dataclasses.replace(outcome, stopped=why))
        alive = [point for point in alive if point not in stopped]
    say(table.of_outcomes([outcome for point in plan.points for outcome in outcomes_of[point]]))
    if stopped:
        say(table.of_stopped(stopped, outcomes_of, settings.samples))


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
