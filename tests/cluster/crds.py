"""The real schemas of the custom resources that k8s/ uses, on the test cluster.

They come with their projects' Go modules, each checked against its hash. tests/manifests has
schemas written by hand, for machines without Go; here they are compared with the real ones.
"""

from __future__ import annotations

import json
import subprocess
import tempfile
from pathlib import Path
from typing import Final, NamedTuple

from tests.cluster import binaries
from tests.cluster.cluster import Cluster
from tests.environments import UnavailableError


class Source(NamedTuple):
    """A Go module, and the definitions in it."""

    module: str
    digest: str
    files: tuple[str, ...]


SOURCES: Final = (
    Source(
        "sigs.k8s.io/gateway-api@v1.4.1",
        "h1:NPxFutNkKNa8UfLd2CMlEuhIPMQgDQ6DXNKG9sHbJU8=",
        (
            "config/crd/standard/gateway.networking.k8s.io_grpcroutes.yaml",
            "config/crd/standard/gateway.networking.k8s.io_backendtlspolicies.yaml",
        ),
    ),
    Source(
        "github.com/cert-manager/cert-manager@v1.21.2",
        "h1:UWgoYM+KLNtRlqmoWOKjKBOBUPVHeepQ6/ac3ERJW68=",
        ("deploy/crds/cert-manager.io_certificates.yaml",),
    ),
    Source(
        "github.com/prometheus-operator/prometheus-operator@v0.85.0",
        "h1:M5xLCLEoaW2IJfnuCwFzzpL+jSVQu3KGT84Pye+fW8s=",
        (
            "example/prometheus-operator-crd/monitoring.coreos.com_servicemonitors.yaml",
            "example/prometheus-operator-crd/monitoring.coreos.com_prometheusrules.yaml",
        ),
    ),
    Source(
        "github.com/kubeflow/trainer/v2@v2.0.0",
        "h1:mnQSR9iPKItxyUR8mq66XsmxqKNVHwr9YYOB7BTU9dU=",
        (
            "manifests/base/crds/trainer.kubeflow.org_trainjobs.yaml",
            "manifests/base/crds/trainer.kubeflow.org_trainingruntimes.yaml",
        ),
    ),
)

DOWNLOAD_S: Final = 300


def install(cluster: Cluster) -> None:
    """Makes all of them known to the API server.

    Raises:
        UnavailableError: a module cannot be had, or its hash is another one.
    """
    files = [f"--filename={folder / file}" for folder, source in _found() for file in source.files]
    cluster.kubectl("apply", "--server-side", *files)
    cluster.kubectl("wait", "crd", "--all", "--for=condition=Established", "--timeout=30s")


def remove(cluster: Cluster, name: str) -> None:
    """Removes one from the API server."""
    cluster.kubectl("delete", "crd", name)


def _found() -> list[tuple[Path, Source]]:
    return [(_downloaded(source), source) for source in SOURCES]


def _downloaded(source: Source) -> Path:
    """The folder of a module, which Go keeps; fetched the first time."""
    with tempfile.TemporaryDirectory() as empty:
        done = subprocess.run(
            [str(binaries.go()), "mod", "download", "-json", source.module],
            cwd=empty,
            capture_output=True,
            text=True,
            timeout=DOWNLOAD_S,
            check=False,
        )
    try:
        told = json.loads(done.stdout)
        folder, digest = Path(told["Dir"]), told["Sum"]
    except (ValueError, KeyError) as error:
        words = " ".join((done.stderr or done.stdout).split())[-400:]
        raise UnavailableError(
            f"Expected the Go module {source.module}. Received: {words}."
        ) from error
    if digest != source.digest:
        raise UnavailableError(
            f"Expected {source.module} with {source.digest}. Received: {digest}. It is another one "
            "now; look at it before you trust it."
        )
    return folder
