"""Users of the test cluster that a module has brought up."""

from __future__ import annotations

import pytest

from tests.cluster.cluster import Cluster
from tests.cluster.serving_fleet import Person


@pytest.fixture(scope="module")
def administrator(cluster: Cluster) -> Person:
    """A user who may do anything."""
    return Person(cluster, cluster.kubeconfig)
