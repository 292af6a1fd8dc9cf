"""Each tracker in a process of its own, so that one without a network or a login neither ends nor stalls the work.

Which steps a tracker has is written down beside the results, so that a later command goes on in the same run and tells
it nothing twice.
"""

import contextlib
import json
import os
import pickle
import queue
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from wise_merge.results.whole_file import write_document
from wise_merge.text import enumeration, printable
from wise_merge.trackers.contract import Curve, Run, Tracker, open_run

#: Version of the file that says which steps a tracker has; one of another version counts as none.
FORMAT = 1
#: Seconds in which a process must end that has been asked to, whatever its tracker waits for, and that its parent adds.
_GRACE = 5.0


@dataclass(frozen=True)
class Order:
    """What the process of a tracker must know.

    Attributes:
        tracker: its name.
        place: of its class, see `wise_merge.trackers.contract.TRACKERS`.
        folder: for what trackers keep beside the results.
        name: of the run.
        config: of the run.
        patience: seconds that the tracker has, at most, for what is left when there is no more to come.
    """

    tracker: str
    place: str
    folder: Path
    name: str
    config: Mapping[str, Any]
    patience: float


@dataclass
class _Child:
    order: Order
    process: "subprocess.Popen[bytes]"
    reader: threading.Thread
    complaints: list[str] = field(default_factory=list)


class Trackers:
    """The processes of trackers, which are told all the same; what goes wrong in one is said once."""

    def __init__(self, orders: Sequence[Order], warn: Callable[[str], None]) -> None:
        """Start them; that their runs are open is not waited for."""
        self._warn = warn
        self._children = [self._start(order) for order in orders]

    def log(self, key: str, title: str, figures: Mapping[str, float]) -> None:
        """Have a step written that `key` tells from all others; one that a tracker has is left out there."""
        self._tell(("log", key, title, figures))

    def log_curves(self, name: str, curves: Sequence[Curve]) -> None:
        """Have curves written, see `Tracker.log_curves`."""
        self._tell(("log_curves", name, curves))

    def log_page(self, page: Path) -> None:
        """Have a page kept, see `Tracker.log_page`."""
        self._tell(("log_page", page))

    def close(self, patience: float, say: Callable[[str], None]) -> list[str]:
        """Return the names of the trackers that took everything, after so many seconds and a few more at most.

        Args:
            patience: the seconds.
            say: is told what is waited for, if that takes long enough to wonder.
        """
        for child in self._children:
            assert child.process.stdin is not None
            with contextlib.suppress(OSError):
                child.process.stdin.close()
        until = time.monotonic() + patience + _GRACE
        wonder = time.monotonic() + min(patience, _GRACE)
        for child in self._children:
            child.reader.join(max(0.0, wonder - time.monotonic()))
        slow = [child.order.tracker for child in self._children if child.reader.is_alive()]
        if slow:
            say(f"Waiting for {enumeration(slow, 'and')} to take the rest, {patience:g} s at most ...")
        for child in self._children:
            child.reader.join(max(0.0, until - time.monotonic()))
            if child.reader.is_alive():
                child.process.kill()
                child.reader.join(_GRACE)
        return [child.order.tracker for child in self._children if not child.complaints]

    def _tell(self, message: tuple[Any, ...]) -> None:
        for child in self._children:
            _send(child.process, message)

    def _start(self, order: Order) -> _Child:
        program = f"import sys; sys.path[:] = {sys.path!r}; from wise_merge.trackers import process; process.main()"
        process = subprocess.Popen(
            # Without a terminal no library asks for a login; the parent handles Ctrl-C.
            [sys.executable, "-c", program],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            start_new_session=True,
        )
        child = _Child(order, process, threading.Thread(daemon=True))
        child.reader = threading.Thread(target=self._read, args=(child,), daemon=True)
        child.reader.start()
        _send(process, order)
        return child

    def _read(self, child: _Child) -> None:
        """Pass on what a process complains of, until it ends."""
        assert child.process.stdout is not None
        for line in child.process.stdout:
            self._complain(child, line.decode(errors="replace").strip())
        code = child.process.wait()
        if code:
            self._complain(child, f"its process ended with exit code {code}")

    def _complain(self, child: _Child, what: str) -> None:
        child.complaints.append(what)
        if len(child.complaints) == 1:
            self._warn(printable(f"report to {child.order.tracker}: {what}; everything else goes on"))


def _send(process: "subprocess.Popen[bytes]", message: object) -> None:
    """Write a message to a process, which reads at once; one that has ended has said why."""
    assert process.stdin is not None
    with contextlib.suppress(OSError, ValueError):
        pickle.dump(message, process.stdin)
        process.stdin.flush()


def main() -> None:
    """Tell a tracker what comes from standard input, in a process of its own, until the input ends."""
    # Libraries print to stdout, which carries the complaints.
    complaints = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    order: Order = pickle.load(sys.stdin.buffer)
    messages: queue.SimpleQueue[tuple[Any, ...] | None] = queue.SimpleQueue()

    def leave() -> None:
        print(f"not everything was taken after {order.patience:g} s, and nobody waits longer", file=complaints)
        os._exit(1)

    def listen() -> None:
        try:
            while True:
                messages.put(pickle.load(sys.stdin.buffer))
        except BaseException:
            messages.put(None)
        time.sleep(order.patience)
        leave()

    threading.Thread(target=listen, daemon=True).start()

    def complain(error: Exception) -> None:
        lines = str(error).strip().splitlines() or [""]
        print(f"{type(error).__name__}: {lines[0][:300]}", file=complaints)

    try:
        run, steps = _run(order)
        tracker = open_run(order.place, run)
    # Whatever a library raises, it must not end the work.
    except Exception as error:
        complain(error)
        os._exit(0)
    while (message := messages.get()) is not None:
        try:
            _pass_on(tracker, message, order, run, steps)
        except Exception as error:
            complain(error)
    try:
        tracker.finish()
    except Exception as error:
        complain(error)


def _pass_on(tracker: Tracker, message: tuple[Any, ...], order: Order, run: Run, steps: list[str]) -> None:
    what, *values = message
    if what != "log":
        getattr(tracker, what)(*values)
        return
    key, title, figures = values
    if key not in steps:
        tracker.log(len(steps), title, figures)
        steps.append(key)
        _write(order, run, steps)


def _run(order: Order) -> tuple[Run, list[str]]:
    """Return the run to open, which is that of an earlier command if there is one, and the keys of its steps."""
    key, steps = uuid.uuid4().hex[:8], []
    try:
        written = json.loads(_path(order).read_text(encoding="utf-8"))
        if written["format"] == FORMAT:
            key, steps = str(written["key"]), list(map(str, written["steps"]))
    except (OSError, ValueError, KeyError, TypeError):
        # None yet, or nothing that this version can go on with: then it is a new run.
        pass
    return Run(order.name, key, bool(steps), order.folder, order.config), steps


def _write(order: Order, run: Run, steps: list[str]) -> None:
    write_document(_path(order), {"format": FORMAT, "key": run.key, "steps": steps})


def _path(order: Order) -> Path:
    return order.folder / f"{order.tracker}.json"
