"""Bias, variance and diversity of the points of a report: along a coordinate, along training, or model by model."""

import textwrap
from collections.abc import Sequence
from typing import Any

from wise_merge.figures.drawing import INK, add_legend, make_panels
from wise_merge.report.lines import Lines, Of, along_first, draw_lines
from wise_merge.report.looks import OVER_PROBLEMS, bars, colour_of, halfway, is_hollow, label_in_group, size_text
from wise_merge.report.numbers import PointNumbers, TaskNumbers


def along_axis(task: TaskNumbers, points: Sequence[PointNumbers]) -> Any:
    """Bias, variance and diversity at K along alpha, or along the first coordinate of a grid."""
    lines, levels = along_first(task, points)
    axes = {task.groups[point.group].axes[0] for point in points if point.place is not None}
    across = "alpha (0 = early, 1 = late)" if task.on_line else axes.pop() if len(axes) == 1 else "first coordinate"
    return _lines(task, points, lines, across, levels)


def along_training(task: TaskNumbers, points: Sequence[PointNumbers]) -> Any:
    """Bias, variance and diversity at K along training, of the checkpoints themselves and of their averages halfway."""
    name = "early, then late (alpha 1)" if task.on_line else "checkpoints"
    lines: list[tuple[str, list[tuple[float, PointNumbers]]]] = [(name, along_steps(task, points))]
    for alpha in halfway(points):
        steps = [(task.groups[point.group].checkpoints[-1].step, point) for point in points if point.alpha == alpha]
        lines.append((f"average at alpha {alpha:g}", [(step, point) for step, point in steps if step is not None]))
    return _lines(task, points, lines, "step of training")


def _quantities(task: TaskNumbers, points: Sequence[PointNumbers]) -> list[tuple[str, Of]]:
    """Return titles and what they stand for, of what is known of any point."""
    quantities: list[tuple[str, Of]] = [
        (r"bias, $E[1 - \rho]$", lambda point: point.bias),
        (r"variance, $\mathrm{Var}(\rho)$", lambda point: point.variance),
        (f"answer diversity at k = {task.k}", lambda point: point.at("answer diversity", task.k)),
        (f"operation diversity at k = {task.k}", lambda point: point.at("operation diversity", task.k)),
    ]
    return [(title, of) for title, of in quantities if any(of(point) is not None for point in points)]


def _lines(
    task: TaskNumbers,
    points: Sequence[PointNumbers],
    lines: Lines,
    across: str,
    levels: Sequence[PointNumbers] = (),
) -> Any:
    known = _quantities(task, points)
    figure, panels = make_panels(len(known), across=2)
    for panel, (title, of) in zip(panels, known, strict=True):
        draw_lines(panel, lines, of, levels)
        panel.set_title(title)
        panel.set_xlabel(across)
    add_legend(figure, panels, f"{size_text(task, points)}; bands: {OVER_PROBLEMS}")
    return figure


def by_model(task: TaskNumbers, points: Sequence[PointNumbers]) -> Any:
    """Bias, variance and diversity at K of models without an order: a mark each, and no line between them."""
    known = _quantities(task, points)
    figure, panels = make_panels(len(known), across=2, height=2.6 + 0.3 * max(0, len(points) - 3))
    names = [label_in_group(task, point) for point in points]
    for panel, (title, of) in zip(panels, known, strict=True):
        for height, point in enumerate(points):
            one = of(point)
            if one is not None:
                face = {"markerfacecolor": "white"} if is_hollow(point) else {}
                panel.errorbar(one.value, height, xerr=bars([one]), fmt="o", color=colour_of(point), **face)
        panel.set_yticks(range(len(names)), names)
        # The first model is at the top.
        panel.set_ylim(len(names) - 0.5, -0.5)
        panel.set_title(title)
        panel.label_outer()
        panel.tick_params(labelbottom=True)
    title = f"T {points[0].temperature:g}; {size_text(task, points)}; bars: {OVER_PROBLEMS}"
    figure.supxlabel(textwrap.fill(title, int(figure.get_figwidth() / 0.08)), fontsize=9, color=INK)
    return figure


def along_steps(task: TaskNumbers, points: Sequence[PointNumbers]) -> list[tuple[float, PointNumbers]]:
    """Return the points that are checkpoints themselves by their step, where it is known; none of several runs.

    Of several late checkpoints early is one point; checkpoints without an order that share a step are of several runs.
    """
    places: dict[float, PointNumbers] = {}
    for point in points:
        step = None if point.unmerged is None else task.groups[point.group].checkpoints[point.unmerged].step
        if step is not None and places.setdefault(step, point).label != point.label and not task.on_line:
            return []
    return sorted(places.items(), key=lambda place: place[0])
