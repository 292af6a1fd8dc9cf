"""What a tracker can be told, and which there are; all that is wanted of W&B, Trackio and TensorBoard."""

import importlib
import importlib.util
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from wise_merge.errors import WiseMergeError
from wise_merge.text import hint

#: Name of a tracker, as transformers' `report_to` has it -> the class that speaks to it; the package has the same name.
TRACKERS = {
    "wandb": "wise_merge.trackers.to_wandb:Wandb",
    "trackio": "wise_merge.trackers.to_trackio:Trackio",
    "tensorboard": "wise_merge.trackers.to_tensorboard:TensorBoard",
}

#: The project where the environment names none.
PROJECT = "wise-merge"


@dataclass(frozen=True)
class Run:
    """The run that a tracker writes to.

    Attributes:
        name: what people call it.
        key: eight hex digits that tell it from all other runs.
        resumed: whether it was there before.
        folder: for what the tracker keeps beside the results.
        config: what is the same for the whole run, in JSON's types.
    """

    name: str
    key: str
    resumed: bool
    folder: Path
    config: Mapping[str, Any]

    @property
    def unique_name(self) -> str:
        """The name for trackers that know runs by their names alone."""
        return f"{self.name}-{self.key[:4]}"


@dataclass(frozen=True)
class Curve:
    """A figure of one model against k: parallel sequences, with the ends of 95 % intervals, None where unknown."""

    label: str
    k: tuple[int, ...]
    value: tuple[float, ...]
    low: tuple[float | None, ...]
    high: tuple[float | None, ...]


class Tracker(Protocol):
    """A run of a tracker that has been opened; whatever its library raises comes through."""

    def __init__(self, run: Run) -> None: ...

    def log(self, step: int, title: str, figures: Mapping[str, float]) -> None:
        """Write the figures of a step, and the title of what they are figures of."""

    def log_curves(self, name: str, curves: Sequence[Curve]) -> None:
        """Write curves that belong into one picture; those of the same name from before are replaced."""

    def log_page(self, page: Path) -> None:
        """Keep an HTML page with the run."""

    def finish(self) -> None:
        """Write what has not been written yet."""


def check_trackers(names: Sequence[str]) -> None:
    """Raise a `WiseMergeError` for a tracker that is unknown or whose package is missing; imports none."""
    for name in names:
        if name not in TRACKERS:
            raise WiseMergeError(f"report_to: there is no tracker {name!r}; {hint(name, TRACKERS)}")
    for name in names:
        found = importlib.util.find_spec(name)
        # W&B leaves a folder of its own name, which Python would take for a package.
        if found is None or found.origin is None:
            raise WiseMergeError(
                f"--report-to {name} needs the package {name}: pip install 'wise-merge[trackers]', or {name} alone"
            )


def open_run(place: str, run: Run) -> Tracker:
    """Return an opened run of the tracker whose class is in that place, see `TRACKERS`."""
    module, _, kind = place.partition(":")
    tracker: type[Tracker] = getattr(importlib.import_module(module), kind)
    return tracker(run)


def from_environment(variable: str, otherwise: str) -> str:
    """Return what the user has set for all programs, or else what is given."""
    return os.environ.get(variable) or otherwise
