"""A node: containerd and a kubelet on this machine, in namespaces of their own.

They see this machine's network, but their own processes and their own /var/lib, /var/log and /run.
So one kill of process 1 in there ends the kubelet, containerd and all containers, and the kernel
takes every mount and every pod's network away with them. What the kernel keeps, a bridge and
control groups, is removed by leftovers.py.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from tests.cluster import images, leftovers
from tests.cluster.binaries import Binaries
from tests.cluster.certificates import Authority
from tests.cluster.places import (
    BRIDGE,
    CONTROL_GROUP,
    DOMAIN,
    NODE,
    NODE_ADDRESS,
    PODS,
    RUN,
    ZONE,
)
from tests.cluster.processes import ClusterError, Program, answers
from tests.environments import UnavailableError
from tests.ports import free_port

READY_S: Final = 90.0

COMMAND_S: Final = 300.0
"""For loading an image."""

SOCKET: Final = "/run/containerd/containerd.sock"
"""In the node's own /run."""

HIDDEN: Final = ("/var/lib", "/var/log", "/run")

TUNABLES: Final = {
    "vm/overcommit_memory": "1",
    "vm/panic_on_oom": "0",
    "kernel/panic": "10",
    "kernel/panic_on_oops": "1",
    "kernel/keys/root_maxkeys": "1000000",
    "kernel/keys/root_maxbytes": "25000000",
}
"""What a kubelet wants of the kernel. It reads them from files, and the machine keeps its own."""

ENTER: Final = """\
set -e
for pair in lib:/var/lib log:/var/log; do
  mount --bind "$1/${pair%%:*}" "${pair#*:}"
done
mount -t tmpfs tmpfs /run
cd "$1/tunables"
find . -type f | while read -r file; do
  mount --bind "$file" "/proc/sys/$file"
done
touch "$1/entered"
cd /
exec "$2"
"""


