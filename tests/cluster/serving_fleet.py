"""k8s/ on the test cluster: a model store, an overlay, the commands for it, and its callers.

Versions N of image_classifier answer x / 2 + N, so that each answer shows which version gave it.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import yaml
from numpy.typing import NDArray

from tests.bench.rollout.callers import FAILED, WRONG
from tests.cluster.cluster import Cluster
from tests.cluster.places import RUN
from tests.environments import ROOT

NAMESPACE: Final = "image-classifier"

PODS: Final = 3

READY_S: Final = 240.0

SMALLER: Final = """\
- {op: replace, path: /spec/template/spec/containers/0/resources/requests/cpu, value: 100m}
- {op: replace, path: /spec/template/spec/containers/0/resources/requests/memory, value: 700Mi}
"""
"""Three servers and one more have to fit on a machine of two cores."""


def save_store(folder: Path) -> Path:
    """Versions 1 to 3, readable for everyone."""
    # Here, because it imports TensorFlow, and pytest imports this file in every run of the suite.
    from tests.integration.local_server_fixtures import save_line

    for version in (1, 2, 3):
        save_line(folder / "image_classifier" / str(version), float(version))
    return readable(folder)


def readable(folder: Path) -> Path:
    """Lets the pods' user, another one, read a folder and all below it."""
    for path in [folder, *folder.rglob("*")]:
        path.chmod(0o755 if path.is_dir() else 0o644)
    return folder


def provide_store(
    cluster: Cluster, folder: Path, namespace: str = NAMESPACE, mode: str = "ReadWriteMany"
) -> None:
    """A volume for the claim of model-store-pvc, from a folder of this machine."""
    cluster.apply(
        {
            "apiVersion": "v1",
            "kind": "PersistentVolume",
            "metadata": {"name": f"models-{namespace}"},
            "spec": {
                "capacity": {"storage": "10Gi"},
                "accessModes": [mode],
                "persistentVolumeReclaimPolicy": "Retain",
                "claimRef": {"namespace": namespace, "name": "image-classifier-models"},
                "hostPath": {"path": str(folder), "type": "Directory"},
            },
        }
    )


def overlay(
    name: str,
    *,
    components: Sequence[str] = ("model-store-pvc",),
    pods: int = PODS,
    namespace: str = NAMESPACE,
    patches: str = "",
    image: str = "",
) -> Path:
    """An overlay of k8s/base as a user would write it; returns its folder.

    Args:
        name: of the folder.
        components: of k8s/components.
        pods: how many.
        namespace: all go there.
        patches: further operations on the Deployment.
        image: another one than the base's, name:tag.
    """
    folder = RUN / "overlays" / name
    folder.mkdir(parents=True, exist_ok=True)
    k8s = Path(os.path.relpath(ROOT / "k8s", folder))
    replicas = "".join(
        f"- {{op: replace, path: /spec/{key}, value: {pods}}}\n"
        for key in ("minReplicas", "maxReplicas")
    )
    content: dict[str, Any] = {
        "apiVersion": "kustomize.config.k8s.io/v1beta1",
        "kind": "Kustomization",
        "namespace": namespace,
        "resources": [str(k8s / "base")],
        "components": [str(k8s / "components" / one) for one in components],
        "patches": [
            {
                "target": {"kind": "Deployment", "name": "image-classifier"},
                "patch": SMALLER + patches,
            },
            {"target": {"kind": "HorizontalPodAutoscaler"}, "patch": replicas},
        ],
    }
    if image:
        name_of, _, tag = image.rpartition(":")
        content["images"] = [{"name": "tensorflow/serving", "newName": name_of, "newTag": tag}]
    (folder / "kustomization.yaml").write_text(yaml.safe_dump(content, sort_keys=False))
    return folder


@dataclasses.dataclass(frozen=True)
class Ran:
    """A command that has ended."""

    code: int
    out: str
    err: str
    began: float
    """time.monotonic(), which all processes of a machine share."""
    ended: float


