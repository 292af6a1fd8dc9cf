"""TensorBoard: a scalar per figure and step, a run of its own for each curve, so that one chart has all, and texts.

It keeps no files, so that it is told where the page is.
"""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from wise_merge.trackers.contract import Curve, Run, from_environment
from wise_merge.trackers.picture import picture


class TensorBoard:
    """Event files in the folder of the results, or in that of TENSORBOARD_LOGGING_DIR."""

    def __init__(self, run: Run) -> None:
        from torch.utils.tensorboard import SummaryWriter

        elsewhere = from_environment("TENSORBOARD_LOGGING_DIR", "")
        self._folder = Path(elsewhere) / run.unique_name if elsewhere else run.folder / "tensorboard"
        self._writer = SummaryWriter(str(self._folder))
        self._step = 0
        if not run.resumed:
            settings = "\n".join(f"    {key}: {value}" for key, value in run.config.items())
            self._writer.add_text("settings", settings)

    def log(self, step: int, title: str, figures: Mapping[str, float]) -> None:
        """Write a scalar of each figure."""
        self._step = step
        self._writer.add_text("title", title, step)
        for name, value in figures.items():
            self._writer.add_scalar(name, value, step)
        self._writer.flush()

    def log_curves(self, name: str, curves: Sequence[Curve]) -> None:
        """Write scalars with k as the step, by curve in a run of its own, and the picture."""
        from torch.utils.tensorboard import SummaryWriter

        for curve in curves:
            folder = self._folder / "curves" / re.sub(r"[^\w.+-]+", "_", curve.label)
            # What an earlier command wrote of this curve is hidden from k = 1 on.
            with SummaryWriter(str(folder), purge_step=1) as writer:
                for k, value in zip(curve.k, curve.value, strict=True):
                    writer.add_scalar(name, value, k)
        self._writer.add_figure(name, picture(name, curves), self._step)

    def log_page(self, page: Path) -> None:
        """Say where the page is."""
        self._writer.add_text("report", f"`{page.resolve()}`", self._step)

    def finish(self) -> None:
        """Write what is left and close the files."""
        self._writer.close()
