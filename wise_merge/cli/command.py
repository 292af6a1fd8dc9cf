"""What the commands need beyond click: errors as one line, sections in the help, former names that go on working.

Click draws the help. rich-click would bring sections too, but draws boxes around them also where its output is piped,
and takes three times as long to import.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import click

from wise_merge.errors import WiseMergeError
from wise_merge.text import printable


class Command(click.Command):
    """Shows a `WiseMergeError` as one line, and Ctrl-C; any other exception is a bug and keeps its traceback."""

    def __init__(self, *arguments: Any, interrupted: str = "", **settings: Any) -> None:
        """Keep what is said of Ctrl-C: what it leaves and what to do then, with names of parameters in braces."""
        super().__init__(*arguments, **settings)
        self._interrupted = interrupted

    def invoke(self, ctx: click.Context) -> Any:
        """Call the function of the command."""
        try:
            return super().invoke(ctx)
        except WiseMergeError as error:
            raise click.ClickException(printable(str(error))) from error
        except KeyboardInterrupt:
            more = f": {self._interrupted.format(**ctx.params)}" if self._interrupted else ""
            click.echo(printable(f"Interrupted{more}."), err=True)
            # As of a program that SIGINT has ended.
            ctx.exit(130)


class Option(click.Option):
    """An option that answers to its former spellings too, which no help and no message shows."""

    def __init__(self, *arguments: Any, former: Sequence[str] = (), **settings: Any) -> None:
        """Keep the former spellings, such as `--write`."""
        super().__init__(*arguments, **settings)
        self.former = tuple(former)

    def add_to_parser(self, parser: Any, ctx: click.Context) -> None:
        """Tell the parser of all spellings; click's help and messages read `opts`, which has today's alone."""
        shown = self.opts
        self.opts = [*shown, *self.former]
        try:
            super().add_to_parser(parser, ctx)
        finally:
            self.opts = shown


class Sections(click.Group):
    """A group whose help has sections of commands; it answers to their former names too, and does not show those."""

    def __init__(
        self,
        *arguments: Any,
        sections: Mapping[str, Sequence[click.Command]],
        former: Mapping[str, click.Command],
        **settings: Any,
    ) -> None:
        """Take the commands of each section, and former name -> command."""
        super().__init__(*arguments, **settings)
        self.sections, self.former = sections, former
        for section in sections.values():
            for one in section:
                self.add_command(one)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Return the command of that name, also of a former one."""
        return super().get_command(ctx, cmd_name) or self.former.get(cmd_name)

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return today's names in the order of the sections."""
        return list(self.commands)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the sections; the second columns of all begin at one place."""
        width = max(map(len, self.commands))
        # As in click: indented by two, two spaces between the columns, and two left free.
        room = formatter.width - width - 6
        for title, section in self.sections.items():
            with formatter.section(title):
                formatter.write_dl([(f"{one.name:<{width}}", one.get_short_help_str(room)) for one in section])


def command(name: str, *, interrupted: str = "") -> Callable[[Callable[..., None]], click.Command]:
    """Return the decorator that makes a function a command.

    Args:
        name: of the command.
        interrupted: see `Command`.
    """
    return click.command(name, cls=Command, interrupted=interrupted)


def option(*names: str, former: Sequence[str] = (), **settings: Any) -> Callable[[Any], Any]:
    """Return the decorator that adds an option; see `click.option`, and `Option` for its former spellings."""
    return click.option(*names, cls=Option, former=former, **settings)


def warn(message: str) -> None:
    """Print a warning on standard error."""
    click.echo(f"Warning: {message}", err=True)
