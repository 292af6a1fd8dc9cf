"""Trackio: a row per step, curves as a picture and a table, the page as an artifact."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from wise_merge.trackers.contract import PROJECT, Curve, Run, from_environment
from wise_merge.trackers.picture import picture


class Trackio:
    """A run of Trackio: in TRACKIO_DIR, or on the Space or server that TRACKIO_SPACE_ID or TRACKIO_SERVER_URL names."""

    def __init__(self, run: Run) -> None:
        import trackio

        self._run = trackio.init(
            project=from_environment("TRACKIO_PROJECT", PROJECT),
            # Runs are resumed by name, and many a folder of results is called results.
            name=run.unique_name,
            resume="allow" if run.resumed else "never",
            config=dict(run.config),
            embed=False,
            auto_log_cpu=False,
            auto_log_gpu=False,
        )

    def log(self, step: int, title: str, figures: Mapping[str, float]) -> None:
        """Write a row of the run."""
        self._run.log({"title": title, **figures}, step=step)

    def log_curves(self, name: str, curves: Sequence[Curve]) -> None:
        """Keep the curves as a picture, and as a table of k = 1, 2, 4, ..., K"""
        import trackio

        table = trackio.Table(*_table(curves))
        self._run.log({name: trackio.Html(picture(name, curves)), f"{name}, table": table})

    def log_page(self, page: Path) -> None:
        """Keep the page as an artifact of the run."""
        self._run.log_artifact(page, name=f"report-{self._run.name}", type="report")

    def finish(self) -> None:
        """Wait until everything has been written or sent, half a minute at most."""
        import trackio

        # Not the run's own, after which the library would finish it again at the end.
        trackio.finish()


def _table(curves: Sequence[Curve]) -> tuple[list[str], list[list[str | float]]]:
    """Return the columns and the rows of a table of curves at k = 1, 2, 4, ... and at the last k of each."""
    shown = sorted({k for curve in curves for k in curve.k if k & (k - 1) == 0 or k == curve.k[-1]})
    rows: list[list[str | float]] = []
    for curve in curves:
        at = dict(zip(curve.k, curve.value, strict=True))
        rows.append([curve.label, *(round(at[k], 4) if k in at else "" for k in shown)])
    return ["model", *(f"k = {k}" for k in shown)], rows