class Node:
    """The node; start() and stop().

    Args:
        binaries: the programs.
        authority: signs its certificates.
        server: the API server's URL.

    Raises:
        UnavailableError: the project is where the node would not see it.
    """

    def __init__(self, binaries: Binaries, authority: Authority, server: str):
        if any(Path(hidden) in RUN.resolve().parents for hidden in HIDDEN):
            raise UnavailableError(
                f"Expected the project outside of {', '.join(HIDDEN)}, which a node has of its "
                f"own. Received: {RUN}. Move it."
            )
        self._binaries = binaries
        self._authority = authority
        self._server = server
        self._folder = RUN / "node"
        self._process_1: Program | None = None
        self._programs: list[Program] = []

    def start(self) -> None:
        """Starts it and returns when the kubelet runs; Ready is what the API server says.

        Raises:
            ClusterError: something does not start.
        """
        for name in ("lib", "log", "tunables", "network"):
            (self._folder / name).mkdir(parents=True)
        leftovers.make_bridge(self._binaries["ip"])
        leftovers.make_control_group()
        self._make_namespaces()
        self._start_containerd()
        pause = images.write(
            self._folder / "pause.tar",
            [images.PAUSE],
            {"pause": Path(self._binaries["pause"])},
            entrypoint=["/pause"],
        )
        self.load_image(pause)
        self._start_kubelet()

    def stop(self) -> None:
        """Kills all of it, and removes what the kernel keeps."""
        if self._process_1 is not None:
            self._process_1.kill_inner()
        for program in self._programs:
            program.kill()
        self._process_1, self._programs = None, []
        leftovers.remove(self._binaries["ip"])

    def load_image(self, archive: Path) -> None:
        """Loads an image that `docker save` or images.write() has written.

        Raises:
            ClusterError: it is none.
        """
        self._run("ctr", "--namespace=k8s.io", "images", "import", str(archive.resolve()))

    def tag_image(self, image: str, tag: str) -> None:
        """Gives an image another tag; both in full, with docker.io/ where that is meant."""
        self._run("ctr", "--namespace=k8s.io", "images", "tag", image, tag)

    def kill_container(self, container: str) -> None:
        """Ends a container's process with SIGKILL, as if it had crashed."""
        self._run("ctr", "--namespace=k8s.io", "tasks", "kill", "--signal=SIGKILL", container)

    def _make_namespaces(self) -> None:
        for name, value in TUNABLES.items():
            file = self._folder / "tunables" / name
            file.parent.mkdir(exist_ok=True)
            file.write_text(f"{value}\n")
        self._process_1 = Program(
            "node",
            [self._binaries["unshare"], "--mount", "--propagation=slave", "--pid", "--mount-proc"]
            + ["--fork", "--kill-child", "sh", "-c", ENTER, "sh"]
            + [str(self._folder), self._binaries["pause"]],
            self._environment(),
        )
        entered = self._folder / "entered"
        self._process_1.wait_until_ready(entered.exists, deadline_s=10)

    def _environment(self) -> dict[str, str]:
        return {"PATH": self._binaries.search_path, "HOME": str(self._folder)}

    def _enter(self, argv: Sequence[str]) -> list[str]:
        """The command that runs another one inside."""
        assert self._process_1 is not None
        space = f"/proc/{self._process_1.pid}/ns"
        enter = [f"--mount={space}/mnt", f"--pid={space}/pid_for_children"]
        return [self._binaries["nsenter"], *enter, "--", *argv]

    def _start(self, name: str, *flags: str) -> Program:
        argv = self._enter([self._binaries[name], *flags])
        program = Program(name, argv, self._environment())
        self._programs.append(program)
        return program

    def _run(self, name: str, *arguments: str) -> str:
        done = subprocess.run(
            self._enter([self._binaries[name], *arguments]),
            env=self._environment(),
            capture_output=True,
            text=True,
            timeout=COMMAND_S,
            check=False,
        )
        if done.returncode != 0:
            words = " ".join((done.stderr or done.stdout).split())[-600:]
            raise ClusterError(f"Expected {name} {arguments[-1]} to work. Received: {words}")
        return done.stdout

    def _start_containerd(self) -> None:
        _write(self._folder / "network" / "10-pods.conflist", _network())
        # A pull fails at once, and never leaves the machine.
        nowhere = self._folder / "registries" / "_default" / "hosts.toml"
        nowhere.parent.mkdir(parents=True)
        nowhere.write_text('server = "http://127.0.0.1:1"\n')
        settings = self._folder / "containerd.toml"
        settings.write_text(
            f"""\
version = 2
[plugins."io.containerd.grpc.v1.cri"]
sandbox_image = "{images.PAUSE}"
# Also without the right to lower it, as in a container.
restrict_oom_score_adj = true
disable_apparmor = true
[plugins."io.containerd.grpc.v1.cri".cni]
bin_dir = "{self._binaries.network_plugins}"
conf_dir = "{self._folder / "network"}"
[plugins."io.containerd.grpc.v1.cri".registry]
config_path = "{self._folder / "registries"}"
"""
        )
        containerd = self._start("containerd", f"--config={settings}", f"--address={SOCKET}")

        def ready() -> bool:
            try:
                return "cri" in self._run("ctr", "plugins", "ls", "id==cri")
            except ClusterError as error:
                raise OSError(str(error)) from error

        containerd.wait_until_ready(ready, deadline_s=READY_S)

    def _start_kubelet(self) -> None:
        pair = self._authority.issue(f"system:node:{NODE}", groups=("system:nodes",))
        kubeconfig = self._folder / "kubelet.kubeconfig"
        self._authority.kubeconfig(kubeconfig, self._server, pair=pair)
        serving = self._authority.issue(f"kubelet-{NODE}", addresses=(NODE_ADDRESS, NODE))
        health_port = free_port()
        names = self._folder / "resolv.conf"
        names.write_text(f"nameserver {NODE_ADDRESS}\n")
        settings: dict[str, Any] = {
            "kind": "KubeletConfiguration",
            "apiVersion": "kubelet.config.k8s.io/v1beta1",
            "address": NODE_ADDRESS,
            "port": free_port(NODE_ADDRESS),
            "healthzPort": health_port,
            "tlsCertFile": str(serving.certificate),
            "tlsPrivateKeyFile": str(serving.key),
            "authentication": {
                "anonymous": {"enabled": False},
                "x509": {"clientCAFile": str(self._authority.certificate)},
            },
            "containerRuntimeEndpoint": f"unix://{SOCKET}",
            # No systemd is needed, and cgroup v1 will do.
            "cgroupDriver": "cgroupfs",
            "cgroupRoot": f"/{CONTROL_GROUP}",
            "failCgroupV1": False,
            "failSwapOn": False,
            "oomScoreAdj": 0,
            "clusterDNS": [NODE_ADDRESS],
            "clusterDomain": DOMAIN,
            "resolvConf": str(names),
            # The machine's packet filter is not the node's.
            "makeIPTablesUtilChains": False,
            # A full disk or little memory is the machine's business, and what was loaded stays.
            "evictionHard": dict.fromkeys(
                ("memory.available", "nodefs.available", "nodefs.inodesFree", "imagefs.available"),
                "0%",
            ),
            "imageGCHighThresholdPercent": 100,
            # syncFrequency and configMapAndSecretChangeDetectionStrategy are left alone: how long
            # a changed ConfigMap takes to reach a pod is what is tested.
        }
        self._start(
            "kubelet",
            f"--config={_write(self._folder / 'kubelet.json', settings)}",
            f"--kubeconfig={kubeconfig}",
            f"--hostname-override={NODE}",
            f"--node-ip={NODE_ADDRESS}",
            f"--node-labels=topology.kubernetes.io/zone={ZONE}",
            f"--volume-plugin-dir={self._folder / 'volume-plugins'}",
        ).wait_until_ready(lambda: answers(health_port, "/healthz"), deadline_s=READY_S)


def _network() -> dict[str, Any]:
    """The pods' network: a bridge whose addresses this machine reaches directly."""
    addresses = {
        "type": "host-local",
        # Below .10 and .1 itself: kept free.
        "ranges": [
            [{"subnet": PODS, "rangeStart": PODS.replace(".0/24", ".10"), "gateway": NODE_ADDRESS}]
        ],
        "routes": [{"dst": "0.0.0.0/0"}],
    }
    # Neither isGateway nor ipMasq: they would change the machine's forwarding and packet filter.
    bridge = {"type": "bridge", "bridge": BRIDGE, "ipam": addresses}
    return {"cniVersion": "0.4.0", "name": "pods", "plugins": [bridge]}


def _write(path: Path, content: Any) -> Path:
    path.write_text(json.dumps(content, indent=1))
    return path
