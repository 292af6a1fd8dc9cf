"""The group `fit`: one file per statistic that is fitted to data. A new one stands in the list below."""

import click

from wise_merge.cli.fit import fisher, temperature


@click.group("fit", commands=[temperature.temperature, fisher.fisher])
def fit() -> None:
    """Fit to data what a merge needs to know of it.

    Each command reads data with the checkpoints and fits one kind of statistic.
    """
