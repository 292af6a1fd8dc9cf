"""What is to be merged, and where to: everything that carrying it out needs to know."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from wise_merge.recipes.models import Ingredients, is_early_and_late, is_ours, method_of
from wise_merge.recipes.parameters import files_of
from wise_merge.recipes.schema import Recipe

Say = Callable[[str], object]


@dataclass(frozen=True)
class Order:
    """A merge, or several that differ in the value of one parameter.

    Attributes:
        recipes: of each model that is written.
        ingredients: the different sets of checkpoints of each of them; several only where slices merge different ones.
        path: of the file they come from.
        out: the model, or a folder of models.
        names: of each model's folder within `out`; one empty name where `out` is the model.
        force: replace what is at `out`, whole.
        check: stop after the checks.
        say: is given lines for standard output.
        warn: is given warnings.
    """

    recipes: tuple[dict[str, Any], ...]
    ingredients: tuple[Ingredients, ...]
    path: Path
    out: Path
    names: tuple[str, ...]
    force: bool
    check: bool
    say: Say
    warn: Say

    @property
    def files(self) -> list[Path]:
        """The files that the parameters name."""
        recipe = self.recipes[0]
        if not is_ours(recipe) or not method_of(recipe).files:
            return []
        return [Path(path) for _, _, path in files_of(recipe, self.ingredients[0].names)]

    @property
    def labels(self) -> list[str]:
        """How the models are called in messages."""
        return [name or str(self.out) for name in self.names]

    @property
    def line(self) -> str | None:
        """See `methods.Method`; None for mergekit's own methods, too."""
        return method_of(self.recipes[0]).line if is_ours(self.recipes[0]) else None


def announcement(recipe: Recipe, models: Sequence[str]) -> str:
    """Return what a recipe merges, such as "wise_ft of early A and late B"; `models` name all, the base first."""
    if is_early_and_late(recipe):
        return f"{recipe['merge_method']} of early {models[0]} and late {models[-1]}"
    *most, last = models
    return f"{recipe['merge_method']} of " + (f"{', '.join(most)} and {last}" if most else last)
