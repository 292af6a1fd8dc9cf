"""The order of work of `wise-merge score`: read, judge, compute, print, write."""

import dataclasses
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from wise_merge.errors import WiseMergeError
from wise_merge.results.export import Scored, write_csv, write_json
from wise_merge.results.metrics import Metric, check_k, metrics
from wise_merge.results.names import names
from wise_merge.results.reading.benchmark_choice import choose_benchmarks
from wise_merge.results.reading.columns import parse_fields
from wise_merge.results.reading.problem import Samples
from wise_merge.results.reading.rows import sample_files
from wise_merge.results.reading.samples import read_samples
from wise_merge.results.summary import summarize
from wise_merge.results.verdicts import judge
from wise_merge.score import table
from wise_merge.score.comparisons import compare_files, not_compared
from wise_merge.text import bar, counted, printable, shortened

#: Rejected rows that are shown one by one.
_SHOWN = 20


@dataclass(frozen=True)
class ScoreSettings:
    """What the command line says: see `wise-merge score --help`."""

    k: Sequence[int] | None = None
    benchmark: str | None = None
    file_verdicts: bool = False
    fields: Sequence[str] = ()
    scorers: Sequence[str] = ()
    embeddings: str | None = None
    device: str | None = None
    batch_size: int = 16
    trust_remote_code: bool = False
    steps: str | None = None
    filter_name: str | None = None
    pool: bool = False
    min_n: int | None = None
    common: bool = False
    skip_bad: bool = False
    seed: int = 0
    processes: int | None = None


def score_files(
    paths: Sequence[Path],
    settings: ScoreSettings,
    *,
    json: Path | None = None,
    csv: Path | None = None,
    figures: Path | None = None,
    say: Callable[[str], None] = print,
) -> bool:
    """Print and write the figures of all files; return whether every row could be used or was allowed not to be.

    Args:
        paths: files, or folders of lm-eval runs.
        settings: see there.
        json: file for facts and figures.
        csv: file for the figures.
        figures: folder for pictures.
        say: prints a part of the table.
    """
    files = [file for path in paths for file in sample_files(path)]
    _check_outputs(files, {"--json": json, "--csv": csv, "--figures": figures})
    scored: list[Scored] = []
    values: dict[str, list[Metric]] = {}
    named = list(zip(names(files), files, strict=True))
    chosen = _benchmarks(files, settings)
    for (name, path), choice in zip(named[:1] if settings.pool else named, chosen, strict=False):
        further = files[1:] if settings.pool else []
        name = f"{name} and {len(further)} more" if further else name
        one, file_metrics = _score(path, further, name, settings, *choice)
        say(("\n" if scored else "") + table.of_file(one))
        scored.append(one)
        values[name] = file_metrics
    if len(scored) > 1:
        say("\n" + table.overview(scored))
    comparisons, refused = compare_files(scored, values, common=settings.common, seed=settings.seed)
    for comparison in comparisons:
        say("\n" + table.of_comparison(comparison))
    apart = not_compared(scored)
    if apart:
        say("\n" + "\n".join(apart))
    if json is not None:
        write_json(json, scored, comparisons, seed=settings.seed)
    if csv is not None:
        write_csv(csv, scored)
    if figures is not None:
        from wise_merge.score.plots import draw

        draw([(one.name, one.summary) for one in scored], figures)
    rejected = sum(_report_rejected(one.samples, settings.skip_bad) for one in scored)
    if refused:
        # Raised last, as the figures of each file are right even if two files cannot be compared.
        raise WiseMergeError(refused)
    return not rejected or settings.skip_bad


def parse_k(text: str) -> list[int]:
    """Return the k of a list such as `1,8,64`."""
    if not re.fullmatch(r"\s*-?\d{1,9}\s*(,\s*-?\d{1,9}\s*)*", text):
        raise WiseMergeError(f"-k takes whole numbers with commas between, such as 1,8,64; got {shortened(text)}")
    return [int(k) for k in text.split(",")]


def _check_outputs(files: Sequence[Path], outputs: Mapping[str, Path | None]) -> None:
    """Refuse outputs that would destroy a file of samples or each other."""
    taken = {file.resolve(): "one of the files of samples" for file in files}
    for option, path in outputs.items():
        if path is None:
            continue
        if option == "--figures":
            if path.exists() and not path.is_dir():
                raise WiseMergeError(f"--figures {path} is a file; give a folder to draw into")
            continue
        if path.is_dir():
            raise WiseMergeError(f"{option} {path} is a folder; give a file to write")
        if path.resolve() in taken:
            raise WiseMergeError(f"{option} {path} is {taken[path.resolve()]}; give another file to write")
        taken[path.resolve()] = f"also the file of {option}"


def _benchmarks(files: Sequence[Path], settings: ScoreSettings) -> list[tuple[str | None, str]]:
    """Return by which benchmark each file is read, and why."""
    if settings.benchmark is not None:
        return [(settings.benchmark, "as asked")] * len(files)
    fields = parse_fields(settings.fields)
    return choose_benchmarks(
        files,
        fields=fields,
        file_verdicts=settings.file_verdicts,
        steps=settings.steps,
        filter_name=settings.filter_name,
    )


