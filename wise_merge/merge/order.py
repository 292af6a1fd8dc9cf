"""What is to be merged, and where to: everything that carrying it out needs to know."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from wise_merge.recipes.models import Ingredients

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
    def labels(self) -> list[str]:
        """How the models are called in messages."""
        return [name or str(self.out) for name in self.names]
