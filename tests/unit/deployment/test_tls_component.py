"""TLS in a cluster: what the pods' scripts make of a certificate, and how a renewed one is read."""

from __future__ import annotations

import hashlib
import http.server
import json
import shutil
import ssl
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest
import trustme
import yaml

from serving.local import config_files
from tests.environments import ROOT
from tests.manifests import restricted
from tests.unit.deployment import pod_tools

TLS: Final = ROOT / "k8s" / "components" / "tls"
ANNOTATION: Final = "image-classifier/certificate"


def test_the_ssl_config_is_read_by_the_server(tmp_path: Path) -> None:
    pem = "-----BEGIN X-----\nMIIB/+=\n-----END X-----\n"
    for name in ("tls.key", "tls.crt", "ca.crt"):
        (tmp_path / name).write_text(pem.replace("X", name))
    script = TLS / "write-ssl-config.sh"
    written = tmp_path / "ssl.config"
    subprocess.run(["sh", str(script), str(tmp_path), str(written)], check=True, timeout=30)
    read = config_files.read(str(written), "SSLConfig")
    assert read.server_key == pem.replace("X", "tls.key")
    assert read.server_cert == pem.replace("X", "tls.crt")
    assert read.custom_ca == pem.replace("X", "ca.crt")
    assert read.client_verify is False
    assert written.stat().st_mode & 0o077 == 0


