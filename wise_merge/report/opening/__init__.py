"""What a report opens with: sentences made from facts about what was done, what was chosen, and what to do.

They claim nothing that `wise-merge best` or `wise-merge soup` has not tested on problems without a part in the choice.
"""

from wise_merge.points.best import BestChoice
from wise_merge.points.folder import Results
from wise_merge.points.soup import Soup
from wise_merge.report.numbers import Statement
from wise_merge.report.opening.chosen import about_choice
from wise_merge.report.opening.greedy import about_soup
from wise_merge.report.opening.swept import about_sweep

__all__ = ["opening_of"]


def opening_of(results: Results, best: BestChoice | None, soup: Soup | None) -> tuple[Statement, ...]:
    """Return the opening of a report: what was done, then what was chosen.

    Args:
        results: with at least one outcome.
        best: what was chosen last, None = nothing yet.
        soup: how the greedy soup of the results was made, None = there is none.
    """
    statements = [Statement(about_sweep(results, soup))]
    if soup is not None:
        statements.append(about_soup(results, soup))
    # A soup is a choice already.
    if best is not None or soup is None:
        statements.append(about_choice(results, best))
    return tuple(statements)
