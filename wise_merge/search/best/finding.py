"""The whole way from candidates to what is reported: choose, compare with the ends, check the constraints again."""

from collections.abc import Sequence

import numpy as np

from wise_merge.errors import WiseMergeError
from wise_merge.estimators.uncertainty import minimum_detectable_effect
from wise_merge.points import Point
from wise_merge.search.best.candidates import Candidates, listed, roles, title
from wise_merge.search.best.choice import ROUNDING, Choice, choose, halves, task_weights, wins
from wise_merge.search.best.confirmation import difference, estimate
from wise_merge.search.best.objective import Constraint, Objective
from wise_merge.search.best.result import UNMERGED, Checked, ConfirmedChoice, Reading, Rival

#: How often the choice is repeated on resampled problems.
RESAMPLES = 200


def find_best(
    candidates: Candidates,
    objective: Objective,
    constraints: Sequence[Constraint],
    *,
    seed: int,
    reference_temperature: float | None,
) -> ConfirmedChoice:
    """Return the best candidate, chosen on one half of the problems, with its figures on the other.

    Args:
        candidates: see there.
        objective: what is to be maximised.
        constraints: what must hold.
        seed: of the halves, and of every bootstrap and test.
        reference_temperature: at which early and late are bars; None only if no bar is an end.
    """
    selects = halves(candidates.problems, seed)
    values = candidates.value(objective)
    bars = [
        [_bar(candidates, number, constraint, reference_temperature) for number in range(len(candidates.points))]
        for constraint in constraints
    ]
    electable = _electable(candidates, constraints, bars, reference_temperature)
    margins = _margins(candidates, constraints, bars)
    tasks = candidates.tasks[selects]
    choice = choose(values[:, selects], margins[:, :, selects], task_weights(tasks), electable)
    shown = choice.nearest if choice.winner is None else choice.winner
    checked = [
        check_again(candidates, shown, constraint, ends[shown], selects, seed)
        for constraint, ends in zip(constraints, bars, strict=True)
    ]
    won = wins(
        values[:, selects],
        margins[:, :, selects],
        tasks,
        electable,
        rng=np.random.default_rng(seed),
        resamples=RESAMPLES,
    )
    return ConfirmedChoice(
        objective=objective,
        constraints=tuple(constraints),
        seed=seed,
        reference_temperature=reference_temperature,
        candidates=candidates,
        unmeasured=tuple(map(int, np.flatnonzero(~electable))),
        selects=selects,
        choice=choice,
        chosen=None if choice.winner is None else read(candidates, choice.winner, values, selects, seed),
        rivals=() if choice.winner is None else _rivals(candidates, values, choice, selects, seed),
        checked=tuple(checked),
        same=int(won[shown]),
        near=int(won[_neighbours(candidates, shown)].sum()),
        none=RESAMPLES - int(won.sum()),
        resamples=RESAMPLES,
    )


def _electable(
    candidates: Candidates,
    constraints: Sequence[Constraint],
    bars: Sequence[Sequence[int | None]],
    temperature: float | None,
) -> np.ndarray:
    """Return (C,) bool: whether the bars of all constraints have been sampled for a candidate; raise if for none."""
    electable = np.array(
        [
            all(bar[number] is not None or one.end is None for bar, one in zip(bars, constraints, strict=True))
            for number in range(len(candidates.points))
        ]
    )
    if not electable.any():
        points = listed([title(point) for point in candidates.points])
        raise WiseMergeError(
            f"nothing can be held against {', '.join(map(str, constraints))}: at T {temperature} the ends of "
            f"{points} have not been sampled as often as the figures need; go on with the sweep, or name another "
            "--reference-temperature"
        )
    return electable


def _margins(
    candidates: Candidates, constraints: Sequence[Constraint], bars: Sequence[Sequence[int | None]]
) -> np.ndarray:
    """Return (J, C, P): by how much each candidate meets each constraint on each problem."""
    margins = np.zeros((len(constraints), len(candidates.points), len(candidates.problems)))
    for margin, constraint, ends in zip(margins, constraints, bars, strict=True):
        left = candidates.value(constraint.objective)
        right = constraint.offset + (0.0 if constraint.end is None else left[[end or 0 for end in ends]])
        margin[:] = left - right if constraint.at_least else right - left
    return margins


def _bar(candidates: Candidates, number: int, constraint: Constraint, temperature: float | None) -> int | None:
    """Return the number of the end that is a constraint's bar for a candidate, None if there is none."""
    if constraint.end is None:
        return None
    assert temperature is not None
    return candidates.at(candidates.points[number].at_reference(constraint.end), temperature)


def read(candidates: Candidates, number: int, values: np.ndarray, selects: np.ndarray, seed: int) -> Reading:
    """Return the values of a candidate on both halves and on all problems."""
    tasks, of_point, n = candidates.tasks, values[number], candidates.samples[number]
    return Reading(
        float(of_point[selects] @ task_weights(tasks[selects])),
        estimate(of_point[~selects], n, tasks[~selects], seed=seed),
        estimate(of_point, n, tasks, seed=seed),
    )


