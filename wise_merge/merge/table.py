"""What a merge did, as a short table, and the warnings that follow from it."""

from collections.abc import Sequence

from wise_merge import text
from wise_merge.checkpoints.groups import group_of
from wise_merge.geometry.distances import Distance, Measured, Step
from wise_merge.merge.order import Order

#: A step of which rounding takes a larger share is warned of.
_MOST_LOST = 0.5


def by_group(measured: Measured) -> dict[str, tuple[Distance, list[Step]]]:
    """Return the sums of each group of modules, the largest group first, and of all tensors under "all"."""
    groups: dict[str, tuple[Distance, list[Step]]] = {}
    for name, distance in measured.distances.items():
        for group in (group_of(name), "all"):
            total, steps = groups.get(group, (Distance(), [Step()] * len(measured.steps)))
            groups[group] = (
                total + distance,
                [sums + one[name] for sums, one in zip(steps, measured.steps, strict=True)],
            )
    return dict(sorted(groups.items(), key=lambda item: (item[0] == "all", -item[1][0].elements)))


def table(measured: Measured, labels: Sequence[str]) -> str:
    """Return the table: per group how far the two lie apart, and per model what became of the step.

    One model is shown by groups, several by a line each. `labels` name the models, such as "alpha 0.5".
    """
    groups = by_group(measured)
    rows = [["", "parameters", "distance"]]
    alone = len(labels) == 1
    if alone:
        rows[0] += ["rounded back", "rounding error", "effective alpha"]
    for group, (distance, steps) in groups.items():
        row = [group, text.elements(distance.elements), f"{distance.relative:.2%}"]
        rows.append(row + (_step(distance, steps[0]) if alone else []))
    lines = text.table(rows, "<>")
    if not alone and "all" in groups:
        distance, steps = groups["all"]
        rows = [["", "rounded back", "rounding error", "effective alpha"]]
        rows += [[label, *_step(distance, step)] for label, step in zip(labels, steps, strict=True)]
        lines += ["", *text.table(rows, "<>")]
    return "\n".join(lines)


LEGEND = """distance: |late - early| / |early|
rounded back: of the elements that differ, those that the merge leaves as in early
rounding error: |merge - exact| / |exact - early|
effective alpha: where the merge lies on the line from early to late"""


OF_CHANGE = """distance: |merge - {first}| / |{first}|
unchanged: of all elements, those that are as in {first}"""


def change_table(measured: Measured) -> str:
    """Return a table of how far a merge lies from its first input, by groups of modules."""
    rows = [["", "parameters", "distance", "unchanged"]]
    for group, (distance, _) in by_group(measured).items():
        unchanged = 1 - distance.changed / distance.elements if distance.elements else 1.0
        rows.append([group, text.elements(distance.elements), f"{distance.relative:.2%}", f"{unchanged:.1%}"])
    return "\n".join(text.table(rows, "<>"))


def describe(order: Order, measured: Measured, dtype: str | None) -> None:
    """Say what has come of an order, and warn where most of a merge was lost to rounding.

    Args:
        order: see there.
        measured: of its models.
        dtype: of their weights.
    """
    if order.line is None:
        first = order.ingredients[0].names[0]
        order.say(f"\n{change_table(measured)}\n\n{OF_CHANGE.format(first=first)}\n")
        return
    order.say(f"\n{table(measured, order.labels)}\n\n{LEGEND}\n")
    for warning in warnings(measured, order.labels, dtype):
        order.warn(warning)


def warnings(measured: Measured, labels: Sequence[str], dtype: str | None) -> list[str]:
    """Return a sentence for each model whose step is mostly lost to the rounding of its dtype."""
    groups = by_group(measured)
    if "all" not in groups:
        return []
    distance, steps = groups["all"]
    if not distance.changed:
        return ["early and late are equal in every element, so the merge is both of them"]
    sentences = []
    for label, step in zip(labels, steps, strict=True):
        if not step.wanted_squared:
            continue
        back, error = step.rounded_back(distance), step.rounding_error
        if max(back, error) > _MOST_LOST:
            sentences.append(
                f"{label}: rounding to {dtype} leaves {back:.0%} of the changed elements as in early, with an error of "
                f"{error:.0%} of the step; write float32 with --out-dtype float32"
            )
    return sentences


def _step(distance: Distance, step: Step) -> list[str]:
    alpha = step.effective_alpha(distance)
    return [
        f"{step.rounded_back(distance):.1%}",
        f"{step.rounding_error:.1%}",
        "-" if alpha is None else f"{alpha:.4f}",
    ]
