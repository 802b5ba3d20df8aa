"""Rules, their tests, the runbook and the dashboard: they agree, and are on metrics that exist.

What Prometheus itself says about them is asked with promtool where it is found: on the PATH, or as
`serving/monitoring/README.md` puts it into build/prometheus.
"""

from __future__ import annotations

import itertools
import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client import CollectorRegistry

from serving.local import metrics
from serving.rollout.__main__ import _parser
from tfs_client import contract
from tfs_client.observers.prometheus import Metrics

ROOT = Path(__file__).resolve().parents[3]
FOLDER = ROOT / "serving" / "monitoring"
TEST_FILES = sorted(path.name for path in FOLDER.glob("rules*_test.yaml"))

CERTIFICATE = {"name", "exported_namespace", "issuer_name", "issuer_kind", "issuer_group"}

ELSEWHERE = {
    "up": set(),
    "ALERTS": {"alertname", "alertstate"},
    "DCGM_FI_DEV_FB_USED": {"Hostname", "gpu", "UUID"},
    "DCGM_FI_DEV_FB_FREE": {"Hostname", "gpu", "UUID"},
    "DCGM_FI_DEV_GPU_UTIL": {"Hostname", "gpu", "UUID"},
    "kube_deployment_status_replicas_unavailable": {"deployment"},
    "kube_pod_start_time": {"pod", "uid"},
    "certmanager_certificate_expiration_timestamp_seconds": CERTIFICATE,
    "certmanager_certificate_not_before_timestamp_seconds": CERTIFICATE,
}
"""What neither server nor client exports, with its labels: of Prometheus, dcgm-exporter,
kube-state-metrics and cert-manager."""

OF_TARGETS = {"job", "instance", "namespace"}
"""What Prometheus adds to each sample."""

GRAFANA = {"$__rate_interval": "5m", "$model": ".+"}

_NO_NAMES = frozenset("and or unless bool offset inf nan by without on ignoring".split())
_NAME = r"[a-zA-Z_:][\w:]*"


def tool(name: str) -> str:
    """Where promtool or prometheus is; skips the test where it is not."""
    local = ROOT / "build" / "prometheus" / "usr" / "bin" / name
    found = shutil.which(name) or (str(local) if local.exists() else None)
    if found is None:
        pytest.skip(f"needs {name}: apt-get install prometheus")
    return found


