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
from tests.manifests import rules_copy
from tfs_client import contract
from tfs_client.observers.prometheus import Metrics

ROOT = Path(__file__).resolve().parents[3]
MAKEFILE = (ROOT / "Makefile").read_text(encoding="utf-8")
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

ONLY_IN_A_CLUSTER = {
    "TfServingNotReady", "TfServingCertificateEndsSoon", "TfServingCertificateNotRead",
}  # fmt: skip

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


GROUPS = [group["name"] for group in load("rules.yaml")["groups"]]
RULES = [rule for group in load("rules.yaml")["groups"] for rule in group["rules"]]
URLS = RULES[0]
"""Where every alert's links lead."""
ALERTS = {rule["alert"]: rule for rule in RULES if "alert" in rule}
RECORDED = {rule["record"]: rule["expr"] for rule in RULES if "record" in rule}
README = (FOLDER / "README.md").read_text(encoding="utf-8")
RUNBOOK = (FOLDER / "runbook.md").read_text(encoding="utf-8")
SECTIONS = dict(re.findall(r"^### (\w+)\n(.*?)(?=^### |\Z)", RUNBOOK, re.MULTILINE | re.DOTALL))
OF_CLUSTER = [
    rule
    for group in yaml.safe_load(rules_copy.COPY.read_text("utf-8"))["spec"]["groups"]
    for rule in group["rules"]
]
ALERTS_OF_CLUSTER = {rule["alert"]: rule for rule in OF_CLUSTER if "alert" in rule}
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
    **{rule.get("alert") or rule["record"]: rule["expr"] for rule in RULES if rule != URLS},
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
def test_the_groups_are_evaluated_in_their_own_order(name: str) -> None:
    """promtool's order is by chance where none is given: an alert sometimes had no links."""
    assert load(name)["group_eval_order"] == GROUPS


@pytest.mark.parametrize(
    "name",
    [
        # what takes days until it is raised takes promtool seconds
        pytest.param(name, marks=pytest.mark.thorough if name != "rules_test.yaml" else ())
        for name in TEST_FILES
    ],
)
def test_each_alert_is_raised_when_it_should_be_and_not_otherwise(name: str) -> None:
    promtool("test", "rules", name)


IN_A_CLUSTER = """
rule_files: [rules.yaml]
evaluation_interval: 1m
tests:
  - name: of two namespaces in one Prometheus, one fails; a canary fails as its callers see it
    interval: 1m
    input_series:
      - series: ':tensorflow:cc:saved_model:load_attempt_count{namespace="staging", job="tensorflow-serving", instance="a", model_path="/models/m/1", status="success"}'
        values: 1x40
      - series: ':tensorflow:cc:saved_model:load_attempt_count{namespace="production", job="tensorflow-serving", instance="b", model_path="/models/m/1", status="success"}'
        values: 1x40
      - series: ':tensorflow:serving:request_count{namespace="staging", job="tensorflow-serving", instance="a", model_name="m", status="UNAVAILABLE"}'
        values: 0+60x40
      - series: ':tensorflow:serving:request_count{namespace="production", job="tensorflow-serving", instance="b", model_name="m", status="OK"}'
        values: 0+60x40
      - series: tfs_client_requests_total{namespace="callers", method="Predict", model="m", label="stable", code="OK"}
        values: 0+60x40
      - series: tfs_client_requests_total{namespace="callers", method="Predict", model="m", label="canary", code="INVALID_ARGUMENT"}
        values: 0+60x40
    alert_rule_test:
      - alertname: TfServingErrorsFast
        eval_time: 20m
        exp_alerts:
          - exp_labels: {severity: page, namespace: staging, job: tensorflow-serving, model_name: m}
            exp_annotations:
              summary: 100% of the requests to m (tensorflow-serving) failed in the last hour
              description: "The month's error budget lasts two days at most at this rate. What changed: make k8s-rollout ARGS='history --namespace staging'. If it began with a new version: make k8s-rollback ARGS='--namespace staging'."
              runbook_url: https://example.com/image-classifier/serving/monitoring/runbook.md#tfservingerrorsfast
              dashboard_url: https://grafana.example.com/d/tensorflow-serving
      - alertname: TfServingCanaryErrors
        eval_time: 30m
        exp_alerts:
          - exp_labels: {severity: page, label: canary, model: m}
            exp_annotations:
              summary: "Calls to the canary of m fail more often than those to stable: 100% of the calls"
              description: "End the trial: make k8s-rollback. It loads nothing and takes seconds; make k8s-status shows that all servers followed."
              runbook_url: https://example.com/image-classifier/serving/monitoring/runbook.md#tfservingcanaryerrors
              dashboard_url: https://grafana.example.com/d/tensorflow-serving
"""  # noqa: E501


