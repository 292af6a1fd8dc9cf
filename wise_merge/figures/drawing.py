"""What all pictures share: their style, panels side by side, one legend below, and files equal from run to run."""

import io
import textwrap
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from wise_merge.results.whole_file import write_whole

# Okabe and Ito's palette without its yellow, which is too pale for lines on white. Colour-blind readers can
# distinguish its colours, and markers and dashes differ as well.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#E69F00", "#CC79A7", "#56B4E9", "#000000")
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
DASHES: tuple[Any, ...] = ("-", (0, (5, 1.5)), (0, (1.2, 1.2)), (0, (5, 1.5, 1.2, 1.5)), (0, (8, 2)))
INK = "#444444"
#: With more rows in its legend than this, a picture grows.
_ROWS = 4
#: Metadata by suffix, without dates, so that the same figures give the same file.
_FORMATS: dict[str, dict[str, Any]] = {
    "png": {"dpi": 180, "metadata": {"Software": None}},
    "svg": {"metadata": {"Date": None}},
    "pdf": {"metadata": {"CreationDate": None}},
}


def drawing_style() -> Any:
    """Return the context in which a picture is made and encoded."""
    from matplotlib import rc_context

    # Text in SVG and PDF is written as text, not as outlines.
    texts = {"svg.fonttype": "none", "svg.hashsalt": "wise-merge", "pdf.fonttype": 42}
    return rc_context({**texts, "font.size": 10, "axes.titlesize": 11})


def encoded(figure: Any, suffix: str) -> bytes:
    """Return a picture as the content of a file: `png`, `svg` or `pdf`."""
    drawn = io.BytesIO()
    figure.savefig(drawn, format=suffix, **_FORMATS[suffix])
    return drawn.getvalue()


def save(pictures: Iterable[tuple[str, Any]], directory: Path) -> list[Path]:
    """Return the paths of pictures, given by name, that have been written as PNG and SVG."""
    paths = []
    for name, figure in pictures:
        for suffix in ("png", "svg"):
            paths.append(directory / f"{name}.{suffix}")
            write_whole(paths[-1], encoded(figure, suffix))
    return paths


def make_panels(
    count: int,
    *,
    width: float = 4.2,
    height: float = 3.5,
    across: int = 3,
    sharex: bool = False,
    sharey: bool = False,
) -> tuple[Any, list[Any]]:
    """Return a figure and so many panels of it, each `width` x `height` inches, at most `across` in a row."""
    # Without pyplot, which has global state and looks for a display.
    from matplotlib.figure import Figure

    across = 2 if count == 4 else min(count, across)
    down = -(-count // across)
    figure = Figure(figsize=(width * across, height * down), layout="constrained")
    made = list(figure.subplots(down, across, squeeze=False, sharex=sharex, sharey=sharey).ravel())
    for panel in made[count:]:
        panel.remove()
    for panel in made[:count]:
        frame(panel)
    return figure, made[:count]


def look(style: int, linewidth: float) -> dict[str, Any]:
    """Return the settings of a line, unlike those of every other number from 0 to 48."""
    return {
        "color": COLOURS[style % len(COLOURS)],
        "linestyle": DASHES[style % len(DASHES)],
        # Shifted after each round, as the number of markers is that of colours.
        "marker": MARKERS[(style + style // len(MARKERS)) % len(MARKERS)],
        "markersize": 4.5,
        "linewidth": linewidth,
    }


def frame(panel: Any) -> None:
    """Give a panel its grid, and no more lines around it than its axes."""
    panel.grid(color="#dddddd", linewidth=0.6)
    panel.set_axisbelow(True)
    panel.spines[["top", "right"]].set_visible(False)


def draw_histogram(panel: Any, counts: Sequence[int], colour: Any) -> None:
    """Draw how many problems are in each of some equal bins from 0 to 1."""
    bins = len(counts)
    lefts = [index / bins for index in range(bins)]
    panel.bar(lefts, counts, width=1 / bins, align="edge", color=colour, edgecolor="white", linewidth=1)
    panel.set_xlim(0, 1)
    mark_shares(panel)


def mark_shares(panel: Any) -> None:
    """Give a panel the ticks of an axis from 0 to 1."""
    # 0 and 1 without decimals, so that the labels of neighbouring panels do not touch.
    panel.set_xticks([0, 0.2, 0.4, 0.6, 0.8, 1], ["0", "0.2", "0.4", "0.6", "0.8", "1"])


def add_legend(figure: Any, panels: Sequence[Any], title: str) -> None:
    """Put one legend for all panels below them, where no data is."""
    by_label: dict[str, Any] = {}
    for panel in panels:
        for handle, label in zip(*panel.get_legend_handles_labels(), strict=True):
            by_label.setdefault(label, handle)
    # About 0.07 inches per character at this size, and a handle before each text.
    columns = max(1, min(len(by_label), int(figure.get_figwidth() / (0.07 * max(map(len, by_label)) + 0.6))))
    # Many rows would leave the panels no room.
    rows = -(-len(by_label) // columns)
    figure.set_figheight(figure.get_figheight() + 0.2 * max(0, rows - _ROWS))
    title = textwrap.fill(title, int(figure.get_figwidth() / 0.08))
    # Matplotlib fills column by column, and people read row by row.
    labels = [label for column in range(columns) for label in list(by_label)[column::columns]]
    handles = [by_label[label] for label in labels]
    below = figure.legend(
        handles, labels, loc="outside lower center", ncols=columns, frameon=False, title=title, fontsize=9
    )
    below.get_title().set(fontsize=9, multialignment="center")
    below.get_title().set_color(INK)
