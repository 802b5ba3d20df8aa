"""What is not a Prometheus, or not a well one: one line each, at once, and no gigabytes."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from foundation.command_line import InputError
from serving.rollout.status import prometheus
from serving.rollout.status.prometheus import Prometheus, PrometheusError, Sample, checked, only
from tests.ports import free_port

Answer = tuple[int, bytes]


class Fake(ThreadingHTTPServer):
    """Answers every request with the same; `asked` holds their paths."""

    daemon_threads = True
    answer: Answer = (200, b"")
    drip: float = 0.0
    asked: list[str]


class Handler(BaseHTTPRequestHandler):
    server: Fake

    def do_GET(self) -> None:
        self.server.asked.append(self.path)
        code, content = self.server.answer
        self.send_response(code)
        self.end_headers()
        try:
            if self.server.drip:
                for at in range(len(content)):
                    self.wfile.write(content[at : at + 1])
                    time.sleep(self.server.drip)
            else:
                self.wfile.write(content)
        except OSError:
            pass

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def fake() -> Iterator[Fake]:
    server = Fake(("127.0.0.1", 0), Handler)
    server.asked = []
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield server
    server.shutdown()
    server.server_close()
    thread.join()


def vector(*series: dict[str, object], **more: object) -> Answer:
    data = {"resultType": "vector", "result": list(series)}
    return 200, json.dumps({"status": "success", "data": data, **more}).encode()


def test_samples_are_read_and_what_is_no_number_is_left_out(fake: Fake) -> None:
    fake.answer = vector(
        {"metric": {"a": "1"}, "value": [0, "2.5"]},
        {"metric": {"a": "2"}, "value": [0, "NaN"]},
        {"metric": {"a": "3"}, "value": [0, "+Inf"]},
        warnings=["a store is missing"],
    )
    asked = Prometheus(f"http://127.0.0.1:{fake.server_port}/behind/")
    assert asked.query('up{a="1"}') == asked.query("up") == [Sample({"a": "1"}, 2.5)]
    assert asked.warnings == ["a store is missing"]
    assert fake.asked[0].startswith("/behind/api/v1/query?query=up%7Ba%3D%221%22%7D&timeout=")


def test_two_quantiles_of_one_version_are_not_added() -> None:
    twice = [Sample({"version": "1"}, 1.0), Sample({"version": "1", "replica": "b"}, 3.0)]
    assert only([*twice, Sample({"version": "2"}, 5.0)], "version") == {"1": None, "2": 5.0}


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        ((200, b"<html>Grafana</html>"), "no JSON: b'<html>Grafana"),
        ((200, b"[" * 200_000), "no JSON"),
        ((200, b'{"status": "success"}'), "JSON of another kind"),
        ((200, b"[1]"), "JSON of another kind"),
        ((200, b'{"data": {"result": [{"metric": {}, "value": "1"}]}}'), "JSON of another kind"),
        ((200, b'{"data": {"result": [{"metric": {}, "values": []}]}}'), "JSON of another kind"),
        ((422, b'{"status": "error", "error": "query timed out"}'), "HTTP 422: query timed out"),
        ((401, b"who are you?"), "HTTP 401"),
        ((200, b" " * (prometheus._LARGEST + 1)), "more than 8,388,608 bytes"),
    ],
)
def test_what_is_no_answer_is_told_in_one_line(fake: Fake, answer: Answer, told: str) -> None:
    fake.answer = answer
    url = f"http://127.0.0.1:{fake.server_port}"
    with pytest.raises(PrometheusError) as caught:
        Prometheus(url).query("up")
    text = str(caught.value)
    assert text.startswith(f"Expected a Prometheus at {url}. Received: {told}")
    assert text.endswith(
        "Give its address with --prometheus; in a cluster, after kubectl port-forward."
    )


def hangs() -> Iterator[int]:
    """Takes connections and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        yield listening.getsockname()[1]


def drips(fake: Fake) -> int:
    """Answers a byte now and then: no single wait is long."""
    fake.answer, fake.drip = (200, b" " * 1000), 0.05
    return fake.server_port


@pytest.mark.parametrize("kind", [hangs, drips])
def test_who_takes_too_long_is_given_up(fake: Fake, kind: Callable[..., object]) -> None:
    held = kind() if kind is hangs else None
    port = next(held) if held is not None else kind(fake)  # type: ignore[call-overload]
    began = time.monotonic()
    with pytest.raises(PrometheusError, match=r"no whole answer within 0\.4 s|timed out"):
        Prometheus(f"http://127.0.0.1:{port}", timeout_s=0.4).query("up")
    assert time.monotonic() - began < 5


@pytest.mark.parametrize("host", ["127.0.0.1", "nowhere.invalid"])
def test_nobody_there_is_told_with_what_to_do(host: str) -> None:
    with pytest.raises(PrometheusError, match=rf"Expected a Prometheus at http://{host}:\d+\. Rec"):
        Prometheus(f"http://{host}:{free_port()}").query("up")


@pytest.mark.parametrize(
    "url",
    [
        *(
            "",
            "localhost:9090",
            "9090",
            "file:///etc/passwd",
            "ftp://host/",
            "http://",
            "http://:9",
        ),
        *("http://host:port", "http://host:0", "http://[::1", "http://a b", "http://a\n"),
        *("http://me:secret@host:9090", "http://host/?query=up", "http://host/#graph"),
    ],
)
def test_what_is_no_address_is_refused_and_no_password_is_repeated(url: str) -> None:
    with pytest.raises(InputError, match="Expected the address of a Prometheus") as caught:
        checked(url)
    assert "secret" not in str(caught.value)
