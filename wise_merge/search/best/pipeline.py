"""The order of work of `wise-merge best`: read, choose, confirm, print, write."""

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from wise_merge import __version__
from wise_merge.errors import WiseMergeError
from wise_merge.points import Results, read_results
from wise_merge.points.best import NAME, write_best
from wise_merge.points.folder import checkpoint_as_json, point_as_json
from wise_merge.results.whole_file import write_document, write_whole
from wise_merge.search.best import table
from wise_merge.search.best.candidates import find_candidates
from wise_merge.search.best.choice import task_weights
from wise_merge.search.best.finding import find_best
from wise_merge.search.best.kept import kept
from wise_merge.search.best.objective import Constraint, parse_constraint, parse_objective
from wise_merge.search.best.recipe import check_replaceable, lora_option, recipe
from wise_merge.search.best.result import ConfirmedChoice
from wise_merge.text import bar, hint, printable


@dataclass(frozen=True)
class BestSettings:
    """What the command line says: see `wise-merge best --help`."""

    objective: str
    subject_to: Sequence[str] = ()
    tasks: Sequence[str] = ()
    reference_temperature: float | None = None
    seed: int = 0


def choose_best(
    folder: Path,
    settings: BestSettings,
    *,
    write: Path | None = None,
    json_file: Path | None = None,
    say: Callable[[str], object] = print,
) -> Path | None:
    """Print which point is best and return the recipe that was written; None if no point meets the constraints.

    What was chosen is left in the folder, too, for the report.

    Args:
        folder: of the sweep's results.
        settings: see there.
        write: file for the recipe, else best.yml in the folder.
        json_file: file for all figures.
        say: prints a part of the output.
    """
    objective = parse_objective(settings.objective)
    constraints = [parse_constraint(constraint) for constraint in settings.subject_to]
    out = folder / "best.yml" if write is None else write
    results = read_results(folder)
    check_replaceable(out)
    if json_file is not None and (
        json_file.is_dir() or json_file.resolve() in (out.resolve(), (folder / NAME).resolve())
    ):
        raise WiseMergeError(
            f"--json {json_file} is a folder, the recipe or where the choice is kept; give another file to write"
        )
    figures = dict.fromkeys(
        figure for one in (objective, *(constraint.objective for constraint in constraints)) for figure in one.figures
    )
    temperature = _reference_temperature(results, constraints, settings.reference_temperature)
    watch = partial(bar, unit="point")
    candidates = find_candidates(results, _tasks(results, settings.tasks), list(figures), watch=watch)
    result = find_best(candidates, objective, constraints, seed=settings.seed, reference_temperature=temperature)
    points = len({(point.model, point.temperature) for point in results.points})
    say(table.text(result, str(folder), points))
    if json_file is not None:
        write_document(json_file, _document(result, folder))
    try:
        write_best(folder, kept(result, results, None if result.choice.winner is None else out))
    except WiseMergeError as error:
        # The results may be somebody else's.
        say("\n" + printable(f"{error}; so `wise-merge report` cannot show this choice"))
    if result.choice.winner is None:
        return None
    write_whole(out, recipe(result).encode())
    winner = candidates.points[result.choice.winner]
    say("\n" + printable(f"{out}: the recipe; sample the model at temperature {winner.temperature:g}"))
    say(printable(f"mergekit-yaml {out} OUT{lora_option(result)}"))
    return out


def _tasks(results: Results, asked: Sequence[str]) -> list[str]:
    for task in asked:
        if task not in results.tasks:
            raise WiseMergeError(f"the sweep has no task {task}; {hint(task, results.tasks)}")
    return list(dict.fromkeys(asked or results.tasks))


def _reference_temperature(results: Results, constraints: Sequence[Constraint], asked: float | None) -> float | None:
    """Return the temperature at which early and late are bars: as asked, else 1, else the only one."""
    sampled = sorted({point.temperature for point in results.points})
    shown = ", ".join(f"{temperature:g}" for temperature in sampled)
    bars = [constraint for constraint in constraints if constraint.end is not None]
    if asked is not None and asked not in sampled:
        raise WiseMergeError(f"--reference-temperature {asked:g} is none of the sweep's, which are {shown}")
    if not bars:
        if asked is not None:
            raise WiseMergeError("--reference-temperature is for constraints with early or late, and there are none")
        return None
    if asked is not None:
        return asked
    if len(sampled) > 1 and 1.0 not in sampled:
        raise WiseMergeError(
            f"{bars[0]}: {bars[0].end} was sampled at {shown}, and not at 1; say by --reference-temperature which of "
            "them is the bar"
        )
    return 1.0 if 1.0 in sampled else sampled[0]


def _document(result: ConfirmedChoice, folder: Path) -> dict[str, Any]:
    """Return everything for JSON: what was asked, every candidate on both halves, and what came of it."""
    candidates, choice = result.candidates, result.choice
    values = candidates.value(result.objective)
    weights = {
        name: (half, task_weights(candidates.tasks[half]))
        for name, half in (("confirmation", ~result.selects), ("all_problems", result.selects | True))
    }
    return {
        "wise_merge": __version__,
        "results": str(folder),
        "objective": str(result.objective),
        "constraints": [str(constraint) for constraint in result.constraints],
        "seed": result.seed,
        "reference_temperature": result.reference_temperature,
        "selection_problems": [
            problem for problem, half in zip(candidates.problems, result.selects, strict=True) if half
        ],
        "confirmation_problems": [
            problem for problem, half in zip(candidates.problems, result.selects, strict=True) if not half
        ],
        "left_out": candidates.left_out,
        "unmeasured": result.unmeasured,
        "candidates": [
            {
                **point_as_json(point, {one: checkpoint_as_json(one) for one in point.checkpoints}),
                "samples": candidates.samples[number],
                "selection": float(choice.values[number]),
                **{name: float(values[number, half] @ weight) for name, (half, weight) in weights.items()},
                "margins": [float(margin) for margin in choice.margins[:, number]],
                "meets": bool(choice.meets[number]),
            }
            for number, point in enumerate(candidates.points)
        ],
        "winner": choice.winner,
        "nearest": choice.nearest if choice.winner is None else None,
        "chosen": result.chosen and dataclasses.asdict(result.chosen),
        "rivals": [dataclasses.asdict(rival) for rival in result.rivals],
        "checked": [
            {**dataclasses.asdict(checked), "constraint": str(checked.constraint)} for checked in result.checked
        ],
        "stability": {"resamples": result.resamples, "same": result.same, "near": result.near, "none": result.none},
    }
