"""The command `wise-merge`. Wires things together and speaks to people; computes nothing.

One file per group of commands; each imports `click` alone until one of its commands is called.
"""

from wise_merge.cli import best, calibrate, checkpoints, merge, publish, report, samples, start, sweep  # noqa: F401 - importing them adds their commands
from wise_merge.cli.group import main

__all__ = ["main"]