def test_in_a_cluster_an_alert_names_the_namespace_and_what_acts_there(tmp_path: Path) -> None:
    spec = yaml.safe_load(rules_copy.COPY.read_text("utf-8"))["spec"]
    (tmp_path / "rules.yaml").write_text(yaml.safe_dump(spec))
    tests = {**yaml.safe_load(IN_A_CLUSTER), "group_eval_order": GROUPS}
    (tmp_path / "tests.yaml").write_text(yaml.safe_dump(tests))

    promtool("check", "rules", str(tmp_path / "rules.yaml"))
    promtool("test", "rules", str(tmp_path / "tests.yaml"))


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
    assert set(notes) == {"summary", "description", "runbook_url", "dashboard_url"}
    used = set(re.findall(r"\$labels\.(\w+)", notes["summary"]))
    assert used
    assert used <= labels_within(alert["expr"])
    commands = commands_in(notes["description"])
    assert commands
    # Pods and their certificates are a cluster's in either file.
    place = "k8s-" if name in ONLY_IN_A_CLUSTER else "rollout "
    assert all(command.startswith(place) for command in commands)
    asks = '{{ with query "tfserving:urls:info" }}{{ . | first | label "%s" }}{{ end }}'
    assert notes["runbook_url"] == asks % "runbook" + f"#{name.lower()}"
    assert notes["dashboard_url"] == asks % "dashboard"


HOST = re.compile(r"\bmake (?!k8s-)\w|python -m|localhost|\bserving/")
"""What makes sense on a host only."""


@pytest.mark.parametrize("name", ALERTS_OF_CLUSTER)
def test_no_alert_in_a_cluster_names_a_command_of_a_host(name: str) -> None:
    notes = ALERTS_OF_CLUSTER[name]["annotations"]
    for text in notes.values():
        assert not HOST.search(text), text
    commands = commands_in(notes["description"])
    assert commands
    assert all(command.startswith("k8s-") for command in commands)
    expression = ALERTS_OF_CLUSTER[name]["expr"]
    assert ALERTS_OF_CLUSTER[name]["expr"] == ALERTS[name]["expr"]
    # The namespace of the servers, wherever the alert is on what servers count.
    of_servers = ":tensorflow:" in expression or "tfserving:" in expression or "up" in expression
    if of_servers:
        assert "namespace" in labels_within(expression)
        for grouped in re.findall(r"\bby \(([^)]*)\)", expression):
            assert "namespace" in grouped


def commands_in(text: str) -> list[str]:
    """The targets of make with their verbs, such as "rollout apply"; each one exists."""
    found = []
    for target, verb in re.findall(r"\bmake ([\w-]+)(?: ARGS=['\"]?(\w+))?", text):
        assert re.search(rf"^{re.escape(target)}:", MAKEFILE, re.MULTILINE), target
        if target in ("rollout", "k8s-rollout"):
            assert verb in rollout_verbs(), text
        found.append(f"{target} {verb}" if verb else target)
    return found


def rollout_verbs() -> set[str]:
    (verbs,) = (action.choices for action in _parser()._actions if action.dest == "verb")
    return set(verbs)


def test_where_the_links_lead_is_absolute_and_said_once() -> None:
    assert URLS["record"] == "tfserving:urls:info"
    for rules, place in ((RULES, FOLDER / "rules.yaml"), (OF_CLUSTER, rules_copy.COPY)):
        links = rules[0]["labels"]
        assert links["runbook"].endswith("/serving/monitoring/runbook.md")
        assert links["dashboard"].endswith(f"/d/{DASHBOARD['uid']}")
        text = place.read_text("utf-8")
        for link in links.values():
            assert re.match(r"https?://[^/]+/", link)
            assert text.count(link) == 1


