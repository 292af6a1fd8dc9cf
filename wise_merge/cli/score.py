"""The command `score`."""

from pathlib import Path
from typing import Any

import click

from wise_merge.cli import options
from wise_merge.cli.command import command, option


@command("score")
@click.argument("files", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("-k", "ks", metavar="K,...", help="At which k to report, such as 1,8,64; else 1, 2, 4, ... and n.")
@click.option("--benchmark", metavar="NAME", help="gsm8k, math, aime, countdown or sudoku; else told by the file.")
@click.option(
    "--verdicts",
    type=click.Choice(["own", "file"]),
    default="own",
    show_default=True,
    help="Judge the answers, or take the verdicts that stand in the file.",
)
@click.option(
    "--filter",
    "filter_name",
    metavar="NAME",
    help="Of lm-eval's samples with several filters, read the rows of this one.",
)
@click.option(
    "--field",
    "fields",
    multiple=True,
    metavar="ROLE=COLUMN",
    help="Which column holds id, problem, gold, completions, answers, labels or scores, where the name does not "
    "tell; a dot leads into an object, as in gold=doc.answer. `scores=` means none.",
)
@click.option(
    "--steps",
    type=click.Choice(["last", "min", "product"]),
    help="Where scores are lists, one number per step: take this of each list.",
)
@click.option(
    "--scorer", "scorers", multiple=True, metavar="NAME", help="Rank the completions by this too; see docs/scorers.md."
)
@click.option("--embeddings", metavar="NAME", help="Semantic diversity by these embeddings; `wording` is offline.")
@options.device("For --scorer and --embeddings: ")
@options.batch_size
@options.trust_remote_code
@options.json_file
@click.option(
    "--csv", "csv_file", metavar="FILE", type=click.Path(path_type=Path), help="Write every point of every curve there."
)
@option(
    "--figures",
    metavar="DIR",
    type=click.Path(path_type=Path),
    former=("--plots",),
    help="Draw them as PNG and SVG there.",
)
@click.option(
    "--pool",
    is_flag=True,
    help="Put all rows of one id together, of all files: samples of one model, such as other seeds.",
)
@click.option("--min-n", metavar="N", type=click.IntRange(1), help="Leave out problems with fewer samples.")
@click.option("--common", is_flag=True, help="Compare files on the problems that both have.")
@click.option(
    "--skip-bad",
    is_flag=True,
    help="Leave out samples without a completion, and end with exit code 0 although rows were rejected.",
)
@options.seed("Of bootstrap and permutations.")
def score(
    files: tuple[Path, ...],
    ks: str | None,
    verdicts: str,
    json_file: Path | None,
    csv_file: Path | None,
    figures: Path | None,
    **settings: Any,
) -> None:
    """Compute Pass@k, Maj@k, Best@k and more from files of samples.

    FILES are what `lm_eval --log_samples` wrote (files or folders), or JSON
    Lines with one row per problem or per sample: an id, the gold answer and the
    completions, optionally scores and verdicts. Several files are set side by
    side, and each is compared with the first on the same problems.
    """
    from wise_merge.score.pipeline import ScoreSettings, parse_k, score_files

    k = None if ks is None else parse_k(ks)
    chosen = ScoreSettings(k=k, file_verdicts=verdicts == "file", **settings)
    if not score_files(files, chosen, json=json_file, csv=csv_file, figures=figures, say=click.echo):
        raise SystemExit(1)
