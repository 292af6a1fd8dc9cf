"""Lines of figures against a number, such as alpha or a step, as several pictures of a report have them."""

from collections.abc import Callable, Sequence
from typing import Any

from wise_merge.figures.drawing import COLOURS, look
from wise_merge.report.looks import CHOSEN, LINE, is_model, line_name, lines_of
from wise_merge.report.numbers import Figure, PointNumbers, TaskNumbers

#: What is drawn of a point, None where it is unknown.
Of = Callable[[PointNumbers], Figure | None]
#: Labels of lines, and where their points lie.
Lines = Sequence[tuple[str, Sequence[tuple[float, PointNumbers]]]]


def along_first(task: TaskNumbers, points: Sequence[PointNumbers]) -> tuple[Lines, Sequence[PointNumbers]]:
    """Return the lines along the first coordinate of points of one temperature, and the points that lie on none."""
    lines = lines_of(points)
    joined = [
        (line_name(task, line) or "merged", [(point.place[0], point) for point in line if point.place is not None])
        for line in lines
        if not is_model(line)
    ]
    return joined, [point for line in lines if is_model(line) for point in line]


def draw_lines(panel: Any, lines: Lines, of: Of, levels: Sequence[PointNumbers] = ()) -> None:
    """Draw lines with a band where all intervals are known, what lies on none as dotted levels, and what was chosen."""
    for style, (label, places) in enumerate(lines):
        marks = [(x, one) for x, point in places if (one := of(point)) is not None]
        x, y = [x for x, _ in marks], [one.value for _, one in marks]
        panel.plot(x, y, label=label, **look(style, LINE))
        if all(one.low is not None for _, one in marks):
            low, high = [one.low for _, one in marks], [one.high for _, one in marks]
            panel.fill_between(x, low, high, color=COLOURS[style % len(COLOURS)], alpha=0.13, linewidth=0)
    for style, point in enumerate(levels, len(lines)):
        if (level := of(point)) is not None:
            colour = COLOURS[style % len(COLOURS)]
            panel.axhline(level.value, label=point.label, color=colour, linestyle=":", linewidth=1.3)
    rings = [
        (x, one.value) for _, places in lines for x, point in places if point.chosen and (one := of(point)) is not None
    ]
    if rings:
        panel.plot(*zip(*rings, strict=True), **CHOSEN)
