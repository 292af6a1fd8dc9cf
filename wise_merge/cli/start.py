"""Commands for the first minutes: `demo` and `doctor`."""

from pathlib import Path

import click

from wise_merge import __version__
from wise_merge.cli.group import command


@command("demo", interrupted="type the same command again, and it goes on where it was")
@click.argument("directory", type=click.Path(file_okay=False, path_type=Path), default=Path("demo"))
def demo(directory: Path) -> None:
    """See the effect in minutes on two CPU cores, offline.

    Trains a tiny model on CountDown and sweeps from its early to its late
    checkpoint with `wise-merge sweep`; `wise-merge best` chooses and merges a
    point, `wise-merge report` shows all of them. Ends with a table and a figure
    in DIRECTORY. A second run reuses what is there; an interrupted one resumes.
    """
    from wise_merge.demo.pipeline import run

    run(directory)


@command("doctor")
def doctor() -> None:
    """Say whether mergekit-yaml and lm_eval see this package.

    Says what to do if not. Also which versions of the programs it works with
    are here and which were tested, and what of their insides is not as
    expected. Exit code 0 if both hosts see it, 1 otherwise.
    """
    import platform

    from wise_merge.hosts.doctor import compare_versions, examine, look_inside

    click.echo(f"wise-merge {__version__} on Python {platform.python_version()}")
    findings = examine()
    for finding in findings:
        click.echo(f"{'ok ' if finding.sees else 'NOT'}  {finding.message}")
    for line in compare_versions():
        click.echo(f"     {line}")
    for line in look_inside():
        click.echo(f"NOTE {line}")
    if not all(finding.sees for finding in findings):
        raise SystemExit(1)
    click.echo("All is well: `merge_method: wise_ft` and `--tasks gsm8k_passk` work as typed.")
