"""One Ray cluster of two nodes for all tests of Ray."""

import os

import pytest


@pytest.fixture(scope="session")
def cluster():
    """Start two nodes with a core each, as processes of this machine, and connect to them."""
    ray = pytest.importorskip("ray", reason="the tests of clusters need Ray: equipoise[ray]")
    from ray.cluster_utils import Cluster

    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    memory = 150 * 2**20
    found = Cluster(
        initialize_head=True,
        head_node_args={
            "num_cpus": 1, "object_store_memory": memory, "include_dashboard": False,
        },
    )  # fmt: skip
    found.add_node(num_cpus=1, object_store_memory=memory)
    ray.init(address=found.address, log_to_driver=False)
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    # blocks come back in the order they went out
    context.execution_options.preserve_order = True
    context.print_on_execution_start = False
    yield found
    ray.shutdown()
    found.shutdown()
