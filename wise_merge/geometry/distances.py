"""How far two checkpoints lie apart, and how much of a merge survives the rounding of its output.

Sums over blocks of elements, so that a merge can gather them while it streams: of `early` e, the task
vector d = late - early, and the step s = merged - early. Everything is computed from a few such sums.
Knows torch and numpy, and loads neither before there is a tensor to measure.
"""

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Distance:
    """Sums over the elements of two checkpoints.

    Attributes:
        elements: how many.
        changed: how many of them differ.
        early: sum of e^2.
        task_vector: sum of d^2.
    """

    elements: int = 0
    changed: int = 0
    early: float = 0.0
    task_vector: float = 0.0

    def __add__(self, other: "Distance") -> "Distance":
        return Distance(
            self.elements + other.elements,
            self.changed + other.changed,
            self.early + other.early,
            self.task_vector + other.task_vector,
        )

    @property
    def relative(self) -> float:
        """||late - early|| / ||early||; infinite where early is zero and late is not."""
        if self.task_vector == 0.0:
            return 0.0
        return math.sqrt(self.task_vector / self.early) if self.early else math.inf


@dataclass(frozen=True)
class Step:
    """Sums over the elements of one merge.

    Attributes:
        moved: how many elements are not as in early, in the output's dtype.
        along: sum of s * d.
        squared: sum of s^2.
        wanted: sum of alpha * s * d, with each tensor's own alpha.
        wanted_squared: sum of (alpha * d)^2, likewise.
    """

    moved: int = 0
    along: float = 0.0
    squared: float = 0.0
    wanted: float = 0.0
    wanted_squared: float = 0.0

    def __add__(self, other: "Step") -> "Step":
        return Step(
            self.moved + other.moved,
            self.along + other.along,
            self.squared + other.squared,
            self.wanted + other.wanted,
            self.wanted_squared + other.wanted_squared,
        )

    @property
    def rounding_error(self) -> float:
        """||merged - exact|| / ||exact - early||: how much of the step rounding is; 0 where no step was wanted."""
        if self.wanted_squared == 0.0:
            return 0.0
        # |s - alpha d|^2, multiplied out. The three terms nearly cancel where nothing is rounded.
        error = self.squared - 2.0 * self.wanted + self.wanted_squared
        return math.sqrt(max(error, 0.0) / self.wanted_squared)

    def effective_alpha(self, distance: Distance) -> float | None:
        """Return <merged - early, late - early> / ||late - early||^2; None where the two are equal."""
        return self.along / distance.task_vector if distance.task_vector else None

    def rounded_back(self, distance: Distance) -> float:
        """Return the share of the elements that differ between the two which the merge leaves as in early."""
        return 1.0 - min(self.moved / distance.changed, 1.0) if distance.changed else 0.0


@dataclass
class Measured:
    """What was measured of each tensor of a merge, by name.

    Attributes:
        distances: of a merge on the line from early to late: between the two. Of any other merge: between its first
            input, which stands in the place of early, and the output.
        steps: of each output on such a line.
    """

    distances: dict[str, Distance] = field(default_factory=dict)
    steps: list[dict[str, Step]] = field(default_factory=list)


def differing(one: "Tensor", other: "Tensor") -> int:
    """Return how many elements of two contiguous tensors of one shape and dtype differ, bit by bit."""
    import numpy as np
    import torch

    # numpy counts several times faster than torch, and has no bfloat16.
    whole = {1: torch.int8, 2: torch.int16, 4: torch.int32, 8: torch.int64}[one.element_size()]
    return int(np.count_nonzero(one.view(whole).numpy() != other.view(whole).numpy()))


def distance(early: "Tensor", task_vector: "Tensor", *, changed: int) -> Distance:
    """Return the sums of two blocks of shape [n], float32 or float64: early, and late - early with `changed` not 0."""
    return Distance(early.numel(), changed, float(early.dot(early)), float(task_vector.dot(task_vector)))


def step(
    early: "Tensor",
    task_vector: "Tensor",
    merged: "Tensor",
    alpha: float,
    task_vector_squared: float,
    *,
    moved: int,
    scratch: "Tensor | None" = None,
) -> Step:
    """Return the sums of one merge of such blocks; `merged` may have any dtype, and `moved` of it are not as in early.

    `task_vector_squared` is the sum of d^2 that `distance` has found. s is computed in `scratch`, a block like
    `early`, if there is one.
    """
    import torch

    difference = (torch.empty_like(early) if scratch is None else scratch).copy_(merged).sub_(early)
    along = float(difference.dot(task_vector))
    return Step(moved, along, float(difference.dot(difference)), alpha * along, alpha * alpha * task_vector_squared)
