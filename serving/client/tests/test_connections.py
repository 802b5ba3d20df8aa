"""Addresses, TLS, identity, load balancing, and servers that misbehave; over real sockets."""

from __future__ import annotations

import asyncio
import contextlib
import pickle
import socket
import subprocess
import sys
import textwrap
import threading
import time

import grpc
import numpy as np
import pytest
import trustme

from tfs_client import (
    AsyncClient,
    CallError,
    Client,
    ClosedClientError,
    DeadlineExceededError,
    HostNotFoundError,
    MessageTooLargeError,
    RefusedError,
    RequestError,
    TargetError,
    Tls,
    TlsError,
    UnavailableError,
    WrongLoopError,
)


def ask(client, **settings):
    return client.predict({"x": [1.0]}, model="echo", **settings)


# --- nobody there ---------------------------------------------------------------------------------


def test_a_name_that_does_not_resolve_has_its_own_class(open_client):
    client = open_client("no-such-host.invalid:8500", timeout_s=20)
    with pytest.raises(HostNotFoundError, match=r"no-such-host\.invalid:8500.*no such name"):
        ask(client)


def test_a_port_without_a_listener_has_its_own_class(open_client, free_port):
    with pytest.raises(RefusedError, match="nothing listens on that port"):
        ask(open_client(f"127.0.0.1:{free_port}"))


