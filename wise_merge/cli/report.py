"""The command `report`."""

from pathlib import Path

import click

from wise_merge.cli import options
from wise_merge.cli.command import command


@command("report")
@click.argument("results", type=click.Path(path_type=Path))
@click.option("--out", metavar="HTML", type=click.Path(path_type=Path), help="The page; else RESULTS/report.html.")
@click.option("--figures", metavar="DIR", type=click.Path(path_type=Path), help="Draw the same as PNG and SVG there.")
@click.option(
    "-k",
    "k",
    metavar="K",
    type=click.IntRange(1),
    help="Of Pass@K; else the most that all points with more than one sample per problem have.",
)
@options.tasks("Report these tasks only.")
@click.option(
    "--samples",
    metavar="N",
    type=click.IntRange(0),
    default=4,
    show_default=True,
    help="Show the text of so many samples of each problem and point, at most.",
)
def report(
    results: Path, out: Path | None, figures: Path | None, k: int | None, tasks: tuple[str, ...], samples: int
) -> None:
    """Write a sweep's report: one HTML page that works offline.

    RESULTS is the folder that `wise-merge sweep` writes to, finished or not. The page
    opens with what was swept, what `wise-merge best` chose, what that is worth and
    how to merge it. It shows the plane of Pass@1 and Pass@K with the path that alpha
    takes, Pass@K curves, bias, variance and diversity along training and along alpha,
    each problem with its samples, an audit, and a table of all numbers.
    """
    from wise_merge.report.pipeline import write_report

    write_report(results, out=out, figures=figures, k=k, tasks=tasks, samples=samples, say=click.echo)
