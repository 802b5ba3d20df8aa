"""The REST port as HTTP: connections, broken requests, bodies, CORS, the time limit."""

from __future__ import annotations

import gzip
import json
import os
import socket
import time
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.integration.local_server_fixtures import (
    Gate,
    RunningServer,
    line_config,
    running_server,
    save_line_and_gate,
)

BODY = b'{"instances": [1.0]}'
PREDICT = b"POST /v1/models/line:predict HTTP/1.1\r\nHost: x\r\n"
ANSWER = {"predictions": [1.5]}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("rest_http")
    save_line_and_gate(folder / "models")
    return folder


@pytest.fixture(scope="module")
def server(folder: Path) -> Iterator[RunningServer]:
    with serving(folder, "--rest_api_timeout_in_ms=400", "--rest_api_num_threads=4") as running:
        yield running


def serving(folder: Path, *flags: str) -> contextmanager[RunningServer]:  # type: ignore[valid-type]
    return running_server(folder, *flags, config=line_config("latest { }", more=Gate.CONFIG))


class Connection:
    """A raw connection to the REST port."""

    def __init__(self, server: RunningServer) -> None:
        self.socket = socket.create_connection(("127.0.0.1", server.ports["rest"]), timeout=10)
        self._file = self.socket.makefile("rb")

    def __enter__(self) -> Connection:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()
        self.socket.close()

    def send(self, *parts: bytes) -> None:
        self.socket.sendall(b"".join(parts))

    def head(self) -> tuple[int, dict[str, str]]:
        """Status and headers of the next answer; (0, {}) where the connection has been closed."""
        line = self._file.readline()
        if not line:
            return 0, {}
        headers = {}
        while (header := self._file.readline().strip()) != b"":
            name, _, value = header.decode().partition(": ")
            headers[name.lower()] = value
        return int(line.split()[1]), headers

    def read(self, count: int = -1) -> bytes:
        """So many bytes as they come, or all until the connection ends."""
        return self._file.read(count)

    def answer(self) -> tuple[int, dict[str, str], bytes]:
        status, headers = self.head()
        return status, headers, self._file.read(int(headers.get("content-length", 0)))

    def ended(self) -> bool:
        return self._file.read(1) == b""


def length(body: bytes = BODY) -> bytes:
    return b"Content-Length: %d\r\n" % len(body)


BROKEN = [
    b"\r\n\r\n\r\n",
    b"GET\r\n\r\n",
    b"NONSENSE / HTTP/1.1\r\nHost: x\r\n\r\n",
    b"GET / HTTP/9.9\r\nHost: x\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: x\r\nno colon\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: x\r\n bad: fold\r\n\r\n",
    PREDICT + b"Content-Length: -1\r\n\r\n",
    PREDICT + b"Content-Length: 1\r\nContent-Length: 2\r\n\r\n",
    PREDICT + b"Content-Length: 99999999999999\r\n\r\n",
    PREDICT + b"Content-Length: " + b"9" * 5000 + b"\r\n\r\n",
    PREDICT + b"Transfer-Encoding: chunked\r\n\r\n" + b"f" * 5000 + b"\r\n",
    PREDICT + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n",
    PREDICT + b"Transfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n0\r\n\r\n",
    b"\xff" * 1000 + b"\r\n\r\n",
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(100),
    b"GET /" + b"a" * 100_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: x\r\nlong: " + b"a" * 100_000 + b"\r\n\r\n",
]


@pytest.mark.parametrize("sent", BROKEN)
def test_broken_http_is_refused_and_the_server_lives(server: RunningServer, sent: bytes) -> None:
    with Connection(server) as connection:
        try:
            connection.send(sent)
            connection.socket.shutdown(socket.SHUT_WR)
            status, _ = connection.head()
        except (ConnectionResetError, BrokenPipeError):
            status = 0

    assert status == 0 or 400 <= status < 600
    assert server.rest("GET", "/v1/models/line")[0] == 200
    assert "Traceback" not in server.log()


