"""The bar of an evaluation on stderr: samples done of all, time left, tokens per second."""

import time

from tqdm import tqdm


class Progress:
    """A bar that counts the samples of the journal as done."""

    def __init__(self, total: int, from_journal: int, disabled: bool, *, stays: bool) -> None:
        self._bar = tqdm(
            total=total, initial=from_journal, disable=disabled, desc="Sampling", unit="sample", leave=stays
        )
        self._started, self._tokens = time.monotonic(), 0
        self._prefix = f"{from_journal} from the journal, " if from_journal else ""

    def __enter__(self) -> "Progress":
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.close()

    def add(self, tokens: int) -> None:
        """Count a sample of so many tokens."""
        self._tokens += tokens
        rate = self._tokens / max(time.monotonic() - self._started, 1e-9)
        self._bar.set_postfix_str(f"{self._prefix}{rate:.0f} tokens/s", refresh=False)
        self._bar.update()
