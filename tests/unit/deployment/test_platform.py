"""What stands around the manifests for those who run a cluster: pages, values, settings."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from serving.cluster import config_map, lease
from serving.local import metrics
from tests.environments import ROOT
from tests.unit.deployment.test_monitoring_files import promtool
from tfs_client import contract


def _yaml(path: str) -> Any:
    return yaml.safe_load((ROOT / path).read_text(encoding="utf-8"))


def test_the_adapters_rule_gives_the_metric_that_the_autoscaler_asks_for() -> None:
    values = _yaml("k8s/prometheus-adapter/values.yaml")
    (rule,) = values["rules"]["custom"]
    (metric,) = _yaml("k8s/base/hpa.yaml")["spec"]["metrics"]
    assert rule["name"]["as"] == metric["pods"]["metric"]["name"]
    assert {one["resource"] for one in rule["resources"]["overrides"].values()} == {
        *("namespace", "pod")
    }
    (series,) = re.findall(r'__name__="([^"]+)"', rule["seriesQuery"])
    assert series in {one.name for one in metrics._ALL}, "as the server exports it"


def test_the_adapters_query_is_requests_a_second_of_each_pod(tmp_path: Path) -> None:
    """The template filled in as the adapter does, and asked of Prometheus' own engine."""
    values = _yaml("k8s/prometheus-adapter/values.yaml")
    (rule,) = values["rules"]["custom"]
    (series,) = re.findall(r'__name__="([^"]+)"', rule["seriesQuery"])
    query = rule["metricsQuery"]
    for word, value in (
        ("Series", series),
        ("LabelMatchers", 'namespace="image-classifier",pod=~"a|b"'),
        ("GroupBy", "pod"),
    ):
        query = query.replace(f"<<.{word}>>", value)
    assert "<<" not in query
    samples = {"a": "0+600x10", "b": "0+1200x10", "c": "0+60x10"}
    given = [
        {"series": f'{series}{{namespace="image-classifier",pod="{pod}",status="{status}"}}'}
        | {"values": values}
        for pod, values in samples.items()
        for status in ("OK", "NOT_FOUND")
    ]
    wanted = [{"labels": '{pod="a"}', "value": 20}, {"labels": '{pod="b"}', "value": 40}]
    asked = {"expr": query, "eval_time": "8m", "exp_samples": wanted}
    test = {"tests": [{"interval": "1m", "input_series": given, "promql_expr_test": [asked]}]}
    path = tmp_path / "adapter_test.yaml"
    path.write_text(yaml.safe_dump(test))
    promtool("test", "rules", str(path))


def test_flux_makes_the_configuration_and_never_takes_a_promotion_back() -> None:
    (generator,) = _yaml("serving/kustomization.yaml")["configMapGenerator"]
    annotation = {"kustomize.toolkit.fluxcd.io/ssa": "IfNotPresent"}
    assert generator["options"]["annotations"] == annotation
    text = (ROOT / "docs" / "gitops.md").read_text(encoding="utf-8")
    assert ": ".join(*annotation.items()) in text


def test_argo_cd_is_told_of_everything_that_the_verbs_write() -> None:
    text = (ROOT / "docs" / "gitops.md").read_text(encoding="utf-8")
    application, kustomization = map(
        yaml.safe_load, re.findall(r"```yaml\n(.*?)```", text, re.DOTALL)
    )
    spec = application["spec"]
    assert "RespectIgnoreDifferences=true" in spec["syncPolicy"]["syncOptions"]
    ignored = {(one["kind"], one["name"]): one["jsonPointers"] for one in spec["ignoreDifferences"]}
    assert ignored == {
        ("ConfigMap", config_map.CONFIG): [f"/data/{config_map.KEY}"],
        ("ConfigMap", config_map.ROLLOUTS): ["/data"],
        ("Lease", lease.NAME): ["/spec", "/metadata/annotations"],
    }
    for path in (spec["source"]["path"], kustomization["spec"]["path"]):
        assert (ROOT / path / "kustomization.yaml").is_file()


# --- the page of ports, flags and resources -----------------------------------------------------

PAGE = (ROOT / "docs" / "platform.md").read_text(encoding="utf-8")


def _table(heading: str) -> list[list[str]]:
    """The rows of the table below a heading, without its head; code marks and commas stay out."""
    section = PAGE.split(f"\n## {heading}\n")[1].split("\n## ")[0]
    rows = [line for line in section.splitlines() if line.startswith("|")]
    return [[cell.strip().strip("`") for cell in row.strip("|").split("|")] for row in rows[2:]]


