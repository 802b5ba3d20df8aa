"""Addresses, identity, load balancing, and servers that misbehave; over real sockets."""

from __future__ import annotations

import asyncio
import contextlib
import copy
import pickle
import socket
import threading
import time

import grpc
import numpy as np
import pytest

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
    Retry,
    TargetError,
    TfsError,
    UnavailableError,
    WrongLoopError,
)


def ask(client, **settings):
    return client.predict({"x": [1.0]}, model="echo", **settings)


# --- no server ------------------------------------------------------------------------------------


def test_a_name_that_does_not_resolve_has_its_own_class(open_client):
    client = open_client("no-such-host.invalid:8500", timeout_s=20)
    with pytest.raises(HostNotFoundError, match=r"no-such-host\.invalid:8500.*no such name"):
        ask(client)


def test_a_port_without_a_listener_has_its_own_class(open_client, free_port):
    with pytest.raises(RefusedError, match="nothing listens on that port"):
        ask(open_client(f"127.0.0.1:{free_port}"))


@contextlib.contextmanager
def listener(behave):
    """A port that handles each connection with a given function."""
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


def test_a_listener_that_speaks_nonsense_is_an_error_of_ours(open_client):
    noise = np.random.default_rng(3).bytes(4000)
    with listener(lambda connection: connection.sendall(noise)) as target:
        for retry in (None, Retry()):
            with pytest.raises(CallError, match=r"Predict|GetModelMetadata"):
                ask(open_client(target, timeout_s=2, retry=retry))


