"""What is missing in a file of samples: counts, and sentences that say what was done about it.

A sample without a completion counts as wrong: to leave it out would raise the model's figures.
"""

from collections import Counter
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field

from wise_merge.text import counted


@dataclass
class Missing:
    """How much is missing so far.

    Attributes:
        samples: how many lack a `completion`, a `verdict`, or a score: `score in COLUMN`.
        problems: ids of those that had a row with no usable sample.
    """

    samples: Counter[str] = field(default_factory=Counter)
    problems: set[str] = field(default_factory=set)

    def update(self, other: "Missing") -> None:
        """Add what another file lacks."""
        self.samples.update(other.samples)
        self.problems |= other.problems


def notes_of(missing: Missing, kept: Collection[str], *, file_verdicts: bool, skip_bad: bool) -> Iterator[str]:
    """Yield a sentence on everything that is missing.

    Args:
        missing: see there.
        kept: ids of the problems that are there.
        file_verdicts: whether the verdicts of the file decide, not the completions.
        skip_bad: whether samples on which nothing decides were left out.
    """
    deciding = "verdict" if file_verdicts else "completion"
    for what, count in sorted(missing.samples.items()):
        samples = f"{counted(count, 'sample')} without a {what}"
        if what == deciding and skip_bad:
            gone = len(missing.problems.difference(kept))
            with_them = f", and {counted(gone, 'problem')} without any other sample" if gone else ""
            yield f"{samples} left out (--skip-bad){with_them}"
        elif what == deciding:
            counts, them = ("counts", "it") if count == 1 else ("count", "them")
            yield f"{samples} {counts} as wrong (--skip-bad leaves {them} out)"
        elif what == "completion":
            yield f"{samples}: the file's verdict counts"
        else:
            yield f"{samples} rank{'s' * (count == 1)} last"