def _manifests() -> Iterator[tuple[str, Any]]:
    """Every document of k8s/, with its folder, but for overlays' own changes."""
    for path in sorted((ROOT / "k8s").rglob("*.yaml")):
        folder = str(path.parent.relative_to(ROOT / "k8s"))
        if not folder.startswith(("overlays/example", "prometheus-adapter")):
            for document in yaml.safe_load_all(path.read_text(encoding="utf-8")):
                yield folder, document


def _containers() -> Iterator[tuple[str, dict[str, Any]]]:
    """Every container with its folder, also those that a patch adds."""
    for folder, document in _manifests():
        for container in _within(document):
            yield folder, container


def _within(node: Any) -> Iterator[dict[str, Any]]:
    if isinstance(node, list):
        for child in node:
            yield from _within(child)
    if isinstance(node, dict):
        for key in ("initContainers", "containers"):
            yield from node.get(key) or []
        for child in node.values():
            yield from _within(child)


def _published() -> set[int]:
    """Ports of the compose file, as they are unless a variable says otherwise."""
    services = _yaml("serving/container/compose.yaml")["services"].values()
    return {
        int(port)
        for service in services
        for one in service.get("ports", [])
        for port in re.findall(r":-(\d+)}", one)
    }


def test_every_port_that_something_listens_on_is_on_the_page() -> None:
    listening = {port["containerPort"] for _, one in _containers() for port in one.get("ports", [])}
    assert {contract.GRPC_PORT, contract.REST_PORT} <= listening
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    (page,) = re.findall(r"make loadtest-ui`, then <http://localhost:(\d+)>", text)
    assert {int(row[0]) for row in _table("Ports")} == listening | _published() | {int(page)}
    (metrics_path,) = re.findall(r'path: "(.*)"', (ROOT / "serving/monitoring.config").read_text())
    assert f"`{metrics_path}`" in PAGE


def test_every_way_out_of_a_pod_is_on_the_page() -> None:
    allowed = {
        (document["metadata"]["name"], port["port"])
        for _, document in _manifests()
        if document and document.get("kind") == "NetworkPolicy"
        for rule in document["spec"].get("egress", [])
        for port in rule.get("ports", [])
    }
    told = {
        (name.strip("` "), int(port))
        for row in _table("Ways out")
        for name in row[0].split(",")
        for port in row[1].split(",")
    }
    assert told == allowed


def test_the_servers_flags_are_on_the_page_in_their_order() -> None:
    (server,) = (one for folder, one in _containers() if folder == "base/server")
    assert [row[0] for row in _table("Flags")] == server["args"]
    assert all(len(row) == 2 and row[1] for row in _table("Flags"))


def test_what_each_container_asks_for_is_on_the_page() -> None:
    asked = []
    for folder, container in _containers():
        if resources := container.get("resources"):
            requests, limits = resources.get("requests", {}), dict(resources["limits"])
            cpu = requests.get("cpu", "-")
            memory = requests.get("memory", "-")
            limit = limits.pop("memory", "-")
            more = ", ".join(f"{name} {value}" for name, value in limits.items()) or "-"
            asked.append([folder, container["name"], cpu, memory, limit, more])
    assert _table("Resources") == asked


def test_replicas_and_times_on_the_page_are_those_of_the_manifests() -> None:
    scaler = _yaml("k8s/base/hpa.yaml")["spec"]
    deployment = _yaml("k8s/base/server/deployment.yaml")["spec"]
    pod = deployment["template"]["spec"]
    (server,) = pod["containers"]
    flags = dict(flag.split("=", 1) for flag in server["args"])
    (metric,) = scaler["metrics"]
    startup = server["startupProbe"]
    start_s = startup["periodSeconds"] * startup["failureThreshold"]
    sleep_s = server["lifecycle"]["preStop"]["sleep"]["seconds"]
    assert dict(_table("Numbers that a plan needs")) == {
        "replicas": f"{scaler['minReplicas']} to {scaler['maxReplicas']}",
        "requests a second and pod, the autoscaler's aim": metric["pods"]["target"]["averageValue"],
        "pods more in a rollout": str(deployment["strategy"]["rollingUpdate"]["maxSurge"]),
        "a pod's time to start, at most": f"{start_s} s",
        "a pod's time to go": f"{sleep_s} s, {pod['terminationGracePeriodSeconds']} s at most",
        "a rollout without progress ends after": f"{deployment['progressDeadlineSeconds']} s",
        "rows of one request": f"{contract.MAX_ROWS:,}",
        "concurrent calls of a server": flags["--grpc_max_threads"],
    }
