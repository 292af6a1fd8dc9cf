"""The figures of a report for papers, as PNG and SVG, from the numbers that the page shows, too."""

import math
import re
import textwrap
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

from wise_merge.figures.drawing import COLOURS, DASHES, INK, MARKERS, add_legend, drawing_style, look, make_panels, save
from wise_merge.report.numbers import Figure, Numbers, PointNumbers, TaskNumbers

#: From early to late: the dark four fifths of `plasma`, told apart by colour-blind readers and in grey, too.
ALPHA_COLOURS = ("#0d0887", "#6a00a8", "#b12a90", "#e16462", "#f89540")
#: With more paths than this, each late checkpoint has a panel of its own.
_PATHS = 4
#: With more curves than this, only some have bands.
_BANDS = 5
_LINE = 1.6  # points
_OVER_PROBLEMS = "95 % interval over problems"


def draw(numbers: Numbers, directory: Path) -> list[Path]:
    """Return the paths of the pictures, drawn into the directory; of several tasks each has its name in front.

    `plane`: Pass@1 against Pass@K; `curves`: Pass@k against k; `along-alpha` (for methods without an alpha,
    `by-model`) and `along-training`: bias, variance and diversity; `histogram`: problems by share of correct samples.
    All but the plane are drawn for each temperature. What needs two samples per problem is left out where there is
    one.
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
        yield "plane", _plane(task) if task.on_line else _plane_of_models(task)
    temperatures = sorted({point.temperature for point in task.points})
    for temperature in temperatures:
        points = [point for point in task.points if point.temperature == temperature]
        after = f"-T-{temperature:g}" if len(temperatures) > 1 else ""
        if max(point.n for point in points) > 1:
            yield f"curves{after}", _curves(task, points)
        if task.on_line and len({point.alpha for point in points}) > 1:
            yield f"along-alpha{after}", _along_alpha(task, points)
        if not task.on_line and len(points) > 1:
            yield f"by-model{after}", _by_model(task, points)
        if len(_training(task, points)) > 1:
            yield f"along-training{after}", _along_training(task, points)
        yield f"histogram{after}", _histograms(task, points)


def _paths(points: Sequence[PointNumbers]) -> list[list[PointNumbers]]:
    """Return the points of each group and temperature, in order."""
    return [list(some) for _, some in groupby(points, key=lambda point: (point.group, point.temperature))]


def _plane(task: TaskNumbers) -> Any:
    """Pass@1 against Pass@K along alpha: a line for each group and temperature."""
    shown = _paths([point for point in task.points if point.n >= task.k])
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
            settings = look(temperatures.index(path[0].temperature) if several else place, _LINE)
            label = f"T {path[0].temperature:g}" if several else _path_label(task, path)
            _mark(panel, task, path, settings, label)
            # A point that several paths share is named once.
            _name_marks(panel, task, [point for point in path if point.run not in named], all_of=len(shown) == 1)
            named |= {point.run for point in path}
        panel.set_title(task.groups[groups[number]].label if several else "")
    _finish_plane(task, figure, panels, "alpha from early (hollow) to late")
    return figure


def _plane_of_models(task: TaskNumbers) -> Any:
    """Pass@1 against Pass@K of models without an order: a mark for each model and temperature, named by the legend."""
    figure, (panel,) = make_panels(1, width=5.6, height=4.4)
    temperatures = sorted({point.temperature for point in task.points})
    for point in task.points:
        if point.n >= task.k:
            # Colours tell models apart, as in the other figures, and marks temperatures.
            marker = MARKERS[temperatures.index(point.temperature) % len(MARKERS)]
            settings = {**look(0, _LINE), "color": _colour(point), "marker": marker, "linestyle": "none"}
            temperature = f", T {point.temperature:g}" if len(temperatures) > 1 else ""
            _mark(panel, task, [point], settings, _in_group(task, point) + temperature)
    at = f", T {temperatures[0]:g}" if len(temperatures) == 1 else ""
    _finish_plane(task, figure, [panel], f"checkpoints (hollow) and what is merged from them{at}")
    return figure


def _finish_plane(task: TaskNumbers, figure: Any, panels: Sequence[Any], marks: str) -> None:
    for panel in panels:
        panel.set_xlabel("Pass@1")
        panel.set_ylabel(f"Pass@{task.k:,}")
        panel.label_outer()
        panel.margins(0.12)
    short = sum(point.n < task.k for point in task.points)
    left_out = f"; points with n < {task.k:,}, left out: {short}" if short else ""
    add_legend(figure, panels, f"{marks}; {_size(task)}{left_out}; bars: {_OVER_PROBLEMS}")


def _mark(panel: Any, task: TaskNumbers, path: Sequence[PointNumbers], settings: Mapping[str, Any], label: str) -> None:
    """Draw points into the plane with their intervals, hollow where `_hollow` says so."""
    across, up = ([_at(point, "pass@k", k) for point in path] for k in (1, task.k))
    x, y = [one.value for one in across], [one.value for one in up]
    ecolor = settings["color"]
    panel.errorbar(x, y, xerr=_bars(across), yerr=_bars(up), ecolor=ecolor, elinewidth=0.8, alpha=0.35, fmt="none")
    # As in the page.
    hollow = {"markerfacecolor": "white"} if _hollow(path[0]) else {}
    if task.on_line:
        panel.plot(x, y, label=label, **settings)
        if hollow:
            panel.plot(x[:1], y[:1], **{**settings, **hollow, "linestyle": "none"})
    else:
        panel.plot(x, y, label=label, **settings, **hollow)


def _hollow(point: PointNumbers) -> bool:
    """Return whether the plane shows a point without filling: early on a line, every checkpoint elsewhere."""
    return point.unmerged is not None if point.alpha is None else point.alpha == 0


def _name_marks(panel: Any, task: TaskNumbers, points: Sequence[PointNumbers], *, all_of: bool) -> None:
    """Write beside the ends of a path, or all of its points, what they are."""
    for point in points:
        if point.unmerged is not None or all_of:
            # Away from the path, which usually leaves early to the right and reaches late from the upper right.
            offset = (-10, 7) if point.alpha == 0 else (-22, -12) if point.alpha == 1 else (6, 5)
            place = _at(point, "pass@k", 1).value, _at(point, "pass@k", task.k).value
            panel.annotate(point.mark, place, xytext=offset, textcoords="offset points", fontsize=8.5, color=INK)


def _curves(task: TaskNumbers, points: Sequence[PointNumbers]) -> Any:
    shown = _paths(points)
    longest = max(point.n for point in points)
    figure, panels = make_panels(len(shown), sharey=True)
    banded = _banded(points)
    for panel, path in zip(panels, shown, strict=True):
        for point in path:
            line = point.line("pass@k")
            if line is None:
                continue
            colour = _colour(point)
            if point.label in banded and None not in line.low + line.high:
                panel.fill_between(line.k, line.low, line.high, color=colour, alpha=0.1, linewidth=0)
            marker = "o" if len(line.k) == 1 else ""
            dashes = DASHES[1] if _hollow(point) else "-"
            panel.plot(
                line.k, line.value, color=colour, linewidth=1.6, linestyle=dashes, marker=marker, label=point.label
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
    add_legend(figure, panels, f"{_size(task, points)}; bands: {_OVER_PROBLEMS}{of}")
    return figure


def _banded(points: Sequence[PointNumbers]) -> dict[str, str]:
    """Return the labels of the points whose curves have bands, with what the legend says of them, in order.

    Of many curves, these are those of the ends and of one between, or those of the merges.
    """
    models = {point.label: point for point in sorted(points, key=lambda point: point.variant)}
    if len(models) > _BANDS:
        halfway = _halfway(points)
        models = {
            label: point
            for label, point in models.items()
            if (point.unmerged is None if point.alpha is None else point.alpha in (0, *halfway, 1))
        }
    return {label: label if point.alpha is None else f"{point.alpha:g}" for label, point in models.items()}


#: Labels and places of the points of a line.
_Places = Sequence[tuple[float, PointNumbers]]


def _along_alpha(task: TaskNumbers, points: Sequence[PointNumbers]) -> Any:
    """Bias, variance and diversity at K along alpha, for each pair of early and late."""
    lines: list[tuple[str, _Places]] = [
        (
            task.groups[path[0].group].label,
            [(point.alpha, point) for point in path if point.alpha is not None],
        )
        for path in _paths(points)
    ]
    return _lines(task, points, lines, "alpha (0 = early, 1 = late)")


def _along_training(task: TaskNumbers, points: Sequence[PointNumbers]) -> Any:
    """Bias, variance and diversity at K along training, of the checkpoints themselves and of their averages halfway."""
    name = "early, then late (alpha 1)" if task.on_line else "checkpoints"
    lines: list[tuple[str, _Places]] = [(name, _training(task, points))]
    for alpha in _halfway(points):
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
        (f"answer diversity at k = {task.k}", lambda point: _at_or_none(point, "answer diversity", task.k)),
        (f"operation diversity at k = {task.k}", lambda point: _at_or_none(point, "operation diversity", task.k)),
    ]
    return [(title, of) for title, of in quantities if any(of(point) is not None for point in points)]


def _lines(task: TaskNumbers, points: Sequence[PointNumbers], lines: Sequence[tuple[str, _Places]], across: str) -> Any:
    known = _quantities(task, points)
    figure, panels = make_panels(len(known), across=2)
    for panel, (title, of) in zip(panels, known, strict=True):
        for style, (label, places) in enumerate(lines):
            found = [(x, one) for x, point in places if (one := of(point)) is not None]
            x, y = [x for x, _ in found], [one.value for _, one in found]
            panel.plot(x, y, label=label, **look(style, _LINE))
            if all(one.low is not None for _, one in found):
                low, high = [one.low for _, one in found], [one.high for _, one in found]
                panel.fill_between(x, low, high, color=COLOURS[style % len(COLOURS)], alpha=0.13, linewidth=0)
        panel.set_title(title)
        panel.set_xlabel(across)
    add_legend(figure, panels, f"{_size(task, points)}; bands: {_OVER_PROBLEMS}")
    return figure


def _by_model(task: TaskNumbers, points: Sequence[PointNumbers]) -> Any:
    """Bias, variance and diversity at K of models without an order: a mark each, and no line between them."""
    known = _quantities(task, points)
    figure, panels = make_panels(len(known), across=2, height=2.6 + 0.3 * max(0, len(points) - 3))
    names = [_in_group(task, point) for point in points]
    for panel, (title, of) in zip(panels, known, strict=True):
        for height, point in enumerate(points):
            one = of(point)
            if one is not None:
                face = {"markerfacecolor": "white"} if _hollow(point) else {}
                panel.errorbar(one.value, height, xerr=_bars([one]), fmt="o", color=_colour(point), **face)
        panel.set_yticks(range(len(names)), names)
        # The first model is at the top.
        panel.set_ylim(len(names) - 0.5, -0.5)
        panel.set_title(title)
        panel.label_outer()
        panel.tick_params(labelbottom=True)
    title = f"T {points[0].temperature:g}; {_size(task, points)}; bars: {_OVER_PROBLEMS}"
    figure.supxlabel(textwrap.fill(title, int(figure.get_figwidth() / 0.08)), fontsize=9, color=INK)
    return figure


def _halfway(points: Sequence[PointNumbers]) -> list[float]:
    """Return the alpha next to 0.5, if there is one between the ends."""
    alphas = {point.alpha for point in points if point.alpha is not None}
    return sorted(alphas - {0, 1}, key=lambda alpha: (abs(alpha - 0.5), alpha))[:1]


def _training(task: TaskNumbers, points: Sequence[PointNumbers]) -> list[tuple[float, PointNumbers]]:
    """Return the points that are checkpoints themselves by their step, where it is known."""
    places: dict[float, PointNumbers] = {}
    for point in points:
        step = None if point.unmerged is None else task.groups[point.group].checkpoints[point.unmerged].step
        if step is not None:
            places.setdefault(step, point)
    return sorted(places.items(), key=lambda place: place[0])


def _histograms(task: TaskNumbers, points: Sequence[PointNumbers]) -> Any:
    path = [point for point in points if point.group == max(point.group for point in points)]
    figure, panels = make_panels(len(path), sharey=True, width=3.4, height=2.9)
    bins = len(path[0].histogram)
    for panel, point in zip(panels, path, strict=True):
        lefts = [index / bins for index in range(bins)]
        colour = _colour(point)
        panel.bar(lefts, point.histogram, width=1 / bins, align="edge", color=colour, edgecolor="white", linewidth=1)
        panel.set_xlim(0, 1)
        # 0 and 1 without decimals, so that the labels of neighbouring panels do not touch.
        panel.set_xticks([0, 0.2, 0.4, 0.6, 0.8, 1], ["0", "0.2", "0.4", "0.6", "0.8", "1"])
        panel.set_title(f"{point.label}, n = {_n(point)}")
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
    temperature = f"T {path[0].temperature:g}"
    if not task.on_line and len(task.groups) == 1:
        return temperature
    return f"{task.groups[path[0].group].label}, {temperature}"


def _in_group(task: TaskNumbers, point: PointNumbers) -> str:
    """Return the label of a point, with that of its group where there are several."""
    return point.label if len(task.groups) == 1 else f"{task.groups[point.group].label}: {point.label}"


def _colour(point: PointNumbers) -> Any:
    """Return the colour of a point by its alpha, else by its place among the models of its group."""
    from matplotlib.colors import LinearSegmentedColormap

    if point.alpha is None:
        return COLOURS[point.variant % len(COLOURS)]
    return LinearSegmentedColormap.from_list("alpha", ALPHA_COLOURS)(point.alpha)
