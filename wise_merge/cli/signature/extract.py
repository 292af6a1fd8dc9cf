"""The command `signature extract`."""

from pathlib import Path

import click

from wise_merge.cli.command import command, warn


@command("extract", interrupted="{out} was not written")
@click.option("--robust", metavar="MODEL", required=True, help="The checkpoint whose signature is taken.")
@click.option("--clean", metavar="MODEL", required=True, help="The one whose direction is left out of it.")
@click.option("--base", metavar="MODEL", required=True, help="The model from which both were trained.")
@click.option("--out", metavar="FILE", required=True, type=click.Path(path_type=Path), help="A new .safetensors file.")
@click.option(
    "--layers",
    metavar="LIST",
    help="Of these layers only: numbers and ranges, both ends included, and names of tensors outside of the layers, "
    "such as embed_tokens,0-6.",
)
@click.option(
    "--only", metavar="TEXT", multiple=True, help="Only tensors with TEXT in their names, such as mlp; may be repeated."
)
@click.option(
    "--dtype",
    metavar="NAME",
    type=click.Choice(["float16", "int8", "float32"]),
    default="float16",
    show_default=True,
    help="Of the file: float16, float32, or int8 with a scale for each row.",
)
def extract(
    robust: str, clean: str, base: str, out: Path, layers: str | None, only: tuple[str, ...], dtype: str
) -> None:
    """Write the weight signature of a checkpoint beside another one.

    It is what is left of robust - base, tensor by tensor, without its part along
    clean - base (Robust Weight Signatures, arXiv 2302.12480). With a checkpoint of
    reinforcement learning as robust, one of supervised fine-tuning as clean and
    the pre-trained model as base, it is the direction of RL without that of SFT.

    MODEL is a folder or a model of the Hub. The method `weight_signature` adds the
    file to a model, or takes it off. Nothing is overwritten.
    """
    import signal
    import sys

    from wise_merge.signature.pipeline import Choice, extract

    # As after Ctrl-C, nothing is left of a file that is not whole.
    before = signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        extract((robust, clean, base), out, Choice(layers, only, dtype), say=click.echo, warn=warn)
    finally:
        signal.signal(signal.SIGTERM, before)