def test_an_ssl_config_without_a_certificate_is_refused(tmp_path: Path) -> None:
    script = TLS / "write-ssl-config.sh"
    done = subprocess.run(
        ["sh", str(script), str(tmp_path), str(tmp_path / "ssl.config")],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert done.returncode == 1
    assert "Expected" in done.stderr
    assert not (tmp_path / "ssl.config").exists()


# --- renewal --------------------------------------------------------------------------------------


class Api:
    """An API server over TLS, as far as a patch of a Deployment is concerned."""

    def __init__(self, authority: trustme.CA, deployments: set[str]) -> None:
        self.annotations: dict[str, dict[str, str]] = {name: {} for name in deployments}
        self.generations = dict.fromkeys(deployments, 1)
        self.refusal: tuple[int, str] | None = None
        api = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_PATCH(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                code, answer = api.patch(self.path, self.headers, json.loads(body))
                self.send_response(code)
                self.end_headers()
                self.wfile.write(json.dumps(answer, indent=2).encode())

            def log_message(self, *_: object) -> None:
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        authority.issue_cert("127.0.0.1").configure_cert(context)
        self.server.socket = context.wrap_socket(self.server.socket, server_side=True)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def patch(self, path: str, headers: Any, body: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        """Merges the annotations of a Deployment's pods; a change is a new generation."""
        assert headers["Content-Type"] == "application/merge-patch+json"
        assert headers["Authorization"] == "Bearer the token"
        folder, _, name = path.partition("?")[0].rpartition("/")
        assert folder == "/apis/apps/v1/namespaces/here/deployments"
        if self.refusal:
            return self.refusal[0], {"kind": "Status", "message": self.refusal[1]}
        if name not in self.annotations:
            return 404, {"kind": "Status", "message": "not found"}
        assert body.keys() == {"spec"}
        found = {**self.annotations[name], **body["spec"]["template"]["metadata"]["annotations"]}
        self.generations[name] += found != self.annotations[name]
        self.annotations[name] = found
        return 200, {"kind": "Deployment"}


class Renewal:
    """A pod of the CronJob: its account, its certificate and the script."""

    def __init__(self, folder: Path, tools: pod_tools.Tools, deployments: set[str]) -> None:
        authority = trustme.CA()
        self.api = Api(authority, deployments)
        self.tools = tools
        self.certificate = folder / "tls.crt"
        self.certificate.write_text("first")
        for name, content in (("token", b"the token"), ("namespace", b"here")):
            (folder / name).write_bytes(content)
        authority.cert_pem.write_to_path(str(folder / "ca.crt"))
        host, port = self.api.server.server_address[:2]
        self.environ = {
            "PATH": tools.path,
            "ACCOUNT": str(folder),
            "KUBERNETES_SERVICE_HOST": str(host),
            "KUBERNETES_SERVICE_PORT": str(port),
        }

    def run(self) -> subprocess.CompletedProcess[str]:
        """What the CronJob does once."""
        (cron,) = (one for one in RENEWAL if one["kind"] == "CronJob")
        pod = cron["spec"]["jobTemplate"]["spec"]["template"]["spec"]
        script = TLS / "restart-servers.sh"
        return subprocess.run(
            [*self.tools.sh, str(script), str(self.certificate), *pod["containers"][0]["args"]],
            env=self.environ,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )


RENEWAL = list(yaml.safe_load_all((TLS / "renewal.yaml").read_text(encoding="utf-8")))


@pytest.fixture(scope="module", params=pod_tools.SHELLS)
def tools(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> pod_tools.Tools:
    return pod_tools.make(request.param, tmp_path_factory.mktemp("tools"))


@pytest.fixture
def renewal(tools: pod_tools.Tools, tmp_path: Path) -> Iterator[Renewal]:
    if shutil.which("curl") is None:
        pytest.skip("needs curl: apt-get install curl")
    made = Renewal(tmp_path, tools, {"image-classifier"})
    yield made
    made.api.server.shutdown()
    made.api.server.server_close()


def test_pods_are_replaced_when_the_certificate_is_another_one_and_only_then(
    renewal: Renewal,
) -> None:
    for content, generation in (("first", 2), ("first", 2), ("second", 3), ("second", 3)):
        renewal.certificate.write_text(content)
        done = renewal.run()
        assert done.returncode == 0, done.stderr
        assert renewal.api.generations == {"image-classifier": generation}
        digest = hashlib.sha256(content.encode()).hexdigest()
        assert renewal.api.annotations == {"image-classifier": {ANNOTATION: digest}}
    assert "image-classifier-canary is not there" in done.stdout


def test_a_refusal_is_said_with_the_servers_words(renewal: Renewal) -> None:
    renewal.api.refusal = (403, "deployments.apps is forbidden")
    done = renewal.run()
    assert done.returncode == 1
    first, *_ = done.stderr.splitlines()
    assert first == "restart-servers: image-classifier: HTTP 403 deployments.apps is forbidden"


def test_neither_a_missing_certificate_nor_a_missing_deployment_passes_for_success(
    renewal: Renewal,
) -> None:
    renewal.api.annotations.clear()
    done = renewal.run()
    assert (done.returncode, "none is there" in done.stderr) == (1, True)
    renewal.certificate.write_text("")
    done = renewal.run()
    assert (done.returncode, "from cert-manager. Received: nothing" in done.stderr) == (1, True)


def test_a_server_with_a_certificate_by_somebody_else_gets_no_token(
    renewal: Renewal, tmp_path: Path
) -> None:
    trustme.CA().cert_pem.write_to_path(str(tmp_path / "ca.crt"))
    done = renewal.run()
    assert done.returncode == 1
    assert "certificate" in done.stderr
    assert renewal.api.generations == {"image-classifier": 1}


def test_the_renewals_rights_are_one_annotation_of_two_deployments() -> None:
    """By its role it may patch two Deployments; the policy leaves of that what the script sets."""
    role, cron = (
        next(one for one in RENEWAL if one["kind"] == kind) for kind in ("Role", "CronJob")
    )
    pod = cron["spec"]["jobTemplate"]["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    (rule,) = role["rules"]
    assert (rule["resources"], rule["verbs"]) == (["deployments"], ["patch"])
    assert rule["resourceNames"] == container["args"]
    policy, binding = yaml.safe_load_all((TLS / "restart-only.yaml").read_text(encoding="utf-8"))
    assert binding["spec"]["policyName"] == policy["metadata"]["name"]
    assert binding["spec"]["validationActions"] == ["Deny"]
    assert policy["spec"]["failurePolicy"] == "Fail"
    (condition,) = policy["spec"]["matchConditions"]
    assert f':{pod["serviceAccountName"]}"' in condition["expression"]
    script = (TLS / "restart-servers.sh").read_text(encoding="utf-8")
    assert f"\nANNOTATION={ANNOTATION}\n" in script
    assert any(f'"{ANNOTATION}"' in one["expression"] for one in policy["spec"]["validations"])
    (secret,) = (one["secret"] for one in pod["volumes"] if "secret" in one)
    assert [item["key"] for item in secret["items"]] == ["tls.crt"], "and not the key"
    assert restricted.violations(cron) == []


def test_a_certificate_is_renewed_long_before_its_end_and_read_soon_after() -> None:
    spec = yaml.safe_load((TLS / "certificate.yaml").read_text(encoding="utf-8"))["spec"]
    (cron,) = (one for one in RENEWAL if one["kind"] == "CronJob")
    days, before = (int(spec[key].rstrip("h")) / 24 for key in ("duration", "renewBefore"))
    # From Friday's renewal to Monday's run: three days.
    assert cron["spec"]["schedule"].endswith("* * 1-5")
    assert 3 < before < days / 2
