"""The command `journal`."""

from pathlib import Path

import click

from wise_merge.cli.command import command, option


@command("journal")
@click.argument("directory", type=click.Path(path_type=Path))
@option(
    "--out",
    metavar="DIR",
    type=click.Path(path_type=Path),
    former=("--export",),
    help="Export: write files for `wise-merge score` there.",
)
def journal(directory: Path, out: Path | None) -> None:
    """Show what a journal of samples holds, or export it.

    DIRECTORY is what `--model_args journal=DIRECTORY` of an evaluation named. Each
    line is a run: samples of one model for one task under one group of settings.
    With --out, each run becomes DIR/<model>-<run>/samples_<task>_<date>.jsonl,
    in the form of `lm_eval --log_samples`, for `wise-merge score`; nothing is
    overwritten.
    """
    from wise_merge.journal.contents import read_runs
    from wise_merge.journal.export import export, sentence
    from wise_merge.journal.table import remarks, table

    contents = read_runs(directory, texts=out is not None)
    if out is None:
        click.echo(table(contents))
    else:
        for exported in export(contents, out):
            click.echo(sentence(exported))
    for remark in remarks(contents):
        click.echo(remark, err=True)
