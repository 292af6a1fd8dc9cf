"""How a greedy soup was made, as soup.json keeps it beside the results: every step, the choice, what it is worth.

The models that were sampled for it are points of the results, like those of a sweep. Here is what `wise-merge soup`
decided about them, so that others can show it without making the choice again.
"""

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from wise_merge.errors import WiseMergeError
from wise_merge.results.whole_file import write_document

#: Version of the file's format; files of another version are refused.
FORMAT = 1
#: Its name in a folder of results.
NAME = "soup.json"
#: What a soup is compared with, in the order in which that is shown; the first tells whether merging helps.
SINGLE, UNIFORM, WISE_FT = "best single checkpoint", "uniform soup", "WiSE-FT"


@dataclass(frozen=True)
class SoupStep:
    """One checkpoint that was tried, in the order in which they were.

    Attributes:
        candidate: its title.
        kept: whether it became an ingredient.
        value: of the objective on the half that selects, of the soup with it.
        before: of the soup without it; None for the first checkpoint, before which there is none.
        meets: whether the soup with it meets all constraints on the half that selects.
        ingredients: of the soup after the step, by name.
    """

    candidate: str
    kept: bool
    value: float
    before: float | None
    meets: bool
    ingredients: tuple[str, ...]


@dataclass(frozen=True)
class SoupChoice:
    """The soup: its ingredients by name, and the objective on the half that selects and on the half that confirms."""

    ingredients: tuple[str, ...]
    selection: float
    confirmation: float


@dataclass(frozen=True)
class SoupRival:
    """A model that the soup is compared with on the half that confirms.

    Attributes:
        name: what it is: `SINGLE`, `UNIFORM` or `WISE_FT`.
        title: of the point.
        confirmation: the objective of it.
        difference: the soup's value minus this one's.
        low: end of the 95 % interval of the difference over problems, None = unknown.
        high: likewise.
        p: of a paired permutation test, two-sided, None = unknown.
    """

    name: str
    title: str
    confirmation: float
    difference: float
    low: float | None
    high: float | None
    p: float | None


@dataclass(frozen=True)
class Soup:
    """A greedy soup.

    Attributes:
        objective: that is maximised, as text.
        constraints: that must hold, likewise.
        seed: of the halves.
        selection_problems: how many are in the half that selects.
        confirmation_problems: how many are in the other.
        steps: in their order.
        chosen: see there.
        against: what it is compared with.
        recipe: name of the recipe in the folder; None for a soup of one checkpoint, which needs none.
    """

    objective: str
    constraints: tuple[str, ...]
    seed: int
    selection_problems: int
    confirmation_problems: int
    steps: tuple[SoupStep, ...]
    chosen: SoupChoice
    against: tuple[SoupRival, ...]
    recipe: str | None


def write_soup(folder: Path, soup: Soup) -> None:
    """Write down in a folder of results how its soup was made."""
    write_document(folder / NAME, {"format": FORMAT, **dataclasses.asdict(soup)})


def read_soup(folder: Path) -> Soup | None:
    """Return how the soup of a folder of results was made, None = there is none."""
    path = folder / NAME
    if not path.exists():
        return None
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(content, dict) or content.get("format") != FORMAT:
            raise ValueError(f"format {FORMAT} was expected")
        return _soup(content)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        reason = f"{error} is missing" if isinstance(error, KeyError) else error
        raise WiseMergeError(
            f"{path} cannot be read ({reason}); remove it and run `wise-merge soup` again: what its journal holds is "
            "not drawn twice"
        ) from error


def _soup(written: Mapping[str, Any]) -> Soup:
    """Return what `write_soup` has written."""
    chosen = written["chosen"]
    return Soup(
        objective=written["objective"],
        constraints=tuple(written["constraints"]),
        seed=written["seed"],
        selection_problems=written["selection_problems"],
        confirmation_problems=written["confirmation_problems"],
        steps=tuple(SoupStep(**{**one, "ingredients": tuple(one["ingredients"])}) for one in written["steps"]),
        chosen=SoupChoice(**{**chosen, "ingredients": tuple(chosen["ingredients"])}),
        against=tuple(SoupRival(**one) for one in written["against"]),
        recipe=written["recipe"],
    )
