"""A Ray cluster of three nodes on this machine: the head, and two that work."""

from __future__ import annotations

import os
import sys
import warnings
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

NODE: dict[str, Any] = {"num_cpus": 1, "object_store_memory": 150_000_000}


@contextmanager
def three_nodes() -> Iterator[Any]:
    """Ray's ``Cluster`` of three nodes with one processor each; skips where there can be none."""
    if sys.platform != "linux":
        pytest.skip("needs Linux: three nodes of a cluster on one machine")
    pytest.importorskip("ray", reason="needs ray: pip install 'imgindex[ray]'")
    os.environ["RAY_BACKEND_LOG_LEVEL"] = "fatal"
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from ray.cluster_utils import Cluster

        nodes = Cluster(initialize_head=True, head_node_args={**NODE, "include_dashboard": False})
        for _ in range(2):
            nodes.add_node(**NODE)
    yield nodes
    nodes.shutdown()  # type: ignore[no-untyped-call]
