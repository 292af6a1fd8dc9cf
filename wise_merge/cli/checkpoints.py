"""The command `checkpoints`."""

import shlex
from pathlib import Path

import click

from wise_merge.cli.command import command, option


@command("checkpoints")
@click.argument("run", metavar="RUN_DIR", type=click.Path(path_type=Path))
@option("--out", metavar="YAML", type=click.Path(path_type=Path), former=("--write",), help="Write a recipe there.")
@click.option("--early", metavar="STEP", help="Early checkpoint of --out, by step or name of folder; else the first.")
@click.option("--late", metavar="STEP", help="Late checkpoint of --out, likewise; else the last.")
@click.option(
    "--alpha", metavar="A", type=float, help="Of --out, from 0 (early) to 1 (late); else 0.5, as the file says."
)
def checkpoints(run: Path, out: Path | None, early: str | None, late: str | None, alpha: float | None) -> None:
    """List a training run's checkpoints, and write a merge of two.

    Each line is a checkpoint in RUN_DIR or RUN_DIR/early: its step and epoch, the
    last training loss logged up to it, what weights and folder take on disk, and
    whether it is a full model or a LoRA adapter. One that is not whole is listed as
    broken, with the reason, and never chosen.

    --out leaves a recipe of method `wise_ft` for `wise-merge merge` (or
    `mergekit-yaml`). It overwrites nothing.
    """
    from wise_merge.checkpoints.folder import label
    from wise_merge.checkpoints.recipe import recipe
    from wise_merge.checkpoints.runs import choose, find_checkpoints
    from wise_merge.checkpoints.table import table
    from wise_merge.errors import WiseMergeError
    from wise_merge.text import printable, printable_lines

    if out is None and (early, late, alpha) != (None, None, None):
        raise click.UsageError("--early, --late and --alpha are for the file that --out names")
    listed = find_checkpoints(run)
    click.echo(printable_lines(table(listed)))
    for checkpoint in listed:
        if checkpoint.problem is not None:
            click.echo(f"broken: {printable(checkpoint.problem)}", err=True)
    if out is None:
        return
    first, last = choose(listed, early, late)
    text = recipe(first, last, 0.5 if alpha is None else alpha)
    try:
        with out.open("x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError:
        raise WiseMergeError(f"{out} exists and is not overwritten; delete it or choose another name") from None
    except OSError as error:
        raise WiseMergeError(f"{out} cannot be written: {error.strerror}") from error
    chosen = "alpha 0.5, halfway as in the paper's Figure 1" if alpha is None else f"alpha {alpha:g}"
    click.echo(f"\n{out}: early {label(first)}; late {label(last)}; {chosen}")
    click.echo(f"wise-merge merge {shlex.quote(str(out))} out/")