def test_a_body_over_the_limit_is_refused_before_it_is_sent(server: RunningServer) -> None:
    with Connection(server) as connection:
        connection.send(PREDICT, b"Expect: 100-continue\r\nContent-Length: 999999999\r\n\r\n")

        assert connection.answer()[0] == 413


def test_five_hundred_half_open_connections_do_not_hold_up_others(server: RunningServer) -> None:
    starts = [b"", b"POST /v1/mod", PREDICT, PREDICT + b"Content-Length: 9\r\n\r\n{"]
    held = [Connection(server) for _ in range(500)]
    try:
        for number, connection in enumerate(held):
            connection.send(starts[number % len(starts)])
        started = time.monotonic()
        assert (
            json.loads(server.rest("POST", "/v1/models/line:predict", BODY.decode())[2]) == ANSWER
        )
        assert time.monotonic() - started < 10
    finally:
        for connection in held:
            connection.__exit__()


def test_a_caller_who_leaves_before_the_answer_harms_nobody(server: RunningServer) -> None:
    for _ in range(20):
        with Connection(server) as connection:
            connection.send(PREDICT, length(), b"\r\n", BODY)

    assert server.rest("GET", "/v1/models/line")[0] == 200
    assert "Traceback" not in server.log()


def test_requests_share_a_connection_also_without_waiting(server: RunningServer) -> None:
    request = b"".join([PREDICT, length(), b"\r\n", BODY])
    with Connection(server) as connection:
        for sent in (request, request, request * 3):
            connection.send(sent)
            for _ in range(sent.count(BODY)):
                status, headers, body = connection.answer()
                assert (status, headers["content-type"]) == (200, "application/json")
                assert json.loads(body) == ANSWER


def test_a_connection_is_closed_where_the_caller_wants_it(server: RunningServer) -> None:
    with Connection(server) as connection:
        connection.send(PREDICT, b"Connection: close\r\n", length(), b"\r\n", BODY)

        assert connection.answer()[0] == 200
        assert connection.ended()


def test_a_body_may_come_in_pieces(server: RunningServer) -> None:
    with Connection(server) as connection:
        connection.send(PREDICT, b"Transfer-Encoding: chunked\r\n\r\n")
        for piece in (BODY[:3], BODY[3:]):
            connection.send(b"%x;ext=1\r\n" % len(piece), piece, b"\r\n")
            time.sleep(0.05)
        connection.send(b"0\r\ntrailer: x\r\n\r\n")

        status, _, body = connection.answer()
        assert (status, json.loads(body)) == (200, ANSWER)


def test_a_caller_who_expects_100_continue_gets_it(server: RunningServer) -> None:
    with Connection(server) as connection:
        connection.send(PREDICT, length(), b"Expect: 100-continue\r\n\r\n")
        assert connection.head() == (100, {})
        connection.send(BODY)

        status, _, body = connection.answer()
        assert (status, json.loads(body)) == (200, ANSWER)


def test_a_gzipped_body_is_unpacked(server: RunningServer) -> None:
    body = gzip.compress(BODY)
    with Connection(server) as connection:
        connection.send(PREDICT, length(body), b"Content-Encoding: gzip\r\n\r\n", body)

        status, _, answer = connection.answer()
        assert (status, json.loads(answer)) == (200, ANSWER)


@pytest.mark.parametrize(
    "body",
    [BODY, gzip.compress(BODY)[:-9], zlib.compress(BODY)],
    ids=["plain", "cut off", "deflate"],
)
def test_what_is_not_gzip_is_no_body_as_in_tensorflow_serving(
    server: RunningServer, body: bytes
) -> None:
    with Connection(server) as connection:
        connection.send(PREDICT, length(body), b"Content-Encoding: gzip\r\n\r\n", body)

        status, _, answer = connection.answer()
    assert status == 400
    assert json.loads(answer)["error"].startswith("JSON Parse error: The document is empty")


MALFORMED = b'{\n    "error": "Malformed request: HEAD /v1/models/line"\n}'


