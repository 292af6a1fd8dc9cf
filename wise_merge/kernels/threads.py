"""How many threads torch may take for a model: one where it is tiny.

Torch's threads wait for each other after every operation. Where one takes a fraction of a millisecond, as on a tiny
model, a second thread gains little, and when something else runs on its core, all of it takes ten times as long or
more. Further cores are better used by further processes.
"""

import contextlib
import os
from collections.abc import Iterator
from typing import Any

#: Parameters below which a model is tiny: two threads generate with 4 million 1.3 times as fast as one, with 140
#: million 1.6 times.
TINY = 10_000_000
#: By these, users say how many threads they want.
VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS")


@contextlib.contextmanager
def fitting(model: Any) -> Iterator[None]:
    """Have torch compute with one thread within, if `model`, a module, is tiny and lies on the CPU.

    A number of threads that was chosen, by a variable of the environment or by `torch.set_num_threads`, stays.
    """
    import torch

    parameters = list(model.parameters())
    tiny = sum(parameter.numel() for parameter in parameters) < TINY
    here = all(parameter.device.type == "cpu" for parameter in parameters)
    before = torch.get_num_threads()
    if not tiny or not here or before == 1 or _is_chosen(before):
        yield
        return
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _is_chosen(threads: int) -> bool:
    if any(os.environ.get(name) for name in VARIABLES):
        return True
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    # By default torch takes all of them or, where each core appears twice (hyper-threading), half.
    return threads not in (cores, cores // 2)
