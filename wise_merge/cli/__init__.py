"""The command `wise-merge`: parses the command line, calls one function, prints; computes nothing.

One file per command, or per pair of them that shares its options; `sections.py` has the list that `wise-merge --help`
shows. Each file imports `click` alone until its command is called.
"""

from wise_merge.cli.sections import main

__all__ = ["main"]
