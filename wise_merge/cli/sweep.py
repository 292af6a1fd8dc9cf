"""The command `sweep`."""

import json
from pathlib import Path
from typing import Any

import click

from wise_merge.cli import options
from wise_merge.cli.command import command, option, warn


def _arguments(_: click.Context, option: click.Parameter, text: str | None) -> dict[str, Any] | None:
    """Return a mapping from JSON or from key=value,..., as lm-eval has both."""
    if text is None:
        return None
    if text.lstrip().startswith("{"):
        try:
            return dict(json.loads(text))
        except ValueError as error:
            raise click.BadParameter(f"it is not JSON: {error}") from error
    pairs = [pair.partition("=") for pair in text.split(",")]
    if not all(name.strip() and separator for name, separator, _ in pairs):
        raise click.BadParameter(f"give key=value,... or a JSON object; got {text}")
    return {name.strip(): _value(value.strip()) for name, _, value in pairs}


def _all_arguments(context: click.Context, option: click.Parameter, texts: tuple[str, ...]) -> dict[str, Any] | None:
    """Return one mapping of all that were given, as lm-eval merges them; None if none was."""
    merged: dict[str, Any] = {}
    for text in texts:
        merged |= _arguments(context, option, text) or {}
    return merged if texts else None


def _value(text: str) -> Any:
    try:
        return json.loads(text.lower() if text in ("True", "False") else text)
    except ValueError:
        return None if text == "None" else text


@command(
    "sweep",
    interrupted="every sample that was drawn is in {out}/journal; type the same command again, and it goes on there",
)
@click.argument("file", required=False, metavar="[SWEEP.YML]", type=click.Path(path_type=Path))
@click.option("--early", metavar="CHECKPOINT", help="At alpha 0, or first in a soup; else the first of --run.")
@click.option("--late", multiple=True, metavar="CHECKPOINT", help="At alpha 1; several are each swept, or in one soup.")
@click.option("--run", metavar="DIR", help="A training run: its early checkpoint and every later one.")
@click.option(
    "--recipe",
    metavar="FILE",
    help="In place of checkpoints and alphas; `grid` in the file varies its numbers.",
)
@click.option(
    "--alphas", metavar="LIST", help="FIRST:LAST:STEP or A,B,...; 0 and 1 are always sampled. A soup has none."
)
@click.option("--temperatures", metavar="LIST", help="Of sampling, likewise; 1 unless given.")
@options.tasks("Of ours, such as gsm8k_passk.")
@click.option("--samples", type=int, metavar="K", help="Per problem; 32 unless given.")
@click.option("--limit", type=int, metavar="N", help="Only the first N problems of each task.")
@click.option(
    "--method",
    metavar="NAME",
    help="wise_ft (unless given), uniform_soup, or bang, which needs `calibration` in the file.",
)
@click.option("--dtype", metavar="NAME", help="To which the checkpoints are cast before they are merged.")
@click.option("--out-dtype", metavar="NAME", help="Of the merge.")
@click.option("--backend", metavar="NAME", help="hf (unless given) or vllm.")
@option(
    "--model-args", former=("--model_args",), callback=_arguments, metavar="ARGS", help="Of hf-passk or vllm-passk."
)
@option("--batch-size", former=("--batch_size",), type=int, metavar="N", help="The most samples drawn together.")
@options.device()
@click.option("--seed", type=int, metavar="N", help="Of all samples; 1234 unless given.")
@click.option(
    "--metadata",
    metavar="ARGS",
    multiple=True,
    callback=_all_arguments,
    help="Of the tasks, as of lm_eval: NAME=VALUE,... or JSON; may be repeated.",
)
@option(
    "--gen-kwargs", former=("--gen_kwargs",), callback=_arguments, metavar="ARGS", help="Of sampling, as of lm_eval."
)
@option("--num-fewshot", former=("--num_fewshot",), type=int, metavar="N", help="As of lm_eval.")
@option("--apply-chat-template", former=("--apply_chat_template",), is_flag=True, default=None, help="As of lm_eval.")
@click.option("--until-ci", type=float, metavar="W", help="Stop a point when Pass@1 is known to within W (95 %).")
@click.option(
    "--successive-halving", is_flag=True, default=None, help="No further samples for points that others dominate."
)
@click.option("--processes", type=int, metavar="N", help="Engines on this machine, for tiny models on CPUs; else 1.")
@click.option("--ray", metavar="ADDRESS", help="Spread the points over a Ray cluster: auto, or its address.")
@click.option(
    "--out",
    metavar="DIR",
    type=click.Path(path_type=Path),
    default="results",
    show_default=True,
    help="Of the results.",
)
@click.option("--check", is_flag=True, help="Stop after the checks; sample nothing.")
def sweep(file: Path | None, out: Path, check: bool, **given: Any) -> None:
    """Sample checkpoints x alpha x temperature in one engine.

    SWEEP.YML or the options say which; the keys of the file are the options' names,
    with _ for -. For each point the weights are merged in memory, equal bit for bit to
    what mergekit-yaml would write. Every sample is in a journal as soon as it
    is drawn: the same command goes on where it was stopped, and with more alphas,
    temperatures, checkpoints or samples it draws only what is missing. Then see
    `wise-merge best` and `wise-merge report`.
    """
    import signal
    import sys

    from wise_merge.search.sweep.pipeline import run_sweep
    from wise_merge.search.sweep.reading import read_settings

    chosen = {key: value for key, value in given.items() if value is not None and value != ()}
    before = signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        run_sweep(
            read_settings(file, chosen),
            out,
            check=check,
            say=click.echo,
            warn=warn,
        )
    finally:
        signal.signal(signal.SIGTERM, before)
