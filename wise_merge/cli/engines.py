"""The options of commands that sample points in engines: a sweep and a soup."""

import json
from collections.abc import Callable, Mapping
from functools import reduce
from pathlib import Path
from typing import Any

import click

from wise_merge.cli import options
from wise_merge.cli.command import option
from wise_merge.cli.options import Decorator


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


def _all(*decorators: Decorator) -> Decorator:
    """Return one decorator that does what several do, as if they stood below each other."""
    return lambda function: reduce(lambda decorated, one: one(decorated), reversed(decorators), function)


problems = _all(
    options.tasks("Of ours, such as gsm8k_passk."),
    click.option("--samples", type=int, metavar="K", help="Per problem; 32 unless given."),
    click.option("--limit", type=int, metavar="N", help="Only the first N problems of each task."),
)

engine = _all(
    click.option("--dtype", metavar="NAME", help="To which the checkpoints are cast before they are merged."),
    click.option("--out-dtype", metavar="NAME", help="Of the merge."),
    click.option("--backend", metavar="NAME", help="hf (unless given) or vllm."),
    option(
        "--model-args", former=("--model_args",), callback=_arguments, metavar="ARGS", help="Of hf-passk or vllm-passk."
    ),
    option("--batch-size", former=("--batch_size",), type=int, metavar="N", help="The most samples drawn together."),
    options.device(),
    click.option("--seed", type=int, metavar="N", help="Of all samples; 1234 unless given."),
    click.option(
        "--metadata",
        metavar="ARGS",
        multiple=True,
        callback=_all_arguments,
        help="Of the tasks, as of lm_eval: NAME=VALUE,... or JSON; may be repeated.",
    ),
    option(
        "--gen-kwargs",
        former=("--gen_kwargs",),
        callback=_arguments,
        metavar="ARGS",
        help="Of sampling, as of lm_eval.",
    ),
    option("--num-fewshot", former=("--num_fewshot",), type=int, metavar="N", help="As of lm_eval."),
    option(
        "--apply-chat-template", former=("--apply_chat_template",), is_flag=True, default=None, help="As of lm_eval."
    ),
)

reported = click.option(
    "--report-to",
    metavar="TRACKER",
    multiple=True,
    help="wandb, trackio or tensorboard: every point as it is finished, the curves, the report; may be repeated.",
)

several = _all(
    click.option(
        "--processes", type=int, metavar="N", help="Engines on this machine, for tiny models on CPUs; else 1."
    ),
    click.option("--ray", metavar="ADDRESS", help="Spread the points over a Ray cluster: auto, or its address."),
)


def chosen(given: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options that were given."""
    return {key: value for key, value in given.items() if value is not None and value != ()}


def page(folder: Path) -> Path:
    """Return the path of the report of a folder of results, written as `wise-merge report` does."""
    from wise_merge.report.pipeline import write_report

    write_report(folder, say=click.echo)
    return folder / "report.html"


def ended_by_sigterm(work: Callable[[], Any]) -> Any:
    """Return what comes of `work`, which SIGTERM ends as Ctrl-C does, so that engines end with it."""
    import signal
    import sys

    before = signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        return work()
    finally:
        signal.signal(signal.SIGTERM, before)
