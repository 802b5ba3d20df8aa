"""Where the test cluster keeps what, and the names it gives to what it makes on the machine.

Everything is under build/cluster/, but for a network bridge and control groups, which the kernel
keeps; they carry the names below, and nothing else does.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

from tests.environments import ROOT

FOLDER: Final = ROOT / "build" / "cluster"

BIN: Final = FOLDER / "bin"
"""What is built: kept between runs."""

DEBIAN: Final = FOLDER / "debian"
"""Debian packages that the machine lacks, unpacked: kept between runs."""

LOGS: Final = FOLDER / "logs"
"""Of the latest run: kept, to be read after a failure."""

RUN: Final = FOLDER / "run"
"""Of the run that stands: certificates, databases, pods. Gone after it."""

LOCK: Final = FOLDER / "lock"

RECORD: Final = FOLDER / "processes"
"""The processes that were started, so that the next run can end what a killed one has left."""

GO: Final = Path(__file__).with_name("go")
"""The Go modules: versions, and in go.sum the hashes."""

HOST: Final = "127.0.0.1"

NODE: Final = "node-1"

ZONE: Final = "zone-a"

BRIDGE: Final = "tfs-br0"

CONTROL_GROUP: Final = "tfs-test-cluster"

NODE_ADDRESS: Final = "10.99.0.1"
"""The bridge's, on this machine. Not 127.0.0.1: the kubelet refuses it."""

PODS: Final = "10.99.0.0/24"

SERVICES: Final = "10.98.0.0/24"
"""Cluster IPs are given, and lead nowhere: no kube-proxy runs."""

DOMAIN: Final = "cluster.local"
