"""Bias, variance and diversity of the points of a report: along alpha, along training, or model by model."""

import textwrap
from collections.abc import Callable, Sequence
from typing import Any

from wise_merge.figures.drawing import COLOURS, INK, add_legend, look, make_panels
from wise_merge.report.looks import (
    LINE,
    OVER_PROBLEMS,
    bars,
    colour_of,
    halfway,
    is_hollow,
    label_in_group,
    paths_of,
    size_text,
)
from wise_merge.report.numbers import Figure, PointNumbers, TaskNumbers

#: Labels and places of the points of a line.
_Places = Sequence[tuple[float, PointNumbers]]


def along_alpha(task: TaskNumbers, points: Sequence[PointNumbers]) -> Any:
    """Bias, variance and diversity at K along alpha, for each pair of early and late."""
    lines: list[tuple[str, _Places]] = [
        (
            task.groups[path[0].group].label,
            [(point.alpha, point) for point in path if point.alpha is not None],
        )
        for path in paths_of(points)
    ]
    return _lines(task, points, lines, "alpha (0 = early, 1 = late)")


def along_training(task: TaskNumbers, points: Sequence[PointNumbers]) -> Any:
    """Bias, variance and diversity at K along training, of the checkpoints themselves and of their averages halfway."""
    name = "early, then late (alpha 1)" if task.on_line else "checkpoints"
    lines: list[tuple[str, _Places]] = [(name, along_steps(task, points))]
    for alpha in halfway(points):
        steps = [(task.groups[point.group].checkpoints[-1].step, point) for point in points if point.alpha == alpha]
        lines.append((f"average at alpha {alpha:g}", [(step, point) for step, point in steps if step is not None]))
    return _lines(task, points, lines, "step of training")


def _quantities(
    task: TaskNumbers, points: Sequence[PointNumbers]
) -> list[tuple[str, Callable[[PointNumbers], Figure | None]]]:
    """Return titles and what they stand for, of what is known of any point."""
    quantities: list[tuple[str, Callable[[PointNumbers], Figure | None]]] = [
        (r"bias, $E[1 - \rho]$", lambda point: point.bias),
        (r"variance, $\mathrm{Var}(\rho)$", lambda point: point.variance),
        (f"answer diversity at k = {task.k}", lambda point: point.at("answer diversity", task.k)),
        (f"operation diversity at k = {task.k}", lambda point: point.at("operation diversity", task.k)),
    ]
    return [(title, of) for title, of in quantities if any(of(point) is not None for point in points)]


def _lines(task: TaskNumbers, points: Sequence[PointNumbers], lines: Sequence[tuple[str, _Places]], across: str) -> Any:
    known = _quantities(task, points)
    figure, panels = make_panels(len(known), across=2)
    for panel, (title, of) in zip(panels, known, strict=True):
        for style, (label, places) in enumerate(lines):
            marks = [(x, one) for x, point in places if (one := of(point)) is not None]
            x, y = [x for x, _ in marks], [one.value for _, one in marks]
            panel.plot(x, y, label=label, **look(style, LINE))
            if all(one.low is not None for _, one in marks):
                low, high = [one.low for _, one in marks], [one.high for _, one in marks]
                panel.fill_between(x, low, high, color=COLOURS[style % len(COLOURS)], alpha=0.13, linewidth=0)
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
    """Return the points that are checkpoints themselves by their step, where it is known."""
    places: dict[float, PointNumbers] = {}
    for point in points:
        step = None if point.unmerged is None else task.groups[point.group].checkpoints[point.unmerged].step
        if step is not None:
            places.setdefault(step, point)
    return sorted(places.items(), key=lambda place: place[0])
