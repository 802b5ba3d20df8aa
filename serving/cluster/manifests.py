"""An overlay of k8s/, rendered, tried out by the API server, and applied.

Nothing is half applied: every object has to pass a dry run by the server first, with its admission
and policies.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

import yaml

from foundation.command_line import InputError
from foundation.text import did_you_mean
from serving import models_config
from serving.cluster import config_map
from serving.cluster.following import UNDONE_BY
from serving.cluster.kubectl import ConflictError, Kubectl, KubectlError

Document = dict[str, Any]

OVERLAYS: Final = Path("k8s/overlays")

_FIRST: Final = ("Namespace", "ServiceAccount")
"""Kinds that have to exist before the others can be tried out."""

_VIOLATION: Final = "would violate PodSecurity"


class HalfAppliedError(Exception):
    """The API server had taken all of it on trial, and then did not: some of it may be applied."""


def folder(overlay: str, overlays: Path = OVERLAYS) -> Path:
    """The folder of an overlay, by its name, or by its path.

    Raises:
        InputError: there is no such overlay; names those that exist.
    """
    for found in (overlays / overlay, Path(overlay)):
        if overlay and (found / "kustomization.yaml").is_file():
            return found
    names = sorted(path.parent.name for path in overlays.glob("*/kustomization.yaml"))
    hint = did_you_mean(overlay, names)
    raise InputError(
        f"Expected one of the overlays of {overlays}: {', '.join(names) or 'there are none'}, or a "
        f"folder with a kustomization.yaml. Received: {overlay or 'no name'}.{hint}"
    )


def render(kubectl: Kubectl, path: Path) -> list[Document]:
    """What kustomize makes of an overlay.

    Raises:
        KubectlError: it cannot be rendered.
    """
    found = list(yaml.safe_load_all(kubectl.run("kustomize", str(path))))
    return [document for document in found if document]


def namespace(documents: Sequence[Document]) -> str:
    """The namespace of the documents.

    Raises:
        InputError: they name more than one namespace, or none.
    """
    found = {document["metadata"].get("namespace") for document in documents} - {None}
    if len(found) != 1:
        raise InputError(
            "Expected an overlay of one namespace. Received: "
            f"{', '.join(sorted(found)) or 'none'}. Set `namespace:` in its kustomization.yaml."
        )
    return str(found.pop())


def deployments(documents: Sequence[Document]) -> list[str]:
    """Names of the Deployments among them."""
    found = [document for document in documents if document["kind"] == "Deployment"]
    return [str(document["metadata"]["name"]) for document in found]


def keep_models_config(kubectl: Kubectl, documents: Sequence[Document]) -> str:
    """Puts the cluster's own models.config into the documents, where it has one.

    The rollout is its only writer: an overlay from before the last promotion must not take it back.

    Returns:
        A warning; empty where both are the same, or the cluster has none.
    """
    live = (kubectl.get("configmap", config_map.CONFIG) or {}).get("data", {})
    text = live.get(config_map.KEY)
    for document in documents:
        if document["kind"] != "ConfigMap" or document["metadata"]["name"] != config_map.CONFIG:
            continue
        own = document["data"].get(config_map.KEY, "")
        if text is None or text == own:
            return ""
        document["data"][config_map.KEY] = text
        if _meaning(text) == _meaning(own):
            return ""
        return (
            f"{config_map.KEY} stays as the cluster has it, which is not what the overlay says: "
            "labels and versions are moved by make k8s-canary, k8s-promote and k8s-rollback"
        )
    return ""


def apply(
    kubectl: Kubectl,
    documents: Sequence[Document],
    *,
    force: bool,
    dry_run: bool,
    told: Callable[[str], None],
) -> dict[str, int]:
    """Has the API server try all of it, then take it.

    Args:
        kubectl: the cluster, and the namespace of the documents.
        documents: what to apply; the Namespace among them is made first, if it is missing.
        force: take over fields that somebody else has set.
        dry_run: only try.
        told: called with each warning of the server.

    Returns:
        How many objects were created, configured, and so on, in kubectl's words.

    Raises:
        KubectlError: refused; nothing was applied.
        HalfAppliedError: some of it may be applied.
    """
    made = _make_missing(kubectl, documents)
    try:
        force = _tried(kubectl, documents, force=force, told=told)
    except BaseException:
        _remove(kubectl, made)
        raise
    if dry_run:
        _remove(kubectl, made)
        return {}
    try:
        said = _server_side(kubectl, documents, force=force)
    except KubectlError as error:
        raise HalfAppliedError(
            f"{error} It had passed the dry run a moment ago, and some of it may be applied now: "
            "run it again."
        ) from error
    outcomes = [line.rpartition(" ")[2] for line in said.splitlines() if line.strip()]
    return {outcome: outcomes.count(outcome) for outcome in dict.fromkeys(outcomes)}


def _tried(
    kubectl: Kubectl, documents: Sequence[Document], *, force: bool, told: Callable[[str], None]
) -> bool:
    """Tries all of it out; returns whether to take fields over that others have set."""

    def try_out(force: bool) -> list[str]:
        warnings: list[str] = []
        _server_side(kubectl, documents, "--dry-run=server", force=force, warned=warnings.append)
        return warnings

    try:
        warnings = try_out(force)
    except ConflictError as error:
        owners = set(re.findall(r'conflicts? with "([^"]+)"', str(error)))
        if owners != {UNDONE_BY}:
            raise KubectlError(
                f"Expected fields that nobody else has set. Received: {error.received}. Nothing "
                "was applied; to take them over: ARGS=--force-conflicts"
            ) from error
        force, warnings = True, try_out(force=True)  # what an undo has set is meant to be replaced
    for warning in warnings:
        if _VIOLATION in warning:
            raise KubectlError(
                f"Expected pods that the namespace's policy lets in. Received: {warning}. "
                "Nothing was applied; mend the manifests."
            )
        told(warning)
    return force


def _server_side(
    kubectl: Kubectl,
    documents: Sequence[Document],
    *flags: str,
    force: bool = False,
    warned: Callable[[str], None] | None = None,
) -> str:
    arguments = ["apply", "--server-side", "--filename=-", *flags]
    if force:
        arguments.append("--force-conflicts")
    text = yaml.safe_dump_all(documents, sort_keys=False)
    return kubectl.run(*arguments, stdin=text, timeout_s=120, warned=warned)


def _make_missing(kubectl: Kubectl, documents: Sequence[Document]) -> list[Document]:
    """Creates what a dry run of the others needs; returns what was not there before."""
    made = []
    for kind in _FIRST:
        for document in documents:
            if document["kind"] != kind:
                continue
            name = document["metadata"]["name"]
            found = kubectl.get(kind, name)
            if found is None:
                _server_side(kubectl, [document])
                made.append(document)
            elif "deletionTimestamp" in found["metadata"]:
                raise InputError(
                    f"Expected {kind} {name} to stand, or not to. Received: one that is being "
                    "deleted. Wait until it has gone, and start again."
                )
    return made


def _remove(kubectl: Kubectl, made: Sequence[Document]) -> None:
    for document in reversed(made):
        name = str(document["metadata"]["name"])
        kubectl.run("delete", document["kind"], name, "--ignore-not-found", timeout_s=120)


def _meaning(text: str) -> Any:
    try:
        return models_config.parse(text)
    except InputError:
        return text