def test_head_is_answered_with_a_body_and_without_its_length_as_in_tensorflow_serving(
    server: RunningServer,
) -> None:
    with Connection(server) as connection:
        connection.send(b"HEAD /v1/models/line HTTP/1.1\r\nHost: x\r\n\r\n")
        status, headers = connection.head()

        assert (status, headers["content-type"]) == (400, "application/json")
        assert not headers.keys() & {"content-length", "transfer-encoding", "connection"}
        # A caller that keeps the connection finds the body before the next answer.
        assert connection.read(len(MALFORMED)) == MALFORMED
        connection.send(PREDICT, length(), b"Connection: close\r\n\r\n", BODY)
        status, _, body = connection.answer()
        assert (status, json.loads(body)) == (200, ANSWER)
        assert connection.ended()


def test_http_1_0_gets_no_length_unless_it_keeps_the_connection(server: RunningServer) -> None:
    old = PREDICT.replace(b"1.1", b"1.0")
    with Connection(server) as connection:
        connection.send(old, length(), b"\r\n", BODY)
        status, headers = connection.head()
        assert status == 200
        assert not headers.keys() & {"content-length", "transfer-encoding"}
        assert json.loads(connection.read()) == ANSWER  # up to the connection's end

    with Connection(server) as connection:
        for _ in range(2):
            connection.send(old, length(), b"Connection: keep-alive\r\n\r\n", BODY)
            status, headers, body = connection.answer()
            assert (status, json.loads(body)) == (200, ANSWER)
            assert headers["connection"] == "keep-alive"


def test_a_body_announced_as_larger_than_512_mib_is_refused_before_it_comes(
    server: RunningServer,
) -> None:
    with Connection(server) as connection:
        connection.send(PREDICT, b"Content-Length: 1000000000\r\nExpect: 100-continue\r\n\r\n")

        assert connection.head()[0] == 413


@pytest.mark.parametrize(
    ("target", "said"),
    [
        ("/v1/models/a%2Fb", "Could not find any versions of model a/b"),
        ("/v1/models/..", "Could not find any versions of model .."),
        ("/v1/models/./x", "Malformed request: GET /v1/models/./x"),
        ("/v1//models/line", "Malformed request: GET /v1//models/line"),
        ("/v1/models/line?x=1", "Could not find any versions of model line?x=1"),
        ("/v1/models/line/labels/%6eo/metadata", "Unrecognized servable version label: no"),
        ("http://x/v1/models/no", "Could not find any versions of model no"),
    ],
)
def test_a_path_is_read_as_it_was_sent(server: RunningServer, target: str, said: str) -> None:
    with Connection(server) as connection:
        connection.send(f"GET {target} HTTP/1.1\r\nHost: x\r\n\r\n".encode())

        assert json.loads(connection.answer()[2]) == {"error": said}


def test_a_model_may_be_named_in_escapes(server: RunningServer) -> None:
    assert json.loads(server.rest("POST", "/v1/models/%6Cine:predict", BODY.decode())[2]) == ANSWER


def test_a_version_too_large_is_refused_without_a_text(server: RunningServer) -> None:
    assert server.rest("GET", f"/v1/models/line/versions/{2**63}") == (400, "application/json", "")


@pytest.mark.parametrize(
    ("digits", "answer"), [("9" * 5000, (400, "")), ("0" * 5000 + "1", (200, None))]
)
def test_a_version_may_have_any_number_of_digits(
    server: RunningServer, digits: str, answer: tuple[int, str | None]
) -> None:
    status, _, body = server.rest("GET", f"/v1/models/line/versions/{digits}")

    assert status == answer[0]
    assert answer[1] is None or body == answer[1]
    assert "Traceback" not in server.log()


@pytest.mark.parametrize(
    ("body", "error"),
    [
        (b'{"examples": [{"\xff": 1}]}', "No classification inputs found in SignatureDef"),
        (b'{"examples": [{"\xff": null}]}', "Feature: \xff has element with unexpected JSON type"),
        (b'{"\xff": 1}', 'JSON Value: {\n    "\xff": 1\n} When method is classify'),
        (b'{"signature_name": "\xff", "examples": [{}]}', "No signature was found with the name"),
    ],
)
def test_names_that_are_no_utf8_are_names(server: RunningServer, body: bytes, error: str) -> None:
    with Connection(server) as connection:
        connection.send(PREDICT.replace(b"predict", b"classify"), length(body), b"\r\n", body)
        status, _, answer = connection.answer()

    assert status == 400
    assert json.loads(answer.decode("latin-1"))["error"].startswith(error)
    assert "Traceback" not in server.log()


