"""Pictures of the figures, as PNG and SVG; plots read results and compute nothing."""

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from wise_merge.figures.drawing import COLOURS, INK, add_legend, draw_histogram, drawing_style, look, make_panels, save
from wise_merge.results.names import cut, middle_cut
from wise_merge.results.summary import Curve, Summary

_CURVES = ("pass@k", "maj@k", "best@k")
_LONGEST = 38
_LINE = 1.8  # points

#: A file's name and its figures.
Named = tuple[str, Summary]
#: The same with the file's look, by which it is known in every picture.
_Styled = tuple[int, str, Summary]


def draw(files: Sequence[Named], directory: Path) -> list[Path]:
    """Return the paths of the pictures of some files, drawn into the directory.

    `curves`: Pass@k, Maj@k and Best@k against k; `plane`: Pass@1 against Pass@K; `histogram`: problems by
    their Pass@1; `reliability`: how often the vote is right by the share that won it. The last three are
    left out where there is but one sample per problem.
    """
    labels = cut([name for name, _ in files], _LONGEST)
    files = [(label, summary) for label, (_, summary) in zip(labels, files, strict=True)]
    several = [(style, *file) for style, file in enumerate(files) if file[1].n_low > 1]
    voted = [file for file in several if file[2].reliability]
    pictures: dict[str, Callable[[], Any]] = {"curves": lambda: _curves(files)}
    if several:
        pictures["plane"] = lambda: _plane(several)
        pictures["histogram"] = lambda: _histograms(several)
    if voted:
        pictures["reliability"] = lambda: _reliability(voted)
    with drawing_style():
        return save(((name, picture()) for name, picture in pictures.items()), directory)


def _curves(files: Sequence[Named]) -> Any:
    """One panel with every metric of a single file, or one panel per metric with every file."""
    drawn = [[curve for curve in summary.curves if curve.name in _CURVES] for _, summary in files]
    titles = {curve.title: _title(curve, "\n") for curves in drawn for curve in curves}
    longest = max((summary.reported for _, summary in files), key=max)
    # Where n differs between problems, the values from all samples are marks beside the curves.
    beyond = 2 * longest[-1]
    count = len(files) if len(files) > 1 else len(drawn[0])
    # Side by side, as bars would cover each other.
    places = [beyond * 2 ** (min(0.08, 0.5 / count) * (style - (count - 1) / 2)) for style in range(count)]
    if len(files) == 1:
        figure, (panel,) = make_panels(1, width=6.4, height=4.4)
        for style, curve in enumerate(drawn[0]):
            _curve(panel, curve, files[0][1].reported, style, _title(curve, " "), places[style])
        panel.set_title(files[0][0])
        panel.set_ylabel("mean over problems")
        panels = [panel]
    else:
        figure, panels = make_panels(len(titles), sharey=True, height=3.7)
        for panel, (whole, title) in zip(panels, titles.items(), strict=True):
            for style, ((name, summary), curves) in enumerate(zip(files, drawn, strict=True)):
                for curve in curves:
                    if curve.title == whole:
                        _curve(panel, curve, summary.reported, style, name, places[style])
            panel.set_title(title)
        panels[0].set_ylabel("mean over problems")
    differs = any(curve.of_all for curves in drawn for curve in curves)
    for panel in panels:
        _k_axis(panel, longest, beyond if differs else None)
    shown = "bands and bars" if differs else "bands"
    alone = all(summary.problems == 1 for _, summary in files)
    add_legend(figure, panels, "of one problem, no interval" if alone else f"{shown}: 95 % interval over problems")
    return figure


def _title(curve: Curve, between: str) -> str:
    if curve.scorer is None:
        return curve.name
    return f"{curve.name}{between}by {middle_cut(curve.scorer, _LONGEST)}"


