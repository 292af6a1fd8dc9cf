"""Write one page per command of `wise-merge` from its `--help`, and one of them all; with --check, only compare."""

import sys
from collections.abc import Iterator
from pathlib import Path

import click

from wise_merge.cli import main

PAGES = Path(__file__).parent / "commands"


def contexts(context: click.Context) -> Iterator[click.Context]:
    """Yield a command and, if it is a group, those within it; former names of commands have no page."""
    yield context
    if isinstance(context.command, click.Group):
        for name, command in context.command.commands.items():
            yield from contexts(click.Context(command, info_name=name, parent=context, terminal_width=88))


def pages() -> dict[Path, str]:
    """Return the Markdown pages: wise-merge.md, merge.md, fit.md, fit-temperature.md, ..."""
    top = click.Context(main, info_name="wise-merge", terminal_width=88, **main.context_settings)
    found = {}
    for context in contexts(top):
        name = context.command_path.removeprefix("wise-merge ").replace(" ", "-")
        found[PAGES / f"{name}.md"] = f"# `{context.command_path}`\n\n```text\n{context.get_help()}\n```\n"
    return found


def write(*, check: bool) -> bool:
    """Write all pages, or return whether they are as they would be written."""
    wanted = pages()
    if check:
        return {path: path.read_text() for path in PAGES.glob("*.md")} == wanted
    for path in set(PAGES.glob("*.md")) - wanted.keys():
        path.unlink()
    for path, text in wanted.items():
        path.write_text(text)
    return True


if __name__ == "__main__":
    if not write(check="--check" in sys.argv):
        sys.exit("docs/commands is not up to date with the command line; run `make docs`")