@pytest.mark.parametrize("where", ["patched", "as it is"])
def test_an_overlay_sets_the_links_by_the_patch_that_the_component_shows(
    tmp_path: Path, where: str
) -> None:
    if shutil.which("kubectl") is None:
        pytest.skip("needs kubectl (kubernetes.io/docs/tasks/tools)")
    shown = (rules_copy.COPY.parent / "kustomization.yaml").read_text("utf-8")
    commented = re.search(r"^#   patches:\n(?:#     .*\n)+", shown, re.MULTILINE)
    assert commented
    patch = re.sub(r"^#   ", "", commented[0], flags=re.MULTILINE)
    shutil.copy(rules_copy.COPY, tmp_path)
    text = f"resources: [{rules_copy.COPY.name}]\n" + (patch if where == "patched" else "")
    (tmp_path / "kustomization.yaml").write_text(text)
    done = subprocess.run(
        ["kubectl", "kustomize", str(tmp_path)], capture_output=True, text=True, check=True
    )
    links = yaml.safe_load(done.stdout)["spec"]["groups"][0]["rules"][0]["labels"]
    assert ("…" in links["runbook"]) == (where == "patched")
    assert ("…" in links["dashboard"]) == (where == "patched")


def test_the_runbook_has_a_section_for_each_alert_and_no_other() -> None:
    assert list(SECTIONS) == re.findall("^### (.*)$", RUNBOOK, re.MULTILINE)
    assert sorted(SECTIONS) == sorted(ALERTS)


@pytest.mark.parametrize("name", SECTIONS)
def test_a_section_says_what_it_means_what_to_look_at_and_what_to_do_in_both_places(
    name: str,
) -> None:
    text = SECTIONS[name]
    assert re.findall(r"^\*\*([^*]+):\*\*", text, re.MULTILINE) == ["Means", "Look at", "Do"]
    head, _, look, do = re.findall(r"^\|.*\|$", text, re.MULTILINE)
    assert head == "| | on a host | in a cluster |"
    for row, word in ((look, "look at"), (do, "do")):
        first, host, cluster = (cell.strip() for cell in row.strip("|").split("|"))
        assert first == word
        assert "kubectl" not in host
        assert not any(command.startswith("k8s-") for command in commands_in(host))
        assert all(
            command.startswith("k8s-") or command == "export" for command in commands_in(cluster)
        )
        assert "`" in host or "there are no pods" in host
        assert re.search("`(make k8s-|kubectl )", cluster)


def test_the_alert_and_its_section_name_the_same_verbs() -> None:
    for name, alert in ALERTS.items():
        told = {one.split()[-1] for one in commands_in(alert["annotations"]["description"])}
        shown = {one.split()[-1] for one in commands_in(SECTIONS[name])}
        assert told <= shown, name


def test_what_the_runbook_names_exists() -> None:
    anchors = {name.lower() for name in ALERTS}
    assert set(re.findall(r"\]\(#([^)]*)\)", RUNBOOK)) <= anchors
    commands = commands_in("".join(SECTIONS.values()))
    for verb in ("status", "rollback"):
        assert {f"rollout {verb}", f"k8s-{verb}"} <= {*commands}
    for verb in ("history", "apply", "retire"):
        assert {f"rollout {verb}", f"k8s-rollout {verb}"} <= {*commands}
    for panel in re.findall(r'\*\*Look at:\*\* "([^"]+)"', RUNBOOK):
        assert panel in {one["title"].removesuffix(" (mean)") for one in PANELS}
    tree = README[README.index("```text") :].split("```")[1]
    listed = set(re.findall(r"^(\w\S+\.\w+)", tree, re.MULTILINE))
    assert (
        {"rules.yaml", "runbook.md", *TEST_FILES}
        <= listed
        <= {path.name for path in FOLDER.iterdir()}
    )


def test_the_runbook_does_not_promise_an_alert_that_is_not_there() -> None:
    assert set(re.findall(r"\bTfServing\w+", RUNBOOK)) == set(ALERTS)
    assert set(re.findall(r"\bTfServing\w+", README)) - {"TfServingCanary"} <= set(ALERTS)


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
    assert RECORDED.keys() <= {*used, URLS["record"]}  # the annotations ask for that one


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
