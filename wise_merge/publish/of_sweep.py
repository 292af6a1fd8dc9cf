"""The evidence of a sweep: how a model scored beside its two checkpoints, at every temperature."""

import re
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from wise_merge.errors import WiseMergeError
from wise_merge.methods import METHODS
from wise_merge.points import Outcome, Point, Results, read_results
from wise_merge.points.summary import summary_of
from wise_merge.publish.evidence import MODEL, Counts, Evidence, Row, TaskEvidence, judge_in_words, place_of
from wise_merge.publish.merged import Merged, same_recipe
from wise_merge.recipes.models import is_ours
from wise_merge.recipes.reading import load_yaml
from wise_merge.results.summary import Summary

#: The sentences that `wise_merge.search.best.recipe` and `wise_merge.search.soup.recipe` write.
_CHOSEN = re.compile(
    r"(?:the mean of (?P<mean>.*?) )?(?P<how>(?:Chosen for|Kept in this order,) .*?)(?P<confirmed>On the other .*?) ?"
    r"Sample it at temperature (?P<temperature>\S+), as it was chosen"
)


def is_of_sweep(path: Path) -> bool:
    """Return whether a folder is that of a sweep."""
    return (path / "sweep.json").exists()


def evidence_of_sweep(
    merged: Merged,
    folder: Path,
    *,
    temperature: float | None = None,
    watch: Callable[[Sequence[Outcome]], Iterable[Outcome]] = lambda outcomes: outcomes,
) -> Evidence:
    """Return what the results of a sweep say of a model and its two checkpoints.

    Args:
        merged: the model.
        folder: that `wise-merge sweep` wrote its results to.
        temperature: of sampling, whose figures come first; None = as `wise-merge best` chose, else 1, else the lowest.
        watch: sees the outcomes pass as their figures are made.
    """
    results = read_results(folder)
    mine = _points(results, merged)
    points = {MODEL: mine, **{role: _alone(results, merged, role, mine[0]) for role in merged.roles}}
    chosen = _chosen(folder, merged)
    sampled_as = [
        (role, outcome)
        for role in points
        for point in points[role]
        for task in results.tasks
        if (outcome := results.outcome(point, task)) is not None and outcome.problems
    ]
    sampled = sorted({outcome.point.temperature for role, outcome in sampled_as if role == MODEL})
    if not sampled:
        raise WiseMergeError(f"the sweep of {folder} has not sampled {mine[0].title} yet; run it again, it goes on")
    first = _temperature(sampled, temperature, chosen)
    seen = {id(outcome): outcome for _, outcome in sampled_as}
    summaries = {id(outcome): summary_of(outcome) for outcome in watch(list(seen.values()))}
    tasks, unsampled = [], []
    for task in results.tasks:
        rows = [_row(role, outcome, summaries[id(outcome)]) for role, outcome in sampled_as if outcome.task == task]
        # A temperature at which this model was not sampled says nothing of it.
        rows = [row for row in rows if row.temperature in sampled]
        rows.sort(key=lambda row: (row.temperature or 0.0, place_of(row.role)))
        if any(row.role == MODEL for row in rows):
            by = next((one.judged_by for _, one in sampled_as if one.task == task and one.judged_by), None)
            judge = None if by is None else judge_in_words(by)
            tasks.append(TaskEvidence(task, tuple(rows), first, results.settings, judge=judge))
        else:
            unsampled.append(task)
    runs = {
        outcome.task: outcome.run
        for role, outcome in sampled_as
        if role == MODEL and outcome.point.temperature == first
    }
    return Evidence(
        first,
        tuple(tasks),
        unsampled=tuple(unsampled),
        chosen=chosen[0] if chosen else (),
        runs=runs,
        journal=results.journal,
    )


def _row(role: str, outcome: Outcome, summary: Summary) -> Row:
    counts = tuple(Counts(problem.id, problem.n, sum(problem.correct)) for problem in outcome.problems)
    return Row(
        role=role,
        temperature=outcome.point.temperature,
        summary=summary,
        problems=counts,
        max_tokens=outcome.max_tokens,
        limit=outcome.limit,
        stopped=outcome.stopped,
        point=outcome.point,
    )


