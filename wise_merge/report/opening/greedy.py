"""What came of a greedy soup, and what it is worth beside each of its rivals."""

from wise_merge.points.folder import Results
from wise_merge.points.soup import SINGLE, Soup
from wise_merge.report.numbers import Statement
from wise_merge.report.opening.words import LEVEL, against, command
from wise_merge.text import counted, enumeration

#: Longer lists of ingredients are left to the table of the steps.
_LISTED = 5


def about_soup(results: Results, soup: Soup) -> Statement:
    """Return what the greedy soup is, what it is worth, and the command that merges it."""
    kept = [step.candidate for step in soup.steps if step.kept]
    sought = soup.objective + (f" with {' and '.join(soup.constraints)}" if soup.constraints else "")
    halves = f"on {soup.selection_problems:,} problems, the selection half"
    tried = f"of the {counted(len(soup.steps), 'checkpoint')} tried for the largest {sought} {halves}"
    one = len(soup.chosen.ingredients) == 1
    if one:
        text = f"The greedy soup is one model, {enumeration(kept, 'and')}: no other {tried} makes it better."
    else:
        named = f": {enumeration(kept, 'and')}" if len(kept) <= _LISTED else ""
        text = f"The greedy soup has {len(kept)} ingredients {tried}{named}."
    text += (
        f" On the other {soup.confirmation_problems:,}, the confirmation half, its {soup.objective} is "
        f"{soup.chosen.confirmation:.3f}"
    )
    compared = [
        against([_the(rival.name)], rival.title, rival.difference, rival.low, rival.high, rival.p)
        for rival in soup.against
    ]
    text += f": {'; '.join(compared)}." if compared else "."
    if one:
        return Statement(f"{text} There is nothing to merge.")
    single = [rival for rival in soup.against if rival.name == SINGLE]
    if any(rival.p is None or rival.p >= LEVEL for rival in single):
        text += " That merging helps here is not shown: the difference to the best checkpoint is not told from 0."
    elif any(rival.difference < 0 for rival in single):
        text += " Merging does not help here: the best checkpoint is better."
    if soup.recipe is None:
        return Statement(text)
    return Statement(
        f"{text} To merge it:", command("wise-merge", "merge", str(results.folder / soup.recipe), "merged")
    )


def _the(name: str) -> str:
    """Return a name in a sentence: the uniform soup, but WiSE-FT."""
    return name if name[:1].isupper() else f"the {name}"