def promtool(*arguments: str) -> None:
    done = subprocess.run(
        [tool("promtool"), *arguments], cwd=FOLDER, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def load(name: str) -> Any:
    return yaml.safe_load((FOLDER / name).read_text(encoding="utf-8"))


RULES = [rule for group in load("rules.yaml")["groups"] for rule in group["rules"]]
ALERTS = {rule["alert"]: rule for rule in RULES if "alert" in rule}
RECORDED = {rule["record"]: rule["expr"] for rule in RULES if "record" in rule}
RUNBOOK = (FOLDER / "README.md").read_text(encoding="utf-8")
DASHBOARD = json.loads((FOLDER / "dashboard.json").read_text(encoding="utf-8"))
PANELS = [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]


def dashboard_queries() -> dict[str, str]:
    """Where it stands → the query, with values for Grafana's variables."""
    found = {
        f"{panel['title']} {target['refId']}": target["expr"]
        for panel in PANELS
        for target in panel["targets"]
    }
    found |= {note["name"]: note["expr"] for note in DASHBOARD["annotations"]["list"]}
    for variable, value in GRAFANA.items():
        found = {place: query.replace(variable, value) for place, query in found.items()}
    return found


def names_in(expression: str) -> set[str]:
    """The metrics that an expression of PromQL asks for."""
    text = re.sub(r'"(?:[^"\\]|\\.)*"', "", expression)
    text = re.sub(r"\{[^}]*\}|\[[^]]*\]", " ", text)
    text = re.sub(r"\b(by|without|on|ignoring|group_left|group_right)\s*\([^)]*\)", " ", text)
    names = re.findall(rf"(?<![\w:.]){_NAME}(?!\s*\(|[\w:])", text)
    return {name for name in names if name not in _NO_NAMES}


def labels_in(expression: str) -> set[str]:
    """The labels that an expression matches, groups by or joins on."""
    text = re.sub(r'"(?:[^"\\]|\\.)*"', '""', expression)
    lists = re.findall(r"\b(?:by|without|on|ignoring|group_left)\s*\(([^)]*)\)", text)
    matched = re.findall(r"\{([^}]*)\}", text)
    return {
        *(label for one in lists for label in re.findall(r"\w+", one)),
        *(label for one in matched for label in re.findall(r"(\w+)\s*[=!]", one)),
    }


def exported() -> dict[str, set[str]]:
    """Every metric of the server, the client and elsewhere → its own labels."""
    found = {name: set(labels) for name, labels in ELSEWHERE.items()}
    for metric in metrics._ALL:
        labels = set(metric._labels)
        if isinstance(metric, metrics.Counter):
            found[metric.name] = labels
        else:
            found[f"{metric.name}_bucket"] = labels | {"le"}
            found[f"{metric.name}_sum"] = found[f"{metric.name}_count"] = labels
    registry = CollectorRegistry()
    Metrics(registry)
    for collector, names in registry._collector_to_names.items():
        for name in names:
            more = {"le"} if name.endswith("_bucket") else set()
            found[name] = {*collector._labelnames, *more}
    return found


EXPORTED = exported()


def labels_of(name: str) -> set[str]:
    """What a metric may carry; a recorded one: what it is made of."""
    if name in EXPORTED:
        return EXPORTED[name] | OF_TARGETS
    return labels_within(RECORDED[name])


def labels_within(expression: str) -> set[str]:
    """What the metrics of an expression may carry, and what label_replace adds."""
    added = re.findall(r'\blabel_replace\(.*?"(\w+)", "\$1"', expression, re.DOTALL)
    return set(added).union(*map(labels_of, names_in(expression)))


EXPRESSIONS = {
    **{rule.get("alert") or rule["record"]: rule["expr"] for rule in RULES},
    **dashboard_queries(),
}


def test_names_and_labels_are_read_from_an_expression() -> None:
    expression = (
        'sum by (job, le) (rate(:a:b_bucket{x="up {y}", z!~"q"}[5m] offset 1h)) / 14.4 * 0.1 '
        "and on (instance) c:d unless 0 * up"
    )

    assert names_in(expression) == {":a:b_bucket", "c:d", "up"}
    assert labels_in(expression) == {"job", "le", "x", "z", "instance"}


def test_promtool_takes_the_rules() -> None:
    promtool("check", "rules", "rules.yaml")


@pytest.mark.parametrize("name", TEST_FILES)
def test_each_alert_is_raised_when_it_should_be_and_not_otherwise(name: str) -> None:
    promtool("test", "rules", name)


def test_promtool_takes_the_configuration() -> None:
    promtool("check", "config", "prometheus.yml")


def test_every_alert_has_a_test_of_both_kinds() -> None:
    raised, silent = set(), set()
    for one in itertools.chain.from_iterable(load(name)["tests"] for name in TEST_FILES):
        for case in one["alert_rule_test"]:
            (raised if case["exp_alerts"] else silent).add(case["alertname"])

    assert raised == set(ALERTS)
    assert silent == set(ALERTS)


@pytest.mark.parametrize("name", ALERTS)
def test_every_alert_says_what_and_where_and_what_to_do(name: str) -> None:
    alert = ALERTS[name]
    notes = alert["annotations"]

    assert re.fullmatch(r"\d+[mh]", alert["for"])
    assert alert["labels"]["severity"] in {"page", "ticket"}
    assert set(notes) == {"summary", "description", "runbook"}
    used = set(re.findall(r"\$labels\.(\w+)", notes["summary"]))
    assert used
    assert used <= labels_within(alert["expr"])
    verbs = re.findall(r"make (?:rollout ARGS='?|k8s-)(\w+)", notes["description"])
    assert verbs
    assert set(verbs) <= rollout_verbs()
    assert notes["runbook"] == f"serving/monitoring/README.md#{name.lower()}"


def rollout_verbs() -> set[str]:
    (verbs,) = (action.choices for action in _parser()._actions if action.dest == "verb")
    return set(verbs)


def test_the_runbook_has_a_section_for_each_alert_and_no_other() -> None:
    sections = re.findall(r"^### (\w+)\n\n(\*\*Means:\*\*)", RUNBOOK, re.MULTILINE)

    assert [name for name, _ in sections] == re.findall("^### (.*)$", RUNBOOK, re.MULTILINE)
    assert sorted(name for name, _ in sections) == sorted(ALERTS)
    for text in RUNBOOK.split("\n### ")[1:]:
        assert re.search(r"\b(D|and d)o:\*\*", text), text


def test_what_the_runbook_names_exists() -> None:
    anchors = {name.lower() for name in ALERTS}
    assert set(re.findall(r"\]\(#([^)]*)\)", RUNBOOK)) <= anchors
    verbs = re.findall(r'make\s+rollout\s+ARGS="?(\w+)', RUNBOOK) + re.findall(
        r"`ARGS=(\w+)`", RUNBOOK
    )
    assert {"status", "history", "rollback", "apply", "retire"} <= set(verbs) <= rollout_verbs()
    tree = RUNBOOK[RUNBOOK.index("```text") :].split("```")[1]
    listed = set(re.findall(r"^(\w\S+\.\w+)", tree, re.MULTILINE))
    assert {"rules.yaml", *TEST_FILES} <= listed <= {path.name for path in FOLDER.iterdir()}


def test_the_runbook_does_not_promise_an_alert_that_is_not_there() -> None:
    assert set(re.findall(r"\bTfServing\w+", RUNBOOK)) - {"TfServingCanary"} == set(ALERTS)


@pytest.mark.parametrize("place", EXPRESSIONS)
def test_every_expression_is_on_metrics_and_labels_that_exist(place: str) -> None:
    names = names_in(EXPRESSIONS[place])

    assert names
    assert names <= EXPORTED.keys() | RECORDED.keys()
    assert labels_in(EXPRESSIONS[place]) <= labels_within(EXPRESSIONS[place])


@pytest.mark.parametrize("panel", PANELS, ids=lambda panel: panel["title"])
def test_legends_name_labels_that_the_query_keeps(panel: dict[str, Any]) -> None:
    for target in panel["targets"]:
        query = target["expr"]
        kept = labels_within(query)
        for one in re.findall(r"\bby \(([^)]*)\)", query):
            kept &= set(re.findall(r"\w+", one))
        assert set(re.findall(r"\{\{(\w+)\}\}", target["legendFormat"])) <= kept, query


@pytest.mark.parametrize("name", TEST_FILES)
def test_the_tests_of_the_rules_use_series_as_they_are_exported(name: str) -> None:
    for one in load(name)["tests"]:
        for series in one["input_series"]:
            metric, labels = re.fullmatch(rf"({_NAME})\{{(.*)\}}", series["series"]).groups()
            given = set(re.findall(r'(\w+)="', labels))
            assert EXPORTED[metric] - {"UUID"} <= given <= EXPORTED[metric] | OF_TARGETS, series


def test_every_recorded_name_is_used() -> None:
    used = set().union(*map(names_in, EXPRESSIONS.values()))
    assert RECORDED.keys() <= used


def test_the_latency_objective_lies_on_a_bucket_of_the_server() -> None:
    buckets = {f"{limit:g}" for limit in metrics._MICROSECONDS}
    limits = {limit for text in RECORDED.values() for limit in re.findall(r'le=~"(\d+)\(', text)}
    assert len(limits) == 1
    assert limits <= buckets


def test_the_canary_is_held_to_the_limits_of_the_experiment() -> None:
    text = (ROOT / "serving" / "experiment.json").read_text(encoding="utf-8")
    guardrails = json.loads(text)["guardrails"]

    for name, guardrail in (
        ("TfServingCanaryErrors", "errors"),
        ("TfServingCanaryReviews", "review"),
    ):
        limits = re.findall(r"> ([\d.]+)", ALERTS[name]["expr"])
        assert [float(limit) for limit in limits] == [guardrails[guardrail]]


def test_labels_and_ports_are_those_of_the_contract() -> None:
    labels = {
        label for text in EXPRESSIONS.values() for label in re.findall(r'\blabel="(\w+)"', text)
    }
    assert labels == {contract.LABEL_STABLE, contract.LABEL_CANARY}

    job = load("prometheus.yml")["scrape_configs"][0]
    config = (ROOT / "serving" / "monitoring.config").read_text(encoding="utf-8")
    assert f'path: "{job["metrics_path"]}"' in config
    (server,) = job["static_configs"]
    assert server["targets"] == [f"server:{contract.REST_PORT}"]
    asked = set(re.findall(r'\bup\{job="([^"]+)"\}', " ".join(EXPRESSIONS.values())))
    assert asked == {job["job_name"]}
    assert load("prometheus.yml")["rule_files"] == ["rules.yaml"]


def test_every_panel_has_a_title_a_description_and_a_unit() -> None:
    for panel in PANELS:
        assert panel["title"]
        assert panel["description"].endswith(".")
        assert panel["fieldConfig"]["defaults"]["unit"]
        assert panel["targets"]
    assert len({panel["title"] for panel in DASHBOARD["panels"]}) == len(DASHBOARD["panels"])


def test_no_panel_overlaps_another_or_leaves_the_grid() -> None:
    taken: dict[tuple[int, int], int] = {}
    for panel in DASHBOARD["panels"]:
        place = panel["gridPos"]
        assert place["x"] + place["w"] <= 24
        for x, y in itertools.product(
            range(place["x"], place["x"] + place["w"]), range(place["y"], place["y"] + place["h"])
        ):
            assert (x, y) not in taken, (panel["title"], taken[x, y])
            taken[x, y] = panel["id"]
    ids = [panel["id"] for panel in DASHBOARD["panels"]]
    assert len(set(ids)) == len(ids)
    for panel in PANELS:
        references = [target["refId"] for target in panel["targets"]]
        assert len(set(references)) == len(references)


def test_the_dashboard_asks_for_its_data_source() -> None:
    def sources(value: Any) -> Iterator[Any]:
        if isinstance(value, dict):
            for key, inner in value.items():
                if key == "datasource":
                    yield inner
                yield from sources(inner)
        elif isinstance(value, list):
            for inner in value:
                yield from sources(inner)

    found = list(sources(DASHBOARD))
    assert len(found) > len(PANELS)
    assert all(one == {"type": "prometheus", "uid": "${datasource}"} for one in found)
    variables = {one["name"]: one for one in DASHBOARD["templating"]["list"]}
    assert variables["datasource"]["type"] == "datasource"
    asked = variables["model"]["query"]["query"]
    metric, label = re.fullmatch(r"label_values\((\S+), (\w+)\)", asked).groups()
    assert label in EXPORTED[metric]
    assert DASHBOARD["schemaVersion"] >= 39


def test_no_variable_of_the_dashboard_is_unknown() -> None:
    left = {query for query in dashboard_queries().values() if "$" in query}
    assert left == set()


def test_promtool_takes_every_query_of_the_dashboard(tmp_path: Path) -> None:
    queries = dashboard_queries().values()
    rules = [{"record": f"query:number{at}", "expr": query} for at, query in enumerate(queries)]
    path = tmp_path / "queries.yaml"
    path.write_text(yaml.safe_dump({"groups": [{"name": "dashboard", "rules": rules}]}))

    promtool("check", "rules", str(path))


def test_the_deployment_that_is_watched_is_the_one_of_the_manifests() -> None:
    files = list((ROOT / "k8s" / "base").rglob("*.yaml"))
    found = [one for file in files for one in yaml.safe_load_all(file.read_text(encoding="utf-8"))]
    names = {one["metadata"]["name"] for one in found if one and one.get("kind") == "Deployment"}
    (watched,) = re.findall(r'deployment=~"([^"]+)"', ALERTS["TfServingNotReady"]["expr"])
    assert names
    assert all(re.fullmatch(watched, name) for name in names)
