"""Trackers without a library, for what happens around one."""

import json
import os
import time


class Recording:
    """Appends what it is told to RECORDED, a line each, the run first."""

    def __init__(self, run):
        # Unbuffered: what two write at the same time must not be mixed.
        self._file = open(os.environ["RECORDED"], "ab", buffering=0)  # noqa: SIM115
        self._write("run", run.key, run.resumed, run.name)

    def _write(self, *what):
        self._file.write(json.dumps(what).encode() + b"\n")

    def log(self, step, title, figures):
        self._write("log", step, title, figures)

    def log_curves(self, name, curves):
        self._write("curves", name, [[curve.label, curve.k, curve.value] for curve in curves])

    def log_page(self, page):
        self._write("page", str(page))

    def finish(self):
        self._write("finish")


class Failing(Recording):
    """Loses its network after the first step."""

    def log(self, step, title, figures):
        if step:
            raise ConnectionError("the network is gone\nand here is a long story about it")
        super().log(step, title, figures)


class Hanging(Recording):
    """Waits for its server, for ever."""

    def __init__(self, run):
        time.sleep(3600)


def recorded(path):
    """What has been told: the first word of each line -> the rest of these lines; nothing before there is a file."""
    if not path.exists():
        return {}
    # The last line may be one that is being written.
    lines = [json.loads(line) for line in path.read_text().splitlines(keepends=True) if line.endswith("\n")]
    return {what: [rest for first, *rest in lines if first == what] for what in dict.fromkeys(one[0] for one in lines)}
