"""The alert rules as the Prometheus operator wants them: a copy, for kustomize embeds no file.

    python -m tests.manifests.rules_copy        writes k8s/components/monitoring/prometheusrule.yaml

The rules themselves are serving/monitoring/rules.yaml; a test holds the copy equal to them.
"""

from __future__ import annotations

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]

RULES = ROOT / "serving" / "monitoring" / "rules.yaml"

COPY = ROOT / "k8s" / "components" / "monitoring" / "prometheusrule.yaml"

HEAD = """\
# A copy of serving/monitoring/rules.yaml, which has the reasons and the tests. After a change:
# python -m tests.manifests.rules_copy
apiVersion: monitoring.coreos.com/v1
kind: PrometheusRule
metadata:
  name: image-classifier
  labels:
    app.kubernetes.io/name: image-classifier
    app.kubernetes.io/component: model-server
spec:
"""


def copied() -> str:
    """What the copy has to be: the rules without their comments, two spaces further in."""
    lines = [
        line for line in RULES.read_text("utf-8").splitlines() if not line.lstrip().startswith("#")
    ]
    body = "\n".join(f"  {line}" if line.strip() else "" for line in lines).strip("\n")
    return HEAD + body + "\n"


if __name__ == "__main__":
    COPY.write_text(copied(), "utf-8")
    print(COPY.relative_to(ROOT))
    sys.exit(0)
