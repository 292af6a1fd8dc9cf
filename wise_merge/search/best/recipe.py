"""The recipe for mergekit that makes the chosen model, headed by how it was chosen."""

import textwrap
from pathlib import Path

from wise_merge.errors import WiseMergeError
from wise_merge.methods import METHODS
from wise_merge.points import Point, PointCheckpoint
from wise_merge.search.best.candidates import title
from wise_merge.search.best.result import ConfirmedChoice
from wise_merge.search.best.table import confirmed, with_bars
from wise_merge.text import printable

#: How the recipes begin that may be replaced.
_FIRST = "# Written by `wise-merge best`: "


def check_replaceable(path: Path) -> None:
    """Refuse to replace what `wise-merge best` has not written."""
    if path.is_dir():
        raise WiseMergeError(f"{path} is a folder; give a file for the recipe")
    if path.is_file():
        with path.open("rb") as file:
            if file.read(len(_FIRST)) != _FIRST.encode():
                raise WiseMergeError(
                    f"{path} exists and was not written by `wise-merge best`, so it is not overwritten; delete it or "
                    "choose another name with --out"
                )


def recipe(result: ConfirmedChoice) -> str:
    """Return the YAML for mergekit; paths are as the user wrote them, so it runs where the sweep ran."""
    import yaml

    assert result.choice.winner is not None
    assert result.chosen is not None
    point, candidates = result.candidates.points[result.choice.winner], result.candidates
    selecting, all_problems = int(result.selects.sum()), len(result.selects)
    lines = [
        f"{_FIRST[2:]}{title(point)}",
        _checkpoints(point),
        f"Chosen for the largest {result.objective}{with_bars(result)} of {len(candidates.points):,} points, on "
        f"{selecting:,} of {all_problems:,} problems of {', '.join(dict.fromkeys(candidates.tasks.tolist()))} "
        f"(seed {result.seed}).",
        f"On the other {all_problems - selecting:,}: {confirmed(result)}",
        f"Sample it at temperature {point.temperature:g}, as it was chosen.",
        f"Run it where the paths below lead to them: mergekit-yaml THIS_FILE OUT{lora_option(result)}",
    ]
    head = [f"# {part}" for line in lines for part in textwrap.wrap(printable(line), 116, break_on_hyphens=False)]
    body = yaml.safe_dump(point.recipe(), sort_keys=False, allow_unicode=True, default_flow_style=False)
    return "\n".join([*head, body])


def lora_option(result: ConfirmedChoice) -> str:
    """Return what mergekit-yaml needs beyond the recipe if the checkpoints are adapters, else nothing."""
    assert result.choice.winner is not None
    point = result.candidates.points[result.choice.winner]
    return " --lora-merge-cache CACHE" if any("+" in one.name for one in point.checkpoints) else ""


def _checkpoints(point: Point) -> str:
    if point.alpha is not None:
        return f"early: {_label(point.early)}; late: {_label(point.late)}"
    return f"{METHODS[point.method].title} of {', '.join(map(_label, point.checkpoints))}"


def _label(checkpoint: PointCheckpoint) -> str:
    return checkpoint.name if checkpoint.step is None else f"{checkpoint.name} (step {checkpoint.step})"
