"""The recipe that makes a greedy soup, headed by how it was chosen."""

import textwrap
from pathlib import Path

from wise_merge.errors import WiseMergeError
from wise_merge.search.soup.result import ConfirmedSoup
from wise_merge.search.soup.table import confirmed
from wise_merge.text import counted, printable

#: Its name in the folder of results.
NAME = "soup.yml"
#: How the recipes begin that may be replaced.
_FIRST = "# Written by `wise-merge soup`: "


def check_replaceable(path: Path) -> None:
    """Refuse to replace what `wise-merge soup` has not written."""
    if path.is_dir():
        raise WiseMergeError(f"{path} is a folder, and the recipe is to be there; move it away")
    if path.is_file():
        with path.open("rb") as file:
            if file.read(len(_FIRST)) != _FIRST.encode():
                raise WiseMergeError(
                    f"{path} exists and was not written by `wise-merge soup`, so it is not overwritten; move it away"
                )


def recipe(soup: ConfirmedSoup) -> str:
    """Return the YAML for mergekit and `wise-merge merge`; paths are as the user wrote them."""
    import yaml

    plan, selecting = soup.plan, int(soup.selects.sum())
    wanted, count = soup.singles.wanted, len(soup.selects)
    constraints = f" with {' and '.join(map(str, wanted.constraints))}" if wanted.constraints else ""
    kept = ", ".join(map(plan.with_step, soup.ingredients))
    lines = [
        f"{_FIRST[2:]}the mean of {kept}",
        f"Kept in this order, of {counted(len(plan.checkpoints), 'checkpoint')}, each for a larger "
        f"{wanted.objective}{constraints} on {selecting:,} of {counted(count, 'problem')} of "
        f"{', '.join(plan.settings.tasks)} (seed {plan.settings.halves_seed}).",
        f"On the other {count - selecting:,}: {confirmed(soup)}",
        f"Sample it at temperature {plan.settings.temperature:g}, as it was chosen.",
        "Run it where the paths below lead to them: mergekit-yaml THIS_FILE OUT",
    ]
    head = [f"# {part}" for line in lines for part in textwrap.wrap(printable(line), 116, break_on_hyphens=False)]
    body = yaml.safe_dump(
        plan.point(soup.ingredients).recipe(), sort_keys=False, allow_unicode=True, default_flow_style=False
    )
    return "\n".join([*head, body])