def _points(results: Results, merged: Merged) -> list[Point]:
    """Return the points of this model, at all temperatures."""
    if not is_ours(merged.recipe):
        what = f"merged by {merged.method}" if merged.recipe else "no merge, as far as its folder says"
        raise WiseMergeError(
            f"a sweep samples merges by {', '.join(METHODS)}, and {merged.folder} is {what}; evaluate it by lm_eval"
        )
    mine = [point for point in results.points if _is_merge(point) and same_recipe(point.recipe(), merged.recipe)]
    if mine:
        return mine
    method, dtype = results.settings.get("method"), results.settings.get("dtype")
    if not merged.is_pair:
        names = ", ".join(dict.fromkeys(one.name for point in results.points for one in point.checkpoints))
        raise WiseMergeError(
            f"{results.folder} holds no figures of this model: it is {merged.method} of "
            f"{', '.join(map(merged.name, merged.roles))} with dtype {merged.recipe.get('dtype')}; the sweep was "
            f"{method} of {names} with dtype {dtype}"
        )
    alphas = sorted({point.alpha for point in results.points if point.alpha is not None})
    where = f" with alpha {', '.join(f'{alpha:g}' for alpha in alphas)} and" if alphas else ", with"
    lates = ", ".join(dict.fromkeys(point.late.name for point in results.points))
    early = ", ".join(dict.fromkeys(point.early.name for point in results.points))
    raise WiseMergeError(
        f"{results.folder} holds no figures of this model: it is {merged.method} of {merged.name('early')} and "
        f"{merged.name('late')} with alpha {merged.alpha} and dtype {merged.recipe.get('dtype')}; the sweep was "
        f"{method} of {early} and {lates}{where} dtype {dtype}"
    )


def _is_merge(point: Point) -> bool:
    """Return whether the recipe of a point merges something: a soup may have begun with a checkpoint by itself."""
    return len(point.checkpoints) >= METHODS[point.method].fewest or METHODS[point.method].early_and_late


def _alone(results: Results, merged: Merged, role: str, mine: Point) -> list[Point]:
    """Return the points that are a checkpoint of the model as it is, at all temperatures."""
    if merged.is_pair:
        return [point for point in results.points if point.reference == role and point.checkpoints == mine.checkpoints]
    own = mine.checkpoints[merged.roles.index(role)]
    return [
        point
        for point in results.points
        if point.unmerged is not None and point.checkpoints[point.unmerged] == own and point.dtype == mine.dtype
    ]


def _chosen(folder: Path, merged: Merged) -> tuple[tuple[str, ...], float] | None:
    """Return how a command chose this model, and the temperature it named; None if none did."""
    for path in (folder / "best.yml", folder / "soup.yml"):
        if not path.is_file():
            continue
        recipe = load_yaml(path, "recipe")
        try:
            if not same_recipe(recipe, merged.recipe):
                continue
        except (WiseMergeError, KeyError, ValueError):
            continue
        lines = [line[2:] for line in path.read_text(encoding="utf-8").splitlines() if line.startswith("# ")]
        match = _CHOSEN.search(" ".join(lines))
        if match is not None:
            mean = f"The mean of {match['mean']}. " if match["mean"] else ""
            return (mean + match["how"].strip(), match["confirmed"].strip()), float(match["temperature"])
    return None


def _temperature(sampled: Sequence[float], asked: float | None, chosen: tuple[tuple[str, ...], float] | None) -> float:
    if asked is not None and asked not in sampled:
        raise WiseMergeError(
            f"--temperature {asked:g} is none at which the sweep sampled this model, which are "
            f"{', '.join(f'{temperature:g}' for temperature in sampled)}"
        )
    if asked is not None:
        return asked
    if chosen is not None and chosen[1] in sampled:
        return chosen[1]
    return 1.0 if 1.0 in sampled else sampled[0]
