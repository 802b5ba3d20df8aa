"""What the kernel keeps after a process's end: the bridge, a rule for it, and the control groups.

They are known by their names (places.py), so that the next run removes what a killed one has left.
"""

from __future__ import annotations

import contextlib
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from tests.cluster.binaries import which
from tests.cluster.places import BRIDGE, CONTROL_GROUP, NODE_ADDRESS
from tests.cluster.processes import ClusterError, wait_until

REMOVAL_S: Final = 20.0

FILTERED: Final = Path("/proc/sys/net/bridge/bridge-nf-call-iptables")
"""1 where a bridge's traffic passes the packet filter."""

RULE: Final = ("FORWARD", "-i", BRIDGE, "-o", BRIDGE, "-j", "ACCEPT")
"""Pods may talk to pods, also where a container engine has the machine forward nothing."""


def make_bridge(ip: str) -> None:
    """Makes the pods' bridge, with the node's address.

    Args:
        ip: iproute2's command.

    Raises:
        ClusterError: the kernel refuses.
    """
    for words in (
        f"link add {BRIDGE} type bridge",
        f"address add {NODE_ADDRESS}/24 dev {BRIDGE}",
        f"link set {BRIDGE} up",
    ):
        done = subprocess.run([ip, *words.split()], capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise ClusterError(f"Expected ip {words} to work. Received: {done.stderr.strip()}")
    if FILTERED.exists() and FILTERED.read_text().strip() == "1":
        _iptables("-I")


def make_control_group() -> None:
    """Makes the group that all pods are below, in every hierarchy."""
    for hierarchy in _hierarchies():
        (hierarchy / CONTROL_GROUP).mkdir(exist_ok=True)


def remove(ip: str) -> None:
    """Removes bridge, rule and groups, where they are; their processes have ended.

    Raises:
        ClusterError: something still holds a group.
    """
    while _iptables("-D"):
        pass
    if Path("/sys/class/net", BRIDGE).exists():
        subprocess.run([ip, "link", "delete", BRIDGE], capture_output=True, check=False)
    groups = [hierarchy / CONTROL_GROUP for hierarchy in _hierarchies()]
    # The kernel needs a moment after the last process's end.
    wait_until(
        f"the control groups {CONTROL_GROUP} to be empty",
        lambda: all(_removed(group) for group in groups),
        deadline_s=REMOVAL_S,
    )


def _iptables(verb: str) -> bool:
    """Inserts (-I) or deletes (-D) the rule; whether that was done."""
    iptables = which("iptables")
    if iptables is None:
        return False
    argv = [str(iptables), "-w", verb, *RULE]
    return subprocess.run(argv, capture_output=True, check=False).returncode == 0


def _removed(group: Path) -> bool:
    """Removes a group with all below it; whether it is gone."""
    below = sorted((path for path in group.rglob("*") if path.is_dir()), reverse=True)
    for path in [*below, group]:
        with contextlib.suppress(FileNotFoundError):
            path.rmdir()
    return not group.exists()


def _hierarchies() -> Iterator[Path]:
    """Where control groups are mounted: once (v2), or once a controller (v1)."""
    for line in Path("/proc/self/mounts").read_text().splitlines():
        _, place, kind, *_ = line.split()
        if kind in ("cgroup", "cgroup2"):
            yield Path(place)
