"""Heavy imports without Python's garbage collector, which finds nothing to collect in them.

Torch makes a million objects that stay. The collector visits all of them again and again while they are made, and
once more when the process ends: that is a third of the time that `import torch` takes.
"""

import contextlib
import gc
from collections.abc import Iterator


@contextlib.contextmanager
def without_garbage_collection() -> Iterator[None]:
    """Pause the garbage collector within, and exempt from it for good what exists at the end."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        if was_enabled:
            gc.enable()
