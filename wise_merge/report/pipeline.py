"""The order of work of `wise-merge report`: read, compute, fetch the texts, write."""

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from wise_merge.errors import WiseMergeError
from wise_merge.points.best import read_best
from wise_merge.points.folder import read_results
from wise_merge.points.soup import read_soup
from wise_merge.report.computing import numbers_of
from wise_merge.report.figures import draw
from wise_merge.report.numbers import Numbers
from wise_merge.report.page import page
from wise_merge.report.texts import Texts, texts_of
from wise_merge.results.whole_file import write_whole
from wise_merge.text import bar, counted, size


def write_report(
    folder: Path,
    *,
    out: Path | None = None,
    figures: Path | None = None,
    k: int | None = None,
    tasks: Sequence[str] = (),
    samples: int = 4,
    say: Callable[[str], None] = print,
) -> None:
    """Write the report of a folder of results.

    Args:
        folder: of the results.
        out: the page; None = report.html in the folder.
        figures: folder for the same figures as PNG and SVG.
        k: K of the plane, see `numbers_of`.
        tasks: those to report; none = all.
        samples: of each problem and point whose text is in the page, at most.
        say: prints a line.
    """
    out = folder / "report.html" if out is None else out
    if out.is_dir():
        raise WiseMergeError(f"--out {out} is a folder; give a file to write")
    if figures is not None and figures.exists() and not figures.is_dir():
        raise WiseMergeError(f"--figures {figures} is a file; give a folder to draw into")
    results = read_results(folder)
    best, soup = read_best(folder), read_soup(folder)
    numbers = numbers_of(results, best=best, soup=soup, k=k, tasks=tasks, watch=partial(bar, what="points"))
    reported = [outcome for task in numbers.tasks for outcome in results.of_task(task.name)]
    texts = texts_of(reported, results.journal, samples, watch=partial(bar, what="journals"))
    content = page(numbers, texts)
    write_whole(out, content)
    say(f"{out}: {_contents(numbers, texts)}; {size(len(content))}")
    if figures is not None:
        for path in draw(numbers, figures):
            say(str(path))


def _contents(numbers: Numbers, texts: Texts) -> str:
    """Return in words what is in the page, and what is not."""
    points = sum(len(task.points) for task in numbers.tasks)
    missing = sum(len(task.missing) for task in numbers.tasks)
    parts = [counted(points, "point")]
    parts += [f"{missing:,} not sampled yet"] * bool(missing)
    if texts.asked:
        parts.append(
            f"the texts of {texts.samples} of the samples of each problem and point, {texts.shortened:,} shortened"
        )
    parts += [f"{texts.missing:,} texts are not in the journal"] * bool(texts.missing and texts.asked)
    return ", ".join(parts)
