"""The command `best`."""

from pathlib import Path

import click

from wise_merge.cli import options
from wise_merge.cli.command import command, option


@command("best")
@click.argument("results", type=click.Path(path_type=Path))
@click.option(
    "--objective",
    required=True,
    metavar="SUM",
    help="To be maximised: pass@K, maj@K, best@K or a weighted sum such as '0.5*pass@1 + 0.5*pass@32'.",
)
@click.option(
    "--subject-to",
    multiple=True,
    metavar="CONSTRAINT",
    help="What must hold, such as 'pass@32 >= late', 'pass@32 >= late - 0.01' or 'maj@8 >= 0.6'; may be given several "
    "times.",
)
@click.option(
    "--reference-temperature",
    metavar="T",
    type=float,
    help="At which early and late are the bars of constraints; else 1, or the only one.",
)
@options.tasks("Judge by the mean over these tasks; else over all of them.")
@options.seed("Of the halves and of every test.")
@option(
    "--out",
    metavar="YAML",
    type=click.Path(path_type=Path),
    former=("--write",),
    help="The recipe; else RESULTS/best.yml.",
)
@click.option("--merge", "merged", metavar="DIR", type=click.Path(path_type=Path), help="Merge it into this folder.")
@options.json_file
@click.pass_context
def best(
    context: click.Context,
    results: Path,
    objective: str,
    subject_to: tuple[str, ...],
    reference_temperature: float | None,
    tasks: tuple[str, ...],
    seed: int,
    out: Path | None,
    merged: Path | None,
    json_file: Path | None,
) -> None:
    """Choose the best point of a sweep on half of the problems.

    RESULTS is the folder of `wise-merge sweep`. The other half of the problems, which
    had no part in the choice, says what it is worth: its value with an interval, and
    paired tests against each of its checkpoints, at the same temperature and at their
    own best one. Leaves the recipe for mergekit. The exit code is 1 if no point meets
    the constraints.
    """
    from wise_merge.cli.merge import merge
    from wise_merge.search.best.pipeline import BestSettings, choose_best

    settings = BestSettings(objective, subject_to, tasks, reference_temperature, seed)
    recipe = choose_best(results, settings, write=out, json_file=json_file, say=click.echo)
    if recipe is None:
        raise SystemExit(1)
    if merged is not None:
        click.echo()
        context.invoke(merge, recipe=recipe, out=merged)
        click.echo(f"\n{merged}: the merged model")
