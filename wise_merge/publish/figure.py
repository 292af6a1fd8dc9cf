"""The picture of the card: Pass@k of early, late and the model itself, one panel per task."""

import io
import math
from typing import Any

from wise_merge.plots import COLOURS, DASHES, MARKERS
from wise_merge.publish.entries import of_role, problems_text
from wise_merge.publish.evidence import SHOWN, Evidence
from wise_merge.results.names import middle_cut
from wise_merge.results.summary import LEVEL

_LONGEST = 38
_COLUMNS = 2


def draw(evidence: Evidence) -> bytes:
    """Return the picture as PNG; the same figures give the same bytes."""
    from matplotlib import rc_context
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    with rc_context({"font.size": 10, "axes.titlesize": 11}):
        # A task on which the model was not sampled at this temperature has no curve of it to show.
        tasks = [task for task in evidence.tasks if of_role(task, evidence.temperature, "this model") is not None]
        columns = min(len(tasks), _COLUMNS)
        lines = math.ceil(len(tasks) / columns)
        figure = Figure(figsize=(6.4 * columns, 4.4 * lines), layout="constrained")
        FigureCanvasAgg(figure)
        panels: list[Any] = list(figure.subplots(lines, columns, squeeze=False).flat)
        for panel in panels[len(tasks) :]:
            panel.remove()
        for panel, task in zip(panels, tasks, strict=False):
            for style, role in enumerate(SHOWN):
                row = of_role(task, evidence.temperature, role)
                curve = row.summary.curve("pass@k") if row is not None else None
                if row is None or curve is None:
                    continue
                panel.fill_between(curve.k, curve.low, curve.high, color=COLOURS[style], alpha=0.15, linewidth=0)
                panel.plot(
                    curve.k,
                    curve.value,
                    label=role,
                    color=COLOURS[style],
                    linestyle=DASHES[style],
                    marker=MARKERS[style],
                    markevery=[curve.k.index(k) for k in row.summary.reported],
                    markersize=4.5,
                    linewidth=2.2 if role == "this model" else 1.5,
                )
            rows = task.at(evidence.temperature)
            marks = sorted({k for row in rows for k in row.summary.reported})
            panel.set_xscale("log", base=2)
            panel.set_xticks(marks, [str(k) for k in marks])
            panel.minorticks_off()
            panel.grid(alpha=0.25)
            panel.spines[["top", "right"]].set_visible(False)
            panel.set_title(middle_cut(task.task, _LONGEST))
            panel.set_xlabel(f"k (samples at temperature {evidence.temperature:g})")
            panel.set_ylabel(f"Pass@k, mean over {problems_text(rows)} problems")
            panel.legend(frameon=False, title=f"bands: {LEVEL:.0%} interval", loc="best")
        drawn = io.BytesIO()
        figure.savefig(drawn, format="png", dpi=150, metadata={"Software": None})
    return drawn.getvalue()
