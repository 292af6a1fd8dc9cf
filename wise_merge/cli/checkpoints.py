"""The command `checkpoints`."""

import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from wise_merge.cli.command import command, option

if TYPE_CHECKING:
    from wise_merge.checkpoints.folder import Checkpoint

#: The options of each method, by the name of the parameter: what a recipe of the other cannot have.
OPTIONS = {
    "wise_ft": {"early": "--early", "late": "--late", "alpha": "--alpha"},
    "uniform_soup": {"last": "--last", "start": "--from", "every": "--every", "ema": "--ema"},
}


@command("checkpoints")
@click.argument("run", metavar="RUN_DIR", type=click.Path(path_type=Path))
@option("--out", metavar="YAML", type=click.Path(path_type=Path), former=("--write",), help="Write a recipe there.")
@click.option(
    "--method", metavar="NAME", type=click.Choice(list(OPTIONS)), help="Of --out: wise_ft (unless given), uniform_soup."
)
@click.option("--early", metavar="STEP", help="Early checkpoint of wise_ft, by step or name of folder; else the first.")
@click.option("--late", metavar="STEP", help="Late checkpoint of wise_ft, likewise; else the last.")
@click.option(
    "--alpha", metavar="A", type=float, help="Of wise_ft, from 0 (early) to 1 (late); else 0.5, as the file says."
)
@click.option(
    "--last", metavar="N", type=click.IntRange(1), help="uniform_soup of the latest N checkpoints; else of all."
)
@click.option("--from", "start", metavar="STEP", help="uniform_soup of those of this step or later.")
@click.option(
    "--every", metavar="N", type=click.IntRange(1), help="uniform_soup of each N-th, counted back from the last."
)
@click.option(
    "--ema",
    metavar="DECAY",
    type=float,
    help="Weights of uniform_soup that make it the exponential moving average; else all count alike.",
)
def checkpoints(run: Path, out: Path | None, method: str | None, **given: Any) -> None:
    """List a training run's checkpoints, and write a merge of them.

    Each line is a checkpoint in RUN_DIR or RUN_DIR/early: its step and epoch, the
    last training loss logged up to it, what weights and folder take on disk, and
    whether it is a full model or a LoRA adapter. One that is not whole is listed as
    broken, with the reason, and never chosen.

    --out leaves a recipe for `wise-merge merge` (or `mergekit-yaml`): of method
    `wise_ft`, an early and a late checkpoint, or `uniform_soup`, any number of them.
    It overwrites nothing.
    """
    from wise_merge.checkpoints.runs import find_checkpoints
    from wise_merge.checkpoints.table import table
    from wise_merge.text import printable, printable_lines

    chosen = {name: value for name, value in given.items() if value is not None}
    _check(out, method, chosen)
    listed = find_checkpoints(run)
    click.echo(printable_lines(table(listed)))
    for checkpoint in listed:
        if checkpoint.problem is not None:
            click.echo(f"broken: {printable(checkpoint.problem)}", err=True)
    if out is None:
        return
    content, said = (_soup if method == "uniform_soup" else _wise_ft)(listed, **chosen)
    _write(out, content)
    click.echo(f"\n{out}: {said}")
    click.echo(f"wise-merge merge {shlex.quote(str(out))} out/")


def _check(out: Path | None, method: str | None, chosen: dict[str, Any]) -> None:
    """Raise an error for options that would be ignored."""
    from wise_merge.errors import WiseMergeError
    from wise_merge.text import enumeration

    if out is None and (method is not None or chosen):
        names = [name for options in OPTIONS.values() for name in options.values()]
        raise click.UsageError(f"--method, {enumeration(names, 'and')} are for the file that --out names")
    own = OPTIONS[method or "wise_ft"]
    for name in [name for name in chosen if name not in own]:
        (other,) = (other for other, options in OPTIONS.items() if name in options)
        raise WiseMergeError(
            f"{OPTIONS[other][name]} is an option of --method {other}; {method or 'wise_ft, the method unless given,'} "
            f"takes {enumeration(list(own.values()), 'and')}"
        )


def _wise_ft(
    listed: "Sequence[Checkpoint]", early: str | None = None, late: str | None = None, alpha: float | None = None
) -> tuple[str, str]:
    """Return the recipe of an early and a late checkpoint, and what it is in words."""
    from wise_merge.checkpoints.folder import label
    from wise_merge.checkpoints.recipe import recipe
    from wise_merge.checkpoints.runs import choose

    first, last = choose(listed, early, late)
    share = "alpha 0.5, halfway as in the paper's Figure 1" if alpha is None else f"alpha {alpha:g}"
    content = recipe(first, last, 0.5 if alpha is None else alpha)
    return content, f"early {label(first)}; late {label(last)}; {share}"


def _soup(listed: "Sequence[Checkpoint]", ema: float | None = None, **choice: Any) -> tuple[str, str]:
    """Return the recipe of the mean of many checkpoints, and what it is in words."""
    from wise_merge.checkpoints.folder import label
    from wise_merge.checkpoints.recipe import soup_recipe
    from wise_merge.checkpoints.runs import choose_many

    chosen = choose_many(listed, **choice)
    mean = "mean" if ema is None else f"exponential moving average (decay {ema:g})"
    said = f"the {mean} of {len(chosen)} checkpoints, from {label(chosen[0])} to {label(chosen[-1])}"
    return soup_recipe(chosen, ema), said


def _write(out: Path, content: str) -> None:
    from wise_merge.errors import WiseMergeError

    try:
        with out.open("x", encoding="utf-8") as file:
            file.write(content)
    except FileExistsError:
        raise WiseMergeError(f"{out} exists and is not overwritten; delete it or choose another name") from None
    except OSError as error:
        raise WiseMergeError(f"{out} cannot be written: {error.strerror}") from error
