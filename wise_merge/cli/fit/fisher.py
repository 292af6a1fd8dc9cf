"""The command `fit fisher`."""

from pathlib import Path
from typing import Any

import click

from wise_merge.cli import options
from wise_merge.cli.command import command, warn


@command(
    "fisher",
    interrupted="type the same command again; it goes on from the sums beside {out}, written every 30 seconds",
)
@click.argument("checkpoint")
@options.completions
@click.option(
    "--draws", metavar="N", type=click.IntRange(1), default=1, show_default=True, help="Draw next tokens N times."
)
@options.seed("Of the next tokens that are drawn.")
@options.device()
@click.option(
    "--dtype",
    metavar="NAME",
    default="auto",
    show_default=True,
    help="Compute in it; auto: as the checkpoint is stored, float32 for float16.",
)
@options.trust_remote_code
@click.option(
    "--out",
    metavar="FILE",
    type=click.Path(path_type=Path),
    required=True,
    help="Write the Fisher file there; it ends in .safetensors.",
)
@options.json_file
def fisher(checkpoint: str, out: Path, json_file: Path | None, **settings: Any) -> None:
    """Fit the Fisher information by which `fisher` averages.

    CHECKPOINT is a folder or a Hub id of a model. The Fisher information of each of its
    weights is the mean over held-out sequences of the squared gradient of the
    log-probability of next tokens that are drawn from the model itself.

    Killed and typed again, it goes on. Nothing is overwritten.
    """
    from wise_merge.calibrate.fisher.pipeline import FisherSettings, fit_fisher
    from wise_merge.calibrate.sequences import Source

    source = Source(*(settings.pop(name) for name in ("data", "task", "metadata", "num_fewshot", "limit")))
    fit_fisher(checkpoint, FisherSettings(source, **settings), out=out, json_file=json_file, say=click.echo, warn=warn)
