"""Write one page per command of `wise-merge` from its `--help`; with --check, only compare."""

import sys
from pathlib import Path

import click

from wise_merge.cli import main

PAGES = Path(__file__).parent / "commands"


def page(name: str, command: click.Command) -> str:
    """Return the Markdown page of a command."""
    parent = click.Context(main, info_name="wise-merge", **main.context_settings)
    context = click.Context(command, info_name=name, parent=parent, terminal_width=88)
    return f"# `wise-merge {name}`\n\n```text\n{command.get_help(context)}\n```\n"


def write(*, check: bool) -> bool:
    """Write all pages, or return whether they are as they would be written."""
    pages = {PAGES / f"{name}.md": page(name, command) for name, command in main.commands.items()}
    if check:
        return {path: path.read_text() for path in PAGES.glob("*.md")} == pages
    for path, text in pages.items():
        path.write_text(text)
    return True


if __name__ == "__main__":
    if not write(check="--check" in sys.argv):
        sys.exit("docs/commands is not up to date with the command line; run `make docs`")
