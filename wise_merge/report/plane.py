"""The plane of a report: Pass@1 against Pass@K, along alpha or model by model."""

from collections.abc import Mapping, Sequence
from typing import Any

from wise_merge.figures.drawing import INK, MARKERS, add_legend, look, make_panels
from wise_merge.report.looks import (
    LINE,
    OVER_PROBLEMS,
    bars,
    colour_of,
    is_hollow,
    label_in_group,
    path_label,
    paths_of,
    size_text,
)
from wise_merge.report.numbers import Figure, PointNumbers, TaskNumbers

#: With more paths than this, each late checkpoint has a panel of its own.
_PATHS = 4


def plane(task: TaskNumbers) -> Any:
    """Return the picture: a line for each group and temperature, or a mark for each model where there is no line."""
    return _along_line(task) if task.on_line else _of_models(task)


def _along_line(task: TaskNumbers) -> Any:
    """Pass@1 against Pass@K along alpha: a line for each group and temperature."""
    shown = paths_of([point for point in task.points if point.n >= task.k])
    groups = sorted({path[0].group for path in shown})
    temperatures = sorted({path[0].temperature for path in shown})
    several = len(shown) > _PATHS
    figure, panels = make_panels(
        len(groups) if several else 1, width=4.2 if several else 5.6, height=4.4, sharex=True, sharey=True
    )
    for number, panel in enumerate(panels):
        paths = [path for path in shown if not several or path[0].group == groups[number]]
        named: set[str] = set()
        for place, path in enumerate(paths):
            settings = look(temperatures.index(path[0].temperature) if several else place, LINE)
            label = f"T {path[0].temperature:g}" if several else path_label(task, path)
            _mark(panel, task, path, settings, label)
            # A point that several paths share is named once.
            _name_marks(panel, task, [point for point in path if point.run not in named], all_of=len(shown) == 1)
            named |= {point.run for point in path}
        panel.set_title(task.groups[groups[number]].label if several else "")
    _finish(task, figure, panels, "alpha from early (hollow) to late")
    return figure


def _of_models(task: TaskNumbers) -> Any:
    """Pass@1 against Pass@K of models without an order: a mark for each model and temperature, named by the legend."""
    figure, (panel,) = make_panels(1, width=5.6, height=4.4)
    temperatures = sorted({point.temperature for point in task.points})
    for point in task.points:
        if point.n >= task.k:
            # Colours tell models apart, as in the other figures, and marks temperatures.
            marker = MARKERS[temperatures.index(point.temperature) % len(MARKERS)]
            settings = {**look(0, LINE), "color": colour_of(point), "marker": marker, "linestyle": "none"}
            temperature = f", T {point.temperature:g}" if len(temperatures) > 1 else ""
            _mark(panel, task, [point], settings, label_in_group(task, point) + temperature)
    only = f", T {temperatures[0]:g}" if len(temperatures) == 1 else ""
    _finish(task, figure, [panel], f"checkpoints (hollow) and what is merged from them{only}")
    return figure


def _finish(task: TaskNumbers, figure: Any, panels: Sequence[Any], marks: str) -> None:
    for panel in panels:
        panel.set_xlabel("Pass@1")
        panel.set_ylabel(f"Pass@{task.k:,}")
        panel.label_outer()
        panel.margins(0.12)
    short = sum(point.n < task.k for point in task.points)
    left_out = f"; points with n < {task.k:,}, left out: {short}" if short else ""
    add_legend(figure, panels, f"{marks}; {size_text(task)}{left_out}; bars: {OVER_PROBLEMS}")


def _mark(panel: Any, task: TaskNumbers, path: Sequence[PointNumbers], settings: Mapping[str, Any], label: str) -> None:
    """Draw points into the plane with their intervals, hollow where `is_hollow` says so."""
    across, up = ([_pass_at(point, k) for point in path] for k in (1, task.k))
    x, y = [one.value for one in across], [one.value for one in up]
    ecolor = settings["color"]
    panel.errorbar(x, y, xerr=bars(across), yerr=bars(up), ecolor=ecolor, elinewidth=0.8, alpha=0.35, fmt="none")
    # As in the page.
    hollow = {"markerfacecolor": "white"} if is_hollow(path[0]) else {}
    if task.on_line:
        panel.plot(x, y, label=label, **settings)
        if hollow:
            panel.plot(x[:1], y[:1], **{**settings, **hollow, "linestyle": "none"})
    else:
        panel.plot(x, y, label=label, **settings, **hollow)


def _name_marks(panel: Any, task: TaskNumbers, points: Sequence[PointNumbers], *, all_of: bool) -> None:
    """Write beside the ends of a path, or all of its points, what they are."""
    for point in points:
        if point.unmerged is not None or all_of:
            # Away from the path, which usually leaves early to the right and reaches late from the upper right.
            offset = (-10, 7) if point.alpha == 0 else (-22, -12) if point.alpha == 1 else (6, 5)
            place = _pass_at(point, 1).value, _pass_at(point, task.k).value
            panel.annotate(point.mark, place, xytext=offset, textcoords="offset points", fontsize=8.5, color=INK)


def _pass_at(point: PointNumbers, k: int) -> Figure:
    figure = point.at("pass@k", k)
    assert figure is not None
    return figure
