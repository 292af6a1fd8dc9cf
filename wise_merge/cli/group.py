"""The group `wise-merge` and how its commands show errors."""

from collections.abc import Callable
from typing import Any

import click

from wise_merge import __version__
from wise_merge.errors import WiseMergeError
from wise_merge.results.rows import printable


class _Command(click.Command):
    """Shows a `WiseMergeError` as one line, and Ctrl-C; any other exception is a bug and keeps its traceback."""

    def __init__(self, *arguments: Any, interrupted: str = "", **settings: Any) -> None:
        """Take note of what Ctrl-C leaves and what to do then, with names of parameters in braces."""
        super().__init__(*arguments, **settings)
        self._interrupted = interrupted

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except WiseMergeError as error:
            raise click.ClickException(printable(str(error))) from error
        except KeyboardInterrupt:
            more = f": {self._interrupted.format(**ctx.params)}" if self._interrupted else ""
            click.echo(printable(f"Interrupted{more}."), err=True)
            # As of a program that SIGINT has ended.
            ctx.exit(130)


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="wise-merge")
def main() -> None:
    """WiSE-FT and BANG merges for mergekit, Pass@K tasks for lm-eval.

    Merging and sampling are done by the tools you know: `mergekit-yaml` with
    `merge_method: wise_ft`, and `lm_eval --tasks gsm8k_passk`. These commands
    stand around them.
    """


def command(name: str, *, interrupted: str = "") -> Callable[[Callable[..., None]], click.Command]:
    """Return the decorator that makes a function a command of `wise-merge`.

    Args:
        name: of the command.
        interrupted: see `_Command`.
    """
    return main.command(name, cls=_Command, interrupted=interrupted)