def _rivals(
    candidates: Candidates, values: np.ndarray, choice: Choice, selects: np.ndarray, seed: int
) -> tuple[Rival, ...]:
    """Return what can be had without merging: each checkpoint of the winner, and the best of all checkpoints."""
    assert choice.winner is not None
    winner = candidates.points[choice.winner]

    def best(numbers: Sequence[int]) -> int:
        return max(numbers, key=lambda number: (round(float(choice.values[number]), 12), -number))

    named: dict[int, list[str]] = {}
    for place, role in reversed(list(enumerate(roles(winner)))):
        same = candidates.at(winner.alone(place), winner.temperature)
        if same is not None:
            named.setdefault(same, []).append(f"{role}, same T")
        sampled = candidates.at_all(winner.alone(place))
        if sampled:
            named.setdefault(best(sampled), []).append(f"{role}, best T")
    unmerged = [number for number in range(len(candidates.points)) if candidates.points[number].unmerged is not None]
    allowed = [number for number in unmerged if choice.meets[number]]
    if allowed:
        named.setdefault(best(allowed), []).append(UNMERGED)
    rivals = []
    for number, parts in named.items():
        if number == choice.winner:
            continue
        meets = bool(choice.meets[number])
        rivals.append(rival(candidates, number, choice.winner, values, tuple(parts), meets, selects, seed))
    return tuple(rivals)


def rival(
    candidates: Candidates,
    number: int,
    chosen: int,
    values: np.ndarray,
    roles: tuple[str, ...],
    meets: bool,
    selects: np.ndarray,
    seed: int,
) -> Rival:
    """Return how a chosen candidate compares with another one; for the arguments see `Rival` and `find_best`."""
    tasks = candidates.tasks
    confirmed = difference(values[number, ~selects], values[chosen, ~selects], tasks[~selects], seed=seed)
    apart = values[chosen] - values[number]
    return Rival(
        roles,
        number,
        read(candidates, number, values, selects, seed),
        meets,
        float(apart[selects] @ task_weights(tasks[selects])),
        confirmed,
        float(apart @ task_weights(tasks)),
        minimum_detectable_effect(confirmed.standard_error),
    )


def check_again(
    candidates: Candidates, number: int, constraint: Constraint, end: int | None, selects: np.ndarray, seed: int
) -> Checked:
    """Return how a constraint is met at a candidate, whose bar is the value of the candidate `end`, on both halves."""
    left = candidates.value(constraint.objective)
    value = left[number]
    bar = np.full_like(value, constraint.offset) if end is None else left[end] + constraint.offset
    weights = [(half, task_weights(candidates.tasks[half])) for half in (selects, ~selects)]
    means = [(float(value[half] @ weight), float(bar[half] @ weight)) for half, weight in weights]
    margin = difference(bar[~selects], value[~selects], candidates.tasks[~selects], seed=seed)
    sign = 1 if constraint.at_least else -1
    (value_one, bar_one), (value_other, bar_other) = means
    return Checked(
        constraint,
        end,
        (value_one, value_other),
        (bar_one, bar_other),
        margin,
        sign * (value_other - bar_other) >= -ROUNDING,
    )


def _neighbours(candidates: Candidates, number: int) -> list[int]:
    """Return the candidates of the same checkpoints at most a step of the grid away, at any temperature.

    In each coordinate; a checkpoint by itself that is no combination of the grid has no neighbours.
    """
    point = candidates.points[number]
    same = [(one, other) for other, one in enumerate(candidates.points) if _beside_grid(one) == _beside_grid(point)]
    if not point.varied or (point.alpha is None and all(one.unmerged is not None for one, _ in same)):
        return candidates.at_all(point)
    grid = {(_place(one), other) for one, other in same}
    if point.alpha is not None:
        # An end that several pairs share stands among the candidates as that of one of them.
        ends = [point.alone(place) for place in range(len(point.checkpoints))]
        grid |= {(_place(end), other) for end in ends for other in candidates.at_all(end)}
    here = _place(point)
    steps = [sorted({place[axis] for place, _ in grid}) for axis in range(len(here))]
    return sorted(
        {
            other
            for place, other in grid
            if all(abs(axis.index(a) - axis.index(b)) <= 1 for axis, a, b in zip(steps, place, here, strict=True))
        }
    )


def _place(point: Point) -> tuple[float, ...]:
    """Return where a point lies in the grid of its sweep."""
    return tuple(one.value for one in point.varied)


def _beside_grid(point: Point) -> tuple[object, ...]:
    """Return what the points of one grid have in common."""
    constant = tuple(one for one in point.coordinates if one not in point.varied)
    return point.checkpoints, point.method, constant, point.fixed
