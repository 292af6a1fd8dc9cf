"""Tiny checkpoints, made once, and the one way to the real evaluation data."""

import json
import logging
import os
import subprocess
from pathlib import Path

import pytest
from filelock import FileLock

# So that what is not as expected there is shown as in a test.
pytest.register_assert_rewrite("support")

from support import forked  # noqa: E402
from support.checkpoints import make_checkpoint  # noqa: E402

# No test may depend on a network, and torch's threads only get in each other's way on tiny models.
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

#: In every line that says that a host is not what this package was made for.
HOST_CHANGED = "is not as expected inside"

REPOSITORY = Path(__file__).parent.parent


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real evaluation data, which is not part of this repository."""
    directory = Path(os.environ.get("WISE_MERGE_TEST_DATA", REPOSITORY.parent / "shared" / "data"))
    if not directory.is_dir():
        pytest.skip(f"needs real evaluation data in {directory}; set WISE_MERGE_TEST_DATA to its folder")
    return directory.resolve()


@pytest.fixture(autouse=True)
def no_host_has_changed_inside(request):
    """Fails a test in which drawing was left to lm-eval's own class, unless the test is about that."""
    lines = []
    handler = logging.Handler(logging.WARNING)
    handler.emit = lambda record: lines.append(record.getMessage())
    logger = logging.getLogger("lm_eval.wise_merge")
    logger.addHandler(handler)
    yield
    logger.removeHandler(handler)
    if request.node.get_closest_marker("hosts_changed") is None:
        assert not [line for line in lines if HOST_CHANGED in line]


@pytest.fixture(scope="session")
def shared_cases() -> Path:
    """The folder of small inputs that once were judged wrongly, which is not part of this repository."""
    directory = Path(os.environ.get("WISE_MERGE_TEST_CASES", REPOSITORY.parent / "shared" / "cases"))
    if not directory.is_dir():
        pytest.skip(f"needs the cases in {directory}; set WISE_MERGE_TEST_CASES to their folder")
    return directory.resolve()


@pytest.fixture(scope="session")
def console_script():
    """Runs a console script of this environment: `run_script`."""
    return run_script


def run_script(
    name: str,
    *arguments: object,
    cwd: Path,
    timeout: float | None = None,
    anew: bool = False,
    **environment: str,
) -> subprocess.CompletedProcess:
    """Run a console script of this environment, or its Python, as a user would, and return the finished process.

    It need not import torch and the hosts (`support.forked`); with `anew` it does, for tests of the start itself.
    """
    command = [forked.SCRIPTS / name, *arguments]
    run = forked.run(command, cwd=cwd, env={**os.environ, **environment}, timeout=timeout, anew=anew)
    assert HOST_CHANGED not in run.stderr, run.stderr
    return run


@pytest.fixture(scope="session")
def tiny_run(tmp_path_factory) -> Path:
    """A training run with checkpoint-1 (early) and checkpoint-2 (late), float32, one file each."""
    run = tmp_path_factory.mktemp("run")
    make_checkpoint(run / "checkpoint-1", seed=1)
    make_checkpoint(run / "checkpoint-2", seed=2)
    return run


@pytest.fixture(scope="session")
def checkpoints(tmp_path_factory):
    """Makes a family's checkpoint when it is first asked for."""
    from support.families import configuration

    folder = tmp_path_factory.mktemp("families")

    def checkpoint(family):
        if not (folder / family).exists():
            make_checkpoint(folder / family, seed=7, config=configuration(family))
        return folder / family

    return checkpoint


@pytest.fixture(scope="session")
def place(tmp_path_factory):
    """A run of one early and two late checkpoints, and problems that a random model solves now and then."""

    def make(folder):
        for seed in (1, 2, 3):
            make_checkpoint(folder / "run" / f"checkpoint-{seed}", seed=seed)
        rows = [{"question": f"Which digit is number {n}?", "answer": f"It is. #### {n % 10}"} for n in range(40)]
        (folder / "digits.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))

    return made_once("place", make, tmp_path_factory)


@pytest.fixture(scope="session")
def swept(place, tmp_path_factory):
    """The folder of results of the whole grid, never disturbed, and what was printed."""
    from support.sweeps import sweep

    def make(folder):
        (folder / "printed").write_text(sweep(place, folder / "results"))

    folder = made_once("swept", make, tmp_path_factory)
    return folder / "results", (folder / "printed").read_text()


@pytest.fixture(scope="session")
def runs(tmp_path_factory):
    """Two runs of five checkpoints in all, near each other, and problems: see `support.soups`."""
    from support.soups import make_runs

    return made_once("runs", make_runs, tmp_path_factory)


@pytest.fixture(scope="session")
def souped(runs, tmp_path_factory):
    """The folder of results of a soup of both runs, never disturbed, with the merge beside it, and what was printed."""
    from support.soups import soup

    def make(folder):
        printed = soup(runs, folder / "results", merge=folder / "merged", subject_to="pass@1 >= best")
        (folder / "printed").write_text(printed)

    folder = made_once("souped", make, tmp_path_factory)
    return folder / "results", (folder / "printed").read_text()


def made_once(name, make, tmp_path_factory):
    """Return a folder that one of the processes that share the tests fills for all of them."""
    base = tmp_path_factory.getbasetemp()
    folder = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / name
    with FileLock(f"{folder}.lock"):
        if not (folder / "made").exists():
            folder.mkdir()
            make(folder)
            (folder / "made").touch()
    return folder


@pytest.fixture
def two_problems(tmp_path):
    """A data file of two CountDown problems."""
    path = tmp_path / "problems.jsonl"
    rows = [{"numbers": [5, 6, 9], "target": 24}, {"numbers": [1, 2, 3], "target": 6}]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)
