"""The options that several commands have: spelt, read and explained in one way."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from wise_merge.cli.command import option

Decorator = Callable[[Any], Any]

json_file: Decorator = click.option(
    "--json", "json_file", metavar="FILE", type=click.Path(path_type=Path), help="Write all figures there."
)
trust_remote_code: Decorator = click.option(
    "--trust-remote-code", is_flag=True, help="Let the code run that a model brings."
)
batch_size: Decorator = click.option(
    "--batch-size", metavar="N", type=click.IntRange(1), default=16, show_default=True, help="Sequences read at once."
)


def device(purpose: str = "") -> Decorator:
    """Return `--device`, whose help begins with what it is for, if not for all that the command does."""
    return click.option("--device", metavar="NAME", help=f"{purpose}cpu, cuda, ...; else a GPU if there is one.")


def seed(help: str) -> Decorator:
    """Return `--seed` of a command that draws at random, 0 unless given."""
    return click.option("--seed", metavar="N", type=click.IntRange(0), default=0, show_default=True, help=help)


def tasks(help: str) -> Decorator:
    """Return `--tasks`, a list with commas as lm-eval takes it; its former spelling names one task and is repeated."""
    return option("--tasks", metavar="NAME,...", multiple=True, callback=names, former=("--task",), help=help)


def names(_: click.Context, __: click.Parameter, given: tuple[str, ...]) -> tuple[str, ...]:
    """Return the names in one or several texts with commas between them."""
    return tuple(name.strip() for text in given for name in text.split(","))


_COMPLETIONS = (
    click.option(
        "--data", metavar="FILE", type=click.Path(path_type=Path), help="JSON Lines with `prompt` and `completion`."
    ),
    click.option("--task", metavar="NAME", help="Instead: the problems of a task of lm-eval and their gold solutions."),
    click.option(
        "--metadata",
        metavar="ARGS",
        multiple=True,
        help="For --task, as of lm_eval: NAME=VALUE,... or JSON; may be repeated.",
    ),
    click.option(
        "--num-fewshot", metavar="N", type=click.IntRange(0), help="Examples in prompts of --task; else as it has it."
    ),
    click.option("--limit", metavar="N", type=click.IntRange(1), help="Read the first N sequences only."),
)


def completions(function: Any) -> Any:
    """Add the options that say which held-out completions are read."""
    for one in reversed(_COMPLETIONS):
        function = one(function)
    return function
