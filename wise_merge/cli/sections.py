"""The group `wise-merge`: its commands, in sections by what a person is about to do."""

import click

from wise_merge import __version__
from wise_merge.cli.best import best
from wise_merge.cli.checkpoints import checkpoints
from wise_merge.cli.command import Sections
from wise_merge.cli.demo import demo
from wise_merge.cli.doctor import doctor
from wise_merge.cli.fit import fit, temperature
from wise_merge.cli.journal import journal
from wise_merge.cli.merge import merge
from wise_merge.cli.publish import card, push
from wise_merge.cli.report import report
from wise_merge.cli.score import score
from wise_merge.cli.signature import signature
from wise_merge.cli.soup import soup
from wise_merge.cli.sweep import sweep

#: In the order of the help; within a section, in the order in which one is likely to need them.
SECTIONS = {
    "Merge": [merge, fit, signature],
    "Sample and score": [sweep, journal, score],
    "Choose and show": [best, soup, report],
    "Train": [checkpoints],
    "Publish": [card, push],
    "Try and check": [demo, doctor],
}

#: What commands were called before; who types it gets the command.
FORMER = {"calibrate": temperature.temperature}


@click.group(cls=Sections, sections=SECTIONS, former=FORMER, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="wise-merge")
def main() -> None:
    """WiSE-FT, BANG and uniform soups for mergekit, Pass@K tasks for lm-eval.

    Merging and sampling are done by the tools you know: `mergekit-yaml` with
    `merge_method: wise_ft`, `bang` or `uniform_soup`, and `lm_eval --tasks
    gsm8k_passk`. These commands stand around them.
    """
