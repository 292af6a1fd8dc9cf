"""A Ray cluster of two machines, of which one may die."""

import os
import time
from contextlib import contextmanager


@contextmanager
def two_machines(monkeypatch):
    """Start a cluster whose head has one core, and a second machine (`second`) with another."""
    import ray
    from ray.cluster_utils import Cluster

    # Machines of a cluster have the package installed; these run it from here.
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, [os.getcwd(), os.environ.get("PYTHONPATH")])))
    started = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    try:
        started.second = started.add_node(num_cpus=1)
        started.wait_for_nodes()
        yield started
    finally:
        ray.shutdown()
        started.shutdown()


def wait_for_one_machine(cluster, deadline):
    """The cluster takes some seconds to know that a machine is gone."""
    import ray

    ray.init(address=cluster.address, ignore_reinit_error=True, logging_level="ERROR")
    while sum(node["Alive"] for node in ray.nodes()) > 1:
        assert time.monotonic() < deadline
        time.sleep(0.1)
