"""The model servers' pods: found by their labels, reached from wherever the operator is.

Pods come and go, so they are looked up again each time. They are reached through `kubectl
port-forward`, or by their own addresses from inside the cluster's network.
"""

from __future__ import annotations

import hashlib
import logging
import select
import socket
import subprocess
import threading
import time
from collections.abc import Mapping, Sequence
from typing import Any, Final

from serving.cluster.kubectl import ForbiddenError, Kubectl, KubectlError, NoClusterError
from serving.fleet.fleet import Member
from tfs_client import contract

_log = logging.getLogger("serving.rollout")

SELECTOR: Final = {
    "app.kubernetes.io/name": "image-classifier",
    "app.kubernetes.io/component": "model-server",
}
"""The pods of both Deployments, stable and canary: both read the ConfigMap."""

CONTAINER: Final = "model-server"
SERVICE: Final = "image-classifier-grpc"

_FRESH_S: Final = 1.0
"""Seconds for which a list of pods is not asked for again."""

_FORWARD_S: Final = 10.0

_REASON: Final = 160
"""Characters of a reason that are shown; one about an image's pull repeats itself four times."""

_NUDGE: Final = "image-classifier/nudged"


class Pods:
    """All pods of the model server in one namespace: the Members of a fleet.

    Args:
        kubectl: the cluster and the namespace.
        direct: reach the pods by their own addresses, without port-forward.
    """

    def __init__(self, kubectl: Kubectl, *, direct: bool = False):
        self._kubectl = kubectl
        self._direct = direct
        self._forwards: dict[str, _Forward] = {}
        self._seen: list[dict[str, Any]] = []
        self._seen_at = -_FRESH_S
        self._may_nudge = True

    def now(self) -> Sequence[Member]:
        """Pods whose server has started once; those that are being deleted are left out."""
        up = [pod for pod in self._pods() if _started(pod)]
        host = f"{SERVICE}.{self._kubectl.namespace}.svc"
        if self._direct:
            return [
                Member(
                    name=pod["metadata"]["name"],
                    target=f"{_bracketed(pod['status']['podIP'])}:{contract.GRPC_PORT}",
                    host=host,
                )
                for pod in up
            ]
        names = [pod["metadata"]["name"] for pod in up]
        self._forward(names)
        return [Member(name=name, target=self._forwards[name].target, host=host) for name in names]

    def absent(self) -> Mapping[str, str]:
        """Pods that have not started yet, and why."""
        return {pod["metadata"]["name"]: why(pod) for pod in self._pods() if not _started(pod)}

    def hasten(self) -> None:
        """Has each kubelet look at its pods now.

        A kubelet brings a changed ConfigMap to a pod once a minute, and whenever the pod itself
        changes. So each pod gets an annotation, for which no container restarts.
        """
        if not self._may_nudge:
            return
        nudge = hashlib.sha256(str(time.time_ns()).encode()).hexdigest()[:12]
        labels = ",".join(f"{key}={value}" for key, value in SELECTOR.items())
        try:
            self._kubectl.run(
                *("annotate", "pods", f"--selector={labels}", "--overwrite", f"{_NUDGE}={nudge}")
            )
        except ForbiddenError:
            self._may_nudge = False
            _log.info(
                "no right to annotate pods: the ConfigMap reaches them by itself, within about "
                "90 s (the kubelet's minute, and its cache)"
            )
        except KubectlError as error:
            _log.warning("pods were not told to hurry: %s", error)

    def close(self) -> None:
        """Ends all forwarding."""
        for forward in self._forwards.values():
            forward.close()
        self._forwards.clear()

    def _pods(self) -> list[dict[str, Any]]:
        if time.monotonic() - self._seen_at < _FRESH_S:
            return self._seen
        try:
            found = self._kubectl.list("pods", SELECTOR)
        except NoClusterError as error:
            if not self._seen:
                raise
            _log.warning("%s; going on with the pods that were there", error)
            found = self._seen
        self._seen = [pod for pod in found if _counts(pod)]
        self._seen_at = time.monotonic()
        return self._seen

    def _forward(self, names: Sequence[str]) -> None:
        """Starts a forwarder for each of these pods, then waits for all of them."""
        for name in self._forwards.keys() - names:
            self._forwards.pop(name).close()
        for name in names:
            self._forwards.setdefault(name, _Forward(self._kubectl, name)).start()
        for name in names:
            if error := self._forwards[name].failure():
                if isinstance(error, ForbiddenError):
                    raise error
                # Nothing listens at its port, so it counts as a server that does not answer.
                _log.info("%s cannot be reached: %s", name, error)