def test_a_web_server_is_an_error_of_ours(open_client):
    def http(connection):
        connection.recv(1000)
        connection.sendall(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")

    with listener(http) as target, pytest.raises(UnavailableError, match="is that the REST port"):
        ask(open_client(target, timeout_s=2))


def test_a_silent_listener_costs_the_deadline_and_no_more(open_client):
    release = threading.Event()
    with listener(lambda connection: release.wait(10)) as target:
        start = time.monotonic()
        with pytest.raises((DeadlineExceededError, UnavailableError)):
            ask(open_client(target), timeout_s=0.5)
        assert time.monotonic() - start < 3
        release.set()


@contextlib.contextmanager
def far_away(port, delay_s):
    """A port that forwards everything to another port after a delay."""

    def pass_on(source, sink):
        with contextlib.suppress(OSError):  # one of the two ends
            while content := source.recv(65536):
                time.sleep(delay_s)
                sink.sendall(content)
        with contextlib.suppress(OSError):
            sink.shutdown(socket.SHUT_RDWR)

    threads = []

    def behave(connection):
        with socket.create_connection(("127.0.0.1", port)) as onward:
            back = threading.Thread(target=pass_on, args=(onward, connection))
            back.start()
            threads.append(back)
            pass_on(connection, onward)
            back.join()

    with listener(behave) as target:
        yield target
    assert not any(thread.is_alive() for thread in threads)


def test_a_server_far_away_is_reached(server, open_client):
    with far_away(server.port, 0.2) as target:
        client = open_client(target, timeout_s=20, retry=None)
        assert ask(client)["x"].tolist() == [1.0]
        client.close()


def test_wait_for_ready_waits_for_a_server_that_starts_later(make_server, open_client, free_port):
    client = open_client(f"127.0.0.1:{free_port}", wait_for_ready=True, timeout_s=20)
    timer = threading.Timer(0.5, lambda: make_server(port=free_port))
    timer.start()
    assert ask(client)["x"].tolist() == [1.0]
    timer.join()


# --- identity -------------------------------------------------------------------------------------


def test_metadata_and_tokens_reach_the_server(server, open_client):
    tokens = iter(["first", "second", "third"])
    client = open_client(
        server.target, token=lambda: next(tokens), metadata={"x-team": "ovens", "x-bin": b"\0"}
    )
    ask(client, metadata=[("x-one", "more")])
    ask(client)
    by_call = [one.metadata for one in server.requests[:3]]  # GetModelMetadata, Predict, Predict
    assert [one["authorization"] for one in by_call] == [
        *("Bearer first", "Bearer second", "Bearer third")
    ]
    assert {one["x-team"] for one in by_call} == {"ovens"}
    assert by_call[1]["x-bin"] == b"\0"
    assert by_call[1]["x-one"] == "more"
    assert "x-one" not in by_call[2]


@pytest.mark.parametrize("token", [None, "", 5, "two\nlines", "öl"])
def test_a_function_that_gives_no_token_is_refused(server, open_client, token):
    client = open_client(server.target, token=lambda: token)
    with pytest.raises(RequestError, match=r"Expected .* Received: "):
        ask(client)
    assert server.requests == ()


def test_a_token_is_not_sent_in_plain_text_to_other_machines(open_client):
    with pytest.raises(TargetError, match="Expected tls with a token"):
        open_client("models.example:8500", token="secret")
    open_client("models.example:8500", token="secret", tls=True)


def test_what_is_secret_is_not_in_the_error(open_client):
    for settings in ({"token": "hush\n"}, {"metadata": [("x-key", "hush\n")]}):
        with pytest.raises(RequestError, match="text of 5 characters") as caught:
            open_client("localhost:8500", **settings)
        assert "hush" not in str(caught.value)


def test_metadata_that_the_server_finds_too_large_is_not_sent_again(server, open_client):
    client = open_client(server.target)
    ask(client)
    with pytest.raises(MessageTooLargeError, match="metadata size") as caught:
        ask(client, metadata=[("x-large", "x" * 100_000)])
    assert caught.value.attempts == 1


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
    assert server.asked("Predict") == ()


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


def test_a_channel_that_is_made_anew_cuts_no_call(server, open_client):
    honest, slow = server.usual("Predict"), threading.Event()

    def predict(request, context):
        if request.inputs["x"].tensor_content[:4] == np.float32(7).tobytes():
            slow.wait(10)
        return honest(request, context)

    server.handlers["Predict"] = predict
    client = open_client(server.target, renew_s=0.1, timeout_s=10)
    channels = client._channels
    answers = []
    thread = threading.Thread(
        target=lambda: answers.append(client.predict({"x": np.float32([7])}, model="echo")["x"])
    )
    thread.start()
    for _ in range(10):
        ask(client, timeout_s=0.3)
        time.sleep(0.05)
    assert 3 <= len(channels._retired) <= 10  # kept, as a call may be under way in each
    slow.set()
    thread.join()
    assert answers == [[7.0]]
    channels._longest_s = 0.3  # as if the long call had never been
    time.sleep(0.4)
    ask(client, timeout_s=0.3)
    assert len(channels._retired) <= 1
    client.close()
    with pytest.raises(ClosedClientError):
        ask(client)


# --- the client itself ----------------------------------------------------------------------------


def test_messages_too_large_in_either_direction_say_so(server, open_client):
    client = open_client(server.target, max_message_bytes=4000)
    with pytest.raises(MessageTooLargeError, match="max_message_bytes"):
        client.predict({"x": np.zeros(2000, np.float32)}, model="echo")

    honest = server.usual("Predict")

    def large(request, context):
        response = honest(request, context)
        response.outputs["x"].tensor_content = bytes(8000)
        return response

    server.handlers["Predict"] = large
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


def kinds(root) -> list[type]:
    return [root, *(kind for one in root.__subclasses__() for kind in kinds(one))]


@pytest.mark.parametrize("kind", kinds(TfsError), ids=lambda kind: kind.__name__)
def test_errors_survive_pickling_and_copying(kind):
    if issubclass(kind, CallError):
        code = grpc.StatusCode.ABORTED
        error = kind(code, "its words", target="a:1", call="Predict", timeout_s=2)
        error.attempts = 3
    else:
        error = kind("its words")
    for again in (pickle.loads(pickle.dumps(error)), copy.copy(error)):
        assert type(again) is kind
        assert (str(again), again.args, vars(again)) == (str(error), error.args, vars(error))


@pytest.mark.parametrize(
    "settings",
    [
        {"keepalive_s": 0},
        {"hedge_after_s": -1},
        {"hedge_after_s": True},
        {"renew_s": 0},
        {"renew_s": "1"},
        {"timeout_s": 0},
        {"max_message_bytes": 0},
        {"options": [("grpc.keepalive_time_ms", None)]},
        {"keepalive_s": float("nan")},
        {"keepalive_s": 10**400},
        {"retry": 3},
        {"breaker": 3},
        {"observers": 3},
        {"observers": [3]},
        {"token": 5},
        {"options": [("grpc.keepalive_time_ms", 2**40)]},
        {"options": ["grpc.keepalive_time_ms"]},
        {"options": 5},
    ],
    ids=str,
)
def test_settings_that_cannot_be_are_refused(settings):
    with pytest.raises(RequestError, match=r"Expected .* Received: "):
        Client("localhost:8500", **settings)


def test_keep_alive_and_further_options_reach_the_channel():
    arguments = dict(Client("localhost:8500")._arguments)
    assert arguments["grpc.keepalive_time_ms"] == 300_000
    assert "grpc.lb_policy_name" in arguments
    arguments = dict(
        Client(
            "localhost:8500", keepalive_s=None, options=[("grpc.lb_policy_name", "pick_first")]
        )._arguments
    )
    assert "grpc.keepalive_time_ms" not in arguments
    assert arguments["grpc.lb_policy_name"] == "pick_first"
    arguments = dict(Client("localhost:8500", keepalive_s=float("inf"))._arguments)
    assert arguments["grpc.keepalive_time_ms"] == 2**31 - 1


@pytest.mark.parametrize(
    ("target", "policy"),
    [
        ("models:8500", "round_robin"),
        ("dns:///models.example:8500", "round_robin"),
        ("ipv4:10.0.0.1:8500,10.0.0.2:8500", "round_robin"),
        ("ipv6:[::1]:8500,[::2]:8500", "round_robin"),
        ("localhost:8500", "pick_first"),
        ("dns:///localhost:8500", "pick_first"),
        ("10.0.0.1:8500", "pick_first"),
        ("ipv4:10.0.0.1:8500", "pick_first"),
        ("[::1]:8500", "pick_first"),
        ("unix:/run/models.sock", "pick_first"),
    ],
)
def test_the_load_goes_round_the_addresses_of_a_name_and_one_address_is_left_in_peace(
    target, policy
):
    """To one that goes away round_robin would connect again at once and for ever."""
    with Client(target) as client:
        assert dict(client._arguments)["grpc.lb_policy_name"] == policy
