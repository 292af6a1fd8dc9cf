"""The order of work of `wise-merge soup`: check everything, sample and decide step by step, confirm, write."""

import dataclasses
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

from wise_merge.points.soup import NAME as DOCUMENT
from wise_merge.points.soup import Soup, write_soup
from wise_merge.results.whole_file import write_whole
from wise_merge.search.engines.reporting import Reporter, WritePage
from wise_merge.search.engines.sampling import Sample, connect, sampler
from wise_merge.search.engines.worker import Order
from wise_merge.search.soup import table
from wise_merge.search.soup.checks import FEWEST_PROBLEMS
from wise_merge.search.soup.document import document
from wise_merge.search.soup.finding import confirm, drawing, first_round, steps_of
from wise_merge.search.soup.plan import Plan, make_plan
from wise_merge.search.soup.recipe import NAME, check_replaceable, recipe
from wise_merge.search.soup.result import ConfirmedSoup
from wise_merge.search.soup.settings import SoupSettings
from wise_merge.tasks.requests import find_tasks
from wise_merge.text import printable

Say = Callable[[str], None]


def make_soup(settings: SoupSettings, out: Path, *, check: bool, say: Say, warn: Say, page: WritePage) -> Soup | None:
    """Find a greedy soup, write down how and its recipe, and return it; None if it was only checked.

    Args:
        settings: of the soup.
        out: the folder of results, new or of a soup of the same checkpoints.
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
        check_replaceable(out / NAME)
        for warning in plan.warnings:
            warn(warning)
        say(table.of_plan(plan))
        if check:
            say("All checks have passed; nothing was sampled.")
            return None
        order = Order(
            settings,
            plan.checkpoints[0].name,
            settings.temperature,
            plan.folders,
            plan.dtype,
            out,
            tasks.folders,
            fewest=FEWEST_PROBLEMS,
        )
        with Reporter(settings, out, page=page, say=say, warn=warn) as reporter:
            soup = _found(plan, out, sampler(order, stack), reporter, say)
            say(table.of_soup(soup))
            written = _write(soup, out, say)
    say(f"Results: {out}, in {time.monotonic() - started:.0f} s.")
    return written


def _found(plan: Plan, out: Path, sample: Sample, reporter: Reporter, say: Say) -> ConfirmedSoup:
    draw = drawing(plan, out, sample, reporter.point)
    singles = first_round(plan, draw)
    say(table.head(plan, singles))
    steps = []
    for place, step in enumerate(steps_of(plan, singles, draw), start=1):
        steps.append(step)
        say(table.of_step(plan, singles, step, place))
    return confirm(plan, singles, steps, draw)


def _write(soup: ConfirmedSoup, out: Path, say: Say) -> Soup:
    path = out / NAME
    at = f"at temperature {soup.plan.settings.temperature:g}"
    if len(soup.ingredients) == 1:
        # That of an earlier choice would make another model than what is said here.
        path.unlink(missing_ok=True)
        name = soup.plan.checkpoints[soup.ingredients[0]].name
        say("\n" + printable(f"No recipe is needed: use {name} as it is, {at}."))
    else:
        write_whole(path, recipe(soup).encode())
        say("\n" + printable(f"{path}: the recipe; sample the model {at}"))
        say(printable(f"mergekit-yaml {path} OUT"))
    written = document(soup)
    write_soup(out, written)
    say(printable(f"{out / DOCUMENT}: every step and comparison"))
    return written
