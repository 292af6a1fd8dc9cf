"""What a heavy import costs beside its own work: Python's search for garbage, of which an import leaves none.

Torch makes a million objects that stay. The collector walks over all of them again and again while they are made, and
once more when the process ends: a third of the seconds that `import torch` takes.
"""

import contextlib
import gc
from collections.abc import Iterator


@contextlib.contextmanager
def no_garbage() -> Iterator[None]:
    """Collect no garbage within, and spare the collector from then on whatever has been made so far."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        if was_enabled:
            gc.enable()
