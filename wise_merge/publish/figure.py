"""The picture of the card, a panel per task: Pass@k of early, late and this model, or Pass@k and Maj@k of this one."""

from wise_merge.figures.drawing import COLOURS, DASHES, MARKERS, drawing_style, encoded, make_panels
from wise_merge.publish.entries import problems_text
from wise_merge.publish.evidence import MODEL, SHOWN, Evidence, Row, TaskEvidence, place_of
from wise_merge.results.names import middle_cut
from wise_merge.results.summary import LEVEL, Curve

_LONGEST = 38
#: More bands than this hide each other.
_BANDS = 3


def draw(evidence: Evidence) -> bytes:
    """Return the picture as PNG; the same figures give the same bytes."""
    with drawing_style():
        # Only where this model has a curve: a task may be without samples of it, or have one of each problem.
        tasks = [(task, mine) for task in evidence.tasks if (mine := task.mine) and mine.summary.reported[-1] > 1]
        figure, panels = make_panels(len(tasks), width=6.4, height=4.4, across=2)
        for panel, (task, mine) in zip(panels, tasks, strict=True):
            curves = _curves(task, mine)
            for label, style, row, curve in curves:
                if row is mine or len(curves) <= _BANDS:
                    panel.fill_between(curve.k, curve.low, curve.high, color=COLOURS[style], alpha=0.15, linewidth=0)
                panel.plot(
                    curve.k,
                    curve.value,
                    label=label,
                    color=COLOURS[style],
                    linestyle=DASHES[style % len(DASHES)],
                    marker=MARKERS[style],
                    markevery=[curve.k.index(k) for k in row.summary.reported],
                    markersize=4.5,
                    linewidth=2.2 if row.role == MODEL else 1.5,
                )
            marks = sorted({k for row in task.first for k in row.summary.reported})
            panel.set_xscale("log", base=2)
            panel.set_xticks(marks, [str(k) for k in marks])
            panel.minorticks_off()
            panel.set_title(middle_cut(task.task, _LONGEST))
            known = "" if mine.temperature is None else f" at temperature {mine.temperature:g}"
            panel.set_xlabel(f"k (samples{known})")
            # Of several metrics, the legend tells which.
            what = "Pass@k, mean" if len(task.first) > 1 else "Mean"
            panel.set_ylabel(f"{what} over {problems_text(task.first)} problems")
            bands = "bands: " if len(curves) <= _BANDS else f"band of {MODEL}: "
            panel.legend(frameon=False, title=f"{bands}{LEVEL:.0%} interval", loc="best")
        return encoded(figure, "png")


def _curves(task: TaskEvidence, mine: Row) -> list[tuple[str, int, Row, Curve]]:
    """Return what is drawn of a task: label, number of its style, whose it is, and the curve.

    Where no other model stands beside this one, its vote has a curve too.
    """
    if len(task.first) > 1:
        wanted = [(row.role, _style(row.role), row, "pass@k") for row in task.first]
    else:
        # The vote in a style that no checkpoint has.
        styles = {"pass@k": SHOWN.index(MODEL), "maj@k": len(SHOWN)}
        wanted = [(name.capitalize(), style, mine, name) for name, style in styles.items()]
    found = [(label, style, row, row.summary.curve(name)) for label, style, row, name in wanted]
    return [(label, style, row, curve) for label, style, row, curve in found if curve is not None]


def _style(role: str) -> int:
    """Return the number of a role's style; no checkpoint has that of the model itself."""
    mine, place = SHOWN.index(MODEL), place_of(role)
    others = [style for style in range(len(COLOURS)) if style != mine]
    return place if place < len(SHOWN) else others[(place - 1) % len(others)]
