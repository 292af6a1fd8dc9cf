"""The command `doctor`."""

import click

from wise_merge import __version__
from wise_merge.cli.command import command


@command("doctor")
def doctor() -> None:
    """Say whether mergekit-yaml and lm_eval see this package.

    Says what to do if not. Also which versions of the programs it works with
    are here and which were tested, what of their insides is not as expected,
    and what keeps programs of models from doing harm here. Exit code 0 if both
    hosts see it, 1 otherwise.
    """
    import platform

    from wise_merge.errors import WiseMergeError
    from wise_merge.execution import describe_sandbox
    from wise_merge.hosts.doctor import compare_versions, examine, look_inside

    click.echo(f"wise-merge {__version__} on Python {platform.python_version()}")
    findings = examine()
    for finding in findings:
        click.echo(f"{'ok ' if finding.sees else 'NOT'}  {finding.message}")
    for line in compare_versions():
        click.echo(f"     {line}")
    for line in look_inside():
        click.echo(f"NOTE {line}")
    try:
        click.echo(f"     {describe_sandbox()}")
    except WiseMergeError as error:
        click.echo(f"NOTE programs of models cannot be run: {error}")
    if not all(finding.sees for finding in findings):
        raise SystemExit(1)
    click.echo("All is well: `merge_method: wise_ft` and `--tasks gsm8k_passk` work as typed.")
