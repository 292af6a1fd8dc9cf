"""The figures of a report for papers, as PNG and SVG, from the numbers that the page shows, too."""

import math
import re
import textwrap
from collections.abc import Callable, Iterator, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

from wise_merge.figures.drawing import COLOURS, DASHES, INK, add_legend, drawing_style, look, make_panels, save
from wise_merge.report.numbers import Figure, Numbers, PointNumbers, TaskNumbers

#: From early to late: the dark four fifths of `plasma`, told apart by colour-blind readers and in grey, too.
ALPHA_COLOURS = ("#0d0887", "#6a00a8", "#b12a90", "#e16462", "#f89540")
#: So many paths fit in one plane; of more each late checkpoint has its own.
_PATHS = 4
#: And so many bands over each other.
_BANDS = 5
_ENDS: dict[float, str] = {0: "early", 1: "late"}
_LINE = 1.6  # points
_OVER_PROBLEMS = "95 % interval over problems"


def draw(numbers: Numbers, directory: Path) -> list[Path]:
    """Return the paths of the pictures, drawn into the directory; of several tasks each has its name in front.

    `plane`: Pass@1 against Pass@K along alpha; `curves`: Pass@k against k; `along-alpha` and `along-training`:
    bias, variance and diversity; `histogram`: problems by share of correct samples. All but the plane are drawn for
    each temperature. What needs two samples per problem is left out where there is one.
    """
    paths = []
    with drawing_style():
        for task in numbers.tasks:
            before = f"{re.sub(r'[^A-Za-z0-9_.+-]+', '_', task.name)}-" if len(numbers.tasks) > 1 else ""
            paths += save(((f"{before}{name}", figure) for name, figure in _pictures(task)), directory)
    return paths


def _pictures(task: TaskNumbers) -> Iterator[tuple[str, Any]]:
    """Yield the name of each picture and the picture."""
    if task.k > 1:
        yield "plane", _plane(task)
    temperatures = sorted({point.temperature for point in task.points})
    for temperature in temperatures:
        points = [point for point in task.points if point.temperature == temperature]
        after = f"-T-{temperature:g}" if len(temperatures) > 1 else ""
        if max(point.n for point in points) > 1:
            yield f"curves{after}", _curves(task, points)
        if len({point.alpha for point in points}) > 1:
            yield f"along-alpha{after}", _along(task, points, "alpha")
        if len(_training(task, points)) > 1:
            yield f"along-training{after}", _along(task, points, "step")
        yield f"histogram{after}", _histograms(task, points)


def _paths(points: Sequence[PointNumbers]) -> list[list[PointNumbers]]:
    """Return the points of each pair and temperature, by alpha."""
    return [list(some) for _, some in groupby(points, key=lambda point: (point.pair, point.temperature))]


def _plane(task: TaskNumbers) -> Any:
    shown = _paths([point for point in task.points if point.n >= task.k])
    pairs = sorted({path[0].pair for path in shown})
    several = len(shown) > _PATHS
    figure, panels = make_panels(
        len(pairs) if several else 1, width=4.2 if several else 5.6, height=4.4, sharex=True, sharey=True
    )
    for number, path in enumerate(shown):
        panel = panels[pairs.index(path[0].pair)] if several else panels[0]
        style = sorted({one[0].temperature for one in shown}).index(path[0].temperature) if several else number
        across, up = ([_at(point, "pass@k", k) for point in path] for k in (1, task.k))
        colour = COLOURS[style % len(COLOURS)]
        x, y = [one.value for one in across], [one.value for one in up]
        panel.errorbar(x, y, xerr=_bars(across), yerr=_bars(up), ecolor=colour, elinewidth=0.8, alpha=0.35, fmt="none")
        label = f"T {path[0].temperature:g}" if several else _path_label(task, path)
        panel.plot(x, y, label=label, **look(style, _LINE))
        if path[0].alpha == 0:
            # Hollow, as in the page.
            panel.plot(x[:1], y[:1], **{**look(style, _LINE), "markerfacecolor": "white", "linestyle": "none"})
        for point, *place in zip(path, x, y, strict=True):
            if point.alpha in (0, 1) or len(shown) == 1:
                name = _ENDS.get(point.alpha, f"{point.alpha:g}")
                # Where paths seldom are: they leave early to the right and reach late from the right and above.
                right, up_by = (-10, 7) if point.alpha == 0 else (-22, -12) if point.alpha == 1 else (6, 5)
                panel.annotate(name, place, xytext=(right, up_by), textcoords="offset points", fontsize=8.5, color=INK)
    for panel, pair in zip(panels, pairs if several else [None], strict=True):
        panel.set_title("" if pair is None else task.pairs[pair].label)
        panel.set_xlabel("Pass@1")
        panel.set_ylabel(f"Pass@{task.k:,}")
        panel.label_outer()
        panel.margins(0.12)
    short = sum(point.n < task.k for point in task.points)
    left_out = f"; points with n < {task.k:,}, left out: {short}" if short else ""
    add_legend(figure, panels, f"alpha from early (hollow) to late; {_size(task)}{left_out}; bars: {_OVER_PROBLEMS}")
    return figure