@pytest.mark.parametrize("bracket", ["[", '{"k":'])
def test_a_deep_document_costs_little_and_is_quoted_in_part(
    server: RunningServer, bracket: str
) -> None:
    count = 21_000 // len(bracket)
    closed = {"[": "]"}.get(bracket, "}") * count
    before = processor_s(server)

    for body in (
        f'{{"instances": 1, "a": {bracket * count}1{closed}}}',
        f'{{"signature_name": {bracket * count}1{closed}}}',
        f'{{"instances": [{bracket * count}1{closed}]}}',
        f"{bracket * count}",
    ):
        status, _, text = server.rest("POST", "/v1/models/line:predict", body)
        assert status == 400
        assert len(text) < 2000

    assert processor_s(server) - before < 2


def processor_s(server: RunningServer) -> float:
    fields = Path(f"/proc/{server.process.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def test_a_text_that_a_name_makes_long_is_cut(server: RunningServer) -> None:
    body = json.dumps({"instances": [{"n" * 1_000_000: 1}]})

    status, _, text = server.rest("POST", "/v1/models/line:predict", body)

    assert status == 400
    assert json.loads(text)["error"].endswith("nnn...TRUNCATED")
    assert len(text) < 20_000


def test_methods_are_named_in_lower_case_only(server: RunningServer) -> None:
    status, _, body = server.rest("POST", "/V1/models/line:PREDICT", BODY.decode())

    assert status == 400
    assert json.loads(body) == {"error": "Malformed request: POST /V1/models/line:PREDICT"}


def test_a_request_that_takes_longer_than_the_limit_is_504(
    server: RunningServer, tmp_path: Path
) -> None:
    gate = Gate(tmp_path)
    body = json.dumps({"instances": [gate.path("held")]})

    started = time.monotonic()
    status, _, text = server.rest("POST", "/v1/models/gate:predict", body)

    assert time.monotonic() - started >= 0.4
    gate.let_go("held")
    assert (status, json.loads(text)) == (504, {"error": "Timed out waiting for notification"})
    assert server.rest("GET", "/v1/models/line")[0] == 200


def options(server: RunningServer, *headers: bytes) -> tuple[int, dict[str, str], bytes]:
    with Connection(server) as connection:
        connection.send(
            b"OPTIONS /v1/models/line:predict HTTP/1.1\r\nHost: x\r\n", *headers, b"\r\n"
        )
        return connection.answer()


def test_without_cors_no_page_of_another_origin_may_call(server: RunningServer) -> None:
    status, headers, body = options(server, b"Origin: http://page\r\n")

    assert (status, body) == (200, b"")
    assert not [name for name in headers if name.startswith("access-control")]


def test_with_cors_pages_of_any_origin_may_call(folder: Path) -> None:
    allowed = {
        "access-control-allow-origin": "*",
        "access-control-allow-methods": "POST, GET",
        "access-control-allow-headers": "Content-Type",
    }
    with serving(folder, "--rest_api_enable_cors_support=true") as running:
        preflight = options(running, b"Origin: https://page\r\n")
        no_origin = options(running)
        with Connection(running) as connection:
            connection.send(PREDICT, length(), b"\r\n", BODY)
            answered = connection.answer()
            connection.send(b"GET /v1/models/no HTTP/1.1\r\nHost: x\r\n\r\n")
            refused = connection.answer()

    assert [found[0] for found in (preflight, no_origin, answered, refused)] == [200, 400, 200, 404]
    for _, headers, _ in (preflight, no_origin, answered, refused):
        assert allowed.items() <= headers.items()
    assert preflight[2] == no_origin[2] == b""
