"""The command `demo`."""

from pathlib import Path

import click

from wise_merge.cli.command import command


@command("demo", interrupted="type the same command again, and it goes on where it was")
@click.argument("directory", type=click.Path(file_okay=False, path_type=Path), default=Path("demo"))
def demo(directory: Path) -> None:
    """See the effect in minutes on two CPU cores, offline.

    Trains a tiny model on CountDown and sweeps from its early to its late
    checkpoint with `wise-merge sweep`; `wise-merge best` chooses and merges a
    point, `wise-merge report` shows all of them. Ends with a table and a figure
    in DIRECTORY. A second run reuses what is there; an interrupted one resumes.
    """
    from wise_merge.demo.pipeline import run_demo

    run_demo(directory)