def _score(
    path: Path, more: Sequence[Path], name: str, settings: ScoreSettings, benchmark: str | None, why: str
) -> tuple[Scored, list[Metric]]:
    keep_texts = bool(settings.scorers or settings.embeddings)
    samples = read_samples(
        path,
        more=more,
        fields=parse_fields(settings.fields),
        benchmark=benchmark,
        why=why,
        file_verdicts=settings.file_verdicts,
        steps=settings.steps,
        filter_name=settings.filter_name,
        skip_bad=settings.skip_bad,
        pool=settings.pool,
        keep_texts=keep_texts,
        progress=True,
    )
    if settings.min_n is not None:
        samples = _with_enough(samples, settings.min_n)
    if keep_texts and not all(problem.completions for problem in samples.problems):
        raise WiseMergeError(f"{path} has no completions, which --scorer and --embeddings need")
    for scorer in settings.scorers:
        samples = _with_scores(samples, scorer, settings)
    verdicts = judge(samples, processes=settings.processes)
    try:
        reported = check_k(verdicts.problems, settings.k)
    except WiseMergeError as error:
        k, n = max(settings.k or [0]), [problem.n for problem in verdicts.problems]
        mend = f", or leave out problems with fewer samples by --min-n {k}" if min(n) < k <= max(n) else ""
        raise WiseMergeError(f"{path}: {error}{mend}") from error
    file_metrics, notes = metrics(verdicts.problems, reported, seed=settings.seed, watch=partial(bar, unit="problem"))
    if settings.embeddings and min(problem.n for problem in samples.problems) < 2:
        notes.append("no semantic diversity: a problem with one sample has no pair of completions")
    elif settings.embeddings:
        file_metrics.append(_semantic(samples, settings, reported[-1]))
    summary = summarize(verdicts.problems, file_metrics, reported, seed=settings.seed, notes=notes)
    # The texts are not needed any more, and are most of the memory of a large file.
    problems = tuple(dataclasses.replace(problem, completions=None) for problem in samples.problems)
    return Scored(name, dataclasses.replace(samples, problems=problems), verdicts, summary), file_metrics


def _with_enough(samples: Samples, fewest: int) -> Samples:
    """Return the samples without the problems that have fewer samples than `fewest`."""
    kept = tuple(problem for problem in samples.problems if problem.n >= fewest)
    if not kept:
        most = max(problem.n for problem in samples.problems)
        raise WiseMergeError(f"{samples.path}: --min-n {fewest} leaves no problem; the most samples of one are {most}")
    left_out = counted(len(samples.problems) - len(kept), "problem")
    note = f"{left_out} with fewer than {fewest} samples left out (--min-n)"
    return dataclasses.replace(samples, problems=kept, notes=(*samples.notes, note))


def _with_scores(samples: Samples, scorer: str, settings: ScoreSettings) -> Samples:
    """Return the samples with the scores of a scorer beside those of the file."""
    from wise_merge.verifiers import cache_path, score_samples

    if samples.columns["problem"] is None:
        raise WiseMergeError(
            f"{samples.path}: --scorer needs the text of each problem; name it with --field problem=COLUMN (lm-eval's "
            f"prompt is arguments.gen_args_0.arg_0); the columns are {', '.join(samples.columns.names)}"
        )
    with bar(total=len(samples.problems), what=scorer, unit="problem") as shown:
        scores = score_samples(
            scorer,
            ((problem.id, problem.statement, problem.completions or ()) for problem in samples.problems),
            cache=cache_path(samples.path, scorer),
            device=settings.device,
            batch_size=settings.batch_size,
            trust_remote_code=settings.trust_remote_code,
            progress=lambda done: shown.update(done - shown.n) and None,
        )
    return dataclasses.replace(
        samples,
        problems=tuple(
            dataclasses.replace(problem, scores={**problem.scores, scorer: tuple(scores[problem.id])})
            for problem in samples.problems
        ),
    )


def _semantic(samples: Samples, settings: ScoreSettings, k: int) -> Metric:
    from wise_merge.score.embeddings import semantic_diversity

    name = settings.embeddings or ""
    completions = (problem.completions or () for problem in samples.problems)
    values = semantic_diversity(name, completions, batch_size=settings.batch_size, device=settings.device)
    # A mean over pairs is the same for any k; it is shown at the largest.
    return Metric("semantic diversity", name, (k,), np.asarray(values, dtype=np.float64)[:, None])


def _report_rejected(samples: Samples, skip_bad: bool) -> int:
    """Say which rows could not be used; return how many."""
    for place, reason in samples.rejected[:_SHOWN]:
        print(printable(f"{samples.path}: {place}: {reason}"), file=sys.stderr)
    if len(samples.rejected) > _SHOWN:
        print(printable(f"{samples.path}: ... and {len(samples.rejected) - _SHOWN} more"), file=sys.stderr)
    if samples.rejected:
        rows = "1 row was" if len(samples.rejected) == 1 else f"{len(samples.rejected)} rows were"
        mend = "" if skip_bad else "; --skip-bad makes this exit code 0"
        print(printable(f"{samples.path}: {rows} rejected and the figures are without them{mend}"), file=sys.stderr)
    return len(samples.rejected)
