"""What averaging one pair of tensors costs within mergekit: the kernel of `wise_ft` beside that of `linear`.

50 million elements each, in memory, through mergekit's own call of a method, the search for NaN and infinities
included, which `linear` does not do. The two take turns, so that a machine that slows down slows both.
"""

import argparse
import statistics
import time
from collections.abc import Callable
from functools import partial

import torch
from mergekit.merge_methods import get
from mergekit.merge_methods.base import TensorGroup

import wise_merge.hosts.mergekit.methods  # noqa: F401 - registers wise_ft

DTYPES = (torch.bfloat16, torch.float16, torch.float32)


def medians(*calls: Callable[[], object], runs: int) -> list[float]:
    """Return the median seconds of each call, taken by turns."""
    times: list[list[float]] = [[] for _ in calls]
    for run in range(runs + 1):
        for call, elapsed in zip(calls, times, strict=True):
            begin = time.perf_counter()
            result = call()
            if run:  # the first of each warms up
                elapsed.append(time.perf_counter() - begin)
            del result
    return [statistics.median(elapsed) for elapsed in times]


def main() -> None:
    """Print one line per dtype and alpha."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--elements", type=int, default=50_000_000)
    parser.add_argument("--runs", type=int, default=11)
    arguments = parser.parse_args()
    print(
        f"{arguments.elements:,} elements, {torch.get_num_threads()} threads, medians of {arguments.runs} runs by turns"
    )
    print(f"{'dtype':<10}{'alpha':>6}{'linear':>12}{'wise_ft':>12}{'ratio':>8}")
    linear, wise_ft = get("linear"), get("wise_ft")
    for dtype in DTYPES:
        generator = torch.Generator().manual_seed(0)
        early = torch.randn(arguments.elements, generator=generator).mul_(0.02)
        late = torch.randn(arguments.elements, generator=generator).mul_(0.002).add_(early).to(dtype)
        groups = [TensorGroup.from_tensors([early.to(dtype), late], base_index=0, name="w")]
        del early, late
        for alpha in (0.5, 1.0):
            ours, theirs = medians(
                partial(wise_ft, groups, parameters={"alpha": alpha}),
                partial(linear, groups, parameters={"weight": [1 - alpha, alpha]}),
                runs=arguments.runs,
            )
            name = str(dtype).removeprefix("torch.")
            print(f"{name:<10}{alpha:>6}{1e3 * theirs:>9.0f} ms{1e3 * ours:>9.0f} ms{ours / theirs:>8.2f}")


if __name__ == "__main__":
    main()
