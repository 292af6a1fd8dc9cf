"""A soup over a real Ray cluster of two machines: the same choice, nothing drawn twice, though one of them dies."""

import threading
import time

import pytest
from support.clusters import two_machines, wait_for_one_machine
from support.soups import soup
from support.sweeps import drawn, figures

pytest.importorskip("ray", reason="Ray is an extra: pip install wise-merge[ray]")


@pytest.mark.slow
def test_a_machine_dies_in_the_first_round_and_the_soup_is_the_same(runs, souped, tmp_path, monkeypatch):
    """Its point is taken by the other engine, which goes on in its journal, and then has the candidates one by one.

    On a busy machine the first engine may be through before the second one is up; then it is tried again.
    """
    with two_machines(monkeypatch) as cluster:
        for attempt in range(6):
            out, over, died = tmp_path / f"results-{attempt}", threading.Event(), []

            def watch(out=out, over=over, died=died):
                while not over.wait(0.005):
                    if len(list(out.glob("journal/*.jsonl.lock"))) >= 2:
                        died.append(cluster.second)
                        cluster.remove_node(cluster.second, allow_graceful=False)
                        return

            killer = threading.Thread(target=watch)
            killer.start()
            printed = soup(runs, out, "--ray", cluster.address, subject_to="pass@1 >= best")
            over.set()
            killer.join()
            if died:
                break
        assert died
        wait_for_one_machine(cluster, time.monotonic() + 120)
    # Ray has a word to say in between.
    assert souped[1].partition("The greedy soup")[2].partition("\n")[0] in printed
    assert (out / "soup.json").read_text() == (souped[0] / "soup.json").read_text()
    assert figures(out) == figures(souped[0])
    assert drawn(out) == drawn(souped[0])
