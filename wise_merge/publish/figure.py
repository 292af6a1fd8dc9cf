"""The picture of the card: Pass@k of early, late and the model itself, one panel per task."""

from wise_merge.figures.drawing import COLOURS, DASHES, MARKERS, drawing_style, encoded, make_panels
from wise_merge.publish.entries import of_role, problems_text
from wise_merge.publish.evidence import SHOWN, Evidence
from wise_merge.results.names import middle_cut
from wise_merge.results.summary import LEVEL

_LONGEST = 38


def draw(evidence: Evidence) -> bytes:
    """Return the picture as PNG; the same figures give the same bytes."""
    with drawing_style():
        # A task on which the model was not sampled at this temperature has no curve of it to show.
        tasks = [task for task in evidence.tasks if of_role(task, evidence.temperature, "this model") is not None]
        figure, panels = make_panels(len(tasks), width=6.4, height=4.4, across=2)
        for panel, task in zip(panels, tasks, strict=True):
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
            panel.set_title(middle_cut(task.task, _LONGEST))
            panel.set_xlabel(f"k (samples at temperature {evidence.temperature:g})")
            panel.set_ylabel(f"Pass@k, mean over {problems_text(rows)} problems")
            panel.legend(frameon=False, title=f"bands: {LEVEL:.0%} interval", loc="best")
        return encoded(figure, "png")
