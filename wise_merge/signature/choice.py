"""Which tensors of a model are asked for: by the numbers of their layers, and by their names."""

import re
from collections.abc import Collection, Sequence

from wise_merge.errors import WiseMergeError

#: As in `wise_merge.tensors.layout`: the first number in a name is that of the layer.
_LAYER = re.compile(r"\.(\d+)\.")
_NUMBERS = re.compile(r"(\d+)(?:-(\d+))?")
#: Layers of one list.
_MOST = 100_000


def chosen(names: Sequence[str], layers: str | None, only: Sequence[str]) -> list[str]:
    """Return the tensors that are asked for, in their order.

    Args:
        names: of all tensors.
        layers: numbers and ranges (both ends count) of layers, and texts that stand in the names of tensors outside of
            the layers, such as "embed_tokens,0-6"; None = all.
        only: texts of which one stands in the name of each; none = all.

    Raises a `WiseMergeError` for an entry that names no tensor, and if none is left.
    """
    found = list(names)
    if layers is not None:
        found = _of_layers(found, layers)
    for text in only:
        if not any(text in name for name in names):
            raise WiseMergeError(f"--only {text}: no tensor has this in its name; they are called such as {names[0]}")
    if only:
        found = [name for name in found if any(text in name for text in only)]
    if not found:
        raise WiseMergeError(f"no tensor of the layers {layers} has {' or '.join(only)} in its name")
    return found


def _of_layers(names: Sequence[str], layers: str) -> list[str]:
    numbers = {name: int(match[1]) for name in names if (match := _LAYER.search(name))}
    outside = [name for name in names if name not in numbers]
    wanted: set[str] = set()
    for entry in (part.strip() for part in layers.split(",")):
        match = _NUMBERS.fullmatch(entry)
        if match:
            first, last = int(match[1]), int(match[2] or match[1])
            wanted |= _within(numbers, first, last, entry)
            continue
        fitting = [name for name in outside if entry and entry in name]
        if not fitting:
            raise WiseMergeError(
                f"--layers takes numbers and ranges of layers, such as 0-6, and names of what lies outside of them "
                f"({_listed(outside)}); got {entry!r}"
            )
        wanted.update(fitting)
    return [name for name in names if name in wanted]


def _within(numbers: dict[str, int], first: int, last: int, entry: str) -> set[str]:
    if first > last:
        raise WiseMergeError(f"--layers {entry} runs backwards; write {last}-{first}")
    present = set(numbers.values())
    absent = next((number for number in range(first, min(last, first + _MOST) + 1) if number not in present), None)
    if absent is not None:
        there = f"they are numbered from {min(present)} to {max(present)}" if present else "it has none with a number"
        raise WiseMergeError(f"--layers {entry}: the model has no layer {absent}; {there}")
    return {name for name, number in numbers.items() if first <= number <= last}


def _listed(names: Collection[str]) -> str:
    shown = sorted(names)[:3]
    return ", ".join(shown) + (", ..." if len(names) > len(shown) else "") if shown else "there is none"
