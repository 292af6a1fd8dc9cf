"""How a greedy soup grew: its value after each step, and what it would have been with each checkpoint refused."""

import textwrap
from typing import Any

from wise_merge.figures.drawing import COLOURS, INK, add_legend, make_panels
from wise_merge.points.soup import Soup
from wise_merge.report.looks import LINE
from wise_merge.results.names import cut

#: Longest name below a step, in characters.
_LONGEST = 18


def soup_steps(soup: Soup) -> Any:
    """Return the picture of the steps."""
    steps = soup.steps
    figure, (panel,) = make_panels(1, width=min(12.0, max(5.0, 1.2 + 0.8 * len(steps))), height=3.8)
    grown = [step.value if step.kept or step.before is None else step.before for step in steps]
    panel.step(range(len(steps)), grown, where="post", color=INK, linewidth=LINE, label="the soup")
    for kept, label, marker, colour in ((True, "kept", "o", COLOURS[2]), (False, "refused", "x", COLOURS[1])):
        some = [(number, step.value) for number, step in enumerate(steps) if step.kept is kept]
        if some:
            panel.plot(*zip(*some, strict=True), marker, label=label, color=colour, markersize=7, markeredgewidth=1.8)
    names = cut([step.candidate for step in steps], _LONGEST)
    turned = {"rotation": 35, "ha": "right", "rotation_mode": "anchor"} if sum(map(len, names)) > 40 else {}
    panel.set_xticks(range(len(steps)), names, **turned)
    panel.set_xlim(-0.5, len(steps) - 0.5)
    panel.set_ylabel(textwrap.fill(f"{soup.objective}, selection half", 40))
    bounded = f" with {' and '.join(soup.constraints)}" if soup.constraints else ""
    add_legend(figure, [panel], f"greedy soup by {soup.objective}{bounded}; {soup.selection_problems:,} problems")
    return figure