@contextlib.contextmanager
def listener(behave):
    """A port on which each connection is treated as told."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def accept():
            with contextlib.suppress(OSError):  # the listener's end
                while True:
                    connection, _ = server.accept()
                    with connection, contextlib.suppress(OSError):
                        behave(connection)

        thread = threading.Thread(target=accept)
        thread.start()
        yield f"127.0.0.1:{server.getsockname()[1]}"
        server.shutdown(socket.SHUT_RDWR)
    thread.join()


def test_a_listener_that_drops_every_connection_is_unavailable(open_client):
    with listener(lambda connection: None) as target, pytest.raises(UnavailableError):
        ask(open_client(target, timeout_s=2))


def test_a_web_server_is_an_error_of_ours(open_client):
    def http(connection):
        connection.recv(1000)
        connection.sendall(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")

    with listener(http) as target, pytest.raises(CallError):
        ask(open_client(target, timeout_s=2))


def test_a_silent_listener_costs_the_deadline_and_no_more(open_client):
    release = threading.Event()
    with listener(lambda connection: release.wait(10)) as target:
        start = time.monotonic()
        with pytest.raises((DeadlineExceededError, UnavailableError)):
            ask(open_client(target), timeout_s=0.5)
        assert time.monotonic() - start < 3
        release.set()


def test_wait_for_ready_waits_for_a_server_that_starts_later(make_server, open_client, free_port):
    client = open_client(f"127.0.0.1:{free_port}", wait_for_ready=True, timeout_s=20)
    timer = threading.Timer(0.5, lambda: make_server(port=free_port))
    timer.start()
    assert ask(client)["x"].tolist() == [1.0]
    timer.join()


# --- TLS ------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture(scope="module")
def pems(authority, tmp_path_factory):
    """Paths: ca.pem, client.pem, client.key."""
    folder = tmp_path_factory.mktemp("pems")
    authority.cert_pem.write_to_path(folder / "ca.pem")
    own = authority.issue_cert("client.example")
    own.private_key_pem.write_to_path(folder / "client.key")
    for part in own.cert_chain_pems:
        part.write_to_path(folder / "client.pem", append=True)
    return folder


@pytest.fixture
def tls_server(authority, make_server):
    def start(name="localhost", *, mutual=False):
        certificate = authority.issue_cert(name)
        chain = b"".join(part.bytes() for part in certificate.cert_chain_pems)
        credentials = grpc.ssl_server_credentials(
            [(certificate.private_key_pem.bytes(), chain)],
            authority.cert_pem.bytes() if mutual else None,
            mutual,
        )
        return make_server(host="localhost", credentials=credentials)

    return start


def test_tls_works_with_roots_from_a_file_and_from_bytes(tls_server, open_client, pems):
    target = tls_server().target
    for roots in (pems / "ca.pem", str(pems / "ca.pem"), (pems / "ca.pem").read_bytes()):
        assert ask(open_client(target, tls=Tls(roots=roots))).version == 2
    credentials = grpc.ssl_channel_credentials((pems / "ca.pem").read_bytes())
    assert ask(open_client(target, tls=credentials)).version == 2


def test_another_name_in_the_certificate_has_to_be_said(tls_server, open_client, pems):
    target = tls_server("models.example").target
    with pytest.raises(TlsError, match="certificates do not fit"):
        ask(open_client(target, tls=Tls(roots=pems / "ca.pem")))
    tls = Tls(roots=pems / "ca.pem", server_name="models.example")
    assert ask(open_client(target, tls=tls)).version == 2


def test_an_authority_that_is_not_trusted_is_a_tls_error(tls_server, open_client):
    with pytest.raises(TlsError):
        ask(open_client(tls_server().target, tls=True))


def test_tls_to_a_plain_server_is_a_tls_error(server, open_client, pems):
    with pytest.raises(TlsError, match="speaks plain text"):
        ask(open_client(server.target, tls=Tls(roots=pems / "ca.pem")))


def test_plain_text_to_a_tls_server_asks_whether_it_wants_tls(tls_server, open_client):
    with pytest.raises(UnavailableError):
        ask(open_client(tls_server().target))


def test_mutual_tls_wants_a_certificate_of_ours(tls_server, open_client, pems):
    target = tls_server(mutual=True).target
    own = {"certificate": pems / "client.pem", "key": pems / "client.key"}
    assert ask(open_client(target, tls=Tls(roots=pems / "ca.pem", **own))).version == 2
    with pytest.raises(UnavailableError):
        ask(open_client(target, tls=Tls(roots=pems / "ca.pem")))


@pytest.mark.parametrize(
    ("tls", "words"),
    [
        (Tls(roots="missing.pem"), "missing.pem"),
        (Tls(roots=b"no pem"), "Tls.roots as PEM"),
        (Tls(certificate=b"-----BEGIN CERTIFICATE-----"), "certificate without the other"),
        (Tls(key=b"-----BEGIN PRIVATE KEY-----"), "key without the other"),
        ("yes", "Expected tls as True, False"),
    ],
    ids=str,
)
def test_tls_settings_that_cannot_be_are_refused_at_once(open_client, tls, words):
    with pytest.raises(TargetError) as caught:
        open_client("localhost:8500", tls=tls)
    assert words in str(caught.value)


# --- identity -------------------------------------------------------------------------------------


def test_metadata_and_tokens_reach_the_server(server, open_client):
    tokens = iter(["first", "second", "third"])
    client = open_client(
        server.target, token=lambda: next(tokens), metadata={"x-team": "ovens", "x-bin": b"\0"}
    )
    ask(client, metadata=[("x-one", "more")])
    ask(client)
    by_call = [server.metadata[at] for at in range(3)]  # GetModelMetadata, Predict, Predict
    assert [one["authorization"] for one in by_call] == [
        *("Bearer first", "Bearer second", "Bearer third")
    ]
    assert {one["x-team"] for one in by_call} == {"ovens"}
    assert by_call[1]["x-bin"] == b"\0"
    assert by_call[1]["x-one"] == "more"
    assert "x-one" not in by_call[2]


def test_a_token_is_not_sent_in_plain_text_to_other_machines(open_client):
    with pytest.raises(TargetError, match="Expected tls with a token"):
        open_client("models.example:8500", token="secret")
    open_client("models.example:8500", token="secret", tls=True)


@pytest.mark.parametrize(
    "pairs",
    [
        [("X-Team", "ovens")],
        [("x team", "ovens")],
        [("x-team", "öfen")],
        [("x-team", "a\nb")],
        [("x-team", b"bytes")],
        [("x-bin", "text")],
        [("grpc-timeout", "1S")],
        [("x-team", 1)],
        ["x-team"],
    ],
    ids=str,
)
def test_metadata_that_grpc_refuses_is_refused_first(server, open_client, pairs):
    with pytest.raises(RequestError, match="Expected metadata as pairs"):
        open_client(server.target, metadata=pairs)
    with pytest.raises(RequestError, match="Expected metadata as pairs"):
        ask(open_client(server.target), metadata=pairs)
    assert server.asked("Predict") == []


# --- several addresses ----------------------------------------------------------------------------


def test_the_load_goes_round_all_addresses_and_round_a_dead_one(make_server, open_client):
    pods = [make_server(), make_server()]
    client = open_client("ipv4:" + ",".join(pod.target for pod in pods))
    for _ in range(100):
        ask(client)
    assert all(len(pod.asked("Predict")) >= 40 for pod in pods)
    pods[0].stop()
    for _ in range(100):
        ask(client)


def test_a_name_with_two_addresses_is_gone_round_as_well(make_server, open_client, free_port):
    """localhost, where it has both."""
    found = {family for family, *_ in socket.getaddrinfo("localhost", 1, type=socket.SOCK_STREAM)}
    if found != {socket.AF_INET, socket.AF_INET6}:
        pytest.skip(f"localhost has no two addresses here: {found}")
    pods = [make_server(port=free_port), make_server(port=free_port, host="[::1]")]
    client = open_client(f"dns:///localhost:{free_port}")
    for _ in range(60):
        ask(client)
    assert all(len(pod.asked("Predict")) >= 20 for pod in pods)


# --- the client itself ----------------------------------------------------------------------------


def test_messages_too_large_in_either_direction_say_so(server, open_client):
    client = open_client(server.target, max_message_bytes=4000)
    with pytest.raises(MessageTooLargeError, match="max_message_bytes"):
        client.predict({"x": np.zeros(2000, np.float32)}, model="echo")

    honest = server._Predict

    def large(request, context):
        response = honest(request, context)
        response.outputs["x"].tensor_content = bytes(8000)
        return response

    server.answers["Predict"] = large
    with pytest.raises(MessageTooLargeError):
        ask(client)


def test_a_closed_client_has_its_own_class(server, open_client):
    client = open_client(server.target)
    ask(client)
    client.close()
    with pytest.raises(ClosedClientError, match="open a new one"):
        ask(client)


def test_a_client_in_another_event_loop_has_its_own_class(server):
    client = AsyncClient(server.target)

    async def first():
        await ask(client)

    async def second():
        with pytest.raises(WrongLoopError, match="another loop"):
            await ask(client)
        await client.close()

    asyncio.run(first())
    asyncio.run(second())


def test_a_client_after_a_fork_has_its_own_class(server):
    script = textwrap.dedent(
        f"""
        import asyncio, os
        from tfs_client import AsyncClient, Client, ForkedClientError
        ask = dict(inputs={{"x": [1.0]}}, model="echo")
        client, other = Client("{server.target}"), AsyncClient("{server.target}")
        client.predict(**ask)
        child = os.fork()
        if not child:
            outcomes = []
            try:
                client.predict(**ask)
            except ForkedClientError as error:
                outcomes.append(str(error))
            try:
                asyncio.run(other.predict(**ask))
            except ForkedClientError as error:
                outcomes.append(str(error))
            print(*outcomes, sep="\\n", flush=True)
            os._exit(0)
        os.waitpid(child, 0)
        print(client.predict(**ask)["x"])
        """
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=60
    )
    *children, parent = done.stdout.splitlines()
    assert len(children) == 2
    assert all("open one in each process, after the fork" in line for line in children)
    assert parent == "[1.]"


def test_errors_survive_pickling(open_client, free_port):
    with pytest.raises(RefusedError) as caught:
        ask(open_client(f"127.0.0.1:{free_port}"))
    again = pickle.loads(pickle.dumps(caught.value))
    assert type(again) is RefusedError
    assert str(again) == str(caught.value)
    assert (again.code, again.target) == (caught.value.code, caught.value.target)


@pytest.mark.parametrize(
    "settings",
    [
        {"keepalive_s": 0},
        {"hedge_after_s": -1},
        {"hedge_after_s": True},
        {"timeout_s": 0},
        {"max_message_bytes": 0},
        {"options": [("grpc.keepalive_time_ms", None)]},
    ],
    ids=str,
)
def test_settings_that_cannot_be_are_refused(settings):
    with pytest.raises(RequestError, match=r"Expected .* Received: "):
        Client("localhost:8500", **settings)


def test_keep_alive_and_further_options_reach_the_channel():
    arguments = dict(Client("localhost:8500")._arguments)
    assert arguments["grpc.keepalive_time_ms"] == 300_000
    assert arguments["grpc.lb_policy_name"] == "round_robin"
    arguments = dict(
        Client(
            "localhost:8500", keepalive_s=None, options=[("grpc.lb_policy_name", "pick_first")]
        )._arguments
    )
    assert "grpc.keepalive_time_ms" not in arguments
    assert arguments["grpc.lb_policy_name"] == "pick_first"