def _curves(task: TaskNumbers, points: Sequence[PointNumbers]) -> Any:
    shown = _paths(points)
    longest = max(point.n for point in points)
    figure, panels = make_panels(len(shown), sharey=True)
    alphas = sorted({point.alpha for point in points})
    # Of many curves, bands are those of the ends and of one between.
    banded = alphas if len(alphas) <= _BANDS else [0, *_halfway(points), 1]
    for panel, path in zip(panels, shown, strict=True):
        for point in path:
            line = point.line("pass@k")
            if line is None:
                continue
            colour = _alpha_colour(point.alpha)
            if point.alpha in banded and None not in line.low + line.high:
                panel.fill_between(line.k, line.low, line.high, color=colour, alpha=0.1, linewidth=0)
            marker = "o" if len(line.k) == 1 else ""
            dashes = DASHES[1] if point.alpha == 0 else "-"
            label = _alpha_label(point.alpha)
            panel.plot(line.k, line.value, color=colour, linewidth=1.6, linestyle=dashes, marker=marker, label=label)
        panel.set_title(task.pairs[path[0].pair].label)
        panel.set_xscale("log", base=2)
        ticks = [2**power for power in range(int(math.log2(longest)) + 1)]
        ticks = ticks[:: -(-len(ticks) // 7)]
        panel.set_xticks(ticks, [f"{k:,}" for k in ticks])
        panel.minorticks_off()
        panel.set_xlabel("k")
    panels[0].set_ylabel("Pass@k")
    of = "" if banded == alphas else f" for alpha {', '.join(f'{alpha:g}' for alpha in banded)}"
    add_legend(figure, panels, f"{_size(task, points)}; bands: {_OVER_PROBLEMS}{of}")
    return figure


def _along(task: TaskNumbers, points: Sequence[PointNumbers], what: str) -> Any:
    """Bias, variance and diversity at K, along alpha for each pair, or along training at alpha = 1."""
    quantities: list[tuple[str, Callable[[PointNumbers], Figure | None]]] = [
        (r"bias, $E[1 - \rho]$", lambda point: point.bias),
        (r"variance, $\mathrm{Var}(\rho)$", lambda point: point.variance),
        (f"answer diversity at k = {task.k}", lambda point: _at_or_none(point, "answer diversity", task.k)),
        (f"operation diversity at k = {task.k}", lambda point: _at_or_none(point, "operation diversity", task.k)),
    ]
    known = [(title, of) for title, of in quantities if any(of(point) is not None for point in points)]
    figure, panels = make_panels(len(known), across=2)
    lines: list[tuple[str, list[tuple[float, PointNumbers]]]]
    if what == "alpha":
        lines = [(task.pairs[path[0].pair].label, [(point.alpha, point) for point in path]) for path in _paths(points)]
    else:
        lines = [("early, then late (alpha 1)", _training(task, points))]
        for alpha in _halfway(points):
            steps = [(task.pairs[point.pair].late_step, point) for point in points if point.alpha == alpha]
            lines.append((f"average at alpha {alpha:g}", [(step, point) for step, point in steps if step is not None]))
    for panel, (title, of) in zip(panels, known, strict=True):
        for style, (label, places) in enumerate(lines):
            found = [(x, one) for x, point in places if (one := of(point)) is not None]
            x, y = [x for x, _ in found], [one.value for _, one in found]
            panel.plot(x, y, label=label, **look(style, _LINE))
            if all(one.low is not None for _, one in found):
                low, high = [one.low for _, one in found], [one.high for _, one in found]
                panel.fill_between(x, low, high, color=COLOURS[style % len(COLOURS)], alpha=0.13, linewidth=0)
        panel.set_title(title)
        panel.set_xlabel("alpha (0 = early, 1 = late)" if what == "alpha" else "step of training")
    add_legend(figure, panels, f"{_size(task, points)}; bands: {_OVER_PROBLEMS}")
    return figure


def _halfway(points: Sequence[PointNumbers]) -> list[float]:
    """Return the alpha next to 0.5, if there is one between the ends."""
    return sorted({point.alpha for point in points} - {0, 1}, key=lambda alpha: (abs(alpha - 0.5), alpha))[:1]


def _training(task: TaskNumbers, points: Sequence[PointNumbers]) -> list[tuple[float, PointNumbers]]:
    """Return the ends of the paths by their step, where it is known."""
    places: dict[float, PointNumbers] = {}
    for point in points:
        pair = task.pairs[point.pair]
        step = pair.early_step if point.alpha == 0 else pair.late_step if point.alpha == 1 else None
        if step is not None:
            places.setdefault(step, point)
    return sorted(places.items(), key=lambda place: place[0])


def _histograms(task: TaskNumbers, points: Sequence[PointNumbers]) -> Any:
    path = [point for point in points if point.pair == max(point.pair for point in points)]
    figure, panels = make_panels(len(path), sharey=True, width=3.4, height=2.9)
    bins = len(path[0].histogram)
    for panel, point in zip(panels, path, strict=True):
        lefts = [index / bins for index in range(bins)]
        colour = _alpha_colour(point.alpha)
        panel.bar(lefts, point.histogram, width=1 / bins, align="edge", color=colour, edgecolor="white", linewidth=1)
        panel.set_xlim(0, 1)
        # Short ends: those of neighbouring panels would touch.
        panel.set_xticks([0, 0.2, 0.4, 0.6, 0.8, 1], ["0", "0.2", "0.4", "0.6", "0.8", "1"])
        panel.set_title(f"{_alpha_label(point.alpha)}, n = {_n(point)}")
    panels[0].set_ylabel("problems")
    figure.supxlabel("share of samples that are correct", fontsize=10)
    title = f"{_path_label(task, path)}; {_size(task, path)}"
    figure.suptitle(textwrap.fill(title, int(figure.get_figwidth() / 0.09)), fontsize=10, color=INK)
    return figure


def _at(point: PointNumbers, name: str, k: int) -> Figure:
    found = _at_or_none(point, name, k)
    assert found is not None
    return found


def _at_or_none(point: PointNumbers, name: str, k: int) -> Figure | None:
    line = point.line(name)
    return None if line is None else line.at(k)


def _bars(figures: Sequence[Figure]) -> list[list[float]]:
    """Return how far the intervals reach below and above the values."""
    return [
        [0.0 if one.low is None else max(0.0, one.value - one.low) for one in figures],
        [0.0 if one.high is None else max(0.0, one.high - one.value) for one in figures],
    ]


def _size(task: TaskNumbers, points: Sequence[PointNumbers] | None = None) -> str:
    """Return the task, how many problems it has, and n."""
    some = task.points if points is None else points
    problems, n = (
        sorted({point.problems for point in some}),
        sorted({n for point in some for n in (point.n, point.n_high)}),
    )
    low, high = problems[0], problems[-1]
    of = f"{low:,} problem{'' if high == 1 else 's'}" if low == high else f"{low:,} to {high:,} problems"
    return f"{task.name}, {of}, n = {n[0]:,}" + (f" to {n[-1]:,}" if len(n) > 1 else "")


def _n(point: PointNumbers) -> str:
    return f"{point.n:,}" if point.n == point.n_high else f"{point.n:,} to {point.n_high:,}"


def _path_label(task: TaskNumbers, path: Sequence[PointNumbers]) -> str:
    return f"{task.pairs[path[0].pair].label}, T {path[0].temperature:g}"


def _alpha_label(alpha: float) -> str:
    return f"{_ENDS[alpha]} (alpha {alpha:g})" if alpha in _ENDS else f"alpha {alpha:g}"


def _alpha_colour(alpha: float) -> Any:
    from matplotlib.colors import LinearSegmentedColormap

    return LinearSegmentedColormap.from_list("alpha", ALPHA_COLOURS)(alpha)
