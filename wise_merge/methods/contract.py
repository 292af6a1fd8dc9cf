"""What a merge method declares, so that no other code has to know it by name.

The checks of recipes, mergekit's own contract, sweeps, cards and `wise-merge doctor` derive what they know from here.
docs/methods.md tells how to add a method.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Any, Protocol

from wise_merge.kernels.ranges import Range

if TYPE_CHECKING:
    from torch import Tensor


class Base(Enum):
    """Whether a recipe names a `base_model`, which the method treats otherwise than the models."""

    REQUIRED = "required"
    #: It is one of the models like any other, and gives config and tokenizer.
    OPTIONAL = "optional"
    NONE = "none"


class Scope(Enum):
    """What a method must see at once to compute a part of its result."""

    #: Each element of the result comes from the same element of the inputs: any block of a tensor can be merged by
    #: itself, while files are read and written, or in place in a running engine.
    ELEMENTWISE = "elementwise"
    #: A whole tensor, such as a matrix that is decomposed.
    TENSOR = "tensor"
    #: Several tensors together.
    MODEL = "model"
    #: The two factors of an adapter.
    ADAPTER = "adapter"


@dataclass(frozen=True)
class TensorFile:
    """The values of a parameter that names a file of tensors beside the checkpoints, such as their Fisher information.

    The kernel gets from it what belongs to the tensor that it merges, as statistics; see `wise_merge.tensor_files`.

    Attributes:
        kind: as the file itself says, such as "fisher".
    """

    kind: str


@dataclass(frozen=True)
class Switch:
    """The values of a parameter that is true or false."""


@dataclass(frozen=True)
class Parameter:
    """A number that a recipe gives a method, or a switch, or the path of a file.

    Attributes:
        name: its key under `parameters`.
        range: the values that it may have.
        default: None = it must be given. What an experiment is about has no default. "" = no file.
        per_model: whether each model may have its own; one at the top level then holds for all that have none.
        by_tensor: whether it may vary, by lists over the layers and by filters on the tensors' names.
        of_file: the parameter with the file that it says something about: it must be given where that names one,
            whatever its default, and only there. None = it stands by itself.
    """

    name: str
    range: Range | TensorFile | Switch
    default: float | bool | str | None = None
    per_model: bool = False
    by_tensor: bool = True
    of_file: str | None = None

    @property
    def is_number(self) -> bool:
        """Whether its values are numbers, which may vary by layer and be swept."""
        return isinstance(self.range, Range)


class Kernel(Protocol):
    """The arithmetic of a method: a pure function, which changes none of its inputs."""

    def __call__(
        self,
        tensors: "Sequence[Tensor]",
        base: "Tensor | None",
        parameters: Mapping[str, Any],
        statistics: Mapping[str, Any],
        *,
        out: "Tensor | None" = None,
    ) -> "Tensor":
        """Return the merge of one tensor, or of equal blocks of it.

        Args:
            tensors: of the models, in the order of the recipe, without the base; floating, finite, of one shape.
            base: of the base, likewise; None where the recipe names none.
            parameters: by name: a float (or a switch, or a path), or per model a tuple of them (that of the base first,
                if there is one).
            statistics: by name, of what `Method.statistics` lists and of what the files of the parameters hold; one
                that does not hold for this tensor is left out. Tensors among them have the shape of the inputs.
            out: where the result may be written, contiguous, of the shape and dtype of the inputs; a kernel may return
                another tensor instead.
        """


@dataclass(frozen=True)
class Method:
    """A merge method.

    Attributes:
        name: its `merge_method` in recipes.
        title: what people call it.
        paper: address of the paper.
        merge: the kernel.
        base: whether a base is required.
        fewest: how many models there must be beside a required base; with an optional one, it counts as a model.
        most: likewise; None = any number.
        parameters: in the order in which messages list them.
        scope: what the kernel must see at once.
        statistics: names of what it needs to know of tensors beside their values (`tensors.statistics`).
        check: raises a `WiseMergeError` for parameters of a tensor that are in range each, and not together.
        line: the parameter that says how far along the line from the base to the one model the merge lies; None where
            it lies on no such line.
        weight: the parameter that says how much each model counts; where it is 0 for all but one, the merge is that one
            as it is. None where there is no such parameter.
    """

    name: str
    title: str
    paper: str
    merge: Kernel
    base: Base
    fewest: int
    most: int | None
    parameters: tuple[Parameter, ...]
    scope: Scope
    statistics: tuple[str, ...] = ()
    check: Callable[[Mapping[str, Any]], None] | None = None
    line: str | None = None
    weight: str | None = None

    @property
    def early_and_late(self) -> bool:
        """Whether its base is the early checkpoint and its one model the late one."""
        return self.base is Base.REQUIRED and self.most == 1

    @property
    def files(self) -> tuple[Parameter, ...]:
        """Its parameters that are paths of files."""
        return tuple(parameter for parameter in self.parameters if isinstance(parameter.range, TensorFile))

    def parameter(self, name: str) -> Parameter | None:
        """Return the parameter of a name, None = the method has none of that name."""
        return next((parameter for parameter in self.parameters if parameter.name == name), None)
