"""etcd, the API server, the controllers and the scheduler, on 127.0.0.1 and free ports.

Set up as kubeadm does where it matters to a manifest: authorization by Node and RBAC, Pod Security
and the other default admission plugins.
"""

from __future__ import annotations

import ssl
from pathlib import Path
from typing import Final

from tests.cluster.binaries import Binaries
from tests.cluster.certificates import Authority
from tests.cluster.places import DOMAIN, HOST, RUN, SERVICES
from tests.cluster.processes import Program, answers
from tests.ports import free_port

READY_S: Final = 120.0

MASTERS: Final = "system:masters"
"""The group that may do everything."""


class ControlPlane:
    """The programs; start() and stop().

    Args:
        binaries: the programs.
        authority: signs its certificates.
    """

    def __init__(self, binaries: Binaries, authority: Authority):
        self._binaries = binaries
        self._authority = authority
        self._folder = RUN / "control-plane"
        self._programs: list[Program] = []
        self._port = free_port()
        self.server = f"https://{HOST}:{self._port}"
        """The API server's URL."""
        self.kubeconfig = RUN / "kubeconfig"
        """Of a cluster administrator."""

    def start(self) -> None:
        """Starts all, and returns when all are ready.

        Raises:
            ClusterError: one is not; the end of its log.
        """
        self._folder.mkdir(parents=True)
        admin = self._authority.issue("cluster-admin", groups=(MASTERS,))
        self._authority.kubeconfig(self.kubeconfig, self.server, pair=admin)
        account_key = self._authority.key_file("service-accounts")
        etcd = self._start_etcd()
        self._start_api_server(etcd, account_key)
        self._start_client(
            "kube-controller-manager",
            "system:kube-controller-manager",
            f"--service-account-private-key-file={account_key}",
            f"--root-ca-file={self._authority.certificate}",
            "--use-service-account-credentials=true",
        )
        self._start_client("kube-scheduler", "system:kube-scheduler")

    def stop(self) -> None:
        """Ends all, the last one first."""
        while self._programs:
            self._programs.pop().kill()

    def _run(self, name: str, *flags: str) -> Program:
        environment = {"PATH": self._binaries.search_path, "HOME": str(self._folder)}
        program = Program(name, [self._binaries[name], *flags], environment)
        self._programs.append(program)
        return program

    def _start_etcd(self) -> str:
        client, peer = (f"http://{HOST}:{free_port()}" for _ in range(2))
        etcd = self._run(
            "etcd",
            f"--data-dir={self._folder / 'etcd'}",
            f"--listen-client-urls={client}",
            f"--advertise-client-urls={client}",
            f"--listen-peer-urls={peer}",
            f"--initial-advertise-peer-urls={peer}",
            f"--initial-cluster=default={peer}",
        )
        port = int(client.rpartition(":")[2])
        etcd.wait_until_ready(lambda: answers(port, "/health"), deadline_s=READY_S)
        return client

    def _start_api_server(self, etcd: str, account_key: Path) -> None:
        names = ("kubernetes", "kubernetes.default", f"kubernetes.default.svc.{DOMAIN}")
        serving = self._authority.issue("kube-apiserver", addresses=(HOST, "localhost", *names))
        # To ask kubelets: logs, exec, port-forward.
        client = self._authority.issue("kube-apiserver-kubelet-client", groups=(MASTERS,))
        server = self._run(
            "kube-apiserver",
            f"--etcd-servers={etcd}",
            f"--bind-address={HOST}",
            f"--secure-port={self._port}",
            f"--advertise-address={HOST}",
            # It cannot list itself under 127.0.0.1, and would log that again and again.
            "--endpoint-reconciler-type=none",
            f"--service-cluster-ip-range={SERVICES}",
            "--authorization-mode=Node,RBAC",
            # Else validation refuses a privileged pod before Pod Security is asked.
            "--allow-privileged=true",
            "--enable-admission-plugins=NodeRestriction",
            f"--client-ca-file={self._authority.certificate}",
            f"--tls-cert-file={serving.certificate}",
            f"--tls-private-key-file={serving.key}",
            f"--kubelet-certificate-authority={self._authority.certificate}",
            f"--kubelet-client-certificate={client.certificate}",
            f"--kubelet-client-key={client.key}",
            "--kubelet-preferred-address-types=InternalIP",
            f"--service-account-issuer=https://kubernetes.default.svc.{DOMAIN}",
            f"--service-account-key-file={account_key}",
            f"--service-account-signing-key-file={account_key}",
        )
        server.wait_until_ready(lambda: self._is_ok(self._port, "/readyz"), deadline_s=READY_S)

    def _start_client(self, name: str, user: str, *flags: str) -> None:
        """Starts a program that asks the API server."""
        pair = self._authority.issue(user)
        kubeconfig = self._folder / f"{name}.kubeconfig"
        self._authority.kubeconfig(kubeconfig, self.server, pair=pair)
        port = free_port()
        serving = self._authority.issue(f"{name}-serving", addresses=(HOST,))
        program = self._run(
            name,
            f"--kubeconfig={kubeconfig}",
            "--leader-elect=false",
            f"--bind-address={HOST}",
            f"--secure-port={port}",
            f"--tls-cert-file={serving.certificate}",
            f"--tls-private-key-file={serving.key}",
            *flags,
        )
        program.wait_until_ready(lambda: self._is_ok(port, "/healthz"), deadline_s=READY_S)

    def _is_ok(self, port: int, path: str) -> bool:
        trusted = ssl.create_default_context(cafile=str(self._authority.certificate))
        return answers(port, path, trusted)
