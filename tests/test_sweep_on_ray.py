"""A sweep over a real Ray cluster of two machines: the same results, nothing drawn twice, though one of them dies."""

import sys
import threading
import time

import pytest
from support import forked
from support.clusters import two_machines, wait_for_one_machine
from support.sweeps import TASK, drawn, figures, sweep, write

from wise_merge.cli import main
from wise_merge.points import read_results

pytest.importorskip("ray", reason="Ray is an extra: pip install wise-merge[ray]")


def test_without_an_address_nothing_of_ray_is_imported(place, tmp_path):
    """A sweep in one process works where Ray is not installed."""
    code = (
        "import sys; assert 'ray' not in sys.modules; sys.modules['ray'] = None\n"
        "from click.testing import CliRunner; from wise_merge.cli import main\n"
        f"done = CliRunner().invoke(main, ['sweep', {str(write(place))!r}, '--check', '--out', 'x'])\n"
        "assert done.exit_code == 0, done.output\n"
        f"done = CliRunner().invoke(main, ['sweep', {str(write(place))!r}, '--check', '--out', 'x', '--ray', 'auto'])\n"
        "assert 'pip install \"wise-merge[ray]\"' in done.output, done.output\n"
    )
    done = forked.run([sys.executable, "-c", code], cwd=tmp_path)
    assert done.returncode == 0, done.stderr


@pytest.fixture
def cluster(monkeypatch):
    """A cluster of two machines."""
    with two_machines(monkeypatch) as started:
        yield started


@pytest.mark.slow
def test_a_machine_dies_and_the_results_are_the_same(place, swept, tmp_path, cluster):
    """Its point is taken by another engine, which goes on in its journal; both machines had work before.

    On a busy machine the first engine may be through before the second one is up; then it is tried again.
    """
    for attempt in range(6):
        out, over, died = tmp_path / f"results-{attempt}", threading.Event(), []

        def watch(out=out, over=over, died=died):
            # Not before both have begun: an engine writes the first samples of a point to a journal of its own.
            while not over.wait(0.005):
                if len(list(out.glob("journal/*.jsonl.lock"))) >= 2:
                    died.append(cluster.second)
                    cluster.remove_node(cluster.second, allow_graceful=False)
                    return

        killer = threading.Thread(target=watch)
        killer.start()
        printed = sweep(place, out, "--ray", cluster.address)
        over.set()
        killer.join()
        if died:
            break
    assert died
    wait_for_one_machine(cluster, time.monotonic() + 120)
    assert figures(out) == figures(swept[0])
    assert drawn(out) == drawn(swept[0])
    assert printed.count("\ncheckpoint-") == 16


def test_an_error_within_an_engine_is_one_line(place, tmp_path, cluster):
    """What the settings of sampling have against them is known only where they are used; it comes back as it is."""
    from click.testing import CliRunner

    path = write(place, gen_kwargs={"max_gen_toks": 10, "num_beams": 2})
    done = CliRunner().invoke(
        main, ["sweep", str(path), "--out", str(tmp_path / "results"), "--ray", cluster.address], catch_exceptions=False
    )
    assert done.exit_code == 1
    assert "Error: generation settings ask for beam" in done.stderr
    assert not read_results(tmp_path / "results").of_task(TASK)


def test_an_address_where_no_cluster_is_is_said_before_anything_else(place, tmp_path):
    """In one line, and nothing is written."""
    from click.testing import CliRunner

    done = CliRunner().invoke(
        main,
        ["sweep", str(write(place)), "--out", str(tmp_path / "results"), "--ray", "127.0.0.1:1"],
        catch_exceptions=False,
    )
    assert done.exit_code == 1
    (line,) = done.stderr.strip().splitlines()
    assert line.startswith("Error: no Ray cluster at 127.0.0.1:1 (")
    assert not (tmp_path / "results").exists()