@dataclasses.dataclass
class Person:
    """A user with a kubeconfig.

    Args:
        cluster: the cluster.
        kubeconfig: who it is.
    """

    cluster: Cluster
    kubeconfig: Path

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        """Starts a command of the project, such as serving.rollout and its arguments."""
        return subprocess.Popen(
            [sys.executable, "-m", *arguments],
            cwd=ROOT,
            env={**self.cluster.environment, "KUBECONFIG": str(self.kubeconfig)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def run(self, *arguments: str, timeout_s: float = READY_S) -> Ran:
        """The same, to its end."""
        began = time.monotonic()
        with self.start(*arguments) as running:
            try:
                out, err = running.communicate(timeout=timeout_s)
            except BaseException:
                running.kill()
                raise
        return Ran(running.returncode, out, err, began, time.monotonic())

    def make(self, target: str) -> Ran:
        """A target of the Makefile."""
        began = time.monotonic()
        done = subprocess.run(
            ["make", "--silent", target],
            cwd=ROOT,
            env={**self.cluster.environment, "KUBECONFIG": str(self.kubeconfig)},
            capture_output=True,
            text=True,
            timeout=READY_S,
            check=False,
        )
        return Ran(done.returncode, done.stdout, done.stderr, began, time.monotonic())

    def rollout(self, *arguments: str, timeout_s: float = READY_S) -> Ran:
        """Runs a verb on the cluster, with --force: the test's versions have passed no gate."""
        gate = ["--force", "--why=a test"] if arguments[0] == "canary" else []
        return self.run("serving.rollout", *arguments, "--kubernetes", *gate, timeout_s=timeout_s)


@dataclasses.dataclass
class Heard:
    """What callers were answered."""

    rows: NDArray[np.void] = dataclasses.field(default_factory=lambda: np.array([]))
    errors: tuple[str, ...] = ()

    @property
    def failed(self) -> int:
        """Requests without an answer, or with a wrong one."""
        return int(np.isin(self.rows["version"], (FAILED, WRONG)).sum())

    def last(self, version: int, ran: Ran) -> float:
        """Seconds from a command's start to the last answer of a version to callers of stable.

        What it answers once the command has ended is not counted: another one may have begun; but
        the command ends only when all servers answer as they should.
        """
        own = self.rows[
            (self.rows["label"] == 0)
            & (self.rows["version"] == version)
            & (self.rows["ended"] >= ran.began)
            & (self.rows["begun"] <= ran.ended)
        ]
        return float(own["ended"].max() - ran.began) if len(own) else 0.0


@contextlib.contextmanager
def callers(
    cluster: Cluster, folder: Path, *, retry: bool, per_s: float = 40.0, count: int = 4
) -> Iterator[Heard]:
    """Callers of the headless Service, as tfs_client makes them: round_robin over all pods."""
    service = cluster.name_of("image-classifier-grpc", NAMESPACE)
    out = folder / "rows.npz"
    command = [sys.executable, "-m", "tests.bench.rollout.callers", f"{cluster.dns}/{service}:8500"]
    command += [str(out), f"--callers={count}", f"--per-s={per_s}", "--model=image_classifier"]
    command += ["--retry"] if retry else []
    heard = Heard()
    with subprocess.Popen(
        command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as running:
        assert running.stdin is not None
        assert running.stdout is not None
        try:
            assert running.stdout.readline() == b"calling\n"
            yield heard
        finally:
            running.stdin.close()
            running.wait(60)
    assert running.returncode == 0
    with np.load(out, allow_pickle=True) as saved:
        heard.rows, heard.errors = saved["rows"], tuple(str(one) for one in saved["errors"])


def pods(cluster: Cluster) -> list[dict[str, Any]]:
    """The model servers' pods that are not being deleted."""
    selector = "app.kubernetes.io/component=model-server"
    found = cluster.get("pods", f"--namespace={NAMESPACE}", f"--selector={selector}")["items"]
    return [pod for pod in found if "deletionTimestamp" not in pod["metadata"]]


def files(cluster: Cluster) -> list[Path]:
    """models.config as each pod's container sees it, from outside."""
    folder = RUN / "node" / "lib" / "kubelet" / "pods"
    return [
        folder / pod["metadata"]["uid"] / "volumes/kubernetes.io~configmap/config/models.config"
        for pod in pods(cluster)
    ]


def config_map(cluster: Cluster) -> str:
    """models.config as the cluster has it."""
    found = cluster.get("configmap", "image-classifier-config", f"--namespace={NAMESPACE}")
    return str(found["data"]["models.config"])


def labels(text: str) -> dict[str, int]:
    """Label to version, of a models.config."""
    found = re.findall(r'key: "(\w+)" value: (\d+)', text)
    return {label: int(version) for label, version in found}