def _curve(panel: Any, curve: Curve, reported: Sequence[int], style: int, label: str, of_all: float) -> None:
    """Draw a curve with its band and, if n differs between problems, at `of_all` the value from all samples."""
    colour = COLOURS[style % len(COLOURS)]
    known = not math.isnan(curve.standard_error[0])
    if known:
        panel.fill_between(curve.k, curve.low, curve.high, color=colour, alpha=0.15, linewidth=0)
    if known and len(curve.k) == 1:
        # A band of one k has no width.
        panel.vlines(curve.k, curve.low, curve.high, color=colour, linewidth=1.2)
    panel.plot(curve.k, curve.value, markevery=[k - 1 for k in reported], label=label, **look(style, _LINE))
    if curve.of_all is not None:
        panel.vlines(of_all, curve.of_all.low, curve.of_all.high, color=colour, linewidth=1.2)
        panel.plot(of_all, curve.of_all.value, **{**look(style, _LINE), "linestyle": "none"})


def _k_axis(panel: Any, reported: Sequence[int], beyond: float | None) -> None:
    """Give the k axis a logarithmic scale with at most seven labels, and `all` behind them if there is such a value."""
    panel.set_xscale("log", base=2)
    ticks = list(reported)
    # The label of a last n that is no power of two would overlap its neighbour's.
    ticks = [k for k in ticks if k == ticks[-1] or k * 1.5 <= ticks[-1]]
    ticks = ticks[:: -(-len(ticks) // 7)]
    named = [(k, f"{k:,}") for k in ticks] + ([] if beyond is None else [(beyond, "all")])
    panel.set_xticks(*zip(*named, strict=True))
    panel.minorticks_off()
    panel.set_xlabel("k")


def _plane(files: Sequence[_Styled]) -> Any:
    last = min(summary.n_low for *_, summary in files)
    figure, (panel,) = make_panels(1, width=5.6, height=4.6)
    for style, name, summary in files:
        curve = summary.curve("pass@k")
        assert curve is not None
        point = (curve.value[0], curve.value[last - 1])
        panel.errorbar(
            *point,
            xerr=_known(curve.standard_error[0]),
            yerr=_known(curve.standard_error[last - 1]),
            ecolor=COLOURS[style % len(COLOURS)],
            elinewidth=1.1,
            capsize=2.5,
            fmt="none",
        )
        # Drawn apart from the bars, so that the legend shows the mark alone.
        panel.plot(*point, label=name, **{**look(style, _LINE), "markersize": 7.5, "linestyle": "none"})
    panel.set_xlabel("Pass@1")
    panel.set_ylabel(f"Pass@{last:,}")
    panel.margins(0.15)
    alone = all(summary.problems == 1 for *_, summary in files)
    add_legend(figure, [panel], "of one problem, no error" if alone else "bars: one standard error over problems")
    return figure


def _known(error: float) -> float:
    return 0.0 if math.isnan(error) else error


def _histograms(files: Sequence[_Styled]) -> Any:
    figure, panels = make_panels(len(files), sharey=True, height=3.7)
    for panel, (style, name, summary) in zip(panels, files, strict=True):
        draw_histogram(panel, summary.histogram, COLOURS[style % len(COLOURS)])
        panel.set_xlabel("share of samples that are correct")
        panel.set_title(name)
    panels[0].set_ylabel("problems")
    return figure


def _reliability(files: Sequence[_Styled]) -> Any:
    figure, (panel,) = make_panels(1, width=5.6, height=4.9)
    panel.plot([0, 1], [0, 1], color=INK, linewidth=1, linestyle=":", label="share = accuracy")
    most = max(bin_.problems for *_, summary in files for bin_ in summary.reliability)
    for style, name, summary in files:
        shares = [bin_.share for bin_ in summary.reliability]
        accuracies = [bin_.accuracy for bin_ in summary.reliability]
        line = look(style, _LINE)
        panel.plot(shares, accuracies, **line, label=name)
        sizes = [20 + 180 * bin_.problems / most for bin_ in summary.reliability]
        panel.scatter(shares, accuracies, s=sizes, color=line["color"], marker=line["marker"], alpha=0.45, linewidths=0)
    panel.set_xlim(-0.03, 1.03)
    panel.set_ylim(-0.03, 1.03)
    panel.set_xlabel("share of the votes that the most frequent answer has")
    panel.set_ylabel("share of problems where it is correct")
    add_legend(figure, [panel], "larger marks: more problems")
    return figure
