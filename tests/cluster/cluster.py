"""A real Kubernetes cluster of one node on this machine, for the tests of k8s/ and of rollouts.

    with Cluster() as cluster:
        cluster.kubectl("get", "nodes")

Real are the API server, its admission, the controllers, the scheduler, the kubelet, containerd and
CoreDNS. Missing are kube-proxy (headless Services work, cluster IPs do not), a network plugin that
enforces NetworkPolicies, the metrics server, and a registry: images are loaded from files.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import logging
import os
import shutil
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Final

from tests.cluster import binaries, images, leftovers, processes
from tests.cluster.certificates import Authority
from tests.cluster.control_plane import ControlPlane
from tests.cluster.dns import Dns
from tests.cluster.node import Node
from tests.cluster.places import DOMAIN, FOLDER, HOST, LOCK, LOGS, NODE, RUN
from tests.cluster.processes import ClusterError
from tests.environments import UnavailableError
from tests.manifests import tools

logger = logging.getLogger("tests.cluster")

NODE_READY_S: Final = 120.0

ACCOUNT_S: Final = 60.0

KUBECTL_S: Final = 60.0


class Cluster:
    """The cluster; use it in a `with` block, which ends it and removes all it made.

    One at a time on a machine. Start it in the main thread: the kernel ends its programs with the
    thread that started them.

    Args:
        dns_ttl_s: how old an answer of the name server can be.
        node: whether there is a node; without, nothing runs, and start and end are faster.

    Raises:
        UnavailableError: something that it needs is missing here, or another one runs.
        ClusterError: it does not come up.
    """

    def __init__(self, *, dns_ttl_s: int = 30, node: bool = True):
        self._dns_ttl_s = dns_ttl_s
        self._with_node = node
        self._ending = contextlib.ExitStack()

    def __enter__(self) -> Cluster:
        with contextlib.ExitStack() as self._ending:
            self._take_lock()
            self._programs = binaries.make()
            self._kubectl = tools.make().kubectl
            self._start()
            # It is up: from here on __exit__ undoes everything.
            self._ending = self._ending.pop_all()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._ending.close()

    def _take_lock(self) -> None:
        FOLDER.mkdir(parents=True, exist_ok=True)
        lock = self._ending.enter_context(LOCK.open("w"))
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise UnavailableError(
                "Expected no other test cluster on this machine. Received: one that runs. "
                "End it, or wait for its end."
            ) from error

    def _start(self) -> None:
        started = time.monotonic()
        self._clear()
        shutil.rmtree(LOGS, ignore_errors=True)
        LOGS.mkdir()
        self._ending.callback(self._clear)
        RUN.mkdir(mode=0o700)
        self.authority = Authority(RUN / "certificates")
        control_plane = ControlPlane(self._programs, self.authority)
        self._ending.callback(control_plane.stop)
        self.server = control_plane.server
        self.kubeconfig = control_plane.kubeconfig
        control_plane.start()
        # Without it no pod is admitted; the controllers make it a moment later.
        processes.wait_until("the default account", self._has_default_account, deadline_s=ACCOUNT_S)
        logger.info("the control plane is ready after %.1f s", time.monotonic() - started)
        if not self._with_node:
            return
        self._node = Node(self._programs, self.authority, self.server)
        self._ending.callback(self._node.stop)
        self._node.start()
        self.load_image(self._answer())
        dns = Dns(self._programs, self.kubeconfig, ttl_s=self._dns_ttl_s)
        self._ending.callback(dns.stop)
        dns.start()
        self.dns_port = dns.port
        processes.wait_until(
            "the node to be ready",
            self._node_is_ready,
            deadline_s=NODE_READY_S,
            why_not=lambda: f"See {LOGS / 'kubelet.log'}",
        )
        logger.info("the node is ready after %.1f s", time.monotonic() - started)

    def _clear(self) -> None:
        """Removes what this run, or an earlier one that was killed, has left."""
        killed = processes.kill_recorded()
        if killed:
            logger.info("ended %d programs of an earlier run", killed)
        leftovers.remove(self._programs["ip"])

        def removed() -> bool:
            shutil.rmtree(RUN, ignore_errors=True)
            return not RUN.exists()

        # A process that was killed a moment ago may still write.
        processes.wait_until(f"{RUN} to be removed", removed, deadline_s=leftovers.REMOVAL_S)

    def _answer(self) -> Path:
        return images.write(
            RUN / "answer.tar",
            [images.ANSWER],
            {"answer": Path(self._programs["answer"])},
            entrypoint=["/answer"],
        )

    def _has_default_account(self) -> bool:
        return self.run("get", "serviceaccount", "default").returncode == 0

    def _node_is_ready(self) -> bool:
        try:
            node = self.get("node", NODE)
        except ClusterError as error:
            raise OSError(str(error)) from error
        conditions = {one["type"]: one["status"] for one in node["status"].get("conditions", [])}
        return conditions.get("Ready") == "True"

    @property
    def dns(self) -> str:
        """The name server, as gRPC names it: f"{cluster.dns}/{cluster.name_of(...)}:8500"."""
        return f"dns://{HOST}:{self.dns_port}"

    def name_of(self, service: str, namespace: str) -> str:
        """A Service's name in DNS."""
        return f"{service}.{namespace}.svc.{DOMAIN}"

    @property
    def environment(self) -> dict[str, str]:
        """The process's own, with this cluster for kubectl and with kubectl on the PATH."""
        folder = str(Path(self._kubectl).parent)
        return {
            **os.environ,
            "KUBECONFIG": str(self.kubeconfig),
            "KUBECACHEDIR": str(RUN / "kubectl-cache"),
            "PATH": os.pathsep.join([folder, os.environ.get("PATH", "")]),
        }

    def command(self, *arguments: str, kubeconfig: Path | None = None) -> list[str]:
        """A whole kubectl command, for callers that run it themselves, such as port-forward."""
        return [
            *(self._kubectl, f"--kubeconfig={kubeconfig or self.kubeconfig}"),
            *(f"--cache-dir={RUN / 'kubectl-cache'}", *arguments),
        ]

    def run(
        self,
        *arguments: str,
        stdin: str = "",
        kubeconfig: Path | None = None,
        timeout_s: float = KUBECTL_S,
    ) -> subprocess.CompletedProcess[str]:
        """Runs kubectl to its end, whether it succeeds or fails.

        Args:
            arguments: of kubectl.
            stdin: what it reads.
            kubeconfig: of who asks; default: the administrator.
            timeout_s: for all of it.
        """
        return subprocess.run(
            self.command(*arguments, kubeconfig=kubeconfig),
            input=stdin,
            capture_output=True,
            text=True,
            timeout=timeout_s,
            check=False,
        )

    def kubectl(
        self,
        *arguments: str,
        stdin: str = "",
        kubeconfig: Path | None = None,
        timeout_s: float = KUBECTL_S,
    ) -> str:
        """Runs kubectl and gives what it wrote; arguments as in run().

        Raises:
            ClusterError: it failed; its words.
        """
        done = self.run(*arguments, stdin=stdin, kubeconfig=kubeconfig, timeout_s=timeout_s)
        if done.returncode != 0:
            words = " ".join((done.stderr or done.stdout).split())[-1500:]
            raise ClusterError(f"Expected kubectl {' '.join(arguments)} to work. Received: {words}")
        return done.stdout

    def get(self, *arguments: str) -> Any:
        """`kubectl get` as an object."""
        return json.loads(self.kubectl("get", *arguments, "--output=json"))

    def apply(self, *documents: Any) -> str:
        """Applies objects, server-side."""
        listed = {"apiVersion": "v1", "kind": "List", "items": list(documents)}
        return self.kubectl("apply", "--server-side", "--filename=-", stdin=json.dumps(listed))

    def load_image(self, archive: Path) -> None:
        """Puts an image on the node, under the tags it has; a registry is never asked.

        Args:
            archive: as `docker save` or images.write() writes it.

        Raises:
            ClusterError: it is no image.
        """
        self._node.load_image(archive)

    def tag_image(self, image: str, tag: str) -> None:
        """Gives an image on the node another tag; both in full."""
        self._node.tag_image(image, tag)

    def kill_container(self, pod: str, namespace: str) -> None:
        """Ends the process of a pod's first container with SIGKILL, as if it had crashed."""
        status = self.get("pod", pod, f"--namespace={namespace}")["status"]
        container = status["containerStatuses"][0]["containerID"].rpartition("/")[2]
        self._node.kill_container(container)

    def kubeconfig_of_user(self, name: str, groups: Sequence[str] = ()) -> Path:
        """A kubeconfig of a user with a certificate, who may do nothing without a RoleBinding."""
        pair = self.authority.issue(name, groups=groups)
        return self._kubeconfig(name, pair=pair)

    def kubeconfig_of_account(self, name: str, namespace: str) -> Path:
        """A kubeconfig of a ServiceAccount, with a token of one hour."""
        token = self.kubectl("create", "token", name, f"--namespace={namespace}").strip()
        return self._kubeconfig(f"{namespace}-{name}", token=token)

    def _kubeconfig(self, name: str, **who: Any) -> Path:
        path = RUN / f"{name.replace(':', '-').replace('/', '-')}.kubeconfig"
        return self.authority.kubeconfig(path, self.server, **who)
