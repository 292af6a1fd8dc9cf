"""The command `soup`."""

from pathlib import Path
from typing import Any

import click

from wise_merge.cli import engines, options
from wise_merge.cli.command import command, warn


@command(
    "soup",
    interrupted="every sample that was drawn is in {out}/journal; type the same command again, and it goes on there",
)
@click.argument("file", required=False, metavar="[SOUP.YML]", type=click.Path(path_type=Path))
@click.option("--run", multiple=True, metavar="DIR", help="A training run: all its checkpoints; may be repeated.")
@click.option("--models", multiple=True, callback=options.names, metavar="A,B,...", help="Checkpoints, without runs.")
@click.option(
    "--objective", metavar="SUM", help="To be maximised: pass@K, maj@K, best@K or a weighted sum, as of `best`."
)
@click.option(
    "--subject-to",
    multiple=True,
    metavar="CONSTRAINT",
    help="What must hold, such as 'pass@1 >= best' (the best single checkpoint) or 'maj@8 >= 0.6'; may be repeated.",
)
@engines.problems
@click.option("--temperature", type=float, metavar="T", help="Of sampling; 1 unless given.")
@click.option("--halves-seed", type=int, metavar="N", help="Of the halves of the problems and of every test; else 0.")
@engines.engine
@engines.several
@engines.reported
@click.option(
    "--out",
    metavar="DIR",
    type=click.Path(path_type=Path),
    default="soup",
    show_default=True,
    help="Of the results.",
)
@click.option("--merge", "merged", metavar="DIR", type=click.Path(path_type=Path), help="Merge it into this folder.")
@click.option("--check", is_flag=True, help="Stop after the checks; sample nothing.")
@click.pass_context
def soup(
    context: click.Context, /, file: Path | None, out: Path, merged: Path | None, check: bool, **given: Any
) -> None:
    """Find the checkpoints whose mean is best: a greedy soup.

    SOUP.YML or the options say of which checkpoints; the keys of the file are the
    options' names, with _ for -. One half of the problems chooses: the checkpoints are
    sorted by the objective, and each in turn is averaged with those kept so far, in the
    memory of one engine, and kept if that is strictly better and meets the constraints.
    The other half says what the soup is worth beside the best single checkpoint, the
    mean of all and WiSE-FT. Every sample is in a journal as soon as it is drawn: the
    same command goes on where it was stopped. Leaves the recipe in OUT/soup.yml.
    """
    from wise_merge.cli.merge import merge
    from wise_merge.search.soup.pipeline import make_soup
    from wise_merge.search.soup.reading import read_settings

    settings = read_settings(file, engines.chosen(given))
    if merged is not None:
        from wise_merge.merge.whole_folder import check_free

        check_free(merged, [], force=False)
    found = engines.ended_by_sigterm(
        lambda: make_soup(settings, out, check=check, say=click.echo, warn=warn, page=engines.page)
    )
    if merged is None or found is None:
        return
    click.echo()
    if found.recipe is None:
        click.echo(f"{merged} was not written: the model is {found.chosen.ingredients[0]} itself")
        return
    context.invoke(merge, recipe=out / found.recipe, out=merged)
    click.echo(f"\n{merged}: the merged model")
