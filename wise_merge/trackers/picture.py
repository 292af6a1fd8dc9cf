"""Curves as a picture, for trackers that draw none against k themselves."""

from collections.abc import Sequence
from typing import Any

from wise_merge.trackers.contract import Curve

#: More curves than this have no legend, which nobody could read.
_NAMED = 20


def picture(title: str, curves: Sequence[Curve]) -> Any:
    """Return a matplotlib figure of the curves against k, without a window; intervals are bands, of a few curves."""
    from matplotlib.figure import Figure

    legend = len(curves) <= _NAMED
    # As wide as these trackers show it; the legend is below, a line for two curves.
    figure = Figure(figsize=(6.4, 4.4 + 0.1 * len(curves) * legend), layout="constrained")
    axes = figure.add_subplot()
    for number, curve in enumerate(curves):
        # matplotlib has ten colours.
        dashes, marker = ("-", "--", ":")[number // 10 % 3], "o" if len(curve.k) == 1 else ""
        (line,) = axes.plot(curve.k, curve.value, label=curve.label, linestyle=dashes, marker=marker)
        low, high = ([end for end in ends if end is not None] for ends in (curve.low, curve.high))
        if len(curves) <= _NAMED / 4 and len(low) == len(high) == len(curve.k):
            axes.fill_between(curve.k, low, high, color=line.get_color(), alpha=0.12, linewidth=0)
    axes.set(title=title, xlabel="k")
    axes.set_xscale("log", base=2)
    axes.xaxis.set_major_formatter("{x:g}")
    axes.grid(alpha=0.3)
    if legend:
        figure.legend(fontsize=8, loc="outside lower center", ncols=2)
    return figure
