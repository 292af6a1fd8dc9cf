"""The plane of a report: Pass@1 against Pass@K, along alpha or another coordinate, or model by model."""

from collections.abc import Mapping, Sequence
from typing import Any

from wise_merge.figures.drawing import MARKERS, add_legend, look, make_panels
from wise_merge.figures.labels import Label, place_labels
from wise_merge.report.looks import (
    CHOSEN,
    LINE,
    OVER_PROBLEMS,
    bars,
    colour_of,
    is_hollow,
    is_model,
    label_in_group,
    labelled,
    line_name,
    lines_of,
    path_label,
    size_text,
)
from wise_merge.report.numbers import Figure, PointNumbers, TaskNumbers

#: With more lines than this along alpha, each late checkpoint has a panel of its own.
_LINES = 4


def plane(task: TaskNumbers) -> Any:
    """Return the picture: a line for each group and temperature, or a mark for each model where there is no line."""
    shown = lines_of([point for point in task.points if point.n >= task.k])
    groups = sorted({line[0].group for line in shown})
    several = task.on_line and len(shown) > _LINES
    figure, panels = make_panels(
        len(groups) if several else 1, width=4.2 if several else 5.6, height=4.4, sharex=True, sharey=True
    )
    drawn = [[line for line in shown if not several or line[0].group == group] for group in groups[: len(panels)]]
    for panel, lines in zip(panels, drawn, strict=True):
        for place, line in enumerate(lines):
            _mark(panel, task, line, _settings(task, line, place, several=several), _label(task, line, several))
        _mark_chosen(panel, task, [point for line in lines for point in line])
        panel.set_title(task.groups[lines[0][0].group].label if several else "")
    _finish(task, figure, panels)
    for panel, lines in zip(panels, drawn, strict=True):
        points = [point for line in lines for point in line]
        place_labels(
            figure,
            panel,
            [Label(point.mark, *_place(task, point), needed=end) for point, end in labelled(lines)],
            marks=[_place(task, point) for point in points],
            rings=[_place(task, point) for point in points if point.chosen],
            paths=[[_place(task, point) for point in line] for line in lines],
        )
    return figure


def _settings(task: TaskNumbers, line: Sequence[PointNumbers], place: int, *, several: bool) -> dict[str, Any]:
    """Return how a line looks, or the mark of a model that is on none."""
    temperatures = sorted({point.temperature for point in task.points})
    temperature = temperatures.index(line[0].temperature)
    if is_model(line):
        # Colours tell models apart, as in the other figures, and marks temperatures.
        marker = MARKERS[temperature % len(MARKERS)]
        return {**look(0, LINE), "color": colour_of(line[0]), "marker": marker, "linestyle": "none"}
    return look(temperature if several else place, LINE)


def _label(task: TaskNumbers, line: Sequence[PointNumbers], several: bool) -> str:
    if several:
        return f"T {line[0].temperature:g}"
    several_temperatures = len({point.temperature for point in task.points}) > 1
    if not is_model(line):
        return path_label(task, line) if task.on_line or several_temperatures else line_name(task, line) or "merged"
    return label_in_group(task, line[0]) + (f", T {line[0].temperature:g}" if several_temperatures else "")


def _finish(task: TaskNumbers, figure: Any, panels: Sequence[Any]) -> None:
    for panel in panels:
        panel.set_xlabel("Pass@1")
        panel.set_ylabel(f"Pass@{task.k:,}")
        panel.label_outer()
        panel.margins(0.12)
    short = sum(point.n < task.k for point in task.points)
    left_out = f"; points with n < {task.k:,}, left out: {short}" if short else ""
    add_legend(figure, panels, f"{_marks(task)}; {size_text(task)}{left_out}; bars: {OVER_PROBLEMS}")


def _marks(task: TaskNumbers) -> str:
    """Return what marks and lines are."""
    if task.on_line:
        return "alpha from early (hollow) to late"
    temperatures = sorted({point.temperature for point in task.points})
    only = f", T {temperatures[0]:g}" if len(temperatures) == 1 else ""
    along = {group.axes[0] for group in task.groups if group.axes}
    lines = f", along {along.pop()}" if len(along) == 1 else ", along the first coordinate" if along else ""
    return f"checkpoints (hollow) and what is merged from them{lines}{only}"


def _mark(panel: Any, task: TaskNumbers, line: Sequence[PointNumbers], settings: Mapping[str, Any], label: str) -> None:
    """Draw points into the plane with their intervals, hollow where `is_hollow` says so."""
    across, up = ([_pass_at(point, k) for point in line] for k in (1, task.k))
    x, y = [one.value for one in across], [one.value for one in up]
    ecolor = settings["color"]
    panel.errorbar(x, y, xerr=bars(across), yerr=bars(up), ecolor=ecolor, elinewidth=0.8, alpha=0.35, fmt="none")
    # As in the page.
    hollow = [number for number, point in enumerate(line) if is_hollow(point)]
    panel.plot(x, y, label=label, **settings, **({"markerfacecolor": "white"} if len(hollow) == len(line) else {}))
    if hollow:
        empty = {**settings, "markerfacecolor": "white", "linestyle": "none"}
        panel.plot([x[number] for number in hollow], [y[number] for number in hollow], **empty)


def _mark_chosen(panel: Any, task: TaskNumbers, points: Sequence[PointNumbers]) -> None:
    """Draw a ring around what was chosen."""
    places = [_place(task, point) for point in points if point.chosen]
    if places:
        panel.plot(*zip(*places, strict=True), **CHOSEN)


def _place(task: TaskNumbers, point: PointNumbers) -> tuple[float, float]:
    return _pass_at(point, 1).value, _pass_at(point, task.k).value


def _pass_at(point: PointNumbers, k: int) -> Figure:
    figure = point.at("pass@k", k)
    assert figure is not None
    return figure
