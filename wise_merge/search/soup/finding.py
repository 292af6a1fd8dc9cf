"""The whole way of a greedy soup: sample the single checkpoints, try one mean after the other, confirm what is left."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from wise_merge.errors import WiseMergeError
from wise_merge.points.folder import write_plan
from wise_merge.points.outcome import Outcome
from wise_merge.points.point import Point
from wise_merge.points.soup import SINGLE, UNIFORM, WISE_FT
from wise_merge.search.best.candidates import Candidates, title
from wise_merge.search.best.choice import halves
from wise_merge.search.best.finding import check_again, read, rival
from wise_merge.search.best.objective import Figure
from wise_merge.search.engines.results import together
from wise_merge.search.engines.sampling import Sample, sample_missing
from wise_merge.search.soup.checks import wanted
from wise_merge.search.soup.greedy import Score, Step, greedy, order_of
from wise_merge.search.soup.plan import Plan, fixed
from wise_merge.search.soup.result import ConfirmedSoup, Singles
from wise_merge.search.soup.scores import mean, measured, selection
from wise_merge.text import counted

#: From points and what the bar is about to what came of each, by task.
Draw = Callable[[Sequence[Point], str], dict[Point, list[Outcome]]]


def drawing(plan: Plan, out: Path, sample: Sample, tell: Callable[[list[Outcome]], None]) -> Draw:
    """Return what samples points after it has written down that they are asked for; what is there is not drawn again.

    Args:
        plan: of the soup.
        out: the folder of results.
        sample: samples points.
        tell: is told what came of each point, as soon as it is there; of some twice.
    """
    settings = plan.settings
    asked: dict[Point, None] = {}

    def draw(points: Sequence[Point], what: str) -> dict[Point, list[Outcome]]:
        asked.update(dict.fromkeys(points))
        write_plan(together(plan.before, fixed(settings), settings, tuple(asked), out))
        return sample_missing(points, settings.samples, settings=settings, out=out, sample=sample, what=what, tell=tell)

    return draw


def figures_of(plan: Plan) -> list[Figure]:
    """Return the figures that objective and constraints are made of."""
    objective, constraints = wanted(plan.settings)
    sums = (objective, *(constraint.objective for constraint in constraints))
    return list(dict.fromkeys(figure for one in sums for figure in one.figures))


def first_round(plan: Plan, draw: Draw) -> Singles:
    """Return how the checkpoints stand by themselves; what they will be compared with is sampled beside them.

    Raises a `WiseMergeError` where none of them meets the constraints.
    """
    objective, constraints = wanted(plan.settings)
    count = len(plan.checkpoints)
    points = [plan.point([number]) for number in range(count)]
    rivals = [plan.point(range(count))]
    if len(plan.groups) == 1:
        # Of several runs it depends on which of them has the best checkpoint.
        rivals.append(plan.point(ends_of(plan, 0)))
    outcomes = draw([*points, *rivals], "Single checkpoints")
    models = [_model(plan, {point: outcomes[point]}) for point in points]
    for model in models:
        _check_problems(model, models[0].problems)
    selects = halves(models[0].problems, plan.settings.halves_seed)
    order = order_of([Score(mean(model, objective, selects)) for model in models])
    looked_for = selection(objective, constraints, models[order[0]], selects)
    singles = Singles(tuple(looked_for.score(model) for model in models), tuple(order), looked_for)
    if not any(score.meets for score in singles.scores):
        raise WiseMergeError(_nearest(plan, singles))
    return singles


def steps_of(plan: Plan, singles: Singles, draw: Draw) -> Iterator[Step]:
    """Yield what comes of each checkpoint, from the best to the worst, as soon as its mean with the others is known."""

    def score(tried: tuple[int, ...]) -> Score:
        point = plan.point(tried)
        model = _model(plan, draw([point], f"Soup of {counted(len(tried), 'checkpoint')}"))
        _check_problems(model, singles.wanted.problems)
        return singles.wanted.score(model)

    return greedy(singles.scores, score)


def confirm(plan: Plan, singles: Singles, steps: Sequence[Step], draw: Draw) -> ConfirmedSoup:
    """Return what the soup is worth on the problems that had no part in making it, and beside its rivals."""
    seed, soup = plan.settings.halves_seed, plan.point(steps[-1].soup)
    ends = ends_of(plan, singles.best)
    rivals = {
        SINGLE: plan.point([singles.best]),
        UNIFORM: plan.point(range(len(plan.checkpoints))),
        WISE_FT: plan.point(ends),
    }
    points = list(dict.fromkeys([soup, *rivals.values()]))
    outcomes = draw(points, "Comparison")
    for point in points:
        _check_problems(_model(plan, {point: outcomes[point]}), singles.wanted.problems)
    candidates = _model(plan, outcomes)
    number_of = {point: candidates.at(point, point.temperature) for point in points}
    number, best = number_of[soup], number_of[rivals[SINGLE]]
    assert number is not None
    objective, selects = singles.wanted.objective, singles.wanted.selects
    values = candidates.value(objective)
    compared = []
    for point in dict.fromkeys(rivals.values()):
        other = number_of[point]
        assert other is not None
        if point == soup:
            continue
        names = tuple(name for name, one in rivals.items() if one == point)
        meets = singles.wanted.score(_model(plan, {point: outcomes[point]})).meets
        compared.append(rival(candidates, other, number, values, names, meets, selects, seed))
    checked = [
        check_again(candidates, number, one, None if one.end is None else best, selects, seed)
        for one in singles.wanted.constraints
    ]
    return ConfirmedSoup(
        plan,
        singles,
        tuple(steps),
        candidates,
        number,
        read(candidates, number, values, selects, seed),
        tuple(compared),
        ends,
        tuple(checked),
    )


def ends_of(plan: Plan, number: int) -> tuple[int, int]:
    """Return the numbers of the early and the late checkpoint of the run of one: the first and the last."""
    group = plan.group_of(number)
    return group[0], group[-1]


def _model(plan: Plan, outcomes: dict[Point, list[Outcome]]) -> Candidates:
    return measured(list(outcomes.items()), plan.settings.tasks, figures_of(plan))


def _check_problems(model: Candidates, problems: Sequence[tuple[str, str]]) -> None:
    if model.problems != tuple(problems):
        raise WiseMergeError(
            f"{title(model.points[0])} has been sampled on other problems than the first checkpoint, so the data of "
            "the tasks have changed; name another folder for the results"
        )


def _nearest(plan: Plan, singles: Singles) -> str:
    """Return that no checkpoint meets the constraints, and which one comes nearest."""
    scores = singles.scores
    number = max(singles.order, key=lambda one: min(scores[one].margins))
    misses = []
    for constraint, bar, margin in zip(
        singles.wanted.constraints, singles.wanted.bars, scores[number].margins, strict=True
    ):
        if margin < 0:
            value = bar + margin if constraint.at_least else bar - margin
            misses.append(f"{constraint} ({value:.3f} against {bar:.3f})")
    return (
        f"none of the {len(scores)} checkpoints meets {' and '.join(map(str, singles.wanted.constraints))} on the "
        f"selection half, so there is nothing to begin with; the nearest, {plan.checkpoints[number].name}, misses "
        f"{' and '.join(misses)}: allow some slack"
    )
