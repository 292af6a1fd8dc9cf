"""Weights & Biases: a history row per step, one chart of curves from one table, the page as an artifact."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from wise_merge.trackers.contract import PROJECT, Curve, Run, from_environment

#: Of the table of curves; W&B draws them by the last three.
_COLUMNS = ["k", "value", "low", "high", "model"]


class Wandb:
    """A run on W&B, or in `wandb/` where WANDB_MODE is offline."""

    def __init__(self, run: Run) -> None:
        import wandb

        self._run = wandb.init(
            project=from_environment("WANDB_PROJECT", PROJECT),
            name=from_environment("WANDB_NAME", run.name),
            # By the id a later command goes on in the same run.
            id=from_environment("WANDB_RUN_ID", run.key),
            resume="allow",
            job_type="wise-merge",
            config=dict(run.config),
            settings=wandb.Settings(console="off"),
        )

    def log(self, step: int, title: str, figures: Mapping[str, float]) -> None:
        """Write a row of the history."""
        self._run.log({"title": title, **figures}, step=step)

    def log_curves(self, name: str, curves: Sequence[Curve]) -> None:
        """Draw a chart from a table that has the intervals, too."""
        import wandb

        rows = [
            [k, value, low, high, curve.label]
            for curve in curves
            for k, value, low, high in zip(curve.k, curve.value, curve.low, curve.high, strict=True)
        ]
        table = wandb.Table(columns=_COLUMNS, data=rows)
        self._run.log({name: wandb.plot.line(table, "k", "value", stroke="model", title=name)})

    def log_page(self, page: Path) -> None:
        """Keep the page as an artifact of the run."""
        import wandb

        artifact = wandb.Artifact(f"report-{self._run.id}", type="report")
        artifact.add_file(os.fspath(page), name=page.name)
        self._run.log_artifact(artifact)

    def finish(self) -> None:
        """Wait until everything has been sent, or written where W&B is offline."""
        self._run.finish()
