"""Follows a Deployment's rollout to its end; a bad one is rolled back.

The old pods serve until the new ones do (maxUnavailable 0): a rollout that fails harms no caller.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from foundation.command_line import InputError
from serving.cluster.kubectl import Kubectl, NoClusterError
from serving.cluster.pods import why

_POLL_S: Final = 1.0

_SURE: Final = 3
"""Looks in a row that have to show a failure: the first may show the one of the rollout before."""

_SILENT_S: Final = 120.0
"""Seconds to wait for an API server that does not answer."""

_REVISION: Final = "deployment.kubernetes.io/revision"
_HASH: Final = "pod-template-hash"

UNDONE_BY: Final = "image-classifier-undo"
"""Field manager of what an undo has set."""

_UNDO_S: Final = 180.0
"""Seconds for the pods of a bad rollout to end: their preStop, their grace period, and a margin."""


@dataclass(frozen=True)
class Before:
    """A Deployment as it was before it was applied."""

    name: str
    revision: str = ""
    """Empty where the Deployment did not exist."""
    template: Any = None


@dataclass(frozen=True)
class Ended:
    """How the rollout of a Deployment has ended."""

    name: str
    done: bool
    text: str


def before(kubectl: Kubectl, name: str) -> Before:
    """Reads what there is to go back to."""
    found = kubectl.get("deployment", name)
    if found is None:
        return Before(name)
    revision = found["metadata"].get("annotations", {}).get(_REVISION, "")
    return Before(name, revision, found["spec"]["template"])


def follow(kubectl: Kubectl, was: Before, told: Callable[[str], None]) -> Ended:
    """Waits until all pods are new and ready, or undoes it after progressDeadlineSeconds.

    Args:
        kubectl: the cluster and the namespace.
        was: the Deployment before.
        told: called with how far it is, and what holds it up.
    """
    said, failures = "", 0
    silent_since: float | None = None
    while True:
        try:
            now = _deployment(kubectl, was.name)
            reason = "; ".join(_reasons(kubectl, now))
            silent_since = None
        except NoClusterError as error:
            # The rollout goes on without us, but only this command would undo a bad one.
            silent_since = silent_since or time.monotonic()
            if time.monotonic() - silent_since > _SILENT_S:
                raise
            told(str(error))
            time.sleep(_POLL_S)
            continue
        state, failed = _progress(now)
        if state == "":
            ready = now["status"].get("readyReplicas", 0)
            return Ended(was.name, True, f"{was.name}: {ready} of {ready} pods are ready")
        text = f"{was.name}: {state}{f' ({reason})' if reason else ''}"
        failures = failures + 1 if failed else 0
        if failures >= _SURE:
            return _undone(kubectl, was, now, reason or failed, told)
        if text != said:
            said = text
            told(text)
        time.sleep(_POLL_S)


def _undone(
    kubectl: Kubectl,
    was: Before,
    now: dict[str, Any],
    reason: str,
    told: Callable[[str], None],
) -> Ended:
    """Goes back to the revision before, if there is one and its pods were different."""
    image = now["spec"]["template"]["spec"]["containers"][0]["image"]
    deadline = now["spec"].get("progressDeadlineSeconds", 600)
    failed = f"{was.name}: no progress for {deadline} s with {image} ({reason})"
    if not was.revision:
        return Ended(
            was.name, False, f"{failed}. It is the first rollout: there is nothing to go back to"
        )
    if now["spec"]["template"] == was.template:
        return Ended(
            was.name, False, f"{failed}. Its pods were the same before: there is nothing to undo"
        )
    told(f"{failed}; undoing it")
    # As `kubectl rollout undo` does, but under a field manager that the next apply looks for.
    patch = [{"op": "replace", "path": "/spec/template", "value": was.template}]
    kubectl.run(
        *("patch", "deployment", was.name, "--type=json", "--patch-file=/dev/stdin"),
        f"--field-manager={UNDONE_BY}",
        stdin=json.dumps(patch),
    )
    end = time.monotonic() + _UNDO_S
    state = "?"
    while time.monotonic() < end and state:
        time.sleep(_POLL_S)
        state, _ = _progress(_deployment(kubectl, was.name))
    stands = f"revision {was.revision} serves again" if not state else f"not all is back: {state}"
    return Ended(
        was.name,
        False,
        f"{failed}. Rolled back: {stands}. The overlay still says otherwise: mend it",
    )


def _deployment(kubectl: Kubectl, name: str) -> dict[str, Any]:
    found = kubectl.get("deployment", name)
    if found is None:
        raise InputError(
            f"Expected the Deployment {name}, which was there a moment ago. Received: none. "
            "Somebody has deleted it; look at the cluster."
        )
    return found


def _progress(deployment: dict[str, Any]) -> tuple[str, str]:
    """How far it is (empty: done), and why it has failed (empty: it has not)."""
    spec, status = deployment["spec"], deployment.get("status", {})
    if status.get("observedGeneration", 0) < deployment["metadata"]["generation"]:
        return "has just been changed", ""
    for one in status.get("conditions", []):
        if one["type"] == "Progressing" and one.get("reason") == "ProgressDeadlineExceeded":
            return "no progress", str(one.get("message", ""))
    wanted = spec.get("replicas", 1)
    updated, total = status.get("updatedReplicas", 0), status.get("replicas", 0)
    available = status.get("availableReplicas", 0)
    if updated < wanted:
        return f"{updated} of {wanted} pods are new", ""
    if total > updated:
        return f"all {updated} new pods are there, old ones still to go: {total - updated}", ""
    ready = min(status.get("readyReplicas", 0), updated)
    if available < updated and ready == updated:
        stay_s = spec.get("minReadySeconds", 0)
        return f"{updated} new pods are ready, and have to stay so for {stay_s} s", ""
    if available < updated:
        return f"{ready} of {updated} new pods are ready", ""
    return "", ""


def _reasons(kubectl: Kubectl, deployment: dict[str, Any]) -> list[str]:
    """Why the newest pods are not ready, each reason once."""
    selector = deployment["spec"]["selector"]["matchLabels"]
    uid = deployment["metadata"]["uid"]
    sets = [
        one
        for one in kubectl.list("replicasets", selector)
        if any(owner["uid"] == uid for owner in one["metadata"].get("ownerReferences", []))
    ]
    if not sets:
        return []
    newest = max(sets, key=lambda one: int(one["metadata"]["annotations"].get(_REVISION, 0)))
    for one in newest.get("status", {}).get("conditions", []):
        if one["type"] == "ReplicaFailure" and one["status"] == "True":
            return [str(one.get("message", ""))]
    mine = {**selector, _HASH: newest["metadata"]["labels"][_HASH]}
    found = [why(pod) for pod in kubectl.list("pods", mine) if not _ready(pod)]
    return list(dict.fromkeys(found))


def _ready(pod: dict[str, Any]) -> bool:
    conditions = pod["status"].get("conditions", [])
    return any(one["type"] == "Ready" and one["status"] == "True" for one in conditions)
