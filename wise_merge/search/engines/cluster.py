"""Points over a Ray cluster: one engine per GPU, or per some cores, each used for many points.

Samples and outcomes are written to the journal and the folder of results, which all machines see. If an engine dies,
with its machine or alone, the samples that it was drawing are lost, and another engine goes on with its point.
"""

import os
import re
import socket
import tempfile
from collections import Counter, deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from wise_merge.errors import WiseMergeError
from wise_merge.points.outcome import Outcome
from wise_merge.points.point import Point
from wise_merge.search.engines.worker import Order, Worker

#: After so many engines have died while sampling one point, that point is taken for the cause.
_MOST_DEATHS = 3
#: Seconds between two checks of the cluster's resources, since machines may join and leave.
_LOOK_EVERY = 5.0
#: Timeout in seconds for connecting to a cluster.
_ANSWER = 10.0
#: Seconds for which a process whose machine was lost may still hold the lock on its point's journal.
_LOCK_PATIENCE = 120.0


@contextmanager
def connected(address: str) -> Iterator[None]:
    """Keep this process connected to a Ray cluster; one that it is connected to already stays so."""
    try:
        import ray
    except ImportError as error:
        raise WiseMergeError(
            f'--ray needs Ray, which cannot be imported ({error}); pip install "wise-merge[ray]"'
        ) from error
    if ray.is_initialized():
        yield
        return
    try:
        _check_reachable(address)
        ray.init(address=address, log_to_driver=False, logging_level="ERROR")
    # Ray has no common base class for the ways in which a cluster cannot be reached.
    except Exception as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise WiseMergeError(
            f"no Ray cluster at {address} ({reason[:300]}); start one with `ray start --head`, or leave --ray out"
        ) from error
    try:
        yield
    finally:
        ray.shutdown()


def _check_reachable(address: str) -> None:
    """Raise OSError where nothing answers: Ray itself would wait for many minutes."""
    if address == "auto":
        # The file in which Ray itself looks for the address.
        started = Path(tempfile.gettempdir()) / "ray" / "ray_current_cluster"
        address = os.environ.get("RAY_ADDRESS") or (started.read_text().strip() if started.is_file() else "")
    place = re.fullmatch(r"(?:ray://)?(?P<host>.+):(?P<port>\d+)", address)
    if place:
        socket.create_connection((place["host"].strip("[]"), int(place["port"])), timeout=_ANSWER).close()


class Cluster:
    """Samples points with as many engines as the cluster has room for; an `Engine` is an actor of Ray."""

    def __init__(self, order: Order) -> None:
        """Keep what engines must know; none is started yet."""
        import ray

        settings = order.settings
        self._gpus = float(ray.cluster_resources().get("GPU", 0) > 0) if settings.gpus is None else settings.gpus
        self._cores = settings.cores
        if self._room() < 1:
            raise WiseMergeError(
                f"the Ray cluster has no room for an engine of {self._cores} cores and {self._gpus:g} GPUs; it has "
                f"{ray.cluster_resources().get('CPU', 0):g} cores and {ray.cluster_resources().get('GPU', 0):g} GPUs: "
                "set cores and gpus in the YAML file"
            )
        whole = replace(
            order,
            folders={name: folder.resolve() for name, folder in order.folders.items()},
            out=order.out.resolve(),
            processes=self._cores,
            patience=_LOCK_PATIENCE,
        )
        # Stored once in Ray's object store and shared by all engines.
        self._order = ray.put((whole, os.getcwd()))
        self._engine = ray.remote(num_cpus=self._cores, num_gpus=self._gpus)(Engine)
        self._idle: list[Any] = []
        #: Reference that resolves when an engine is up -> the engine.
        self._starting: dict[Any, Any] = {}
        self._failed_starts = 0

    def sample(self, points: Sequence[Point], n: int) -> Iterator[list[Outcome]]:
        """Yield what came of n samples per problem at each point, in the order in which it is found."""
        import ray
        from ray.exceptions import RayActorError, RayTaskError

        waiting, deaths = deque(points), Counter[Point]()
        running: dict[Any, tuple[Any, Point]] = {}
        while waiting or running:
            # Points go only to engines that are up: an engine that never finds room must not hold one.
            while waiting and self._idle:
                engine, point = self._idle.pop(), waiting.popleft()
                running[engine.sample.remote(point, n)] = engine, point
            while len(self._starting) < min(len(waiting), self._room() - len(running)):
                engine = self._engine.remote(self._order)
                self._starting[engine.ready.remote()] = engine
            done, _ = ray.wait([*running, *self._starting], timeout=_LOOK_EVERY)
            for reference in done:
                if reference in self._starting:
                    self._start(reference)
                    continue
                engine, point = running.pop(reference)
                try:
                    outcomes = ray.get(reference)
                except RayActorError as error:
                    deaths[point] += 1
                    if deaths[point] >= _MOST_DEATHS:
                        raise _died(f"of {point.title}", error) from error
                    waiting.appendleft(point)
                except RayTaskError as error:
                    if isinstance(error.cause, WiseMergeError):
                        raise WiseMergeError(str(error.cause)) from error
                    raise
                else:
                    self._idle.append(engine)
                    yield outcomes

    def _start(self, reference: Any) -> None:
        """Take an engine that is up among the idle ones; one that died on the way is replaced, some times over."""
        import ray
        from ray.exceptions import RayActorError

        engine = self._starting.pop(reference)
        try:
            ray.get(reference)
        except RayActorError as error:
            self._failed_starts += 1
            if self._failed_starts >= _MOST_DEATHS:
                raise _died("before they were up", error) from error
        else:
            self._failed_starts = 0
            self._idle.append(engine)

    def _room(self) -> int:
        """Return how many engines the cluster holds, those that run among them."""
        import ray

        return sum(
            int(min(_ratio(resources.get("CPU", 0), self._cores), _ratio(resources.get("GPU", 0), self._gpus)))
            for node in ray.nodes()
            if node["Alive"] and (resources := node["Resources"])
        )


def _died(when: str, error: Exception) -> WiseMergeError:
    return WiseMergeError(
        f"{_MOST_DEATHS} engines have died {when} ({' '.join(str(error).split())[:300]}); all finished samples are in "
        "the journal: mend that and run the same command again"
    )


def _ratio(there: float, needed: float) -> float:
    return there / needed if needed else float("inf")


class Engine:
    """An actor of Ray: a worker, loaded with its first point so that errors of loading come as those of a point."""

    def __init__(self, order: tuple[Order, str]) -> None:
        """Keep the order and the folder in which the command was typed."""
        self._order, self._directory = order
        self._worker: Worker | None = None

    def ready(self) -> None:
        """Return when the engine is up."""

    def sample(self, point: Point, n: int) -> list[Outcome]:
        """Return what comes of a point; see `Worker.sample`."""
        try:
            if self._worker is None:
                self._worker = self._load()
            return self._worker.sample(point, n)
        except WiseMergeError as error:
            # Subclasses that are a SystemExit, meant to end `lm_eval`, would end the actor.
            raise WiseMergeError(str(error)) from None

    def _load(self) -> Worker:
        import platform

        for what, path in [("results", self._order.out / "sweep.json"), *self._order.folders.items()]:
            if not path.exists():
                raise WiseMergeError(
                    f"{platform.node()} does not see {path} ({what}); checkpoints and results must lie where every "
                    "machine of the cluster finds them by the same path"
                )
        # So that relative paths in the settings mean the same; the folder may not exist on this machine.
        if Path(self._directory).is_dir():
            os.chdir(self._directory)
        return Worker(self._order)
