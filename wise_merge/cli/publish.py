"""Commands that publish a merged model: `card`, `push`."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from wise_merge.cli.command import command


def _sources(context: click.Context, parameter: click.Parameter, value: tuple[str, ...]) -> dict[str, str]:
    sources = dict(entry.partition("=")[::2] for entry in value)
    if len(sources) != len(value):
        raise click.BadParameter("name each checkpoint once", context, parameter)
    return sources


def _facts(function: Callable[..., None]) -> Callable[..., None]:
    """Add the options from which a card is written."""
    for option in (
        click.option(
            "--temperature",
            metavar="T",
            type=float,
            help="Of sampling, whose figures come first; else as `wise-merge best` chose, else 1.",
        ),
        click.option("--license", "licence", metavar="ID", help="Of the model, such as mit; else that of its parents."),
        click.option(
            "--source",
            "sources",
            metavar="CHECKPOINT=ID",
            multiple=True,
            callback=_sources,
            help="Where a checkpoint is on the Hub: early=ORG/MODEL@REVISION, and late; of other merges by its name, "
            "such as checkpoint-100=ORG/MODEL@REVISION. May be repeated.",
        ),
        click.option(
            "--evaluated-as",
            metavar="NAME",
            multiple=True,
            help="How lm_eval's results call this model, if not by its folder or USER/NAME.",
        ),
        click.option(
            "--results",
            metavar="RESULTS",
            multiple=True,
            type=click.Path(path_type=Path),
            help="The folder of `wise-merge sweep`, or of `lm_eval --output_path`, or the file of `wise-merge score "
            "--json`; the last two may be repeated.",
        ),
    ):
        function = option(function)
    return function


def _warn(line: str) -> None:
    click.echo(line, err=True)


@command("card")
@click.argument("out", metavar="MODEL", type=click.Path(path_type=Path))
@_facts
@click.option("--name", metavar="USER/NAME", help="As the model will be called; else as its folder.")
def card(out: Path, name: str | None, **facts: Any) -> None:
    """Write the card of a merged model, without publishing it.

    MODEL is a folder that `wise-merge merge`, `wise-merge best --merge` or
    mergekit-yaml has written, or any model that --results are of. Its README.md says what the model was made of and how
    to make it again; with --results also how it scored at every k, beside its
    checkpoints where they were sampled too, with n, K, temperature and interval. What
    you have written between the two marked lines of an earlier card is kept.
    """
    from wise_merge.publish.pipeline import PublishSettings, write_card

    write_card(out, name, PublishSettings(**facts), say=click.echo, warn=_warn)


@command("push", interrupted="type the same command again: what has arrived at the Hub is not sent again")
@click.argument("out", metavar="MODEL", type=click.Path(path_type=Path))
@click.argument("repository", metavar="USER/NAME")
@_facts
@click.option("--private", is_flag=True, help="Make a new repository private.")
@click.option("--revision", metavar="BRANCH", help="Send to this branch, which is made if it is not there; else main.")
@click.option(
    "--include-samples",
    is_flag=True,
    help="Send every sample of this model too; needs --results. Else none leaves the machine.",
)
@click.option(
    "--dry-run", is_flag=True, help="Show what would be sent, the list of files last; send and write nothing."
)
def push(
    out: Path,
    repository: str,
    private: bool,
    revision: str | None,
    include_samples: bool,
    dry_run: bool,
    **facts: Any,
) -> None:
    """Publish a merged model on the Hub, with its evidence.

    Writes the card as `wise-merge card` does, refuses a model that is not whole, and
    sends weights, config, tokenizer, recipe, card and figures; nothing else in
    MODEL leaves the machine, and no path of it. Log in with `hf auth login` or
    HF_TOKEN. An interrupted push goes on where it stopped when it is run again.
    """
    from wise_merge.publish.hub import Target
    from wise_merge.publish.pipeline import PublishSettings
    from wise_merge.publish.pipeline import push as publish

    settings = PublishSettings(include_samples=include_samples, **facts)
    target = Target(repository, private=private, revision=revision)
    publish(out, target, settings, dry_run=dry_run, say=click.echo, warn=_warn)
