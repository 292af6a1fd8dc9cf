"""Points are reported to trackers as they are finished: their figures at once, all curves and the page at the end.

Figures are made in a thread, as sampling need not wait for them.
"""

import queue
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

from wise_merge.points.outcome import Outcome
from wise_merge.points.point import Point
from wise_merge.points.summary import summary_of
from wise_merge.results.summary import Summary
from wise_merge.search.engines.settings import EngineSettings
from wise_merge.text import enumeration
from wise_merge.trackers.contract import TRACKERS, Curve
from wise_merge.trackers.process import Order, Trackers

#: Seconds that trackers have after the last point, and after an error or Ctrl-C.
PATIENCE, SHORT_PATIENCE = 60.0, 5.0
#: Settings that a run is described by; others may hold what is nobody's business, such as tokens and places.
_CONFIG = (
    *("method", "early", "late", "run", "models", "tasks", "samples", "limit", "alphas", "temperatures", "temperature"),
    *("grid", "objective", "subject_to", "backend", "dtype", "out_dtype", "seed", "gen_kwargs", "num_fewshot"),
    *("until_ci", "successive_halving"),
)

Say = Callable[[str], None]
#: Writes the report of a folder of results and returns the path of its page.
WritePage = Callable[[Path], Path]


class Reporter:
    """Reports to the trackers that settings name, within a context; without any it does nothing."""

    def __init__(self, settings: EngineSettings, out: Path, *, page: WritePage, say: Say, warn: Say) -> None:
        """Keep what is needed; nothing is started before the context is entered."""
        self._settings, self._out, self._page, self._say, self._warn = settings, out, page, say, warn
        self._trackers: Trackers | None = None
        self._waiting: queue.SimpleQueue[Sequence[Outcome] | None] = queue.SimpleQueue()
        self._summaries: dict[Point, list[tuple[Outcome, Summary]]] = {}
        self._thread = threading.Thread(target=self._work, daemon=True)
        self._ended_early = False

    def __enter__(self) -> "Reporter":
        if self._settings.report_to:
            out = self._out.resolve()
            orders = [
                Order(name, TRACKERS[name], out / "trackers", out.name, self._config(), PATIENCE)
                for name in self._settings.report_to
            ]
            self._trackers = Trackers(orders, self._warn)
            self._thread.start()
        return self

    def point(self, outcomes: Sequence[Outcome]) -> None:
        """Report what came of a finished point on all tasks; a tracker that has it is not told again."""
        if self._trackers is not None:
            self._waiting.put(outcomes)

    def __exit__(self, kind: type[BaseException] | None, _: BaseException | None, __: TracebackType | None) -> None:
        if self._trackers is None:
            return
        self._ended_early = kind is not None
        page = None if self._ended_early else self._written()
        self._waiting.put(None)
        self._thread.join(SHORT_PATIENCE if self._ended_early else None)
        if not self._ended_early:
            for task in dict.fromkeys(outcome.task for pairs in self._summaries.values() for outcome, _ in pairs):
                self._trackers.log_curves(f"{task}/pass@k", self._curves(task))
            if page is not None:
                self._trackers.log_page(page)
        took = self._trackers.close(SHORT_PATIENCE if self._ended_early else PATIENCE, self._say)
        if took and not self._ended_early:
            self._say(f"Reported to {enumeration(took, 'and')}.")

    def _work(self) -> None:
        assert self._trackers is not None
        while (outcomes := self._waiting.get()) is not None and not self._ended_early:
            pairs = [(outcome, summary_of(outcome)) for outcome in outcomes if outcome.n]
            if not pairs:
                continue
            point = pairs[0][0].point
            # A soup meets some points twice.
            self._summaries[point] = pairs
            self._trackers.log(_key(pairs), point.title, {**_coordinates(point), **_figures(pairs)})

    def _curves(self, task: str) -> list[Curve]:
        points = sorted(self._summaries, key=_place)
        found = {point: summary for point in points for one, summary in self._summaries[point] if one.task == task}
        return [_curve(point.title, summary) for point, summary in found.items()]

    def _written(self) -> Path | None:
        try:
            return self._page(self._out)
        # A page that cannot be made must not cost the results.
        except Exception as error:
            self._warn(f"the report for {enumeration(self._settings.report_to, 'and')} cannot be made: {error}")
            return None

    def _config(self) -> dict[str, Any]:
        known = {key: getattr(self._settings, key, None) for key in _CONFIG}
        return {key: _plain(value) for key, value in known.items() if value not in (None, (), {})}


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else dict(value) if isinstance(value, Mapping) else value


def _key(pairs: Sequence[tuple[Outcome, Summary]]) -> str:
    """Return what tells a point with its samples from itself with more of them."""
    tasks = ", ".join(f"{one.task} {len(one.problems)} x {one.n}" for one, _ in pairs)
    return f"{pairs[0][0].point.name}: {tasks}"


def _coordinates(point: Point) -> dict[str, float]:
    """Return where a point lies, as numbers by which trackers can draw; one checkpoint by itself may lie nowhere."""
    lies = point.alpha is not None or point.unmerged is None
    found = {point.label(one): one.value for one in point.varied} if lies else {}
    if point.alpha is not None and point.late.step is not None:
        found["step of late"] = float(point.late.step)
    return {f"point/{name}": value for name, value in {**found, "temperature": point.temperature}.items()}


def _figures(pairs: Sequence[tuple[Outcome, Summary]]) -> dict[str, float]:
    """Return the figures of a point: pass@k at a few k, all others at the most samples, shares of odd samples."""
    figures: dict[str, float] = {}
    for outcome, summary in pairs:
        for curve in summary.curves:
            shown = summary.reported if curve.name == "pass@k" else summary.reported[-1:]
            for k in shown:
                if k not in curve.k or curve.name in ("pass^k", "operation diversity"):
                    continue
                name = f"{outcome.task}/{_at(curve.title, k)}"
                one = curve.at(k)
                figures[name] = one.value
                # More would be three charts for each figure.
                if curve.name == "pass@k" and k in (1, summary.reported[-1]):
                    figures |= {f"{name} low": one.low, f"{name} high": one.high}
        for name, share in (("unanswered", summary.unanswered), ("cut off", summary.cut_off)):
            if share is not None:
                figures[f"{outcome.task}/{name}"] = share
    # Of one problem there is no interval, and NaN is no figure.
    return {name: value for name, value in figures.items() if value == value}


def _at(title: str, k: int) -> str:
    return title.replace("@k", f"@{k}", 1) if "@k" in title else f"{title}@{k}"


def _curve(label: str, summary: Summary) -> Curve:
    curve = summary.curve("pass@k")
    assert curve is not None
    # Every k up to 16 and then four per doubling: what lies between them is a line to the eye.
    shown = {*range(1, 17), *(round(2 ** (quarter / 4)) for quarter in range(17, 100)), curve.k[-1]}
    places = [place for place, k in enumerate(curve.k) if k in shown]

    def known(values: Sequence[float]) -> tuple[float | None, ...]:
        return tuple(None if values[place] != values[place] else values[place] for place in places)

    return Curve(
        label,
        tuple(curve.k[place] for place in places),
        tuple(curve.value[place] for place in places),
        known(curve.low),
        known(curve.high),
    )


def _place(point: Point) -> tuple[Any, ...]:
    """Return what sorts points: along training, then along the coordinates, then by temperature."""
    return (point.late.step or 0, point.late.name, [one.value for one in point.coordinates], point.temperature)
