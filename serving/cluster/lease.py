"""Who is at work on a namespace's labels: a Lease, which expires when its holder is killed."""

from __future__ import annotations

import contextlib
import datetime
import json
import threading
import uuid
from typing import Any, Final

from foundation.command_line import InputError
from serving.cluster.kubectl import (
    LABELS,
    ConflictError,
    Kubectl,
    KubectlError,
    NoClusterError,
    NotFoundError,
)
from serving.fleet.place import operator_in_words

NAME: Final = "image-classifier-rollout"

LEASE_S: Final = 30
"""Seconds for which a command that was killed keeps the others away."""

_RENEW_S: Final = 10.0

_ABOUT: Final = "image-classifier/operator"
"""The annotation that says who holds it."""


class Lease:
    """The lease of one namespace, renewed in the background while it is held.

    The clocks of two operators may differ by less than LEASE_S. If they differ by more, both may
    hold the lease for a while; so a write has to name the version of the object that was read.

    Args:
        kubectl: the cluster and the namespace.
        of: what is worked on, for messages.
    """

    def __init__(self, kubectl: Kubectl, of: str):
        self._kubectl = kubectl
        self._of = of
        self._held: dict[str, Any] = {}
        self._done = threading.Event()
        self._keeper: threading.Thread | None = None
        self.lost = False
        """Whether somebody else took it while it was held here."""

    def take(self, about: dict[str, Any]) -> None:
        """Takes the lease; give it back.

        Args:
            about: what others are told: who, verb, pid, time.

        Raises:
            InputError: somebody else holds it.
            NotFoundError: there is no such namespace.
        """
        found = self._kubectl.get("lease", NAME)
        if found is not None and _is_held(found):
            raise self._busy(_holder(found))
        metadata: dict[str, Any] = {"annotations": {_ABOUT: json.dumps(about)}}
        if found is not None:
            metadata["resourceVersion"] = found["metadata"]["resourceVersion"]
        spec = {
            "holderIdentity": uuid.uuid4().hex,
            "leaseDurationSeconds": LEASE_S,
            "acquireTime": _now(),
            "renewTime": _now(),
        }
        try:
            self._put("create" if found is None else "replace", metadata, spec)
        except ConflictError:
            raise self._busy(operator_in_words("")) from None
        self.lost = False
        self._done.clear()
        self._keeper = threading.Thread(target=self._keep, daemon=True)
        self._keeper.start()

    def give_back(self) -> None:
        """Ends the lease, so that others can begin at once."""
        self._done.set()
        if self._keeper is not None:
            self._keeper.join()
            self._keeper = None
        if not self.lost:
            with contextlib.suppress(KubectlError):  # it ends by itself
                self._renew(holderIdentity="")

    def holder(self) -> str | None:
        """Who holds it now, in words; None where nobody does."""
        found = self._kubectl.get("lease", NAME)
        return _holder(found) if found is not None and _is_held(found) else None

    def _busy(self, who: str) -> InputError:
        return InputError(
            f"Expected to be the only operator of {self._of}. Received: {who}. Wait for that "
            "command, or end it (it undoes what it began; after a kill, wait "
            f"{LEASE_S} s), and start again."
        )

    def _keep(self) -> None:
        """Renews the lease until it is given back, also while the cluster does not answer."""
        while not self._done.wait(_RENEW_S):
            with contextlib.suppress(NoClusterError):
                self.lost = not self._renewed()
                if self.lost:
                    return

    def _renewed(self) -> bool:
        try:
            self._renew(renewTime=_now())
        except (ConflictError, NotFoundError):
            return False
        return True

    def _renew(self, **changed: str) -> None:
        metadata = {key: self._held["metadata"][key] for key in ("annotations", "resourceVersion")}
        self._put("replace", metadata, {**self._held["spec"], **changed})

    def _put(self, verb: str, metadata: dict[str, Any], spec: dict[str, Any]) -> None:
        document = {
            "apiVersion": "coordination.k8s.io/v1",
            "kind": "Lease",
            "metadata": {"name": NAME, "labels": LABELS, **metadata},
            "spec": spec,
        }
        self._held = self._kubectl.put(verb, document)


def _is_held(lease: dict[str, Any]) -> bool:
    spec = lease.get("spec", {})
    if not spec.get("holderIdentity") or not spec.get("renewTime"):
        return False
    renewed = datetime.datetime.fromisoformat(spec["renewTime"].replace("Z", "+00:00"))
    age = datetime.datetime.now(datetime.timezone.utc) - renewed
    return bool(age.total_seconds() < spec.get("leaseDurationSeconds", LEASE_S))


def _holder(lease: dict[str, Any]) -> str:
    return operator_in_words(lease["metadata"].get("annotations", {}).get(_ABOUT, ""))


def _now() -> str:
    """The time now, in the format of a Lease (MicroTime)."""
    now = datetime.datetime.now(datetime.timezone.utc)
    return now.strftime("%Y-%m-%dT%H:%M:%S.%fZ")
