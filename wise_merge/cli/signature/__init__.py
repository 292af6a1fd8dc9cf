"""The group `signature`: one file per thing that is done with signatures."""

import click

from wise_merge.cli.signature import extract


@click.group("signature", commands=[extract.extract])
def signature() -> None:
    """Take what a checkpoint has learnt beside another, as a file.

    The method `weight_signature` adds such files to models, and takes them off again.
    """
