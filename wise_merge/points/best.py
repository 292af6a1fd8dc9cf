"""What `wise-merge best` chose last and what it is worth, as choice.json keeps it beside the results.

The document of `wise-merge best --json` has every candidate; here is what others can show of the one that won.
"""

import dataclasses
import hashlib
import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from wise_merge.errors import WiseMergeError
from wise_merge.points.folder import Results
from wise_merge.results.whole_file import write_document

#: Version of the file's format; files of another version are refused.
FORMAT = 1
#: Its name in a folder of results.
NAME = "choice.json"


@dataclass(frozen=True)
class ChosenPoint:
    """The point that was chosen.

    Attributes:
        title: of it, for people.
        model: which one it is (`Point.model`).
        temperature: of sampling.
        unmerged: whether it is a checkpoint as it is.
        selection: the objective on the half that selects.
        confirmation: the objective on the half that confirms.
        low: end of its 95 % interval over problems, None = unknown.
        high: likewise.
    """

    title: str
    model: str
    temperature: float
    unmerged: bool
    selection: float
    confirmation: float
    low: float | None
    high: float | None


@dataclass(frozen=True)
class ComparedPoint:
    """What can be had without merging, on the half that confirms.

    Attributes:
        names: what it is, in words: "late at its best temperature", "the best unmerged model"; several for one point.
        title: of the point.
        best_unmerged: whether it is the best of all checkpoints that meet the constraints.
        meets: whether it meets them, on the half that selects.
        confirmation: the objective of it.
        difference: the chosen point's value minus this one's.
        low: end of the 95 % interval of the difference over problems, None = unknown.
        high: likewise.
        p: of a paired permutation test, two-sided.
        detectable: the smallest true difference that the test finds with 80 % power, None = unknown.
    """

    names: tuple[str, ...]
    title: str
    best_unmerged: bool
    meets: bool
    confirmation: float
    difference: float
    low: float | None
    high: float | None
    p: float
    detectable: float | None


@dataclass(frozen=True)
class CheckedConstraint:
    """A constraint at the chosen point, or at the nearest miss: on the half that selects and on the one that confirms.

    Attributes:
        constraint: as text.
        value: its left side on both halves.
        bar: its right side, likewise.
        holds: whether it is met on the half that confirms.
    """

    constraint: str
    value: tuple[float, float]
    bar: tuple[float, float]
    holds: bool


@dataclass(frozen=True)
class BestChoice:
    """What `wise-merge best` chose.

    Attributes:
        objective: that is maximised, as text.
        constraints: that must hold, likewise.
        sought: both in words, with the temperature at which early and late are bars.
        reference_temperature: that temperature; None if no bar is an end.
        seed: of the halves.
        tasks: on whose mean points were judged.
        points: among how many was chosen.
        selection_problems: how many are in the half that selects.
        confirmation_problems: how many are in the other.
        of: the state of the results (`state_of`).
        chosen: None if no point meets the constraints.
        nearest: title of the nearest miss then, else None.
        against: what the choice is compared with; empty without one.
        checked: the constraints.
        recipe: path of the recipe as the command had it, None if none was written.
    """

    objective: str
    constraints: tuple[str, ...]
    sought: str
    reference_temperature: float | None
    seed: int
    tasks: tuple[str, ...]
    points: int
    selection_problems: int
    confirmation_problems: int
    of: str
    chosen: ChosenPoint | None
    nearest: str | None
    against: tuple[ComparedPoint, ...]
    checked: tuple[CheckedConstraint, ...]
    recipe: str | None


def state_of(results: Results, tasks: Collection[str]) -> str:
    """Return 32 hex digits that change with every point and every sample of these tasks that is added or changed."""
    facts = [
        [one.task, one.point.name, one.run, [[problem.id, list(problem.correct)] for problem in one.problems]]
        for one in results.outcomes
        if one.task in tasks
    ]
    # What was asked for first does not matter.
    return hashlib.sha256("\n".join(sorted(map(json.dumps, facts))).encode()).hexdigest()[:32]


def write_best(folder: Path, best: BestChoice) -> None:
    """Write down in a folder of results what was chosen there."""
    write_document(folder / NAME, {"format": FORMAT, **dataclasses.asdict(best)})


def read_best(folder: Path) -> BestChoice | None:
    """Return what was last chosen in a folder of results, of whatever state it had; None = nothing yet."""
    path = folder / NAME
    if not path.exists():
        return None
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(content, dict) or content.pop("format", None) != FORMAT:
            raise ValueError(f"format {FORMAT} was expected")
        return _best(content)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        reason = f"{error} is missing" if isinstance(error, KeyError) else error
        raise WiseMergeError(f"{path} cannot be read ({reason}); remove it, or run `wise-merge best` again") from error


def _best(written: Mapping[str, Any]) -> BestChoice:
    """Return what `write_best` has written."""
    chosen = written["chosen"]
    return BestChoice(
        **{
            **written,
            "constraints": tuple(written["constraints"]),
            "tasks": tuple(written["tasks"]),
            "chosen": None if chosen is None else ChosenPoint(**chosen),
            "against": tuple(ComparedPoint(**{**one, "names": tuple(one["names"])}) for one in written["against"]),
            "checked": tuple(
                CheckedConstraint(**{**one, "value": tuple(one["value"]), "bar": tuple(one["bar"])})
                for one in written["checked"]
            ),
        }
    )
