"""Runs checkov over rendered documents; findings that are accepted are listed with the reason."""

from __future__ import annotations

import fnmatch
import json
from pathlib import Path
from typing import Any, Final

from tests.manifests.tools import Tools, run

EXPLAINED: Final = {
    ("CKV_K8S_11", "*"): (
        "No CPU limits, on purpose: throttling halts all threads of a server at once and shows in "
        "p99; requests keep every pod's share, and memory is limited."
    ),
    ("CKV_K8S_15", "*"): (
        "Pull policy IfNotPresent with fixed tags: with Always, a registry that is down keeps a "
        "restarting server down, and kind and minikube could not use an image built here."
    ),
    ("CKV_K8S_40", "*"): (
        "User 1000 is the one TensorFlow Serving was tried out with. A node may have a user of "
        "that number, which gains nothing: no host paths, no privileges, a read-only root."
    ),
    ("CKV_K8S_43", "*"): (
        "The server's by tag, so that it can be compared with serving/container/engine.py. An "
        "overlay that wants the bytes pinned adds `digest:` to its `images:` entry."
    ),
    ("CKV_K8S_38", "CronJob.*.certificate-renewal"): (
        "It patches two Deployments, and its account may do no more (tls/restart-only.yaml)."
    ),
    ("CKV_K8S_8", "Pod.*.model-loader"): "It only sleeps: nothing to probe.",
    ("CKV_K8S_9", "Pod.*.model-loader"): "It only sleeps, and no Service selects it.",
}
"""(check, glob of the resource) to why it stands."""


def find(tools: Tools, folder: Path) -> tuple[list[dict[str, Any]], int]:
    """Runs checkov over a folder of manifests.

    Returns:
        the failed checks, and how many passed.
    """
    said = run(
        [
            *(tools.checkov, "--directory", str(folder), "--framework", "kubernetes"),
            *("--output", "json", "--quiet", "--compact", "--skip-download"),
        ],
        codes=(0, 1),
    )
    report = json.loads(said)
    if not isinstance(report, dict) or report["summary"]["parsing_errors"]:
        raise ValueError(f"Expected checkov's report on {folder}. Received: {said[:300]}")
    return report["results"]["failed_checks"], report["summary"]["passed"]


def explanation(finding: dict[str, Any]) -> tuple[str, str] | None:
    """The entry of EXPLAINED that covers a finding."""
    for check, resource in EXPLAINED:
        if finding["check_id"] == check and fnmatch.fnmatch(finding["resource"], resource):
            return check, resource
    return None
