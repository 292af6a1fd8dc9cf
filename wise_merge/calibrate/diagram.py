"""The reliability diagram: how often the likeliest token came, against how likely it was said to be."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from wise_merge.calibrate.result import Calibrated, Quality
from wise_merge.errors import WiseMergeError
from wise_merge.estimators.calibration import BINS
from wise_merge.figures.drawing import COLOURS, INK, drawing_style, encoded, frame, mark_shares
from wise_merge.results.names import cut
from wise_merge.results.whole_file import write_whole

SUFFIXES = (".png", ".svg", ".pdf")
#: Bins with fewer tokens are drawn as marks and not connected, as they are mostly noise.
_FEW = 20
_BEFORE: dict[str, Any] = {
    "color": "#777777",
    "marker": "s",
    "markerfacecolor": "white",
    "linewidth": 1.2,
    "linestyle": (0, (5, 1.5)),
}
_AFTER: dict[str, Any] = {"marker": "o", "linewidth": 1.6}
_LONGEST = 40


def check_suffix(path: Path) -> None:
    """Raise `WiseMergeError` unless the file's name says how to draw."""
    if path.suffix.lower() not in SUFFIXES:
        raise WiseMergeError(f"a picture must end in {', '.join(SUFFIXES)}; got {path.name}")


def draw(calibrated: Sequence[Calibrated], path: Path) -> None:
    """Draw a panel per checkpoint, before and after its temperature, over the share of tokens in each bin."""
    check_suffix(path)
    with drawing_style():
        write_whole(path, encoded(_figure(calibrated), path.suffix.lower()[1:]))


def _figure(calibrated: Sequence[Calibrated]) -> Any:
    # The object interface: no global state of pyplot, and no display is looked for.
    from matplotlib.figure import Figure

    figure = Figure(figsize=(4.3 * len(calibrated), 5.6), layout="constrained")
    panels = figure.subplots(2, len(calibrated), sharex=True, sharey="row", squeeze=False, height_ratios=[3.2, 1])
    names = cut([one.name for one in calibrated], _LONGEST)
    for (upper, lower), one, name, colour in zip(panels.T, calibrated, names, COLOURS, strict=False):
        upper.plot([0, 1], [0, 1], color=INK, linewidth=1, linestyle=":")
        _curve(upper, one.before, f"as it is, ECE {one.before.error:.4f}", _BEFORE)
        _curve(
            upper, one.after, f"T = {one.fit.temperature:.3f}, ECE {one.after.error:.4f}", {**_AFTER, "color": colour}
        )
        # Above the panel: within it, every corner may hold data. The title keeps the room for it; the layout would take
        # its width from the panel.
        upper.legend(
            frameon=False, fontsize=9, loc="lower center", bbox_to_anchor=(0.5, 0.99), ncols=2, columnspacing=1.2
        ).set_in_layout(False)
        upper.set_title(f"{one.role}: {name}", fontsize=10, pad=24)
        lower.stairs(*_shares(one.after), color=colour, fill=True, alpha=0.35)
        lower.stairs(*_shares(one.after), color=colour, linewidth=1.2)
        lower.stairs(*_shares(one.before), color=_BEFORE["color"], linestyle=_BEFORE["linestyle"], linewidth=1.2)
        lower.set_xlabel("confidence: probability of the likeliest token")
    for panel in panels.ravel():
        frame(panel)
        mark_shares(panel)
    panels[0, 0].set(xlim=(0, 1), ylim=(0, 1), ylabel="accuracy: how often that token came")
    panels[1, 0].set(ylabel="share of tokens", yscale="log")
    panels[1, 0].yaxis.set_major_formatter(lambda share, _: f"{100 * share:g} %")
    figure.supxlabel(f"bars: 95 % interval over sequences; pale: fewer than {_FEW} tokens", fontsize=9, color=INK)
    return figure


def _curve(panel: Any, quality: Quality, label: str, look: dict[str, Any]) -> None:
    """Draw the bins with their intervals; a line leads through those that hold more than a few tokens."""
    for few in (True, False):
        bins = [one for one in quality.bins if (one.tokens < _FEW) == few]
        accuracies = [one.accuracy for one in bins]
        # None where all tokens are of one sequence, and nothing beyond 0 or 1.
        errors = [0.0 if math.isnan(one.standard_error) else 1.96 * one.standard_error for one in bins]
        panel.errorbar(
            [one.confidence for one in bins],
            accuracies,
            yerr=[
                [min(error, accuracy) for error, accuracy in zip(errors, accuracies, strict=True)],
                [min(error, 1 - accuracy) for error, accuracy in zip(errors, accuracies, strict=True)],
            ],
            **{**look, **({"linestyle": "none", "alpha": 0.3} if few else {"label": label})},
            markersize=4.5,
            elinewidth=0.9,
            capsize=1.8,
            # Nothing at all, not clipped, is infinitely large for the layout.
            clip_on=not bins,
        )


def _shares(quality: Quality) -> tuple[list[float], list[float]]:
    """Return the share of the tokens in each bin, empty ones too, and the edges of the bins."""
    total = sum(one.tokens for one in quality.bins)
    shares = [0.0] * BINS
    for one in quality.bins:
        shares[round(one.low * BINS)] = one.tokens / total
    return shares, [number / BINS for number in range(BINS + 1)]
