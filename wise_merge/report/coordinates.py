"""Pass@1 and Pass@K by the coordinates of a grid: along one of them, or as colours in the plane of two."""

import math
import textwrap
from collections.abc import Sequence
from typing import Any

from wise_merge.figures.drawing import INK, add_legend, make_panels
from wise_merge.report.lines import along_first, draw_lines
from wise_merge.report.looks import OVER_PROBLEMS, size_text
from wise_merge.report.numbers import PointNumbers, TaskNumbers

#: With more cells in a row than this, they have no room for their figures.
_WRITTEN = 9


def by_coordinates(task: TaskNumbers, points: Sequence[PointNumbers]) -> Any:
    """Return the picture of the points of one group and temperature, of which some lie along its axes."""
    return _plane(task, points) if len(task.groups[points[0].group].axes) == 2 else _along(task, points)


def _ks(task: TaskNumbers) -> list[int]:
    return sorted({1, task.k})


def _along(task: TaskNumbers, points: Sequence[PointNumbers]) -> Any:
    """Pass@1 and Pass@K along a coordinate."""
    lines, levels = along_first(task, points)
    figure, panels = make_panels(len(_ks(task)))
    for panel, k in zip(panels, _ks(task), strict=True):
        draw_lines(panel, lines, lambda point, k=k: point.at("pass@k", k), levels)  # type: ignore[misc]
        panel.set_title(f"Pass@{k:,}")
        panel.set_xlabel(task.groups[points[0].group].axes[0])
    add_legend(figure, panels, f"T {points[0].temperature:g}; {size_text(task, points)}; bands: {OVER_PROBLEMS}")
    return figure


def _plane(task: TaskNumbers, points: Sequence[PointNumbers]) -> Any:
    """Pass@1 and Pass@K as the colours of cells, with a frame around what was chosen."""
    places = [point.place for point in points if point.place is not None]
    across, up = ([*sorted({place[axis] for place in places})] for axis in (0, 1))
    width, height = 1.6 + 0.55 * max(4, len(across)), 1.4 + 0.42 * max(4, len(up))
    figure, panels = make_panels(len(_ks(task)), width=width, height=height)
    for panel, k in zip(panels, _ks(task), strict=True):
        cells = [[math.nan] * len(across) for _ in up]
        for point in points:
            one = point.at("pass@k", k)
            if point.place is not None and one is not None:
                cells[up.index(point.place[1])][across.index(point.place[0])] = one.value
        drawn = panel.pcolormesh(cells, cmap="viridis", edgecolors="white", linewidth=1.5)
        figure.colorbar(drawn, ax=panel, fraction=0.05)
        if len(across) <= _WRITTEN:
            _write(panel, cells, drawn)
        for point in points:
            if point.chosen and point.place is not None:
                _frame(panel, across.index(point.place[0]), up.index(point.place[1]))
        panel.grid(visible=False)
        panel.set_title(f"Pass@{k:,}")
        for axis, values in enumerate((across, up)):
            ticks = [place + 0.5 for place in range(len(values))], [f"{value:g}" for value in values]
            (panel.set_yticks if axis else panel.set_xticks)(*ticks)
            (panel.set_ylabel if axis else panel.set_xlabel)(task.groups[points[0].group].axes[axis])
    figure.supxlabel(textwrap.fill(_said(task, points), int(figure.get_figwidth() / 0.08)), fontsize=9, color=INK)
    return figure


def _write(panel: Any, cells: Sequence[Sequence[float]], drawn: Any) -> None:
    """Write the figure of each cell into it, dark on pale colours and pale on dark ones."""
    for up, row in enumerate(cells):
        for across, value in enumerate(row):
            if not math.isnan(value):
                red, green, blue, _ = drawn.to_rgba(value)
                colour = "black" if 0.3 * red + 0.6 * green + 0.1 * blue > 0.45 else "white"
                panel.text(across + 0.5, up + 0.5, f"{value:.3f}", ha="center", va="center", fontsize=8, color=colour)


def _frame(panel: Any, across: int, up: int) -> None:
    from matplotlib.patches import Rectangle

    panel.add_patch(
        Rectangle((across, up), 1, 1, fill=False, edgecolor="black", linewidth=2.2, clip_on=False, zorder=5)
    )


def _said(task: TaskNumbers, points: Sequence[PointNumbers]) -> str:
    """Return what the picture is of, what its frame is, and what lies beside its plane."""
    parts = [f"T {points[0].temperature:g}", size_text(task, points)]
    parts += ["frame: chosen"] * any(point.chosen for point in points)
    for point in points:
        if point.place is None:
            known = [one for k in _ks(task) if (one := point.at("pass@k", k)) is not None]
            parts.append(f"{point.label}: {' and '.join(f'{one.value:.3f}' for one in known)}")
    return "; ".join(parts)
