"""The command `merge`."""

from pathlib import Path

import click

from wise_merge.cli.command import command, warn


@command("merge", interrupted="{out} is as it was before")
@click.argument("recipe", type=click.Path(path_type=Path))
@click.argument("out", type=click.Path(path_type=Path))
@click.option(
    "--alphas",
    metavar="LIST",
    help="Write one model for each, in one pass: OUT/alpha-0.1, ... LIST is FIRST:LAST:STEP or A,B,...; it takes the "
    "place of the recipe's alpha.",
)
@click.option(
    "--out-dtype", metavar="NAME", help="bfloat16, float16, float32 or float64 for the weights; else the recipe's."
)
@click.option("--force", is_flag=True, help="Replace OUT, whole, if it is there already.")
@click.option("--check", is_flag=True, help="Stop after the checks; write nothing.")
def merge(recipe: Path, out: Path, alphas: str | None, out_dtype: str | None, force: bool, check: bool) -> None:
    """Merge as mergekit-yaml does: checked first, written whole.

    RECIPE is a YAML file for mergekit with any merge_method, OUT a new
    folder. Keys, checkpoints, shapes, tokenizers and disk space are checked before a
    weight is read. OUT appears when everything is in it, or not at all; the weights
    are, bit for bit, those of mergekit-yaml. Beside them, wise_merge.json records the
    inputs with their hashes, and what was measured.
    """
    import signal
    import sys

    from wise_merge.merge.pipeline import merge_recipe

    # As after Ctrl-C, what has been written so far is removed.
    before = signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        merge_recipe(
            recipe,
            out,
            alphas=alphas,
            out_dtype=out_dtype,
            force=force,
            check=check,
            say=click.echo,
            warn=warn,
        )
    finally:
        signal.signal(signal.SIGTERM, before)
