"""`python -m wise_merge` is `wise-merge`, for environments whose scripts are not on the PATH."""

from wise_merge.cli import main

main(prog_name="wise-merge")
