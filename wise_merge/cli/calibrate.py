"""Command that fits temperatures for BANG: `calibrate`."""

from pathlib import Path
from typing import Any

import click

from wise_merge.cli.group import command


@command("calibrate")
@click.argument("early")
@click.argument("late")
@click.option("--data", type=click.Path(path_type=Path), help="JSON Lines with `prompt` and `completion`.")
@click.option("--task", metavar="NAME", help="Instead: the problems of a task of lm-eval and their gold solutions.")
@click.option("--metadata", metavar="NAME=VALUE", multiple=True, help="For --task, as lm_eval takes it; or JSON.")
@click.option(
    "--num-fewshot", metavar="N", type=click.IntRange(0), help="Examples in prompts of --task; else as it has it."
)
@click.option("--limit", metavar="N", type=click.IntRange(1), help="Read the first N sequences only.")
@click.option("--batch-size", type=click.IntRange(1), default=16, show_default=True, help="Sequences read at once.")
@click.option("--device", metavar="NAME", help="cpu, cuda, ...; else a GPU if there is one.")
@click.option("--dtype", default="auto", show_default=True, help="Compute in it; auto: as the checkpoint is stored.")
@click.option("--trust-remote-code", is_flag=True, help="Let the code run that a checkpoint brings.")
@click.option(
    "--out", metavar="YAML", type=click.Path(path_type=Path), help="Write the recipe for mergekit there; needs --alpha."
)
@click.option("--alpha", metavar="A", type=float, help="Of the recipe of --out, from 0 (early) to 1 (late).")
@click.option("--plot", metavar="FILE", type=click.Path(path_type=Path), help="Draw the reliability diagram there.")
@click.option("--json", "json_file", type=click.Path(path_type=Path), help="Write all figures there.")
def calibrate(
    early: str, late: str, out: Path | None, plot: Path | None, json_file: Path | None, **settings: Any
) -> None:
    """Fit the temperatures that `bang` folds into two checkpoints.

    EARLY and LATE are folders or Hub ids of models; LoRA checkpoints are
    BASE+ADAPTER, or a folder with an adapter that says its base. The temperature of
    each minimises the NLL of held-out completions. Prints it with its uncertainty,
    and NLL and calibration error before and after.

    --out with --alpha leaves a recipe of method `bang` for `mergekit-yaml`. Nothing
    is overwritten.
    """
    from wise_merge.calibrate.pipeline import Settings, run

    run(
        early,
        late,
        Settings(**settings),
        out=out,
        plot=plot,
        json_file=json_file,
        say=click.echo,
        warn=lambda message: click.echo(f"Warning: {message}", err=True),
    )
