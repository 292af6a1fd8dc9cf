"""What one more candidate of a greedy soup costs, sampling aside: beside a bare weighted sum of as many models.

Random bfloat16 Llamas of 1.1 billion parameters, or of fewer layers where the memory is too small for all of them
twice: mapped from warm files, and in memory for the bare sum. Each candidate is a set of checkpoints that were never
averaged together before, in an engine that has had each of them by itself, as after the first round of a soup. The two
take turns in one process. Ratios are printed beside the target; times are this machine's.
"""

import argparse
import itertools
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import psutil
import torch
from merging import LARGE, Shape, make_models

from wise_merge.checkpoints.weights import open_tensors
from wise_merge.points.point import Coordinate, Point, PointCheckpoint
from wise_merge.sampling.merged import MergedHF

#: Bytes of memory that are left for everything else.
_RESERVE = 3 << 30


def seconds(work: Callable[[], object]) -> float:
    """Return how long it takes."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def parameters(shape: Shape) -> int:
    """Return about how many parameters there are."""
    keys = shape.hidden // shape.heads * shape.key_heads
    layer = shape.hidden * (2 * shape.hidden + 2 * keys + 3 * shape.middle)
    return (1 if shape.tied else 2) * shape.vocabulary * shape.hidden + shape.layers * layer


def fitting(models: int, layers: int) -> Shape:
    """Return the largest shape of which so many models fit into memory twice, and the running one."""
    shape = replace(LARGE, layers=layers)
    while 2 * parameters(shape) * (2 * models + 1) + _RESERVE > psutil.virtual_memory().available and shape.layers > 2:
        shape = replace(shape, layers=shape.layers - 1)
    return shape


def mean_of(numbers: tuple[int, ...]) -> Point:
    """Return the point that is the mean of some of the models."""
    checkpoints = tuple(PointCheckpoint(f"model{number}", None, str(number)) for number in numbers)
    weights = tuple(Coordinate("weight", 1.0, place) for place in range(len(numbers)))
    return Point(checkpoints, "uniform_soup", weights, 1.0)


def measure(folder: Path, shape: Shape, models: int, together: int) -> None:
    """Print what one more candidate of so many models costs."""
    names = [f"model{number}" for number in range(models)]
    make_models(folder, shape, names)
    engine = MergedHF(folder / names[0], device="cpu", dtype="bfloat16", batch_size=1)

    def become(numbers: tuple[int, ...]) -> None:
        point = mean_of(numbers)
        folders = [folder / one.name for one in point.checkpoints]
        engine.replace_weights(folders, point.ingredients, point.recipe(), point.title, point.model)

    first = [seconds(lambda number=number: become((number,))) for number in range(models)]
    held = [{name: tensor.clone() for name, tensor in open_tensors(folder / name_).items()} for name_ in names]
    places = {name: torch.empty_like(tensor) for name, tensor in held[0].items()}

    def bare(numbers: tuple[int, ...]) -> None:
        weight = 1 / len(numbers)
        for name, place in places.items():
            torch.mul(held[numbers[0]][name], weight, out=place)
            for number in numbers[1:]:
                place.add_(held[number][name], alpha=weight)

    sets = list(itertools.combinations(range(models), together))
    bare(sets[0])
    pairs = [(seconds(lambda one=one: become(one)), seconds(lambda one=one: bare(one))) for one in sets]
    ours, theirs = (statistics.median(times) for times in zip(*pairs, strict=True))
    ratio = statistics.median(one / other for one, other in pairs)
    print(f"one more candidate of {together} models, {parameters(shape) / 1e9:.2f} billion parameters in bfloat16")
    print(f"  in the running engine, from the mapped files  {ours:6.2f} s   {ratio:.2f} of the bare sum (target 1.5)")
    print(f"  bare weighted sum in memory                   {theirs:6.2f} s   median of {len(sets)} turns")
    print(f"  each model by itself, opened and looked at    {statistics.median(first):6.2f} s   once")


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--models", type=int, default=5)
    parser.add_argument("--together", type=int, default=4)
    parser.add_argument("--layers", type=int, default=LARGE.layers, help="at most")
    parser.add_argument("--folder", type=Path, help="where the files go; else a temporary folder")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=given.folder) as name:
        measure(Path(name), fitting(given.models, given.layers), given.models, given.together)


if __name__ == "__main__":
    main()
