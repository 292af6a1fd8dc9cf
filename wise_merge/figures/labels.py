"""Labels beside marks so that none lies on another, nor on a mark: each goes where there is room, the nearest first.

Matplotlib places a text where it is told, whatever is there. The boxes of the texts are measured in the finished
layout, so labels come last.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from wise_merge.figures.drawing import INK

#: Directions in which a label is tried, in turns: right and above first, where people look for it.
_DIRECTIONS = (1, 7, 3, 5, 2, 0, 6, 4, 1.5, 0.5, 2.5, 3.5, 7.5, 6.5, 5.5, 4.5)
#: How far from its mark a label may be, in points, nearest first.
_DISTANCES = (5.0, 9.0, 14.0, 20.0, 28.0, 38.0, 50.0, 64.0, 80.0)
#: From this distance on a thin line leads from the label to its mark.
_LED = 12.0
#: Half the size of a mark and of a ring, in points, and the room that is kept around a text.
_MARK, _RING, _ROOM = 3.5, 7.5, 1.0


@dataclass(frozen=True)
class Label:
    """A text for the mark at (x, y), in the coordinates of its panel.

    `needed` is False for one that is left out rather than led to its mark by a line, or written across a path.
    """

    text: str
    x: float
    y: float
    colour: str = INK
    needed: bool = True


@dataclass(frozen=True)
class _Box:
    left: float
    bottom: float
    right: float
    top: float

    def meets(self, other: "_Box") -> bool:
        return (
            self.left < other.right and other.left < self.right and self.bottom < other.top and other.bottom < self.top
        )

    def within(self, other: "_Box") -> bool:
        return (
            other.left <= self.left
            and self.right <= other.right
            and other.bottom <= self.bottom
            and self.top <= other.top
        )


def place_labels(
    figure: Any,
    panel: Any,
    labels: Sequence[Label],
    *,
    marks: Sequence[tuple[float, float]],
    rings: Sequence[tuple[float, float]] = (),
    paths: Sequence[Sequence[tuple[float, float]]] = (),
    fontsize: float = 8.5,
) -> list[Any]:
    """Return the labels that have been written; one for which there is no room is left out.

    Args:
        figure: of the panel, with all else in it.
        panel: where the labels belong.
        labels: the most important first.
        marks: on which no label lies.
        rings: around marks, likewise.
        paths: lines between marks, on which labels lie only where there is no room elsewhere.
        fontsize: of the labels, in points.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    figure.draw_without_rendering()
    renderer, scale = FigureCanvasAgg(figure).get_renderer(), figure.dpi / 72
    frame = _Box(*panel.get_window_extent(renderer).extents)
    taken = [
        _around(panel.transData.transform(place), half * scale)
        for places, half in ((marks, _MARK), (rings, _RING))
        for place in places
    ]
    taken += [_Box(*text.get_window_extent(renderer).extents) for text in panel.texts]
    lines = [panel.transData.transform(path) for path in paths if len(path) > 1]
    written = []
    for label in labels:
        text = _write(panel, label, fontsize)
        extent = text.get_window_extent(renderer)
        half = extent.width / 2 + _ROOM * scale, extent.height / 2 + _ROOM * scale
        at = panel.transData.transform((label.x, label.y))
        place = _free_place(at, half, scale, frame, taken, lines, needed=label.needed)
        if place is None:
            text.remove()
            continue
        x, y, distance = place
        taken.append(_Box(x - half[0], y - half[1], x + half[0], y + half[1]))
        text.set_position(((x - at[0]) / scale, (y - at[1]) / scale))
        if distance >= _LED:
            lines.append([at, (x, y)])
            _lead(panel, label, ((x - at[0]) / scale, (y - at[1]) / scale), extent, scale)
        written.append(text)
    return written


def _write(panel: Any, label: Label, fontsize: float) -> Any:
    """Return a label that has been written, its middle on its mark for the time being."""
    text = panel.annotate(
        label.text,
        (label.x, label.y),
        xytext=(0, 0),
        textcoords="offset points",
        ha="center",
        va="center",
        fontsize=fontsize,
        color=label.colour,
    )
    # It must not move what it was measured in.
    text.set_in_layout(False)
    return text


def _free_place(
    at: Sequence[float],
    half: tuple[float, float],
    scale: float,
    frame: _Box,
    taken: Sequence[_Box],
    lines: Sequence[Any],
    *,
    needed: bool,
) -> tuple[float, float, float] | None:
    """Return the middle of the nearest free place for a text and its distance; rather one that no path crosses."""
    crossed = None
    for x, y, distance in _places(at, half, scale):
        box = _Box(x - half[0], y - half[1], x + half[0], y + half[1])
        if not box.within(frame) or any(box.meets(other) for other in taken) or not (needed or distance < _LED):
            continue
        if not any(_crosses(line, box) for line in lines):
            return x, y, distance
        crossed = crossed or (x, y, distance)
    return crossed if needed else None


def _places(at: Sequence[float], half: tuple[float, float], scale: float) -> Iterator[tuple[float, float, float]]:
    """Yield middles of a text around a mark, in pixels, and how far its edge is from there, in points."""
    for distance in _DISTANCES:
        for direction in _DIRECTIONS:
            cos, sin = math.cos(direction * math.pi / 4), math.sin(direction * math.pi / 4)
            x = at[0] + cos * distance * scale + _side(cos) * half[0]
            y = at[1] + sin * distance * scale + _side(sin) * half[1]
            yield x, y, distance


def _side(part: float) -> float:
    """Return to which side of its mark a text goes, 0 = it is centred there."""
    return 0.0 if abs(part) < 0.3 else math.copysign(1.0, part)


def _crosses(line: Any, box: _Box) -> bool:
    from matplotlib.path import Path
    from matplotlib.transforms import Bbox

    return bool(Path(line).intersects_bbox(Bbox.from_extents(box.left, box.bottom, box.right, box.top), filled=False))


def _around(middle: Any, half: float) -> _Box:
    x, y = middle
    return _Box(x - half, y - half, x + half, y + half)


def _lead(panel: Any, label: Label, offset: tuple[float, float], extent: Any, scale: float) -> None:
    """Draw a thin line from the edge of a text to its mark."""
    width, height = extent.width / 2 / scale, extent.height / 2 / scale
    # Where the line from the middle of the text to the mark leaves the text.
    share = max(abs(offset[0]) / width, abs(offset[1]) / height)
    end = (offset[0] * (1 - 1 / share), offset[1] * (1 - 1 / share))
    line = panel.annotate(
        "",
        (label.x, label.y),
        xytext=end,
        textcoords="offset points",
        arrowprops={"arrowstyle": "-", "color": INK, "linewidth": 0.5, "shrinkA": 0, "shrinkB": _MARK},
    )
    line.set_in_layout(False)
