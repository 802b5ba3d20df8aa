"""CoreDNS: names of Services, for clients on this machine and for pods."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from tests.cluster.binaries import Binaries
from tests.cluster.places import DOMAIN, HOST, NODE_ADDRESS, RUN
from tests.cluster.processes import Program, answers
from tests.ports import free_port

READY_S: Final = 60.0

POD_PORT: Final = 53
"""At the node's address; pods know no other."""


class Dns:
    """CoreDNS; start() and stop().

    Args:
        binaries: the programs.
        kubeconfig: of who may list Services and EndpointSlices.
        ttl_s: how long an answer may be kept, and is kept by CoreDNS itself: no client sees an
            older one. Clusters usually set 30; the default is 5.
    """

    def __init__(self, binaries: Binaries, kubeconfig: Path, *, ttl_s: int):
        self._binaries = binaries
        self._kubeconfig = kubeconfig
        self._ttl_s = ttl_s
        self._program: Program | None = None
        self.port = free_port()
        """On 127.0.0.1, UDP and TCP."""

    def start(self) -> None:
        """Starts it and returns when it knows the cluster's Services.

        Raises:
            ClusterError: it does not start; the end of its log.
        """
        folder = RUN / "dns"
        folder.mkdir()
        ready_port = free_port()
        cache = f"cache {self._ttl_s}" if self._ttl_s else ""
        zone = f"""\
    errors
    {cache}
    kubernetes {DOMAIN} {{
        kubeconfig {self._kubeconfig}
        ttl {self._ttl_s}
    }}
"""
        settings = folder / "Corefile"
        settings.write_text(
            f".:{self.port} {{\n    bind {HOST}\n    ready {HOST}:{ready_port}\n{zone}}}\n"
            f".:{POD_PORT} {{\n    bind {NODE_ADDRESS}\n{zone}}}\n"
        )
        self._program = Program(
            "coredns",
            [self._binaries["coredns"], "-conf", str(settings)],
            {"PATH": self._binaries.search_path, "HOME": str(folder)},
        )
        self._program.wait_until_ready(lambda: answers(ready_port, "/ready"), deadline_s=READY_S)

    def stop(self) -> None:
        """Ends it."""
        if self._program is not None:
            self._program.kill()
