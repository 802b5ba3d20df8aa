"""The alert rules as a cluster has them: the Prometheus operator's kind, a cluster's commands.

    python -m tests.manifests.rules_copy        writes k8s/components/monitoring/prometheusrule.yaml

The rules themselves are serving/monitoring/rules.yaml; a test holds the copy equal to what is made
of them here. It is a copy because kustomize embeds no file, and because an alert in a cluster must
name what acts there: `make rollout` changes a file where it is typed, and no pod.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Final

ROOT = Path(__file__).resolve().parents[2]

RULES = ROOT / "serving" / "monitoring" / "rules.yaml"

COPY = ROOT / "k8s" / "components" / "monitoring" / "prometheusrule.yaml"

HEAD = """\
# A copy of serving/monitoring/rules.yaml, which has the reasons and the tests, with a cluster's
# commands. After a change there: python -m tests.manifests.rules_copy
apiVersion: monitoring.coreos.com/v1
kind: PrometheusRule
metadata:
  name: image-classifier
  labels:
    app.kubernetes.io/name: image-classifier
    app.kubernetes.io/component: model-server
spec:
"""

ON_A_HOST: Final = re.compile(r"make rollout ARGS=(?:'([^']+)'|(\w+))")
"""A command in an alert on a host."""

_OWN_TARGETS: Final = ("status", "rollback")
"""Verbs that the Makefile has a k8s-… for; the others go through k8s-rollout."""

NAMESPACE: Final = "{{ with $labels.namespace }}%s{{ end }}"
"""What is said only where the alert has a namespace: those on what callers or GPUs count have none
of the servers', and mean the usual one."""

DASHBOARDS: Final = ("http://localhost:3000/", "https://grafana.example.com/")
"""Where Grafana is in a compose stack, and what stands for it in a cluster."""


def in_cluster(text: str) -> str:
    """The text with the commands of a cluster, in the namespace that the alert's labels name."""

    def command(found: re.Match[str]) -> str:
        verb = found[1] or found[2]
        if verb in _OWN_TARGETS:
            return f"make k8s-{verb}" + NAMESPACE % " ARGS='--namespace {{ . }}'"
        return f"make k8s-rollout ARGS='{verb}{NAMESPACE % ' --namespace {{ . }}'}'"

    return ON_A_HOST.sub(command, text).replace(*DASHBOARDS)


def copied() -> str:
    """What the copy has to be: the rules without their comments, two spaces further in."""
    lines = [
        line for line in RULES.read_text("utf-8").splitlines() if not line.lstrip().startswith("#")
    ]
    body = "\n".join(f"  {line}" if line.strip() else "" for line in lines).strip("\n")
    return HEAD + in_cluster(body) + "\n"


if __name__ == "__main__":
    COPY.write_text(copied(), "utf-8")
    print(COPY.relative_to(ROOT))
    sys.exit(0)
