"""The command `fit temperature`, which was `calibrate`."""

from pathlib import Path
from typing import Any

import click

from wise_merge.cli import options
from wise_merge.cli.command import command, option, warn


@command("temperature")
@click.argument("early")
@click.argument("late")
@options.completions
@options.batch_size
@options.device()
@click.option(
    "--dtype",
    metavar="NAME",
    default="auto",
    show_default=True,
    help="Compute in it; auto: as the checkpoint is stored.",
)
@options.trust_remote_code
@click.option(
    "--out", metavar="YAML", type=click.Path(path_type=Path), help="Write the recipe for mergekit there; needs --alpha."
)
@click.option("--alpha", metavar="A", type=float, help="Of the recipe of --out, from 0 (early) to 1 (late).")
@option(
    "--figure",
    metavar="FILE",
    type=click.Path(path_type=Path),
    former=("--plot",),
    help="Draw the reliability diagram there.",
)
@options.json_file
def temperature(
    early: str, late: str, out: Path | None, figure: Path | None, json_file: Path | None, **settings: Any
) -> None:
    """Fit the temperatures that `bang` folds into two checkpoints.

    EARLY and LATE are folders or Hub ids of models; LoRA checkpoints are
    BASE+ADAPTER, or a folder with an adapter that says its base. The temperature of
    each minimises the NLL of held-out completions. Prints it with its uncertainty,
    and NLL and calibration error before and after.

    --out with --alpha leaves a recipe of method `bang` for `mergekit-yaml`. Nothing
    is overwritten. The former name of this command is `wise-merge calibrate`.
    """
    from wise_merge.calibrate.pipeline import FitSettings, fit_temperatures

    fit_temperatures(
        early,
        late,
        FitSettings(**settings),
        out=out,
        figure=figure,
        json_file=json_file,
        say=click.echo,
        warn=warn,
    )
