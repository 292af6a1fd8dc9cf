"""The command `sweep`."""

from pathlib import Path
from typing import Any

import click

from wise_merge.cli import engines
from wise_merge.cli.command import command, warn


@command(
    "sweep",
    interrupted="every sample that was drawn is in {out}/journal; type the same command again, and it goes on there",
)
@click.argument("file", required=False, metavar="[SWEEP.YML]", type=click.Path(path_type=Path))
@click.option("--early", metavar="CHECKPOINT", help="At alpha 0, or first in a soup; else the first of --run.")
@click.option("--late", multiple=True, metavar="CHECKPOINT", help="At alpha 1; several are each swept, or in one soup.")
@click.option("--run", metavar="DIR", help="A training run: its early checkpoint and every later one.")
@click.option(
    "--recipe",
    metavar="FILE",
    help="In place of checkpoints and alphas; `grid` in the file varies its numbers.",
)
@click.option(
    "--alphas", metavar="LIST", help="FIRST:LAST:STEP or A,B,...; 0 and 1 are always sampled. A soup has none."
)
@click.option("--temperatures", metavar="LIST", help="Of sampling, likewise; 1 unless given.")
@engines.problems
@click.option(
    "--method",
    metavar="NAME",
    help="wise_ft (unless given), uniform_soup, or bang, which needs `calibration` in the file.",
)
@engines.engine
@click.option("--until-ci", type=float, metavar="W", help="Stop a point when Pass@1 is known to within W (95 %).")
@click.option(
    "--successive-halving", is_flag=True, default=None, help="No further samples for points that others dominate."
)
@engines.several
@engines.reported
@click.option(
    "--out",
    metavar="DIR",
    type=click.Path(path_type=Path),
    default="results",
    show_default=True,
    help="Of the results.",
)
@click.option("--check", is_flag=True, help="Stop after the checks; sample nothing.")
def sweep(file: Path | None, out: Path, check: bool, **given: Any) -> None:
    """Sample checkpoints x alpha x temperature in one engine.

    SWEEP.YML or the options say which; the keys of the file are the options' names,
    with _ for -. For each point the weights are merged in memory, equal bit for bit to
    what mergekit-yaml would write. Every sample is in a journal as soon as it
    is drawn: the same command goes on where it was stopped, and with more alphas,
    temperatures, checkpoints or samples it draws only what is missing. Then see
    `wise-merge best` and `wise-merge report`.
    """
    from wise_merge.search.sweep.pipeline import run_sweep
    from wise_merge.search.sweep.reading import read_settings

    engines.ended_by_sigterm(
        lambda: run_sweep(
            read_settings(file, engines.chosen(given)), out, check=check, say=click.echo, warn=warn, page=engines.page
        )
    )
