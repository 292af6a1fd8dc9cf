"""The figures of a report for papers, as PNG and SVG, from the numbers that the page shows, too."""

import math
import re
import textwrap
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from wise_merge.figures.drawing import DASHES, INK, add_legend, draw_histogram, drawing_style, make_panels, save
from wise_merge.report.coordinates import by_coordinates
from wise_merge.report.looks import (
    LINE,
    OVER_PROBLEMS,
    colour_of,
    halfway,
    is_hollow,
    n_text,
    path_label,
    paths_of,
    size_text,
)
from wise_merge.report.numbers import Numbers, PointNumbers, TaskNumbers
from wise_merge.report.plane import plane
from wise_merge.report.spread import along_axis, along_steps, along_training, by_model
from wise_merge.report.steps import soup_steps

#: With more curves than this, only some have bands.
_BANDS = 5


def draw(numbers: Numbers, directory: Path) -> list[Path]:
    """Return the paths of the pictures, drawn into the directory; of several tasks each has its name in front.

    `plane`: Pass@1 against Pass@K; `coordinates`: both by the coordinates of a grid; `curves`: Pass@k against k;
    `along-alpha` (`along-coordinate` of a grid, `by-model` where models have no order) and `along-training`: bias,
    variance and diversity; `histogram`: problems by share of correct samples. All but the plane are drawn for each
    temperature. What needs two samples per problem is left out where there is one. `soup`: the steps of a greedy soup.
    """
    paths = []
    with drawing_style():
        for task in numbers.tasks:
            before = f"{re.sub(r'[^A-Za-z0-9_.+-]+', '_', task.name)}-" if len(numbers.tasks) > 1 else ""
            paths += save(((f"{before}{name}", figure) for name, figure in _pictures(task)), directory)
        if numbers.soup is not None:
            paths += save([("soup", soup_steps(numbers.soup))], directory)
    return paths


def _pictures(task: TaskNumbers) -> Iterator[tuple[str, Any]]:
    """Yield the name of each picture and the picture."""
    if task.k > 1:
        yield "plane", plane(task)
    temperatures = sorted({point.temperature for point in task.points})
    for temperature in temperatures:
        points = [point for point in task.points if point.temperature == temperature]
        after = f"-T-{temperature:g}" if len(temperatures) > 1 else ""
        if max(point.n for point in points) > 1:
            yield f"curves{after}", _curves(task, points)
        if task.on_line and len({point.alpha for point in points}) > 1:
            yield f"along-alpha{after}", along_axis(task, points)
        elif not task.on_line and any(point.place is not None for point in points):
            yield from _of_grids(task, points, after)
            yield f"along-coordinate{after}", along_axis(task, points)
        elif not task.on_line and len(points) > 1:
            yield f"by-model{after}", by_model(task, points)
        if len(along_steps(task, points)) > 1:
            yield f"along-training{after}", along_training(task, points)
        yield f"histogram{after}", _histograms(task, points)


def _of_grids(task: TaskNumbers, points: Sequence[PointNumbers], after: str) -> Iterator[tuple[str, Any]]:
    """Yield a picture of the coordinates of each group that has some."""
    groups = sorted({point.group for point in points if point.place is not None})
    for group in groups:
        which = f"-{group + 1}" if len(groups) > 1 else ""
        yield f"coordinates{which}{after}", by_coordinates(task, [point for point in points if point.group == group])


def _curves(task: TaskNumbers, points: Sequence[PointNumbers]) -> Any:
    shown = paths_of(points)
    longest = max(point.n for point in points)
    figure, panels = make_panels(len(shown), sharey=True)
    banded = _banded(points)
    for panel, path in zip(panels, shown, strict=True):
        for point in path:
            line = point.line("pass@k")
            if line is None:
                continue
            colour = colour_of(point)
            if point.label in banded and None not in line.low + line.high:
                panel.fill_between(line.k, line.low, line.high, color=colour, alpha=0.1, linewidth=0)
            marker = "o" if len(line.k) == 1 else ""
            dashes = DASHES[1] if is_hollow(point) else "-"
            panel.plot(
                line.k, line.value, color=colour, linewidth=LINE, linestyle=dashes, marker=marker, label=point.label
            )
        panel.set_title(task.groups[path[0].group].label if task.on_line or len(shown) > 1 else "")
        panel.set_xscale("log", base=2)
        ticks = [2**power for power in range(int(math.log2(longest)) + 1)]
        ticks = ticks[:: -(-len(ticks) // 7)]
        panel.set_xticks(ticks, [f"{k:,}" for k in ticks])
        panel.minorticks_off()
        panel.set_xlabel("k")
    panels[0].set_ylabel("Pass@k")
    of = ""
    if len({point.label for point in points}) > len(banded):
        of = f" for {'alpha ' if task.on_line else ''}{', '.join(banded.values())}"
    add_legend(figure, panels, f"{size_text(task, points)}; bands: {OVER_PROBLEMS}{of}")
    return figure


def _banded(points: Sequence[PointNumbers]) -> dict[str, str]:
    """Return the labels of the points whose curves have bands, with what the legend says of them, in order.

    Of many curves, these are those of the ends and of one between; of a grid those of the checkpoints and of what was
    chosen, and else those of the merges.
    """
    models = {point.label: point for point in sorted(points, key=lambda point: point.variant)}
    if len(models) > _BANDS:
        middle = halfway(points)
        grid = any(point.place is not None for point in points)
        models = {
            label: point
            for label, point in models.items()
            if (
                point.alpha in (0, *middle, 1)
                if point.alpha is not None
                else point.chosen or point.unmerged is not None
                if grid
                else point.unmerged is None
            )
        }
    return {label: label if point.alpha is None else f"{point.alpha:g}" for label, point in models.items()}


def _histograms(task: TaskNumbers, points: Sequence[PointNumbers]) -> Any:
    path = [point for point in points if point.group == max(point.group for point in points)]
    figure, panels = make_panels(len(path), sharey=True, width=3.4, height=2.9)
    for panel, point in zip(panels, path, strict=True):
        draw_histogram(panel, point.histogram, colour_of(point))
        panel.set_title(f"{point.label}, n = {n_text(point)}")
    panels[0].set_ylabel("problems")
    figure.supxlabel("share of samples that are correct", fontsize=10)
    title = f"{path_label(task, path)}; {size_text(task, path)}"
    figure.suptitle(textwrap.fill(title, int(figure.get_figwidth() / 0.09)), fontsize=10, color=INK)
    return figure