class _Forward:
    """One pod's `kubectl port-forward`, started again when it ends: it ends with the container.

    Its port stays the same, so that the pod stays the same member of the fleet.
    """

    def __init__(self, kubectl: Kubectl, pod: str):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.target = f"127.0.0.1:{free.getsockname()[1]}"
        port = self.target.rpartition(":")[2]
        self._kubectl = kubectl
        self._arguments = ("port-forward", f"pod/{pod}", f"{port}:{contract.GRPC_PORT}")
        self._process: subprocess.Popen[str] | None = None
        self._waiting = False
        self._started_at = -_FRESH_S

    def start(self) -> None:
        """Starts it, unless it runs or was tried a moment ago."""
        if self._process is not None and self._process.poll() is None:
            return
        if time.monotonic() - self._started_at < _FRESH_S:
            return
        self.close()
        self._started_at = time.monotonic()
        self._waiting = True
        self._process = subprocess.Popen(
            self._kubectl.argv(*self._arguments, "--address=127.0.0.1"),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def failure(self) -> KubectlError | None:
        """Waits until it forwards, if it was just started; returns the error if it does not."""
        if self._process is None or not self._waiting:
            return None
        self._waiting = False
        out, err = self._process.stdout, self._process.stderr
        assert out is not None
        assert err is not None
        ready, _, _ = select.select([out], [], [], _FORWARD_S)
        if not (ready and out.readline().startswith("Forwarding from")):
            self._process.kill()
            return self._kubectl.error(err.read(), self._arguments)
        # kubectl prints a line for each connection, and a full pipe would block it.
        for stream in (out, err):
            threading.Thread(target=stream.read, daemon=True).start()
        return None

    def close(self) -> None:
        """Ends the process."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()


def why(pod: Mapping[str, Any]) -> str:
    """Why a pod has not started, as its status says."""
    status = pod["status"]
    for one in status.get("conditions", []):
        if one["type"] == "PodScheduled" and one["status"] == "False":
            return _cut(f"{one.get('reason', 'not scheduled')}: {one.get('message', '')}")
    containers = [*status.get("initContainerStatuses", []), *status.get("containerStatuses", [])]
    for one in containers:
        waiting = one.get("state", {}).get("waiting", {})
        if waiting.get("reason") not in (None, "PodInitializing", "ContainerCreating"):
            last = one.get("lastState", {}).get("terminated", {})
            said = waiting.get("message") or last.get("message") or ""
            return _cut(f"{one['name']}: {waiting['reason']} {said}".strip())
    for one in containers:
        if one["name"] == CONTAINER and "running" in one.get("state", {}):
            return f"{CONTAINER} has not passed its startup probe yet (no version to load?)"
    phase = str(status.get("phase", "Unknown"))
    return "its containers are being made" if phase == "Pending" else phase


def _started(pod: Mapping[str, Any]) -> bool:
    """Whether its server has been up: only then is it a problem if it is down now."""
    if not pod["status"].get("podIP"):
        return False
    return any(
        one["name"] == CONTAINER and (one.get("started") or one.get("restartCount"))
        for one in pod["status"].get("containerStatuses", [])
    )


def _counts(pod: Mapping[str, Any]) -> bool:
    """Whether it is neither ended, evicted nor being deleted."""
    ended = pod["status"].get("phase") in ("Succeeded", "Failed")
    return not ended and "deletionTimestamp" not in pod["metadata"]


def _cut(text: str) -> str:
    text = text.rstrip(". :")
    return text if len(text) <= _REASON else f"{text[: _REASON - 1]}…"


def _bracketed(address: str) -> str:
    return f"[{address}]" if ":" in address else address
